//! The interface between the service and a limiter.

use std::fmt;
use std::future::{Future, ready};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;

use super::category::Category;
use super::{Decision, MemoryRateLimiter, Permit, Subject};
use crate::clock::Now;

/// Counts one category of requests: a [`MemoryRateLimiter`], with the feature `redis` a `RedisRateLimiter`, or an
/// `Arc` of either.
///
/// An assembly makes its limiters itself. With [`limiters`](crate::ApiKeysBuilder::limiters) the application makes
/// them.
///
/// Sealed: it cannot be implemented outside of this crate.
pub trait RateLimiter: Limit {}

impl<L: Limit> RateLimiter for L {}

pub trait Limit: fmt::Debug + Send + Sync + 'static {
    fn describe(&self) -> &Arc<Category>;

    /// Decides one request. A limiter that has to wait counts nothing before its future is polled.
    fn decide(&self, subject: &Subject, demand: Demand) -> Deciding;

    /// Takes back the whole cost of a permit.
    fn take_back(&self, permit: Box<Permit>);

    /// Counts `cost`, whatever the limits.
    fn record(&self, subject: &Subject, cost: u32, now: Now);

    /// What is left, with nothing counted.
    fn look(&self, subject: &Subject, limit_override: Option<NonZeroU32>, now: Now) -> Answering<Decision>;

    /// Counts nothing of what was counted so far.
    fn forget(&self, subject: &Subject) -> Answering<()>;

    /// What counts, for metrics: `memory`, `redis` or `store`.
    fn engine(&self) -> &'static str;

    /// Whether requests are admitted that a shared store does not answer about.
    fn fails_open(&self) -> bool {
        false
    }

    /// Whether a shared server does not answer, so that this process decides alone.
    fn is_degraded(&self) -> bool {
        false
    }

    /// How many subjects have a count of their own in this process.
    fn tracked(&self) -> usize;
}

/// What a limiter answers, perhaps after it has asked elsewhere.
pub(crate) type Answering<T> = Pin<Box<dyn Future<Output = Result<T, Undecided>> + Send>>;

/// A decision, or the future that makes it.
pub enum Deciding {
    Ready(DecisionResult),
    Pending(PendingDecision),
}

pub(crate) type PendingDecision = Pin<Box<dyn Future<Output = DecisionResult> + Send>>;

/// What a request asks for: its cost, and whether that may be taken back.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    pub(crate) limit_override: Option<NonZeroU32>,
    pub(crate) cost: u32,
    pub(crate) now: Now,
    /// Whether the cost may have to be taken back.
    pub(crate) refundable: bool,
}

/// There is a permit only if the request was admitted and may have to be taken back.
pub(crate) type DecisionResult = Result<(Decision, Option<Box<Permit>>), Undecided>;

/// A limiter cannot decide: its shared store does not answer, and its policy is to reject requests then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the shared store of the rate limiter does not answer")]
#[non_exhaustive]
pub struct Undecided;

impl<L: Limit + ?Sized> Limit for Arc<L> {
    fn describe(&self) -> &Arc<Category> {
        (**self).describe()
    }

    fn decide(&self, subject: &Subject, demand: Demand) -> Deciding {
        (**self).decide(subject, demand)
    }

    fn take_back(&self, permit: Box<Permit>) {
        (**self).take_back(permit);
    }

    fn record(&self, subject: &Subject, cost: u32, now: Now) {
        (**self).record(subject, cost, now);
    }

    fn look(&self, subject: &Subject, limit_override: Option<NonZeroU32>, now: Now) -> Answering<Decision> {
        (**self).look(subject, limit_override, now)
    }

    fn forget(&self, subject: &Subject) -> Answering<()> {
        (**self).forget(subject)
    }

    fn engine(&self) -> &'static str {
        (**self).engine()
    }

    fn fails_open(&self) -> bool {
        (**self).fails_open()
    }

    fn is_degraded(&self) -> bool {
        (**self).is_degraded()
    }

    fn tracked(&self) -> usize {
        (**self).tracked()
    }
}

impl Limit for MemoryRateLimiter {
    fn describe(&self) -> &Arc<Category> {
        &self.category
    }

    #[inline]
    fn decide(&self, subject: &Subject, demand: Demand) -> Deciding {
        Deciding::Ready(outcome(self, subject, demand))
    }

    fn take_back(&self, permit: Box<Permit>) {
        self.refund(*permit);
    }

    fn record(&self, subject: &Subject, cost: u32, now: Now) {
        self.count_anyway(subject, cost, now);
    }

    fn look(&self, subject: &Subject, limit_override: Option<NonZeroU32>, now: Now) -> Answering<Decision> {
        Box::pin(ready(Ok(self.peek(subject, limit_override, 0, now))))
    }

    fn forget(&self, subject: &Subject) -> Answering<()> {
        MemoryRateLimiter::forget(self, subject);
        Box::pin(ready(Ok(())))
    }

    fn engine(&self) -> &'static str {
        "memory"
    }

    fn tracked(&self) -> usize {
        self.subject_count()
    }
}

fn outcome(limiter: &MemoryRateLimiter, subject: &Subject, demand: Demand) -> DecisionResult {
    let Demand { limit_override, cost, now, refundable } = demand;
    if !refundable {
        return Ok((limiter.check_for_good(subject, limit_override, cost, now), None));
    }
    let (decision, permit) = limiter.check(subject, limit_override, cost, now);
    Ok((decision, permit.map(Box::new)))
}
