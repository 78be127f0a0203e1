use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;

use super::RedisConnection;
use super::script::{Rule, Scripts};
use super::settings::{DEFAULT_DEADLINE, subject_key};
use super::shared::{Decided, Request, Shared};
use super::subject_cache::SubjectCache;
use crate::InvalidValue;
use crate::clock::Now;
use crate::limit::category::Category;
use crate::limit::limit::{Answering, Deciding, DecisionResult, Demand, Limit, Undecided};
use crate::limit::limiter::checked;
use crate::limit::{Decision, MemoryRateLimiter, Permit, Quota, Subject};

/// Limits one category of requests, each subject separately, across processes: Redis or Valkey counts.
///
/// Counts like a [`MemoryRateLimiter`](crate::limit::MemoryRateLimiter) with
/// [`Algorithm::Sliding`](crate::limit::Algorithm::Sliding): never more than the limit in any span as long as the
/// window, for all processes together and regardless of their clocks. Several quotas are counted all or none; a
/// denied request counts nothing. Clones are one limiter.
///
/// ```
/// use tower_api_keys::limit::{OnFailure, RedisConnection};
/// use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, Quota, RateLimit};
///
/// let redis = RedisConnection::open("redis://127.0.0.1:6379/0")?.with_on_failure(OnFailure::Closed);
/// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
///     .header("x-api-key")
///     .shared_limits(redis, "acme")
///     .limit(RateLimit::per_key("read", Quota::per_minute(1_000)?))
///     .route("GET", "/workflows", "workflows:read")
///     .build()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Use of Redis
///
/// One script per request, in one round trip, on the one key that the subject has in this category, so it works in a
/// cluster. The key expires soon after nothing counts any more. Time is the server's. A denied subject is remembered
/// for a second, so that a flood of its requests reaches the server once a second; what another process has
/// [refunded](crate::RateLimit::refund) or [forgotten](crate::ApiKeys::forget) is seen after that.
///
/// Works with Redis 5 and later, and with Valkey. There are as many keys as subjects within a window. Let the server keep
/// all of them (`maxmemory-policy noeviction`): the count of a subject whose key is evicted restarts at zero.
///
/// # A user of its own
///
/// What limiters with the prefix `acme` need, and [`RedisInvalidation`](crate::store::RedisInvalidation), which alone needs
/// the channel and the last three commands (Redis 6.2 or later):
///
/// ```text
#[doc = include_str!("acl.txt")]
/// ```
///
/// With another database than 0 also `+select`, with Sentinels also `+role`. Then the URL is
/// `redis://app:password@host`.
///
/// # Sentinel and Cluster
///
/// The URL `redis+sentinel://app:password@host1,host2,host3/main` follows the master that these Sentinels name `main`:
/// see [`RedisConnection::open`](super::RedisConnection::open). While they choose another one, the limiter does what it
/// does [when Redis does not answer](#when-redis-does-not-answer). A master that is cut off from its replicas counts on
/// alone for those who reach it, unless `min-replicas-to-write 1` is set there.
///
/// For Redis Cluster give [`from_connection`](super::RedisConnection::from_connection) a `ClusterConnection`. Each limit of a
/// request is asked by a call of its own, so they may be on different nodes. While a node is down, subjects on the others
/// are counted there; but after five failures in a row calls are suspended for all.
///
/// # Leases
///
/// With [`leases`](super::RedisConnection::with_leases) one call counts several requests in advance. A lease is
/// the remaining limit divided by twice the number of [processes](super::RedisConnection::with_processes), at most
/// a twentieth of the limit, at least the request itself. The process admits those requests by itself for up to the
/// shortest sub-window (1 second of a minute), and gives back the rest with its next call. Near the limit each
/// request takes a call again.
///
/// The limit still holds: granted units count from the grant on, and for one sub-window longer. The cost is that
/// units expire that much later, and that units leased but unused by one process are missing in others meanwhile.
/// With 10 processes that use up a limit at once, 1000 requests take 710 round trips at a limit of 100, 118 at 1000
/// and 16 at 10 000. Requests that are further apart than a lease lasts take one each, as without leases.
///
/// # When Redis does not answer
///
/// A request waits at most 50 ms ([`deadline`](super::RedisConnection::with_deadline)). After five failures in a
/// row on a connection no request waits: calls are suspended, and one request a second tries whether Redis is back.
/// Nothing needs restarting. Meanwhile the category follows its [setting](super::OnFailure): it counts in this
/// process alone, accepts all requests, or rejects them with 503. A 429 never means that Redis is unavailable.
/// [`status`](Self::status) and [`is_degraded`](Decision::is_degraded) report this state, and with the feature
/// `tracing` there is an event, at most one a second.
///
/// The process always counts the requests it admits, so that its count does not restart at zero when Redis fails. For
/// one window after a failure a request has to fit both that count and the count of Redis. Hence, within one window
/// in which Redis fails:
///
/// | | admitted, at most |
/// |---|---|
/// | [`Closed`](super::OnFailure::Closed), Redis keeps its data | the limit |
/// | [`Local`](super::OnFailure::Local), one process | the limit, also if Redis loses its data |
/// | [`Local`](super::OnFailure::Local), n processes | the requests Redis had admitted, and the [part](super::RedisConnection::with_processes) of each process |
/// | [`Open`](super::OnFailure::Open) | all requests |
///
/// With `appendonly yes` Redis keeps its data on a restart, and with `appendfsync always` also if it is killed or its
/// machine fails. With `everysec`, the default, it answers before it writes while the disk is busy, and a crash may lose
/// what it has counted in the last seconds. A fail-over keeps what the replica has received: replication is not
/// waited for, so it may lose the last requests before it. A server that restarts empty, `FLUSHALL` and eviction lose
/// everything: the counts restart at zero, and processes that saw the failure are limited to their parts for a window.
/// `SCRIPT FLUSH` loses nothing.
///
/// A call that timed out, or whose connection broke, may still be counted by Redis; that errs on the strict side.
///
/// A server whose clock is set back continues to count time from where it was: no subject is admitted or denied for
/// longer than a window. A clock that is set forward makes counts expire that much sooner; keep the clocks of servers
/// that replace each other synchronized.
#[derive(Clone)]
pub struct RedisRateLimiter {
    shared: Arc<Shared>,
}

/// The state of a [`RedisRateLimiter`]. Counts start when it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStatus {
    /// Whether Redis is called. If not, the last calls have failed, and one call a second tests whether it is back.
    pub available: bool,
    /// Commands sent over the connection, including those of other limiters that share it.
    pub round_trips: u64,
    /// Calls of this limiter without a reply in time.
    pub failures: u64,
    /// Requests that this process decided by itself, because this call or recent ones had no reply.
    pub decided_alone: u64,
    /// Requests that were denied without a call, for at most a second after Redis had denied an earlier one.
    pub denied_from_memory: u64,
    /// Requests that were admitted without a call, from a lease.
    pub admitted_from_lease: u64,
}

impl RedisRateLimiter {
    /// How long a request waits for Redis by default.
    pub const DEFAULT_DEADLINE: Duration = DEFAULT_DEADLINE;

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
        if !quotas[0].is_window() {
            return Err(InvalidValue::new(
                "quota",
                "requests at a time are shared by `ApiKeysBuilder::shared_limits`",
            ));
        }
        let settings = connection.settings.clone();
        // A unit may be used up to a sub-window after it was granted, so it must count that much longer.
        let further = u64::from(settings.leases);
        let rules: Box<[Rule]> = quotas.iter().map(|quota| Rule::new(*quota, further)).collect();
        let sub_windows = || rules.iter().map(Rule::sub_window);
        let longest = quotas.iter().map(|quota| quota.window()).max().unwrap_or_default();
        let lease = settings.leases.then(|| sub_windows().min().unwrap_or_default());
        let recovery_window = longest + sub_windows().max().unwrap_or_default();
        let shared = Shared {
            key_prefix: settings.key_prefix(&category),
            local: settings.local(&category, now)?,
            lease,
            recovery_window,
            category: Arc::new(category),
            rules,
            connection,
            scripts: Scripts::new(),
            cache: SubjectCache::new(MemoryRateLimiter::DEFAULT_CAPACITY),
            owed: Default::default(),
            processes: settings.processes,
            on_failure: settings.on_failure,
            deadline: settings.deadline,
            counts: Default::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The name of the category.
    pub fn category(&self) -> &str {
        &self.shared.category.name
    }

    /// The quotas, in the order they were added.
    pub fn quotas(&self) -> impl ExactSizeIterator<Item = Quota> + '_ {
        self.shared.category.quotas.iter().copied()
    }

    /// The name of the Redis key that holds the count of `subject`. Deleting that key resets the count.
    pub fn redis_key(&self, subject: &Subject) -> String {
        subject_key(&self.shared.key_prefix, subject)
    }

    /// The current state and counts.
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

    /// Counts a request of `cost` units if it fits, and returns the decision. There is a [`Permit`] only if the
    /// request was admitted.
    ///
    /// `limit_override` and `cost` are those of [`MemoryRateLimiter::check`](crate::limit::MemoryRateLimiter::check).
    /// `now` is the time of this process; Redis counts by its own clock.
    ///
    /// # Errors
    ///
    /// [`Undecided`] if Redis does not answer, with [`OnFailure::Closed`](super::OnFailure::Closed).
    pub async fn check(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Now,
    ) -> Result<(Decision, Option<Permit>), Undecided> {
        let request = Request { subject, demand: Demand { limit_override, cost, now, refundable: true } };
        match self.shared.check_now(request) {
            Poll::Ready(decided) => decided,
            Poll::Pending => self.shared.ask(request).await,
        }
    }

    /// Takes back the cost of an admitted request. Does nothing if it no longer counts, or if Redis does not answer.
    ///
    /// The permit must come from this limiter.
    pub async fn refund(&self, permit: Permit) {
        self.shared.refund(permit).await;
    }
}

impl Limit for RedisRateLimiter {
    fn describe(&self) -> &Arc<Category> {
        &self.shared.category
    }

    fn decide(&self, subject: &Subject, demand: Demand) -> Deciding {
        match self.shared.check_now(Request { subject, demand }) {
            Poll::Ready(decided) => Deciding::Ready(outcome(decided, demand)),
            Poll::Pending => {
                let (shared, subject) = (self.shared.clone(), subject.clone());
                Deciding::Pending(Box::pin(async move {
                    outcome(shared.ask(Request { subject: &subject, demand }).await, demand)
                }))
            }
        }
    }

    fn take_back(&self, permit: Box<Permit>) {
        if let Ok(runtime) = Handle::try_current() {
            let shared = self.shared.clone();
            runtime.spawn(async move { shared.refund(*permit).await });
        }
    }

    fn record(&self, subject: &Subject, cost: u32, now: Now) {
        self.shared.record(subject, cost, now);
    }

    fn look(&self, subject: &Subject, limit_override: Option<NonZeroU32>, now: Now) -> Answering<Decision> {
        let (shared, subject) = (self.shared.clone(), subject.clone());
        let demand = Demand { limit_override, cost: 0, now, refundable: false };
        Box::pin(async move { shared.look(Request { subject: &subject, demand }).await })
    }

    fn forget(&self, subject: &Subject) -> Answering<()> {
        let (shared, subject) = (self.shared.clone(), subject.clone());
        Box::pin(async move { shared.forget(&subject).await })
    }

    fn engine(&self) -> &'static str {
        "redis"
    }

    fn fails_open(&self) -> bool {
        self.shared.on_failure == super::OnFailure::Open
    }

    fn is_degraded(&self) -> bool {
        self.shared.connection.breaker().is_open()
    }

    fn tracked(&self) -> usize {
        self.shared.local.subject_count()
    }
}

fn outcome(decided: Decided, demand: Demand) -> DecisionResult {
    decided.map(|(decision, permit)| {
        let permit = permit.filter(|_| demand.refundable);
        (decision, permit.map(Box::new))
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
