//! API key authentication as tower layers.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub mod authenticate;
pub mod authorize;
#[cfg(feature = "axum")]
pub mod axum;
pub mod clock;
pub mod credential;
pub mod key;
mod log;
mod principal;
pub mod rate_limit;
pub mod rejection;
pub mod route;
pub mod scope;
pub mod store;
mod text;

pub use authenticate::AuthenticateLayer;
pub use principal::Principal;
