use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, request};
use pin_project_lite::pin_project;
use tower::Service;

use super::assembly::Assembly;
use super::exit::{self, Exit};
use super::facts::Facts;
use crate::rejection::{ErrorFormat, Rejection};
use crate::request::RequestView;

pin_project! {
    /// Response future of [`ApiKeysService`](super::ApiKeysService).
    pub struct ResponseFuture<S, B, F>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, F, S::Future, S::Response>,
    }
}

/// The decision about a request that has to wait.
type Deciding = Pin<Box<dyn Future<Output = (request::Parts, Facts, Result<(), Rejection>)> + Send>>;

pin_project! {
    #[project = StateProjection]
    enum State<S, B, F, Called, Response> {
        Called { #[pin] future: Called, exit: Exit<F> },
        Rejected { response: Option<Response> },
        Waiting { decide: Deciding, held: Option<Held<S, B, F>> },
    }
}

/// What is needed once the decision is made. The service is the one that was polled ready.
struct Held<S, B, F> {
    inner: S,
    body: B,
    assembly: Arc<Assembly<F>>,
}

impl<S, B, F> ResponseFuture<S, B, F>
where
    S: Service<Request<B>>,
{
    #[inline]
    pub(super) fn called(future: S::Future, exit: Exit<F>) -> Self {
        Self { state: State::Called { future, exit } }
    }

    pub(super) fn rejected(response: S::Response) -> Self {
        Self { state: State::Rejected { response: Some(response) } }
    }

    pub(super) fn waiting(decide: Deciding, inner: S, body: B, assembly: Arc<Assembly<F>>) -> Self {
        Self { state: State::Waiting { decide, held: Some(Held { inner, body, assembly }) } }
    }
}

impl<S, ReqBody, ResBody, F> Future for ResponseFuture<S, ReqBody, F>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    F: ErrorFormat<ResBody>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Called { future, exit } => {
                    let mut response = match ready!(future.poll(context)) {
                        Ok(response) => response,
                        Err(error) => {
                            exit.fail();
                            return Poll::Ready(Err(error));
                        }
                    };
                    exit.complete(&mut response);
                    return Poll::Ready(Ok(response));
                }
                StateProjection::Rejected { response } => {
                    return Poll::Ready(Ok(response
                        .take()
                        .expect("`ResponseFuture` polled after completion")));
                }
                StateProjection::Waiting { decide, held } => {
                    let (head, mut facts, decided) = ready!(decide.as_mut().poll(context));
                    let Held { mut inner, body, assembly } =
                        held.take().expect("`ResponseFuture` polled after completion");
                    match decided {
                        Ok(()) => {
                            let mut request = Request::from_parts(head, body);
                            let exit = Exit::new(&assembly, &mut facts, RequestView::of(&request));
                            exit.attach(request.extensions_mut());
                            if let Some(authentication) = facts.take_authentication(&*assembly.checks.clock) {
                                request.extensions_mut().insert(authentication);
                            }
                            State::Called { future: inner.call(request), exit }
                        }
                        Err(rejected) => {
                            let view = RequestView::of_parts(&head);
                            State::Rejected { response: Some(exit::reject(&assembly, rejected, facts, view)) }
                        }
                    }
                }
            };
            state.set(next);
        }
    }
}
