use std::sync::Arc;

use http::HeaderValue;

use super::Quota;
use super::fields::{policy, string, value};

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
