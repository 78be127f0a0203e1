use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::RedisConnection;
use super::builder::RedisRateLimiterBuilder;
use super::script::Place;
use super::shared::{Decided, Request, Shared};
use crate::clock::Now;
use crate::rate_limit::category::Category;
use crate::rate_limit::limit::{Charge, Deciding, Limit, Outcome, Receipt, Undecided};
use crate::rate_limit::{Decision, Permit, Quota, Subject};

/// docs later
#[derive(Clone)]
pub struct RedisRateLimiter {
    shared: Arc<Shared>,
}

/// How a [`RedisRateLimiter`] is getting on. Counts are since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStatus {
    /// Whether Redis is asked. If not, the last calls have failed, and one a second finds out whether it is back.
    pub available: bool,
    /// Commands that were sent over the connection, which other limiters may share.
    pub round_trips: u64,
    /// Calls of this limiter that brought no answer, or none in time.
    pub failures: u64,
    /// Requests that this process decided about by itself, as Redis did not answer them or had not answered others
    /// shortly before.
    pub decided_alone: u64,
    /// Requests that were denied without a call, until the instant that Redis had named for an earlier one.
    pub denied_from_memory: u64,
    /// Requests that were admitted without a call, out of a lease.
    pub admitted_from_lease: u64,
}

/// What one admitted request counted. Hand it to [`RedisRateLimiter::refund`] to take that back; dropped, it counts.
#[derive(Debug)]
pub struct RedisPermit {
    pub(super) subject: Subject,
    pub(super) cost: u32,
    pub(super) local: Option<Permit>,
    /// `None` if Redis was not asked.
    pub(super) place: Option<Place>,
}

impl RedisRateLimiter {
    /// How long a request waits for Redis unless set otherwise.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_millis(50);

    /// A limiter for the category named `category`, such as `read`, with its first quota.
    pub fn builder(
        category: impl Into<Arc<str>>,
        quota: Quota,
        connection: RedisConnection,
    ) -> RedisRateLimiterBuilder {
        RedisRateLimiterBuilder::new(category.into(), quota, connection)
    }

    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// The name of the category.
    pub fn category(&self) -> &str {
        &self.shared.category.name
    }

    /// The quotas, in the order they were given.
    pub fn quotas(&self) -> impl ExactSizeIterator<Item = Quota> + '_ {
        self.shared.category.quotas.iter().copied()
    }

    /// The name of the one Redis key that has what counts for `subject`. Deleting that key forgives it.
    pub fn redis_key(&self, subject: &Subject) -> String {
        self.shared.redis_key(subject)
    }

    /// How it is getting on.
    pub fn status(&self) -> RedisStatus {
        let Shared { connection, counts, .. } = &*self.shared;
        RedisStatus {
            available: !connection.breaker().is_open(),
            round_trips: connection.round_trips(),
            failures: counts.failures.load(Ordering::Relaxed),
            decided_alone: counts.decided_alone.load(Ordering::Relaxed),
            denied_from_memory: counts.denied_from_memory.load(Ordering::Relaxed),
            admitted_from_lease: counts.admitted_from_lease.load(Ordering::Relaxed),
        }
    }

    /// Counts a request of `cost` units if it fits, and says what came of it. There is a [`RedisPermit`] if, and only
    /// if, it was admitted.
    ///
    /// `limit_override` and `cost` are those of [`MemoryRateLimiter::check`]. `now` is the time of this process; Redis
    /// counts by its own.
    ///
    /// # Errors
    ///
    /// [`Undecided`] if Redis did not answer, under [`OnFailure::Closed`].
    pub async fn check(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Now,
    ) -> Result<(Decision, Option<RedisPermit>), Undecided> {
        let request = Request { subject, charge: Charge { limit_override, cost, now } };
        match self.shared.check_now(request) {
            Poll::Ready(decided) => decided,
            Poll::Pending => self.shared.ask(request).await,
        }
    }

    /// Takes back what an admitted request counted. Does nothing if it no longer counts, or if Redis does not answer.
    ///
    /// The permit must come from this limiter.
    pub async fn refund(&self, permit: RedisPermit) {
        self.shared.refund(permit).await;
    }
}

impl Shared {
    pub(super) fn redis_key(&self, subject: &Subject) -> String {
        let prefix = &self.key_prefix;
        match subject {
            Subject::Key(id) => format!("{prefix}key={}", id.as_str()),
            Subject::Address(address) => format!("{prefix}address={}", address.ip()),
            // May be of any length, and of any characters.
            Subject::Other(name) => {
                format!("{prefix}other={}", URL_SAFE_NO_PAD.encode(Sha256::digest(name.as_bytes())))
            }
        }
    }
}

impl Limit for RedisRateLimiter {
    fn describe(&self) -> &Arc<Category> {
        &self.shared.category
    }

    fn decide_now(&self, subject: &Subject, charge: Charge) -> Poll<Outcome> {
        self.shared.check_now(Request { subject, charge }).map(outcome)
    }

    fn decide(&self, subject: Subject, charge: Charge) -> Deciding {
        let shared = self.shared.clone();
        Box::pin(async move { outcome(shared.ask(Request { subject: &subject, charge }).await) })
    }

    fn take_back(&self, receipt: Receipt) {
        if let (Receipt::Redis(permit), Ok(runtime)) = (receipt, Handle::try_current()) {
            let shared = self.shared.clone();
            runtime.spawn(async move { shared.refund(*permit).await });
        }
    }
}

fn outcome(decided: Decided) -> Outcome {
    decided.map(|(decision, permit)| (decision, permit.map(|permit| Receipt::Redis(Box::new(permit)))))
}

impl fmt::Debug for RedisRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRateLimiter")
            .field("category", &self.category())
            .field("quotas", &self.quotas().collect::<Vec<_>>())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
