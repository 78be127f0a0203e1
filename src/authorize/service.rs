use std::fmt;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::check::Rules;
use super::future::ResponseFuture;
use crate::credential::RequestView;
use crate::rejection::{ProblemDetails, RejectionFormat};

/// Middleware that lets a caller through who holds the scope that is needed.
///
/// See the [module docs](crate::authorize).
#[derive(Clone)]
#[must_use]
pub struct RequireScope<S, R = ProblemDetails> {
    inner: S,
    rules: Rules,
    format: R,
}

impl<S, R> RequireScope<S, R> {
    pub(super) fn new(inner: S, rules: Rules, format: R) -> Self {
        Self { inner, rules, format }
    }
}

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for RequireScope<S, R>
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

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.rules.check(RequestView::of(&request)) {
            Ok(()) => ResponseFuture::called(self.inner.call(request)),
            Err(rejection) => ResponseFuture::rejected(rejection.into_response(&self.format)),
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for RequireScope<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireScope")
            .field("inner", &self.inner)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
