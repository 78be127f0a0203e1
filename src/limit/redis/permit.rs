use super::script::Place;
use crate::limit::{Permit, Subject};

/// What one admitted request counted. Hand it to [`RedisRateLimiter::refund`](super::RedisRateLimiter::refund) to take that back; dropped, it counts.
#[derive(Debug)]
pub struct RedisPermit {
    pub(super) subject: Subject,
    pub(super) cost: u32,
    pub(super) local: Option<Permit>,
    /// `None` if Redis was not asked.
    pub(super) place: Option<Place>,
}
