//! The header fields that report a limit to the client.

use std::cell::RefCell;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Decision;
use super::category::{Category, policy, value};
use crate::clock::Now;
use crate::number::number;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const IETF_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const IETF_STATE: HeaderName = HeaderName::from_static("ratelimit");

/// The names of all fields that report a limit: for a CORS layer, so that browsers show them to scripts.
///
/// ```
/// use tower_api_keys::limit;
///
/// // CorsLayer::new().expose_headers(limit::FIELD_NAMES)
/// assert!(limit::FIELD_NAMES.iter().any(|name| name == "x-ratelimit-remaining"));
/// ```
pub const FIELD_NAMES: [HeaderName; 6] = [LIMIT, REMAINING, RESET, IETF_POLICY, IETF_STATE, RETRY_AFTER];

/// What the fields of one response report.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) decision: &'a Decision,
    pub(crate) now: Now,
    pub(crate) category: &'a Category,
    /// Whether the draft's fields are sent as well.
    pub(crate) ietf: bool,
    /// Further limits that the draft's fields list.
    pub(crate) others: Vec<(&'a Decision, &'a Category)>,
}

impl Fields<'_> {
    /// Replaces existing fields, or with `yields` keeps them: fields written by an inner layer are about the limit
    /// that is nearer to the handler.
    #[inline]
    pub(crate) fn write(&self, headers: &mut HeaderMap, yields: bool) {
        if yields && headers.contains_key(LIMIT) {
            return;
        }
        headers.insert(LIMIT, self.limit());
        headers.insert(REMAINING, number(self.decision.remaining.into()));
        match self.decision.quota.is_credits() {
            false => insert_instant(headers, self.reset_at()),
            true => drop(headers.remove(RESET)),
        }
        // Most responses have no other fields yet.
        if !self.ietf && headers.len() > 3 {
            // Of a limit that an upstream has: beside ours they would be a mixture.
            headers.remove(IETF_POLICY);
            headers.remove(IETF_STATE);
        }
        if self.ietf && self.others.is_empty() {
            headers.insert(IETF_POLICY, self.policy());
            headers.insert(IETF_STATE, self.state());
        } else if self.ietf {
            self.write_all(headers);
        }
    }

    /// The draft's fields with an item for each limit, the tightest first.
    #[cold]
    fn write_all(&self, headers: &mut HeaderMap) {
        let other = |&(decision, category)| Fields { decision, category, others: Vec::new(), ..*self };
        let others = self.others.iter().map(other);
        let (mut policies, mut states) = (vec![self.policy()], vec![self.state()]);
        for fields in others {
            policies.push(fields.policy());
            states.push(fields.state());
        }
        headers.insert(IETF_POLICY, list(&policies));
        headers.insert(IETF_STATE, list(&states));
    }

    fn limit(&self) -> HeaderValue {
        let limit = self.decision.quota.limit();
        match limit == self.category.quotas[0].limit() {
            true => self.category.limit.clone(),
            false => number(limit.get().into()),
        }
    }

    /// When more remains, in whole seconds since the Unix epoch. Rounded up, so that a client that waits for it is not
    /// too early; and in the future, so that it does wait.
    fn reset_at(&self) -> u64 {
        let unix = self.now.unix_nanos();
        unix.saturating_add(self.decision.reset).div_ceil(SECOND).max(unix / SECOND + 1)
    }

    fn policy(&self) -> HeaderValue {
        let Self { category, decision, .. } = self;
        let is_own = category.quotas[0] != decision.quota && category.quotas.len() == 1;
        if is_own { value(policy(&category.quoted, decision.quota)) } else { category.policy.clone() }
    }

    /// `RateLimit: "read";r=950;t=12` (draft-ietf-httpapi-ratelimit-headers-10), with the time until more remains in
    /// whole seconds, at least one. Without a time where there is no window.
    fn state(&self) -> HeaderValue {
        let (mut r, mut t) = (itoa::Buffer::new(), itoa::Buffer::new());
        if self.decision.quota.window().is_zero() {
            return value([&self.category.quoted, ";r=", r.format(self.decision.remaining)].concat());
        }
        let reset_after = self.decision.reset.div_ceil(SECOND).max(1);
        let (r, t) = (r.format(self.decision.remaining), t.format(reset_after));
        value([&self.category.quoted, ";r=", r, ";t=", t].concat())
    }
}

/// A List of structured fields (RFC 9651 section 3.1).
fn list(items: &[HeaderValue]) -> HeaderValue {
    HeaderValue::from_bytes(&items.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]))
        .expect("items and commas are visible ASCII and spaces")
}

const SECOND: u64 = 1_000_000_000;

/// Inserts the digits of an instant. Requests within one second mostly have the same instant, so its value is shared.
fn insert_instant(headers: &mut HeaderMap, seconds: u64) {
    thread_local! {
        static LAST: RefCell<(u64, HeaderValue)> = RefCell::new((0, number(0)));
    }
    // In the closure: to return a value that was just written makes the processor wait.
    LAST.with_borrow_mut(|(last, value)| {
        if *last != seconds {
            (*last, *value) = (seconds, number(seconds));
        }
        headers.insert(RESET, value.clone());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_its_seconds() {
        for case in [1_702_531_200, 1_702_531_200, 1_702_531_201, 0, 1_702_531_200] {
            let mut headers = HeaderMap::new();
            insert_instant(&mut headers, case);
            assert_eq!(headers[RESET], case.to_string().as_str());
        }
    }
}
