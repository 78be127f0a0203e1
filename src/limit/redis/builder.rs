use std::fmt::Write;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::known::Known;
use super::limiter::RedisRateLimiter;
use super::script::{Rule, Scripts};
use super::shared::{Shared, part};
use super::{OnFailure, RedisConnection};
use crate::clock::{Clock, Now, SystemClock};
use crate::limit::category::Category;
use crate::limit::{MemoryRateLimiter, Quota, TooManyQuotas};

/// Sets up a [`RedisRateLimiter`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisRateLimiterBuilder {
    category: Arc<str>,
    quotas: Vec<Quota>,
    connection: RedisConnection,
    prefix: String,
    processes: NonZeroU32,
    leases: bool,
    on_failure: OnFailure,
    deadline: Duration,
}

impl RedisRateLimiter {
    /// A limiter for the category named `category`, such as `read`, with its first quota.
    pub fn builder(
        category: impl Into<Arc<str>>,
        quota: Quota,
        connection: RedisConnection,
    ) -> RedisRateLimiterBuilder {
        RedisRateLimiterBuilder::new(category.into(), quota, connection)
    }
}

impl RedisRateLimiterBuilder {
    fn new(category: Arc<str>, quota: Quota, connection: RedisConnection) -> Self {
        Self {
            category,
            quotas: vec![quota],
            connection,
            prefix: String::from("rate_limit"),
            processes: NonZeroU32::MIN,
            leases: false,
            on_failure: OnFailure::default(),
            deadline: RedisRateLimiter::DEFAULT_DEADLINE,
        }
    }

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

    /// What the names of the Redis keys begin with; `rate_limit` unless set. Limiters with the same prefix, category
    /// and windows count together, in whatever process they are.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How many processes share the limits; 1 unless set. Without Redis, each then admits its part: the limit divided
    /// by this, rounded down, and at least 1. [Leases](Self::leases) are sized by it, too.
    pub fn processes(mut self, processes: NonZeroU32) -> Self {
        self.processes = processes;
        self
    }

    /// Lets Redis grant several units at once, which the process then admits by itself for up to a sub-window.
    ///
    /// For limits so high that asking for each request is too much. See [leases](RedisRateLimiter#leases). All
    /// processes have to choose alike: those with leases and those without do not count together.
    pub fn leases(mut self) -> Self {
        self.leases = true;
        self
    }

    /// What to do with requests when Redis does not answer; [`OnFailure::Local`] unless set.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// How long a request may wait for Redis, [`RedisRateLimiter::DEFAULT_DEADLINE`] unless set.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// A limiter for times of [`SystemClock`].
    pub fn build(self) -> RedisRateLimiter {
        self.build_at(SystemClock.now())
    }

    /// A limiter for times of the clock that `now` is from; a test's own, say. What Redis counts, it counts by its own
    /// clock; only what is counted beside it, in this process, follows this one.
    pub fn build_at(self, now: Now) -> RedisRateLimiter {
        // A unit may be used up to a sub-window after it was granted, so it has to count for that much longer.
        let further = u64::from(self.leases);
        let rules: Box<[Rule]> = self.quotas.iter().map(|quota| Rule::new(*quota, further)).collect();
        let sub_windows = || rules.iter().map(Rule::sub_window);
        let longest = self.quotas.iter().map(|quota| quota.window()).max().unwrap_or_default();
        let lease = self.leases.then(|| sub_windows().min().unwrap_or_default());
        let recovery_window = longest + sub_windows().max().unwrap_or_default();
        let shared = Shared {
            key_prefix: self.key_prefix(),
            local: self.local(now),
            lease,
            recovery_window,
            category: Arc::new(Category::new(self.category, self.quotas)),
            rules,
            connection: self.connection,
            scripts: Scripts::new(),
            known: Known::new(MemoryRateLimiter::DEFAULT_CAPACITY),
            processes: self.processes,
            on_failure: self.on_failure,
            deadline: self.deadline,
            counts: Default::default(),
        };
        RedisRateLimiter::new(shared)
    }

    /// What counts this process's own requests.
    fn local(&self, now: Now) -> MemoryRateLimiter {
        let part = |quota: &Quota| quota.with_limit(part(quota.limit(), self.processes));
        let (first, others) = self.quotas.split_first().expect("the builder starts with one quota");
        let mut builder = MemoryRateLimiter::builder(self.category.clone(), part(first));
        for quota in others {
            builder = builder.quota(part(quota)).expect("there are no more than here");
        }
        builder.build_at(now)
    }

    /// All of a key's name but the subject.
    ///
    /// A name has one `:` between its parts and none inside them, the prefix apart, which comes first, and the
    /// subject, which comes last. The number is that of the layout of what is stored.
    fn key_prefix(&self) -> String {
        let mut name = format!("{}:1:", self.prefix);
        for byte in self.category.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(char::from(byte)),
                _ => {
                    let _ = write!(name, "%{byte:02X}");
                }
            }
        }
        let windows: Vec<String> =
            self.quotas.iter().map(|quota| quota.window().as_millis().to_string()).collect();
        let kind = if self.leases { "leased" } else { "strict" };
        let _ = write!(name, ":{kind}:{}:", windows.join(","));
        name
    }
}
