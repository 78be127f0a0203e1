//! Decides a request: from the local cache, by Redis, or without it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use redis::Value;
use tokio::time::timeout_at;

use super::connection::{Call, CallError};
use super::owed::Owed;
use super::script::{Answer, Place, Rule, Rules, Scripts, Text};
use super::settings::{part, subject_key};
use super::subject_cache::{Denial, Lease, SubjectCache};
use super::{OnFailure, RedisConnection};
use crate::clock::nanos;
use crate::limit::category::Category;
use crate::limit::limit::{Demand, Undecided};
use crate::limit::{Decision, MemoryRateLimiter, Permit, Subject, Verdict};
use crate::log::{self, OncePerSecond};

pub(super) struct Shared {
    pub(super) category: Arc<Category>,
    pub(super) rules: Box<[Rule]>,
    pub(super) key_prefix: String,
    pub(super) connection: RedisConnection,
    pub(super) scripts: Scripts,
    /// Counts the requests that this process admits, however they were decided.
    pub(super) local: MemoryRateLimiter,
    pub(super) cache: SubjectCache,
    pub(super) owed: Owed,
    pub(super) processes: NonZeroU32,
    /// The duration of a lease, if leases are enabled.
    pub(super) lease: Option<Duration>,
    /// How long after a failure the local count also applies.
    pub(super) recovery_window: Duration,
    pub(super) on_failure: OnFailure,
    pub(super) deadline: Duration,
    pub(super) counts: Counts,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) failures: AtomicU64,
    pub(super) decided_alone: AtomicU64,
    pub(super) denied_from_memory: AtomicU64,
    pub(super) admitted_from_lease: AtomicU64,
    line: OncePerSecond,
}

/// The request to decide.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) subject: &'a Subject,
    pub(super) demand: Demand,
}

pub(super) type Decided = Result<(Decision, Option<Permit>), Undecided>;

/// The decision of Redis, now or earlier; there is a place if it counted the request.
type RedisOutcome = Result<(Decision, Option<Place>), CallError>;

impl Shared {
    /// The decision, if it needs no call to Redis.
    pub(super) fn check_now(&self, request: Request<'_>) -> Poll<Decided> {
        if let Some(never) = self.never_fits(request) {
            return Poll::Ready(Ok((never, None)));
        }
        let now = Instant::now();
        if let Some(decided) = self.without_asking(request, now) {
            return Poll::Ready(Ok(decided));
        }
        if self.connection.breaker().could_admit(now) {
            return Poll::Pending;
        }
        Poll::Ready(self.alone(request))
    }

    /// Asks Redis, and decides without it if there is no reply.
    pub(super) async fn ask(&self, request: Request<'_>) -> Decided {
        let local = match self.count_here(request, Instant::now()) {
            Ok(local) => local,
            Err(denied) => {
                self.probe(request).await;
                return Ok((denied, None));
            }
        };
        let deadline = Instant::now() + self.deadline;
        let asked = match self.lease {
            None => self.ask_for_one(request, deadline).await,
            Some(duration) => self.ask_for_lease(request, duration, deadline).await,
        };
        match asked {
            Ok((decision, Some(place))) => Ok((decision, Some(local.with_place(place)))),
            Ok((decision, None)) => {
                self.local.refund(local);
                Ok((decision, None))
            }
            Err(error) => {
                self.note(&error);
                self.local.refund(local);
                self.alone(request)
            }
        }
    }

    /// Tests whether Redis is back when all requests are denied here, so that no other call would. Counts nothing.
    async fn probe(&self, Request { subject, demand }: Request<'_>) {
        if self.connection.breaker().is_open() {
            let nothing = Request { subject, demand: Demand { cost: 0, ..demand } };
            let deadline = Instant::now() + self.deadline;
            if let Err(error) = self.decide_by(&self.scripts.strict, nothing, vec![0], deadline).await {
                self.note(&error);
            }
        }
    }

    /// Without leases: one call for one request.
    async fn ask_for_one(&self, request: Request<'_>, deadline: Instant) -> RedisOutcome {
        let started = Instant::now();
        let answer =
            self.decide_by(&self.scripts.strict, request, vec![request.demand.cost.into()], deadline).await?;
        Ok(self.learn(request, &answer, started))
    }

    /// One call for this request and for some of those that follow.
    async fn ask_for_lease(
        &self,
        request: Request<'_>,
        duration: Duration,
        deadline: Instant,
    ) -> RedisOutcome {
        // One call at a time per subject: its lease may serve the requests that wait.
        let turn = self.cache.turn(request.subject, Instant::now());
        let _turn = timeout_at(deadline.into(), turn.lock()).await.map_err(|_| CallError::Late)?;
        let started = Instant::now();
        let Request { subject, demand: Demand { limit_override, cost, .. } } = request;
        if let Some((decision, place)) = self.cache.use_lease(subject, limit_override, cost, started) {
            self.counts.admitted_from_lease.fetch_add(1, Ordering::Relaxed);
            return Ok((decision, Some(place)));
        }
        if let Some(decision) = self.cache.denial(subject, limit_override, cost, started) {
            self.counts.denied_from_memory.fetch_add(1, Ordering::Relaxed);
            return Ok((decision, None));
        }
        let divisor = u64::from(self.processes.get()) * 2;
        let mut arguments = vec![cost.into(), divisor];
        match self.cache.take_lease(subject) {
            Some(Lease { units, place, .. }) => {
                arguments.extend([units.into(), place.born]);
                arguments.extend(&place.ticks[..self.rules.len()]);
            }
            None => arguments.extend(std::iter::repeat_n(0, 2 + self.rules.len())),
        }
        let answer = self.decide_by(&self.scripts.lease, request, arguments, deadline).await?;
        let (mut decision, place) = self.learn(request, &answer, started);
        if let Some(units) =
            answer.granted.map(|granted| granted.saturating_sub(cost)).filter(|units| *units > 0)
        {
            let lease = Lease {
                until: started + duration,
                limit_override,
                units,
                place: answer.place,
                decision,
                resets_at: started + decision.reset(),
            };
            self.cache.put_lease(subject, lease, started);
            decision.remaining = decision.remaining.saturating_add(units);
        }
        Ok((decision, place))
    }

    /// Remembers a denial for a second, or until the instant it reports.
    fn learn(
        &self,
        Request { subject, demand: Demand { limit_override, cost, .. } }: Request<'_>,
        answer: &Answer,
        started: Instant,
    ) -> (Decision, Option<Place>) {
        let decision = answer.decision;
        if answer.granted.is_some() {
            return (decision, Some(answer.place));
        }
        // Starts before the call, so it never ends too late; soon enough to see what another process has taken back.
        let resets_at = started + decision.reset();
        let until = resets_at.min(started + LONGEST_DENIAL);
        let denial = Denial { until, resets_at, limit_override, cost, decision };
        self.cache.deny(subject, denial, started);
        (decision, None)
    }

    /// The decision by a denial that still holds, or by a lease.
    fn without_asking(&self, request: Request<'_>, now: Instant) -> Option<(Decision, Option<Permit>)> {
        let Request { subject, demand: Demand { limit_override, cost, .. } } = request;
        if let Some(decision) = self.cache.denial(subject, limit_override, cost, now) {
            self.counts.denied_from_memory.fetch_add(1, Ordering::Relaxed);
            return Some((decision, None));
        }
        self.lease?;
        let (decision, place) = self.cache.use_lease(subject, limit_override, cost, now)?;
        let local = match self.count_here(request, now) {
            Ok(local) => local,
            Err(denied) => {
                self.cache.return_to_lease(subject, &place, cost, now);
                return Some((denied, None));
            }
        };
        self.counts.admitted_from_lease.fetch_add(1, Ordering::Relaxed);
        Some((decision, Some(local.with_place(place))))
    }

    /// The decision for a request that Redis was not asked about, or did not answer.
    fn alone(&self, request: Request<'_>) -> Decided {
        self.counts.decided_alone.fetch_add(1, Ordering::Relaxed);
        if self.on_failure == OnFailure::Closed {
            return Err(Undecided);
        }
        let (decision, local) = self.decide_here(request);
        if self.on_failure == OnFailure::Local {
            return Ok((decision, local));
        }
        let local = local.unwrap_or_else(|| self.record_here(request));
        Ok((Decision { verdict: Verdict::Admitted, ..decision }, Some(local)))
    }

    /// Adds a request that Redis will decide to this process's count. For a while after a failure this count may deny
    /// it.
    fn count_here(&self, request: Request<'_>, now: Instant) -> Result<Permit, Decision> {
        if !self.is_recovering(now) {
            return Ok(self.record_here(request));
        }
        match self.decide_here(request) {
            (_, Some(permit)) => Ok(permit),
            (denied, None) => {
                self.counts.decided_alone.fetch_add(1, Ordering::Relaxed);
                Err(denied)
            }
        }
    }

    fn record_here(&self, Request { subject, demand }: Request<'_>) -> Permit {
        self.local.record(subject, demand.cost, demand.now)
    }

    fn decide_here(&self, Request { subject, demand }: Request<'_>) -> (Decision, Option<Permit>) {
        let Demand { limit_override, cost, now, .. } = demand;
        let (mut decision, permit) = self.local.check(subject, self.own_part(limit_override), cost, now);
        if decision.verdict == Verdict::NeverFits {
            // Only this process's part is used up; Redis may have room for it.
            decision.verdict = Verdict::Denied;
            decision.reset = nanos(self.recovery_window);
        }
        (Decision { degraded: true, ..decision }, permit)
    }

    /// Whether Redis may have lost, or never received, counts that still apply.
    fn is_recovering(&self, now: Instant) -> bool {
        self.connection.breaker().failed_within(self.recovery_window, now)
    }

    fn own_part(&self, limit_override: Option<NonZeroU32>) -> Option<NonZeroU32> {
        limit_override.map(|limit| part(limit, self.processes))
    }

    fn never_fits(&self, Request { subject, demand }: Request<'_>) -> Option<Decision> {
        let Demand { limit_override, cost, now, .. } = demand;
        let rules = Rules { rules: &self.rules, limit_override };
        let quota = rules.quotas().find(|quota| cost > quota.limit().get())?;
        // Without asking Redis, so only as far as this process knows.
        let here = self.local.peek(subject, self.own_part(limit_override), 0, now);
        let used = here.limit().saturating_sub(here.remaining());
        let remaining = quota.limit().get().saturating_sub(used);
        Some(Decision { verdict: Verdict::NeverFits, quota, remaining, ..here })
    }

    /// Takes back the cost of an admitted request.
    pub(super) async fn refund(&self, permit: Permit) {
        let (subject, cost, place) = (permit.subject.clone(), permit.cost, permit.place);
        self.local.refund(permit);
        let Some(place) = place.filter(|_| cost > 0) else { return };
        let started = Instant::now();
        if self.lease.is_some() && self.cache.return_to_lease(&subject, &place, cost, started) {
            return;
        }
        let mut arguments = vec![cost.into(), place.born];
        arguments.extend(&place.ticks[..self.rules.len()]);
        Rules { rules: &self.rules, limit_override: None }.add_to(&mut arguments);
        let deadline = started + self.deadline;
        match self.call(&self.scripts.refund, &subject, &arguments, |_| Some(()), deadline).await {
            Ok(()) => self.cache.forget_denial(&subject),
            Err(error) => self.note(&error),
        }
    }

    /// What is left, with nothing counted.
    pub(super) async fn look(&self, request: Request<'_>) -> Result<Decision, Undecided> {
        let deadline = Instant::now() + self.deadline;
        match self.decide_by(&self.scripts.strict, request, vec![request.demand.cost.into()], deadline).await
        {
            Ok(answer) => Ok(answer.decision),
            Err(error) => {
                self.note(&error);
                if self.on_failure == OnFailure::Closed {
                    return Err(Undecided);
                }
                let Demand { limit_override, cost, now, .. } = request.demand;
                let decision = self.local.peek(request.subject, self.own_part(limit_override), cost, now);
                Ok(Decision { degraded: true, ..decision })
            }
        }
    }

    /// Counts nothing of what was counted for `subject`, here and in Redis.
    pub(super) async fn forget(&self, subject: &Subject) -> Result<(), Undecided> {
        self.local.forget(subject);
        let deadline = Instant::now() + self.deadline;
        let forgotten = self.call(&self.scripts.forget, subject, &[], |_| Some(()), deadline).await;
        self.cache.take_lease(subject);
        self.cache.forget_denial(subject);
        forgotten.map_err(|error| {
            self.note(&error);
            Undecided
        })
    }

    async fn decide_by(
        &self,
        script: &Text,
        Request { subject, demand }: Request<'_>,
        mut arguments: Vec<u64>,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let rules = Rules { rules: &self.rules, limit_override: demand.limit_override };
        rules.add_to(&mut arguments);
        self.call(script, subject, &arguments, |answer| rules.parse(answer), deadline).await
    }

    pub(super) async fn call<T>(
        &self,
        script: &Text,
        subject: &Subject,
        arguments: &[u64],
        parse: impl FnOnce(Value) -> Option<T>,
        deadline: Instant,
    ) -> Result<T, CallError> {
        let key = subject_key(&self.key_prefix, subject);
        let call = Call { script: &script.script, text: script.text, key: &key, arguments };
        self.connection.call(&call, parse, deadline).await
    }

    /// Counts a failure, and logs it at most once a second.
    pub(super) fn note(&self, error: &CallError) {
        if !matches!(error, CallError::Suspended) {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(suppressed) = self.counts.line.admit(self.connection.breaker().nanos(Instant::now())) {
            let decided_alone = self.counts.decided_alone.load(Ordering::Relaxed);
            log::redis_failed(
                &self.category.name,
                error,
                self.on_failure.as_str(),
                decided_alone,
                suppressed,
            );
        }
    }
}

/// How long a denial is repeated without asking Redis.
const LONGEST_DENIAL: Duration = Duration::from_secs(1);
