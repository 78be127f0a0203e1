use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::classify::{Classifier, Step};
use super::future::{Guard, ResponseFuture};
use crate::credential::RequestView;
use crate::rejection::{ProblemDetails, RejectionFormat};

/// Middleware that limits how many requests each caller makes.
///
/// See the [module docs](crate::rate_limit) for an example.
#[derive(Clone)]
#[must_use]
pub struct RateLimit<S, R = ProblemDetails> {
    inner: S,
    classifier: Arc<Classifier>,
    format: R,
}

impl<S, R> RateLimit<S, R> {
    pub(super) fn new(inner: S, classifier: Arc<Classifier>, format: R) -> Self {
        Self { inner, classifier, format }
    }
}

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<S, R>
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

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.classifier.check(RequestView::of(&request)) {
            Step::Decided(Ok(counted)) => ResponseFuture::called(self.inner.call(request), counted),
            Step::Decided(Err(refused)) => ResponseFuture::rejected(refused.into_response(&self.format)),
            Step::Waiting(waiting) => {
                // The clone may not be ready; the one that was polled is, and goes with the request.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                let (classifier, format) = (self.classifier.clone(), self.format.clone());
                ResponseFuture::waiting(Guard { waiting, classifier, format }, ready, request)
            }
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for RateLimit<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("inner", &self.inner)
            .field("classifier", &self.classifier)
            .finish_non_exhaustive()
    }
}
