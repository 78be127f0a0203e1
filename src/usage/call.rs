use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::{HeaderName, Method, StatusCode, Uri};

use crate::credential::RequestView;
use crate::log;
use crate::principal::{Principal, PrincipalSlot};

/// Takes note of calls, for counters and bills.
///
/// Called on the thread that answers, when the head of the answer is there and before it goes out, so it must not block:
/// count, or hand what is needed to a queue or a task. A panic is caught and costs the note, never the answer.
///
/// Implemented for closures; write out the type of the parameter, `|call: &Call<'_>|`.
pub trait UsageSink: Send + Sync + 'static {
    /// Takes note of `call`.
    fn record(&self, call: &Call<'_>);
}

impl<F: Fn(&Call<'_>) + Send + Sync + 'static> UsageSink for F {
    fn record(&self, call: &Call<'_>) {
        self(call);
    }
}

/// A call that presented a key and was not answered with a server error.
#[derive(Debug)]
pub struct Call<'c> {
    metered: &'c Metered,
    status: StatusCode,
}

impl Call<'_> {
    /// Who called; `None` if the call was refused before that was known, or the key was bad.
    pub fn principal(&self) -> Option<&Principal> {
        self.metered.slot.get()
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.metered.method
    }

    /// The route that axum's router chose, `/workflows/{id}`. `None` without the feature `axum`, where no route was
    /// found, or if the layer stands outside of the router.
    pub fn route(&self) -> Option<&str> {
        self.metered.route.as_deref()
    }

    /// The path, as the client wrote it.
    pub fn path(&self) -> &str {
        self.metered.uri.path()
    }

    /// The status of the answer, under 500.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

/// What is kept of a request until it is answered.
pub(super) struct Metered {
    slot: PrincipalSlot,
    method: Method,
    route: Option<Box<str>>,
    uri: Uri,
}

impl Metered {
    /// `None` if the request presents no key: the field is missing or has nothing in it.
    pub(super) fn of(request: RequestView<'_>, header: &HeaderName) -> Option<Self> {
        let mut lines = request.headers.get_all(header).iter();
        lines.any(|line| !line.as_bytes().trim_ascii().is_empty()).then(|| Self {
            slot: PrincipalSlot::of(request.extensions),
            method: request.method.clone(),
            route: matched_route(request),
            uri: request.uri.clone(),
        })
    }

    pub(super) fn slot(&self) -> PrincipalSlot {
        self.slot.clone()
    }

    pub(super) fn answered(&self, status: StatusCode, sink: &Arc<dyn UsageSink>) {
        if status.is_server_error() {
            return;
        }
        let call = Call { metered: self, status };
        if catch_unwind(AssertUnwindSafe(|| sink.record(&call))).is_err() {
            log::usage_sink_panicked();
        }
    }
}

#[cfg(feature = "axum")]
fn matched_route(request: RequestView<'_>) -> Option<Box<str>> {
    request.extensions.get().map(|path: &axum::extract::MatchedPath| path.as_str().into())
}

#[cfg(not(feature = "axum"))]
fn matched_route(_: RequestView<'_>) -> Option<Box<str>> {
    None
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered")
            .field("principal", &self.slot.get())
            .field("method", &self.method)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}
