//! The header fields that tell a client about its limit.

use std::fmt::Write;
use std::time::Duration;

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Decision, MemoryRateLimiter};
use crate::clock::Now;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const IETF_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const IETF_STATE: HeaderName = HeaderName::from_static("ratelimit");

/// What the fields say of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub(super) decision: Decision,
    pub(super) now: Now,
    pub(super) ietf: bool,
}

impl Fields {
    /// Writes the fields, but none that an inner layer has written: the limit that stands nearest to the handler is
    /// the one that the client cares about.
    pub(super) fn write(&self, limiter: &MemoryRateLimiter, headers: &mut HeaderMap) {
        let Entry::Vacant(limit) = headers.entry(LIMIT) else { return };
        limit.insert(number(self.decision.limit().into()));
        headers.insert(REMAINING, number(self.decision.remaining().into()));
        headers.insert(RESET, number(self.reset_at()));
        if self.ietf {
            headers.insert(IETF_POLICY, policy(limiter, self.decision.limit()));
            headers.insert(IETF_STATE, self.state(limiter));
        }
    }

    /// The instant at which more remains, in whole seconds since the Unix epoch. Rounded up, so that a client that
    /// waits for it does not come too early; and in the future, so that it does wait.
    fn reset_at(&self) -> u64 {
        let now = self.now.since_unix_epoch();
        whole_seconds(now.saturating_add(self.decision.reset())).max(now.as_secs().saturating_add(1))
    }

    /// `RateLimit: "read";r=950;t=12` (draft-ietf-httpapi-ratelimit-headers-10).
    fn state(&self, limiter: &MemoryRateLimiter) -> HeaderValue {
        let mut text = String::with_capacity(64);
        push_string(&mut text, limiter.category());
        let (remaining, seconds) = (self.decision.remaining(), whole_seconds(self.decision.reset()).max(1));
        let _ = write!(text, ";r={remaining};t={seconds}");
        value(text)
    }
}

/// `RateLimit-Policy: "read";q=1000;w=60`, one item for each quota; `limit` is the one that applied.
fn policy(limiter: &MemoryRateLimiter, limit: u32) -> HeaderValue {
    let mut text = String::with_capacity(64);
    let only = limiter.quotas().len() == 1;
    for (index, quota) in limiter.quotas().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        push_string(&mut text, limiter.category());
        let quota_limit = if only { limit } else { quota.limit().get() };
        let _ = write!(text, ";q={quota_limit};w={}", whole_seconds(quota.window()));
    }
    value(text)
}

/// A structured field's String (RFC 9651 section 3.3.3), which has visible ASCII and spaces only.
fn push_string(text: &mut String, content: &str) {
    text.push('"');
    for character in content.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            ' '..='~' => text.push(character),
            _ => text.push('?'),
        }
    }
    text.push('"');
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("a structured field is visible ASCII and spaces")
}

fn number(number: u64) -> HeaderValue {
    let mut buffer = itoa::Buffer::new();
    HeaderValue::from_str(buffer.format(number)).expect("digits are visible ASCII")
}

/// Seconds, rounded up.
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}
