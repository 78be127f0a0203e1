use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::assembly::Assembly;
use super::exit::{self, Exit};
use super::facts::{Facts, Flow, Stages};
use super::future::ResponseFuture;
use crate::metrics::Started;
use crate::rejection::{ErrorFormat, ProblemDetails};
use crate::request::{RequestId, RequestView, X_REQUEST_ID};

/// Runs the checks of an [`ApiKeys`](crate::ApiKeys) before the service inside.
///
/// Made by an [`ApiKeysLayer`](super::ApiKeysLayer).
#[must_use]
pub struct ApiKeysService<S, F = ProblemDetails> {
    inner: S,
    assembly: Arc<Assembly<F>>,
    stages: Stages,
}

impl<S, F> ApiKeysService<S, F> {
    pub(super) fn new(inner: S, assembly: Arc<Assembly<F>>, stages: Stages) -> Self {
        Self { inner, assembly, stages }
    }
}

impl<S, F, ReqBody, ResBody> Service<Request<ReqBody>> for ApiKeysService<S, F>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    F: ErrorFormat<ResBody>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, F>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    #[inline]
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let assembly = &*self.assembly;
        if assembly.gives_request_ids {
            give_id(&mut request);
        }
        if matches!(self.stages, Stages::All | Stages::Authenticate) {
            assembly.checks.credentials.mark_sensitive(request.headers_mut());
        }
        let mut facts = Facts::new(self.stages.clone());
        facts.started = Started::at(|| facts.now(&*assembly.checks.clock).monotonic_nanos());
        match assembly.checks.start(&mut facts, RequestView::of(&request)) {
            Flow::Accepted => {
                let exit = Exit::new(&self.assembly, &mut facts, RequestView::of(&request));
                exit.attach(request.extensions_mut());
                if let Some(authentication) = facts.take_authentication(&*assembly.checks.clock) {
                    request.extensions_mut().insert(authentication);
                }
                ResponseFuture::called(self.inner.call(request), exit)
            }
            Flow::Rejected(rejected) => {
                ResponseFuture::rejected(exit::reject(assembly, rejected, facts, RequestView::of(&request)))
            }
            Flow::Waiting(pending) => {
                // The clone may not be ready; the one that was polled is, and goes with the request.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                let (head, body) = request.into_parts();
                let decide = Box::pin(assembly.checks.clone().wait(pending, facts, head));
                ResponseFuture::waiting(decide, ready, body, self.assembly.clone())
            }
        }
    }
}

/// Gives the request an identifier, unless a layer outside has.
fn give_id<B>(request: &mut Request<B>) {
    if RequestId::from_extensions(request.extensions()).is_some() {
        return;
    }
    let id = RequestId::choose(request.headers());
    // If there is no room for one more field name, then there is none that says anything else, either.
    let _ = request.headers_mut().try_insert(X_REQUEST_ID, id.to_header_value());
    request.extensions_mut().insert(id);
}

impl<S: Clone, F> Clone for ApiKeysService<S, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), assembly: self.assembly.clone(), stages: self.stages.clone() }
    }
}

impl<S: fmt::Debug, F> fmt::Debug for ApiKeysService<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeysService")
            .field("inner", &self.inner)
            .field("stages", &self.stages)
            .finish_non_exhaustive()
    }
}
