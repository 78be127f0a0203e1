use std::fmt;
use std::hash::BuildHasher;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use thiserror::Error;

use super::category::Category;
use super::shard::{Entry, Shard, State, Windows};
use super::window::{Reading, Timeline, Window};
use super::{Algorithm, Decision, Quota, Subject, Verdict};
use crate::clock::{Clock, Now, SystemClock};

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
/// use tower_api_keys::rate_limit::{MemoryRateLimiter, Quota, Subject};
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
    rules: Box<[Rule]>,
    algorithm: Algorithm,
    /// Seeded at random: who chooses addresses chooses what is hashed here.
    hasher: RandomState,
    /// A power of two of them.
    shards: Box<[Shard]>,
    capacity_per_shard: usize,
    /// How long to leave a full shard alone after looking for idle subjects in vain.
    sweep_interval: u64,
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
    entry: Entry,
    shared: bool,
    cost: u32,
    places: Places,
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
    /// a multiple of the number of shards, a power of two up to 64.
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
        let rules: Box<[Rule]> = self
            .quotas
            .iter()
            .map(|&quota| Rule { quota, timeline: Timeline::new(quota.window(), now) })
            .collect();
        let wanted = (self.capacity.get() / MIN_SUBJECTS_PER_SHARD).clamp(1, MAX_SHARDS);
        let shard_count = 1 << wanted.ilog2();
        let time = now.monotonic_nanos();
        let shards = (0..shard_count)
            .map(|_| {
                let shared = Windows::new(self.algorithm, &rules, time);
                Shard::new(shared)
            })
            .collect();
        MemoryRateLimiter {
            category: Arc::new(Category::new(self.category, self.quotas)),
            sweep_interval: rules.iter().map(|rule| rule.timeline.sub_window()).max().unwrap_or_default(),
            rules,
            algorithm: self.algorithm,
            hasher: RandomState::default(),
            shards,
            capacity_per_shard: self.capacity.get() / shard_count,
        }
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
        let entry = self.entry(subject);
        let (decision, counted) = self.count(&entry, Request::new(limit_override, cost, now));
        let permit = counted.map(|Counted { shared, places }| Permit { entry, shared, cost, places });
        (decision, permit)
    }

    /// Counts a request that something else has admitted, whatever the limits.
    #[cfg(feature = "redis")]
    pub(super) fn record(&self, subject: &Subject, cost: u32, now: Now) -> Option<Permit> {
        let entry = self.entry(subject);
        let counted = self.count(&entry, Request { unlimited: true, ..Request::new(None, cost, now) }).1;
        counted.map(|Counted { shared, places }| Permit { entry, shared, cost, places })
    }

    fn count(&self, entry: &Entry, request: Request) -> (Decision, Option<Counted>) {
        let shard = self.shard(entry);

        // The lock is held during the check, so that no sweep drops a count somebody is adding to.
        let state = shard.read();
        if let Some(windows) = state.subjects.get(entry) {
            return self.admit(windows, request, false);
        }
        if state.subjects.len() >= self.capacity_per_shard && request.time < state.next_sweep {
            return self.admit(&state.shared, request, true);
        }
        drop(state);

        let mut state = shard.write();
        if !state.subjects.contains_key(entry) {
            if state.subjects.len() >= self.capacity_per_shard {
                self.sweep(&mut state, request.time);
            }
            if state.subjects.len() >= self.capacity_per_shard {
                return self.admit(&state.shared, request, true);
            }
            // The newcomer may be among those that shared a count until now.
            let windows = if self.is_idle(state.shared.as_slice(), request.time) {
                Windows::new(self.algorithm, &self.rules, request.time)
            } else {
                state.shared.snapshot()
            };
            state.subjects.insert(entry.clone(), windows);
        }
        match state.subjects.get(entry) {
            Some(windows) => self.admit(windows, request, false),
            None => self.admit(&state.shared, request, true),
        }
    }

    /// What [`check`](Self::check) would decide, with nothing counted: `remaining` is without this request's cost.
    pub fn peek(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Now,
    ) -> Decision {
        let request = Request::new(limit_override, cost, now);
        let entry = self.entry(subject);
        let state = self.shard(&entry).read();
        // One that is not held has at most what the shared count holds, and begins with that.
        let windows = state.subjects.get(&entry).unwrap_or(&state.shared);
        self.preview(windows.as_slice(), request)
    }

    /// What [`check`](Self::check) would decide about one unit, if `subject` has a count of its own.
    pub(crate) fn peek_own(&self, subject: &Subject, now: Now) -> Option<Decision> {
        let request = Request::new(None, 1, now);
        let entry = self.entry(subject);
        let state = self.shard(&entry).read();
        state.subjects.get(&entry).map(|windows| self.preview(windows.as_slice(), request))
    }

    /// Takes back what an admitted request counted. Does nothing if it no longer counts.
    ///
    /// The permit must come from this limiter.
    pub fn refund(&self, permit: Permit) {
        let state = self.shard(&permit.entry).read();
        let windows = if permit.shared { Some(&state.shared) } else { state.subjects.get(&permit.entry) };
        if let Some(windows) = windows {
            give_back(windows.as_slice(), &permit.places, permit.cost);
        }
    }

    /// How many subjects have a count of their own.
    pub fn subject_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().subjects.len()).sum()
    }

    fn entry(&self, subject: &Subject) -> Entry {
        Entry { hash: self.hasher.hash_one(subject), subject: subject.clone() }
    }

    fn shard(&self, entry: &Entry) -> &Shard {
        // The map takes its place from the lowest bits and its tag from the highest seven.
        let index = (entry.hash >> 40) as usize & (self.shards.len() - 1);
        &self.shards[index]
    }

    fn admit(&self, windows: &Windows, request: Request, shared: bool) -> (Decision, Option<Counted>) {
        let (decision, places) = self.reserve(windows.as_slice(), request);
        (decision, places.map(|places| Counted { shared, places }))
    }

    /// Counts in all windows or in none.
    fn reserve(&self, windows: &[Window], request: Request) -> (Decision, Option<Places>) {
        if let Some(never) = self.never_fits(windows, request) {
            return (never, None);
        }
        let mut places = Places::default();
        let mut so_far = Decision::unlimited(self.category.quotas[0]);
        for (index, (rule, window)) in self.rules.iter().zip(windows).enumerate() {
            let quota = rule.quota_for(index, request);
            let reading = window.check(&rule.timeline, request.time, quota.limit().get(), request.cost);
            let decision = decision(reading, quota, request);
            if !reading.admitted {
                give_back(&windows[..index], &places, request.cost);
                // A later quota may ask for a longer wait.
                return (
                    self.looks(windows, request).skip(index + 1).fold(decision, Decision::weightier),
                    None,
                );
            }
            places[index] = reading.place;
            so_far = so_far.weightier(decision);
        }
        (so_far, Some(places))
    }

    fn preview(&self, windows: &[Window], request: Request) -> Decision {
        self.never_fits(windows, request).unwrap_or_else(|| {
            self.looks(windows, request)
                .fold(Decision::unlimited(self.category.quotas[0]), Decision::weightier)
        })
    }

    /// What each quota says, with nothing counted.
    fn looks(&self, windows: &[Window], request: Request) -> impl Iterator<Item = Decision> {
        self.rules.iter().zip(windows).enumerate().map(move |(index, (rule, window))| {
            let quota = rule.quota_for(index, request);
            let reading = window.peek(&rule.timeline, request.time, quota.limit().get(), request.cost);
            decision(reading, quota, request)
        })
    }

    fn never_fits(&self, windows: &[Window], request: Request) -> Option<Decision> {
        let too_small =
            |(index, rule): (usize, &Rule)| request.cost > rule.quota_for(index, request).limit().get();
        let index = self.rules.iter().enumerate().position(too_small)?;
        let free = Request { cost: 0, ..request };
        let look = self.looks(windows, free).nth(index)?;
        Some(Decision { verdict: Verdict::NeverFits, ..look })
    }

    /// Drops the subjects for which nothing counts. Costs time in proportion to the shard, so it is done once a
    /// sub-window at most: no sooner can many more have become idle.
    fn sweep(&self, state: &mut State, time: u64) {
        if time < state.next_sweep {
            return;
        }
        state.subjects.retain(|_, windows| !self.is_idle(windows.as_slice(), time));
        state.next_sweep = time.saturating_add(self.sweep_interval);
    }

    fn is_idle(&self, windows: &[Window], time: u64) -> bool {
        self.rules.iter().zip(windows).all(|(rule, window)| window.is_idle(&rule.timeline, time))
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

fn give_back(windows: &[Window], places: &Places, cost: u32) {
    for (window, place) in windows.iter().zip(places) {
        window.refund(*place, cost);
    }
}

fn decision(reading: Reading, quota: Quota, request: Request) -> Decision {
    Decision {
        verdict: if reading.admitted { Verdict::Admitted } else { Verdict::Denied },
        quota,
        remaining: quota.limit().get().saturating_sub(reading.used),
        reset: Duration::from_nanos(reading.frees.map_or(0, |time| time.saturating_sub(request.time))),
        degraded: false,
    }
}

/// What one check asks for.
#[derive(Clone, Copy)]
struct Request {
    limit_override: Option<NonZeroU32>,
    cost: u32,
    time: u64,
    /// Whether nothing is to be denied.
    unlimited: bool,
}

impl Request {
    fn new(limit_override: Option<NonZeroU32>, cost: u32, now: Now) -> Self {
        Self { limit_override, cost, time: now.monotonic_nanos(), unlimited: false }
    }
}

/// Where an admitted request was counted.
struct Counted {
    /// Whether that was in the count for subjects that found no room.
    shared: bool,
    places: Places,
}

pub(super) struct Rule {
    quota: Quota,
    pub(super) timeline: Timeline,
}

impl Rule {
    fn quota_for(&self, index: usize, request: Request) -> Quota {
        match request.limit_override {
            _ if request.unlimited => self.quota.with_limit(NonZeroU32::MAX),
            Some(limit) if index == 0 => self.quota.with_limit(limit),
            _ => self.quota,
        }
    }
}

/// Where each quota counted a request.
type Places = [u64; MemoryRateLimiter::MAX_QUOTAS];

const MAX_SHARDS: usize = 64;
const MIN_SUBJECTS_PER_SHARD: usize = 64;
