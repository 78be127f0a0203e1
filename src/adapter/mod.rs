//! Framework integrations beyond tower: private, and re-exported at the root. Other modules name a framework only for the
//! key routes, and to read what axum leaves in a request's extensions.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tonic")]
mod tonic;

#[cfg(feature = "axum")]
pub use axum::ArgumentRejection;
