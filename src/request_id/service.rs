use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::{HeaderOnly, RequestId, WriteRequestId, X_REQUEST_ID};

/// Middleware that gives each request an identifier.
///
/// See the [module docs](super).
#[derive(Clone, Debug)]
#[must_use]
pub struct WithRequestId<S, W = HeaderOnly> {
    pub(super) inner: S,
    pub(super) body: W,
}

impl<S, W, ReqBody, ResBody> Service<Request<ReqBody>> for WithRequestId<S, W>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    W: WriteRequestId<ResBody>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, W>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let id = RequestId::of(request.headers());
        request.extensions_mut().insert(id.clone());
        // No room for one more field name: then there is none that says anything else, either.
        let _ = request.headers_mut().try_insert(X_REQUEST_ID, id.0.clone());
        ResponseFuture { future: self.inner.call(request), id, body: self.body.clone() }
    }
}

pin_project! {
    /// Response future of [`WithRequestId`].
    #[derive(Debug)]
    pub struct ResponseFuture<F, W> {
        #[pin]
        future: F,
        id: RequestId,
        body: W,
    }
}

impl<F, W, B, E> Future for ResponseFuture<F, W>
where
    F: Future<Output = Result<Response<B>, E>>,
    W: WriteRequestId<B>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(context))?;
        response.headers_mut().insert(X_REQUEST_ID, this.id.0.clone());
        this.body.write(this.id, &mut response);
        Poll::Ready(Ok(response))
    }
}
