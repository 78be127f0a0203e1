use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::classify::{Classifier, Counted, Waiting};
use crate::gate::{self, Gate, Held};
use crate::rejection::RejectionFormat;

pin_project! {
    /// Response future of [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        gate: Gate<Held<Guard<R>, S, B>, Exit, S::Future, S::Response>,
    }
}

pub(super) struct Guard<R> {
    pub(super) waiting: Box<Waiting>,
    pub(super) classifier: Arc<Classifier>,
    pub(super) format: R,
}

/// Tells the client about its limit; `None` if the request was not counted.
pub(super) struct Exit(Option<Counted>);

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    pub(super) fn called(future: S::Future, counted: Option<Counted>) -> Self {
        Self { gate: Gate::called(future, Exit(counted)) }
    }

    pub(super) fn rejected(response: S::Response) -> Self {
        Self { gate: Gate::rejected(response) }
    }

    pub(super) fn waiting(guard: Guard<R>, inner: S, request: Request<B>) -> Self {
        Self { gate: Gate::waiting(Held { guard, inner, request }) }
    }
}

impl<S, ReqBody, ResBody, R> Future for ResponseFuture<S, ReqBody, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    R: RejectionFormat<ResBody>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().gate.poll(context)
    }
}

impl<ReqBody, ResBody, R: RejectionFormat<ResBody>> gate::Guard<ReqBody, ResBody> for Guard<R> {
    type Exit = Exit;

    fn poll(
        &mut self,
        _: &mut Request<ReqBody>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Exit, Response<ResBody>>> {
        let outcome = ready!(self.waiting.deciding.as_mut().poll(context));
        let verdict = self.classifier.judge(&self.waiting.asked, outcome);
        Poll::Ready(match verdict {
            Ok(counted) => Ok(Exit(Some(counted))),
            Err(refused) => Err(refused.into_response(&self.format)),
        })
    }
}

impl<B> gate::Exit<B> for Exit {
    fn complete(&mut self, response: &mut Response<B>) {
        let Some(Counted { fields, refund }) = self.0.take() else { return };
        fields.write(response.headers_mut());
        if let Some(refund) = refund {
            refund.settle(response.status());
        }
    }
}
