use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use thiserror::Error;

use super::extract::{Anonymous, LayerMissing, misconfigured};
use crate::principal::{Authentication, Caller, OrganizationPrincipal, SystemPrincipal};
use crate::rejection::{ProblemDetails, Reason, Rejection};

impl<S: Send + Sync> FromRequestParts<S> for OrganizationPrincipal {
    type Rejection = TierRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, TierRejection> {
        known_caller(parts)?;
        Self::from_extensions(&parts.extensions).ok_or(TierRejection::ContextMissing)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SystemPrincipal {
    type Rejection = TierRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, TierRejection> {
        known_caller(parts)?;
        Self::from_extensions(&parts.extensions).ok_or(TierRejection::OtherTier)
    }
}

fn known_caller(parts: &Parts) -> Result<(), TierRejection> {
    let authentication = Authentication::of(&parts.extensions).ok_or(LayerMissing)?;
    match authentication.caller {
        Caller::Nobody => Err(Anonymous.into()),
        Caller::Principal(_) | Caller::Session { .. } => Ok(()),
    }
}

/// There is no [`OrganizationPrincipal`] or no [`SystemPrincipal`] for a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TierRejection {
    /// The host's mistake: 500.
    #[error(transparent)]
    LayerMissing(#[from] LayerMissing),
    /// The client's: 401.
    #[error(transparent)]
    Anonymous(#[from] Anonymous),
    /// No layer has found for which organization the caller acts: 500. Add an
    /// [`OrganizationContextLayer`](crate::authorize::OrganizationContextLayer) after the route and before
    /// [`AuthenticateLayer`](crate::AuthenticateLayer).
    #[error("OrganizationPrincipal needs OrganizationContextLayer outside this route")]
    ContextMissing,
    /// The caller is not of the system: 403.
    #[error("the caller is not of the system")]
    OtherTier,
}

impl TierRejection {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::LayerMissing(rejection) => rejection.status(),
            Self::Anonymous(rejection) => rejection.status(),
            Self::ContextMissing => StatusCode::INTERNAL_SERVER_ERROR,
            Self::OtherTier => StatusCode::FORBIDDEN,
        }
    }
}

impl IntoResponse for TierRejection {
    fn into_response(self) -> Response {
        match self {
            Self::LayerMissing(rejection) => rejection.into_response(),
            Self::Anonymous(rejection) => rejection.into_response(),
            Self::ContextMissing => {
                misconfigured("OrganizationPrincipal needs OrganizationContextLayer outside this route")
            }
            Self::OtherTier => {
                let response: Response<Body> =
                    Rejection::new(Reason::TierMismatch).into_response(&ProblemDetails);
                response
            }
        }
    }
}
