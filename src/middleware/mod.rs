//! The layer of an assembly, its service and its future.
//!
//! [`ApiKeys::layer`](crate::ApiKeys::layer) runs every check in the declared order ([`Check`](crate::rejection::Check)) in
//! one service. Where something has to stand in between, the same service can be added with fewer stages; a request is
//! answered alike:
//!
//! | from the outside in | checks |
//! |---|---|
//! | [`limit_addresses`](crate::ApiKeys::limit_addresses) | limits by client address |
//! | [`authenticate`](crate::ApiKeys::authenticate) | 1 to 6: credential, key, state, addresses |
//! | [`rate_limit`](crate::ApiKeys::rate_limit) | 7: limits by key and organization |
//! | [`authorize`](crate::ApiKeys::authorize) | 8 and 9: organization, access by route |
//! | [`require`](crate::ApiKeys::require) | 9 for one route: a scope |
//!
//! The outermost layer sees a request first. An axum `Router` is covered by a layer added later, so the outermost is
//! written last; a `ServiceBuilder` has the outermost first. From the outside in:
//!
//! 1. CORS, tracing, metrics: rejections pass through them, too. Middleware that rewrites the path.
//! 2. [`layer`](crate::ApiKeys::layer), or the layers of the table above.
//! 3. The routes.
//!
//! # In an axum router
//!
//! `Router::layer` covers what was added before it, the fallback included; routes added or merged later stay outside, and
//! `Router::route_layer` leaves the fallback outside. So add routes first, and the layer last. Add it with `layer`, so that
//! an unauthenticated client does not learn which routes there are. Several `Router::layer` calls cost more than one: axum
//! boxes each (0.2 to 0.3 µs a request).
//!
//! [`RouteMatching::MatchedPath`](crate::route::RouteMatching) has the rules matched by the router's own routes. Then a
//! known caller gets 404 for a path that no route has.
//!
//! Public routes stand outside the layer, or have the rule [`Access::Public`](crate::route::Access::Public). A CORS layer
//! belongs outside, too: a preflight has no key and is rejected, unless it is
//! [passed](crate::ApiKeysBuilder::pass_cors_preflight).
//!
//! Nothing in the request's header fields has an influence on what a route needs: not `X-HTTP-Method-Override`, not
//! `X-Original-URL`, not `X-Forwarded-Uri`.
//!
//! Where `rate_limit`, `authorize` or `require` has no `authenticate` outside it, nothing is accepted: every request gets
//! 500, and the log says what is missing.

mod api_keys;
mod assembly;
mod background;
mod build;
mod builder;
mod caller_limits;
mod challenges;
mod checks;
mod config_error;
mod credentials;
mod decision;
mod exit;
mod facts;
mod failed_extraction;
mod future;
#[cfg(feature = "metrics")]
mod gauges;
mod health;
mod known_scopes;
mod layer;
mod limit_rule;
mod limit_settings;
mod location;
mod lookups;
mod presented;
mod receipts;
mod record_settings;
#[cfg(feature = "openapi")]
mod requirements;
mod route_settings;
mod service;
mod stage;
mod trace;
#[cfg(feature = "axum")]
mod usage_routes;
mod verify_imported;
#[cfg(feature = "cli")]
mod verify_text;

pub use api_keys::ApiKeys;
pub use builder::ApiKeysBuilder;
pub use config_error::ConfigError;
#[cfg(feature = "console")]
pub(crate) use credentials::CurlCredential;
#[cfg(feature = "axum")]
pub(crate) use failed_extraction::FailedExtraction;
pub use future::ResponseFuture;
pub use health::{Health, LimitHealth};
pub use layer::ApiKeysLayer;
#[cfg(feature = "openapi")]
pub(crate) use requirements::{CredentialPlace, CredentialPlaces, OrganizationField, Requirements};
pub use service::ApiKeysService;
#[cfg(feature = "console")]
pub(crate) use trace::Explainer;
pub use trace::{Step, Trace};
