//! What a response gets on its way out.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Extensions, HeaderValue, Response, StatusCode};

use super::assembly::Assembly;
use super::checks::Checks;
use super::facts::{Facts, LimitResults, Stages};
use super::failed_extraction::FailedExtraction;
use crate::clock::Now;
use crate::identity::{Authentication, Caller, Principal};
use crate::key::KeyRecord;
#[cfg(feature = "axum")]
use crate::manage::ManageError;
use crate::metrics::is_recording;
use crate::outcome::{Metered, Outcome};
#[cfg(feature = "axum")]
use crate::rejection::fail;
use crate::rejection::{ErrorFormat, GRPC_STATUS, Reason, Rejection, reject as response_to};
use crate::request::{RequestId, RequestView, X_REQUEST_ID};
use crate::usage::UsageOutcome;

/// What is left to do with the response to an accepted request.
pub(super) struct Exit<F> {
    assembly: Arc<Assembly<F>>,
    is_private: bool,
    /// Whether a limit by address leaves alone what was written inside.
    is_outer: bool,
    counted: LimitResults,
    /// The time of the request, if it was read.
    now: Option<Now>,
    /// The key whose use is counted, and in which category.
    counts_use_of: Option<(Arc<KeyRecord>, u16)>,
    /// What few assemblies have.
    extras: Option<Box<Extras>>,
}

struct Extras {
    request_id: Option<RequestId>,
    metered: Option<Metered>,
    resolved: Option<ResolvedSession>,
}

/// Tells the layer outside that meters calls which caller a session has turned out to be: its organization is found by
/// [`authorize`](crate::ApiKeys::authorize), inside. Goes into the response's extensions.
#[derive(Clone)]
struct ResolvedSession(Principal);

impl<F> Exit<F> {
    #[inline]
    pub(super) fn new(assembly: &Arc<Assembly<F>>, facts: &mut Facts, request: RequestView<'_>) -> Self {
        let outcome = report(&assembly.checks, facts, None, request);
        let extras = (assembly.usage.is_some() || assembly.gives_request_ids)
            .then(|| Box::new(Extras::new(assembly, facts, &outcome)));
        let counts_use_of =
            assembly.checks.usage.as_ref().and_then(|_| counted_use(&assembly.checks, facts, request));
        Self {
            assembly: assembly.clone(),
            is_private: facts.is_private,
            is_outer: facts.is_of_addresses(),
            counted: std::mem::take(&mut facts.counted),
            now: facts.now,
            counts_use_of,
            extras,
        }
    }

    /// Tells the handler what its request can be charged with.
    #[inline]
    pub(super) fn attach(&self, extensions: &mut Extensions) {
        if !self.counted.receipts.is_empty() {
            self.counted.receipts.attach(extensions);
        }
    }

    /// Counts the use of the key, once the status of the response is known.
    #[inline]
    fn count_use(&self, outcome: impl FnOnce() -> UsageOutcome) {
        if let (Some((record, category)), Some(now)) = (&self.counts_use_of, self.now) {
            if let Some((usage, _)) = &self.assembly.checks.usage {
                usage.count(record, *category, outcome(), now.timestamp());
            }
        }
    }

    /// The service inside has failed without a response.
    #[cold]
    pub(super) fn fail(&self) {
        self.count_use(|| UsageOutcome::of(StatusCode::INTERNAL_SERVER_ERROR));
    }

    /// Writes what every response from inside needs.
    #[inline]
    pub(super) fn complete<B>(&mut self, response: &mut Response<B>)
    where
        F: ErrorFormat<B>,
    {
        let Assembly { checks, errors, usage, attaches_rejections, .. } = &*self.assembly;
        if let Some(failed) = FailedExtraction::take(response) {
            let view = failed.request();
            report_failed(checks, &failed, self.now);
            *response = response_to(&failed.rejection, errors, view, checks.is_matched_by_router());
            let outcome = UsageOutcome::of(failed.rejection.kind().status());
            response.extensions_mut().insert(RejectedInside(outcome));
            if *attaches_rejections {
                response.extensions_mut().insert(failed.rejection);
            }
        }
        #[cfg(feature = "axum")]
        if let Some(failed) = FailedExtraction::take_call(response) {
            let id = self.extras.as_ref().and_then(|extras| extras.request_id.as_ref());
            *response = failed_call(&failed, errors, id);
        }
        let status = response.status();
        self.count_use(|| outcome_of(response));
        if let Some(fields) = checks.settle(&mut self.counted, self.now, status, response.headers()) {
            fields.write(response.headers_mut(), self.is_outer);
        }
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED && !headers.contains_key(WWW_AUTHENTICATE) {
            for challenge in checks.credentials.challenges.after(None).iter() {
                headers.append(WWW_AUTHENTICATE, challenge.clone());
            }
        }
        if self.is_private && !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        if let Some(extras) = self.extras.take() {
            if let Some(id) = extras.request_id {
                headers.insert(X_REQUEST_ID, id.to_header_value());
            }
            if let Some(resolved) = extras.resolved {
                response.extensions_mut().insert(resolved);
            }
            if let (Some(mut metered), Some(sink)) = (extras.metered, usage) {
                if let Some(ResolvedSession(principal)) = response.extensions_mut().remove() {
                    metered.resolved(principal);
                }
                metered.answered(status, None, &**sink, &checks.lines, nanos(checks, self.now));
            }
        }
    }
}

/// In the response of a layer inside the one that counts: as what the rejection counts, whatever its status in the format of
/// errors.
#[derive(Clone, Copy)]
struct RejectedInside(UsageOutcome);

/// How a request has ended by its response, as far as the head tells: a gRPC response without messages has its status there.
fn outcome_of<B>(response: &Response<B>) -> UsageOutcome {
    if let Some(RejectedInside(outcome)) = response.extensions().get() {
        return *outcome;
    }
    let headers = response.headers();
    let is_grpc =
        || headers.get(CONTENT_TYPE).is_some_and(|name| name.as_bytes().starts_with(b"application/grpc"));
    match headers.get(GRPC_STATUS) {
        Some(status) if is_grpc() => UsageOutcome::of_grpc(status.as_bytes()),
        _ => UsageOutcome::of(response.status()),
    }
}

/// The key whose use this layer counts, and the number of the category.
fn counted_use(checks: &Checks, facts: &Facts, request: RequestView<'_>) -> Option<(Arc<KeyRecord>, u16)> {
    if !facts.authenticates() {
        return None;
    }
    let record = facts.caller.principal()?.record()?.clone();
    // Limits of a layer inside have not decided yet.
    let category = match facts.stages {
        Stages::All => facts.category,
        _ => checks.usage_category(request),
    };
    Some((record, category))
}

/// Counts the use of a key that was rejected. A format of errors may answer all of them with one status, so it is their kind
/// that decides.
fn count_rejected(checks: &Checks, facts: &Facts, rejection: &Rejection, request: RequestView<'_>) {
    let (Some((usage, _)), Some(now), true) = (&checks.usage, facts.now, facts.authenticates()) else {
        return;
    };
    let caller = facts.caller.principal().and_then(Principal::record);
    if let Some(record) = caller.map(|record| &**record).or(rejection.refused_key()) {
        let outcome = UsageOutcome::of(rejection.kind().status());
        usage.count(record, checks.usage_category(request), outcome, now.timestamp());
    }
}

/// Reports how a request was decided: to the log, to metrics, and for the last use of its key. Usage learns of it with the
/// response.
#[inline]
fn report<'o>(
    checks: &Checks,
    facts: &'o Facts,
    rejection: Option<&'o Rejection>,
    request: RequestView<'o>,
) -> Outcome<'o> {
    let reported = facts.counted.reported.as_ref();
    let is_limited = rejection.is_some_and(|rejection| matches!(rejection.reason(), Reason::RateLimited(_)));
    let outcome = Outcome {
        caller: &facts.caller,
        rejection,
        cost: reported.filter(|_| is_limited).map(|reported| reported.cost),
        request,
        authenticates: facts.authenticates(),
        is_matched_by_router: checks.is_matched_by_router(),
        is_counted: facts.started.is_measured(),
        duration: facts.started.elapsed(nanos(checks, None)),
    };
    outcome.log(&checks.lines, nanos(checks, facts.now));
    outcome.count(&checks.decisions);
    outcome.note_use(checks.last_use.as_ref(), facts.now);
    outcome
}

/// The same for a request that was accepted, and then rejected by an extractor.
#[cold]
fn report_failed(checks: &Checks, failed: &FailedExtraction, now: Option<Now>) {
    let request = failed.request();
    let outcome = Outcome {
        caller: Authentication::of(request.extensions).map_or(&Caller::Anonymous, |of| &of.caller),
        rejection: Some(&failed.rejection),
        cost: None,
        request,
        authenticates: false,
        is_matched_by_router: checks.is_matched_by_router(),
        is_counted: is_recording(),
        duration: None,
    };
    outcome.log(&checks.lines, nanos(checks, now));
    outcome.count(&checks.decisions);
}

/// The time of the request, or now, in nanoseconds.
fn nanos(checks: &Checks, known: Option<Now>) -> impl FnOnce() -> u64 {
    move || known.unwrap_or_else(|| checks.clock.now()).monotonic_nanos()
}

/// The response to a handler that returned the error of a management call.
#[cfg(feature = "axum")]
#[cold]
fn failed_call<F, B>(error: &ManageError, errors: &F, id: Option<&RequestId>) -> Response<B>
where
    F: ErrorFormat<B>,
{
    let mut request = http::Request::new(());
    if let Some(id) = id {
        request.extensions_mut().insert(id.clone());
    }
    fail(&error.to_api_error(RequestView::of(&request)), errors)
}

impl Extras {
    fn new<F>(assembly: &Assembly<F>, facts: &Facts, outcome: &Outcome<'_>) -> Self {
        let request = outcome.request;
        let meters = assembly.usage.is_some() && outcome.authenticates;
        Self {
            resolved: resolved_session(assembly, facts),
            request_id: request.id().filter(|_| assembly.gives_request_ids).cloned(),
            metered: (meters && facts.is_presented).then(|| {
                let route = assembly.checks.no_routes.matched_route(request);
                Metered::new(outcome, route)
            }),
        }
    }
}

fn resolved_session<F>(assembly: &Assembly<F>, facts: &Facts) -> Option<ResolvedSession> {
    let is_news = assembly.usage.is_some() && facts.is_changed && !facts.authenticates();
    facts.caller.principal().filter(|_| is_news).cloned().map(ResolvedSession)
}

/// The response to a rejected request.
#[cold]
pub(super) fn reject<F, B>(
    assembly: &Assembly<F>,
    rejection: Rejection,
    mut facts: Facts,
    request: RequestView<'_>,
) -> Response<B>
where
    F: ErrorFormat<B>,
{
    let Assembly { checks, errors, usage, gives_request_ids, attaches_rejections, .. } = assembly;
    let outcome = report(checks, &facts, Some(&rejection), request);
    count_rejected(checks, &facts, &rejection, request);
    let metered = usage.as_ref().filter(|_| outcome.authenticates).and_then(|sink| {
        let is_presented = facts.is_presented || checks.credentials.is_presented(request);
        let metered = || (Metered::new(&outcome, checks.no_routes.matched_route(request)), sink);
        is_presented.then(metered)
    });
    let mut response = response_to(&rejection, errors, request, checks.is_matched_by_router());
    let status = response.status();
    if let Some(fields) = checks.settle(&mut facts.counted, facts.now, status, response.headers()) {
        fields.write(response.headers_mut(), false);
    }
    if let Some(id) = request.id().filter(|_| *gives_request_ids) {
        response.headers_mut().insert(X_REQUEST_ID, id.to_header_value());
    }
    if let Some((metered, sink)) = metered {
        metered.answered(status, Some(&rejection), &**sink, &checks.lines, nanos(checks, facts.now));
    }
    if let Some(resolved) = resolved_session(assembly, &facts) {
        response.extensions_mut().insert(resolved);
    }
    if checks.usage.is_some() && !facts.authenticates() {
        response.extensions_mut().insert(RejectedInside(UsageOutcome::of(rejection.kind().status())));
    }
    if *attaches_rejections {
        response.extensions_mut().insert(rejection);
    }
    response
}
