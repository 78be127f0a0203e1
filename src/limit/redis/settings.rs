use std::fmt::Write;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::OnFailure;
use crate::InvalidValue;
use crate::clock::Now;
use crate::limit::category::Category;
use crate::limit::{MemoryRateLimiter, Quota, Subject};

/// How long a request may wait for Redis by default.
pub(super) const DEFAULT_DEADLINE: Duration = Duration::from_millis(50);

/// What the limiters made with a [`RedisConnection`] have in common.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) prefix: Arc<str>,
    pub(super) processes: NonZeroU32,
    pub(super) leases: bool,
    pub(super) on_failure: OnFailure,
    pub(super) deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prefix: "rate_limit".into(),
            processes: NonZeroU32::MIN,
            leases: false,
            on_failure: OnFailure::default(),
            deadline: DEFAULT_DEADLINE,
        }
    }
}

impl Settings {
    /// The limiter for this process's own count.
    pub(super) fn local(&self, category: &Category, now: Now) -> Result<MemoryRateLimiter, InvalidValue> {
        let part = |quota: &Quota| quota.with_limit(part(quota.limit(), self.processes));
        let quotas: Vec<_> = category.quotas.iter().map(part).collect();
        MemoryRateLimiter::new(category.name.clone(), &quotas, now)
    }

    /// The name of a key without the subject.
    ///
    /// The parts of a name are separated by `:`. Only the prefix, which is first, and the subject, which is last, may
    /// contain one. The number is the version of the stored layout.
    pub(super) fn key_prefix(&self, category: &Category) -> String {
        let mut name = format!("{}:1:", self.prefix);
        for byte in category.name.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(char::from(byte)),
                _ => {
                    let _ = write!(name, "%{byte:02X}");
                }
            }
        }
        let windows: Vec<String> =
            category.quotas.iter().map(|quota| quota.window().as_millis().to_string()).collect();
        let is_concurrent = category.quotas.iter().any(|quota| quota.is_concurrent());
        let kind = if is_concurrent {
            "concurrent"
        } else if self.leases {
            "leased"
        } else {
            "strict"
        };
        let _ = write!(name, ":{kind}:{}:", windows.join(","));
        name
    }
}

/// The name of the key of a subject.
pub(super) fn subject_key(prefix: &str, subject: &Subject) -> String {
    match subject {
        Subject::Key(id) => format!("{prefix}key={}", id.as_str()),
        Subject::Address(address) => format!("{prefix}address={}", address.ip()),
        // May have any length and any characters.
        Subject::Other(name) => {
            format!("{prefix}other={}", URL_SAFE_NO_PAD.encode(Sha256::digest(name.as_bytes())))
        }
    }
}

/// One process's part of a limit.
pub(super) fn part(limit: NonZeroU32, processes: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(limit.get() / processes).unwrap_or(NonZeroU32::MIN)
}
