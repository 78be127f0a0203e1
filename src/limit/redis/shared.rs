//! How a request is decided: from what this process knows, by Redis, or without it.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use redis::Value;
use tokio::time::timeout_at;

use super::connection::{Call, CallError};
use super::known::{Denial, Known, Lease};
use super::permit::RedisPermit;
use super::script::{Answer, Place, Rule, Rules, Scripts, Text};
use super::{OnFailure, RedisConnection};
use crate::clock::nanos;
use crate::limit::category::Category;
use crate::limit::limit::{Charge, Undecided};
use crate::limit::{Decision, MemoryRateLimiter, Permit, Subject, Verdict};
use crate::log;

pub(super) struct Shared {
    pub(super) category: Arc<Category>,
    pub(super) rules: Box<[Rule]>,
    pub(super) key_prefix: String,
    pub(super) connection: RedisConnection,
    pub(super) scripts: Scripts,
    /// Counts what this process admits, whoever decided it.
    pub(super) local: MemoryRateLimiter,
    pub(super) known: Known,
    pub(super) processes: NonZeroU32,
    /// How long a lease lasts, if there are any.
    pub(super) lease: Option<Duration>,
    /// For how long after a failure the local count binds, too.
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
    last_log: Mutex<Option<Instant>>,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) subject: &'a Subject,
    pub(super) charge: Charge,
}

pub(super) type Decided = Result<(Decision, Option<RedisPermit>), Undecided>;

/// What Redis says, or said: there is a place if it counted the request.
type Asked = Result<(Decision, Option<Place>), CallError>;

impl Request<'_> {
    fn permit(self, local: Option<Permit>, place: Option<Place>) -> RedisPermit {
        RedisPermit { subject: self.subject.clone(), cost: self.charge.cost, local, place }
    }
}

impl Shared {
    /// What can be said without waiting.
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

    /// Asks Redis, and does without if there is no answer.
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
            Ok((decision, Some(place))) => Ok((decision, Some(request.permit(local, Some(place))))),
            Ok((decision, None)) => {
                self.forget_here(local);
                Ok((decision, None))
            }
            Err(error) => {
                self.note(&error);
                self.forget_here(local);
                self.alone(request)
            }
        }
    }

    /// Finds out whether Redis is back where nobody else does, as all requests are denied here. Counts nothing.
    async fn probe(&self, Request { subject, charge }: Request<'_>) {
        if self.connection.breaker().is_open() {
            let nothing = Request { subject, charge: Charge { cost: 0, ..charge } };
            let deadline = Instant::now() + self.deadline;
            if let Err(error) = self.decide_by(&self.scripts.strict, nothing, vec![0], deadline).await {
                self.note(&error);
            }
        }
    }

    /// Strict: one call, one request.
    async fn ask_for_one(&self, request: Request<'_>, deadline: Instant) -> Asked {
        let started = Instant::now();
        let answer =
            self.decide_by(&self.scripts.strict, request, vec![request.charge.cost.into()], deadline).await?;
        Ok(self.learn(request, &answer, started))
    }

    /// One call for this request and for some of those that follow.
    async fn ask_for_lease(&self, request: Request<'_>, duration: Duration, deadline: Instant) -> Asked {
        // One at a time for a subject: what the first brings may do for those who wait.
        let turn = self.known.turn(request.subject, Instant::now());
        let _turn = timeout_at(deadline.into(), turn.lock()).await.map_err(|_| CallError::Late)?;
        let started = Instant::now();
        let Request { subject, charge: Charge { limit_override, cost, .. } } = request;
        if let Some((decision, place)) = self.known.use_lease(subject, limit_override, cost, started) {
            self.counts.admitted_from_lease.fetch_add(1, Ordering::Relaxed);
            return Ok((decision, Some(place)));
        }
        if let Some(decision) = self.known.denial(subject, limit_override, cost, started) {
            self.counts.denied_from_memory.fetch_add(1, Ordering::Relaxed);
            return Ok((decision, None));
        }
        let divisor = u64::from(self.processes.get()) * 2;
        let mut arguments = vec![cost.into(), divisor];
        match self.known.take_lease(subject) {
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
            self.known.put_lease(subject, lease, started);
            decision.remaining = decision.remaining.saturating_add(units);
        }
        Ok((decision, place))
    }

    /// Remembers a denial until the instant it names.
    fn learn(
        &self,
        Request { subject, charge: Charge { limit_override, cost, .. } }: Request<'_>,
        answer: &Answer,
        started: Instant,
    ) -> (Decision, Option<Place>) {
        let decision = answer.decision;
        if answer.granted.is_some() {
            return (decision, Some(answer.place));
        }
        // Counted from before the call, so it never ends too late.
        let denial = Denial { until: started + decision.reset(), limit_override, cost, decision };
        self.known.deny(subject, denial, started);
        (decision, None)
    }

    /// A denial that still holds, or a part of a lease.
    fn without_asking(&self, request: Request<'_>, now: Instant) -> Option<(Decision, Option<RedisPermit>)> {
        let Request { subject, charge: Charge { limit_override, cost, .. } } = request;
        if let Some(decision) = self.known.denial(subject, limit_override, cost, now) {
            self.counts.denied_from_memory.fetch_add(1, Ordering::Relaxed);
            return Some((decision, None));
        }
        self.lease?;
        let (decision, place) = self.known.use_lease(subject, limit_override, cost, now)?;
        let local = match self.count_here(request, now) {
            Ok(local) => local,
            Err(denied) => {
                self.known.return_to_lease(subject, &place, cost, now);
                return Some((denied, None));
            }
        };
        self.counts.admitted_from_lease.fetch_add(1, Ordering::Relaxed);
        Some((decision, Some(request.permit(local, Some(place)))))
    }

    /// What a request comes to that Redis was not asked about, or has not answered.
    fn alone(&self, request: Request<'_>) -> Decided {
        self.counts.decided_alone.fetch_add(1, Ordering::Relaxed);
        if self.on_failure == OnFailure::Closed {
            return Err(Undecided);
        }
        let (decision, local) = self.decide_here(request);
        if self.on_failure == OnFailure::Local {
            return Ok((decision, local.map(|local| request.permit(Some(local), None))));
        }
        let local = local.or_else(|| self.record_here(request));
        Ok((Decision { verdict: Verdict::Admitted, ..decision }, Some(request.permit(local, None))))
    }

    /// Counts a request that Redis is to decide about among those of this process. For a while after a failure the
    /// process's own count may deny it.
    fn count_here(&self, request: Request<'_>, now: Instant) -> Result<Option<Permit>, Decision> {
        if !self.is_wary(now) {
            return Ok(self.record_here(request));
        }
        match self.decide_here(request) {
            (_, Some(permit)) => Ok(Some(permit)),
            (denied, None) => {
                self.counts.decided_alone.fetch_add(1, Ordering::Relaxed);
                Err(denied)
            }
        }
    }

    fn record_here(&self, Request { subject, charge }: Request<'_>) -> Option<Permit> {
        self.local.record(subject, charge.cost, charge.now)
    }

    fn decide_here(&self, Request { subject, charge }: Request<'_>) -> (Decision, Option<Permit>) {
        let Charge { limit_override, cost, now, .. } = charge;
        let (mut decision, permit) = self.local.check(subject, self.own_part(limit_override), cost, now);
        if decision.verdict == Verdict::NeverFits {
            // This process's part, that is; Redis may have room for it.
            decision.verdict = Verdict::Denied;
            decision.reset = nanos(self.recovery_window);
        }
        (Decision { degraded: true, ..decision }, permit)
    }

    fn forget_here(&self, local: Option<Permit>) {
        if let Some(permit) = local {
            self.local.refund(permit);
        }
    }

    /// Whether Redis may have forgotten, or never heard of, something that still counts.
    fn is_wary(&self, now: Instant) -> bool {
        self.connection.breaker().failed_within(self.recovery_window, now)
    }

    fn own_part(&self, limit_override: Option<NonZeroU32>) -> Option<NonZeroU32> {
        limit_override.map(|limit| part(limit, self.processes))
    }

    fn never_fits(&self, Request { subject, charge }: Request<'_>) -> Option<Decision> {
        let Charge { limit_override, cost, now, .. } = charge;
        let rules = Rules { rules: &self.rules, limit_override };
        let quota = rules.quotas().find(|quota| cost > quota.limit().get())?;
        // As far as this process knows; nobody else need be asked.
        let here = self.local.peek(subject, self.own_part(limit_override), 0, now);
        let used = here.limit().saturating_sub(here.remaining());
        let remaining = quota.limit().get().saturating_sub(used);
        Some(Decision { verdict: Verdict::NeverFits, quota, remaining, ..here })
    }

    /// Takes back what an admitted request counted.
    pub(super) async fn refund(&self, permit: RedisPermit) {
        let RedisPermit { subject, cost, local, place } = permit;
        self.forget_here(local);
        let Some(place) = place.filter(|_| cost > 0) else { return };
        let started = Instant::now();
        if self.lease.is_some() && self.known.return_to_lease(&subject, &place, cost, started) {
            return;
        }
        let mut arguments = vec![cost.into(), place.born];
        arguments.extend(&place.ticks[..self.rules.len()]);
        Rules { rules: &self.rules, limit_override: None }.add_to(&mut arguments);
        let deadline = started + self.deadline;
        match self.call(&self.scripts.refund, &subject, &arguments, |_| Some(()), deadline).await {
            Ok(()) => self.known.forget_denial(&subject),
            Err(error) => self.note(&error),
        }
    }

    async fn decide_by(
        &self,
        script: &Text,
        Request { subject, charge }: Request<'_>,
        mut arguments: Vec<u64>,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let rules = Rules { rules: &self.rules, limit_override: charge.limit_override };
        rules.add_to(&mut arguments);
        self.call(script, subject, &arguments, |answer| rules.parse(answer), deadline).await
    }

    async fn call<T>(
        &self,
        script: &Text,
        subject: &Subject,
        arguments: &[u64],
        parse: impl FnOnce(Value) -> Option<T>,
        deadline: Instant,
    ) -> Result<T, CallError> {
        let key = self.redis_key(subject);
        let call = Call { script: &script.script, text: script.text, key: &key, arguments };
        self.connection.call(&call, parse, deadline).await
    }

    /// Makes a failure visible: counted, and logged at most once a second.
    fn note(&self, error: &CallError) {
        if !matches!(error, CallError::Suspended) {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        let now = Instant::now();
        let mut last = self.counts.last_log.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.saturating_duration_since(last) >= LOG_INTERVAL) {
            *last = Some(now);
            let decided_alone = self.counts.decided_alone.load(Ordering::Relaxed);
            let policy = format!("{:?}", self.on_failure);
            log::redis_failed(&self.category.name, error, &policy, decided_alone);
        }
    }
}

const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// One process's part of a limit.
pub(super) fn part(limit: NonZeroU32, processes: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(limit.get() / processes).unwrap_or(NonZeroU32::MIN)
}
