use std::time::Duration;

use super::Quota;

/// What a limiter decided, with what a response tells about it.
///
/// Under several quotas this is about the one that matters most to the caller: if denied, the one to wait longest
/// for; if admitted, the one with the least remaining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub(super) verdict: Verdict,
    pub(super) quota: Quota,
    pub(super) remaining: u32,
    /// In nanoseconds.
    pub(super) reset: u64,
    pub(super) degraded: bool,
}

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may.
    Admitted,
    /// Not now: the same request is admitted once [`Decision::reset`] has passed and nothing else was counted.
    Denied,
    /// Never: it costs more than the limit. Waiting does not help.
    NeverFits,
}

impl Decision {
    /// Whether the request may pass, and if not, whether waiting helps.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the request may pass.
    pub fn is_admitted(&self) -> bool {
        self.verdict == Verdict::Admitted
    }

    /// The quota this is about, with the limit that applied to this subject.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The limit that applied, in units of cost.
    pub fn limit(&self) -> u32 {
        self.quota.limit().get()
    }

    /// How much cost would still be admitted now, after this request.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// Counted from the time handed to the check. If denied, until the same cost would be admitted; otherwise until
    /// [`remaining`](Self::remaining) rises, or zero if nothing is counted and it cannot rise.
    pub fn reset(&self) -> Duration {
        Duration::from_nanos(self.reset)
    }

    /// Whether a limiter that shares a store with other processes decided without asking it, because the store does
    /// not answer. Never so in memory.
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// The decision as it stands once `cost` has been taken back.
    pub(crate) fn take_back(&mut self, cost: u32) {
        self.remaining = self.remaining.saturating_add(cost).min(self.limit());
    }

    /// A denial before an admission, the longer wait of two denials, the lesser rest of two admissions.
    pub(crate) fn weightier(self, other: Self) -> Self {
        let other_prevails = match (self.is_admitted(), other.is_admitted()) {
            (true, true) => other.remaining < self.remaining,
            (false, false) => other.reset > self.reset,
            (admitted, _) => admitted,
        };
        if other_prevails { other } else { self }
    }
}
