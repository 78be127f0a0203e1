//! The checks from the credential to the principal, in the order that [`Check`](crate::rejection::Check) declares.

mod companion;
mod verify;

use std::future::Future;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, Entry, ORIGIN};
use http::{HeaderMap, HeaderName, Method};

use self::companion::Accompanying;
use self::verify::{Client, Presented, Unverified, Verified, check_address, verify};
use super::challenges::Challenges;
use super::parts::Companions;
use super::throttle::Throttle;
use crate::address::{ClientAddress, ClientAddressSource, PeerAddress};
use crate::clock::{Clock, Now};
use crate::credential::{
    Challenge, Credential, CredentialExtractor, Extracted, InvalidChallenge, MAX_CREDENTIAL_LENGTH,
    MalformedCredential, RequestView,
};
use crate::key::{KeyRecord, Peppers};
use crate::log;
use crate::principal::{Authentication, Caller, Principal};
use crate::rejection::{Reason, Rejection};
use crate::store::{FindResult, KeySelector, KeyStore, LastUse, StoreErrorKind};
use crate::user_session::SessionAuthenticator;

/// Everything that is configured. Decides about requests, knows of no bodies and no services.
#[derive(Clone)]
pub(super) struct Authenticator {
    pub(super) store: Arc<dyn KeyStore>,
    pub(super) sessions: Option<Arc<dyn SessionAuthenticator>>,
    pub(super) extractors: Vec<Extractor>,
    pub(super) peppers: Peppers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) allows_anonymous: bool,
    pub(super) passes_cors_preflight: bool,
    pub(super) realm: Option<String>,
    pub(super) challenges_clients: bool,
    pub(super) client_address: Option<ClientAddressSource>,
    pub(super) throttle: Option<Throttle>,
    /// What else has to come with the key.
    pub(super) companions: Option<Companions>,
    pub(super) last_use: Option<LastUse>,
    /// Follows from the extractors and the companions.
    pub(super) credential_headers: Vec<HeaderName>,
    /// Follows from the extractors and the realm; none if clients are not to be challenged.
    pub(super) challenges: Challenges,
}

#[derive(Clone)]
pub(super) struct Extractor {
    extractor: Arc<dyn CredentialExtractor>,
    challenge: Challenge,
}

/// How far a request gets without waiting.
pub(super) enum Step {
    Decided(Result<Authentication, Box<Rejection>>),
    Waiting(Verdict),
}

/// A verdict that a store takes its time for.
pub(super) struct Verdict(Pin<Box<dyn Future<Output = Result<Authentication, Box<Rejection>>> + Send>>);

struct StorePanicked;

impl Authenticator {
    pub(super) fn add_extractor(&mut self, extractor: Arc<dyn CredentialExtractor>) {
        self.credential_headers.extend_from_slice(extractor.credential_headers());
        self.extractors.push(Extractor { challenge: extractor.challenge(), extractor });
        self.write_challenges();
    }

    pub(super) fn set_companions(&mut self, companions: Companions) {
        self.credential_headers.extend(companions.credential_headers().cloned());
        self.companions = Some(companions);
    }

    /// Whether answers need `Cache-Control: private`. RFC 9111 section 3.5 keeps shared caches from answers to
    /// requests with `Authorization`, and from no others.
    pub(super) fn needs_private_answers(&self) -> bool {
        self.credential_headers.iter().any(|name| name != AUTHORIZATION)
    }

    pub(super) fn set_realm(&mut self, realm: String) -> Result<(), InvalidChallenge> {
        Challenge::new("Any")?.with_parameter("realm", realm.clone())?;
        self.realm = Some(realm);
        self.write_challenges();
        Ok(())
    }

    pub(super) fn leave_challenges_out(&mut self) {
        self.challenges_clients = false;
        self.write_challenges();
    }

    fn write_challenges(&mut self) {
        let challenged = self.extractors.iter().filter(|_| self.challenges_clients);
        let challenges = challenged.map(|Extractor { challenge, .. }| challenge);
        self.challenges = Challenges::new(challenges, self.realm.as_deref())
            .expect("the realm was checked when it was set");
    }

    /// Keeps the values of credential headers out of `Debug` output and HPACK tables.
    pub(super) fn mark_sensitive(&self, headers: &mut HeaderMap) {
        for name in &self.credential_headers {
            let Some(value) = headers.get_mut(name) else { continue };
            value.set_sensitive(true);
            // Further lines: preflights pass with what they have, and an extractor of the host's own may allow two.
            if headers.len() > headers.keys_len()
                && let Ok(Entry::Occupied(mut lines)) = headers.try_entry(name)
            {
                lines.iter_mut().for_each(|line| line.set_sensitive(true));
            }
        }
    }

    /// Decides about a request, as far as that takes no waiting.
    ///
    /// What an extractor finds is read where it lies: to move a struct that was just written field by field makes the
    /// processor wait, some 5 ns each time.
    pub(super) fn check(self: &Arc<Self>, request: RequestView<'_>) -> Step {
        if self.passes_cors_preflight && is_cors_preflight(request) {
            return Step::Decided(Ok(self.nobody()));
        }
        for (index, Extractor { extractor, challenge }) in self.extractors.iter().enumerate() {
            let extracted = extractor.extract(request);
            let found = match &extracted {
                Extracted::Absent => continue,
                Extracted::Malformed(malformed) => Err(*malformed),
                Extracted::Found(credential) => bounded(credential).map(|()| credential),
            };
            // By presence, well formed or not: who would have to decide which of the two was meant?
            let is_absent = |other: &Extractor| matches!(other.extractor.extract(request), Extracted::Absent);
            if !self.extractors[index + 1..].iter().all(is_absent) {
                return self.unfit(Reason::CredentialConflict, None, request);
            }
            let scheme = challenge.scheme();
            return match found {
                Ok(credential) => self.check_credential(credential, scheme, request),
                Err(malformed) => self.unfit(Reason::CredentialMalformed(malformed), Some(scheme), request),
            };
        }
        self.nothing(request)
    }

    /// There is no credential.
    fn nothing(&self, request: RequestView<'_>) -> Step {
        match self.accompanying(request, Ok(false)) {
            Err(reason) => self.refused(reason),
            Ok(_) if self.allows_anonymous => Step::Decided(Ok(self.nobody())),
            Ok(_) => self.refused(Reason::CredentialMissing),
        }
    }

    /// There is a credential, of `scheme` if it is one, that is not to be looked up.
    #[cold]
    fn unfit(&self, reason: Reason, scheme: Option<&'static str>, request: RequestView<'_>) -> Step {
        match self.accompanying(request, Err(&reason)) {
            Err(first) => self.refused(first),
            Ok(_) => Step::Decided(Err(self.rejection(reason, scheme))),
        }
    }

    /// What comes with a key, of which `key` says whether it is there or what is wrong with it.
    fn accompanying<'r>(
        &self,
        request: RequestView<'r>,
        key: Result<bool, &Reason>,
    ) -> Result<Option<Accompanying<'r>>, Reason> {
        match &self.companions {
            None => Ok(None),
            Some(companions) => companions.extract(request, key),
        }
    }

    /// Whose is the one credential, well formed, of a request?
    #[inline]
    fn check_credential(
        self: &Arc<Self>,
        credential: &Credential<'_>,
        scheme: &'static str,
        request: RequestView<'_>,
    ) -> Step {
        let accompanying = match self.accompanying(request, Ok(true)) {
            Ok(accompanying) => accompanying,
            Err(reason) => return self.refused(reason),
        };
        let now = self.clock.now();
        let counted = match self.throttle(request, now) {
            Ok(counted) => counted,
            Err(reason) => return self.refused(reason),
        };
        if let Some(token) = credential.session_token() {
            return self.check_session(token, scheme, counted, now);
        }
        let presented = self.presented(credential, scheme, counted);
        if let Some(accompanying) = accompanying {
            return self.check_pair(presented, accompanying, now, request);
        }
        let answer = match self.find_now(presented.selector()) {
            Ok(answer) => answer,
            Err(StorePanicked) => return self.refused(Reason::StorePanicked),
        };
        match answer {
            Poll::Ready(found) => match self.judge(found, &presented, now, || self.client(request)) {
                Ok(verified) if verified.is_outdated() => {
                    Step::Waiting(self.clone().bring_up_to_date(presented, verified, now))
                }
                Ok(verified) => Step::Decided(Ok(self.authenticated(verified.record, scheme, now))),
                Err(rejection) => Step::Decided(Err(rejection)),
            },
            Poll::Pending => Step::Waiting(self.clone().look_up(presented, now, self.client(request))),
        }
    }

    fn nobody(&self) -> Authentication {
        Authentication { caller: Caller::Nobody, now: self.clock.now() }
    }

    fn presented(
        &self,
        credential: &Credential<'_>,
        scheme: &'static str,
        counted: Option<ClientAddress>,
    ) -> Presented {
        let digests = self.peppers.candidates(credential.expose_secret());
        Presented { id: credential.id, mode: credential.mode, digests, scheme, counted }
    }

    fn find_now(&self, selector: KeySelector<'_>) -> Result<Poll<FindResult>, StorePanicked> {
        catch_unwind(AssertUnwindSafe(|| self.store.find_now(selector))).map_err(|_| StorePanicked)
    }

    pub(super) fn refused(&self, reason: Reason) -> Step {
        Step::Decided(Err(self.rejection(reason, None)))
    }

    /// For who presented a credential of `scheme`, if that is known.
    pub(super) fn rejection(&self, reason: Reason, scheme: Option<&'static str>) -> Box<Rejection> {
        Box::new(Rejection::new(reason).with_challenges(self.challenges.after(scheme).clone()))
    }

    /// The address to count a bad credential for, if the host counts them, and this one has not used up its limit.
    fn throttle(&self, request: RequestView<'_>, now: Now) -> Result<Option<ClientAddress>, Reason> {
        let Some(throttle) = &self.throttle else { return Ok(None) };
        let (source, peer) = self.source_and_peer(request)?;
        let address = source.find(peer, request.headers);
        throttle.check(address, now).map(|()| Some(address))
    }

    fn client(&self, request: RequestView<'_>) -> Client {
        let (source, peer) = self.source_and_peer(request)?;
        Ok(source.find_exact(peer, request.headers))
    }

    fn source_and_peer(&self, request: RequestView<'_>) -> Result<(&ClientAddressSource, IpAddr), Reason> {
        let source = self.client_address.as_ref().ok_or(Reason::LayerMissing(
            "AuthenticateLayer needs with_client_address, for keys that have allowed addresses and for a limit on bad \
             credentials",
        ))?;
        let PeerAddress(peer) = PeerAddress::from_extensions(request.extensions)
            .ok_or(Reason::LayerMissing(PeerAddress::MISSING))?;
        Ok((source, peer))
    }

    /// The store's answer, judged: look-up, then state, then address.
    #[inline(always)]
    fn judge(
        &self,
        found: FindResult,
        presented: &Presented,
        now: Now,
        client: impl FnOnce() -> Client,
    ) -> Result<Verified, Box<Rejection>> {
        let refused = |reason, id| {
            let mut rejection = self.rejection(reason, Some(presented.scheme));
            rejection.set_key_id(id);
            rejection
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return Err(refused(Reason::StoreFailed(error), None)),
        };
        let verified = match verify(found, presented, now.timestamp()) {
            Ok(verified) => verified,
            Err(Unverified { reason, id }) => {
                if let (Some(throttle), Some(address)) = (&self.throttle, presented.counted) {
                    throttle.count(address, now);
                }
                return Err(refused(reason, id));
            }
        };
        match check_address(&verified.record, client) {
            Ok(()) => Ok(verified),
            Err(reason) => Err(refused(reason, Some(verified.record.id))),
        }
    }

    fn look_up(self: Arc<Self>, presented: Presented, now: Now, client: Client) -> Verdict {
        Verdict::new(async move {
            let found = self.store.find(presented.selector()).await;
            let mut verified = self.judge(found, &presented, now, || client)?;
            if verified.is_outdated() {
                self.refresh(&presented, &mut verified, now).await;
            }
            Ok(self.authenticated(verified.record, presented.scheme, now))
        })
    }

    fn bring_up_to_date(self: Arc<Self>, presented: Presented, mut verified: Verified, now: Now) -> Verdict {
        Verdict::new(async move {
            self.refresh(&presented, &mut verified, now).await;
            Ok(self.authenticated(verified.record, presented.scheme, now))
        })
    }

    /// A key moves to the current pepper when it is used, since only then is its text at hand; and the next secret is
    /// put in use when it is first used. If that can't be stored now, a later use will.
    async fn refresh(&self, presented: &Presented, verified: &mut Verified, now: Now) {
        let Verified { record: stored, candidate, is_next } = &*verified;
        let mut record = KeyRecord::clone(stored);
        if let Some(next) = record.extras.next.take_if(|_| *is_next) {
            record.put_in_use(*next, now.timestamp());
        }
        if let [new, ..] = presented.digests[..]
            && *candidate > 0
        {
            let old = presented.digests[*candidate];
            let previous = record.extras.previous.as_mut().map(|previous| &mut previous.digest);
            let holders = [Some(&mut record.digest), previous].into_iter().flatten();
            holders.filter(|held| **held == old).for_each(|held| *held = new);
        }
        match self.store.refresh(record.clone()).await {
            Ok(()) => {}
            // Others have changed the key meanwhile; perhaps to the very same.
            Err(error) if error.kind() == StoreErrorKind::Conflict => {}
            Err(error) => log::not_refreshed(stored, &error),
        }
        verified.record = Arc::new(record);
    }

    #[inline(always)]
    fn authenticated(&self, record: Arc<KeyRecord>, scheme: &'static str, now: Now) -> Authentication {
        log::accepted(&record);
        self.note_use(&record, now);
        Authentication { caller: Caller::Principal(Principal::new(record, scheme)), now }
    }

    fn note_use(&self, record: &KeyRecord, now: Now) {
        if let Some(last_use) = &self.last_use {
            last_use.note(&record.id, now.timestamp());
        }
    }

    /// Lets a verdict go on; a store that panics is a store that does not answer.
    pub(super) fn poll(
        &self,
        verdict: &mut Verdict,
        context: &mut Context<'_>,
    ) -> Poll<Result<Authentication, Box<Rejection>>> {
        match catch_unwind(AssertUnwindSafe(|| verdict.0.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(_) => Poll::Ready(Err(self.rejection(Reason::StorePanicked, None))),
        }
    }
}

impl Verdict {
    pub(super) fn new(
        verdict: impl Future<Output = Result<Authentication, Box<Rejection>>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(verdict))
    }
}

/// Extractors of the host's own need not have looked.
fn bounded(credential: &Credential<'_>) -> Result<(), MalformedCredential> {
    match credential.expose_secret().len() {
        0 => Err(MalformedCredential::Empty),
        1..=MAX_CREDENTIAL_LENGTH => Ok(()),
        _ => Err(MalformedCredential::TooLong),
    }
}

/// `Origin` and `Access-Control-Request-Method` make an `OPTIONS` request a preflight (Fetch standard, section 3.3.2).
fn is_cors_preflight(request: RequestView<'_>) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
