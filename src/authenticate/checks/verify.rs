//! Whether a key that was found is the one that was presented, and may be used.

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::ClientAddress;
use crate::clock::Timestamp;
use crate::key::{Candidates, Digest, DigestAlgorithm, KeyId, KeyRecord, KeyState, Mode};
use crate::rejection::Reason;
use crate::store::KeySelector;

/// A credential as it goes to the store: no secret in it any more.
pub(super) struct Presented {
    pub(super) id: Option<KeyId>,
    pub(super) mode: Option<Mode>,
    pub(super) digests: Candidates,
    pub(super) scheme: &'static str,
    /// Who is counted if it is bad; `None` where nobody is.
    pub(super) counted: Option<ClientAddress>,
}

/// Where a request comes from: `None` if a proxy does not say so.
pub(super) type Client = Result<Option<IpAddr>, Reason>;

/// A key whose secret was right.
pub(super) struct Verified {
    pub(super) record: Arc<KeyRecord>,
    /// By which of the digests that it may be stored under; the first is the one that new ones are made by.
    pub(super) candidate: usize,
    /// Whether it was the next secret, so far unused.
    pub(super) is_next: bool,
}

impl Verified {
    /// Whether this use of the key changes what is stored of it.
    pub(super) fn is_outdated(&self) -> bool {
        self.candidate > 0 || self.is_next
    }
}

/// Why a key is not good, and its identifier if there is such a key.
pub(super) struct Unverified {
    pub(super) reason: Reason,
    pub(super) id: Option<KeyId>,
}

impl Presented {
    pub(super) fn selector(&self) -> KeySelector<'_> {
        match &self.id {
            Some(id) => KeySelector::Id(id),
            None => KeySelector::Digests(&self.digests),
        }
    }
}

/// Stands in where there is no secret to compare with, so that every look-up makes the same comparisons. No key is
/// known that has it, and if there were one, there would be no record to let it in.
pub(super) static NO_SECRET: Digest = Digest::from_parts(DigestAlgorithm::Sha256, [0; 32]);

#[inline(always)]
pub(super) fn verify(
    found: Option<Arc<KeyRecord>>,
    presented: &Presented,
    now: Timestamp,
) -> Result<Verified, Unverified> {
    let [in_use, other] = found.as_ref().map_or([&NO_SECRET; 2], |record| live_digests(record, now));
    let mut matched = None;
    for (candidate, digest) in presented.digests.iter().enumerate() {
        for (stored, is_other) in [(in_use, false), (other, true)] {
            if same(digest, stored) {
                matched = Some((candidate, is_other));
            }
        }
    }
    let Some(record) = found else { return Err(Unverified { reason: Reason::KeyUnknown, id: None }) };
    let unverified = |reason| Err(Unverified { reason, id: Some(record.id) });
    let Some((candidate, is_other)) = matched else { return unverified(Reason::SecretMismatch) };
    if presented.mode.is_some_and(|mode| mode != record.owner.mode) {
        return unverified(Reason::ModeMismatch);
    }
    if let Err(reason) = check_state(&record, now) {
        return unverified(reason);
    }
    let is_next = is_other && record.extras.next.is_some();
    Ok(Verified { record, candidate, is_next })
}

pub(super) fn check_state(record: &KeyRecord, now: Timestamp) -> Result<(), Reason> {
    match record.state {
        KeyState::Active => {}
        KeyState::Disabled => return Err(Reason::KeyDisabled),
        KeyState::Revoked { .. } => return Err(Reason::KeyRevoked),
    }
    if record.extras.not_before.is_some_and(|start| now < start) {
        return Err(Reason::KeyNotYetValid);
    }
    if record.expires_at.is_some_and(|end| end <= now) {
        return Err(Reason::KeyExpired);
    }
    Ok(())
}

/// Asks for the client only if the key is not for everywhere.
pub(super) fn check_address(record: &KeyRecord, client: impl FnOnce() -> Client) -> Result<(), Reason> {
    let allowed = &record.extras.allowed_addresses;
    if allowed.is_empty() {
        return Ok(());
    }
    match client()? {
        Some(address) if allowed.iter().any(|network| network.contains(address)) => Ok(()),
        _ => Err(Reason::AddressNotAllowed),
    }
}

/// The digests of the secrets that verify: the one in use, and one other at most, of which the next one comes first.
pub(super) fn live_digests(record: &KeyRecord, now: Timestamp) -> [&Digest; 2] {
    let extras = &*record.extras;
    let other = match (&extras.next, &extras.previous) {
        (Some(next), _) => &next.digest,
        (None, Some(previous)) if now < previous.valid_until => &previous.digest,
        _ => &NO_SECRET,
    };
    [&record.digest, other]
}

fn same(candidate: &Digest, stored: &Digest) -> bool {
    #[cfg(test)]
    tests::COMPARISONS.set(tests::COMPARISONS.get() + 1);
    candidate.ct_eq(stored)
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::key::{NextSecret, Owner, Peppers, PreviousSecret};

    thread_local! {
        pub(in super::super) static COMPARISONS: Cell<usize> = const { Cell::new(0) };
    }

    pub(in super::super) const NOW: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

    pub(in super::super) fn presented(secret: &str) -> Presented {
        Presented {
            id: None,
            mode: Some(Mode::Live),
            digests: Peppers::none().candidates(secret),
            scheme: "ApiKey",
            counted: None,
        }
    }

    pub(in super::super) fn record(change: impl FnOnce(&mut KeyRecord)) -> Option<Arc<KeyRecord>> {
        let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
        let mut record = KeyRecord::new("k1".parse().unwrap(), owner, Peppers::none().digest("right"), NOW);
        change(&mut record);
        Some(Arc::new(record))
    }

    fn outcome(found: Option<Arc<KeyRecord>>, secret: &str) -> String {
        match verify(found, &presented(secret), NOW) {
            Ok(_) => "ok".into(),
            Err(unverified) => format!("{:?}", unverified.reason),
        }
    }

    #[test]
    fn states_are_judged_in_their_declared_order() {
        let second = Duration::from_secs(1);
        let (before, after) = (NOW.saturating_sub(second), NOW.saturating_add(second));
        assert_eq!(outcome(record(|_| {}), "right"), "ok");
        assert_eq!(outcome(record(|key| key.owner.mode = Mode::Test), "right"), "ModeMismatch");
        let revoked = KeyState::Revoked { at: NOW };
        assert_eq!(outcome(record(|key| key.state = revoked), "right"), "KeyRevoked");
        assert_eq!(outcome(record(|key| key.state = KeyState::Disabled), "right"), "KeyDisabled");
        let instants = [
            ("starts now", Some(NOW), None, "ok"),
            ("ends now", None, Some(NOW), "KeyExpired"),
            ("starts later", Some(after), None, "KeyNotYetValid"),
            ("ended before", None, Some(before), "KeyExpired"),
            ("ends later", Some(before), Some(after), "ok"),
            ("starts later and ended before", Some(after), Some(before), "KeyNotYetValid"),
        ];
        for (name, not_before, expires_at, want) in instants {
            let found = record(|key| (key.extras.not_before, key.expires_at) = (not_before, expires_at));
            assert_eq!(outcome(found, "right"), want, "{name}");
        }
        let worst = record(|key| {
            key.owner.mode = Mode::Test;
            key.state = KeyState::Revoked { at: NOW };
            key.expires_at = Some(NOW);
        });
        assert_eq!(
            outcome(worst.clone(), "wrong"),
            "SecretMismatch",
            "a wrong secret learns nothing of the state"
        );
        assert_eq!(outcome(worst, "right"), "ModeMismatch");
        assert_eq!(outcome(None, "right"), "KeyUnknown");
    }

    #[test]
    fn r58_the_previous_secret_verifies_until_its_grace_ends() {
        let rotated = |valid_until: Timestamp| {
            record(|key| {
                key.extras.previous =
                    Some(PreviousSecret { digest: Peppers::none().digest("old"), valid_until });
            })
        };
        let grace = NOW.saturating_add(Duration::from_millis(1));
        assert_eq!(outcome(rotated(grace), "old"), "ok");
        assert_eq!(outcome(rotated(grace), "right"), "ok");
        assert_eq!(outcome(rotated(NOW), "old"), "SecretMismatch");
        assert_eq!(outcome(rotated(NOW), "right"), "ok");
    }

    #[test]
    fn r58_the_next_secret_verifies_beside_the_one_in_use_and_no_third_does() {
        let [old, next] = ["old", "next"].map(|secret| Peppers::none().digest(secret));
        let grace = Duration::from_secs(60);
        let rotating = || {
            record(|key| {
                let hint = String::new();
                key.extras.next = Some(Box::new(NextSecret { digest: next, hint, created_at: NOW, grace }));
                key.extras.previous =
                    Some(PreviousSecret { digest: old, valid_until: NOW.saturating_add(grace) });
            })
        };
        assert_eq!(outcome(rotating(), "right"), "ok");
        assert_eq!(outcome(rotating(), "next"), "ok");
        assert_eq!(outcome(rotating(), "old"), "SecretMismatch");
    }

    #[test]
    fn r18_an_unknown_key_costs_the_comparisons_of_a_known_one() {
        let comparisons = |found, secret| {
            COMPARISONS.set(0);
            let _ = verify(found, &presented(secret), NOW);
            COMPARISONS.get()
        };
        let expected = comparisons(record(|_| {}), "right");
        assert_eq!(expected, 2, "the secret in use and one other");
        assert_eq!(comparisons(None, "right"), expected, "unknown");
        assert_eq!(comparisons(record(|_| {}), "wrong"), expected, "wrong secret");
        assert_eq!(comparisons(record(|key| key.state = KeyState::Disabled), "right"), expected, "disabled");
    }
}
