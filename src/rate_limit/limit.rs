//! What the layer asks of a limiter.

use std::fmt;
use std::future::{Future, ready};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use thiserror::Error;

use super::category::Category;
use super::{Decision, MemoryRateLimiter, Permit, Subject};
use crate::clock::Now;

/// A limiter that a [`RateLimitLayer`](super::RateLimitLayer) can stand on: a
/// [`MemoryRateLimiter`](super::MemoryRateLimiter), with the feature `redis` a `RedisRateLimiter`, an `Arc` of either,
/// or an `Arc<dyn RateLimiter>` where only the configuration knows which.
///
/// Sealed: it is implemented here and nowhere else.
///
/// ```
/// use std::sync::Arc;
/// use tower_api_keys::rate_limit::{MemoryRateLimiter, Quota, RateLimitLayer, RateLimiter};
///
/// fn layer(limiter: Arc<dyn RateLimiter>) -> RateLimitLayer {
///     RateLimitLayer::by_key(limiter)
/// }
///
/// let memory = MemoryRateLimiter::builder("requests", Quota::per_minute(1_000)?).build();
/// let layer = layer(Arc::new(memory));
/// # let _ = layer;
/// # Ok::<_, tower_api_keys::rate_limit::InvalidQuota>(())
/// ```
pub trait RateLimiter: Limit {}

impl<L: Limit> RateLimiter for L {}

pub trait Limit: fmt::Debug + Send + Sync + 'static {
    fn describe(&self) -> &Arc<Category>;

    /// Decides at once if that takes no waiting. [`Poll::Pending`] has counted nothing and means "ask
    /// [`decide`](Self::decide)"; no waker is involved.
    fn decide_now(&self, subject: &Subject, charge: Charge) -> Poll<Outcome>;

    fn decide(&self, subject: Subject, charge: Charge) -> Deciding;

    fn take_back(&self, receipt: Receipt);
}

/// What a request is to be counted as.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    pub(super) limit_override: Option<NonZeroU32>,
    pub(super) cost: u32,
    pub(super) now: Now,
    /// Whether it may have to be taken back.
    pub(super) refundable: bool,
}

/// There is a receipt if, and only if, the request was admitted and may have to be taken back.
pub(super) type Outcome = Result<(Decision, Option<Receipt>), Undecided>;

pub(super) type Deciding = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A limiter can't tell, as the store that it shares with other processes does not answer, and its host does not want
/// it to do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the rate limiter has no store to ask")]
#[non_exhaustive]
pub struct Undecided;

/// The permit of whichever limiter.
#[derive(Debug)]
pub enum Receipt {
    Memory(Box<Permit>),
    #[cfg(feature = "redis")]
    Redis(Box<super::RedisPermit>),
}

impl<L: Limit + ?Sized> Limit for Arc<L> {
    fn describe(&self) -> &Arc<Category> {
        (**self).describe()
    }

    fn decide_now(&self, subject: &Subject, charge: Charge) -> Poll<Outcome> {
        (**self).decide_now(subject, charge)
    }

    fn decide(&self, subject: Subject, charge: Charge) -> Deciding {
        (**self).decide(subject, charge)
    }

    fn take_back(&self, receipt: Receipt) {
        (**self).take_back(receipt);
    }
}

impl Limit for MemoryRateLimiter {
    fn describe(&self) -> &Arc<Category> {
        &self.category
    }

    fn decide_now(&self, subject: &Subject, charge: Charge) -> Poll<Outcome> {
        Poll::Ready(outcome(self, subject, charge))
    }

    fn decide(&self, subject: Subject, charge: Charge) -> Deciding {
        Box::pin(ready(outcome(self, &subject, charge)))
    }

    fn take_back(&self, receipt: Receipt) {
        match receipt {
            Receipt::Memory(permit) => self.refund(*permit),
            #[cfg(feature = "redis")]
            Receipt::Redis(_) => {}
        }
    }
}

fn outcome(limiter: &MemoryRateLimiter, subject: &Subject, charge: Charge) -> Outcome {
    let Charge { limit_override, cost, now, refundable } = charge;
    if !refundable {
        return Ok((limiter.check_for_good(subject, limit_override, cost, now), None));
    }
    let (decision, permit) = limiter.check(subject, limit_override, cost, now);
    Ok((decision, permit.map(|permit| Receipt::Memory(Box::new(permit)))))
}
