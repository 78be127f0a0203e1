use std::sync::atomic::{AtomicU32, Ordering};

use super::{Reading, Timeline, Window};

/// How much is under way. What is admitted counts until it is taken back.
#[derive(Debug, Default)]
pub(crate) struct Concurrent(AtomicU32);

impl Concurrent {
    fn reading(admitted: bool, used: u32, now: u64) -> Reading {
        // When a request ends is unknown: a second is a guess that keeps clients from asking at once.
        Reading { admitted, used, place: 0, frees: (used > 0).then(|| now.saturating_add(A_SECOND)) }
    }
}

impl Window for Concurrent {
    const CAN_COPY: bool = false;

    fn new(_: &Timeline, _: u64) -> Self {
        Self::default()
    }

    fn check(&self, _: &Timeline, now: u64, limit: u32, cost: u32) -> Reading {
        let add = |used: u32| used.checked_add(cost).filter(|used| *used <= limit);
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, add) {
            Ok(before) => Self::reading(true, before + cost, now),
            Err(used) => Self::reading(false, used, now),
        }
    }

    fn peek(&self, _: &Timeline, now: u64, limit: u32, cost: u32) -> Reading {
        let used = self.0.load(Ordering::Acquire);
        Self::reading(used.saturating_add(cost) <= limit, used, now)
    }

    fn refund(&self, _: u64, cost: u32) {
        // Each cost is taken back once, so there is at least as much.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| used.checked_sub(cost));
    }

    fn forget(&self) {
        // What is under way is still under way.
    }

    fn is_idle(&self, _: &Timeline, _: u64) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    fn snapshot(&self) -> Self {
        Self(AtomicU32::new(self.0.load(Ordering::Acquire)))
    }
}

const A_SECOND: u64 = 1_000_000_000;
