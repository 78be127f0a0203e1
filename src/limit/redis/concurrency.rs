//! Requests at a time, counted by Redis for all processes.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{Script, Value};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::connection::{Call, CallError};
use super::settings::{part, subject_key};
use super::{OnFailure, RedisConnection};
use crate::InvalidValue;
use crate::clock::Now;
use crate::limit::category::Category;
use crate::limit::limit::{Answering, Deciding, DecisionResult, Demand, Limit, Undecided};
use crate::limit::{Decision, MemoryRateLimiter, Permit, Quota, Subject, Verdict};
use crate::log::{self, OncePerSecond};

/// Each process has a lease for what it has under way, and renews it while there is something.
#[derive(Clone)]
pub(crate) struct RedisConcurrency(Arc<Shared>);

struct Shared {
    category: Arc<Category>,
    key_prefix: String,
    connection: RedisConnection,
    script: Script,
    /// Names this process: a number that no other has.
    process: u64,
    /// What this process has under way.
    local: MemoryRateLimiter,
    held: Mutex<Held>,
    line: OncePerSecond,
}

#[derive(Default)]
struct Held {
    by_subject: HashMap<Subject, u32>,
    /// How often Redis was told. One call may overtake another, and the one that knows more counts.
    calls: u64,
    is_renewing: bool,
}

/// What Redis is told: how much this process has under way, or asks for already, as of a call.
#[derive(Clone, Copy)]
struct Report {
    has: u32,
    call: u64,
}

impl RedisConcurrency {
    pub(crate) fn new(
        category: &str,
        quota: Quota,
        now: Now,
        connection: RedisConnection,
    ) -> Result<Self, InvalidValue> {
        let category = Category::new(category.into(), vec![quota]);
        Ok(Self(Arc::new(Shared {
            key_prefix: connection.settings.key_prefix(&category),
            local: MemoryRateLimiter::new(category.name.clone(), &[quota], now)?,
            category: Arc::new(category),
            connection,
            script: Script::new(SCRIPT),
            process: RandomState::new().hash_one(()),
            held: Mutex::default(),
            line: OncePerSecond::default(),
        })))
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limit(&self, limit_override: Option<NonZeroU32>) -> Quota {
        let quota = self.category.quotas[0];
        limit_override.map_or(quota, |limit| quota.with_limit(limit))
    }

    async fn ask(self: Arc<Self>, subject: Subject, demand: Demand) -> DecisionResult {
        let Demand { limit_override, cost, now, .. } = demand;
        let quota = self.limit(limit_override);
        // What this process has alone may be too much already.
        let here = self.local.peek(&subject, limit_override, cost, now);
        if !here.is_admitted() {
            return Ok((here, None));
        }
        let (report, permit) = {
            let mut held = self.held();
            (held.report(&subject), self.hold(&mut held, &subject, cost, now))
        };
        let mut asking = Asking { permit: Some(permit), shared: &self };
        let limit = quota.limit().get();
        match self.call(&subject, report, [cost, limit]).await {
            Ok(Answer { is_admitted, is_counted, total }) => {
                let verdict = if is_admitted { Verdict::Admitted } else { Verdict::Denied };
                let decision = Decision { verdict, quota, remaining: limit.saturating_sub(total), ..here };
                if is_admitted {
                    return Ok((decision, asking.permit.take().map(Box::new)));
                }
                if !is_counted {
                    asking.permit.take().into_iter().for_each(|permit| self.release(permit));
                }
                Ok((decision, None))
            }
            Err(error) => {
                self.note(&error);
                drop(asking);
                self.alone(&subject, demand)
            }
        }
    }

    /// Logs a failure, at most once a second.
    fn note(&self, error: &CallError) {
        if let Some(suppressed) = self.line.admit(self.connection.breaker().nanos(Instant::now())) {
            let policy = self.connection.settings.on_failure.as_str();
            log::redis_failed(&self.category.name, error, policy, 0, suppressed);
        }
    }

    /// Decides without Redis, against this process's part of the limit.
    fn alone(self: &Arc<Self>, subject: &Subject, demand: Demand) -> DecisionResult {
        let Demand { limit_override, cost, now, .. } = demand;
        let settings = &self.connection.settings;
        if settings.on_failure == OnFailure::Closed {
            return Err(Undecided);
        }
        let limit = part(self.limit(limit_override).limit(), settings.processes);
        // Under the lock, so that no other is counted between.
        let mut held = self.held();
        let here = self.local.peek(subject, Some(limit), cost, now);
        let is_admitted = here.is_admitted() || settings.on_failure == OnFailure::Open;
        let verdict = if is_admitted { Verdict::Admitted } else { here.verdict };
        let decision = Decision { verdict, degraded: true, ..here };
        Ok((decision, is_admitted.then(|| Box::new(self.hold(&mut held, subject, cost, now)))))
    }

    /// Counts in this process, which renews its lease as long as it holds something.
    fn hold(self: &Arc<Self>, held: &mut Held, subject: &Subject, cost: u32, now: Now) -> Permit {
        let count = held.by_subject.entry(subject.clone()).or_default();
        *count = count.saturating_add(cost);
        if !held.is_renewing {
            if let Ok(runtime) = Handle::try_current() {
                held.is_renewing = true;
                runtime.spawn(Renewing { shared: self.clone(), is_done: false }.run());
            }
        }
        self.local.record(subject, cost, now)
    }

    fn release(&self, permit: Permit) {
        let mut held = self.held();
        if let Some(count) = held.by_subject.get_mut(permit.subject()) {
            *count = count.saturating_sub(permit.cost);
            if *count == 0 {
                held.by_subject.remove(permit.subject());
            }
        }
        drop(held);
        self.local.refund(permit);
    }

    /// Releases, and tells Redis how much is left.
    fn give_back(self: &Arc<Self>, permit: Permit) {
        let subject = permit.subject().clone();
        self.release(permit);
        let Ok(runtime) = Handle::try_current() else { return };
        let shared = self.clone();
        runtime.spawn(async move {
            // Without an answer, the next call tells it, or the lease ends.
            let _ = shared.tell(&subject).await;
        });
    }

    /// Tells Redis how much this process has.
    async fn tell(&self, subject: &Subject) -> Result<Answer, CallError> {
        let report = self.held().report(subject);
        self.call(subject, report, [0, 0]).await
    }

    /// Tells how much this process has, and asks for more within a limit.
    async fn call(&self, subject: &Subject, report: Report, request: [u32; 2]) -> Result<Answer, CallError> {
        let [more, limit] = request.map(u64::from);
        let Report { has, call } = report;
        let arguments = [self.process, LEASE.as_micros() as u64, has.into(), more, limit, call];
        let key = subject_key(&self.key_prefix, subject);
        let call = Call { script: &self.script, text: SCRIPT, key: &key, arguments: &arguments };
        self.connection.call(&call, parse, Instant::now() + self.connection.settings.deadline).await
    }
}

impl Held {
    fn report(&mut self, subject: &Subject) -> Report {
        self.calls += 1;
        Report { has: self.by_subject.get(subject).copied().unwrap_or(0), call: self.calls }
    }
}

/// Renews leases as long as there is something under way. With its runtime it ends early, and the next request begins
/// another.
struct Renewing {
    shared: Arc<Shared>,
    is_done: bool,
}

impl Renewing {
    async fn run(mut self) {
        loop {
            sleep(LEASE / 3).await;
            let all = {
                let mut held = self.shared.held();
                held.is_renewing = !held.by_subject.is_empty();
                self.is_done = !held.is_renewing;
                held.by_subject.keys().cloned().collect::<Vec<_>>()
            };
            if self.is_done {
                return;
            }
            for subject in all {
                if let Err(error) = self.shared.tell(&subject).await {
                    self.shared.note(&error);
                }
            }
        }
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        if !self.is_done {
            self.shared.held().is_renewing = false;
        }
    }
}

struct Answer {
    is_admitted: bool,
    /// Whether it is counted although it was not admitted: by a call that came later, and was faster.
    is_counted: bool,
    /// Under way in all processes.
    total: u32,
}

/// A request that Redis may have counted or not, if it is dropped: its client has gone meanwhile, or Redis is late.
struct Asking<'a> {
    permit: Option<Permit>,
    shared: &'a Arc<Shared>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.shared.give_back(permit);
        }
    }
}

fn parse(answer: Value) -> Option<Answer> {
    let (done, total): (i64, u32) = redis::from_redis_value(answer).ok()?;
    Some(Answer { is_admitted: done == 1, is_counted: done == -1, total })
}

impl Limit for RedisConcurrency {
    fn describe(&self) -> &Arc<Category> {
        &self.0.category
    }

    fn decide(&self, subject: &Subject, demand: Demand) -> Deciding {
        if self.0.connection.breaker().could_admit(Instant::now()) {
            Deciding::Pending(Box::pin(self.0.clone().ask(subject.clone(), demand)))
        } else {
            Deciding::Ready(self.0.alone(subject, demand))
        }
    }

    fn take_back(&self, permit: Box<Permit>) {
        self.0.give_back(*permit);
    }

    fn record(&self, _: &Subject, _: u32, _: Now) {
        // Requests at a time are never charged.
    }

    fn look(&self, subject: &Subject, limit_override: Option<NonZeroU32>, now: Now) -> Answering<Decision> {
        let (shared, subject) = (self.0.clone(), subject.clone());
        Box::pin(async move {
            let quota = shared.limit(limit_override);
            let here = shared.local.peek(&subject, limit_override, 0, now);
            match shared.tell(&subject).await {
                Ok(Answer { total, .. }) => {
                    Ok(Decision { quota, remaining: quota.limit().get().saturating_sub(total), ..here })
                }
                Err(_) if shared.connection.settings.on_failure == OnFailure::Closed => Err(Undecided),
                Err(_) => Ok(Decision { degraded: true, ..here }),
            }
        })
    }

    fn forget(&self, _: &Subject) -> Answering<()> {
        // What is under way is still under way.
        Box::pin(std::future::ready(Ok(())))
    }

    fn is_degraded(&self) -> bool {
        self.0.connection.breaker().is_open()
    }

    fn engine(&self) -> &'static str {
        "redis"
    }

    fn fails_open(&self) -> bool {
        self.0.connection.settings.on_failure == OnFailure::Open
    }

    fn tracked(&self) -> usize {
        self.0.held().by_subject.len()
    }
}

impl fmt::Debug for RedisConcurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConcurrency").field("category", &self.0.category.name).finish_non_exhaustive()
    }
}

const SCRIPT: &str = include_str!("concurrency.lua");

/// After this time without a renewal, what a process has had under way no longer counts.
const LEASE: Duration = Duration::from_secs(30);
