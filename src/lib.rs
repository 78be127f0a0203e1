//! API keys for HTTP services, as [tower](https://docs.rs/tower) layers. Configure your keys once, in [`ApiKeys`], and wrap
//! your axum, hyper or tonic routes in its layer: every request then has an authenticated caller ([`Principal`]) and stays
//! within that caller's organization, scopes and limits, or it is rejected with a proper error.
//!
#![cfg_attr(feature = "axum", doc = "```no_run")]
#![cfg_attr(not(feature = "axum"), doc = "```text")]
//! use axum::{Router, routing::get};
//! use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, NewKey, Principal, Quota, RateLimit};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!         .header("x-api-key")
//!         .limit(RateLimit::per_key("requests", Quota::per_minute(1000)?))
//!         .route("GET", "/workflows", "workflows:read")
//!         .build()?;
//!
//!     let key = keys.manager().create_for("org_1", NewKey::new("First key").scope("workflows:read")).await?;
//!     println!("curl -i localhost:3000/workflows -H 'x-api-key: {}'", key.secret.expose_secret());
//!
//!     let workflows = async |caller: Principal| format!("The workflows of {}\n", caller.name());
//!     let app = Router::new().route("/workflows", get(workflows)).layer(keys.layer());
//!     axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await?;
//!     Ok(())
//! }
//! ```
//!
//! A request with several faults is rejected by the first check that finds one, in a [fixed order](rejection::Check):
//! 401 before 429 before 403. Any tower service can stand behind the layer; [`middleware`] says where to put it, and how
//! to split it.
//!
//! # How to
//!
//! The [`guide`] is read in order: a first key in five minutes, production, incidents, migration, and work from day to day.
//!
//! | | |
//! |---|---|
//! | choose what a key looks like: live and test, a public identifier, a checksum | [`KeyFormat`] |
//! | take keys as bearer tokens, in HTTP Basic, or from two places | [`bearer`](ApiKeysBuilder::bearer), [`basic`](ApiKeysBuilder::basic), [`credential`] |
//! | say what a route needs, and keep some routes public | [`Access`], [`public`](ApiKeysBuilder::public) |
//! | put the layer round a router, with nested routers and a fallback | [`middleware`] |
//! | test that no route was forgotten | [`uncovered`](ApiKeys::uncovered) |
//! | limit reads, writes and single routes, callers and addresses | [`RateLimit`] |
//! | limit by plan, by month, so many at a time; charge for the answer; try a limit | [`limit`](limit#several-limits) |
//! | show what is left of limits, reset them, sell credits | [`limits_of`](ApiKeys::limits_of), [`forget`](ApiKeys::forget), [`grant`](ApiKeys::grant) |
//! | accept requests without a key, too | [`allow_anonymous`](ApiKeysBuilder::allow_anonymous) |
//! | accept people with a session of yours, members and staff | [`sessions`](ApiKeysBuilder::sessions), [sessions](identity#sessions) |
//! | tell a caller who it is | [`whoami`](https://docs.rs/tower-api-keys/latest/tower_api_keys/struct.ApiKeys.html#method.whoami) |
//! | ask for an app's secret or a session token beside the key | [`Companions`](credential::Companions) |
//! | keep one organization's data from another's | [`Owned`](identity::Owned), [`organization`](ApiKeysBuilder::organization) |
//! | keep keys in a database, or write a store | [`store`] |
//! | create, rotate, revoke and import keys, in code or over HTTP | [`manage`] |
//! | find keys by scope, name, status, age or a leaked text | [`KeyQuery`](store::KeyQuery), [`find_by_text`](manage::KeyManager::find_by_text) |
//! | end a key that has leaked | [`leaked_key`], a page |
//! | see what is defended against, where, and by which standards | [`threat_model`], a page |
//! | give staff or customers a page for their keys | [the key page](https://docs.rs/tower-api-keys/latest/tower_api_keys/console/index.html) |
//! | let staff manage the keys of all organizations | [operator and staff](manage#operator-and-staff) |
//! | see what was done to a key and by whom, and pass it on | [audit](manage#audit) |
//! | take over keys of another system, hashed with bcrypt, argon2 or SHA-256 | [importing](manage#keys-of-another-system) |
//! | see when a key was last used; meter calls | [`outcome`] |
//! | see how often keys are used, and how their requests end | [`usage`] |
//! | end a stream or a WebSocket with its key | [`stream`] |
//! | learn client addresses behind a proxy, slow down guessing | [`address`], [`throttle_bad_credentials`](ApiKeysBuilder::throttle_bad_credentials) |
//! | write errors in your own format | [`errors`](ApiKeysBuilder::errors), [`rejection`] |
//! | find out why a request was rejected, or would be | [finding out why](rejection#finding-out-why), [`explain`](ApiKeys::explain) |
//! | watch it: metrics, a dashboard, alerts, the log; what each part is doing | [`monitoring`], [`health`](ApiKeys::health) |
//! | manage keys from a terminal or a script | [`cli`](https://docs.rs/tower-api-keys/latest/tower_api_keys/cli/index.html) |
//! | see who changed which key | [`history`](manage::KeyManager::history), [audit](manage#audit) |
//! | publish an OpenAPI document, and test that it is true | [`openapi`](https://docs.rs/tower-api-keys/latest/tower_api_keys/openapi/index.html) |
//! | change the pepper | [`Peppers`](key::Peppers#replacing-a-pepper) |
//! | know what happens when the database or Redis is down | [`GuardedStore`](store::GuardedStore), [limits](limit) |
//! | test limits and expiry | [testing with a clock](clock#testing-limits-and-expiry) |
//! | put a whole system together | [`presets`](https://docs.rs/tower-api-keys/latest/tower_api_keys/presets/index.html#writing-your-own) |
//!
//! # Features
//!
//! None is on by default. A feature adds API; it never changes how a request is answered.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | [`Principal`] as an extractor, routes for managing keys |
//! | `cache` | `store::CachedStore`, a cache in front of any store |
//! | `cli` | `cli`: keys managed from a terminal or a script, in the application's own program or with `api-keys` |
//! | `coarse-clock` | `clock::CoarseClock`, cheaper to read and off by a tick of the kernel |
//! | `console` | [a page](https://docs.rs/tower-api-keys/latest/tower_api_keys/console/index.html) for managing keys, in a browser |
//! | `json` | `JsonErrors`: errors in JSON of the application's own |
//! | `metrics` | [counters and times](monitoring) through the facade of the same name |
//! | `openapi` | `openapi`: what clients need, in the application's OpenAPI document |
//! | `postgres` | `store::PostgresStore`: keys that many processes share |
//! | `presets` | `presets`: four published systems, as data |
//! | `redis` | rate limits that many processes share, and news of changed keys for caches |
//! | `sqlite` | `store::SqliteStore`: keys in a file |
//! | `tls` | TLS to PostgreSQL and to Redis (`sslmode=verify-full`, `rediss://`), by rustls |
//! | `tonic` | [`Principal`] from the requests of tonic's services; the layer itself needs no feature |
//! | `tracing` | events for rejections (`INFO`), accepted requests (`DEBUG`) and failures (`ERROR`, once a second); never a secret |
//! | `full` | all of them |
//!
//! What a request costs is in [`performance`].
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

// The row of the SQL stores is also the example in the guide to writing one, where the crate goes by its name.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
extern crate self as tower_api_keys;

mod breaker;
mod invalid_value;
#[cfg(any(feature = "axum", feature = "cli"))]
mod json;
mod log;
mod metrics;
mod number;
mod text;
mod timer;
mod wakers;

pub mod request;

pub mod address;
pub mod clock;
pub mod key;
pub mod scope;
pub mod usage;

pub mod store;

pub mod credential;
pub mod identity;
pub mod limit;
pub mod route;

pub mod rejection;

pub mod stream;

pub mod manage;

pub mod outcome;

pub mod middleware;

#[cfg(feature = "cli")]
pub mod cli;

mod adapter;
#[cfg(feature = "console")]
pub mod console;

#[cfg(feature = "openapi")]
pub mod openapi;

#[cfg(feature = "presets")]
pub mod presets;

/// A page to read: there is nothing in it to call.
#[cfg(doc)]
#[doc = include_str!("../benches/README.md")]
pub mod performance {}

/// A page to read, too.
#[cfg(doc)]
#[doc = include_str!("../docs/README.md")]
pub mod monitoring {}

/// A page to read: what to do with a key that was found somewhere.
#[cfg(doc)]
#[doc = include_str!("../docs/leaked-key.md")]
pub mod leaked_key {}

/// A page to read: who attacks, where each attack is stopped, and what standards ask for.
#[cfg(doc)]
#[doc = include_str!("../docs/threat-model.md")]
pub mod threat_model {}

// What its programs need is in `full`.
#[cfg(all(doc, any(feature = "full", not(doctest))))]
pub mod guide;

#[cfg(feature = "axum")]
pub use adapter::ArgumentRejection;
pub use identity::Principal;
pub use invalid_value::InvalidValue;
pub use key::KeyFormat;
pub use limit::{Charge, Quota, RateLimit};
pub use manage::{Authority, NewKey};
pub use middleware::{ApiKeys, ApiKeysBuilder, ConfigError};
pub use rejection::ErrorFormat;
#[cfg(feature = "json")]
pub use rejection::JsonErrors;
pub use route::Access;
pub use store::MemoryStore;

/// Compiles the README's code.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;
