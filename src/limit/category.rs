use std::sync::Arc;

use http::HeaderValue;

use super::Quota;
use crate::number::{number, whole_seconds};

/// A named category of requests: its quotas and its header field values.
///
/// The field values that are the same for every subject without its own limit are made once, as making them takes
/// longer than deciding a request.
#[derive(Debug)]
pub struct Category {
    pub(crate) name: Arc<str>,
    /// At least one quota.
    pub(super) quotas: Box<[Quota]>,
    /// The name as a String of structured fields.
    pub(super) quoted: String,
    /// `X-RateLimit-Limit`, of the first quota.
    pub(super) limit: HeaderValue,
    /// `RateLimit-Policy`.
    pub(super) policy: HeaderValue,
}

impl Category {
    /// The quota that is named first.
    #[cfg(feature = "openapi")]
    pub(crate) fn quota(&self) -> Quota {
        self.quotas[0]
    }

    pub(super) fn new(name: Arc<str>, quotas: Vec<Quota>) -> Self {
        let quoted = string(&name);
        let policies: Vec<String> = quotas.iter().map(|quota| policy(&quoted, *quota)).collect();
        let limit = quotas.first().map_or(0, |quota| quota.limit().get());
        Self {
            name,
            limit: number(limit.into()),
            policy: value(policies.join(", ")),
            quotas: quotas.into(),
            quoted,
        }
    }
}

/// `"read";q=1000;w=60`, an item of `RateLimit-Policy`; `"runs";q=5;qu="concurrent-requests"` without a window.
pub(super) fn policy(quoted: &str, quota: Quota) -> String {
    if quota.is_concurrent() {
        return format!("{quoted};q={};qu=\"concurrent-requests\"", quota.limit());
    }
    if quota.is_credits() {
        return format!("{quoted};q={}", quota.limit());
    }
    format!("{quoted};q={};w={}", quota.limit(), whole_seconds(quota.window()))
}

/// A String of structured fields (RFC 9651 section 3.3.3): visible ASCII and spaces only.
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

pub(super) fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("a structured field is visible ASCII and spaces")
}
