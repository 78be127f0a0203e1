use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::Authenticate;
use super::checks::Authenticator;
use crate::clock::{Clock, SystemClock};
use crate::credential::{CredentialExtractor, InvalidChallenge};
use crate::key::Peppers;
use crate::rejection::ProblemDetails;
use crate::store::KeyStore;

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
            extractors: Vec::new(),
            peppers: Peppers::none(),
            clock: Arc::new(SystemClock),
            allows_anonymous: false,
            passes_cors_preflight: false,
            realm: None,
            challenges_clients: true,
            credential_headers: Vec::new(),
            challenges: Arc::default(),
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
