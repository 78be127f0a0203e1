//! Limits: how much each subject may do in a span of time, at a time, or in a month; counted in this process, by Redis, or
//! by the store.
//!
//! * [`RateLimit`]: a rule for requests, given to [`ApiKeysBuilder::limit`](crate::ApiKeysBuilder::limit).
//! * [`Quota`]: the cost admitted in any window of a given length.
//! * [`Subject`]: the requests that are counted together: those of a key, an address, or an application-defined
//!   group.
//! * [`Charge`] and [`InFlight`]: what a handler says about its own request.
//! * [`LimitState`]: what is left, of [`ApiKeys::limits_of`](crate::ApiKeys::limits_of).
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
//! # Several limits
//!
//! A request is counted by all limits of its caller, or by none. What a plan allows, what an organization has left this
//! month, how much runs at a time, and a limit on trial:
//!
//! ```
//! # #[cfg(feature = "json")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::num::NonZeroU32;
//!
//! use serde::Deserialize;
//! use tower_api_keys::limit::Subject;
//! use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, Quota, RateLimit};
//!
//! /// Stored with the key, as its metadata.
//! #[derive(Clone, Deserialize)]
//! struct Plan {
//!     requests: NonZeroU32,
//! }
//!
//! let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!     .header("x-api-key")
//!     .route("GET", "/workflows", "workflows:read")
//!     .limit(RateLimit::per_key("writes", Quota::per_minute(100)?).methods(["GET"], "reads", Quota::per_minute(1_000)?))
//!     .limit(
//!         RateLimit::per_organization("plan", Quota::per_minute(500)?)
//!             .limit_for(|principal, _| Some(principal?.metadata::<Plan>().ok()?.requests)),
//!     )
//!     .limit(RateLimit::per_organization("month", Quota::per_month(100_000)?))
//!     .limit(RateLimit::per_key("in flight", Quota::concurrent(10)?))
//!     .limit(
//!         RateLimit::per("tenant", Quota::per_second(50)?, |request, principal| {
//!             let tenant = request.headers.get("x-tenant")?.to_str().ok()?;
//!             Some(Subject::other(format!("{}/{tenant}", principal.organization()?)))
//!         })
//!         .shadow(),
//!     )
//!     .build()?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "json"))]
//! # fn main() {}
//! ```
//!
//! A plan in metadata is the application's choice: customers that manage keys do not set them
//! ([unless they may](crate::manage::KeyManager::with_metadata_of_callers)), and a key has those of the key that makes it.
//!
//! They are asked one after the other. One that denies a request has those before it take it back, so for that moment two
//! requests may deny each other; put the tightest limit first. The three fields of the response tell the limit of which
//! least is left, in proportion, once charges are settled (requests at a time last); those of the IETF list all.
//!
//! # Charging for the answer
//!
//! Where the cost is known from the answer only, the limit is [charged](RateLimit::charged). A handler that knows the plan, and
//! charges what the answer cost:
//!
#![cfg_attr(feature = "axum", doc = "```")]
#![cfg_attr(not(feature = "axum"), doc = "```text")]
//! use axum::Json;
//! use http::StatusCode;
//! use serde::Deserialize;
//! use tower_api_keys::{Charge, Principal};
//!
//! #[derive(Clone, Deserialize)]
//! struct Plan {
//!     model: String,
//! }
//!
//! # async fn answer(model: &str, prompt: String) -> (String, u64) { (format!("{model}: {prompt}"), 7) }
//! async fn complete(
//!     principal: Principal,
//!     charge: Charge,
//!     Json(prompt): Json<String>,
//! ) -> Result<String, StatusCode> {
//!     // Parsed once for each record.
//!     let plan: Plan = principal.metadata().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
//!     let (answer, tokens) = answer(&plan.model, prompt).await;
//!     // Counted also past the limit: then the next request is rejected.
//!     charge.add(tokens);
//!     Ok(answer)
//! }
//! ```
//!
//! # Stored quotas
//!
//! [Days](Quota::per_day), [months](Quota::per_month) and [credits](Quota::credits) are counted by the store of the keys:
//! [`MemoryStore`](crate::MemoryStore), SQLite or PostgreSQL. No request writes: a process takes a lease from the store, a
//! hundredth of the limit at most and less as the limit comes near, and counts it down by itself.
//!
//! - All processes together never admit more than the limit. Their clocks decide when a period begins; one that is behind
//!   counts in the period that another has begun, and one that is ahead begins it for all. A row whose period lies in the
//!   future is from such a clock, and can be deleted.
//! - A process that is killed loses what is left of its lease, one for each subject, and what was
//!   [charged](RateLimit::charged) and not told to the store yet.
//! - [`ApiKeys::background`](crate::ApiKeys::background) gives back a lease that is not used for a minute,
//!   [`ApiKeys::flush`](crate::ApiKeys::flush) all of them. What is left according to other processes may be less by as much.
//! - [`ApiKeys::grant`](crate::ApiKeys::grant) tops up, beyond the limit; [`ApiKeys::forget`](crate::ApiKeys::forget) restarts the
//!   period.
//! - Without an answer of the store, a request that needs one is rejected with 503.
//!
//! # Life and time
//!
//! The limits of an assembly live as long as the assembly: build it once, not for each connection.
//!
//! The time is passed as [`Now`](crate::clock::Now). Only its monotonic part matters, so a step of the calendar
//! neither blocks nor admits a subject.

mod calendar;
mod category;
mod charge;
mod decision;
mod fields;
mod held;
mod in_flight;
#[expect(clippy::module_inception, reason = "the file is named for the trait in it")]
mod limit;
mod limiter;
mod occupancy;
#[cfg(test)]
mod occupancy_tests;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod rule;
mod state;
mod stored;
mod subject;
mod subjects;
mod window;

/// Under a name of its own so that a model checker can put its own in place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}

pub(crate) use category::Category;
pub(crate) use charge::Account;
pub use charge::Charge;
pub use decision::{Decision, Verdict};
pub use fields::FIELD_NAMES;
pub(crate) use fields::Fields;
pub use in_flight::InFlight;
pub(crate) use limit::{Deciding, DecisionResult, Demand, PendingDecision};
pub use limit::{RateLimiter, Undecided};
pub use limiter::{MemoryRateLimiter, Permit};
pub use quota::Quota;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisConcurrency;
#[cfg(feature = "redis")]
pub use redis::{OnFailure, RedisConnection, RedisRateLimiter, RedisStatus};
pub use rule::RateLimit;
pub(crate) use rule::{ChargeFn, CostFn, LimitFn, RefundFn, SubjectKind};
pub use state::LimitState;
pub(crate) use stored::StoredLimiter;
pub use subject::Subject;
pub use window::Algorithm;
