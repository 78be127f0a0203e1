use super::atomic::{AtomicU32, Ordering};

/// Set during an attempt to retire, and for good if that succeeds. The lower bits are the number of visits.
const RETIRED: u32 = 1 << 31;

/// Whether something is in use. What is in use is not retired; what is retired is no longer used, so it can be removed.
#[derive(Debug)]
pub(crate) struct Occupancy(AtomicU32);

/// Prevents retirement while it lives.
#[derive(Debug)]
pub(crate) struct Visit<'a>(&'a Occupancy);

impl Occupancy {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Begins a visit. None once it is retired, and during an attempt to retire it.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Visit<'_>> {
        let seen = self.0.fetch_add(1, Ordering::Acquire);
        // Dropped, and so undone, if it is not returned.
        let visit = Visit(self);
        (seen & RETIRED == 0).then_some(visit)
    }

    /// Retires it for good if there is no visit and `is_idle` returns true. `is_idle` sees the effects of all visits.
    pub(crate) fn retire(&self, is_idle: impl FnOnce() -> bool) -> bool {
        if self.0.compare_exchange(0, RETIRED, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        let is_retired = is_idle();
        if !is_retired {
            // Not a store of zero: rejected visits may not have been undone yet.
            self.0.fetch_sub(RETIRED, Ordering::Release);
        }
        is_retired
    }
}

impl Drop for Visit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}
