//! For hosts that use axum: [`Principal`](crate::Principal) as an argument of handlers (and
//! [`OrganizationPrincipal`](crate::authorize::OrganizationPrincipal) and
//! [`SystemPrincipal`](crate::authorize::SystemPrincipal) where it matters which), and a router's own list of its routes.
//!
//! ```
//! use axum::Router;
//! use axum::routing::get;
//! use tower_api_keys::Principal;
//!
//! async fn whoami(principal: Principal) -> String {
//!     principal.key_id().to_string()
//! }
//!
//! async fn greet(principal: Option<Principal>) -> &'static str {
//!     if principal.is_some() { "hello again" } else { "hello" }
//! }
//!
//! let routes: Router = Router::new().route("/whoami", get(whoami)).route("/greet", get(greet));
//! ```
//!
//! The routes then go under [`AuthenticateLayer`](crate::AuthenticateLayer). A request with a credential that is not
//! good never reaches them. `Option<Principal>` is for those under
//! [`allow_anonymous`](crate::AuthenticateLayer::allow_anonymous).
//!
//! # A test that no route was forgotten
//!
//! [`routes`] lists what a router has, and the table says which of it no rule covers, and which rules cover
//! nothing. [`unguarded`] sends requests and names what answers without a key.
//!
//! ```
//! use axum::Router;
//! use axum::routing::get;
//! use http::{HeaderName, Method};
//! use tower_api_keys::authorize::{Access, RequireScopeLayer};
//! use tower_api_keys::credential::HeaderKey;
//! use tower_api_keys::key::KeyFormat;
//! use tower_api_keys::route::{InvalidRoute, Route, RouteTable};
//! use tower_api_keys::store::MemoryStore;
//! use tower_api_keys::{AuthenticateLayer, scope::ScopeRequirement};
//!
//! const READ: ScopeRequirement = ScopeRequirement::from_static("users:read");
//!
//! fn api() -> Router {
//!     let users = Router::new().route("/", get(async || "users")).route("/{id}", get(async || "user"));
//!     Router::new().nest("/users", users)
//! }
//!
//! fn table() -> Result<RouteTable<Access>, InvalidRoute> {
//!     RouteTable::new().add(Method::GET, "/users", READ.into())?.add(Method::GET, "/users/{id}", READ.into())
//! }
//!
//! fn app(authenticate: AuthenticateLayer) -> Result<Router, Box<dyn std::error::Error>> {
//!     let api = api().route_layer(RequireScopeLayer::by_route(table()?)?).layer(authenticate);
//!     Ok(api.route("/health", get(async || "fine")))
//! }
//!
//! // The test:
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let header = HeaderKey::new(HeaderName::from_static("x-api-key"), KeyFormat::new("acme_").build()?);
//! let app = app(AuthenticateLayer::new(MemoryStore::new(), header))?;
//! let routes = tower_api_keys::axum::routes(&api())?;
//! assert_eq!(table()?.uncovered(routes.clone()), []);
//! assert_eq!(table()?.unused(routes), []);
//! let public = [Route::from((Method::GET, "/health"))];
//! assert_eq!(tower_api_keys::axum::unguarded(&app).await?, public);
//! # Ok(())
//! # }
//! ```

mod extract;
mod routes;
mod tiers;

pub use extract::{Anonymous, LayerMissing, PrincipalRejection};
pub use routes::{UnreadableRouter, routes, unguarded};
pub use tiers::TierRejection;
