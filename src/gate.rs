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
    /// The inner service's type is `S`, `F` its future and `P` its response.
    #[project = GateProjection]
    #[project_replace = GateReplaced]
    pub(crate) enum Gate<G, E, S, B, F, P> {
        // The service is the one that was polled ready.
        Waiting { guard: G, inner: S, request: Request<B> },
        Called { #[pin] future: F, exit: E },
        Rejected { response: P },
        Done,
    }
}

impl<G, E, S, ReqBody, ResBody> Gate<G, E, S, ReqBody, S::Future, S::Response>
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
            let decided = match self.as_mut().project() {
                GateProjection::Waiting { guard, request, .. } => ready!(guard.poll(request, context)),
                GateProjection::Called { future, exit } => {
                    let mut response = ready!(future.poll(context))?;
                    exit.complete(&mut response);
                    return Poll::Ready(Ok(response));
                }
                GateProjection::Rejected { .. } => {
                    let GateReplaced::Rejected { response } = self.project_replace(Self::Done) else {
                        unreachable!("the state was just seen to be Rejected")
                    };
                    return Poll::Ready(Ok(response));
                }
                GateProjection::Done => panic!("ResponseFuture polled after completion"),
            };
            let GateReplaced::Waiting { mut inner, request, .. } = self.as_mut().project_replace(Self::Done)
            else {
                unreachable!("only while waiting is there something to decide")
            };
            let next = match decided {
                Ok(exit) => Self::Called { future: inner.call(request), exit },
                Err(response) => Self::Rejected { response },
            };
            self.set(next);
        }
    }
}
