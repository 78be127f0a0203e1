#[cfg(feature = "tracing")]
use std::error::Error;
#[cfg(feature = "axum")]
use std::sync::LazyLock;
use std::time::Duration;
#[cfg(feature = "axum")]
use std::time::Instant;

use super::LastUse;
use crate::clock::Now;
#[cfg(feature = "axum")]
use crate::clock::nanos;
use crate::identity::Caller;
#[cfg(feature = "tracing")]
use crate::key::KeyId;
use crate::log::OncePerSecondAndCode;
#[cfg(feature = "tracing")]
use crate::log::event;
use crate::metrics::Decisions;
#[cfg(feature = "axum")]
use crate::metrics::is_recording;
#[cfg(feature = "tracing")]
use crate::rejection::ErrorKind;
#[cfg(any(feature = "axum", feature = "tracing"))]
use crate::rejection::Reason;
use crate::rejection::{Check, Rejection};
use crate::request::RequestView;

/// How a layer has decided a request: made once, and the only source of what the log, the metrics, usage and the last use of
/// keys say about it.
pub(crate) struct Outcome<'o> {
    /// As far as it is known. A caller is known, too, whose request is rejected after authentication.
    pub(crate) caller: &'o Caller,
    /// `None` if the request was accepted.
    pub(crate) rejection: Option<&'o Rejection>,
    /// What the request would have cost in the limit that rejected it.
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "only the log has it"))]
    pub(crate) cost: Option<u32>,
    pub(crate) request: RequestView<'o>,
    /// Whether this layer authenticates requests, and not one outside it.
    pub(crate) authenticates: bool,
    /// Whether routes are those that a router outside has matched.
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "only the log has it"))]
    pub(crate) is_matched_by_router: bool,
    /// Whether it is counted: a recorder is installed.
    pub(crate) is_counted: bool,
    /// How long the decision took, if that is measured.
    pub(crate) duration: Option<Duration>,
}

impl Outcome<'_> {
    /// Counts the request, unless an outer layer does.
    #[inline]
    pub(crate) fn count(&self, decisions: &Decisions) {
        if self.is_counted && (self.rejection.is_some() || self.authenticates) {
            let check = self.rejection.map(|rejection| rejection.check().map_or("assembly", Check::as_str));
            let mode = self.caller.principal().map_or("unknown", |principal| principal.mode().as_str());
            decisions.decided(check.unwrap_or("none"), self.code(), mode, self.duration);
        }
    }

    /// Notes the use of the caller's key, and of its companion.
    #[inline]
    pub(crate) fn note_use(&self, last_use: Option<&LastUse>, now: Option<Now>) {
        if let (Some(last_use), Some(now), Some(principal)) = (last_use, now, self.caller.principal()) {
            if self.authenticates {
                let companion = principal.companion().map(|companion| &companion.record);
                for record in principal.record().into_iter().chain(companion) {
                    last_use.note(&record.id, now.timestamp());
                }
            }
        }
    }

    /// `allowed`, or the reason's.
    fn code(&self) -> &'static str {
        self.rejection.map_or("allowed", |rejection| rejection.reason().code())
    }

    /// Writes the event, and the fields that the application's span has room for. `now` is in nanoseconds.
    ///
    /// What may be wrong with every request, and is not the client's fault, is an error once a second for each code, and
    /// otherwise a detail: an outage must neither fill the log nor hide what clients do.
    #[inline]
    #[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "the events are empty"))]
    pub(crate) fn log(&self, lines: &OncePerSecondAndCode, now: impl FnOnce() -> u64) {
        #[cfg(feature = "tracing")]
        if tracing::level_filters::LevelFilter::current() != tracing::level_filters::LevelFilter::OFF {
            self.mark_span();
            match self.rejection {
                None if self.authenticates => self.log_accepted(),
                None => {}
                Some(rejection) => self.log_rejected(rejection, |line| lines.admit(line, now())),
            }
        }
    }
}

/// Reports a request where no assembly is known, since a layer is missing.
#[cfg(feature = "axum")]
#[cold]
pub(crate) fn report_misplaced(missing: Reason, request: RequestView<'_>) {
    static REPORTS: LazyLock<(OncePerSecondAndCode, Decisions, Instant)> =
        LazyLock::new(|| (OncePerSecondAndCode::default(), Decisions::default(), Instant::now()));
    let (lines, decisions, origin) = &*REPORTS;
    let rejection = Rejection::new(missing);
    let outcome = Outcome {
        caller: &Caller::Anonymous,
        rejection: Some(&rejection),
        cost: None,
        request,
        authenticates: false,
        is_matched_by_router: false,
        is_counted: is_recording(),
        duration: None,
    };
    outcome.log(lines, || nanos(origin.elapsed()));
    outcome.count(decisions);
}

#[cfg(feature = "tracing")]
impl Outcome<'_> {
    fn mark_span(&self) {
        let span = tracing::Span::current();
        if let Some(id) = self.request.id() {
            span.record("request_id", tracing::field::display(id));
        }
        if let Some(id) = self.key_id() {
            span.record("key_id", tracing::field::display(id));
        }
        span.record("code", self.code());
    }

    /// That of a session, if the caller is one.
    fn key_id(&self) -> Option<&KeyId> {
        self.rejection.and_then(Rejection::key_id).or_else(|| self.caller.id())
    }

    fn log_accepted(&self) {
        let key_id = self.key_id().map(tracing::field::display);
        let owner = self.caller.principal().map(|principal| tracing::field::display(principal.owner()));
        let request_id = self.request.id().map(tracing::field::display);
        event!(debug, key_id, owner, request_id, "request accepted");
    }

    fn log_rejected(&self, rejection: &Rejection, admit: impl FnOnce(&'static str) -> Option<u64>) {
        let (reason, code, cost) = (rejection.reason(), self.code(), self.cost);
        let status = rejection.kind().status().as_u16();
        let category = match reason {
            Reason::RateLimited(limited) | Reason::Throttled(limited) => Some(&*limited.category),
            Reason::LimiterFailed(category) => Some(&**category),
            _ => None,
        };
        let key_id = self.key_id().map(tracing::field::display);
        let request_id = self.request.id().map(tracing::field::display);
        let Some(fault) = self.fault(rejection) else {
            event!(info, status, code, %reason, category, cost, key_id, request_id, "request rejected");
            return;
        };
        // The reason repeats the store's error; the useful information is its cause.
        let source = reason.source().and_then(Error::source).map(tracing::field::display);
        let line = if let Reason::Misconfigured(missing) = reason { missing } else { code };
        match admit(line) {
            Some(suppressed) => {
                event!(error, status, code, %reason, source, key_id, request_id, suppressed, "request rejected: {fault}");
            }
            None => {
                event!(debug, status, code, %reason, source, key_id, request_id, "request rejected: {fault}")
            }
        }
    }

    /// What is wrong, if it is the application's or a server's fault.
    fn fault(&self, rejection: &Rejection) -> Option<&'static str> {
        match (rejection.kind(), rejection.reason()) {
            (ErrorKind::Misconfigured, _) => Some("the assembly is incomplete"),
            // The router has such a route, so the application forgot its rule. By the path alone that can't be known, and a
            // client could fill the log.
            (_, Reason::RouteNotCovered) if self.is_matched_by_router => Some("the route has no rule"),
            // The limiter itself logs its failures.
            (ErrorKind::Unavailable, Reason::LimiterFailed(_)) => None,
            // The digest covers the mark, so such a key cannot have been guessed.
            (_, Reason::ModeMismatch) => Some("the key's record was changed"),
            (_, Reason::PepperMissing(_)) => Some("the key can't be verified"),
            (_, Reason::StoreFailed(error)) if error.broken_key().is_some() => {
                Some("the key's record cannot be read")
            }
            (ErrorKind::Unavailable, _) => Some("no answer"),
            _ => None,
        }
    }
}
