//! What a stream was authenticated by, and whether it still works.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::identity::{Identity, Principal, SecretStatus};
use crate::key::{Digest, KeyId, KeyRecord, KeyStatus};

/// What a stream was authenticated by.
pub(super) enum Held {
    /// A key, and its secret; a companion's secret is not sent with a session token.
    Key { record: Arc<KeyRecord>, secret: Option<Secret> },
    /// Of a session only the expiry is known.
    Session { expires_at: Timestamp },
}

/// One of a key's secrets.
///
/// Other nodes may digest it again under another pepper. Then it is still the one that was made, or that ends, at the same
/// instant.
pub(super) struct Secret {
    /// As it was presented.
    presented: Digest,
    /// As it was last stored.
    stored: Digest,
    /// When it was made, if it is the one in use.
    created_at: Option<Timestamp>,
    /// When it ends, if it was replaced.
    valid_until: Option<Timestamp>,
}

impl Held {
    /// The key or the session of `principal`; `None` for a session that does not expire.
    pub(super) fn of(principal: &Principal) -> Option<(KeyId, Self)> {
        let record = match principal.identity() {
            Identity::Key { record, .. } => record,
            Identity::Session(_) => {
                let expires_at = principal.expires_at()?;
                return Some((*principal.key_id(), Self::Session { expires_at }));
            }
        };
        let of_pair = principal.companion().and_then(|companion| companion.presented);
        let presented = match (of_pair, principal.secret_status(), record.extras().previous) {
            (Some((own, _)), ..) => own,
            (None, SecretStatus::Retired { .. }, Some(previous)) => previous.digest,
            _ => record.digest,
        };
        Some((record.id, Self::key(record, Some(presented))))
    }

    pub(super) fn of_companion(principal: &Principal) -> Option<(KeyId, Self)> {
        let companion = principal.companion()?;
        let presented = companion.presented.map(|(_, companion)| companion);
        Some((companion.record.id, Self::key(&companion.record, presented)))
    }

    fn key(record: &Arc<KeyRecord>, presented: Option<Digest>) -> Self {
        let secret = presented.map(|presented| {
            let mut secret = Secret { presented, stored: presented, created_at: None, valid_until: None };
            secret.follow(record);
            secret
        });
        Self::Key { record: record.clone(), secret }
    }

    /// Whether the store can be asked for it.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self, Self::Key { .. })
    }

    /// Whether both are the same secret of the same key, or sessions that end at the same instant.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key { record, secret }, Self::Key { record: other, secret: other_secret }) => {
                let digest = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.presented);
                record.owner == other.owner && digest(secret) == digest(other_secret)
            }
            (Self::Session { expires_at }, Self::Session { expires_at: other }) => expires_at == other,
            _ => false,
        }
    }

    /// Whether it works at this instant, as far as is known.
    pub(super) fn works_at(&self, instant: Timestamp) -> bool {
        match self {
            Self::Key { record, secret } => {
                let verifies = |secret: &Secret| {
                    record.digest == secret.stored || record.other_secret(instant) == Some(&secret.stored)
                };
                KeyStatus::of(record, instant) == KeyStatus::Active && secret.as_ref().is_none_or(verifies)
            }
            Self::Session { expires_at } => instant < *expires_at,
        }
    }

    /// Takes what the store has found; `false` if there is no such key any more.
    pub(super) fn renew(&mut self, found: Option<Arc<KeyRecord>>) -> bool {
        let Self::Key { record, secret } = self else { return true };
        match found {
            Some(found) if found.id == record.id && found.owner == record.owner => {
                if let Some(secret) = secret {
                    secret.follow(&found);
                }
                *record = found;
                true
            }
            _ => false,
        }
    }
}

impl Secret {
    /// Notes as what the secret is stored in `record`.
    fn follow(&mut self, record: &KeyRecord) {
        let is_digested_anew = |digest: &Digest| digest.pepper_id() != self.stored.pepper_id();
        let is_in_use = self.stored == record.digest
            || is_digested_anew(&record.digest) && self.created_at == Some(record.secret_created_at);
        if is_in_use {
            self.stored = record.digest;
            (self.created_at, self.valid_until) = (Some(record.secret_created_at), None);
        } else if let Some(previous) = &record.extras().previous {
            let is_previous = self.stored == previous.digest
                || is_digested_anew(&previous.digest) && self.valid_until == Some(previous.valid_until);
            if is_previous {
                self.stored = previous.digest;
                (self.created_at, self.valid_until) = (None, Some(previous.valid_until));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::{KeyState, Mode, NextSecret, Owner, Peppers, PreviousSecret};

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);
    const LATER: Timestamp = Timestamp::from_unix_seconds(1_702_531_260);

    fn digest(text: &str) -> Digest {
        Peppers::none().digest(text)
    }

    /// The same secret under a pepper.
    fn peppered(text: &str) -> Digest {
        Digest::from_parts(Some(1), *digest(text).as_bytes())
    }

    fn record(change: impl FnOnce(&mut KeyRecord)) -> Arc<KeyRecord> {
        let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
        let mut record = KeyRecord::new("k1".parse().unwrap(), owner, digest("own"), NOW);
        change(&mut record);
        Arc::new(record)
    }

    fn rotated(key: &mut KeyRecord, secret: Digest, before: Digest, valid_until: Timestamp) {
        (key.digest, key.secret_created_at) = (secret, LATER);
        key.extras_mut().previous = Some(PreviousSecret { digest: before, valid_until });
    }

    fn waiting(key: &mut KeyRecord) {
        let (digest, grace) = (digest("new"), Duration::ZERO);
        let next = NextSecret { digest, hint: String::new(), created_at: NOW, grace };
        key.extras_mut().next = Some(Box::new(next));
    }

    /// Whether a stream of `own`, begun with an unchanged key, goes on after the store has had these records in turn.
    fn goes_on(records: Vec<Option<Arc<KeyRecord>>>) -> bool {
        let mut held = Held::key(&record(|_| {}), Some(digest("own")));
        records.into_iter().all(|found| held.renew(found) && held.works_at(NOW))
    }

    #[test]
    fn only_an_end_of_the_key_or_of_the_secret_ends_it() {
        type Change = fn(&mut KeyRecord);
        let cases: &[(&str, Change, bool)] = &[
            ("nothing", |_| {}, true),
            ("renamed", |key| key.name = "other".into(), true),
            ("used", |key| key.last_used_at = Some(NOW), true),
            ("a later end", |key| key.expires_at = Some(LATER), true),
            ("expired", |key| key.expires_at = Some(NOW), false),
            ("not valid yet", |key| key.extras_mut().not_before = Some(LATER), false),
            ("disabled", |key| key.state = KeyState::Disabled, false),
            ("revoked", |key| key.state = KeyState::Revoked { at: NOW }, false),
            ("rotated, in grace", |key| rotated(key, digest("new"), digest("own"), LATER), true),
            ("rotated, grace over", |key| rotated(key, digest("new"), digest("own"), NOW), false),
            ("rotated twice", |key| rotated(key, digest("newer"), digest("new"), LATER), false),
            ("a next secret waits", waiting, true),
            (
                "a next secret waits in place of the grace",
                |key| {
                    rotated(key, digest("newer"), digest("own"), LATER);
                    waiting(key);
                },
                false,
            ),
            ("digested anew", |key| key.digest = peppered("own"), true),
            (
                "another secret under another pepper",
                |key| rotated(key, peppered("new"), digest("x"), LATER),
                false,
            ),
            ("another owner's", |key| key.owner = Owner::system(Mode::Live), false),
            ("another key's", |key| key.id = "k2".parse().unwrap(), false),
        ];
        for (name, change, expected) in cases {
            assert_eq!(goes_on(vec![Some(record(change))]), *expected, "{name}");
        }
        assert!(!goes_on(vec![None]), "deleted");
    }

    #[test]
    fn a_secret_that_is_digested_anew_is_followed_through_a_rotation() {
        let anew = || Some(record(|key| key.digest = peppered("own")));
        let after = || Some(record(|key| rotated(key, peppered("new"), peppered("own"), LATER)));
        assert!(goes_on(vec![anew(), after()]));
        let retired = || Some(record(|key| rotated(key, digest("new"), digest("own"), LATER)));
        assert!(goes_on(vec![retired(), after()]));
        let over = || Some(record(|key| rotated(key, peppered("new"), peppered("own"), NOW)));
        assert!(!goes_on(vec![anew(), over()]));
    }

    #[test]
    fn a_companion_that_a_token_names_is_asked_for_no_secret() {
        let mut held = Held::key(&record(|_| {}), None);
        assert!(held.renew(Some(record(|key| rotated(key, digest("new"), digest("own"), NOW)))));
        assert!(held.works_at(NOW));
        assert!(held.renew(Some(record(|key| key.state = KeyState::Disabled))));
        assert!(!held.works_at(NOW));
    }
}
