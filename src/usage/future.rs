use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use super::UsageSink;
use super::call::Metered;

pin_project! {
    /// Response future of [`Usage`](super::Usage).
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        metered: Option<(Metered, Arc<dyn UsageSink>)>,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(future: F, metered: Option<(Metered, Arc<dyn UsageSink>)>) -> Self {
        Self { future, metered }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(context))?;
        if let Some((metered, sink)) = this.metered.take() {
            metered.answered(response.status(), &sink);
        }
        Poll::Ready(Ok(response))
    }
}
