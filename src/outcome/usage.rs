use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use http::{Method, StatusCode, Uri};

use crate::identity::Principal;
use crate::log;
use crate::request::RequestView;

/// Takes note of calls, for counters and bills.
///
/// Called on the thread that answers, when the head of the response is there and before it goes out, so it must not block:
/// count, or hand what is needed to a queue or a task. A panic is caught and costs the note, never the response.
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

/// A call that presented a credential, good or not, and was not answered with a server error.
#[derive(Debug)]
pub struct Call<'c> {
    metered: &'c Metered,
    status: StatusCode,
}

impl Call<'_> {
    /// The caller; `None` if the call was rejected before that was known, or its credential was bad.
    pub fn principal(&self) -> Option<&Principal> {
        self.metered.principal.as_ref()
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.metered.method
    }

    /// The route that axum's router chose, `/workflows/{id}`. `None` unless routes are
    /// [matched by it](crate::route::RouteMatching), or if it chose none.
    pub fn route(&self) -> Option<&str> {
        self.metered.route.as_deref()
    }

    /// The path, as the client wrote it.
    pub fn path(&self) -> &str {
        self.metered.uri.path()
    }

    /// The status of the response, under 500.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

/// What is kept of a request until it is answered.
pub(crate) struct Metered {
    principal: Option<Principal>,
    method: Method,
    route: Option<Box<str>>,
    uri: Uri,
}

impl Metered {
    pub(crate) fn new(principal: Option<&Principal>, request: RequestView<'_>, route: Option<&str>) -> Self {
        Self {
            principal: principal.cloned(),
            method: request.method.clone(),
            route: route.map(Into::into),
            uri: request.uri.clone(),
        }
    }

    /// The caller, where only a layer inside has found it.
    pub(crate) fn resolved(&mut self, principal: Principal) {
        self.principal.get_or_insert(principal);
    }

    pub(crate) fn answered(&self, status: StatusCode, sink: &dyn UsageSink) {
        if status.is_server_error() {
            return;
        }
        let call = Call { metered: self, status };
        if catch_unwind(AssertUnwindSafe(|| sink.record(&call))).is_err() {
            log::usage_sink_panicked();
        }
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered")
            .field("principal", &self.principal)
            .field("method", &self.method)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}
