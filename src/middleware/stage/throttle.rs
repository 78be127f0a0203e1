//! 3, throttle: bad credentials, counted by the address they come from.

use super::limit::over_limit;
use crate::address::ClientAddress;
use crate::clock::Now;
use crate::limit::{MemoryRateLimiter, Subject};
use crate::middleware::checks::Checks;
use crate::rejection::Reason;
use crate::request::RequestView;

impl Checks {
    /// The address to count a bad credential for, if they are counted and this address has not used up its limit.
    ///
    /// Takes no memory for an address that never presented a bad one. An address whose count is not its own passes: when
    /// the limiter is full of others, one client must not answer for what they did.
    #[inline]
    pub(super) fn throttle(
        &self,
        request: RequestView<'_>,
        now: Now,
    ) -> Result<Option<ClientAddress>, Reason> {
        match &self.throttle {
            Some(limiter) => self.admitted(limiter, request, now).map(Some),
            None => Ok(None),
        }
    }

    fn admitted(
        &self,
        limiter: &MemoryRateLimiter,
        request: RequestView<'_>,
        now: Now,
    ) -> Result<ClientAddress, Reason> {
        let (source, peer) = self.client_source(request)?;
        let address = source.find(peer, request.headers);
        match limiter.peek_own(&Subject::Address(address), now) {
            Some(decision) if !decision.is_admitted() => {
                Err(Reason::Throttled(over_limit(limiter.category_data(), decision)))
            }
            _ => Ok(address),
        }
    }

    /// Counts a bad credential from `address`, if they are counted.
    pub(super) fn count_bad_credential(&self, address: Option<ClientAddress>, now: Now) {
        if let (Some(limiter), Some(address)) = (&self.throttle, address) {
            count(limiter, address, now);
        }
    }
}

fn count(limiter: &MemoryRateLimiter, address: ClientAddress, now: Now) {
    limiter.check(&Subject::Address(address), None, 1, now);
}
