use std::fmt::Write;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::limiter::RedisRateLimiter;
use super::script::{Rule, Scripts};
use super::shared::{Shared, part};
use super::subject_cache::SubjectCache;
use super::{OnFailure, RedisConnection};
use crate::InvalidValue;
use crate::clock::{Clock, Now, SystemClock};
use crate::limit::category::Category;
use crate::limit::limiter::checked;
use crate::limit::{MemoryRateLimiter, Quota};

/// Configures a [`RedisRateLimiter`].
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
    /// Starts a limiter for the category named `category`, such as `read`, with 1 to
    /// [4](MemoryRateLimiter::MAX_QUOTAS) quotas, all of which requests must fit. An override replaces only the limit of the
    /// first.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if there is no quota, or there are more than four.
    pub fn builder(
        category: impl Into<Arc<str>>,
        quotas: &[Quota],
        connection: RedisConnection,
    ) -> Result<RedisRateLimiterBuilder, InvalidValue> {
        Ok(RedisRateLimiterBuilder::new(category.into(), checked(quotas)?.to_vec(), connection))
    }
}

impl RedisRateLimiterBuilder {
    fn new(category: Arc<str>, quotas: Vec<Quota>, connection: RedisConnection) -> Self {
        Self {
            category,
            quotas,
            connection,
            prefix: String::from("rate_limit"),
            processes: NonZeroU32::MIN,
            leases: false,
            on_failure: OnFailure::default(),
            deadline: RedisRateLimiter::DEFAULT_DEADLINE,
        }
    }

    /// Sets the prefix of the Redis keys; default `rate_limit`. Limiters with the same prefix, category and windows
    /// count together, in all processes.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how many processes share the limits; default 1. Without Redis, each process admits its part: the limit
    /// divided by this number, rounded down, and at least 1. [Leases](Self::leases) depend on it, too.
    pub fn processes(mut self, processes: NonZeroU32) -> Self {
        self.processes = processes;
        self
    }

    /// Lets Redis grant several units at once, which the process then admits by itself for up to a sub-window.
    ///
    /// For limits so high that one call per request is too much. See [leases](RedisRateLimiter#leases). All processes
    /// must use the same setting: those with leases and those without do not count together.
    pub fn leases(mut self) -> Self {
        self.leases = true;
        self
    }

    /// Sets what to do with requests when Redis does not answer; default [`OnFailure::Local`].
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sets how long a request may wait for Redis; default [`RedisRateLimiter::DEFAULT_DEADLINE`].
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Builds a limiter for times of [`SystemClock`].
    pub fn build(self) -> RedisRateLimiter {
        self.build_at(SystemClock.now())
    }

    /// Builds a limiter for times of another clock, which `now` comes from; for tests, for instance. Redis counts by
    /// its own clock; only this process's own count uses this one.
    pub fn build_at(self, now: Now) -> RedisRateLimiter {
        // A unit may be used up to a sub-window after it was granted, so it must count that much longer.
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
            cache: SubjectCache::new(MemoryRateLimiter::DEFAULT_CAPACITY),
            processes: self.processes,
            on_failure: self.on_failure,
            deadline: self.deadline,
            counts: Default::default(),
        };
        RedisRateLimiter::new(shared)
    }

    /// The limiter for this process's own count.
    fn local(&self, now: Now) -> MemoryRateLimiter {
        let part = |quota: &Quota| quota.with_limit(part(quota.limit(), self.processes));
        let quotas: Vec<_> = self.quotas.iter().map(part).collect();
        MemoryRateLimiter::new(self.category.clone(), &quotas, now).expect("they are as many as here")
    }

    /// The name of a key without the subject.
    ///
    /// The parts of a name are separated by `:`. Only the prefix, which is first, and the subject, which is last, may
    /// contain one. The number is the version of the stored layout.
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
