use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{CACHE_CONTROL, Entry, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::Service;

use super::checks::{Authenticator, Verdict};
use crate::principal::{Authentication, Caller, PrincipalSlot};
use crate::rejection::RejectionFormat;

pin_project! {
    /// Response future of [`Authenticate`](super::Authenticate).
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, R, S::Future, S::Response>,
    }
}

pin_project! {
    #[project = StateProjection]
    #[project_replace = StateReplaced]
    enum State<S, B, R, F, P> {
        Waiting { verdict: Verdict, inner: S, request: Request<B>, authenticator: Arc<Authenticator>, format: R },
        Called { #[pin] future: F, authenticator: Arc<Authenticator>, private: bool },
        Rejected { response: P },
        Done,
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    pub(super) fn rejected(response: S::Response) -> Self {
        Self { state: State::Rejected { response } }
    }

    pub(super) fn waiting(
        verdict: Verdict,
        inner: S,
        request: Request<B>,
        authenticator: Arc<Authenticator>,
        format: R,
    ) -> Self {
        Self { state: State::Waiting { verdict, inner, request, authenticator, format } }
    }

    pub(super) fn called(
        inner: &mut S,
        request: Request<B>,
        authentication: Authentication,
        authenticator: Arc<Authenticator>,
    ) -> Self {
        Self { state: State::called(inner, request, authentication, authenticator) }
    }
}

impl<S, B, R> State<S, B, R, S::Future, S::Response>
where
    S: Service<Request<B>>,
{
    fn called(
        inner: &mut S,
        mut request: Request<B>,
        authentication: Authentication,
        authenticator: Arc<Authenticator>,
    ) -> Self {
        let private =
            !matches!(authentication.caller, Caller::Nobody) && authenticator.needs_private_answers();
        PrincipalSlot::fill(request.extensions(), authentication.caller.principal());
        request.extensions_mut().insert(authentication);
        Self::Called { future: inner.call(request), authenticator, private }
    }
}

impl<S, ReqBody, ResBody, R> Future for ResponseFuture<S, ReqBody, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    R: RejectionFormat<ResBody>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let verdict = match state.as_mut().project() {
                StateProjection::Waiting { verdict, authenticator, .. } => {
                    ready!(authenticator.poll(verdict, context))
                }
                StateProjection::Called { future, authenticator, private } => {
                    let mut response = ready!(future.poll(context))?;
                    complete(&mut response, authenticator, *private);
                    return Poll::Ready(Ok(response));
                }
                StateProjection::Rejected { .. } => {
                    let StateReplaced::Rejected { response } = state.project_replace(State::Done) else {
                        unreachable!("the state was just seen to be Rejected")
                    };
                    return Poll::Ready(Ok(response));
                }
                StateProjection::Done => panic!("ResponseFuture polled after completion"),
            };
            let StateReplaced::Waiting { mut inner, request, authenticator, format, .. } =
                state.as_mut().project_replace(State::Done)
            else {
                unreachable!("only a waiting state has a verdict")
            };
            let next = match verdict {
                Ok(authentication) => State::called(&mut inner, request, authentication, authenticator),
                Err(rejection) => State::Rejected { response: rejection.into_response(&format) },
            };
            state.set(next);
        }
    }
}

/// What every answer from inside needs: a challenge if it is a 401 (an extractor's, say), and the word that keeps
/// shared caches from it.
fn complete<B>(response: &mut Response<B>, authenticator: &Authenticator, private: bool) {
    if response.status() == StatusCode::UNAUTHORIZED && !response.headers().contains_key(WWW_AUTHENTICATE) {
        for challenge in authenticator.challenges.after(None).iter() {
            response.headers_mut().append(WWW_AUTHENTICATE, challenge.clone());
        }
    }
    if private && let Entry::Vacant(entry) = response.headers_mut().entry(CACHE_CONTROL) {
        entry.insert(HeaderValue::from_static("private"));
    }
}
