//! The future of a layer that may have to wait until it knows whether a request passes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

/// Decides about the request it was made for.
pub(crate) trait Guard<ReqBody, ResBody> {
    type Exit: Exit<ResBody>;

    /// Lets the decision go on. A request that passes gets what belongs in it; one that does not gets its response.
    fn poll(
        &mut self,
        request: &mut Request<ReqBody>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::Exit, Response<ResBody>>>;
}

/// What is left to do with the response to a request that passed.
pub(crate) trait Exit<ResBody> {
    fn complete(&mut self, response: &mut Response<ResBody>);
}

pin_project! {
    /// The inner service's future is `F`, its response `P`. Most requests are decided about at once, so what it takes to
    /// wait lies elsewhere: the future stays as small as the one it wraps, and so does each move of it.
    #[project = GateProjection]
    pub(crate) enum Gate<H, E, F, P> {
        Waiting { held: Option<Box<H>> },
        Called { #[pin] future: F, exit: E },
        Rejected { response: Option<P> },
    }
}

/// A request that has to wait. The service is the one that was polled ready.
pub(crate) struct Held<G, S, B> {
    pub(crate) guard: G,
    pub(crate) inner: S,
    pub(crate) request: Request<B>,
}

impl<H, E, F, P> Gate<H, E, F, P> {
    pub(crate) fn waiting(held: H) -> Self {
        Self::Waiting { held: Some(Box::new(held)) }
    }

    pub(crate) fn called(future: F, exit: E) -> Self {
        Self::Called { future, exit }
    }

    pub(crate) fn rejected(response: P) -> Self {
        Self::Rejected { response: Some(response) }
    }
}

impl<G, E, S, ReqBody, ResBody> Gate<Held<G, S, ReqBody>, E, S::Future, S::Response>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    G: Guard<ReqBody, ResBody, Exit = E>,
    E: Exit<ResBody>,
{
    pub(crate) fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        loop {
            let next = match self.as_mut().project() {
                GateProjection::Called { future, exit } => {
                    let mut response = ready!(future.poll(context))?;
                    exit.complete(&mut response);
                    return Poll::Ready(Ok(response));
                }
                GateProjection::Rejected { response } => {
                    return Poll::Ready(Ok(response.take().expect("ResponseFuture polled after completion")));
                }
                GateProjection::Waiting { held } => {
                    let mut waiting = held.take().expect("ResponseFuture polled after completion");
                    match waiting.guard.poll(&mut waiting.request, context) {
                        Poll::Pending => {
                            *held = Some(waiting);
                            return Poll::Pending;
                        }
                        Poll::Ready(Ok(exit)) => {
                            let Held { mut inner, request, .. } = *waiting;
                            Self::called(inner.call(request), exit)
                        }
                        Poll::Ready(Err(response)) => Self::rejected(response),
                    }
                }
            };
            self.set(next);
        }
    }
}
