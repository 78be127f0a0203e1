use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, Request, Response};
use tower::Service;

use super::UsageSink;
use super::call::Metered;
use super::future::ResponseFuture;
use crate::credential::RequestView;

/// Middleware that tells a sink about calls.
///
/// See the [module docs](crate::usage) for an example.
#[derive(Clone)]
#[must_use]
pub struct Usage<S> {
    inner: S,
    header: HeaderName,
    sink: Arc<dyn UsageSink>,
}

impl<S> Usage<S> {
    pub(super) fn new(inner: S, header: HeaderName, sink: Arc<dyn UsageSink>) -> Self {
        Self { inner, header, sink }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Usage<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let metered = Metered::of(RequestView::of(&request), &self.header);
        if let Some(metered) = &metered {
            request.extensions_mut().insert(metered.slot());
        }
        ResponseFuture::new(self.inner.call(request), metered.map(|metered| (metered, self.sink.clone())))
    }
}

impl<S: fmt::Debug> fmt::Debug for Usage<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage")
            .field("inner", &self.inner)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
