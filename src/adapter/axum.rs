//! Handler arguments for axum: [`Principal`], also optional, [`OrganizationPrincipal`], [`SystemPrincipal`], [`Charge`] and
//! [`InFlight`].

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Request, StatusCode};

use crate::identity::{Authentication, Caller, OrganizationPrincipal, Principal, SystemPrincipal};
use crate::limit::{Charge, InFlight};
use crate::manage::{FailedCall, ManageError};
use crate::middleware::FailedExtraction;
use crate::outcome::report_misplaced;
use crate::rejection::{ErrorKind, ProblemDetails, Reason, Rejection, fail, reject};
use crate::request::RequestView;

/// There is no [`Principal`], [`Charge`] or [`InFlight`] for a handler. The response has the assembly's format of errors: 500 if the layers do
/// not match the handler, 401 if the request is anonymous, 403 if the caller has the wrong tier.
#[derive(Clone, Debug)]
pub struct ArgumentRejection(Box<FailedExtraction>);

impl ArgumentRejection {
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

impl std::fmt::Display for ArgumentRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.rejection.reason().fmt(f)
    }
}

impl std::error::Error for ArgumentRejection {}

impl IntoResponse for ArgumentRejection {
    /// Problem details, until the outer service replaces them with a response in its own format.
    fn into_response(self) -> Response {
        let failed = *self.0;
        let mut response: Response<Body> = if failed.is_outside() {
            report_misplaced(failed.rejection.reason().clone(), failed.request());
            reject(&failed.rejection, &ProblemDetails, failed.request(), false)
        } else {
            failed.rejection.kind().status().into_response()
        };
        response.extensions_mut().insert(failed);
        response
    }
}

impl IntoResponse for ManageError {
    /// A handler can return it. The response is that of the assembly's format, where [`ApiKeys::layer`] stands outside, and else
    /// problem details. The request that the format sees has its identifier, and nothing else of the head.
    ///
    /// ```
    /// use axum::Json;
    /// use axum::extract::{Path, State};
    /// use tower_api_keys::key::KeyId;
    /// use tower_api_keys::manage::{Authority, KeyManager, KeyView, ManageError};
    /// use tower_api_keys::Principal;
    ///
    /// async fn disable(
    ///     caller: Principal,
    ///     State(keys): State<KeyManager>,
    ///     Path(id): Path<KeyId>,
    /// ) -> Result<Json<KeyView>, ManageError> {
    ///     keys.disable(&Authority::principal(&caller), &id).await.map(Json)
    /// }
    /// ```
    ///
    /// [`ApiKeys::layer`]: crate::ApiKeys::layer
    fn into_response(self) -> Response {
        let request = Request::new(());
        let mut response: Response<Body> =
            fail(&self.to_api_error(RequestView::of(&request)), &ProblemDetails);
        response.extensions_mut().insert(FailedCall(Arc::new(self)));
        response
    }
}

fn caller(parts: &Parts) -> Result<&Caller, ArgumentRejection> {
    match Authentication::of(&parts.extensions) {
        Some(Authentication { caller: Caller::Session { .. }, .. }) => {
            let missing = "a session of several owners has a principal only inside `ApiKeys::layer` or `authorize`, with \
                 `ApiKeysBuilder::organization`";
            Err(ArgumentRejection::new(Reason::Misconfigured(missing), parts))
        }
        Some(authentication) => Ok(&authentication.caller),
        None => {
            let missing = "`Principal` needs `ApiKeys::layer` or `authenticate` outside this route";
            Err(ArgumentRejection::new(Reason::Misconfigured(missing), parts))
        }
    }
}

fn principal(parts: &Parts) -> Result<&Principal, ArgumentRejection> {
    caller(parts)?.principal().ok_or_else(|| ArgumentRejection::new(Reason::CredentialMissing, parts))
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = ArgumentRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ArgumentRejection> {
        principal(parts).cloned()
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = ArgumentRejection;

    /// `None` for an anonymous request, if such requests are accepted.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, ArgumentRejection> {
        Ok(caller(parts)?.principal().cloned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OrganizationPrincipal {
    type Rejection = ArgumentRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ArgumentRejection> {
        principal(parts)?;
        Self::from_extensions(&parts.extensions).ok_or_else(|| {
            let missing = "`OrganizationPrincipal` needs `ApiKeysBuilder::organization` with a context, and a route that is \
                 not of the system";
            ArgumentRejection::new(Reason::Misconfigured(missing), parts)
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SystemPrincipal {
    type Rejection = ArgumentRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ArgumentRejection> {
        let authentication = Authentication::of(&parts.extensions);
        // A session of organizations is not one of the system, whichever is selected.
        let is_of_organizations = authentication.is_some_and(
            |of| matches!(&of.caller, Caller::Session { session, .. } if !session.is_of_system()),
        );
        if !is_of_organizations {
            principal(parts)?;
        }
        Self::from_extensions(&parts.extensions)
            .ok_or_else(|| ArgumentRejection::new(Reason::TierMismatch, parts))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Charge {
    type Rejection = ArgumentRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ArgumentRejection> {
        let missing = "`Charge` needs a limit with `RateLimit::charged` that counts this request; where there may be none, take an \
             `Option<Charge>`";
        let charge = Self::from_extensions(&parts.extensions).cloned();
        charge.ok_or_else(|| ArgumentRejection::new(Reason::Misconfigured(missing), parts))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Charge {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::from_extensions(&parts.extensions).cloned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InFlight {
    type Rejection = ArgumentRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ArgumentRejection> {
        let missing = "`InFlight` needs a limit with `Quota::concurrent` that counts this request; where there may be none, take \
             an `Option<InFlight>`";
        let in_flight = Self::from_extensions(&parts.extensions).cloned();
        in_flight.ok_or_else(|| ArgumentRejection::new(Reason::Misconfigured(missing), parts))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for InFlight {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::from_extensions(&parts.extensions).cloned())
    }
}
