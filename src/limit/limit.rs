//! The interface between the service and a limiter.

use std::fmt;
use std::future::Future;
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
    fn decide(&self, subject: &Subject, charge: Charge) -> Deciding;

    fn take_back(&self, permit: Box<Permit>);
}

/// A decision, or the future that makes it.
pub enum Deciding {
    Ready(Outcome),
    Pending(PendingDecision),
}

pub(crate) type PendingDecision = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The cost of a request, and whether it can be taken back.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    pub(crate) limit_override: Option<NonZeroU32>,
    pub(crate) cost: u32,
    pub(crate) now: Now,
    /// Whether the cost may have to be taken back.
    pub(crate) refundable: bool,
}

/// There is a permit only if the request was admitted and may have to be taken back.
pub(crate) type Outcome = Result<(Decision, Option<Box<Permit>>), Undecided>;

/// A limiter cannot decide: its shared store does not answer, and its policy is to reject requests then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the shared store of the rate limiter does not answer")]
#[non_exhaustive]
pub struct Undecided;

impl<L: Limit + ?Sized> Limit for Arc<L> {
    fn describe(&self) -> &Arc<Category> {
        (**self).describe()
    }

    fn decide(&self, subject: &Subject, charge: Charge) -> Deciding {
        (**self).decide(subject, charge)
    }

    fn take_back(&self, permit: Box<Permit>) {
        (**self).take_back(permit);
    }
}

impl Limit for MemoryRateLimiter {
    fn describe(&self) -> &Arc<Category> {
        &self.category
    }

    #[inline]
    fn decide(&self, subject: &Subject, charge: Charge) -> Deciding {
        Deciding::Ready(outcome(self, subject, charge))
    }

    fn take_back(&self, permit: Box<Permit>) {
        self.refund(*permit);
    }
}

fn outcome(limiter: &MemoryRateLimiter, subject: &Subject, charge: Charge) -> Outcome {
    let Charge { limit_override, cost, now, refundable } = charge;
    if !refundable {
        return Ok((limiter.check_for_good(subject, limit_override, cost, now), None));
    }
    let (decision, permit) = limiter.check(subject, limit_override, cost, now);
    Ok((decision, permit.map(Box::new)))
}
