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
use crate::clock::Now;
use crate::limit::category::Category;
use crate::limit::limiter::checked;
use crate::limit::{MemoryRateLimiter, Quota};

/// What the limiters made with a [`RedisConnection`] have in common.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    prefix: Arc<str>,
    processes: NonZeroU32,
    leases: bool,
    on_failure: OnFailure,
    deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prefix: "rate_limit".into(),
            processes: NonZeroU32::MIN,
            leases: false,
            on_failure: OnFailure::default(),
            deadline: RedisRateLimiter::DEFAULT_DEADLINE,
        }
    }
}

/// Settings of the limiters that are made with this clone.
impl RedisConnection {
    /// Sets the prefix of the Redis keys; default `rate_limit`. Limiters with the same prefix, category and windows
    /// count together, in all processes. [`shared_limits`](crate::ApiKeysBuilder::shared_limits) sets its own.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// Sets how many processes share the limits; default 1. Without Redis, each process admits its part: the limit
    /// divided by this number, rounded down, and at least 1. [Leases](Self::with_leases) depend on it, too.
    #[must_use]
    pub fn with_processes(mut self, processes: NonZeroU32) -> Self {
        self.settings.processes = processes;
        self
    }

    /// Lets Redis grant several units at once, which the process then admits by itself for up to a sub-window.
    ///
    /// For limits so high that one call per request is too much. See [leases](RedisRateLimiter#leases). All processes
    /// must use the same setting: those with leases and those without do not count together.
    #[must_use]
    pub fn with_leases(mut self) -> Self {
        self.settings.leases = true;
        self
    }

    /// Sets what to do with requests when Redis does not answer; default [`OnFailure::Local`].
    #[must_use]
    pub fn with_on_failure(mut self, on_failure: OnFailure) -> Self {
        self.settings.on_failure = on_failure;
        self
    }

    /// Sets how long a request may wait for Redis; default [`RedisRateLimiter::DEFAULT_DEADLINE`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }
}

impl RedisRateLimiter {
    /// A limiter for the category named `category`, such as `read`, with 1 to [4](MemoryRateLimiter::MAX_QUOTAS) quotas, all
    /// of which requests must fit, and with the settings of `connection`. An override replaces only the limit of the first.
    ///
    /// `now` comes from the clock that [`check`](Self::check) gets its times from. Redis counts by its own clock; only this
    /// process's own count uses this one.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if there is no quota, or there are more than four.
    pub fn new(
        category: impl Into<Arc<str>>,
        quotas: &[Quota],
        now: Now,
        connection: RedisConnection,
    ) -> Result<Self, InvalidValue> {
        let category = Category::new(category.into(), checked(quotas)?.to_vec());
        let settings = connection.settings.clone();
        // A unit may be used up to a sub-window after it was granted, so it must count that much longer.
        let further = u64::from(settings.leases);
        let rules: Box<[Rule]> = quotas.iter().map(|quota| Rule::new(*quota, further)).collect();
        let sub_windows = || rules.iter().map(Rule::sub_window);
        let longest = quotas.iter().map(|quota| quota.window()).max().unwrap_or_default();
        let lease = settings.leases.then(|| sub_windows().min().unwrap_or_default());
        let recovery_window = longest + sub_windows().max().unwrap_or_default();
        Ok(Self::over(Shared {
            key_prefix: settings.key_prefix(&category),
            local: settings.local(&category, now)?,
            lease,
            recovery_window,
            category: Arc::new(category),
            rules,
            connection,
            scripts: Scripts::new(),
            cache: SubjectCache::new(MemoryRateLimiter::DEFAULT_CAPACITY),
            processes: settings.processes,
            on_failure: settings.on_failure,
            deadline: settings.deadline,
            counts: Default::default(),
        }))
    }
}

impl Settings {
    /// The limiter for this process's own count.
    fn local(&self, category: &Category, now: Now) -> Result<MemoryRateLimiter, InvalidValue> {
        let part = |quota: &Quota| quota.with_limit(part(quota.limit(), self.processes));
        let quotas: Vec<_> = category.quotas.iter().map(part).collect();
        MemoryRateLimiter::new(category.name.clone(), &quotas, now)
    }

    /// The name of a key without the subject.
    ///
    /// The parts of a name are separated by `:`. Only the prefix, which is first, and the subject, which is last, may
    /// contain one. The number is the version of the stored layout.
    fn key_prefix(&self, category: &Category) -> String {
        let mut name = format!("{}:1:", self.prefix);
        for byte in category.name.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(char::from(byte)),
                _ => {
                    let _ = write!(name, "%{byte:02X}");
                }
            }
        }
        let windows: Vec<String> =
            category.quotas.iter().map(|quota| quota.window().as_millis().to_string()).collect();
        let kind = if self.leases { "leased" } else { "strict" };
        let _ = write!(name, ":{kind}:{}:", windows.join(","));
        name
    }
}
