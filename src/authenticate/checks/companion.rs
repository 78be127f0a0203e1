//! A key's companions: the same checks in the same order, for all parts of a credential at once.

use std::cell::LazyCell;
use std::sync::Arc;
use std::task::Poll;

use super::verify::{
    Client, NO_SECRET, Presented, Verified, check_address, check_state, live_digests, verify,
};
use super::{Authenticator, Step, StorePanicked, Verdict, bounded};
use crate::address::Network;
use crate::authenticate::Companions;
use crate::clock::{Now, Timestamp};
use crate::credential::{Credential, Extracted, MalformedCredential, RequestView, single_value};
use crate::key::KeyRecord;
use crate::log;
use crate::principal::{Authentication, Caller, Companion, Principal};
use crate::rejection::{Reason, Rejection};
use crate::session::{Bound, SessionToken};
use crate::store::{FindResult, KeySelector};

/// What came with the key, one of the two at least.
pub(super) struct Accompanying<'r> {
    secret: Option<Credential<'r>>,
    token: Option<SessionToken>,
}

/// The same as it goes to the store: no secret in it any more.
struct PresentedCompanion {
    secret: Option<Presented>,
    token: Option<SessionToken>,
}

/// A companion that may be used.
enum VerifiedCompanion {
    BySecret(Verified),
    /// Its secret was not presented, a token was.
    Named(Arc<KeyRecord>),
}

/// A key and a companion that belong together.
struct Pair {
    key: Verified,
    companion: VerifiedCompanion,
}

impl Companions {
    /// Extraction and format of what comes with the key: `key` says whether there is one, or what is wrong with it.
    /// `None` if nothing comes with it, or the key itself is to be refused.
    ///
    /// A part that is missing is told before one that is wrong, whichever they are.
    pub(super) fn extract<'r>(
        &self,
        request: RequestView<'r>,
        key: Result<bool, &Reason>,
    ) -> Result<Option<Accompanying<'r>>, Reason> {
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
        Ok(Some(Accompanying { secret, token }))
    }
}

const NO_TOKEN: MalformedCredential = MalformedCredential::Other("it is no session token of this host");

fn of_companion(reason: Reason) -> Reason {
    Reason::CompanionInvalid(Box::new(reason))
}

impl Authenticator {
    /// Decides about a key and what came with it.
    pub(super) fn check_pair(
        self: &Arc<Self>,
        key: Presented,
        accompanying: Accompanying<'_>,
        now: Now,
        request: RequestView<'_>,
    ) -> Step {
        let Accompanying { secret, token } = accompanying;
        let secret = secret.map(|secret| self.presented(&secret, key.scheme, None));
        let companion = PresentedCompanion { secret, token };
        // The second is looked up whatever becomes of the first, so that both answers take as long.
        let answers = self.find_now(key.selector()).and_then(|first| {
            let second = self.find_now(companion.selector())?;
            Ok(first.map(|first| second.map(|second| (first, second))))
        });
        let answers = match answers {
            Ok(Poll::Ready(Poll::Ready(answers))) => answers,
            Ok(_) => {
                let client = self.client(request);
                return Step::Waiting(self.clone().look_up_pair(key, companion, now, client));
            }
            Err(StorePanicked) => return self.refused(Reason::StorePanicked),
        };
        match self.judge_pair(answers, &key, &companion, now, || self.client(request)) {
            Ok(pair) if self.is_pair_outdated(&pair) => {
                let authenticator = self.clone();
                Step::Waiting(Verdict(Box::pin(async move {
                    Ok(authenticator.bring_pair_up_to_date(pair, &key, &companion, now).await)
                })))
            }
            result => Step::Decided(result.map(|pair| self.pair_authenticated(pair, &key, &companion, now))),
        }
    }

    fn look_up_pair(
        self: Arc<Self>,
        key: Presented,
        companion: PresentedCompanion,
        now: Now,
        client: Client,
    ) -> Verdict {
        Verdict(Box::pin(async move {
            let answers =
                (self.store.find(key.selector()).await, self.store.find(companion.selector()).await);
            let pair = self.judge_pair(answers, &key, &companion, now, || client)?;
            Ok(self.bring_pair_up_to_date(pair, &key, &companion, now).await)
        }))
    }

    /// Whether this use changes what is stored of either.
    fn is_pair_outdated(&self, pair: &Pair) -> bool {
        pair.key.is_outdated()
            || matches!(&pair.companion, VerifiedCompanion::BySecret(secret) if secret.is_outdated())
    }

    async fn bring_pair_up_to_date(
        &self,
        mut pair: Pair,
        key: &Presented,
        companion: &PresentedCompanion,
        now: Now,
    ) -> Authentication {
        if pair.key.is_outdated() {
            self.refresh(key, &mut pair.key, now).await;
        }
        if let (VerifiedCompanion::BySecret(verified), Some(secret)) =
            (&mut pair.companion, &companion.secret)
            && verified.is_outdated()
        {
            self.refresh(secret, verified, now).await;
        }
        self.pair_authenticated(pair, key, companion, now)
    }

    fn pair_authenticated(
        &self,
        pair: Pair,
        key: &Presented,
        companion: &PresentedCompanion,
        now: Now,
    ) -> Authentication {
        for record in [&pair.key.record, pair.companion.record()] {
            self.note_use(record, now);
        }
        pair.authenticated(key, companion, now)
    }

    /// The store's answers for the key and its companion, judged: look-up, then state, then address.
    fn judge_pair(
        &self,
        (key, other): (FindResult, FindResult),
        presented: &Presented,
        companion: &PresentedCompanion,
        now: Now,
        client: impl FnOnce() -> Client,
    ) -> Result<Pair, Box<Rejection>> {
        let failed = |error| self.rejection(Reason::StoreFailed(error), Some(presented.scheme));
        let (key, other) = (key.map_err(failed)?, other.map_err(failed)?);
        let id = key.as_ref().map(|record| record.id);
        let instant = now.timestamp();
        let key = verify(key, presented, instant).map_err(|unverified| unverified.reason);
        let other = companion.verify(other, instant);
        let pair = key.and_then(|key| self.fit(key, other, companion.token.as_ref(), instant));
        // Every token comes to its end: that is nobody's guess.
        if let (Err(reason), Some(throttle), Some(address)) = (&pair, &self.throttle, presented.counted)
            && !matches!(reason, Reason::SessionTokenExpired)
        {
            throttle.count(address, now);
        }
        let client = LazyCell::new(client);
        let allowed = pair.and_then(|pair| {
            check_address(&pair.key.record, || LazyCell::force(&client).clone())?;
            check_address(pair.companion.record(), || LazyCell::force(&client).clone())?;
            Ok(pair)
        });
        allowed.map_err(|reason| {
            let mut rejection = self.rejection(reason, Some(presented.scheme));
            rejection.set_key_id(id);
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
            let tokens = self.companions.as_ref().and_then(|companions| companions.tokens.as_ref());
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
    /// One look-up finds the companion of the secret and of the token, as it has to be the same.
    fn selector(&self) -> KeySelector<'_> {
        match (&self.secret, &self.token) {
            (None, Some(token)) => KeySelector::Id(&token.companion),
            (None, None) => KeySelector::Digests(&[]),
            (Some(secret), _) => secret.selector(),
        }
    }

    fn verify(&self, found: Option<Arc<KeyRecord>>, now: Timestamp) -> Result<VerifiedCompanion, Reason> {
        let verified = match (&self.secret, found) {
            (Some(secret), found) => verify(found, secret, now)
                .map(VerifiedCompanion::BySecret)
                .map_err(|unverified| unverified.reason),
            (None, Some(record)) => check_state(&record, now).map(|()| VerifiedCompanion::Named(record)),
            (None, None) => Err(Reason::KeyUnknown),
        };
        verified.map_err(of_companion)
    }
}

impl VerifiedCompanion {
    fn record(&self) -> &Arc<KeyRecord> {
        match self {
            Self::BySecret(verified) => &verified.record,
            Self::Named(record) => record,
        }
    }
}

impl Pair {
    fn authenticated(self, key: &Presented, companion: &PresentedCompanion, now: Now) -> Authentication {
        let (record, other) = (self.key.record, self.companion.record().clone());
        log::accepted(&record);
        let secret = companion.secret.as_ref().and_then(|secret| secret.digests.first());
        let presented = key.digests.first().copied().zip(secret.copied());
        let principal = Principal::new(limited(record, &other), key.scheme);
        let principal = principal.with_companion(Companion { record: other, presented });
        Authentication { caller: Caller::Principal(principal), now }
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
    use super::super::verify::tests::{COMPARISONS, NOW, presented, record};
    use super::*;
    use crate::key::KeyState;

    #[test]
    fn r18_an_unknown_companion_costs_the_comparisons_of_a_known_one() {
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
