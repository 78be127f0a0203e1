//! The outcome of requests: usage metering, when keys were last used, and [metrics and the log](crate::monitoring).
//!
//! [`ApiKeysBuilder::usage`](crate::ApiKeysBuilder::usage) reports to a closure of the application every [`Call`]
//! that sent a credential and did not fail with a server error: accepted and rejected ones. The application decides
//! how to use them, for counters, bills or statistics.
//!
//! A call that the client aborts before the head of its response has no outcome and is not reported: servers drop it,
//! and its handler wherever that is. Work that must be paid for in any case belongs into a separate task that records
//! it.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//!
//! use tower_api_keys::key::KeyId;
//! use tower_api_keys::store::MemoryStore;
//! use tower_api_keys::{ApiKeys, KeyFormat};
//!
//! let calls = Arc::new(Mutex::new(HashMap::<KeyId, u64>::new()));
//! let counted = calls.clone();
//! let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!     .header("x-api-key")
//!     .route("GET", "/workflows", "workflows:read")
//!     .usage(move |call| {
//!         if let (Some(principal), Ok(mut calls)) = (call.principal(), counted.lock()) {
//!             *calls.entry(*principal.key_id()).or_default() += 1;
//!         }
//!     })
//!     .build()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod last_use;
#[expect(clippy::module_inception, reason = "the file is named for the type in it")]
mod outcome;
mod usage;
mod usage_counter;
mod usage_writer;

#[cfg(feature = "metrics")]
pub use crate::metrics::{DURATION_BUCKETS, METRICS, Metric, MetricKind};
pub(crate) use last_use::LastUse;
pub(crate) use outcome::Outcome;
#[cfg(feature = "axum")]
pub(crate) use outcome::report_misplaced;
pub use usage::Call;
pub(crate) use usage::{Metered, UsageSink};
pub(crate) use usage_counter::UsageCounter;
pub(crate) use usage_writer::{UsageRetention, keep_writing as keep_writing_usage, write as write_usage};
