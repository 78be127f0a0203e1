//! API keys for HTTP services, as [tower](https://docs.rs/tower) layers.
//!
//! Configure your keys once, in [`ApiKeys`], and wrap your axum, hyper or tonic routes in its layer. From then on every
//! request has an authenticated caller ([`Principal`]) and stays within that caller's organization, scopes and limits, or
//! it is rejected with a proper error.
//!
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

// The row of the SQL stores is also the example in the guide to writing one, where the crate goes by its name.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
extern crate self as tower_api_keys;

mod log;
mod number;
mod text;

pub mod request;

pub mod address;
pub mod clock;
pub mod key;
pub mod scope;

pub mod store;

pub mod credential;
pub mod identity;
pub mod limit;
pub mod route;

pub mod rejection;

pub mod manage;

pub mod outcome;

pub mod middleware;

mod adapter;
#[cfg(feature = "presets")]
#[cfg_attr(docsrs, doc(cfg(feature = "presets")))]
pub mod presets;

/// A page to read: there is nothing in it to call.
#[cfg(doc)]
#[doc = include_str!("../benches/README.md")]
pub mod performance {}

pub use identity::Principal;
pub use key::KeyFormat;
pub use limit::{Quota, RateLimit};
pub use manage::{Authority, NewKey};
pub use middleware::{ApiKeys, ApiKeysBuilder, ConfigError};
pub use rejection::ErrorFormat;
#[cfg(feature = "json")]
#[cfg_attr(docsrs, doc(cfg(feature = "json")))]
pub use rejection::JsonErrors;
pub use route::Access;
pub use store::MemoryStore;

/// Compiles the README's code.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
