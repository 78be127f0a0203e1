//! For hosts that use axum: [`Principal`](crate::Principal) as an argument of handlers, and a router's own list of its routes.
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
//! good never reaches them.

mod extract;
mod routes;

pub use extract::{Anonymous, LayerMissing, PrincipalRejection};
pub use routes::{UnreadableRouter, routes, unguarded};
