//! What frameworks need beyond tower: private, and re-exported where it belongs. No other module names a framework, but for
//! the types that axum's router leaves in a request's extensions.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tonic")]
mod tonic;

#[cfg(feature = "axum")]
pub use axum::PrincipalRejection;
#[cfg(feature = "tonic")]
pub use tonic::tonic_principal;
