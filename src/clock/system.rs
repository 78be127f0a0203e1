use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Clock, Now, nanos};

/// The operating system's clocks.
///
/// Reads the monotonic clock each time, and the calendar clock at most once a second. In between, the calendar is the
/// last reading plus the monotonic time since. So a step of the system's calendar clock is seen within a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// Shared by all copies of [`SystemClock`]: one origin for the whole process.
pub(super) struct Anchor {
    origin: Instant,
    pub(super) calendar: Calendar,
}

pub(super) static ANCHOR: LazyLock<Anchor> =
    LazyLock::new(|| Anchor { origin: Instant::now(), calendar: Calendar::read_at(0) });

/// Computes the calendar time from a monotonic count.
pub(super) struct Calendar {
    /// Nanoseconds to add to the monotonic count to get time since the Unix epoch.
    offset: AtomicU64,
    /// The monotonic count at which the calendar clock is read again.
    refresh_at: AtomicU64,
}

const REFRESH_NANOS: u64 = 1_000_000_000;

impl Calendar {
    pub(super) fn read_at(count: u64) -> Self {
        Self {
            offset: AtomicU64::new(unix_nanos().saturating_sub(count)),
            refresh_at: AtomicU64::new(count.saturating_add(REFRESH_NANOS)),
        }
    }

    #[inline]
    pub(super) fn at(&self, count: u64) -> Now {
        if count >= self.refresh_at.load(Ordering::Relaxed) {
            self.refresh_at.store(count.saturating_add(REFRESH_NANOS), Ordering::Relaxed);
            self.offset.store(unix_nanos().saturating_sub(count), Ordering::Relaxed);
        }
        let offset = self.offset.load(Ordering::Relaxed);
        Now { monotonic_nanos: count, unix_nanos: offset.saturating_add(count) }
    }
}

fn unix_nanos() -> u64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Anchor {
    pub(super) fn elapsed(&self) -> u64 {
        nanos(self.origin.elapsed())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        ANCHOR.calendar.at(ANCHOR.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn system_clock_agrees_with_the_calendar_and_only_goes_forward() {
        let mut last = SystemClock.now();
        for _ in 0..10_000 {
            let now = SystemClock.now();
            assert!(now.monotonic() >= last.monotonic());
            last = now;
        }
        let calendar = Timestamp::from(SystemTime::now());
        assert!(calendar.saturating_since(last.timestamp()) < Duration::from_secs(2));
        assert!(last.timestamp().saturating_since(calendar) < Duration::from_secs(2));
    }
}
