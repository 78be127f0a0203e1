//! Bad credentials, counted by the address they come from.

use std::sync::Arc;

use crate::address::ClientAddress;
use crate::clock::Now;
use crate::rate_limit::{Limit, MemoryRateLimiter, Subject, over_limit};
use crate::rejection::Reason;

#[derive(Clone)]
pub(super) struct Throttle(pub(super) Arc<MemoryRateLimiter>);

impl Throttle {
    /// Whether a credential from `address` may be looked up. Counts nothing, and takes no memory for an address that
    /// never presented a bad one.
    ///
    /// An address whose count is not its own passes: when the limiter is full of others, one client must not answer for
    /// what they did.
    pub(super) fn check(&self, address: ClientAddress, now: Now) -> Result<(), Reason> {
        match self.0.peek_own(&Subject::Address(address), now) {
            Some(decision) if !decision.is_admitted() => {
                Err(Reason::Throttled(over_limit(self.0.describe(), decision)))
            }
            _ => Ok(()),
        }
    }

    /// Counts a bad credential from `address`.
    pub(super) fn count(&self, address: ClientAddress, now: Now) {
        self.0.check(&Subject::Address(address), None, 1, now);
    }
}
