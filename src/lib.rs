//! API keys for HTTP services, as [tower](https://docs.rs/tower) layers.
//!
//! Mount the layers in front of your axum, hyper or tonic routes. From then on every request has a known caller
//! ([`Principal`]), inside that caller's organization, scopes and rate limit, or is turned away.
//!
//! ```text
//!             AuthenticateLayer          RateLimitLayer         RequireScopeLayer
//!            ┌──────────────────┐       ┌──────────────┐       ┌──────────────────┐
//!  request ─▶│ 1 extraction     │──────▶│ 5 rate limit │──────▶│ 6 scope          │──────▶ handler
//!            │ 2 format         │       └──────┬───────┘       └────────┬─────────┘       with a
//!            │ 3 look-up        │              │                        │                 Principal
//!            │ 4 state          │              │                        │
//!            └───────┬──────────┘              │                        │
//!                 401, 400, 503               429                      403
//!                    └─────────────────────────┴────────────────────────┘
//!                           Rejection ─▶ your format ─▶ response
//! ```
//!
//! The order is fixed, and [`rejection::Check`] is the place where it is declared: a request with several faults is
//! refused by the first check that finds one.
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
//! # Where to find what
//!
//! | to | look at |
//! |---|---|
//! | say where a credential stands in a request | [`credential`] |
//! | describe, make and digest keys | [`key`] |
//! | keep keys somewhere else | [`store`] |
//! | find out who is calling | [`authenticate`], [`Principal`] |
//! | limit how often | [`rate_limit`] |
//! | limit what for | [`scope`], [`authorize`], [`route`] |
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
//! | `tonic` | [`Principal`] from the requests of tonic's services; the layers and `GrpcStatus` need no feature |
//! | `tracing` | events for refusals (`INFO`), authentications (`DEBUG`) and failures (`ERROR`); never a secret |
//! | `full` | all of them |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod authenticate;
pub mod authorize;
#[cfg(feature = "axum")]
pub mod axum;
pub mod clock;
pub mod credential;
pub mod key;
mod log;
pub mod manage;
pub mod presets;
mod principal;
pub mod rate_limit;
pub mod rejection;
pub mod route;
pub mod scope;
pub mod store;
mod text;
#[cfg(feature = "tonic")]
pub mod tonic;

pub use authenticate::AuthenticateLayer;
pub use authorize::RequireScopeLayer;
pub use principal::Principal;
pub use rate_limit::RateLimitLayer;

/// Compiles the README's code.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
