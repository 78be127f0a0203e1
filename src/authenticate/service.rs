use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::checks::{Authenticator, Step};
use super::future::{Exit, Guard, ResponseFuture};
use crate::credential::RequestView;
use crate::rejection::{ProblemDetails, RejectionFormat};

/// Middleware that authenticates each request by its key.
///
/// See the [module docs](crate::authenticate) for an example.
#[derive(Clone)]
#[must_use]
pub struct Authenticate<S, R = ProblemDetails> {
    inner: S,
    authenticator: Arc<Authenticator>,
    format: R,
}

impl<S, R> Authenticate<S, R> {
    pub(super) fn new(inner: S, authenticator: Arc<Authenticator>, format: R) -> Self {
        Self { inner, authenticator, format }
    }
}

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for Authenticate<S, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    R: RejectionFormat<ResBody>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        self.authenticator.mark_sensitive(request.headers_mut());
        match self.authenticator.check(RequestView::of(&request)) {
            Step::Decided(Ok(authentication)) => {
                let exit = Exit::of(&mut request, authentication, &self.authenticator);
                ResponseFuture::called(self.inner.call(request), exit)
            }
            Step::Decided(Err(rejection)) => ResponseFuture::rejected(rejection.into_response(&self.format)),
            Step::Waiting(verdict) => {
                // The clone may not be ready; the one that was polled is, and goes with the request.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                let (authenticator, format) = (self.authenticator.clone(), self.format.clone());
                ResponseFuture::waiting(Guard { verdict, authenticator, format }, ready, request)
            }
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for Authenticate<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticate").field("inner", &self.inner).finish_non_exhaustive()
    }
}
