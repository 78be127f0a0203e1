//! Whole systems, assembled from the crate's parts.
//!
//! A preset holds no mechanism of its own. It names a key format, a format for refusals, routes with their scopes, and
//! limits.
//!
//! Each page says what is left to the host. With all of them that is the store, the peppers, the handlers' own checks, and
//! whether to slow down who guesses, which takes the client's address
//! ([`with_bad_credential_limit`](crate::AuthenticateLayer::with_bad_credential_limit) on the preset's `authenticate()`).
//!
//! # Writing your own
//!
//! Go through what your API promises, promise by promise. Each is the matter of one part:
//!
//! | your API says | the part | for example |
//! |---|---|---|
//! | what a key looks like, and whether its text says live or test | [`KeyFormat`](crate::key::KeyFormat) | every preset's `key_format` |
//! | whether a key's text has a public identifier to look it up by | [`with_public_id`](crate::key::KeyFormatBuilder::with_public_id) | [`payment_gateway`] |
//! | in which header field it comes | [`credential`](crate::credential): [`HeaderKey`](crate::credential::HeaderKey), [`BearerKey`](crate::credential::BearerKey), [`BasicKey`](crate::credential::BasicKey), or an [extractor](crate::credential::CredentialExtractor) of your own | [`justpaid`], [`payment_gateway`], [`paymongo`] |
//! | what else has to come with the key: an app's secret, a session token | [`Companions`](crate::credential::Companions), [`SessionTokens`](crate::credential::SessionTokens) | [`pasby`] |
//! | that people come with a signed token instead of a key | [`user_session`](crate::identity) | [`payment_gateway`] |
//! | that some keys stand above all organizations | [`Access::of_system`](crate::route::Access::of_system) | [`payment_gateway`] |
//! | that the route, a header or a cookie says for which organization | [`OrganizationContextLayer`](crate::authorize::OrganizationContextLayer) | [`payment_gateway`] |
//! | that requests name their organization | [`OrganizationLayer`](crate::OrganizationLayer) | [`paymongo`] |
//! | which key may do what | a [`RouteTable`](crate::route::RouteTable) of [`Access`](crate::route::Access) under [`RequireScopeLayer`](crate::RequireScopeLayer) | [`justpaid`] |
//! | how often | [`MemoryRateLimiter`](crate::limit::MemoryRateLimiter)s, or what processes share, under a [`RateLimitLayer`](crate::RateLimitLayer) | [`justpaid`] |
//! | that every answer has an identifier | [`RequestIdLayer`](crate::request_id::RequestIdLayer) | [`payment_gateway`] |
//! | that calls are metered | a [`UsageLayer`](crate::UsageLayer) | [`pasby`] |
//! | what an error looks like | a [`RejectionFormat`](crate::rejection::RejectionFormat) | every preset |
//! | that another's resources are as if not there | [`Owned`](crate::identity::Owned), in the handlers | [`paymongo`] |
//! | that a link opens once | [`KeyManager::redeem`](crate::manage::KeyManager::redeem) | [`payment_gateway`] |
//! | how keys are made, rotated and revoked | [`KeyManager`](crate::manage::KeyManager) | every preset's `key_manager` |
//!
//! What your API does not say is decided already: the [order of the checks](crate::rejection::Check), what happens to a
//! credential that comes twice, when a limit resets. If it says otherwise than the parts can, write an extractor or a
//! format; should that not be enough, it is the part that lacks something.
//!
//! Here is a whole one, for an API whose guide reads: *Send your key in `X-Harbor-Token`. Keys start with `hb_test_` or
//! `hb_live_`. Reading ships takes `ships:read`, changing them `ships:write`. Each key can make 60 requests a minute.
//! Errors are plain text.*
//!
//! ```
//! use bytes::Bytes;
//! use http::header::CONTENT_TYPE;
//! use http::{HeaderName, HeaderValue, Method, Response};
//! use tower_api_keys::route::Access;
//! use tower_api_keys::credential::HeaderKey;
//! use tower_api_keys::key::KeyFormat;
//! use tower_api_keys::manage::KeyManager;
//! use tower_api_keys::limit::{MemoryRateLimiter, Quota};
//! use tower_api_keys::rejection::{Rejection, RejectionFormat, RejectionKind};
//! use tower_api_keys::route::RouteTable;
//! use tower_api_keys::scope::ScopeRequirement;
//! use tower_api_keys::store::KeyAdministration;
//! use tower_api_keys::{AuthenticateLayer, RateLimitLayer, RequireScopeLayer};
//!
//! const TOKEN: HeaderName = HeaderName::from_static("x-harbor-token");
//!
//! // What may be done, as data: one line for each route.
//! const ROUTES: [(Method, &str, ScopeRequirement); 3] = [
//!     (Method::GET, "/ships", ScopeRequirement::from_static("ships:read")),
//!     (Method::GET, "/ships/{id}", ScopeRequirement::from_static("ships:read")),
//!     (Method::PUT, "/ships/{id}", ScopeRequirement::from_static("ships:write")),
//! ];
//!
//! fn key_format() -> KeyFormat {
//!     KeyFormat::builder("hb_").modes("test_", "live_").build().expect("prefix and marks make a key format")
//! }
//!
//! // Errors are plain text. The status, the challenge and `Retry-After` come from the layers.
//! #[derive(Clone)]
//! struct HarborFormat;
//!
//! impl<B: From<Bytes>> RejectionFormat<B> for HarborFormat {
//!     fn response(&self, rejection: &Rejection) -> Response<B> {
//!         let text = match rejection.kind() {
//!             RejectionKind::Unauthenticated | RejectionKind::AmbiguousCredentials => "Your token is not valid.",
//!             RejectionKind::RateLimited => "Slow down.",
//!             RejectionKind::Forbidden => "Your token is not for this.",
//!             _ => "Something is wrong on our side.",
//!         };
//!         let mut response = Response::new(Bytes::from_static(text.as_bytes()).into());
//!         *response.status_mut() = rejection.kind().status();
//!         response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
//!         response
//!     }
//! }
//!
//! // The parts round a store of the host's choice.
//! struct Harbor<S>(S);
//!
//! impl<S: KeyAdministration + Clone> Harbor<S> {
//!     fn authenticate(&self) -> AuthenticateLayer<HarborFormat> {
//!         AuthenticateLayer::new(self.0.clone(), HeaderKey::new(TOKEN, key_format()))
//!             .with_rejection_format(HarborFormat)
//!     }
//!
//!     fn rate_limit(&self) -> RateLimitLayer<HarborFormat> {
//!         let quota = Quota::per_minute(60).expect("60 a minute is a quota");
//!         let limiter = MemoryRateLimiter::builder("requests", quota).build();
//!         RateLimitLayer::by_key(limiter).with_rejection_format(HarborFormat)
//!     }
//!
//!     fn scopes(&self) -> RequireScopeLayer<HarborFormat> {
//!         let table = ROUTES.into_iter().try_fold(RouteTable::new(), |table, (method, pattern, scope)| {
//!             table.add(method, pattern, Access::Scope(scope))
//!         });
//!         let table = table.expect("the patterns are well formed, and each is there once");
//!         RequireScopeLayer::by_route(table).expect("there are rules").with_rejection_format(HarborFormat)
//!     }
//!
//!     fn key_manager(&self) -> KeyManager {
//!         KeyManager::new(self.0.clone(), key_format())
//!     }
//! }
//!
//! // In use: authentication outside, then the limit, then the scopes.
//! # use http::{Request, StatusCode};
//! # use tower::{ServiceBuilder, ServiceExt, service_fn};
//! # use tower_api_keys::key::{Mode, Owner};
//! # use tower_api_keys::manage::{Authority, NewKey};
//! # use tower_api_keys::scope::ScopeSet;
//! # use tower_api_keys::store::MemoryStore;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let harbor = Harbor(MemoryStore::new());
//! let service = ServiceBuilder::new()
//!     .layer(harbor.authenticate())
//!     .layer(harbor.rate_limit())
//!     .layer(harbor.scopes())
//!     .service(service_fn(async |_: Request<()>| {
//!         Ok::<_, std::convert::Infallible>(Response::new(Bytes::from_static(b"[]")))
//!     }));
//!
//! let owner = Owner::organization("rotterdam".parse()?, Mode::Test);
//! let new_key = NewKey::new("First key", ScopeSet::parse_list(["ships:read"])?);
//! let key = harbor.key_manager().create(&Authority::operator(owner), new_key).await?;
//! assert!(key.secret.expose_secret().starts_with("hb_test_"));
//!
//! for (method, token, status, text) in [
//!     (Method::GET, key.secret.expose_secret(), 200, "[]"),
//!     (Method::PUT, key.secret.expose_secret(), 403, "Your token is not for this."),
//!     (Method::GET, "hb_live_", 401, "Your token is not valid."),
//! ] {
//!     let request = Request::builder().method(method).uri("/ships/7").header(TOKEN, token).body(())?;
//!     let response = service.clone().oneshot(request).await?;
//!     assert_eq!((response.status().as_u16(), &response.body()[..]), (status, text.as_bytes()));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Then write down what your guide promises as a table of requests and answers, and send them to a real server: the
//! examples' tests in this crate's repository are such tables.

mod json;
pub mod justpaid;
pub mod pasby;
pub mod payment_gateway;
pub mod paymongo;
