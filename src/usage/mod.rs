//! Usage metering: who called what, and with which outcome.
//!
//! [`UsageLayer`] tells a [`UsageSink`] of the host's about every call that presented a key and was not answered with a
//! server error: good calls, and those that were refused, too. What it makes of them (counters, bills, statistics) is up
//! to the host.
//!
//! The layer goes outside of everything that may refuse a call, [`RateLimitLayer`](crate::RateLimitLayer) and
//! [`AuthenticateLayer`](crate::AuthenticateLayer) included, and yet knows who called, if that was found out.
//!
//! A call that the client gives up before the head of its answer is there has no outcome, and no sink is told of it: servers
//! drop it, with the handler wherever that is. Work that has to be paid for in any case belongs into a task of its own,
//! which takes note of it itself.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//!
//! use http::HeaderName;
//! use tower_api_keys::UsageLayer;
//! use tower_api_keys::key::KeyId;
//! use tower_api_keys::usage::Call;
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
//! let layer = UsageLayer::new(HeaderName::from_static("x-api-key"), sink);
//! # let _ = layer;
//! ```

mod call;
mod future;
mod layer;
mod service;

pub use call::{Call, UsageSink};
pub use future::ResponseFuture;
pub use layer::UsageLayer;
pub use service::Usage;
