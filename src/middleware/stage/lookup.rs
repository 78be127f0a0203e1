//! 4, lookup: the stored key of a credential, compared in constant time.

use std::sync::Arc;

use super::address::{Client, check_address};
use super::state::check_state;
use crate::address::ClientAddress;
use crate::clock::{Now, Timestamp};
use crate::credential::Credential;
use crate::identity::Caller;
use crate::key::{Actor, Digest, ImportedHash, KeyId, KeyRecord};
use crate::log;
use crate::manage::{AuditEvent, KeyAction};
use crate::middleware::checks::Checks;
use crate::middleware::facts::{Facts, Flow, Pending};
use crate::middleware::presented::{AccompanyingParts, PresentedKey, Proof, Verified};
use crate::rejection::{ErrorKind, Reason, Rejection};
use crate::request::RequestView;
use crate::store::{FindResult, StoreError, StoreErrorKind};

/// Why a key is not good, and its record if there is such a key.
pub(in super::super) struct Unverified {
    pub(in super::super) reason: Reason,
    pub(in super::super) record: Option<Arc<KeyRecord>>,
}

/// Why a request does not go on with the key that was found.
enum Stopped {
    Rejected(Rejection),
    /// Its secret has to be verified against the hash of another system.
    Imported(Arc<KeyRecord>),
}

impl Stopped {
    #[cold]
    #[inline(never)]
    fn into_flow(self, presented: PresentedKey) -> Flow {
        match self {
            Self::Rejected(rejection) => rejection.into(),
            Self::Imported(record) => Flow::Waiting(Pending::Imported { presented, record }),
        }
    }
}

impl Checks {
    /// Goes on with the one credential of a request and what came with it.
    #[inline(always)]
    pub(super) fn check_credential(
        self: &Arc<Self>,
        proof: Proof<'_>,
        scheme: &'static str,
        accompanying: Option<Box<AccompanyingParts<'_>>>,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        let now = facts.now(&*self.clock);
        let counted = match self.throttle(request, now) {
            Ok(counted) => counted.filter(|_| !facts.is_explained()),
            Err(reason) => return self.rejected(reason, None),
        };
        let presented = match proof {
            Proof::Credential(credential) => {
                if let Some(token) = credential.session_token() {
                    return self.check_session(token, scheme, counted);
                }
                self.presented(credential, scheme, counted)
            }
            Proof::Record(record) => self.presented_as(record, scheme),
        };
        if let Some(accompanying) = accompanying {
            return self.check_pair(presented, *accompanying, facts, request);
        }
        let lookup = match self.lookups.find(presented.selector()) {
            Ok(lookup) => lookup,
            Err(reason) => return self.rejected(reason, None),
        };
        match lookup.split() {
            Ok(found) => self.found(found, presented, || self.client(request), facts, request),
            Err(find) => Flow::Waiting(Pending::Lookup { find, client: self.client(request), presented }),
        }
    }

    #[inline]
    pub(super) fn presented(
        &self,
        credential: &Credential<'_>,
        scheme: &'static str,
        counted: Option<ClientAddress>,
    ) -> PresentedKey {
        let digests = self.peppers.digests(credential.expose_secret());
        PresentedKey { id: credential.id, mode: credential.mode, digests, scheme, counted }
    }

    /// The secret in use of a key, as a request would present it.
    #[cold]
    fn presented_as(&self, record: &KeyRecord, scheme: &'static str) -> PresentedKey {
        let hash = record.extras.imported_hash.as_ref();
        let is_verifiable = match hash.is_some_and(|hash| hash.stand_in() == record.digest) {
            true => self.imported_hashes.is_some(),
            false => self.peppers.accepts(record.digest.pepper_id()),
        };
        // No secret is empty: these digests have the peppers of this assembly, and are those of no key.
        let digests = if is_verifiable { record.digest.into() } else { self.peppers.digests("") };
        let (id, mode) = (Some(record.id), Some(record.owner.mode));
        PresentedKey { id, mode, digests, scheme, counted: None }
    }

    /// Goes on with what the store has found.
    #[inline(always)]
    pub(crate) fn found(
        self: &Arc<Self>,
        found: FindResult,
        presented: PresentedKey,
        client: impl FnOnce() -> Client,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        match self.judge(found, &presented, facts.now(&*self.clock), client) {
            Ok(verified) if verified.is_outdated() => Flow::Waiting(Pending::Refresh { presented, verified }),
            Ok(verified) => {
                let Verified { record, retired_until, .. } = verified;
                // Written where it stays: to move what was just written makes the processor wait.
                facts.caller =
                    Caller::Principal(Verified::principal(record, presented.scheme, retired_until));
                self.accept(facts, request)
            }
            Err(stopped) => stopped.into_flow(presented),
        }
    }

    /// The store's answer, judged: lookup, then state, then address.
    #[inline(always)]
    fn judge(
        &self,
        found: FindResult,
        presented: &PresentedKey,
        now: Now,
        client: impl FnOnce() -> Client,
    ) -> Result<Verified, Stopped> {
        let rejected = |reason, record| {
            let mut rejection = self.rejection(reason, Some(presented.scheme));
            rejection.set_key(record);
            Stopped::Rejected(rejection)
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return Err(rejected(Reason::StoreFailed(error), None)),
        };
        let verified = match verify(found, presented, now.timestamp()) {
            Ok(verified) => verified,
            Err(unverified) => return Err(self.stopped(unverified, presented, now)),
        };
        match check_address(&verified.record, client) {
            Ok(()) => Ok(verified),
            Err(reason) => Err(rejected(reason, Some(verified.record))),
        }
    }

    /// A key that is not good is counted, unless another hash has to be looked at first.
    #[cold]
    #[inline(never)]
    fn stopped(&self, unverified: Unverified, presented: &PresentedKey, now: Now) -> Stopped {
        match unverified {
            Unverified { reason: Reason::SecretMismatch, record: Some(record) }
                if live_hash(&record, now.timestamp()).is_some() =>
            {
                Stopped::Imported(record)
            }
            Unverified { reason, record } => {
                // The client is not to blame for a record that can't be judged.
                if reason.kind() != ErrorKind::Unavailable {
                    self.count_bad_credential(presented.counted, now);
                }
                let mut rejection = self.rejection(reason, Some(presented.scheme));
                rejection.set_key(record);
                Stopped::Rejected(rejection)
            }
        }
    }

    /// The record as this use of the key leaves it. A key moves to the current pepper when it is used, since only then is
    /// its text known; and the next secret is put in use when it is first used. If that can't be stored now, a later use
    /// will.
    pub(crate) async fn refreshed(
        &self,
        presented: &PresentedKey,
        verified: Verified,
        now: Now,
    ) -> Arc<KeyRecord> {
        let Verified { record: stored, candidate, is_next, .. } = verified;
        let mut record = KeyRecord::clone(&stored);
        let mut event = None;
        if let Some(next) = record.extras.next.take_if(|_| is_next) {
            record.put_in_use(*next, now.timestamp());
            event = Some(activation(&record, now.timestamp()));
        }
        if candidate > 0 {
            let (new, old) = (presented.digests[0], presented.digests[candidate]);
            let previous = record.extras.previous.as_mut().map(|previous| &mut previous.digest);
            let holders = [Some(&mut record.digest), previous].into_iter().flatten();
            holders.filter(|held| **held == old).for_each(|held| *held = new);
        }
        match self.lookups.store().refresh(record.clone(), event.as_ref()).await {
            Ok(()) => {
                if let Some(event) = event {
                    event.log();
                    self.reporter.iter().for_each(|reporter| reporter.report(&event));
                }
            }
            // Others have changed the key meanwhile; perhaps to the very same.
            Err(error) if error.kind() == StoreErrorKind::Conflict => {}
            Err(error) => self.not_refreshed(&stored.id, &error, now),
        }
        Arc::new(record)
    }

    pub(super) fn not_refreshed(&self, id: &KeyId, error: &StoreError, now: Now) {
        log::key_not_refreshed(id, error, self.lines.admit("key_not_refreshed", now.monotonic_nanos()));
    }
}

/// The event of the first use of a next secret, which completes a rotation.
fn activation(record: &KeyRecord, at: Timestamp) -> AuditEvent {
    let (owner, actor) = (record.owner.clone(), Actor::Key(record.id));
    AuditEvent { key_id: Some(record.id), ..AuditEvent::new(KeyAction::Activate, owner, actor, at) }
}

/// Stands in where there is no secret to compare with, so that every lookup makes the same comparisons. No key is known
/// that has it, and if there were one, there would be no record to let it in.
pub(super) static NO_SECRET: Digest = Digest::from_parts(None, [0; 32]);

#[inline(always)]
pub(in super::super) fn verify(
    found: Option<Arc<KeyRecord>>,
    presented: &PresentedKey,
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
    let Some(record) = found else { return Err(Unverified { reason: Reason::KeyUnknown, record: None }) };
    let unverified = |reason, record| Err(Unverified { reason, record: Some(record) });
    if presented.id.is_some_and(|id| id != record.id) {
        let reason = Reason::StoreFailed(presented.selector().mismatch(&record));
        return Err(Unverified { reason, record: None });
    }
    let Some((candidate, is_other)) = matched else {
        return unverified(why_none_matched(&record, presented, now), record);
    };
    if presented.mode.is_some_and(|mode| mode != record.owner.mode) {
        return unverified(Reason::ModeMismatch, record);
    }
    if let Err(reason) = check_state(&record, now) {
        return unverified(reason, record);
    }
    let is_next = is_other && record.extras.next.is_some();
    let previous = record.extras.previous.filter(|_| is_other && !is_next);
    let retired_until = previous.map(|previous| previous.valid_until);
    Ok(Verified { record, candidate, is_next, retired_until })
}

/// Why the record that was found has none of the digests presented.
#[cold]
#[inline(never)]
fn why_none_matched(record: &KeyRecord, presented: &PresentedKey, now: Timestamp) -> Reason {
    // By a digest it is found as well if that is of a secret which has ended.
    let selector = presented.selector();
    if !selector.selects(record) {
        return Reason::StoreFailed(selector.mismatch(record));
    }
    if live_hash(record, now).is_some() {
        return Reason::SecretMismatch;
    }
    let is_known = |pepper| presented.digests.iter().any(|digest| digest.pepper_id() == pepper);
    let live = std::iter::once(&record.digest).chain(record.other_secret(now));
    match live.map(Digest::pepper_id).find(|pepper| !is_known(*pepper)) {
        Some(pepper) => Reason::PepperMissing(pepper),
        None => Reason::SecretMismatch,
    }
}

/// The digests of the secrets that verify: the one in use, and one other at most.
pub(super) fn live_digests(record: &KeyRecord, now: Timestamp) -> [&Digest; 2] {
    [&record.digest, record.other_secret(now).unwrap_or(&NO_SECRET)]
}

/// The hash of a secret that would verify now, if it were known.
pub(in crate::middleware) fn live_hash(record: &KeyRecord, now: Timestamp) -> Option<&ImportedHash> {
    let hash = record.extras.imported_hash.as_ref()?;
    let stand_in = hash.stand_in();
    live_digests(record, now).into_iter().any(|digest| *digest == stand_in).then_some(hash)
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
    use crate::key::KeyState;
    use crate::key::{Mode, NextSecret, Owner, Peppers, PreviousSecret};

    thread_local! {
        pub(in super::super) static COMPARISONS: Cell<usize> = const { Cell::new(0) };
    }

    pub(in super::super) const NOW: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

    pub(in super::super) fn presented(secret: &str) -> PresentedKey {
        PresentedKey {
            id: Some("k1".parse().unwrap()),
            mode: Some(Mode::Live),
            digests: Peppers::none().digests(secret),
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
    fn the_previous_secret_verifies_until_its_grace_ends() {
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
    fn the_next_secret_verifies_beside_the_one_in_use_and_no_third_does() {
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
    fn an_unknown_key_costs_the_comparisons_of_a_known_one() {
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
