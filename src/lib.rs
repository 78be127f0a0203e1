//! API keys for HTTP services, as [tower](https://docs.rs/tower) layers.
//!
//! Mount the layers in front of your axum, hyper or tonic routes. From then on every request has a known caller
//! ([`Principal`]), inside that caller's organization, scopes and rate limit, or is turned away.
//!
//! ```text
//!             AuthenticateLayer          RateLimitLayer         RequireScopeLayer
//!            ┌──────────────────┐       ┌──────────────┐       ┌──────────────────┐
//!  request ─▶│ 1 extraction     │──────▶│ 7 rate limit │──────▶│ 9 scope          │──────▶ handler
//!            │ 2 format         │       └──────┬───────┘       └────────┬─────────┘       with a
//!            │ 3 throttle       │              │                        │                 Principal
//!            │ 4 look-up        │              │                        │
//!            │ 5 state          │              │                        │
//!            │ 6 addresses      │              │                        │
//!            └───────┬──────────┘              │                        │
//!            400, 401, 403, 429, 503          429                      403
//!                    └─────────────────────────┴────────────────────────┘
//!                           Rejection ─▶ your format ─▶ response
//! ```
//!
//! The order is fixed, and [`rejection::Check`] is the place where it is declared: a request with several faults is
//! refused by the first check that finds one. Where requests name their organization in a header,
//! [`OrganizationLayer`] checks it (8) between the last two layers.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{HeaderName, Method, Request, Response, StatusCode};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_api_keys::authorize::Access;
//! use tower_api_keys::credential::HeaderKey;
//! use tower_api_keys::key::{KeyFormat, Mode, Owner};
//! use tower_api_keys::manage::{Authority, KeyManager, NewKey};
//! use tower_api_keys::rate_limit::{MemoryRateLimiter, Quota};
//! use tower_api_keys::route::RouteTable;
//! use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
//! use tower_api_keys::store::MemoryStore;
//! use tower_api_keys::{AuthenticateLayer, Principal, RateLimitLayer, RequireScopeLayer};
//!
//! const READ: ScopeRequirement = ScopeRequirement::from_static("workflows:read");
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Keys look like acme_7f3kQ…, come in `x-api-key`, and are kept in memory.
//! let format = KeyFormat::new("acme_").build()?;
//! let header = HeaderKey::new(HeaderName::from_static("x-api-key"), format.clone());
//! let store = MemoryStore::new();
//!
//! // The first key comes from code. Its secret is shown once; the store holds a digest of it.
//! let manager = KeyManager::new(store.clone(), format);
//! let owner = Owner::organization("org_1".parse()?, Mode::Live);
//! let scopes = ScopeSet::parse_list(["workflows:read"])?;
//! let key = manager.create(&Authority::operator(owner), NewKey::new("First key", scopes)).await?;
//!
//! let access = RouteTable::new().add(Method::GET, "/workflows", Access::Scope(READ))?;
//! let limiter = MemoryRateLimiter::builder("requests", Quota::per_minute(1000)?).build();
//! let service = ServiceBuilder::new()
//!     .layer(AuthenticateLayer::new(store, header))
//!     .layer(RateLimitLayer::by_key(limiter))
//!     .layer(RequireScopeLayer::by_route(access)?)
//!     .service(service_fn(async |request: Request<()>| {
//!         let principal = Principal::from_extensions(request.extensions()).expect("the layers stand outside");
//!         Ok::<_, std::convert::Infallible>(Response::new(Bytes::from(principal.name().to_owned())))
//!     }));
//!
//! let with_key = |method| {
//!     Request::builder().method(method).uri("/workflows").header("x-api-key", key.secret.expose_secret()).body(())
//! };
//! let response = service.clone().oneshot(with_key(Method::GET)?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(response.headers()["x-ratelimit-remaining"], "999");
//!
//! let response = service.clone().oneshot(with_key(Method::DELETE)?).await?;
//! assert_eq!(response.status(), StatusCode::FORBIDDEN);
//!
//! let response = service.oneshot(Request::new(())).await?;
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```
//!
//! # Outside and inside
//!
//! The layer that stands outside sees a request first. An axum `Router` is covered by a layer added later, so
//! the outermost is written last; a `ServiceBuilder`, as above, has the outermost first. From the outside in:
//!
//! 1. CORS, tracing, metrics: refusals pass through them, too.
//! 2. [`UsageLayer`] and [`RequestIdLayer`](request_id::RequestIdLayer), if any: every answer is theirs.
//! 3. [`RateLimitLayer::by_client_address`], if any: counts whoever calls.
//! 4. [`AuthenticateLayer`].
//! 5. [`RateLimitLayer::by_key`] or [`by_organization`](RateLimitLayer::by_organization).
//! 6. [`OrganizationLayer`] or [`OrganizationContextLayer`](authorize::OrganizationContextLayer), if any.
//! 7. [`RequireScopeLayer`].
//!
//! Where 5, 6 or 7 has no [`AuthenticateLayer`] outside it, nothing is let through: every request gets 500, and
//! the log says what is missing.
//!
//! The layers are types that can be named, stored and returned, `AuthenticateLayer` for instance. With a
//! [format of their own](rejection#a-format-of-ones-own) that type is a parameter:
//! `AuthenticateLayer<MyFormat>`.
//!
//! Bodies can be of any type. Only the default format of refusals asks for one that is `From<Bytes>`, such as
//! axum's or `Full<Bytes>`; for others, tonic's among them, give the layers a format of their own.
//!
//! # How to
//!
//! | | |
//! |---|---|
//! | put the layers round a router, with nested routers and a fallback | [`authorize`](authorize#where-to-put-it) |
//! | test that no route was forgotten | the page of the module `axum`, or [`RouteTable::uncovered`](route::RouteTable::uncovered) |
//! | let requests without a key through | [`allow_anonymous`](AuthenticateLayer::allow_anonymous) |
//! | accept `Authorization: Bearer` | [`BearerKey`](credential::BearerKey) |
//! | let people in with a signed token instead of a key | [`user_session`] |
//! | have system keys beside those of organizations, and roles | [`authorize::Access`] |
//! | make links that open once | [`KeyManager::redeem`](manage::KeyManager::redeem) |
//! | ask for an app's secret or a session token beside the key | [`Companions`](authenticate::Companions) |
//! | keep keys in a database | [`store`]; in another one, [writing a store](store#writing-a-store) |
//! | see when a key was last used | [`LastUse`](store::LastUse) |
//! | make, rotate and revoke keys in code | [`manage`] |
//! | take a key from an environment variable | [`KeyManager::import`](manage::KeyManager::import) |
//! | limit reads, writes and single routes apart | [`rate_limit`] |
//! | test limits and expiry | [testing with a clock](clock#testing-limits-and-expiry) |
//! | find out why a request was refused | [finding out why](rejection#finding-out-why) |
//! | count refusals | [counting refusals](rejection#counting-refusals) |
//! | put a whole system of your own together | [writing your own preset](presets#writing-your-own) |
//! | meter who uses what | [`usage`] |
//! | write refusals in another format | [a format of one's own](rejection#a-format-of-ones-own) |
//!
//! # Where to find what
//!
//! | to | look at |
//! |---|---|
//! | say where a credential stands in a request | [`credential`] |
//! | describe, make and digest keys | [`key`] |
//! | keep keys somewhere else | [`store`] |
//! | find out who is calling | [`authenticate`], [`Principal`], [`user_session`] |
//! | find out for which organization | [`authorize::OrganizationContextLayer`] |
//! | give each request an identifier | [`request_id`] |
//! | tell where a request comes from | [`address`] |
//! | limit how often | [`rate_limit`] |
//! | spare a client its secret | [`session`] |
//! | write bills | [`usage`] |
//! | limit what for | [`scope`], [`authorize`], [`route`] |
//! | keep one organization's data from another's | [`isolation`], [`OrganizationLayer`] |
//! | answer in your API's own words | [`rejection`] |
//! | create, rotate and revoke keys | [`manage`] |
//! | see a whole system assembled | [`presets`] |
//! | test with a clock of your own | [`clock`] |
//!
//! # Features
//!
//! None is on by default; each only adds.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | [`Principal`] as an extractor, routes matched by `MatchedPath`, `manage::key_routes` |
//! | `cache` | `store::CachedStore`, a cache in front of any store |
//! | `coarse-clock` | `clock::CoarseClock`, cheaper to read and off by a tick of the kernel |
//! | `sqlite` | `store::SqliteStore`: keys in a file |
//! | `postgres` | `store::PostgresStore`: keys that many processes share |
//! | `redis` | what several processes share through Redis or Valkey: rate limits (`rate_limit::RedisRateLimiter`), and news of changed keys for caches (`store::RedisInvalidation`) |
//! | `tonic` | [`Principal`] from the requests of tonic's services; the layers and `GrpcStatus` need no feature |
//! | `tracing` | events for refusals (`INFO`), authentications (`DEBUG`) and failures (`ERROR`); never a secret |
//! | `full` | all of them |
//!
//! What a request costs is in [`performance`].
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

// The row of the SQL stores is also the example in the guide to writing one, where the crate goes by its name.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
extern crate self as tower_api_keys;

pub mod address;
pub mod authenticate;
pub mod authorize;
#[cfg(feature = "axum")]
pub mod axum;
pub mod clock;
pub mod credential;
mod gate;
pub mod isolation;
pub mod key;
mod log;
pub mod manage;
mod number;
/// A page to read: there is nothing in it to call.
#[cfg(doc)]
#[doc = include_str!("../benches/README.md")]
pub mod performance {}
pub mod presets;
mod principal;
pub mod rate_limit;
#[cfg(feature = "redis")]
mod redis_url;
pub mod rejection;
pub mod request_id;
pub mod route;
pub mod scope;
pub mod session;
pub mod store;
mod text;
#[cfg(feature = "tonic")]
pub mod tonic;
pub mod usage;
pub mod user_session;

pub use authenticate::AuthenticateLayer;
pub use authorize::{OrganizationLayer, RequireScopeLayer};
pub use principal::Principal;
pub use rate_limit::RateLimitLayer;
pub use usage::UsageLayer;

/// Compiles the README's code.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
