//! What one process knows of one subject: its lease, and what the store has not been told.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::{Now, Timestamp, nanos};
use crate::limit::calendar::Period;
use crate::limit::limit::Demand;
use crate::limit::{Decision, Permit, Quota, Subject, Verdict};
use crate::metrics;
use crate::number::saturated;
use crate::store::QuotaRow;

#[derive(Default)]
pub(super) struct Account {
    /// Counted by the store, and not used yet.
    units: u64,
    /// The beginning of the period that they belong to.
    period: Option<Timestamp>,
    /// The limit that they were leased under.
    limit: Option<NonZeroU32>,
    /// What was left in the store, and granted, when it was last asked.
    left: u64,
    granted: u64,
    /// Charged, and not counted by the store yet.
    owed: u64,
    /// The least cost that does not fit, until an instant: other processes may give back.
    denied: Option<(u32, u64)>,
    used_at: u64,
    is_grasped: bool,
    waiting: Vec<Waker>,
}

impl Account {
    /// The decision, if this process can make it.
    pub(super) fn decide(&mut self, quota: Quota, period: Period, demand: Demand) -> Option<Decision> {
        self.enter(period);
        let now = demand.now.monotonic_nanos();
        self.used_at = self.used_at.max(now);
        if self.limit != Some(quota.limit()) || self.owed > 0 {
            return None;
        }
        if let Some(units) = self.units.checked_sub(demand.cost.into()) {
            self.units = units;
            return Some(self.report(quota, period, demand.now, Verdict::Admitted));
        }
        let (cost, until) = self.denied?;
        (demand.cost >= cost && now < until).then(|| self.deny(quota, period, demand))
    }

    pub(super) fn deny(&self, quota: Quota, period: Period, demand: Demand) -> Decision {
        let most = u64::from(quota.limit().get()).saturating_add(self.granted);
        let is_for_good = period.end.is_none() || u64::from(demand.cost) > most;
        let verdict = if is_for_good { Verdict::NeverFits } else { Verdict::Denied };
        self.report(quota, period, demand.now, verdict)
    }

    /// What is told about a request. The limit includes what was granted.
    pub(super) fn report(&self, quota: Quota, period: Period, now: Now, verdict: Verdict) -> Decision {
        let most = u64::from(quota.limit().get()).saturating_add(self.granted);
        let most = NonZeroU32::new(saturated(most)).unwrap_or(quota.limit());
        let left = self.left.saturating_add(self.units).saturating_sub(self.owed);
        let until_end = period.end.map_or(Duration::ZERO, |end| end.saturating_since(now.timestamp()));
        Decision {
            verdict,
            quota: quota.with_limit(most),
            remaining: saturated(left),
            reset: nanos(until_end),
            degraded: false,
        }
    }

    /// Takes note of what the store has answered, with what it leased.
    pub(super) fn learn(
        &mut self,
        row: QuotaRow,
        leased: u64,
        quota: Quota,
        limit: Option<NonZeroU32>,
        demand: Demand,
    ) {
        if self.period != Some(row.period) {
            (self.units, self.period) = (0, Some(row.period));
        }
        self.units = self.units.saturating_add(leased);
        self.limit = limit;
        self.left = row.left(quota.limit().get().into());
        self.granted = row.granted;
        let is_denied = self.units < demand.cost.into();
        self.denied =
            is_denied.then(|| (demand.cost, demand.now.monotonic_nanos().saturating_add(LONGEST_DENIAL)));
    }

    /// Counts a cost in any case. Whether the store has to be told.
    pub(super) fn charge(&mut self, cost: u32, period: Period) -> bool {
        self.enter(period);
        let (cost, units) = (u64::from(cost), self.units);
        self.units = units.saturating_sub(cost);
        self.owed = self.owed.saturating_add(cost.saturating_sub(units));
        self.owed > 0
    }

    pub(super) fn take_back(&mut self, permit: &Permit) {
        let period = *self.period.get_or_insert(permit.period());
        if period == permit.period() {
            self.units = self.units.saturating_add(permit.cost.into());
        }
    }

    /// Drops the lease of a period that is over. A clock that goes back changes nothing.
    fn enter(&mut self, period: Period) {
        if self.period.is_none_or(|known| known < period.start) {
            *self = Self {
                period: Some(period.start),
                owed: self.owed,
                used_at: self.used_at,
                is_grasped: self.is_grasped,
                waiting: std::mem::take(&mut self.waiting),
                ..Self::default()
            };
        }
    }

    #[cfg(feature = "metrics")]
    pub(super) fn units(&self) -> u64 {
        self.units
    }

    /// The limit that applied last.
    pub(super) fn limit(&self) -> Option<NonZeroU32> {
        self.limit
    }

    /// Whether there is something that the store should have.
    pub(super) fn is_due(&self, now: Now) -> bool {
        self.owed > 0 || self.units > 0 && self.is_unused(now)
    }

    /// Whether nothing is lost without it.
    pub(super) fn is_empty(&self, now: Now) -> bool {
        self.owed == 0 && self.units == 0 && !self.is_grasped && self.is_unused(now)
    }

    fn is_unused(&self, now: Now) -> bool {
        now.monotonic_nanos().saturating_sub(self.used_at) >= UNUSED
    }
}

/// The right to ask the store about an account, with what it has to be told. Held by one request at a time.
pub(super) struct Grasp {
    account: Arc<Mutex<Account>>,
    pub(super) units: u64,
    pub(super) owed: u64,
    is_done: bool,
}

impl Grasp {
    /// As soon as no other call has it.
    pub(super) async fn of(account: &Arc<Mutex<Account>>, period: Period) -> Self {
        poll_fn(|context| Self::poll(account, lock(account), period, context)).await
    }

    pub(super) fn poll(
        account: &Arc<Mutex<Account>>,
        mut state: MutexGuard<'_, Account>,
        period: Period,
        context: &Context<'_>,
    ) -> Poll<Self> {
        if state.is_grasped {
            if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                state.waiting.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        state.enter(period);
        state.is_grasped = true;
        let (units, owed) = (std::mem::take(&mut state.units), std::mem::take(&mut state.owed));
        Poll::Ready(Self { account: account.clone(), units, owed, is_done: false })
    }

    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        lock(&self.account)
    }

    /// The store has been told.
    pub(super) fn done(mut self) {
        self.is_done = true;
    }
}

/// Without an answer the store may have been told or not. What is owed is told again, and what was leased is given up: that
/// can only count too much.
impl Drop for Grasp {
    fn drop(&mut self) {
        let mut state = lock(&self.account);
        if !self.is_done {
            metrics::lease_lost(self.units);
            state.owed = state.owed.saturating_add(self.owed);
        }
        state.is_grasped = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

pub(super) fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a subject in the store.
pub(super) fn name(subject: &Subject) -> Arc<str> {
    subject.to_string().into()
}

/// In nanoseconds. What another process gives back, or the operator grants there, is seen that much later.
const LONGEST_DENIAL: u64 = 1_000_000_000;
/// In nanoseconds: how long a lease stays with a process that does not use it.
const UNUSED: u64 = 60 * 1_000_000_000;
