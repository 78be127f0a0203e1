//! Spares a server that does not answer.
#![cfg_attr(not(feature = "redis"), allow(dead_code, reason = "stores need a part of it"))]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The number of consecutive failures that open the breaker.
const FAILURES: u32 = 5;
/// The interval of the calls that are tried while it is open.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// A circuit breaker for calls to a server that does not answer.
///
/// While closed, every call is admitted. After [`FAILURES`] in a row it is open, and one call each [`PROBE_INTERVAL`]
/// tests whether the server is back; the first success closes it.
#[derive(Debug)]
pub(crate) struct Breaker {
    origin: Instant,
    /// Since the last success; at most [`FAILURES`].
    failures: AtomicU32,
    /// Nanoseconds since `origin`.
    next_probe: AtomicU64,
    /// Nanoseconds since `origin`; zero if no call ever failed.
    last_failure: AtomicU64,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            failures: AtomicU32::new(0),
            next_probe: AtomicU64::new(0),
            last_failure: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.failures.load(Ordering::Acquire) >= FAILURES
    }

    /// Whether [`admit`](Self::admit) could admit a call.
    pub(crate) fn could_admit(&self, now: Instant) -> bool {
        !self.is_open() || self.nanos(now) >= self.next_probe.load(Ordering::Acquire)
    }

    /// Whether to make a call; follow it with its [`success`](Self::success) or [`failure`](Self::failure).
    pub(crate) fn admit(&self, now: Instant) -> bool {
        if !self.is_open() {
            return true;
        }
        let (now, due) = (self.nanos(now), self.next_probe.load(Ordering::Acquire));
        let next = now.saturating_add(PROBE_INTERVAL.as_nanos() as u64);
        now >= due && self.next_probe.compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Records a success; returns whether it closed the breaker.
    pub(crate) fn success(&self) -> bool {
        self.failures.load(Ordering::Acquire) > 0 && self.failures.swap(0, Ordering::AcqRel) >= FAILURES
    }

    /// Records a failure; returns whether the breaker is open now.
    pub(crate) fn failure(&self, now: Instant) -> bool {
        let now = self.nanos(now);
        self.last_failure.fetch_max(now, Ordering::AcqRel);
        let count = |failures: u32| (failures < FAILURES).then_some(failures + 1);
        let before = self.failures.fetch_update(Ordering::AcqRel, Ordering::Acquire, count);
        if before == Ok(FAILURES - 1) {
            self.wait_to_probe(now);
        }
        self.is_open()
    }

    /// Opens the breaker before as many calls have failed; returns whether it was closed.
    pub(crate) fn open(&self, now: Instant) -> bool {
        let was_closed = self.failures.swap(FAILURES, Ordering::AcqRel) < FAILURES;
        if was_closed {
            self.wait_to_probe(self.nanos(now));
        }
        was_closed
    }

    fn wait_to_probe(&self, now: u64) {
        self.next_probe.fetch_max(now.saturating_add(PROBE_INTERVAL.as_nanos() as u64), Ordering::AcqRel);
    }

    /// Whether a call failed within this time.
    pub(crate) fn failed_within(&self, span: Duration, now: Instant) -> bool {
        let last = self.last_failure.load(Ordering::Acquire);
        last > 0 && u128::from(self.nanos(now).saturating_sub(last)) <= span.as_nanos()
    }

    /// Since this was made. At least one, as zero means never.
    pub(super) fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn five_failures_in_a_row_open_it_and_one_success_closes_it() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..3 {
            for _ in 0..4 {
                assert!(breaker.admit(now));
                assert!(!breaker.failure(now));
            }
            assert!(!breaker.success(), "it was closed");
        }
        for failures in 1..=5 {
            assert!(breaker.admit(now));
            assert_eq!(breaker.failure(now), failures == 5);
        }
        assert!(!breaker.could_admit(now));
        assert!(breaker.success());
        assert!(breaker.admit(now));
    }

    #[test]
    fn it_can_be_opened_at_once() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        assert!(breaker.open(now));
        assert!(!breaker.open(now));
        assert!(!breaker.admit(now));
        assert!(breaker.admit(now + SECOND));
    }

    #[test]
    fn while_open_it_admits_one_call_a_second() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..5 {
            breaker.failure(now);
        }
        for (after, admitted) in
            [(0, 0), (999, 0), (1_000, 1), (1_500, 0), (1_999, 0), (2_000, 1), (9_000, 1)]
        {
            let later = now + Duration::from_millis(after);
            assert_eq!(breaker.could_admit(later), admitted == 1, "{after} ms");
            let calls = (0..10).filter(|_| breaker.admit(later)).count();
            assert_eq!(calls, admitted, "{after} ms");
            if admitted == 1 {
                breaker.failure(later);
            }
        }
    }

    #[test]
    fn a_failure_is_remembered_after_it_closes() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        assert!(!breaker.failed_within(SECOND, now));
        breaker.failure(now);
        breaker.success();
        assert!(breaker.failed_within(SECOND, now + SECOND));
        assert!(!breaker.failed_within(SECOND, now + SECOND + Duration::from_millis(1)));
    }
}
