use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{CACHE_CONTROL, Entry, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::Service;

use super::checks::{Authenticator, Verdict};
use crate::gate::{self, Gate, Held};
use crate::principal::{Authentication, Caller, PrincipalSlot};
use crate::rejection::RejectionFormat;

pin_project! {
    /// Response future of [`Authenticate`](super::Authenticate).
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        gate: Gate<Held<Guard<R>, S, B>, Exit, S::Future, S::Response>,
    }
}

pub(super) struct Guard<R> {
    pub(super) verdict: Verdict,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) format: R,
}

pub(super) struct Exit {
    authenticator: Arc<Authenticator>,
    private: bool,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    pub(super) fn rejected(response: S::Response) -> Self {
        Self { gate: Gate::rejected(response) }
    }

    pub(super) fn waiting(guard: Guard<R>, inner: S, request: Request<B>) -> Self {
        Self { gate: Gate::waiting(Held { guard, inner, request }) }
    }

    pub(super) fn called(future: S::Future, exit: Exit) -> Self {
        Self { gate: Gate::called(future, exit) }
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
        request: &mut Request<ReqBody>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Exit, Response<ResBody>>> {
        let verdict = ready!(self.authenticator.poll(&mut self.verdict, context));
        Poll::Ready(match verdict {
            Ok(authentication) => Ok(Exit::of(request, authentication, &self.authenticator)),
            Err(rejection) => Err(rejection.into_response(&self.format)),
        })
    }
}

impl Exit {
    /// Tells the services inside who is calling.
    #[inline]
    pub(super) fn of<B>(
        request: &mut Request<B>,
        authentication: Authentication,
        authenticator: &Arc<Authenticator>,
    ) -> Self {
        let private =
            !matches!(authentication.caller, Caller::Nobody) && authenticator.needs_private_answers();
        PrincipalSlot::fill(request.extensions(), authentication.caller.principal());
        request.extensions_mut().insert(authentication);
        Self { authenticator: authenticator.clone(), private }
    }
}

impl<B> gate::Exit<B> for Exit {
    /// What every answer from inside needs: a challenge if it is a 401 (an extractor's, say), and the word that keeps
    /// shared caches from it.
    fn complete(&mut self, response: &mut Response<B>) {
        if response.status() == StatusCode::UNAUTHORIZED && !response.headers().contains_key(WWW_AUTHENTICATE)
        {
            for challenge in self.authenticator.challenges.after(None).iter() {
                response.headers_mut().append(WWW_AUTHENTICATE, challenge.clone());
            }
        }
        if self.private
            && let Entry::Vacant(entry) = response.headers_mut().entry(CACHE_CONTROL)
        {
            entry.insert(HeaderValue::from_static("private"));
        }
    }
}
