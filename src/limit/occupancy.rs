use super::atomic::{AtomicU32, Ordering};

/// Set while something is being retired, and for good once it is. Below it is the number of visits.
const RETIRED: u32 = 1 << 31;

/// Whether something is in use, so that it is not removed meanwhile, and not used once it is to be removed.
#[derive(Debug)]
pub(crate) struct Occupancy(AtomicU32);

/// Keeps something from being retired.
#[derive(Debug)]
pub(crate) struct Visit<'a>(&'a Occupancy);

impl Occupancy {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// None once it is retired, and while it is tried.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Visit<'_>> {
        let seen = self.0.fetch_add(1, Ordering::Acquire);
        // Without leave to stay, the visit ends here.
        let visit = Visit(self);
        (seen & RETIRED == 0).then_some(visit)
    }

    /// Retires it for good if there is no visit and `is_idle` says so, which sees what all visits have done.
    pub(crate) fn retire(&self, is_idle: impl FnOnce() -> bool) -> bool {
        if self.0.compare_exchange(0, RETIRED, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        let is_retired = is_idle();
        if !is_retired {
            // Not a store of zero: some may have come in vain and are yet to leave.
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
