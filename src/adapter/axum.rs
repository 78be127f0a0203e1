//! Handler arguments for axum: [`Principal`], also optional, [`OrganizationPrincipal`] and [`SystemPrincipal`].

use axum::body::Body;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::identity::{Authentication, Caller, OrganizationPrincipal, Principal, SystemPrincipal};
use crate::middleware::FailedExtraction;
use crate::rejection::{ErrorKind, ProblemDetails, Reason, Rejection, reject};
use crate::request::RequestView;

/// There is no [`Principal`] for a handler. The response has the assembly's format of errors: 500 if the layers do
/// not match the handler, 401 if the request is anonymous, 403 if the caller has the wrong tier.
#[derive(Clone, Debug)]
pub struct PrincipalRejection(Box<FailedExtraction>);

impl PrincipalRejection {
    fn new(reason: Reason, parts: &Parts) -> Self {
        Self(Box::new(FailedExtraction::new(Rejection::new(reason), RequestView::of_parts(parts))))
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.rejection.kind()
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.kind().status()
    }
}

impl std::fmt::Display for PrincipalRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.rejection.reason().fmt(f)
    }
}

impl std::error::Error for PrincipalRejection {}

impl IntoResponse for PrincipalRejection {
    /// Problem details, until the outer service replaces them with a response in its own format.
    fn into_response(self) -> Response {
        let failed = *self.0;
        let mut response: Response<Body> = if failed.is_outside() {
            reject(&failed.rejection, &ProblemDetails, failed.request(), false)
        } else {
            failed.rejection.kind().status().into_response()
        };
        response.extensions_mut().insert(failed);
        response
    }
}

fn caller(parts: &Parts) -> Result<&Caller, PrincipalRejection> {
    match Authentication::of(&parts.extensions) {
        Some(Authentication { caller: Caller::Session { .. }, .. }) => {
            let missing = "a session of several owners has a principal only inside `ApiKeys::layer` or `authorize`, with \
                 `ApiKeysBuilder::organization`";
            Err(PrincipalRejection::new(Reason::Misconfigured(missing), parts))
        }
        Some(authentication) => Ok(&authentication.caller),
        None => {
            let missing = "`Principal` needs `ApiKeys::layer` or `authenticate` outside this route";
            Err(PrincipalRejection::new(Reason::Misconfigured(missing), parts))
        }
    }
}

fn principal(parts: &Parts) -> Result<&Principal, PrincipalRejection> {
    caller(parts)?.principal().ok_or_else(|| PrincipalRejection::new(Reason::CredentialMissing, parts))
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = PrincipalRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PrincipalRejection> {
        principal(parts).cloned()
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = PrincipalRejection;

    /// `None` for an anonymous request, if such requests are accepted.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, PrincipalRejection> {
        Ok(caller(parts)?.principal().cloned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OrganizationPrincipal {
    type Rejection = PrincipalRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PrincipalRejection> {
        principal(parts)?;
        Self::from_extensions(&parts.extensions).ok_or_else(|| {
            let missing = "`OrganizationPrincipal` needs `ApiKeysBuilder::organization` with a context, and a route that is \
                 not of the system";
            PrincipalRejection::new(Reason::Misconfigured(missing), parts)
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SystemPrincipal {
    type Rejection = PrincipalRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PrincipalRejection> {
        let authentication = Authentication::of(&parts.extensions);
        // A session of organizations is not one of the system, whichever is selected.
        let is_of_organizations = authentication.is_some_and(
            |of| matches!(&of.caller, Caller::Session { session, .. } if !session.is_of_system()),
        );
        if !is_of_organizations {
            principal(parts)?;
        }
        Self::from_extensions(&parts.extensions)
            .ok_or_else(|| PrincipalRejection::new(Reason::TierMismatch, parts))
    }
}
