use std::sync::Arc;

use http::HeaderValue;

use super::Quota;
use crate::number::whole_seconds;

/// Which requests a limiter counts, and how many it admits.
///
/// With what header fields say alike of everybody without a limit of their own: made once for a limiter, as making it
/// takes longer than deciding about a request.
#[derive(Debug)]
pub struct Category {
    pub(crate) name: Arc<str>,
    /// At least one.
    pub(super) quotas: Box<[Quota]>,
    /// The name as a structured field's String.
    pub(super) quoted: String,
    /// `RateLimit-Policy`.
    pub(super) policy: HeaderValue,
}

impl Category {
    pub(super) fn new(name: Arc<str>, quotas: Vec<Quota>) -> Self {
        let quoted = string(&name);
        let policies: Vec<String> = quotas.iter().map(|quota| policy(&quoted, *quota)).collect();
        Self { name, policy: value(policies.join(", ")), quotas: quotas.into(), quoted }
    }
}

/// `"read";q=1000;w=60`, an item of `RateLimit-Policy`.
pub(super) fn policy(quoted: &str, quota: Quota) -> String {
    format!("{quoted};q={};w={}", quota.limit(), whole_seconds(quota.window()))
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

pub(super) fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("a structured field is visible ASCII and spaces")
}
