//! The layers that let a caller through who may do what the route does.
//!
//! [`RequireScopeLayer`] stands inside [`AuthenticateLayer`](crate::AuthenticateLayer) and outside the routes. It is
//! made for one route or a group of them ([`RequireScopeLayer::new`]), or for a whole router from a table that refuses
//! whatever it does not list ([`RequireScopeLayer::by_route`]).
//!
//! Two layers may stand between the two, inside a rate limit if there is one: [`OrganizationLayer`], for an API whose
//! clients name their organization in a header field as well, and [`OrganizationContextLayer`], for one that is also used
//! by [system keys](SystemPrincipal) and [sessions](crate::user_session), whose organization has to be found. Which *resources* a caller reaches is the business of the handlers; see
//! [`isolation`](crate::isolation).
//!
//! There is no way to list a route as public: public routes belong outside the layers.
//!
//! A request is refused, in this order, if
//!
//! 1. no authentication layer stands outside (500: the host's mistake);
//! 2. nobody is calling, where the authentication layer lets requests without a credential through (401);
//! 3. it has to name the caller's organization and does not (400), or names another (403), or is for one that the caller
//!    can't act for (404);
//! 4. the table lists no such method and route, or the path is not canonical (403), see [`route`](crate::route);
//! 5. the caller is of the wrong tier, or lacks the role or the scope (403); see [`Access`].
//!
//! Only for want of a scope does the answer say what is missing, to who presented a bearer token: `WWW-Authenticate: Bearer
//! error="insufficient_scope", scope="invoice:read"` (RFC 6750 section 3.1).
//!
//! Nothing in the request's header fields has an influence on what a route needs: not `X-HTTP-Method-Override`, not `X-Original-URL`, not
//! `X-Forwarded-Uri`.
//!
//! # Where to put it
//!
//! axum's `Router::layer` covers what was added before it, the fallback included; routes added or merged
//! later stay outside, and `Router::route_layer` leaves the fallback outside. So add routes first, this layer
//! next, and the authentication layer last. Which of the two methods adds a layer with a table decides about
//! paths that no route has: a caller with a key gets 403 under `layer`, and what the fallback says, usually
//! 404, under `route_layer`. The authentication layer belongs in `layer`, so that nobody without a key learns
//! which routes there are.
//!
//! Middleware that rewrites the path belongs outside this layer. A CORS layer belongs outside it too: a
//! preflight has no key, and is refused here.
//!
//! With the feature `axum`, `axum::routes` and `RouteTable::uncovered` name in a test the routes that were forgotten in
//! the table, and `axum::unguarded` those that were left outside the layers.
//!
//! ```
//! use http::Method;
//! use tower_api_keys::authorize::{Access, RequireScopeLayer};
//! use tower_api_keys::route::RouteTable;
//! use tower_api_keys::scope::ScopeRequirement;
//!
//! const READ: ScopeRequirement = ScopeRequirement::from_static("workflows:read");
//! const WRITE: ScopeRequirement = ScopeRequirement::from_static("workflows:write");
//!
//! let table = RouteTable::new()
//!     .add(Method::GET, "/workflows", READ.into())?
//!     .add(Method::POST, "/workflows", WRITE.into())?
//!     .add(Method::GET, "/whoami", Access::AnyKey)?;
//! let layer = RequireScopeLayer::by_route(table)?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod access;
mod check;
mod context;
mod context_layer;
mod future;
mod organization;
mod scope;
mod selected;
mod service;

pub use access::{Access, EmptyRouteTable};
pub use context_layer::OrganizationContextLayer;
pub use future::ResponseFuture;
pub use organization::OrganizationLayer;
pub use scope::RequireScopeLayer;
pub use service::Authorize;

pub use crate::principal::{OrganizationPrincipal, Role, SystemPrincipal, Tier};
