use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use http::{Method, StatusCode, Uri};

use super::Outcome;
use crate::identity::Principal;
use crate::log::{self, OncePerSecondAndCode};
use crate::rejection::Rejection;
use crate::request::RequestView;

/// Receives calls.
pub(crate) type UsageSink = dyn Fn(&Call<'_>) + Send + Sync;

/// A call that sent a credential, valid or not, and did not fail with a server error.
#[derive(Debug)]
pub struct Call<'c> {
    metered: &'c Metered,
    status: StatusCode,
    rejection: Option<&'c Rejection>,
}

impl Call<'_> {
    /// The caller; `None` if the call was rejected before it was known, or its credential was bad.
    pub fn principal(&self) -> Option<&Principal> {
        self.metered.principal.as_ref()
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.metered.method
    }

    /// The route that axum's router chose, `/workflows/{id}`. `None` if it chose none, or routes are not [matched by
    /// it](crate::route::RouteMatching).
    pub fn route(&self) -> Option<&str> {
        self.metered.route.as_deref()
    }

    /// The path, as the client sent it.
    pub fn path(&self) -> &str {
        self.metered.uri.path()
    }

    /// The status of the response, under 500.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Why the call was rejected, if the layer that meters calls has rejected it: not a layer or a handler inside.
    pub fn rejection(&self) -> Option<&Rejection> {
        self.rejection
    }
}

/// The data of a request that is kept until its response.
pub(crate) struct Metered {
    principal: Option<Principal>,
    method: Method,
    route: Option<Box<str>>,
    uri: Uri,
}

impl Metered {
    pub(crate) fn new(outcome: &Outcome<'_>, route: Option<&str>) -> Self {
        let RequestView { method, uri, .. } = outcome.request;
        Self {
            principal: outcome.caller.principal().cloned(),
            method: method.clone(),
            route: route.map(Into::into),
            uri: uri.clone(),
        }
    }

    /// Sets the caller, if an inner layer found it.
    pub(crate) fn resolved(&mut self, principal: Principal) {
        self.principal.get_or_insert(principal);
    }

    /// `now` is in nanoseconds.
    pub(crate) fn answered(
        &self,
        status: StatusCode,
        rejection: Option<&Rejection>,
        sink: &UsageSink,
        lines: &OncePerSecondAndCode,
        now: impl FnOnce() -> u64,
    ) {
        if status.is_server_error() {
            return;
        }
        let call = Call { metered: self, status, rejection };
        if catch_unwind(AssertUnwindSafe(|| sink(&call))).is_err() {
            log::usage_sink_panicked(lines.admit("usage_sink_panicked", now()));
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
