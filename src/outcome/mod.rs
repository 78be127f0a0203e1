//! What becomes of requests: usage metering, and when keys were last used.
//!
//! [`ApiKeysBuilder::usage`](crate::ApiKeysBuilder::usage) tells a [`UsageSink`] of the application about every call that
//! presented a credential and was not answered with a server error: good calls, and rejected ones, too. What it makes of
//! them (counters, bills, statistics) is up to the application.
//!
//! A call that the client gives up before the head of its response is there has no outcome, and no sink learns of it:
//! servers drop it, with the handler wherever that is. Work that has to be paid for in any case belongs into a task of its
//! own, which takes note of it itself.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//!
//! use tower_api_keys::key::KeyId;
//! use tower_api_keys::outcome::Call;
//! use tower_api_keys::store::MemoryStore;
//! use tower_api_keys::{ApiKeys, KeyFormat};
//!
//! let calls = Arc::new(Mutex::new(HashMap::<KeyId, u64>::new()));
//! let sink = {
//!     let calls = calls.clone();
//!     move |call: &Call<'_>| {
//!         if let (Some(principal), Ok(mut calls)) = (call.principal(), calls.lock()) {
//!             *calls.entry(*principal.key_id()).or_default() += 1;
//!         }
//!     }
//! };
//! let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!     .header("x-api-key")
//!     .route("GET", "/workflows", "workflows:read")
//!     .usage(sink)
//!     .build()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod last_use;
mod timer;
mod usage;

pub use last_use::LastUse;
pub(crate) use usage::Metered;
pub use usage::{Call, UsageSink};
