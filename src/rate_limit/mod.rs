//! Rate limits: how much each subject may do in a span of time, counted in this process.
//!
//! * [`Quota`]: so much cost in any window of such a length.
//! * [`Subject`]: whose requests are counted together: a key, an address, or what the host names.
//! * [`MemoryRateLimiter`]: one category of requests; counts, and answers with a [`Decision`].
//! * [`Algorithm`]: how it counts; by default never more than the limit in any window.
//!
//! Which address a request comes from, also behind proxies, is told by a
//! [`ClientAddressSource`](crate::address::ClientAddressSource).
//!
//! Time is handed in as [`Now`](crate::clock::Now). Only its monotonic count matters, so a step of the calendar neither
//! locks a subject out nor lets one in.

mod classify;
mod decision;
mod fields;
mod future;
mod layer;
mod limiter;
mod quota;
mod service;
mod subject;
mod window;

pub(crate) use classify::over_limit;
pub use decision::{Decision, Verdict};
pub use future::ResponseFuture;
pub use layer::RateLimitLayer;
pub use limiter::{MemoryRateLimiter, MemoryRateLimiterBuilder, Permit, TooManyQuotas};
pub use quota::{InvalidQuota, Quota};
pub use service::RateLimit;
pub use subject::Subject;
pub use window::Algorithm;
