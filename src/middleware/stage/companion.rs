//! 4 to 6 for a key with a companion: the same checks in the same order, for all parts of a credential at once.

use std::cell::LazyCell;
use std::sync::Arc;

use super::address::{Client, check_address};
use super::extraction::bounded;
use super::lookup::{NO_SECRET, live_digests, verify};
use super::state::check_state;
use crate::address::Network;
use crate::clock::{Now, Timestamp};
use crate::credential::{Bound, Companions, Extracted, MalformedCredential, SessionToken, single_value};
use crate::identity::{Caller, Companion, Principal};
use crate::key::KeyRecord;
use crate::middleware::checks::Checks;
use crate::middleware::facts::{Facts, Flow, Pending};
use crate::middleware::presented::{
    AccompanyingParts, Pair, PresentedCompanion, PresentedKey, Verified, VerifiedCompanion,
};
use crate::rejection::{ErrorKind, Reason, Rejection};
use crate::request::RequestView;
use crate::store::{FindResult, Lookup};

impl Companions {
    /// Extraction and format of what comes with the key: `key` says whether there is one, or what is wrong with it.
    /// `None` if nothing comes with it, or the key itself is to be refused.
    ///
    /// A part that is missing is reported before one that is wrong, whichever they are.
    pub(in crate::middleware) fn extract<'r>(
        &self,
        request: RequestView<'r>,
        key: Result<bool, &Reason>,
    ) -> Result<Option<Box<AccompanyingParts<'r>>>, Reason> {
        let secret = match self.secret.extract(request) {
            Extracted::Absent | Extracted::Malformed(MalformedCredential::Empty) => None,
            Extracted::Found(credential) => Some(bounded(&credential).map(|()| credential)),
            Extracted::Malformed(malformed) => Some(Err(malformed)),
        };
        let token =
            self.tokens.as_ref().and_then(|(name, _)| single_value(request.headers, name).transpose());
        let token = token.filter(|token| !matches!(token, Err(MalformedCredential::Empty)));
        match key {
            Ok(false) if secret.is_none() && token.is_none() => return Ok(None),
            Ok(false) | Err(Reason::CredentialMalformed(MalformedCredential::Empty)) => {
                return Err(Reason::CredentialMissing);
            }
            Ok(true) | Err(_) => {}
        }
        let needed = self.needed(request);
        if needed.needs_secret() && secret.is_none() {
            return Err(Reason::CompanionMissing { rule: needed.name() });
        }
        if needed.needs_token() && token.is_none() {
            return Err(Reason::SessionTokenMissing);
        }
        if key.is_err() || secret.is_none() && token.is_none() {
            return Ok(None);
        }
        let secret =
            secret.transpose().map_err(|malformed| of_companion(Reason::CredentialMalformed(malformed)))?;
        let token = match token.transpose().map_err(Reason::CredentialMalformed)? {
            Some(text) => Some(SessionToken::parse(text).ok_or(Reason::CredentialMalformed(NO_TOKEN))?),
            None => None,
        };
        Ok(Some(Box::new(AccompanyingParts { secret, token })))
    }
}

const NO_TOKEN: MalformedCredential =
    MalformedCredential::Other("it is no session token of this application");

fn of_companion(reason: Reason) -> Reason {
    Reason::CompanionInvalid(Box::new(reason))
}

impl Checks {
    /// Goes on with a key and what came with it.
    pub(super) fn check_pair(
        self: &Arc<Self>,
        key: PresentedKey,
        accompanying: AccompanyingParts<'_>,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        let AccompanyingParts { secret, token } = accompanying;
        let secret = secret.map(|secret| self.presented(&secret, key.scheme, None));
        let companion = PresentedCompanion { secret, token };
        // The second is looked up whatever becomes of the first, so that both answers take as long.
        let lookups = self.lookups.find(key.selector()).and_then(|first| {
            let second = self.lookups.find(companion.selector())?;
            Ok((first, second))
        });
        let (first, second) = match lookups {
            Ok(lookups) => lookups,
            Err(reason) => return self.rejected(reason, None),
        };
        match (first.split(), second.split()) {
            (Ok(first), Ok(second)) => {
                self.pair_found((first, second), key, companion, || self.client(request), facts, request)
            }
            (first, second) => {
                let find = (Lookup::of(first), Lookup::of(second));
                Flow::Waiting(Pending::Pair(Box::new((find, key, companion, self.client(request)))))
            }
        }
    }

    /// Goes on with what the store has found for both.
    pub(crate) fn pair_found(
        self: &Arc<Self>,
        found: (FindResult, FindResult),
        key: PresentedKey,
        companion: PresentedCompanion,
        client: impl FnOnce() -> Client,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        match self.judge_pair(found, &key, &companion, facts.now(&*self.clock), client) {
            Ok(pair) if pair.is_outdated() => {
                Flow::Waiting(Pending::RefreshPair(Box::new((pair, key, companion))))
            }
            Ok(pair) => {
                facts.caller = Caller::Principal(pair.into_principal(&key, &companion));
                self.accept(facts, request)
            }
            Err(rejection) => rejection.into(),
        }
    }

    /// The caller, once what this use of both changes has been stored.
    pub(crate) async fn refreshed_pair(
        &self,
        mut pair: Pair,
        key: &PresentedKey,
        companion: &PresentedCompanion,
        now: Now,
    ) -> Principal {
        if pair.key.is_outdated() {
            let retired_until = pair.key.retired_until;
            let record = self.refreshed(key, pair.key, now).await;
            pair.key = Verified { retired_until, ..record.into() };
        }
        if let (VerifiedCompanion::BySecret(verified), Some(secret)) = (&pair.companion, &companion.secret) {
            if verified.is_outdated() {
                let (verified, retired_until) = (verified.clone(), verified.retired_until);
                let record = self.refreshed(secret, verified, now).await;
                pair.companion = VerifiedCompanion::BySecret(Verified { retired_until, ..record.into() });
            }
        }
        pair.into_principal(key, companion)
    }

    /// The store's answers for the key and its companion, judged: lookup, then state, then address.
    fn judge_pair(
        &self,
        (key, other): (FindResult, FindResult),
        presented: &PresentedKey,
        companion: &PresentedCompanion,
        now: Now,
        client: impl FnOnce() -> Client,
    ) -> Result<Pair, Rejection> {
        let failed = |error| self.rejection(Reason::StoreFailed(error), Some(presented.scheme));
        let (key, other) = (key.map_err(failed)?, other.map_err(failed)?);
        let record = key.clone();
        let instant = now.timestamp();
        let key = verify(key, presented, instant).map_err(|unverified| unverified.reason);
        let other = companion.verify(other, instant);
        let pair = key.and_then(|key| self.fit(key, other, companion.token.as_ref(), instant));
        // Every token expires: that is not counted as a guess.
        let is_bad = |reason: &Reason| {
            !matches!(reason, Reason::SessionTokenExpired) && reason.kind() != ErrorKind::Unavailable
        };
        if pair.as_ref().is_err_and(is_bad) {
            self.count_bad_credential(presented.counted, now);
        }
        let client = LazyCell::new(client);
        let allowed = pair.and_then(|pair| {
            check_address(&pair.key.record, || LazyCell::force(&client).clone())?;
            check_address(pair.companion.record(), || LazyCell::force(&client).clone())?;
            Ok(pair)
        });
        allowed.map_err(|reason| {
            let mut rejection = self.rejection(reason, Some(presented.scheme));
            rejection.set_key(record);
            rejection
        })
    }

    /// Whether a good key and its companion belong together, and the token to both.
    fn fit(
        &self,
        key: Verified,
        other: Result<VerifiedCompanion, Reason>,
        token: Option<&SessionToken>,
        now: Timestamp,
    ) -> Result<Pair, Reason> {
        let is_genuine = token.is_none_or(|token| {
            let digests = other.as_ref().map_or([&NO_SECRET; 2], |other| live_digests(other.record(), now));
            let bound = Bound {
                owner: &key.record.owner,
                key: (&key.record.id, &live_digests(&key.record, now)),
                companion: &digests,
            };
            let tokens =
                self.credentials.companions.as_ref().and_then(|companions| companions.tokens.as_ref());
            tokens.is_some_and(|(_, tokens)| tokens.verify(token, &bound))
        });
        let companion = other?;
        if companion.record().owner != key.record.owner || companion.record().id == key.record.id {
            return Err(Reason::CompanionMismatch);
        }
        if let Some(token) = token {
            if !is_genuine || token.companion != companion.record().id {
                return Err(Reason::SessionTokenInvalid);
            }
            if token.expires_at <= now {
                return Err(Reason::SessionTokenExpired);
            }
        }
        Ok(Pair { key, companion })
    }
}

impl PresentedCompanion {
    fn verify(&self, found: Option<Arc<KeyRecord>>, now: Timestamp) -> Result<VerifiedCompanion, Reason> {
        let verified = match (&self.secret, found) {
            (Some(secret), found) => verify(found, secret, now)
                .map(VerifiedCompanion::BySecret)
                .map_err(|unverified| unverified.reason),
            (None, found) => match self.selector().checked(Ok(found)) {
                Ok(Some(record)) => check_state(&record, now).map(|()| VerifiedCompanion::Named(record)),
                Ok(None) => Err(Reason::KeyUnknown),
                Err(error) => Err(Reason::StoreFailed(error)),
            },
        };
        verified.map_err(|reason| match reason.kind() {
            ErrorKind::Unavailable => reason,
            _ => of_companion(reason),
        })
    }
}

impl Pair {
    fn into_principal(self, key: &PresentedKey, companion: &PresentedCompanion) -> Principal {
        let of_companion = match &self.companion {
            VerifiedCompanion::BySecret(verified) => verified.retired_until,
            VerifiedCompanion::Named(_) => None,
        };
        let retired_until = self.key.retired_until.into_iter().chain(of_companion).min();
        let (record, other) = (self.key.record, self.companion.record().clone());
        let secret = companion.secret.as_ref().and_then(|secret| secret.digests.first());
        let presented = key.digests.first().copied().zip(secret.copied());
        let principal = Verified::principal(limited(record, &other), key.scheme, retired_until);
        principal.with_companion(Companion { record: other, presented })
    }
}

/// The key, with no more than both may do: what the caller makes of it is bound by that, too.
fn limited(key: Arc<KeyRecord>, companion: &KeyRecord) -> Arc<KeyRecord> {
    let scopes = key.scopes.intersection(&companion.scopes);
    let expires_at = match (key.expires_at, companion.expires_at) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let addresses = common(&key.extras.allowed_addresses, &companion.extras.allowed_addresses);
    if scopes == key.scopes && expires_at == key.expires_at && addresses == key.extras.allowed_addresses {
        return key;
    }
    let mut key = Arc::unwrap_or_clone(key);
    (key.scopes, key.expires_at) = (scopes, expires_at);
    if !addresses.is_empty() {
        key.extras.allowed_addresses = addresses;
    }
    Arc::new(key)
}

/// The networks that lie in both, where none at all are every address. There are some, as the client's address lies in
/// both: of two networks that have an address in common one contains the other.
fn common(one: &[Network], other: &[Network]) -> Vec<Network> {
    if let ([], networks) | (networks, []) = (one, other) {
        return networks.to_vec();
    }
    let lies_in =
        |outer: &[Network], inner: &Network| outer.iter().any(|outer| outer.contains_network(inner));
    let of_one = one.iter().filter(|network| lies_in(other, network));
    let of_other = other.iter().filter(|network| lies_in(one, network) && !one.contains(network));
    of_one.chain(of_other).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::lookup::tests::{COMPARISONS, NOW, presented, record};
    use super::*;
    use crate::key::KeyState;

    #[test]
    fn an_unknown_companion_costs_the_comparisons_of_a_known_one() {
        let comparisons = |found, secret| {
            COMPARISONS.set(0);
            let companion = PresentedCompanion { secret: Some(presented(secret)), token: None };
            let is_good = companion.verify(found, NOW).is_ok();
            (is_good, COMPARISONS.get())
        };
        assert_eq!(comparisons(record(|_| {}), "right"), (true, 2));
        assert_eq!(comparisons(None, "right"), (false, 2), "unknown");
        assert_eq!(comparisons(record(|_| {}), "wrong"), (false, 2), "wrong secret");
        assert_eq!(
            comparisons(record(|key| key.state = KeyState::Disabled), "right"),
            (false, 2),
            "disabled"
        );
    }
}
