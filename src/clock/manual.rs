use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Clock, Now, Timestamp, nanos};

/// A clock that stands still until it is advanced. Clones share one time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    /// Monotonic nanoseconds and nanoseconds since the Unix epoch.
    state: Arc<(AtomicU64, AtomicU64)>,
}

impl ManualClock {
    /// A clock whose calendar shows a time such as `2026-01-01T00:00:00Z` (RFC 3339).
    ///
    /// # Panics
    ///
    /// If `time` is not valid.
    #[track_caller]
    pub fn at(time: &str) -> Self {
        match time.parse() {
            Ok(start) => Self::starting_at(start),
            Err(error) => panic!("{time:?}: {error}"),
        }
    }

    /// A clock whose calendar shows `start`.
    pub fn starting_at(start: Timestamp) -> Self {
        let unix = start.as_unix_millis().saturating_mul(1_000_000);
        Self { state: Arc::new((AtomicU64::new(0), AtomicU64::new(unix))) }
    }

    /// Advances the clock by `duration`.
    pub fn advance(&self, duration: Duration) {
        self.state.0.fetch_add(nanos(duration), Ordering::SeqCst);
        self.state.1.fetch_add(nanos(duration), Ordering::SeqCst);
    }

    /// Sets the calendar to `to` without advancing the monotonic count, as an administrator or NTP may do.
    pub fn step_calendar(&self, to: Timestamp) {
        self.state.1.store(to.as_unix_millis().saturating_mul(1_000_000), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        Now::new(
            Duration::from_nanos(self.state.0.load(Ordering::SeqCst)),
            Duration::from_nanos(self.state.1.load(Ordering::SeqCst)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_step_does_not_change_the_monotonic_count() {
        let clock = ManualClock::starting_at(Timestamp::from_unix_seconds(1_000));
        let before = clock.now();
        clock.step_calendar(Timestamp::from_unix_seconds(10));
        assert_eq!(clock.now().monotonic(), before.monotonic());
        assert_eq!(clock.now().timestamp(), Timestamp::from_unix_seconds(10));
    }
}
