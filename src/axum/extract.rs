use axum::body::Body;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use thiserror::Error;

use crate::principal::{Authentication, Principal};
use crate::rejection::{ProblemDetails, Reason, Rejection};

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = PrincipalRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PrincipalRejection> {
        principal(parts)?.ok_or(PrincipalRejection::Anonymous(Anonymous))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = LayerMissing;

    /// `None` if the authentication layer lets requests without a credential through, and this is one.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, LayerMissing> {
        principal(parts)
    }
}

fn principal(parts: &Parts) -> Result<Option<Principal>, LayerMissing> {
    let authentication = Authentication::of(&parts.extensions).ok_or(LayerMissing)?;
    authentication.principal().map(|principal| principal.cloned()).map_err(|_| LayerMissing)
}

/// There is no [`Principal`] for a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PrincipalRejection {
    /// The host's mistake.
    #[error(transparent)]
    LayerMissing(#[from] LayerMissing),
    /// The client's.
    #[error(transparent)]
    Anonymous(#[from] Anonymous),
}

/// No authentication layer stands outside the route: 500. Add [`AuthenticateLayer`](crate::AuthenticateLayer) after the
/// route; for [sessions](crate::user_session) also an
/// [`OrganizationContextLayer`](crate::authorize::OrganizationContextLayer) between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("Principal needs AuthenticateLayer outside this route")]
#[non_exhaustive]
pub struct LayerMissing;

/// Nobody is calling, where the authentication layer lets requests without a credential through: 401. A handler that
/// also serves those takes an `Option<Principal>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no credential was presented")]
#[non_exhaustive]
pub struct Anonymous;

impl PrincipalRejection {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::LayerMissing(rejection) => rejection.status(),
            Self::Anonymous(rejection) => rejection.status(),
        }
    }
}

impl LayerMissing {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }
}

impl Anonymous {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        StatusCode::UNAUTHORIZED
    }
}

impl IntoResponse for PrincipalRejection {
    fn into_response(self) -> Response {
        match self {
            Self::LayerMissing(rejection) => rejection.into_response(),
            Self::Anonymous(rejection) => rejection.into_response(),
        }
    }
}

impl IntoResponse for LayerMissing {
    fn into_response(self) -> Response {
        misconfigured("Principal needs AuthenticateLayer outside this route")
    }
}

/// Names the layer, unlike other 500s: it is a developer who reads this one, and no request gets another.
pub(super) fn misconfigured(detail: &'static str) -> Response {
    let body = format!(
        r#"{{"type":"about:blank","title":"Internal Server Error","status":500,"code":"misconfigured","detail":"{detail}"}}"#
    );
    Rejection::new(Reason::LayerMissing(detail)).into_response(&|rejection: &Rejection| {
        let mut response = Response::new(Body::from(body.clone()));
        *response.status_mut() = rejection.kind().status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    })
}

impl IntoResponse for Anonymous {
    fn into_response(self) -> Response {
        // The authentication layer adds its challenges on the way out.
        Rejection::new(Reason::CredentialMissing).into_response(&ProblemDetails)
    }
}
