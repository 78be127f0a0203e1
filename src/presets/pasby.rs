//! pasby v1 and v2: an organization's key `bk-test_…` or `bk-live_…`, an app's secret `snb_…` or `prd_…`, and session
//! tokens.
//!
//! What it switches on:
//!
//! - The key is in `x-api-key`, the app's secret in `x-access-secret`, the session token in `x-access-token`. Which of
//!   them a route needs is said in one table, below. A part that is there is verified, needed or not.
//! - The secret is of an app of the key's organization and mode; the token was issued to this key and app. Any break is
//!   one and the same 401.
//! - An app is a key record whose identifier, `app_…`, is the app's.
//! - v1 gets its token from [`Pasby::authorize`], in the header field `x-access-token` of the answer. It is good for 15
//!   minutes, and ends with the key or the secret it was issued under.
//! - 100 requests a minute for each client address, before everything. The address is the peer's, or behind
//!   [named proxies](Pasby::behind_proxies) the one in `cf-connecting-ip`, `x-real-ip` or `X-Forwarded-For`, in this order.
//! - [`Pasby::usage`] meters every call with an `x-api-key` and a status below 500.
//!
//! | | v2 | v1 |
//! |---|---|---|
//! | `/`, `/api/health/check`, and `/` and `/health/check` of each version | key | key |
//! | `/identification/same-device` | key, secret | key, secret |
//! | `/identification/different-device` | key, secret | key, token |
//! | `/identification/wildcard` | key | key |
//! | `/signing/same-device` | key, secret | key, secret, token |
//! | `/signing/different-device` | key, secret | key, token |
//! | `/signing/wildcard` | key, secret | |
//! | `/flow/authorize` | | key, secret |
//! | `/flow/ping`, `/flow/cancel` | key, secret | key, token |
//! | `/flow/sse` | key | |
//! | `/flow/polling` | key, token | key, token |
//! | `/document/signing`, `/document/review`, `/document/refresh` | key, secret | key, token |
//! | anything else | key, secret | key, secret |
//!
//! The guide gives the paths of flows and identifications; those of signing, streams and documents are named in their
//! manner. Versions are below `/api/v2` and `/api/v1`.
//!
//! | refusal | answer |
//! |---|---|
//! | over the limit | 429, text |
//! | no key | 401, text: `An api key is needed to access our services.` |
//! | no secret | 400, text: `App secret missing in headers.`; at authorize 401, text: `App secret missing` |
//! | no token | 401 `authorization_error` |
//! | any of them not good | 401 `authorization_error`, one text for all |
//! | the token has expired | 401 `session_expiry` |
//! | at authorize, no `sub` | 403, text: `Forbidden request. No consumer provided.` |
//! | at authorize, no `app` | 400, text: `Authorization grants are only given to apps not organizations.` |
//!
//! In this order: what is missing is told before what is wrong, the key before the secret before the token. A field with
//! nothing in it is missing.

mod format;

use std::sync::Arc;

pub use format::{AuthorizeError, ErrorType, PasbyFormat};
use http::header::CACHE_CONTROL;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::Principal;
use crate::address::{ClientAddressSource, Network};
use crate::authenticate::AuthenticateLayer;
use crate::credential::{Companions, Parts};
use crate::clock::{Clock, SystemClock};
use crate::credential::HeaderKey;
use crate::key::{KeyFormat, Peppers};
use crate::manage::KeyManager;
use crate::limit::{MemoryRateLimiter, Quota, RateLimitLayer, RateLimiter};
use crate::route::RouteTable;
use crate::credential::SessionTokens;
use crate::store::KeyAdministration;
use crate::outcome::{UsageLayer, UsageSink};

/// The field of an organization's key.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The field of an app's secret.
pub const X_ACCESS_SECRET: HeaderName = HeaderName::from_static("x-access-secret");
/// The field of a session token, in requests and in the answer that grants it.
pub const X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

const K: Option<Parts> = Some(Parts::KEY);
const KS: Option<Parts> = Some(Parts::SECRET);
const KT: Option<Parts> = Some(Parts::TOKEN);
const KST: Option<Parts> = Some(Parts::ALL);
/// The one route that words a missing secret otherwise.
const AUTHORIZE: &str = "authorize";

/// The guide's header matrix: what a path needs in v2 and in v1, for `GET` and for `POST`.
const MATRIX: [(&str, Option<Parts>, Option<Parts>); 16] = [
    ("/", K, K),
    ("/health/check", K, K),
    ("/identification/same-device", KS, KS),
    ("/identification/different-device", KS, KT),
    ("/identification/wildcard", K, K),
    ("/signing/same-device", KS, KST),
    ("/signing/different-device", KS, KT),
    ("/signing/wildcard", KS, None),
    ("/flow/authorize", None, Some(Parts::SECRET.named(AUTHORIZE))),
    ("/flow/ping", KS, KT),
    ("/flow/cancel", KS, KT),
    ("/flow/sse", K, None),
    ("/flow/polling", KT, KT),
    ("/document/signing", KS, KT),
    ("/document/review", KS, KT),
    ("/document/refresh", KS, KT),
];

/// What needs the key alone outside of both versions.
const UNVERSIONED: [&str; 2] = ["/", "/api/health/check"];

/// Keys of organizations: `bk-test_` or `bk-live_`, and 32 of `A-Z a-z 0-9`.
pub fn key_format() -> KeyFormat {
    let format = KeyFormat::builder("bk-").modes("test_", "live_");
    format.build().expect("prefix and marks make a key format")
}

/// Secrets of apps: `snb_` or `prd_`, and 32 of `A-Z a-z 0-9`.
pub fn secret_format() -> KeyFormat {
    let format = KeyFormat::builder("").modes("snb_", "prd_");
    format.build().expect("marks make a key format")
}

/// What each route needs, for a test of the host's that no route of its router is forgotten.
///
/// ```
/// use http::Method;
/// use tower_api_keys::presets::pasby;
///
/// assert_eq!(pasby::header_matrix().uncovered([(Method::POST, "/api/v2/flow/ping")]), []);
/// ```
pub fn header_matrix() -> RouteTable<Parts> {
    let versioned = MATRIX.into_iter().flat_map(|(path, v2, v1)| {
        let path = if path == "/" { "" } else { path };
        [("/api/v2", v2), ("/api/v1", v1)].map(|(version, parts)| (format!("{version}{path}"), parts))
    });
    let rules = UNVERSIONED.map(|path| (path.to_owned(), K)).into_iter().chain(versioned);
    let rules = rules.filter_map(|(path, parts)| Some((path, parts?)));
    let rules = rules.flat_map(|rule| [(Method::GET, rule.clone()), (Method::POST, rule)]);
    rules.fold(RouteTable::new(), |table, (method, (path, parts))| {
        table.add(method, &path, parts).expect("the matrix has well-formed paths, each once")
    })
}

/// The parts of pasby, round a store of the host's choice.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_api_keys::presets::pasby::Pasby;
/// use tower_api_keys::credential::SessionTokens;
/// use tower_api_keys::store::MemoryStore;
/// use tower_api_keys::outcome::Call;
/// # let signing_secret = "signing secret of 32 bytes or more";
///
/// let pasby = Pasby::new(MemoryStore::new(), SessionTokens::new(signing_secret.into())?);
/// let layers = ServiceBuilder::new()
///     .layer(pasby.usage(|call: &Call<'_>| println!("{} {}", call.method(), call.path())))
///     .layer(pasby.address_limit())
///     .layer(pasby.authenticate());
/// # let _ = layers;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Pasby<S> {
    store: S,
    tokens: SessionTokens,
    source: ClientAddressSource,
    quota: Quota,
    limiter: Option<Arc<dyn RateLimiter>>,
    format: PasbyFormat,
    peppers: Peppers,
    clock: Arc<dyn Clock>,
}

impl<S: KeyAdministration + Clone> Pasby<S> {
    /// As published, with the keys and apps of `store`.
    pub fn new(store: S, tokens: SessionTokens) -> Self {
        Self {
            store,
            tokens,
            source: ClientAddressSource::peer(),
            quota: Quota::per_minute(100).expect("100 a minute is a quota"),
            limiter: None,
            format: PasbyFormat::default(),
            peppers: Peppers::none(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Takes the client's address from `cf-connecting-ip`, `x-real-ip` or `X-Forwarded-For`, the first that is there, of
    /// requests that come from one of these proxies. **They must overwrite or remove the first two.**
    pub fn behind_proxies(self, proxies: impl IntoIterator<Item = Network>) -> Self {
        let source = ClientAddressSource::single_field(HeaderName::from_static("cf-connecting-ip"), proxies)
            .and_then(|source| source.or_single_field(HeaderName::from_static("x-real-ip")))
            .expect("the names have no underscore");
        self.with_client_address(source.or_forwarded_for())
    }

    /// Tells clients apart in another way.
    pub fn with_client_address(self, source: ClientAddressSource) -> Self {
        Self { source, ..self }
    }

    /// Lets each address make so many requests, in place of 100 a minute.
    pub fn with_address_limit(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    /// Counts addresses with a limiter of the host's making, such as a `RedisRateLimiter` that several processes share, in
    /// place of one with the quota above.
    pub fn with_address_limiter(self, limiter: impl RateLimiter) -> Self {
        Self { limiter: Some(Arc::new(limiter)), ..self }
    }

    /// Writes other codes into the envelope; see [`PasbyFormat::with_codes`].
    pub fn with_codes(self, code: fn(StatusCode) -> u16) -> Self {
        Self { format: PasbyFormat::with_codes(code), ..self }
    }

    /// Digests keys and secrets under these peppers.
    pub fn with_peppers(self, peppers: Peppers) -> Self {
        Self { peppers, ..self }
    }

    /// Reads the time from this clock.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// The outermost layer: who calls how much, for the host's bills.
    pub fn usage(&self, sink: impl UsageSink) -> UsageLayer {
        UsageLayer::new(X_API_KEY, sink)
    }

    /// The layer inside it: how often, by client address. Unless the
    /// limiter is the host's, it counts for as long as the layer lives, so make it once.
    pub fn address_limit(&self) -> RateLimitLayer<PasbyFormat> {
        let in_memory =
            || Arc::new(MemoryRateLimiter::builder("address", self.quota).build_at(self.clock.now()));
        let limiter = self.limiter.clone().unwrap_or_else(|| in_memory());
        RateLimitLayer::by_client_address(self.source.clone(), limiter)
            .with_clock(self.clock.clone())
            .with_rejection_format(self.format)
    }

    /// The layer inside that: who is calling, with everything that the route needs.
    pub fn authenticate(&self) -> AuthenticateLayer<PasbyFormat> {
        let companions = Companions::new(HeaderKey::new(X_ACCESS_SECRET, secret_format()))
            .with_session_tokens(X_ACCESS_TOKEN, self.tokens.clone())
            .with_routes(header_matrix());
        AuthenticateLayer::new(self.store.clone(), HeaderKey::new(X_API_KEY, key_format()))
            .with_companions(companions)
            .with_client_address(self.source.clone())
            .with_peppers(self.peppers.clone())
            .with_clock(self.clock.clone())
            .with_rejection_format(self.format)
    }

    /// The fields that grant a session token, for a handler to put on its answer: v1's authorize.
    ///
    /// `uri` is the request's, with `sub`, the consumer, and `app` in its query. The app has to be the one whose secret
    /// was presented. Whether there is such a consumer is for the host to say.
    ///
    /// # Errors
    ///
    /// [`AuthorizeError`], the first that holds.
    pub fn authorize(&self, principal: &Principal, uri: &Uri) -> Result<TokenFields, AuthorizeError> {
        let token = self.session_token(principal).ok_or(AuthorizeError::SecretMissing)?;
        let value = |name| single_parameter(uri.query().unwrap_or_default(), name);
        value("sub").ok_or(AuthorizeError::ConsumerMissing)??;
        let app = value("app").ok_or(AuthorizeError::AppMissing)??;
        match principal.companion_id() {
            Some(own) if own.as_str() == app => Ok(token),
            _ => Err(AuthorizeError::Invalid),
        }
    }

    /// The fields that grant a session token beside another answer, as v2's identification on a different device does.
    /// `None` unless the caller has presented an app's secret.
    pub fn session_token(&self, principal: &Principal) -> Option<TokenFields> {
        let token = self.tokens.issue(principal, self.clock.now().timestamp())?;
        let mut value = HeaderValue::from_str(token.expose_secret()).expect("a token is visible ASCII");
        value.set_sensitive(true);
        Some([(X_ACCESS_TOKEN, value), (CACHE_CONTROL, HeaderValue::from_static("no-store"))])
    }

    /// The format of refusals, for further layers.
    pub fn rejection_format(&self) -> PasbyFormat {
        self.format
    }

    /// Makes, lists and revokes keys of organizations.
    pub fn key_manager(&self) -> KeyManager {
        KeyManager::new(self.store.clone(), key_format())
            .with_peppers(self.peppers.clone())
            .with_clock(self.clock.clone())
    }

    /// Makes apps, `app_…`, with their secrets, and lists and revokes them. A new secret for an app is a
    /// [rotation](KeyManager::rotate).
    pub fn app_manager(&self) -> KeyManager {
        KeyManager::new(self.store.clone(), secret_format())
            .with_id_prefix("app_")
            .expect("the prefix is one of key ids")
            .with_peppers(self.peppers.clone())
            .with_clock(self.clock.clone())
    }
}

/// `x-access-token` with the token, and the word that no cache may keep it. As it is, a part of an axum handler's answer.
pub type TokenFields = [(HeaderName, HeaderValue); 2];

/// The value of a query parameter, unless that is empty; an error if there are several.
fn single_parameter<'q>(query: &'q str, name: &str) -> Option<Result<&'q str, AuthorizeError>> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(other, _)| *other == name).map(|(_, value)| value);
    let value = values.next()?;
    match values.next() {
        Some(_) => Some(Err(AuthorizeError::Invalid)),
        None => Some(value).filter(|value| !value.is_empty()).map(Ok),
    }
}
