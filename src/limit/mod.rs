//! Rate limits: how much each subject may do in a span of time, counted in this process or by Redis.
//!
//! * [`RateLimit`]: a rule for requests, given to [`ApiKeysBuilder::limit`](crate::ApiKeysBuilder::limit).
//! * [`Quota`]: the cost admitted in any window of a given length.
//! * [`Subject`]: the requests that are counted together: those of a key, an address, or an application-defined
//!   group.
//! * [`MemoryRateLimiter`]: counts one category of requests and returns a [`Decision`].
//! * `RedisRateLimiter`, with the feature `redis`: the same, shared by several processes.
//! * [`Algorithm`]: how it counts; by default never more than the limit in any window.
//!
//! ```
//! use tower_api_keys::address::ClientAddressSource;
//! use tower_api_keys::store::MemoryStore;
//! use tower_api_keys::{ApiKeys, KeyFormat, Quota, RateLimit};
//!
//! let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!     .header("x-api-key")
//!     .route("GET", "/workflows", "workflows:read")
//!     .client_address(ClientAddressSource::forwarded_for(["10.0.0.0/8"]))
//!     // For each address, before authentication, so that it limits guesses at keys, too.
//!     .limit(RateLimit::per_address("address", Quota::per_minute(5_000)?))
//!     // For each key: 1000 reads a minute, and 100 of anything else.
//!     .limit(RateLimit::per_key("write", Quota::per_minute(100)?).methods(["GET"], "read", Quota::per_minute(1_000)?))
//!     .build()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! The limits of an assembly live as long as the assembly: build it once, not for each connection.
//!
//! The time is passed as [`Now`](crate::clock::Now). Only its monotonic part matters, so a step of the calendar
//! neither blocks nor admits a subject.

mod category;
mod decision;
mod fields;
mod held;
#[expect(clippy::module_inception, reason = "the file is named for the trait in it")]
mod limit;
mod limiter;
mod occupancy;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod rule;
mod subject;
mod subjects;
mod window;

/// Under a name of its own so that a model checker can put its own in place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}

pub(crate) use category::Category;
pub use decision::{Decision, Verdict};
pub use fields::FIELD_NAMES;
pub(crate) use fields::Fields;
pub(crate) use limit::{Charge, Deciding, Outcome, PendingDecision};
pub use limit::{RateLimiter, Undecided};
pub use limiter::{MemoryRateLimiter, Permit};
pub use quota::Quota;
#[cfg(feature = "redis")]
pub use redis::{OnFailure, RedisConnection, RedisRateLimiter, RedisStatus};
pub use rule::RateLimit;
pub(crate) use rule::{CostFn, RefundFn, SubjectKind};
pub use subject::Subject;
pub use window::Algorithm;
