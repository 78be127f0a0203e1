use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

pin_project! {
    /// Response future of [`Authorize`](super::Authorize).
    #[derive(Debug)]
    pub struct ResponseFuture<F, P> {
        #[pin]
        state: State<F, P>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F, P> {
        Called { #[pin] future: F },
        Rejected { response: Option<P> },
    }
}

impl<F, P> ResponseFuture<F, P> {
    pub(super) fn called(future: F) -> Self {
        Self { state: State::Called { future } }
    }

    pub(super) fn rejected(response: P) -> Self {
        Self { state: State::Rejected { response: Some(response) } }
    }
}

impl<F, P, E> Future for ResponseFuture<F, P>
where
    F: Future<Output = Result<P, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Called { future } => future.poll(context),
            StateProjection::Rejected { response } => {
                Poll::Ready(Ok(response.take().expect("ResponseFuture polled after completion")))
            }
        }
    }
}
