//! Framework integrations beyond tower: private, and re-exported where they belong. No other module names a
//! framework, except for the types that axum's router leaves in a request's extensions.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tonic")]
mod tonic;

#[cfg(feature = "axum")]
pub use axum::PrincipalRejection;
#[cfg(feature = "tonic")]
pub use tonic::tonic_principal;
