//! The state of one subject under one quota: what counts now, by one of three algorithms.

mod concurrent;
mod counter;
mod exact;
mod sliding;
mod timeline;

/// Behind a module of its own, so that a model checker can substitute its own atomics.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
}

use std::fmt;

pub(crate) use self::concurrent::Concurrent;
pub(crate) use self::counter::Counter;
pub(crate) use self::exact::Exact;
use self::sliding::Sliding;
pub(crate) use self::timeline::Timeline;

/// How admitted cost is counted.
///
/// | | most admitted in any window | a request counts for | bytes for each subject | without a lock |
/// |---|---|---|---|---|
/// | [`Sliding`](Self::Sliding) | limit | window, plus less than 1/30 of it | 256, or 496 with more than 60 sub-windows | yes |
/// | [`Exact`](Self::Exact) | limit | window | 16 for each request counted | no |
/// | [`Counter`](Self::Counter) | 2 × limit | fading over the next window | 8 | yes |
///
/// The limiter's entry for each subject takes about 66 bytes more (measured with a million subjects).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Sub-windows, each counted until all of it has left the window. Never admits more than the limit in any span as
    /// long as the window, for any interleaving of threads.
    ///
    /// A window has 30 to 120 sub-windows, 60 if possible: 1 second in a minute, 5 in five minutes. For windows of a
    /// minute or more, their edges lie on whole Unix seconds where possible.
    #[default]
    Sliding,
    /// A log of everything that counts: exact to the nanosecond, but with a lock and with memory that grows with the
    /// limit.
    Exact,
    /// Two counts in one word, for very many subjects such as addresses: of the current window and of the previous
    /// one, the latter weighted by its part that is less than a window ago. Assumes that requests are spread evenly.
    /// At worst a burst at the end of one window and the limit over the next are both admitted, so up to twice the
    /// limit within one window's length. Bursts that an exact count would admit may be denied.
    Counter,
}

/// The result of a check. Times are nanoseconds on the timeline of the time passed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) admitted: bool,
    /// Cost that counts, including this check's cost if it was admitted.
    pub(crate) used: u32,
    /// Where the cost was counted; needed for a refund.
    pub(crate) place: u64,
    /// If admitted, when less will count; if denied, when the same cost fits. `None` if nothing counts.
    pub(crate) frees: Option<u64>,
}

/// The state of one subject under one quota.
///
/// Each call passes the same timeline; limit and cost are at most 2^20 − 1.
pub(crate) trait Window: fmt::Debug + Send + Sync + 'static {
    /// Whether a copy counts what the original did. If not, what was counted here must be taken back here.
    const CAN_COPY: bool = true;

    fn new(timeline: &Timeline, now: u64) -> Self;

    /// Counts `cost` if it fits.
    fn check(&self, timeline: &Timeline, now: u64, limit: u32, cost: u32) -> Reading;

    /// Whether `cost` would fit, without counting.
    fn peek(&self, timeline: &Timeline, now: u64, limit: u32, cost: u32) -> Reading;

    /// Takes back the cost of one check, unless it has left the window. Call it at most once for each check.
    fn refund(&self, place: u64, cost: u32);

    /// Counts nothing of what was counted so far. A request that was counted in the same sub-window before, and is taken
    /// back afterwards, may take back as much of a later one.
    fn forget(&self);

    /// Whether nothing counts.
    fn is_idle(&self, timeline: &Timeline, now: u64) -> bool;

    /// A copy of the state; exact if no other thread uses this window meanwhile.
    fn snapshot(&self) -> Self;
}

/// For up to 60 sub-windows: a minute, an hour, a day have that many.
pub(crate) type ShortSliding = Sliding<61>;

/// For up to 120 sub-windows, the maximum.
pub(crate) type LongSliding = Sliding<121>;

impl<const CELLS: usize> Window for Sliding<CELLS> {
    fn new(timeline: &Timeline, now: u64) -> Self {
        Self::new(timeline.span(), timeline.tick(now))
    }

    #[inline]
    fn check(&self, timeline: &Timeline, now: u64, limit: u32, cost: u32) -> Reading {
        reading(self.check(timeline.tick(now), limit, cost), timeline)
    }

    fn peek(&self, timeline: &Timeline, now: u64, limit: u32, cost: u32) -> Reading {
        reading(self.peek(timeline.tick(now), limit, cost), timeline)
    }

    fn refund(&self, place: u64, cost: u32) {
        self.refund(place, cost);
    }

    fn forget(&self) {
        self.forget();
    }

    fn is_idle(&self, timeline: &Timeline, now: u64) -> bool {
        self.is_idle(timeline.tick(now))
    }

    fn snapshot(&self) -> Self {
        self.snapshot()
    }
}

#[inline]
fn reading(found: sliding::Reading, timeline: &Timeline) -> Reading {
    Reading {
        admitted: found.admitted,
        used: found.used,
        place: found.tick,
        frees: found.frees.map(|tick| timeline.start(tick)),
    }
}

#[cfg(test)]
mod tests;
