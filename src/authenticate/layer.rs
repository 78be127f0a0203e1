use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::Authenticate;
use super::challenges::Challenges;
use super::checks::Authenticator;
use super::parts::Companions;
use super::throttle::Throttle;
use crate::address::ClientAddressSource;
use crate::clock::{Clock, SystemClock};
use crate::credential::{CredentialExtractor, InvalidChallenge};
use crate::key::Peppers;
use crate::rate_limit::MemoryRateLimiter;
use crate::rejection::ProblemDetails;
use crate::store::{KeyStore, LastUse};
use crate::user_session::SessionAuthenticator;

/// Authenticates each request by its key.
///
/// See the [module docs](crate::authenticate) for an example.
#[derive(Clone)]
#[must_use]
pub struct AuthenticateLayer<R = ProblemDetails> {
    authenticator: Arc<Authenticator>,
    format: R,
}

impl AuthenticateLayer {
    /// Looks keys up in `store` that `extractor` finds.
    ///
    /// Unless set otherwise: digests are plain SHA-256, the clock is the system's, a request without a credential is
    /// refused, and refusals are [`ProblemDetails`].
    pub fn new(store: impl KeyStore, extractor: impl CredentialExtractor) -> Self {
        let mut authenticator = Authenticator {
            store: Arc::new(store),
            sessions: None,
            extractors: Vec::new(),
            peppers: Peppers::none(),
            clock: Arc::new(SystemClock),
            allows_anonymous: false,
            passes_cors_preflight: false,
            realm: None,
            challenges_clients: true,
            client_address: None,
            throttle: None,
            companions: None,
            last_use: None,
            credential_headers: Vec::new(),
            challenges: Challenges::default(),
        };
        authenticator.add_extractor(Arc::new(extractor));
        Self { authenticator: Arc::new(authenticator), format: ProblemDetails }
    }
}

impl<R> AuthenticateLayer<R> {
    fn change(mut self, change: impl FnOnce(&mut Authenticator)) -> Self {
        change(Arc::make_mut(&mut self.authenticator));
        self
    }

    /// Accepts a further kind of credential.
    ///
    /// A request that carries two kinds is refused, whether or not either is good.
    pub fn add_extractor(self, extractor: impl CredentialExtractor) -> Self {
        self.change(|to| to.add_extractor(Arc::new(extractor)))
    }

    /// Asks `sessions` whose the [sessions](crate::user_session) are that the extractors find.
    ///
    /// ```
    /// use tower_api_keys::AuthenticateLayer;
    /// use tower_api_keys::credential::BearerKey;
    /// use tower_api_keys::key::KeyFormat;
    /// # use tower_api_keys::user_session::SessionAuthenticator;
    /// # use tower_api_keys::store::MemoryStore;
    ///
    /// # fn example(sessions: impl SessionAuthenticator) -> Result<(), Box<dyn std::error::Error>> {
    /// // A bearer token that starts with sk_ is a key, and any other a session.
    /// let bearer = BearerKey::new(KeyFormat::new("sk_").build()?).or_session();
    /// let layer = AuthenticateLayer::new(MemoryStore::new(), bearer).with_sessions(sessions);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_sessions(self, sessions: impl SessionAuthenticator) -> Self {
        self.change(|to| to.sessions = Some(Arc::new(sessions)))
    }

    /// Asks for more than the key: the secret of a companion, a session token, or both, as [`Companions`] says.
    pub fn with_companions(self, companions: Companions) -> Self {
        self.change(|to| to.set_companions(companions))
    }

    /// Digests keys under these peppers; the store's digests must have been made with them.
    pub fn with_peppers(self, peppers: Peppers) -> Self {
        self.change(|to| to.peppers = peppers)
    }

    /// Reads the time from this clock.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.change(|to| to.clock = Arc::new(clock))
    }

    /// Names the protection space in every challenge (RFC 9110 section 11.5).
    ///
    /// # Errors
    ///
    /// [`InvalidChallenge`] if `realm` has other characters than visible ASCII and spaces.
    pub fn with_realm(mut self, realm: impl Into<String>) -> Result<Self, InvalidChallenge> {
        Arc::make_mut(&mut self.authenticator).set_realm(realm.into())?;
        Ok(self)
    }

    /// Leaves `WWW-Authenticate` out of every 401, against RFC 9110 section 11.6.1.
    ///
    /// For pages in a browser, which otherwise answers a `Basic` challenge with a log-in window of its own.
    pub fn without_challenge(self) -> Self {
        self.change(Authenticator::leave_challenges_out)
    }

    /// Says how to tell where a request comes from, for keys that may be used from
    /// [some addresses](crate::key::ExtraFields::allowed_addresses) only.
    ///
    /// Such a key is refused with 403 from everywhere else, and also where a proxy does not say who its client is. Where
    /// this is not set, or the request has no [`PeerAddress`](crate::address::PeerAddress) and (with the feature `axum`)
    /// no `ConnectInfo<SocketAddr>`, it is refused with 500, and the log says what is missing. Keys for everywhere are
    /// good in any case.
    ///
    /// ```
    /// use tower_api_keys::AuthenticateLayer;
    /// use tower_api_keys::address::ClientAddressSource;
    /// # use tower_api_keys::credential::CredentialExtractor;
    /// # use tower_api_keys::store::KeyStore;
    ///
    /// # fn example(store: impl KeyStore, extractor: impl CredentialExtractor) -> Result<(), Box<dyn std::error::Error>> {
    /// // Our load balancer, which appends the client's address to X-Forwarded-For.
    /// let source = ClientAddressSource::forwarded_for(["10.0.0.2".parse()?]);
    /// let layer = AuthenticateLayer::new(store, extractor).with_client_address(source);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_client_address(self, source: ClientAddressSource) -> Self {
        self.change(|to| to.client_address = Some(source))
    }

    /// Slows down who guesses: an address that has presented as many bad credentials as `limiter` allows is refused with
    /// 429, and the store is not asked, until some of them no longer count.
    ///
    /// Needs [`with_client_address`](Self::with_client_address); without it, or without the peer's address, every
    /// credential is refused with 500, and the log says what is missing.
    ///
    /// 1. A credential is bad if it was looked up and no key is known by it, or the key's secret, mode or state is not
    ///    right. One that is malformed counts nothing, since it costs nothing. Nor does a good one, even from an address
    ///    that its key may not be used from.
    /// 2. Credentials are counted by address alone, and never by the key they name: no stranger can lock a key's owner
    ///    out.
    /// 3. Whoever shares a used-up address, behind one NAT or in one IPv6 network, waits with it, good key or not. So the
    ///    limit should leave room for the mistakes of an office: 20 a minute is nothing to who has to guess
    ///    [a secret](crate::key::KeyFormat), and enough for a deployment that goes on with a key that has ended.
    /// 4. Look-ups that are under way when the limit is used up are still answered. To bound those as well, put a
    ///    [`RateLimitLayer::by_client_address`](crate::RateLimitLayer::by_client_address) outside.
    /// 5. When as many addresses are counted as the limiter has room for, further ones are not refused.
    /// 6. Each process counts what it sees itself, also where rate limits are shared: behind n processes a guesser has up
    ///    to n times the limit. No round trip for strangers is the better part of the bargain.
    ///
    /// The limiter's time is that of the layer's [clock](Self::with_clock).
    ///
    /// ```
    /// use tower_api_keys::AuthenticateLayer;
    /// use tower_api_keys::address::ClientAddressSource;
    /// use tower_api_keys::rate_limit::{MemoryRateLimiter, Quota};
    /// # use tower_api_keys::credential::CredentialExtractor;
    /// # use tower_api_keys::store::KeyStore;
    ///
    /// # fn example(store: impl KeyStore, extractor: impl CredentialExtractor) -> Result<(), Box<dyn std::error::Error>> {
    /// let guesses = MemoryRateLimiter::builder("bad credentials", Quota::per_minute(20)?).build();
    /// let layer = AuthenticateLayer::new(store, extractor)
    ///     .with_client_address(ClientAddressSource::peer())
    ///     .with_bad_credential_limit(guesses);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_bad_credential_limit(self, limiter: impl Into<Arc<MemoryRateLimiter>>) -> Self {
        let throttle = Throttle(limiter.into());
        self.change(|to| to.throttle = Some(throttle))
    }

    /// Notes in `last_use` when each key was last used with success. See there for how that gets into the store.
    pub fn with_last_use(self, last_use: LastUse) -> Self {
        self.change(|to| to.last_use = Some(last_use))
    }

    /// Lets requests without a credential pass, without a [`Principal`](crate::Principal). A bad credential is still
    /// refused: it is never taken for none.
    ///
    /// A handler then takes an `Option<Principal>`, or asks
    /// [`from_extensions`](crate::Principal::from_extensions). Under a
    /// [`RequireScopeLayer`](crate::RequireScopeLayer) a request without a principal is 401; a
    /// [`RateLimitLayer`](crate::RateLimitLayer) by key does not count it, one by client address does.
    pub fn allow_anonymous(self) -> Self {
        self.change(|to| to.allows_anonymous = true)
    }

    /// Lets true CORS preflights (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) pass without a
    /// credential, for a CORS layer between this one and the routes. A CORS layer outside needs no such thing and is
    /// to be preferred: it also puts its headers on refusals.
    pub fn pass_cors_preflight(self) -> Self {
        self.change(|to| to.passes_cors_preflight = true)
    }

    /// Makes the responses to refused requests with `format`.
    pub fn with_rejection_format<F>(self, format: F) -> AuthenticateLayer<F> {
        AuthenticateLayer { authenticator: self.authenticator, format }
    }
}

impl<S, R: Clone> Layer<S> for AuthenticateLayer<R> {
    type Service = Authenticate<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticate::new(inner, self.authenticator.clone(), self.format.clone())
    }
}

impl<R> fmt::Debug for AuthenticateLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateLayer")
            .field("challenges", &self.authenticator.challenges)
            .finish_non_exhaustive()
    }
}
