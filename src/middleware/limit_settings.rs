//! The settings of an assembly's limits.

use std::sync::Arc;

use super::ApiKeysBuilder;
#[cfg(feature = "redis")]
use crate::clock::{Clock, SystemClock};
use crate::limit::{Quota, RateLimit, RateLimiter};
#[cfg(feature = "redis")]
use crate::limit::{RedisConcurrency, RedisConnection, RedisRateLimiter};

impl<F> ApiKeysBuilder<F> {
    /// Adds a limit. The limits of a caller are decided together: a request is counted by all that apply to it, or by none.
    /// So are those of an address, before the caller is known.
    pub fn limit(mut self, limit: RateLimit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Replaces all limits by these: those of a preset, say.
    pub fn limits(mut self, limits: impl IntoIterator<Item = RateLimit>) -> Self {
        self.limits = limits.into_iter().collect();
        self
    }

    /// Counts limits with limiters that `make` returns for a category and its quotas: with another
    /// [algorithm](crate::limit::Algorithm), capacity or policy, or such as several processes share.
    pub fn limiters(
        mut self,
        make: impl Fn(&str, &[Quota]) -> Arc<dyn RateLimiter> + Send + Sync + 'static,
    ) -> Self {
        self.limiters = Some(Arc::new(make));
        self
    }

    /// Counts limits in Redis or Valkey, with the settings of `connection`, together with every process that has the same
    /// `prefix` there: one that no other application uses.
    #[cfg(feature = "redis")]
    pub fn shared_limits(mut self, connection: RedisConnection, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        if prefix.is_empty() {
            self.fault(
                "shared_limits",
                "the prefix is empty, so another application may use the same keys in Redis",
            );
        }
        let connection = connection.with_prefix(prefix);
        self.limiters(move |category, quotas| {
            let (now, connection) = (SystemClock.now(), connection.clone());
            if quotas[0].is_concurrent() {
                let limiter = RedisConcurrency::new(category, quotas[0], now, connection);
                return Arc::new(limiter.expect("one quota at a time is not too many"));
            }
            let limiter = RedisRateLimiter::new(category, quotas, now, connection);
            Arc::new(limiter.expect("what a category can't have is a fault"))
        })
    }

    /// Sends the fields `RateLimit-Policy` and `RateLimit` as well (draft-ietf-httpapi-ratelimit-headers-10).
    pub fn ietf_rate_limit_fields(mut self) -> Self {
        self.ietf_fields = true;
        self
    }
}
