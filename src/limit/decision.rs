use std::time::Duration;

use super::Quota;

/// The decision of a limiter, with the values that a response reports about it.
///
/// With several quotas it is about the one that matters most to the caller: if denied, the one with the longest wait;
/// if admitted, the one with the least remaining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub(super) verdict: Verdict,
    pub(super) quota: Quota,
    pub(super) remaining: u32,
    /// In nanoseconds.
    pub(super) reset: u64,
    pub(super) degraded: bool,
}

/// Whether a request is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The request is admitted.
    Admitted,
    /// Denied for now: the same request is admitted once [`Decision::reset`] has passed, if nothing else is counted.
    Denied,
    /// Denied for good: the request costs more than the limit. Waiting does not help.
    NeverFits,
}

impl Decision {
    /// Whether the request is admitted, and if not, whether waiting helps.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the request is admitted.
    pub fn is_admitted(&self) -> bool {
        self.verdict == Verdict::Admitted
    }

    /// The quota that decided, with the limit that applied to this subject.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The limit that applied, in units of cost.
    pub fn limit(&self) -> u32 {
        self.quota.limit().get()
    }

    /// The cost that would still be admitted now, after this request.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// The time until the situation improves, from the time passed to the check.
    ///
    /// If denied, until the same cost would be admitted. Otherwise until [`remaining`](Self::remaining) rises, or
    /// zero if nothing is counted.
    pub fn reset(&self) -> Duration {
        Duration::from_nanos(self.reset)
    }

    /// Whether a limiter with a shared store decided without it, because the store does not answer. Always false in
    /// memory.
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// The decision after the cost of its request has become another one.
    pub(crate) fn change_cost(&mut self, from: u32, to: u32) {
        self.remaining = self.remaining.saturating_add(from).saturating_sub(to).min(self.limit());
    }

    /// Whether less is left of this limit, in proportion. What is under way ends soon, so it comes last.
    pub(crate) fn is_tighter_than(&self, other: &Self) -> bool {
        if self.quota.is_concurrent() != other.quota.is_concurrent() {
            return other.quota.is_concurrent();
        }
        let share = |one: &Self, whole: &Self| u64::from(one.remaining) * u64::from(whole.limit());
        share(self, other) < share(other, self)
    }

    /// Picks the decision that matters most: a denial before an admission, the longer wait of two denials, the
    /// smaller rest of two admissions.
    pub(crate) fn weightier(self, other: Self) -> Self {
        let other_prevails = match (self.is_admitted(), other.is_admitted()) {
            (true, true) => other.remaining < self.remaining,
            (false, false) => other.reset > self.reset,
            (admitted, _) => admitted,
        };
        if other_prevails { other } else { self }
    }
}
