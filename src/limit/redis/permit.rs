use super::script::Place;
use crate::limit::{Permit, Subject};

/// The cost counted for one admitted request.
///
/// [`RedisRateLimiter::refund`](super::RedisRateLimiter::refund) takes it back; if dropped, it stays counted.
#[derive(Debug)]
pub struct RedisPermit {
    pub(super) subject: Subject,
    pub(super) cost: u32,
    pub(super) local: Option<Permit>,
    /// `None` if Redis was not asked.
    pub(super) place: Option<Place>,
}
