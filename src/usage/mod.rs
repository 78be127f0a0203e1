//! How often keys are used: requests counted per key, hour, category and outcome.
//!
//! [`count_usage`](crate::ApiKeysBuilder::count_usage) counts in memory, [`background`](crate::ApiKeys::background) adds what is
//! counted to the store, and [`KeyManager::usage`](crate::manage::KeyManager::usage) reads it: for a page, a chart, a support
//! call. With the feature `axum`, `ApiKeys::usage_route` serves it over HTTP, as JSON and as CSV; the command line (feature `cli`) prints it.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_api_keys::clock::{Clock, SystemClock};
//! use tower_api_keys::key::{Mode, Owner};
//! use tower_api_keys::usage::{UsageBucket, UsageGroup, UsageOutcome, UsageQuery};
//! use tower_api_keys::{ApiKeys, Authority, KeyFormat, MemoryStore, NewKey};
//! # use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!     .header("x-api-key")
//!     .route("GET", "/workflows", "workflows:read")
//!     .count_usage()
//!     .build()?;
//! # let key = keys.manager().create_for("org_1", NewKey::new("First key").scope("workflows:read")).await?;
//! # let service = keys.layer().layer(tower::service_fn(async |_: http::Request<()>| {
//! #     Ok::<_, std::convert::Infallible>(http::Response::new(bytes::Bytes::new()))
//! # }));
//! # let request = http::Request::get("/workflows").header("x-api-key", key.secret.expose_secret()).body(())?;
//! # service.oneshot(request).await?;
//! // … serve, with `keys.background()` beside it; and at the end of the process:
//! keys.flush().await?;
//!
//! let now = SystemClock.now().timestamp();
//! let week = Duration::from_secs(7 * 24 * 60 * 60);
//! let mut query = UsageQuery::new(now.saturating_sub(week), now, UsageBucket::Day);
//! query.group_by = Some(UsageGroup::Key);
//! let acme = Authority::operator(Owner::organization("org_1".parse()?, Mode::Live));
//! let usage = keys.manager().usage(&acme, &query).await?;
//! let today = usage.rows.last().unwrap();
//! assert_eq!((today.calls.of(UsageOutcome::Ok), today.calls.total()), (1, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # What is counted
//!
//! Each request whose key was authenticated, once, whatever became of it:
//!
//! | outcome | the response |
//! |---|---|
//! | `ok` | below 400 |
//! | `client_error` | 400 to 499, but for those below |
//! | `limited` | 429 |
//! | `forbidden` | 403 |
//! | `refused` | 401 |
//! | `server_error` | 500 and above; also a service that fails without a response |
//!
//! 1. The status of the response decides, whether it is the handler's or a rejection. Where a format of errors answers rejections
//!    with another status, the [kind](crate::rejection::ErrorKind) of the rejection does. Of a gRPC response it is `grpc-status`
//!    in its head, as by the HTTP status that [`google.rpc.Code`] names for it: so do handlers fail that send no message first. The
//!    status that follows messages is in trailers, which are not read, and such a response is `ok`.
//! 2. `refused` is mostly a key that is revoked, disabled or has expired: a client that was not told. Its secret has to be right: who
//!    knows nothing but a key's identifier can't write into its owner's usage. Requests with an unknown key, without one, and of
//!    people's [sessions](crate::identity#sessions) are not counted; [metrics](crate::monitoring) have those.
//! 3. The hour is that in which the request arrived by the clock of its process, in UTC. Days are UTC's, too.
//! 4. The category is that of the first limit of callers, in the order in which limits were added, that counts the request;
//!    the empty text if there is none. A request is in one category, so the sums of categories are the whole.
//! 5. The owner is that of the key, also for a key of the system that acts for an organization. A
//!    [companion](crate::credential::Companions) is not counted beside its key.
//! 6. A request whose client hangs up before the response is not counted: servers drop it.
//!
//! [`google.rpc.Code`]: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
//!
//! # What can be lost
//!
//! No request waits for the store, and none writes. Every ten seconds, or within a second once 5,000 rows have collected, a process
//! adds to the store what it has counted, in batches.
//!
//! - A batch is counted once. It has the name of its process and a number, which the store remembers in the same transaction; one
//!   whose fate is not known is added again under the same number, and the store knows if it has it.
//! - While the store takes nothing, counts stay in memory, and the process tries again every two seconds. There is room for 100,000
//!   counters, each of a key, an hour, a category and an outcome, and for as many rows in batches. What finds no room is lost: it is
//!   in the metric `api_keys_usage_lost_total` and in the log.
//! - A process that is killed loses what it had not added: what it counted in the last ten seconds, and in the time that adding takes.
//!   One that ends as it should loses nothing: call [`flush`](crate::ApiKeys::flush) once the server has stopped.
//!
//! So sums are never too high, and too low by no more than that. [`as_of`](Usage::as_of) tells how far an answer is complete.
//!
//! # How long it is kept
//!
//! Hours for 14 days and days for 400, unless [`keep_usage_for`](crate::ApiKeysBuilder::keep_usage_for) says otherwise. The
//! background task deletes what is older once an hour, a few thousand rows at a time. A row takes some 150 bytes in a database: ten
//! thousand keys that are used around the clock make 3.4 million rows of hours and 4 million of days. Usage outlasts its key.
//!
//! # Bills
//!
//! These are statistics: a crash may lose the last seconds. For bills, give a [sink](crate::ApiKeysBuilder::usage) each
//! [`Call`](crate::outcome::Call), and pass it on with an identifier of its own, such as the request's
//! ([`request_ids`](crate::ApiKeysBuilder::request_ids)), to what makes the bills, which drops repetitions. Both can be
//! used at once. What was paid for in advance is a [stored quota](crate::limit#stored-quotas), which is never exceeded.

mod batch;
mod counts;
mod health;
mod outcome;
mod query;
mod report;

pub use batch::{UsageBatch, UsageEntry};
pub use counts::UsageCounts;
pub use health::UsageHealth;
pub use outcome::UsageOutcome;
pub use query::{UsageBucket, UsageGroup, UsageQuery};
pub use report::{Usage, UsageRow};
