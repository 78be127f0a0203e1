//! The header fields that report a limit to the client.

use std::cell::RefCell;
use std::sync::Arc;

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::category::{Category, policy, value};
use super::{Decision, Quota};
use crate::clock::Now;
use crate::number::number;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const IETF_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const IETF_STATE: HeaderName = HeaderName::from_static("ratelimit");

/// The field values for one request.
#[derive(Debug)]
pub(crate) struct Fields {
    limit: u32,
    remaining: u32,
    /// When more remains, in whole seconds since the Unix epoch. Rounded up, so that a client that waits for it is
    /// not too early; and in the future, so that it does wait.
    reset_at: u64,
    ietf: Option<Ietf>,
}

/// The additional values of the draft's fields.
#[derive(Debug)]
struct Ietf {
    category: Arc<Category>,
    quota: Quota,
    /// The time until more remains, in whole seconds, at least one.
    reset_after: u64,
}

impl Fields {
    #[inline]
    pub(crate) fn new(decision: &Decision, now: Now, category: &Arc<Category>, ietf: bool) -> Self {
        let unix = now.unix_nanos();
        Self {
            limit: decision.limit(),
            remaining: decision.remaining,
            reset_at: unix.saturating_add(decision.reset).div_ceil(SECOND).max(unix / SECOND + 1),
            ietf: ietf.then(|| Ietf {
                category: category.clone(),
                quota: decision.quota,
                reset_after: decision.reset.div_ceil(SECOND).max(1),
            }),
        }
    }

    /// Replaces existing fields, or with `yields` keeps them: fields written by an inner layer are about the limit
    /// that is nearer to the handler.
    pub(crate) fn write(&self, headers: &mut HeaderMap, yields: bool) {
        match headers.entry(LIMIT) {
            Entry::Occupied(_) if yields => return,
            Entry::Occupied(mut limit) => drop(limit.insert(number(self.limit.into()))),
            Entry::Vacant(limit) => {
                limit.insert(number(self.limit.into()));
            }
        }
        headers.insert(REMAINING, number(self.remaining.into()));
        headers.insert(RESET, instant(self.reset_at));
        if let Some(ietf) = &self.ietf {
            headers.insert(IETF_POLICY, ietf.policy());
            headers.insert(IETF_STATE, ietf.state(self.remaining));
        }
    }
}

impl Ietf {
    fn policy(&self) -> HeaderValue {
        let Self { category, quota, .. } = self;
        let is_own = category.quotas[0] != *quota && category.quotas.len() == 1;
        if is_own { value(policy(&category.quoted, *quota)) } else { category.policy.clone() }
    }

    /// `RateLimit: "read";r=950;t=12` (draft-ietf-httpapi-ratelimit-headers-10).
    fn state(&self, remaining: u32) -> HeaderValue {
        let (mut r, mut t) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (r, t) = (r.format(remaining), t.format(self.reset_after));
        value([&self.category.quoted, ";r=", r, ";t=", t].concat())
    }
}

const SECOND: u64 = 1_000_000_000;

/// The digits of an instant. Requests within one second mostly have the same instant, so its value is shared.
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
