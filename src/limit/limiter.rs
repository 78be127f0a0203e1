use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use thiserror::Error;

use super::category::Category;
use super::subjects::{Count, Counted, Request, Rule, Subjects};
use super::window::{Counter, Exact, LongSliding, ShortSliding, Timeline, Window};
use super::{Algorithm, Decision, Quota, Subject};
use crate::clock::{Clock, Now, SystemClock};
use crate::identity::Principal;

/// Limits one category of requests, for each subject on its own, with its state in this process.
///
/// A category has one quota or several. Under several a request is admitted if it fits all of them, and is counted by
/// all or by none. A denied request counts nothing.
///
/// Memory is bounded: at most `capacity` subjects ([`MemoryRateLimiter::DEFAULT_CAPACITY`] unless set) have a count of
/// their own. When there are more, those for which nothing counts any more make room; if that is not enough, the
/// newcomers share a few counts, which is stricter for them. A subject with anything counted is never dropped.
///
/// ```
/// use std::time::Duration;
/// use tower_api_keys::clock::{Clock, ManualClock, Timestamp};
/// use tower_api_keys::limit::{MemoryRateLimiter, Quota, Subject};
///
/// let clock = ManualClock::starting_at(Timestamp::from_unix_seconds(1_702_531_200));
/// let limiter = MemoryRateLimiter::builder("write", Quota::per_minute(100)?)
///     .quota(Quota::new(500.try_into()?, Duration::from_secs(300))?)?
///     .build_at(clock.now());
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
    counts: Box<dyn Count>,
}

/// Sets up a [`MemoryRateLimiter`].
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryRateLimiterBuilder {
    category: Arc<str>,
    quotas: Vec<Quota>,
    algorithm: Algorithm,
    capacity: NonZeroUsize,
}

/// A category was given more than [`MemoryRateLimiter::MAX_QUOTAS`] quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a category has at most {} quotas", MemoryRateLimiter::MAX_QUOTAS)]
#[non_exhaustive]
pub struct TooManyQuotas;

/// What one admitted request counted. Hand it to [`MemoryRateLimiter::refund`] to take that back; dropped, it counts.
///
/// Not `Clone`, so nothing is taken back twice.
#[derive(Debug)]
pub struct Permit {
    subject: Subject,
    cost: u32,
    counted: Counted,
}

impl MemoryRateLimiterBuilder {
    /// One more quota, which requests must fit as well. An override replaces only the limit of the first quota.
    ///
    /// # Errors
    ///
    /// [`TooManyQuotas`] if there are [`MemoryRateLimiter::MAX_QUOTAS`] already.
    pub fn quota(mut self, quota: Quota) -> Result<Self, TooManyQuotas> {
        if self.quotas.len() == MemoryRateLimiter::MAX_QUOTAS {
            return Err(TooManyQuotas);
        }
        self.quotas.push(quota);
        Ok(self)
    }

    /// How to count; [`Algorithm::Sliding`] unless set.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The most subjects with a count of their own; [`MemoryRateLimiter::DEFAULT_CAPACITY`] unless set. Rounded down to
    /// a multiple of the number of shards, a power of two up to 32.
    pub fn capacity(mut self, subjects: NonZeroUsize) -> Self {
        self.capacity = subjects;
        self
    }

    /// An empty limiter, for times of [`SystemClock`].
    pub fn build(self) -> MemoryRateLimiter {
        self.build_at(SystemClock.now())
    }

    /// An empty limiter, for times of the clock that `now` is from; a test's own, say. Sub-windows are aligned to the
    /// calendar of `now`, here and never again.
    pub fn build_at(self, now: Now) -> MemoryRateLimiter {
        let rule = |&quota: &Quota| Rule { quota, timeline: Timeline::new(quota.window(), now) };
        let rules: Box<[Rule]> = self.quotas.iter().map(rule).collect();
        let (capacity, time) = (self.capacity.get(), now.monotonic_nanos());
        let sub_windows = rules.iter().map(|rule| rule.timeline.span()).max();
        let counts = match self.algorithm {
            Algorithm::Sliding if sub_windows <= Some(ShortSliding::MAX_SPAN) => {
                subjects::<ShortSliding>(rules, capacity, time)
            }
            Algorithm::Sliding => subjects::<LongSliding>(rules, capacity, time),
            Algorithm::Exact => subjects::<Exact>(rules, capacity, time),
            Algorithm::Counter => subjects::<Counter>(rules, capacity, time),
        };
        let category = Arc::new(Category::new(self.category, self.quotas));
        MemoryRateLimiter { category, algorithm: self.algorithm, counts }
    }
}

fn subjects<W: Window>(rules: Box<[Rule]>, capacity: usize, time: u64) -> Box<dyn Count> {
    match rules.len() {
        1 => Box::new(Subjects::<[W; 1]>::new(rules, capacity, time)),
        _ => Box::new(Subjects::<Box<[W]>>::new(rules, capacity, time)),
    }
}

impl MemoryRateLimiter {
    /// How many subjects have a count of their own unless set otherwise.
    pub const DEFAULT_CAPACITY: usize = 100_000;

    /// How many quotas a category may have.
    pub const MAX_QUOTAS: usize = 4;

    /// A limiter for the category named `category`, such as `read`, with its first quota.
    pub fn builder(category: impl Into<Arc<str>>, quota: Quota) -> MemoryRateLimiterBuilder {
        MemoryRateLimiterBuilder {
            category: category.into(),
            quotas: vec![quota],
            algorithm: Algorithm::default(),
            capacity: NonZeroUsize::new(Self::DEFAULT_CAPACITY).unwrap_or(NonZeroUsize::MIN),
        }
    }

    /// The name of the category.
    pub fn category(&self) -> &str {
        &self.category.name
    }

    /// The quotas, in the order they were given.
    pub fn quotas(&self) -> impl ExactSizeIterator<Item = Quota> + '_ {
        self.category.quotas.iter().copied()
    }

    /// Counts a request of `cost` units if it fits, and says what came of it. There is a [`Permit`] if, and only if, it
    /// was admitted.
    ///
    /// `limit_override`, such as one stored with a key, replaces the limit of the first quota; above
    /// [`Quota::MAX_LIMIT`] it is that. It may change from one request to the next: what was counted stays counted. A
    /// cost of zero is admitted unless more than the limit is counted.
    ///
    /// `now` comes from one clock, the same for all calls. If threads hand in times out of order, the latest prevails.
    pub fn check(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Now,
    ) -> (Decision, Option<Permit>) {
        self.count(subject, Request::new(limit_override, cost, now))
    }

    /// [`check`](Self::check) without a permit: nothing can be given back.
    pub(super) fn check_for_good(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Now,
    ) -> Decision {
        self.counts.count(subject, Request::new(limit_override, cost, now), &mut Counted::default())
    }

    /// Counts a request that something else has admitted, whatever the limits.
    #[cfg(feature = "redis")]
    pub(super) fn record(&self, subject: &Subject, cost: u32, now: Now) -> Option<Permit> {
        self.count(subject, Request::admitted(cost, now)).1
    }

    fn count(&self, subject: &Subject, request: Request) -> (Decision, Option<Permit>) {
        let mut counted = Counted::default();
        let decision = self.counts.count(subject, request, &mut counted);
        let permit =
            decision.is_admitted().then(|| Permit { subject: subject.clone(), cost: request.cost, counted });
        (decision, permit)
    }

    /// What [`check`](Self::check) would decide, with nothing counted: `remaining` is without this request's cost.
    pub fn peek(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Now,
    ) -> Decision {
        self.counts.peek(subject, Request::new(limit_override, cost, now))
    }

    /// What [`check`](Self::check) would decide about one unit, if `subject` has a count of its own.
    pub(crate) fn peek_own(&self, subject: &Subject, now: Now) -> Option<Decision> {
        self.counts.peek_own(subject, Request::new(None, 1, now))
    }

    /// Takes back what an admitted request counted. Does nothing if it no longer counts.
    ///
    /// The permit must come from this limiter.
    pub fn refund(&self, permit: Permit) {
        self.counts.give_back(&permit.subject, &permit.counted, permit.cost);
    }

    pub(crate) fn category_data(&self) -> &Category {
        &self.category
    }

    /// What this limiter would decide about one more request of `principal`, with nothing counted.
    pub fn peek_for(&self, principal: &Principal, now: Now) -> Decision {
        let own_limit = principal.record().and_then(|record| record.extras.limits.get(self.category()));
        self.peek(&Subject::Key(*principal.key_id()), own_limit, 1, now)
    }

    /// How many subjects have a count of their own.
    pub fn subject_count(&self) -> usize {
        self.counts.len()
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
