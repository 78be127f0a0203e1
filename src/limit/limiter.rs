use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use super::category::Category;
use super::subjects::{Count, Counted, Request, Rule, Subjects};
use super::window::{Concurrent, Counter, Exact, LongSliding, ShortSliding, Timeline, Window};
use super::{Algorithm, Decision, Quota, Subject};
use crate::InvalidValue;
use crate::clock::{Now, Timestamp};
use crate::identity::Principal;

/// Limits one category of requests, each subject separately, with its state in this process.
///
/// A category has one or several quotas. With several, a request is admitted if it fits all of them, and is counted
/// by all or by none. A denied request counts nothing.
///
/// Memory is bounded: at most `capacity` subjects ([`MemoryRateLimiter::DEFAULT_CAPACITY`] by default) have their own
/// count. When there are more, subjects without a current count are evicted; if that is not enough, new subjects
/// share a few counts, which is stricter for them. A subject with a current count is never evicted.
///
/// ```
/// use std::time::Duration;
/// use tower_api_keys::clock::{Clock, ManualClock, Timestamp};
/// use tower_api_keys::limit::{MemoryRateLimiter, Quota, Subject};
///
/// let clock = ManualClock::starting_at(Timestamp::from_unix_seconds(1_702_531_200));
/// let quotas = [Quota::per_minute(100)?, Quota::new(500, Duration::from_secs(300))?];
/// let limiter = MemoryRateLimiter::new("write", &quotas, clock.now())?;
///
/// let key = Subject::Key("k7Jc0qWvTz4n8XsB".parse()?);
/// let (decision, permit) = limiter.check(&key, None, 1, clock.now());
/// assert!(decision.is_admitted());
/// assert_eq!((decision.limit(), decision.remaining()), (100, 99));
///
/// // The request turned out not to count.
/// limiter.refund(permit.expect("admitted"));
/// assert_eq!(limiter.peek(&key, None, 1, clock.now()).remaining(), 100);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct MemoryRateLimiter {
    pub(super) category: Arc<Category>,
    algorithm: Algorithm,
    capacity: usize,
    start: Now,
    counts: Box<dyn Count>,
}

/// The cost counted for one admitted request. The `refund` of its limiter takes it back; if dropped, it stays counted.
///
/// Not `Clone`, so it cannot be taken back twice.
#[derive(Debug)]
pub struct Permit {
    pub(super) subject: Subject,
    pub(super) cost: u32,
    /// Where this process counted it. `None` if it did not: what Redis admits may be more than fits a count here.
    counted: Option<Counted>,
    /// The beginning of the period that a store counted it in.
    period: Option<Timestamp>,
    /// Where Redis counted it; `None` if Redis was not asked.
    #[cfg(feature = "redis")]
    pub(super) place: Option<super::redis::Place>,
}

impl MemoryRateLimiter {
    /// The default number of subjects with their own count.
    pub const DEFAULT_CAPACITY: usize = 100_000;

    /// The maximum number of quotas of a category.
    pub const MAX_QUOTAS: usize = 4;

    /// An empty limiter for the category named `category`, such as `read`, with 1 to [4](Self::MAX_QUOTAS) quotas, all of
    /// which requests must fit. An override replaces only the limit of the first.
    ///
    /// `now` comes from the clock that [`check`](Self::check) gets its times from. Sub-windows are aligned to its calendar
    /// time, only here.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if there is no quota, or there are more than four.
    pub fn new(category: impl Into<Arc<str>>, quotas: &[Quota], now: Now) -> Result<Self, InvalidValue> {
        let category = Arc::new(Category::new(category.into(), checked(quotas)?.to_vec()));
        let (algorithm, capacity) = (Algorithm::default(), Self::DEFAULT_CAPACITY);
        let counts = counts(quotas, algorithm, capacity, now);
        Ok(Self { category, algorithm, capacity, start: now, counts })
    }

    /// Sets the algorithm; default [`Algorithm::Sliding`]. Forgets what was counted.
    #[must_use]
    pub fn with_algorithm(self, algorithm: Algorithm) -> Self {
        let counts = counts(&self.category.quotas, algorithm, self.capacity, self.start);
        Self { algorithm, counts, ..self }
    }

    /// Sets how many subjects have their own count; default [`DEFAULT_CAPACITY`](Self::DEFAULT_CAPACITY). Rounded down to
    /// a multiple of the number of shards, a power of two up to 32. Forgets what was counted.
    #[must_use]
    pub fn with_capacity(self, subjects: NonZeroUsize) -> Self {
        let counts = counts(&self.category.quotas, self.algorithm, subjects.get(), self.start);
        Self { capacity: subjects.get(), counts, ..self }
    }

    /// The name of the category.
    pub fn category(&self) -> &str {
        &self.category.name
    }

    /// The quotas, in the order they were added.
    pub fn quotas(&self) -> impl ExactSizeIterator<Item = Quota> + '_ {
        self.category.quotas.iter().copied()
    }

    /// Counts a request of `cost` units if it fits, and returns the decision. There is a [`Permit`] only if the
    /// request was admitted.
    ///
    /// `limit_override`, such as one stored with a key, replaces the limit of the first quota, clamped to
    /// [`Quota::MAX_LIMIT`]. It may differ from one request to the next: what was counted stays counted. A cost of
    /// zero is admitted unless more than the limit is counted.
    ///
    /// `now` must come from the same clock in all calls. If threads pass times out of order, the latest is used.
    pub fn check(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Now,
    ) -> (Decision, Option<Permit>) {
        self.count(subject, Request::new(limit_override, cost, now))
    }

    /// [`check`](Self::check) without a permit: it cannot be refunded.
    pub(super) fn check_for_good(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Now,
    ) -> Decision {
        self.counts.count(subject, Request::new(limit_override, cost, now), &mut Counted::default())
    }

    /// Counts a request that was admitted elsewhere, regardless of the limits.
    #[cfg(feature = "redis")]
    pub(super) fn record(&self, subject: &Subject, cost: u32, now: Now) -> Permit {
        let mut counted = Counted::default();
        let decision = self.counts.count(subject, Request::admitted(cost, now), &mut counted);
        let counted = decision.is_admitted().then_some(counted);
        Permit { subject: subject.clone(), cost, counted, period: None, place: None }
    }

    /// Counts `cost` regardless of the limits, up to the highest count there is: as much as the highest limit, so that no
    /// limit admits anything then.
    pub(super) fn count_anyway(&self, subject: &Subject, cost: u32, now: Now) {
        let mut cost = cost.min(Quota::MAX_LIMIT);
        while cost > 0 {
            let request = Request::admitted(cost, now);
            let decision = self.counts.count(subject, request, &mut Counted::default());
            if decision.is_admitted() {
                return;
            }
            cost = cost.min(decision.remaining());
        }
    }

    /// Counts nothing of what was counted for `subject` so far: its whole limit is left. Requests [at a
    /// time](Quota::concurrent) stay counted while they last.
    pub fn forget(&self, subject: &Subject) {
        self.counts.forget(subject);
    }

    fn count(&self, subject: &Subject, request: Request) -> (Decision, Option<Permit>) {
        let mut counted = Counted::default();
        let decision = self.counts.count(subject, request, &mut counted);
        let permit = decision.is_admitted().then(|| Permit {
            subject: subject.clone(),
            cost: request.cost,
            counted: Some(counted),
            period: None,
            #[cfg(feature = "redis")]
            place: None,
        });
        (decision, permit)
    }

    /// The decision of [`check`](Self::check) without counting: `remaining` does not include this request's cost.
    pub fn peek(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Now,
    ) -> Decision {
        self.counts.peek(subject, Request::new(limit_override, cost, now))
    }

    /// The decision of [`check`](Self::check) about one unit, if `subject` has its own count.
    pub(crate) fn peek_own(&self, subject: &Subject, now: Now) -> Option<Decision> {
        self.counts.peek_own(subject, Request::new(None, 1, now))
    }

    /// Takes back the cost of an admitted request. Does nothing if it no longer counts.
    ///
    /// The permit must come from this limiter.
    pub fn refund(&self, permit: Permit) {
        if let Some(counted) = &permit.counted {
            self.counts.give_back(&permit.subject, counted, permit.cost);
        }
    }

    pub(crate) fn category_data(&self) -> &Category {
        &self.category
    }

    /// The decision about one more request of `principal`, without counting.
    pub fn peek_for(&self, principal: &Principal, now: Now) -> Decision {
        let own_limit =
            principal.record().and_then(|record| record.extras.limits.get(self.category())).copied();
        self.peek(&Subject::Key(*principal.key_id()), own_limit, 1, now)
    }

    /// The number of subjects with their own count.
    pub fn subject_count(&self) -> usize {
        self.counts.len()
    }
}

/// The quotas, if they are for a limiter without a store.
pub(super) fn checked(quotas: &[Quota]) -> Result<&[Quota], InvalidValue> {
    let is_stored = quotas.iter().any(|quota| quota.calendar().is_some());
    let stored = || "calendar quotas and credits are counted by the store of an assembly".to_owned();
    match fault_of(quotas).or_else(|| is_stored.then(stored)) {
        None => Ok(quotas),
        Some(fault) => Err(InvalidValue::naming("quota", fault)),
    }
}

/// Why a category can't have these quotas.
pub(super) fn fault_of(quotas: &[Quota]) -> Option<String> {
    let most = MemoryRateLimiter::MAX_QUOTAS;
    match quotas {
        [_] => None,
        [] => Some(format!("a category has 1 to {most} quotas, not 0")),
        more if more.len() > most => Some(format!("a category has 1 to {most} quotas, not {}", more.len())),
        more if more.iter().all(|quota| quota.is_window()) => None,
        _ => Some("only quotas of windows can stand together in a category".to_owned()),
    }
}

fn counts(quotas: &[Quota], algorithm: Algorithm, capacity: usize, now: Now) -> Box<dyn Count> {
    let rule = |&quota: &Quota| Rule { quota, timeline: Timeline::new(quota.window(), now) };
    let rules: Box<[Rule]> = quotas.iter().map(rule).collect();
    let time = now.monotonic_nanos();
    let sub_windows = rules.iter().map(|rule| rule.timeline.span()).max();
    match algorithm {
        _ if quotas[0].is_concurrent() => subjects::<Concurrent>(rules, capacity, time),
        Algorithm::Sliding if sub_windows <= Some(ShortSliding::MAX_SPAN) => {
            subjects::<ShortSliding>(rules, capacity, time)
        }
        Algorithm::Sliding => subjects::<LongSliding>(rules, capacity, time),
        Algorithm::Exact => subjects::<Exact>(rules, capacity, time),
        Algorithm::Counter => subjects::<Counter>(rules, capacity, time),
    }
}

fn subjects<W: Window>(rules: Box<[Rule]>, capacity: usize, time: u64) -> Box<dyn Count> {
    match rules.len() {
        1 => Box::new(Subjects::<[W; 1]>::new(rules, capacity, time)),
        _ => Box::new(Subjects::<Box<[W]>>::new(rules, capacity, time)),
    }
}

impl Permit {
    pub(super) fn stored(subject: Subject, cost: u32, period: Timestamp) -> Self {
        Self {
            subject,
            cost,
            counted: None,
            period: Some(period),
            #[cfg(feature = "redis")]
            place: None,
        }
    }

    /// That of a stored quota.
    pub(super) fn period(&self) -> Timestamp {
        self.period.unwrap_or(Timestamp::from_unix_millis(0))
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Leaves `cost` out of what is taken back.
    pub(crate) fn keep(&mut self, cost: u32) {
        self.cost = self.cost.saturating_sub(cost);
    }

    #[cfg(feature = "redis")]
    pub(super) fn with_place(self, place: super::redis::Place) -> Self {
        Self { place: Some(place), ..self }
    }
}

impl fmt::Debug for MemoryRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRateLimiter")
            .field("category", &self.category())
            .field("quotas", &self.quotas().collect::<Vec<_>>())
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
