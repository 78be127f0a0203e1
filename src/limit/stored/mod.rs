//! Quotas of calendar periods, and credits: counted by the store of keys, in leases.

mod account;

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use self::account::{Account, Grasp, lock, name};
use super::calendar::{Calendar, Period};
use super::category::Category;
use super::limit::{Answering, Deciding, DecisionResult, Demand, Limit, Undecided};
use super::{Decision, Permit, Quota, Subject, Verdict};
use crate::clock::{Clock, Now};
use crate::log::{self, OncePerSecond};
use crate::number::saturated;
use crate::store::{KeyAdministration, QuotaChange, QuotaRow, StoreError, StoreErrorKind};
use crate::timer::sleep;

/// Counts one category in the store. Each process takes leases: units that are already counted there, and that it may use by
/// itself.
#[derive(Clone)]
pub(crate) struct StoredLimiter(Arc<Shared>);

struct Shared {
    category: Arc<Category>,
    calendar: Calendar,
    store: Arc<dyn KeyAdministration>,
    accounts: RwLock<HashMap<Subject, Arc<Mutex<Account>>>>,
    line: OncePerSecond,
}

impl StoredLimiter {
    /// `None` if the quota is not one of a calendar.
    pub(crate) fn new(category: &str, quota: Quota, store: Arc<dyn KeyAdministration>) -> Option<Self> {
        let calendar = quota.calendar()?;
        let category = Arc::new(Category::new(category.into(), vec![quota]));
        let (accounts, line) = (RwLock::default(), OncePerSecond::default());
        Some(Self(Arc::new(Shared { category, calendar, store, accounts, line })))
    }

    /// Gives more to a subject, or takes from what it was given, and says what is left.
    pub(crate) async fn grant(
        &self,
        subject: &Subject,
        units: i64,
        now: Now,
    ) -> Result<Decision, StoreError> {
        let limit = lock(&self.0.account(subject)).limit();
        self.0.change(subject, limit, now, |change| change.grant = units).await
    }

    /// Gives back what is leased and not used for a while, and tells the store what it does not know. Does not end.
    pub(crate) async fn keep_giving_back(self, clock: Arc<dyn Clock>) {
        loop {
            sleep(INTERVAL).await;
            let now = clock.now();
            if let Err(error) = self.0.give_back(now, |account| account.is_due(now)).await {
                log::quota_not_given_back(&self.0.category.name, &error);
            }
        }
    }

    /// The units that are leased and not used.
    #[cfg(feature = "metrics")]
    pub(crate) fn leased(&self) -> u64 {
        let accounts = self.0.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.values().fold(0, |units, account| units.saturating_add(lock(account).units()))
    }

    /// Tells the store what is owed, if there is a runtime to do so in. Otherwise that is left to the next request of the subject,
    /// or to the [background](Self::keep_giving_back).
    fn tell_soon(&self, subject: &Subject, now: Now) {
        #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (limiter, subject) = (self.clone(), subject.clone());
            runtime.spawn(async move {
                let limit = lock(&limiter.0.account(&subject)).limit();
                if let Err(error) = limiter.0.change(&subject, limit, now, |_| {}).await {
                    limiter.0.failed(&error, now);
                }
            });
        }
        let _ = (subject, now);
    }

    /// Gives back all that is leased.
    pub(crate) async fn give_back_all(&self, now: Now) -> Result<(), StoreError> {
        self.0.give_back(now, |_| true).await
    }
}

impl Shared {
    fn account(&self, subject: &Subject) -> Arc<Mutex<Account>> {
        let known = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(subject).cloned();
        known.unwrap_or_else(|| {
            let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
            accounts.entry(subject.clone()).or_default().clone()
        })
    }

    fn quota(&self, limit_override: Option<NonZeroU32>) -> Quota {
        let quota = self.category.quotas[0];
        limit_override.map_or(quota, |limit| quota.with_limit(limit))
    }

    /// Decides here as soon as it can, after asking the store if it must: one request of a subject at a time, since its lease
    /// may serve the others.
    async fn ask(
        self: Arc<Self>,
        subject: Subject,
        account: Arc<Mutex<Account>>,
        demand: Demand,
    ) -> DecisionResult {
        let (quota, period) = (self.quota(demand.limit_override), self.period(demand.now));
        let asking = poll_fn(|context| {
            let mut state = lock(&account);
            match state.decide(quota, period, demand) {
                Some(decision) => Poll::Ready(Err(decision)),
                None => Grasp::poll(&account, state, period, context).map(Ok),
            }
        });
        let grasp = match asking.await {
            Ok(grasp) => grasp,
            Err(decision) => return Ok(outcome(decision, &subject, period, demand)),
        };
        let limit = u64::from(quota.limit().get());
        let change = QuotaChange {
            least: demand.cost.into(),
            most: (limit / LEASES).max(demand.cost.into()),
            ..change_of(&grasp, Some(quota.limit()), period)
        };
        let telling = async move {
            let told = self.tell(&subject, &change).await;
            let (row, leased) = told.map_err(|error| self.failed(&error, demand.now))?;
            let mut state = grasp.account();
            state.learn(row, leased, quota, Some(quota.limit()), demand);
            let decision = state.decide(quota, period, demand);
            let decision = decision.unwrap_or_else(|| state.deny(quota, period, demand));
            drop(state);
            grasp.done();
            Ok(outcome(decision, &subject, period, demand))
        };
        finish(telling).await.unwrap_or(Err(Undecided))
    }

    /// Makes a change for a subject, with what its account has to tell, and says what is left. The limit is that of its last
    /// request, if there was one here.
    async fn change(
        self: &Arc<Self>,
        subject: &Subject,
        limit: Option<NonZeroU32>,
        now: Now,
        set: impl FnOnce(&mut QuotaChange),
    ) -> Result<Decision, StoreError> {
        let period = self.period(now);
        let grasp = Grasp::of(&self.account(subject), period).await;
        let mut change = change_of(&grasp, limit, period);
        set(&mut change);
        let (shared, subject) = (self.clone(), subject.clone());
        let telling = async move {
            let (row, _) = shared.tell(&subject, &change).await?;
            let nothing = Demand { limit_override: limit, cost: 0, now, refundable: false };
            let quota = shared.quota(limit.or_else(|| last_limit(row)));
            let mut state = grasp.account();
            state.learn(row, 0, quota, limit, nothing);
            let decision = state.report(quota, period, now, Verdict::Admitted);
            drop(state);
            grasp.done();
            Ok(decision)
        };
        finish(telling).await.unwrap_or_else(|| Err(StoreError::new(StoreErrorKind::Unavailable)))
    }

    async fn tell(&self, subject: &Subject, change: &QuotaChange) -> Result<(QuotaRow, u64), StoreError> {
        self.store.change_quota(&self.category.name, &name(subject), change).await
    }

    fn period(&self, now: Now) -> Period {
        self.calendar.period(now.timestamp())
    }

    /// Gives back the leases of accounts that are due.
    async fn give_back(
        self: &Arc<Self>,
        now: Now,
        is_due: impl Fn(&Account) -> bool,
    ) -> Result<(), StoreError> {
        let due: Vec<_> = {
            let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
            // One that no call has now is removed, so no call gets it later.
            accounts.retain(|_, account| Arc::strong_count(account) > 1 || !lock(account).is_empty(now));
            let state = accounts.iter().map(|(subject, account)| (subject, lock(account)));
            state
                .filter(|(_, account)| is_due(account))
                .map(|(subject, account)| (subject.clone(), account.limit()))
                .collect()
        };
        // One that fails does not keep the others from being written.
        let mut result = Ok(());
        for (subject, limit) in due {
            result = result.and(self.change(&subject, limit, now, |_| {}).await.map(drop));
        }
        result
    }

    fn failed(&self, error: &StoreError, now: Now) -> Undecided {
        if let Some(suppressed) = self.line.admit(now.monotonic_nanos()) {
            log::quota_not_counted(&self.category.name, error, suppressed);
        }
        Undecided
    }
}

fn change_of(grasp: &Grasp, limit: Option<NonZeroU32>, period: Period) -> QuotaChange {
    let (spend, give_back) = (grasp.owed, grasp.units);
    let limit = limit.map(|limit| limit.get().into());
    QuotaChange { spend, give_back, ..QuotaChange::new(period.start, limit) }
}

/// The highest limit that applied in the row's period, if one is known.
fn last_limit(row: QuotaRow) -> Option<NonZeroU32> {
    NonZeroU32::new(saturated(row.limit))
}

/// Ends also if the request that waits for it is dropped: a client that hangs up while the store is asked would cost a lease. Needs
/// tokio's runtime for that. `None` if the runtime shuts down.
async fn finish<T: Send + 'static>(telling: impl Future<Output = T> + Send + 'static) -> Option<T> {
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        return match runtime.spawn(telling).await {
            Ok(told) => Some(told),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => None,
            },
        };
    }
    Some(telling.await)
}

fn outcome(
    decision: Decision,
    subject: &Subject,
    period: Period,
    demand: Demand,
) -> (Decision, Option<Box<Permit>>) {
    let is_kept = demand.refundable && decision.is_admitted();
    let permit = || Box::new(Permit::stored(subject.clone(), demand.cost, period.start));
    (decision, is_kept.then(permit))
}

impl Limit for StoredLimiter {
    fn describe(&self) -> &Arc<Category> {
        &self.0.category
    }

    fn decide(&self, subject: &Subject, demand: Demand) -> Deciding {
        let (account, period) = (self.0.account(subject), self.0.period(demand.now));
        let decided = lock(&account).decide(self.0.quota(demand.limit_override), period, demand);
        if let Some(decision) = decided {
            return Deciding::Ready(Ok(outcome(decision, subject, period, demand)));
        }
        let (shared, subject) = (self.0.clone(), subject.clone());
        Deciding::Pending(Box::pin(async move { shared.ask(subject, account, demand).await }))
    }

    fn take_back(&self, permit: Box<Permit>) {
        lock(&self.0.account(permit.subject())).take_back(&permit);
    }

    fn record(&self, subject: &Subject, cost: u32, now: Now) {
        let account = self.0.account(subject);
        let is_owed = lock(&account).charge(cost, self.0.period(now));
        if is_owed {
            self.tell_soon(subject, now);
        }
    }

    fn look(&self, subject: &Subject, limit_override: Option<NonZeroU32>, now: Now) -> Answering<Decision> {
        let (shared, subject) = (self.0.clone(), subject.clone());
        Box::pin(async move {
            let limit = shared.quota(limit_override).limit();
            let looked = shared.change(&subject, Some(limit), now, |_| {}).await;
            looked.map_err(|error| shared.failed(&error, now))
        })
    }

    fn forget(&self, _: &Subject) -> Answering<()> {
        // What was bought is no rate: more of it is granted.
        Box::pin(ready(Ok(())))
    }

    fn engine(&self) -> &'static str {
        "store"
    }

    fn tracked(&self) -> usize {
        self.0.accounts.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl fmt::Debug for StoredLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredLimiter").field("category", &self.0.category.name).finish_non_exhaustive()
    }
}

/// A hundredth of the limit is leased at most.
const LEASES: u64 = 100;
/// The time between two looks for what is to be given back.
const INTERVAL: Duration = Duration::from_secs(10);
