//! The metrics of the crate, through the facade `metrics`: one function for each event. Empty without the feature `metrics`.
//!
//! Handles are made when they are first used while a recorder is installed, and kept where requests use them: no request
//! allocates for them. Without a recorder nothing is counted, and no clock is read.
#![cfg_attr(not(feature = "metrics"), allow(unused_variables, dead_code, reason = "nothing is counted"))]

#[cfg(feature = "metrics")]
mod catalog;
#[cfg(feature = "metrics")]
mod handles;

use std::time::Duration;

#[cfg(feature = "metrics")]
pub use catalog::{DURATION_BUCKETS, METRICS, Metric, MetricKind};
#[cfg(feature = "metrics")]
pub(crate) use handles::{Decisions, LimitCounters};
#[cfg(feature = "metrics")]
use handles::{counter, gauge, histogram};

/// Whether something is counted. The facade's own recorder, which records nothing, has no size.
#[inline]
pub(crate) fn is_recording() -> bool {
    #[cfg(feature = "metrics")]
    return metrics::with_recorder(|recorder| size_of_val(recorder) > 0);
    #[cfg(not(feature = "metrics"))]
    false
}

/// When something began that is measured: the clock is only read if a recorder is installed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Started(#[cfg(feature = "metrics")] Option<u64>);

impl Started {
    /// `now` is in nanoseconds.
    #[inline]
    pub(crate) fn at(now: impl FnOnce() -> u64) -> Self {
        #[cfg(feature = "metrics")]
        return Self(is_recording().then(now));
        #[cfg(not(feature = "metrics"))]
        Self()
    }

    #[inline]
    pub(crate) fn is_measured(self) -> bool {
        #[cfg(feature = "metrics")]
        return self.0.is_some();
        #[cfg(not(feature = "metrics"))]
        false
    }

    /// `None` if it is not measured.
    #[inline]
    pub(crate) fn elapsed(self, now: impl FnOnce() -> u64) -> Option<Duration> {
        #[cfg(feature = "metrics")]
        return self.0.map(|started| Duration::from_nanos(now().saturating_sub(started)));
        #[cfg(not(feature = "metrics"))]
        None
    }
}

/// What a limit has decided.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LimitOutcome {
    Allowed,
    NearLimit,
    Denied,
    FailedOpen,
    FailedClosed,
    Shadow,
}

/// Something went wrong that has this code in the log, so many times.
pub(crate) fn fault(code: &'static str, times: u64) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        counter(&catalog::FAULTS, &[("code", code)]).increment(times);
    }
}

/// A call of the store was waited for.
pub(crate) fn store_call(operation: &'static str, duration: Duration) {
    #[cfg(feature = "metrics")]
    histogram(&catalog::STORE_DURATION, &[("operation", operation)]).record(duration);
}

pub(crate) fn store_error(operation: &'static str, kind: &'static str) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        counter(&catalog::STORE_ERRORS, &[("operation", operation), ("kind", kind)]).increment(1);
    }
}

pub(crate) fn tracked_subjects(category: &str, subjects: usize) {
    #[cfg(feature = "metrics")]
    gauge(&catalog::RATE_LIMIT_SUBJECTS, &[("category", category)]).set(as_f64(subjects));
}

pub(crate) fn leased(category: &str, units: u64) {
    #[cfg(feature = "metrics")]
    gauge(&catalog::QUOTA_LEASED, &[("category", category)]).set(units as f64);
}

/// Units of a lease were given up.
pub(crate) fn lease_lost(units: u64) {
    #[cfg(feature = "metrics")]
    if units > 0 && is_recording() {
        counter(&catalog::QUOTA_LOST, &[]).increment(units);
    }
}

/// A call of Redis was waited for.
#[cfg(feature = "redis")]
pub(crate) fn rate_limit_backend_call(started: std::time::Instant) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        histogram(&catalog::RATE_LIMIT_BACKEND_DURATION, &[]).record(started.elapsed());
    }
}

pub(crate) fn stored_keys(mode: &str, status: &'static str, keys: u64) {
    #[cfg(feature = "metrics")]
    gauge(&catalog::STORED_KEYS, &[("mode", mode), ("status", status)]).set(keys as f64);
}

pub(crate) fn usage_buffered(rows: usize) {
    #[cfg(feature = "metrics")]
    gauge(&catalog::USAGE_BUFFERED, &[]).set(as_f64(rows));
}

/// Requests were not counted.
pub(crate) fn usage_lost(requests: u64) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        counter(&catalog::USAGE_LOST, &[]).increment(requests);
    }
}

/// An operation of key management has ended.
pub(crate) fn managed(action: &'static str, actor: &'static str, outcome: &'static str) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        let labels = [("action", action), ("actor", actor), ("outcome", outcome)];
        counter(&catalog::MANAGEMENT, &labels).increment(1);
    }
}

#[cfg(feature = "cache")]
/// `hit`, `negative_hit` or `miss`.
#[inline]
pub(crate) fn cache_lookup(outcome: &'static str) {
    // With literals the facade makes keys at compile time: nothing is allocated.
    #[cfg(feature = "metrics")]
    if is_recording() {
        match outcome {
            "hit" => metrics::counter!(catalog::CACHE_LOOKUPS.name, "outcome" => "hit"),
            "negative_hit" => metrics::counter!(catalog::CACHE_LOOKUPS.name, "outcome" => "negative_hit"),
            _ => metrics::counter!(catalog::CACHE_LOOKUPS.name, "outcome" => "miss"),
        }
        .increment(1);
    }
}

#[cfg(feature = "cache")]
pub(crate) fn cache_entries(records: usize, absent: usize) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        gauge(&catalog::CACHE_ENTRIES, &[("kind", "record")]).set(as_f64(records));
        gauge(&catalog::CACHE_ENTRIES, &[("kind", "absent")]).set(as_f64(absent));
    }
}

pub(crate) fn breaker_state(store: &'static str, calls: &'static str, open: bool) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        gauge(&catalog::BREAKER_OPEN, &[("store", store), ("calls", calls)]).set(f64::from(u8::from(open)));
    }
}

pub(crate) fn lookups_in_flight(store: &'static str, count: usize) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        gauge(&catalog::LOOKUPS_IN_FLIGHT, &[("store", store)]).set(as_f64(count));
    }
}

pub(crate) fn lookups_refused(store: &'static str, why: &'static str) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        counter(&catalog::LOOKUPS_REFUSED, &[("store", store), ("reason", why)]).increment(1);
    }
}

#[cfg(feature = "cache")]
pub(crate) fn invalidation_channel_up(up: bool) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        gauge(&catalog::INVALIDATION_CHANNEL_UP, &[]).set(f64::from(u8::from(up)));
    }
}

#[cfg(feature = "cache")]
pub(crate) fn cache_unconfirmed(age: Duration) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        gauge(&catalog::CACHE_UNCONFIRMED, &[]).set(age.as_secs_f64());
    }
}

pub(crate) fn audit_backlog(events: usize) {
    #[cfg(feature = "metrics")]
    if is_recording() {
        gauge(&catalog::AUDIT_BACKLOG, &[]).set(as_f64(events));
    }
}

#[cfg(feature = "cache")]
pub(crate) fn failover_noticed() {
    #[cfg(feature = "metrics")]
    if is_recording() {
        counter(&catalog::FAILOVERS, &[]).increment(1);
    }
}

/// Exact up to 2^53.
#[cfg(feature = "metrics")]
fn as_f64(number: usize) -> f64 {
    number as f64
}

/// Counts the requests of an assembly by what was decided.
#[cfg(not(feature = "metrics"))]
#[derive(Default)]
pub(crate) struct Decisions {}

#[cfg(not(feature = "metrics"))]
impl Decisions {
    pub(crate) fn describe(&self) {}

    #[inline]
    pub(crate) fn decided(
        &self,
        check: &'static str,
        code: &'static str,
        mode: &'static str,
        duration: Option<Duration>,
    ) {
    }
}

/// Counts the decisions of a limit.
#[cfg(not(feature = "metrics"))]
#[derive(Clone, Default)]
pub(crate) struct LimitCounters {}

#[cfg(not(feature = "metrics"))]
impl LimitCounters {
    pub(crate) fn new(index: usize, category: &str, engine: &'static str) -> Self {
        Self {}
    }

    #[inline]
    pub(crate) fn decided(&self, outcome: LimitOutcome, is_degraded: bool) {}
}
