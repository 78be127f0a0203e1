//! Rate limits: how much each subject may do in a span of time, counted in this process or by Redis.
//!
//! * [`Quota`]: so much cost in any window of such a length.
//! * [`Subject`]: whose requests are counted together: a key, an address, or what the host names.
//! * [`MemoryRateLimiter`]: one category of requests; counts, and answers with a [`Decision`].
//! * `RedisRateLimiter`, with the feature `redis`: the same for several processes, which count together.
//! * [`Algorithm`]: how it counts; by default never more than the limit in any window.
//! * [`RateLimitLayer`]: puts limiters in front of a service, by method and route, and writes the header
//!   fields.
//!
//! ```
//! use http::Method;
//! use tower_api_keys::address::ClientAddressSource;
//! use tower_api_keys::rate_limit::{MemoryRateLimiter, Quota, RateLimitLayer};
//!
//! let read = MemoryRateLimiter::builder("read", Quota::per_minute(1_000)?).build();
//! let write = MemoryRateLimiter::builder("write", Quota::per_minute(100)?).build();
//! let run = MemoryRateLimiter::builder("run", Quota::per_hour(50)?).build();
//!
//! // For each key: 1000 reads a minute, 50 runs an hour, 100 of anything else. Goes inside AuthenticateLayer.
//! let by_key = RateLimitLayer::by_key(write)
//!     .with_methods([Method::GET], read)
//!     .with_route(Method::POST, "/workflows/{id}/run", run)?;
//!
//! // For each address, whoever calls. Goes outside AuthenticateLayer, and so limits guesses at keys, too.
//! let requests = MemoryRateLimiter::builder("address", Quota::per_minute(5_000)?).build();
//! let proxies = ClientAddressSource::forwarded_for(["10.0.0.0/8".parse()?]);
//! let by_address = RateLimitLayer::by_client_address(proxies, requests);
//!
//! # let _ = (by_key, by_address);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! A limiter counts for as long as it lives: make it once, outside of what is built for each connection. An
//! `Arc<MemoryRateLimiter>` (any [`RateLimiter`]) can stand in several layers, which then share its counts.
//!
//! Which address a request comes from, also behind proxies, is told by a
//! [`ClientAddressSource`](crate::address::ClientAddressSource).
//!
//! Time is handed in as [`Now`](crate::clock::Now). Only its monotonic count matters, so a step of the calendar neither
//! locks a subject out nor lets one in.

mod category;
mod classify;
mod decision;
mod fields;
mod future;
mod layer;
mod limit;
mod limiter;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod service;
mod subject;
mod subjects;
mod window;

pub(crate) use classify::over_limit;
pub use decision::{Decision, Verdict};
pub use future::ResponseFuture;
pub use layer::RateLimitLayer;
pub(crate) use limit::Limit;
pub use limit::{RateLimiter, Undecided};
pub use limiter::{MemoryRateLimiter, MemoryRateLimiterBuilder, Permit, TooManyQuotas};
pub use quota::{InvalidQuota, Quota};
#[cfg(feature = "redis")]
pub use redis::{
    OnFailure, RedisConnection, RedisPermit, RedisRateLimiter, RedisRateLimiterBuilder, RedisStatus,
};
pub use service::RateLimit;
pub use subject::Subject;
pub use window::Algorithm;

#[cfg(feature = "redis")]
pub use crate::redis_url::InvalidRedisUrl;
