//! The header fields that tell a client about its limit.

use std::cell::RefCell;

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Decision, MemoryRateLimiter, Quota};
use crate::clock::Now;
use crate::number::{number, whole_seconds};

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

/// What the fields say alike of everybody without a limit of their own. Made once for a limiter, as making it takes
/// longer than deciding about a request.
#[derive(Debug)]
pub(super) struct CommonFields {
    /// As a structured field's String.
    category: String,
    /// Of the first quota.
    limit: HeaderValue,
    policy: HeaderValue,
}

impl CommonFields {
    pub(super) fn new(category: &str, quotas: &[Quota]) -> Self {
        let category = string(category);
        let limit = number(quotas[0].limit().get().into());
        let policies: Vec<String> = quotas.iter().map(|quota| policy(&category, *quota)).collect();
        Self { limit, policy: value(policies.join(", ")), category }
    }
}

impl Fields {
    /// Writes the fields, but none that an inner layer has written: the limit that stands nearest to the handler is
    /// the one that the client cares about.
    pub(super) fn write(&self, limiter: &MemoryRateLimiter, headers: &mut HeaderMap) {
        let Entry::Vacant(limit) = headers.entry(LIMIT) else { return };
        let common = limiter.common_fields();
        let quota = self.decision.quota();
        let is_first = limiter.quotas().next() == Some(quota);
        limit.insert(if is_first { common.limit.clone() } else { number(quota.limit().get().into()) });
        headers.insert(REMAINING, number(self.decision.remaining().into()));
        headers.insert(RESET, instant(self.reset_at()));
        if self.ietf {
            let is_own = !is_first && limiter.quotas().len() == 1;
            let policy = if is_own { value(policy(&common.category, quota)) } else { common.policy.clone() };
            headers.insert(IETF_POLICY, policy);
            headers.insert(IETF_STATE, self.state(&common.category));
        }
    }

    /// The instant at which more remains, in whole seconds since the Unix epoch. Rounded up, so that a client that
    /// waits for it does not come too early; and in the future, so that it does wait.
    fn reset_at(&self) -> u64 {
        let now = self.now.since_unix_epoch();
        whole_seconds(now.saturating_add(self.decision.reset())).max(now.as_secs().saturating_add(1))
    }

    /// `RateLimit: "read";r=950;t=12` (draft-ietf-httpapi-ratelimit-headers-10).
    fn state(&self, category: &str) -> HeaderValue {
        let (mut remaining, mut seconds) = (itoa::Buffer::new(), itoa::Buffer::new());
        let remaining = remaining.format(self.decision.remaining());
        let seconds = seconds.format(whole_seconds(self.decision.reset()).max(1));
        value([category, ";r=", remaining, ";t=", seconds].concat())
    }
}

/// `"read";q=1000;w=60`, an item of `RateLimit-Policy`.
fn policy(category: &str, quota: Quota) -> String {
    format!("{category};q={};w={}", quota.limit(), whole_seconds(quota.window()))
}

/// A structured field's String (RFC 9651 section 3.3.3), which has visible ASCII and spaces only.
fn string(content: &str) -> String {
    let mut text = String::from('"');
    for character in content.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            ' '..='~' => text.push(character),
            _ => text.push('?'),
        }
    }
    text.push('"');
    text
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("a structured field is visible ASCII and spaces")
}

/// The digits of an instant. Requests that come within a second mostly name the same one, which is then shared.
fn instant(seconds: u64) -> HeaderValue {
    thread_local! {
        static LAST: RefCell<(u64, HeaderValue)> = RefCell::new((0, number(0)));
    }
    LAST.with_borrow_mut(|(last, value)| {
        if *last != seconds {
            (*last, *value) = (seconds, number(seconds));
        }
        value.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_its_seconds() {
        for case in [1_702_531_200, 1_702_531_200, 1_702_531_201, 0, 1_702_531_200] {
            assert_eq!(instant(case), case.to_string().as_str());
        }
    }
}
