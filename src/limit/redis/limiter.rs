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

use super::permit::RedisPermit;
use super::shared::{Decided, Request, Shared};
use crate::clock::Now;
use crate::limit::category::Category;
use crate::limit::limit::{Charge, Deciding, Limit, Outcome, Receipt, Undecided};
use crate::limit::{Decision, Quota, Subject};

/// Limits one category of requests, for each subject on its own, in all processes together: Redis or Valkey counts.
///
/// Counts as a [`MemoryRateLimiter`](crate::limit::MemoryRateLimiter) does by
/// [`Algorithm::Sliding`](crate::limit::Algorithm::Sliding): never more than the limit in any span as long as the
/// window, whichever processes are asked, and whatever their clocks say. Several quotas are counted all or none; a
/// denied request counts nothing. Clones are one limiter.
///
/// ```
/// use tower_api_keys::limit::{OnFailure, RedisConnection, RedisRateLimiter};
/// use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, Quota, RateLimit};
///
/// let redis = RedisConnection::open("redis://127.0.0.1:6379/0")?;
/// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
///     .header("x-api-key")
///     .shared_limits(redis.clone(), "acme")
///     .limit(RateLimit::per_key("read", Quota::per_minute(1_000)?))
///     .route("GET", "/workflows", "workflows:read")
///     .build()?;
///
/// // Or with settings of one's own, passed to `limiters`:
/// let limiter = RedisRateLimiter::builder("run", Quota::per_hour(50)?, redis).on_failure(OnFailure::Closed).build();
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # What it asks of Redis
///
/// One script for a request, in one round trip, on the one key that the subject has in this category: a cluster takes
/// it. The key expires soon after nothing counts any more. Time is the server's. A denied subject is remembered until
/// the instant that was named for it, so that a flood of its requests reaches no server; a
/// [refund](crate::RateLimit::refund) in another process is not seen until then.
///
/// Works with Redis 5 and later, and with Valkey. Needs `EVAL`, `EVALSHA`, and in the script `TIME`, `GET`, `SET` and
/// `DEL`, on keys that begin with the [prefix](super::RedisRateLimiterBuilder::prefix). The number of keys is that of the
/// subjects within a window; let the server keep all of them (`maxmemory-policy noeviction`), as a key that it drops is
/// a subject that begins anew.
///
/// # Leases
///
/// [`leases`](super::RedisRateLimiterBuilder::leases) lets one call count several requests in advance: of what
/// remains, one part in twice the number of [processes](super::RedisRateLimiterBuilder::processes), at most a twentieth of the
/// limit, at least the request itself. The process admits those by itself for up to the shortest sub-window (1 second of
/// a minute), and gives back what is left with its next call. Near the limit that is one call a request again.
///
/// The limit holds as ever, since what is granted counts from then on, and for one sub-window longer. In exchange, room
/// may come back that much later, and what a process has leased and does not use is missing elsewhere meanwhile. With 10
/// processes that use up a limit at once, 1000 requests take 710 round trips at a limit of 100, 118 at 1000 and 16 at
/// 10 000. Requests that come further apart than a lease lasts take one each, as without leases.
///
/// # When Redis does not answer
///
/// A request waits 50 ms at most ([`deadline`](super::RedisRateLimiterBuilder::deadline)). After five failures in a row on a
/// connection nobody waits: calls are suspended, and one request a second tries whether Redis is back. Nothing needs
/// restarting. Meanwhile the category does as it is [told](super::OnFailure): counts in this process alone, lets pass, or
/// refuses with 503. A 429 never means that Redis is away. [`status`](Self::status) tells, a decision
/// [says so](Decision::is_degraded), and with the feature `tracing` there is an event, at most one a second.
///
/// The process counts what it admits all the time, so that it does not begin with nothing when Redis fails; and for one
/// window after a failure a request has to fit that count as well as Redis'. Hence, within one window in which Redis
/// fails:
///
/// | | admitted, at most |
/// |---|---|
/// | [`Closed`](super::OnFailure::Closed), Redis keeps its data | the limit |
/// | [`Local`](super::OnFailure::Local), one process | the limit, also if Redis loses its data |
/// | [`Local`](super::OnFailure::Local), n processes | what Redis had admitted, and the [part](super::RedisRateLimiterBuilder::processes) of each process |
/// | [`Open`](super::OnFailure::Open) | anything |
///
/// What keeps its data: a server that restarts with `appendonly yes` (with `appendfsync always` also if the machine
/// fails), and a replica that had received everything when it took over. Replication is not waited for, so a fail-over
/// may forget the last requests before it. A server that restarts empty, `FLUSHALL` and eviction forget everything:
/// processes that did not fail on it begin anew, and those that did are held to their parts for a window. `SCRIPT FLUSH`
/// loses nothing.
///
/// A call that was given up may still be counted by Redis, and a request that died with its connection may have been;
/// that errs on the strict side.
///
/// A server whose clock is set back goes on counting time from where it was: nobody is let in or kept out for longer
/// than a window. Set forward, it lets expire that much sooner; keep the clocks of servers that replace each other
/// together.
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

impl RedisRateLimiter {
    /// How long a request waits for Redis unless set otherwise.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_millis(50);

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
    /// `limit_override` and `cost` are those of [`MemoryRateLimiter::check`](crate::limit::MemoryRateLimiter::check). `now` is the time of this process; Redis
    /// counts by its own.
    ///
    /// # Errors
    ///
    /// [`Undecided`] if Redis did not answer, under [`OnFailure::Closed`](super::OnFailure::Closed).
    pub async fn check(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Now,
    ) -> Result<(Decision, Option<RedisPermit>), Undecided> {
        let request = Request { subject, charge: Charge { limit_override, cost, now, refundable: true } };
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

    fn decide(&self, subject: &Subject, charge: Charge) -> Deciding {
        match self.shared.check_now(Request { subject, charge }) {
            Poll::Ready(decided) => Deciding::Ready(outcome(decided, charge)),
            Poll::Pending => {
                let (shared, subject) = (self.shared.clone(), subject.clone());
                Deciding::Pending(Box::pin(async move {
                    outcome(shared.ask(Request { subject: &subject, charge }).await, charge)
                }))
            }
        }
    }

    fn take_back(&self, receipt: Receipt) {
        if let (Receipt::Redis(permit), Ok(runtime)) = (receipt, Handle::try_current()) {
            let shared = self.shared.clone();
            runtime.spawn(async move { shared.refund(*permit).await });
        }
    }
}

fn outcome(decided: Decided, charge: Charge) -> Outcome {
    decided.map(|(decision, permit)| {
        let permit = permit.filter(|_| charge.refundable);
        (decision, permit.map(|permit| Receipt::Redis(Box::new(permit))))
    })
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
