//! The header fields that tell a client about its limit.

use std::cell::RefCell;

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::category::Category;
use super::{Decision, Quota};
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
    quota: Quota,
    remaining: u32,
    ietf: bool,
    /// The instant at which more remains, in whole seconds since the Unix epoch. Rounded up, so that a client that waits
    /// for it does not come too early; and in the future, so that it does wait.
    reset_at: u64,
    /// How long that is from now, in whole seconds, at least one.
    reset_after: u64,
}

impl Fields {
    #[inline]
    pub(super) fn new(decision: &Decision, now: Now, ietf: bool) -> Self {
        let unix = now.unix_nanos();
        Self {
            quota: decision.quota,
            remaining: decision.remaining,
            ietf,
            reset_at: unix.saturating_add(decision.reset).div_ceil(SECOND).max(unix / SECOND + 1),
            reset_after: decision.reset.div_ceil(SECOND).max(1),
        }
    }

    /// Writes the fields, but none that an inner layer has written: the limit that stands nearest to the handler is
    /// the one that the client cares about.
    pub(super) fn write(&self, category: &Category, headers: &mut HeaderMap) {
        let Entry::Vacant(limit) = headers.entry(LIMIT) else { return };
        let is_first = category.quotas[0] == self.quota;
        limit.insert(if is_first { category.limit.clone() } else { number(self.quota.limit().get().into()) });
        headers.insert(REMAINING, number(self.remaining.into()));
        headers.insert(RESET, instant(self.reset_at));
        if self.ietf {
            let is_own = !is_first && category.quotas.len() == 1;
            let policy =
                if is_own { value(policy(&category.quoted, self.quota)) } else { category.policy.clone() };
            headers.insert(IETF_POLICY, policy);
            headers.insert(IETF_STATE, self.state(&category.quoted));
        }
    }

    /// `RateLimit: "read";r=950;t=12` (draft-ietf-httpapi-ratelimit-headers-10).
    fn state(&self, quoted: &str) -> HeaderValue {
        let (mut remaining, mut seconds) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (remaining, seconds) = (remaining.format(self.remaining), seconds.format(self.reset_after));
        value([quoted, ";r=", remaining, ";t=", seconds].concat())
    }
}

const SECOND: u64 = 1_000_000_000;

/// `"read";q=1000;w=60`, an item of `RateLimit-Policy`.
pub(super) fn policy(quoted: &str, quota: Quota) -> String {
    format!("{quoted};q={};w={}", quota.limit(), whole_seconds(quota.window()))
}

/// A structured field's String (RFC 9651 section 3.3.3), which has visible ASCII and spaces only.
pub(super) fn string(content: &str) -> String {
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

pub(super) fn value(text: String) -> HeaderValue {
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
