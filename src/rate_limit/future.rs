use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use super::classify::Counted;

pin_project! {
    /// Response future of [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<F, P> {
        #[pin]
        state: State<F, P>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, P> {
        Called { #[pin] future: F, counted: Option<Counted> },
        Rejected { response: Option<P> },
    }
}

impl<F, P> ResponseFuture<F, P> {
    pub(super) fn called(future: F, counted: Option<Counted>) -> Self {
        Self { state: State::Called { future, counted } }
    }

    pub(super) fn rejected(response: P) -> Self {
        Self { state: State::Rejected { response: Some(response) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, Response<B>>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Called { future, counted } => {
                let mut response = ready!(future.poll(context))?;
                if let Some(Counted { limiter, fields, permit }) = counted.take() {
                    fields.write(&limiter, response.headers_mut());
                    if let Some((permit, _)) = permit.filter(|(_, refund)| refund(response.status())) {
                        limiter.refund(permit);
                    }
                }
                Poll::Ready(Ok(response))
            }
            StateProjection::Rejected { response } => {
                Poll::Ready(Ok(response.take().expect("ResponseFuture polled after completion")))
            }
        }
    }
}
