use std::fmt;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::check::Rule;
use super::future::ResponseFuture;
use crate::credential::RequestView;
use crate::principal::{Authentication, Caller, PrincipalSlot};
use crate::rejection::{ProblemDetails, RejectionFormat};

/// Middleware that lets a caller through who may pass.
///
/// [`RequireScopeLayer`](super::RequireScopeLayer), [`OrganizationLayer`](super::OrganizationLayer) and
/// [`OrganizationContextLayer`](super::OrganizationContextLayer) make it. See the [module docs](crate::authorize).
#[derive(Clone)]
#[must_use]
pub struct Authorize<S, R = ProblemDetails> {
    inner: S,
    rule: Rule,
    format: R,
}

impl<S, R> Authorize<S, R> {
    pub(super) fn new(inner: S, rule: Rule, format: R) -> Self {
        Self { inner, rule, format }
    }
}

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for Authorize<S, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    R: RejectionFormat<ResBody>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.rule.check(RequestView::of(&request)) {
            Ok(found) => {
                if let Some(principal) = found {
                    // Of a session nobody has been told yet.
                    PrincipalSlot::fill(request.extensions(), Some(&principal));
                    if let Some(authentication) = request.extensions_mut().get_mut::<Authentication>() {
                        authentication.caller = Caller::Principal(*principal);
                    }
                }
                ResponseFuture::called(self.inner.call(request))
            }
            Err(rejection) => ResponseFuture::rejected(rejection.into_response(&self.format)),
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for Authorize<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorize")
            .field("inner", &self.inner)
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}
