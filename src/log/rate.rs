//! How often something is logged that can go wrong with every request.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lets one line a second through and counts the others, so that an outage does not fill the log. Lock-free.
///
/// Of threads that arrive at once, one writes the line. A line that another thread suppresses meanwhile may be counted by
/// this line or by the next one; none is lost.
#[derive(Debug, Default)]
pub(crate) struct OncePerSecond {
    /// In nanoseconds: when the next line may be written.
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl OncePerSecond {
    /// How many lines were suppressed since the last one, if a line may be written now. `now` is in nanoseconds, of a clock
    /// that never goes back.
    pub(crate) fn admit(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let is_due = now >= next
            && self
                .next
                .compare_exchange(next, now.saturating_add(SECOND), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_due {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// The same for each code, so that one kind of failure does not hide another.
#[derive(Debug, Default)]
pub(crate) struct OncePerSecondAndCode(papaya::HashMap<&'static str, OncePerSecond>);

impl OncePerSecondAndCode {
    pub(crate) fn admit(&self, code: &'static str, now: u64) -> Option<u64> {
        self.0.pin().get_or_insert_with(code, OncePerSecond::default).admit(now)
    }
}

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_were_suppressed() {
        let line = OncePerSecond::default();
        for (now, admitted) in [
            (0, Some(0)),
            (1, None),
            (SECOND - 1, None),
            (SECOND, Some(2)),
            (SECOND, None),
            (5 * SECOND, Some(1)),
            (5 * SECOND + 1, None),
            // A reading that was overtaken by another thread's.
            (4 * SECOND, None),
            (6 * SECOND, Some(2)),
            (u64::MAX, Some(0)),
        ] {
            assert_eq!(line.admit(now), admitted, "{now}");
        }
    }

    #[test]
    fn no_suppressed_line_is_lost_among_threads() {
        let line = OncePerSecond::default();
        let written: u64 = std::thread::scope(|scope| {
            let work = || {
                (0..5_000)
                    .filter_map(|step| line.admit(step * SECOND / 100))
                    .map(|lost| lost + 1)
                    .sum::<u64>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(written + line.suppressed.load(Ordering::Relaxed), 4 * 5_000);
    }

    #[test]
    fn codes_do_not_hide_one_another() {
        let lines = OncePerSecondAndCode::default();
        let admitted = ["a", "b", "a", "b"].map(|code| lines.admit(code, 7));
        assert_eq!(admitted, [Some(0), Some(0), None, None]);
    }
}
