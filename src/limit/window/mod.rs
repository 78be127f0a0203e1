//! The state of one subject under one quota: what counts now, in one of three ways of counting.

mod counter;
mod exact;
mod sliding;
mod timeline;

/// Under a name of its own so that a model checker can put its own in place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
}

use std::fmt;

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
/// | [`Counter`](Self::Counter) | 2 × limit | fading over the window after its own | 8 | yes |
///
/// The place in the limiter takes some 66 bytes more for each subject (measured, a million of them).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Sub-windows, each counted until all of it has left the window. Never admits more than the limit in any span
    /// as long as the window, whatever the threads do.
    ///
    /// A window has 30 to 120 sub-windows, 60 if possible: 1 second in a minute, 5 in five minutes. From a minute
    /// up their edges lie on whole Unix seconds where that is possible.
    #[default]
    Sliding,
    /// A log of everything that counts: the limit and the window to the nanosecond, at the price of a lock and of
    /// memory that grows with the limit.
    Exact,
    /// Two counts in one word, for very many subjects such as addresses: of the present window and of the one
    /// before, the latter weighted by how much of it is less than a window ago. Assumes that requests are spread
    /// evenly; at worst a burst at the end of one window and the limit over the next are both admitted, so up to
    /// twice the limit within one window's length. Bursts that an exact count would admit may be denied.
    Counter,
}

/// What a check found. Times are nanoseconds on the timeline of the time handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) admitted: bool,
    /// Cost that counts, with that of this check if it was admitted.
    pub(crate) used: u32,
    /// Where the cost was counted, to be handed back with a refund.
    pub(crate) place: u64,
    /// Admitted: when less will count. Denied: when the same cost fits. None if nothing counts.
    pub(crate) frees: Option<u64>,
}

/// What counts for one subject under one quota.
///
/// The timeline is handed in with each call, always the same; limit and cost are at most 2^20 − 1.
pub(crate) trait Window: fmt::Debug + Send + Sync + 'static {
    fn new(timeline: &Timeline, now: u64) -> Self;

    /// Counts `cost` if it fits.
    fn check(&self, timeline: &Timeline, now: u64, limit: u32, cost: u32) -> Reading;

    /// Whether `cost` would fit, with nothing counted.
    fn peek(&self, timeline: &Timeline, now: u64, limit: u32, cost: u32) -> Reading;

    /// Takes back what one check counted, unless it has left the window. At most once for each check.
    fn refund(&self, place: u64, cost: u32);

    /// Whether nothing counts.
    fn is_idle(&self, timeline: &Timeline, now: u64) -> bool;

    /// A copy of what counts; exact if nobody else is using this window meanwhile.
    fn snapshot(&self) -> Self;
}

/// For up to 60 sub-windows: a minute, an hour, a day have that many.
pub(crate) type ShortSliding = Sliding<61>;

/// For up to 120 sub-windows, the most there are.
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
