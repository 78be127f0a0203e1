//! The time, and how tests control it.
//!
//! A request reads its [`Clock`] once. The resulting [`Now`] is used by every check, so that expiry, rate limits and
//! the instants in header fields are consistent.
//!
//! ```
//! use std::time::Duration;
//! use tower_api_keys::clock::{Clock, ManualClock};
//!
//! let clock = ManualClock::at("2026-01-01T00:00:00Z");
//! let before = clock.now();
//! clock.advance(Duration::from_secs(60));
//! let after = clock.now();
//!
//! assert_eq!(after.monotonic() - before.monotonic(), Duration::from_secs(60));
//! assert_eq!(after.timestamp().to_string(), "2026-01-01T00:01:00Z");
//! ```
//!
//! # Testing limits and expiry
//!
//! Give the clock to the [assembly](crate::ApiKeysBuilder::clock): its limits and its key manager use it, too. Advance it by
//! what `Retry-After` says: a request counts for [up to a thirtieth longer](crate::limit::Algorithm) than the window.
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use tower::{Service, ServiceBuilder};
//! use tower_api_keys::clock::{Clock, ManualClock};
//! use tower_api_keys::store::MemoryStore;
//! use tower_api_keys::{ApiKeys, KeyFormat, NewKey, Quota, RateLimit};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ManualClock::at("2026-01-01T00:00:00Z");
//! let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!     .header("x-api-key")
//!     .limit(RateLimit::per_key("requests", Quota::per_minute(1)?))
//!     .without_route_table()
//!     .clock(clock.clone())
//!     .build()?;
//! let handler = async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()));
//! let mut service = ServiceBuilder::new().layer(keys.layer()).service_fn(handler);
//!
//! // A key for one hour.
//! let mut new = NewKey::new("First key");
//! new.expires_at = Some(clock.now().timestamp().saturating_add(Duration::from_secs(60 * 60)));
//! let key = keys.manager().create_for("org_1", new).await?;
//! let request = || Request::builder().header("x-api-key", key.secret.expose_secret()).body(());
//!
//! assert_eq!(service.call(request()?).await?.status(), StatusCode::OK);
//! let rejected = service.call(request()?).await?;
//! assert_eq!(rejected.status(), StatusCode::TOO_MANY_REQUESTS);
//!
//! let retry_after = rejected.headers()["retry-after"].to_str()?.parse()?;
//! clock.advance(Duration::from_secs(retry_after));
//! assert_eq!(service.call(request()?).await?.status(), StatusCode::OK);
//!
//! clock.advance(Duration::from_secs(60 * 60));
//! assert_eq!(service.call(request()?).await?.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "coarse-clock")]
mod coarse;
mod manual;
mod system;
mod timestamp;

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "coarse-clock")]
pub use coarse::CoarseClock;
pub use manual::ManualClock;
pub use system::SystemClock;
pub use timestamp::Timestamp;
pub(crate) use timestamp::{date_of, days_from};

/// One reading of a [`Clock`]: the calendar time, and a count that never goes back.
///
/// Expiry uses the calendar time. Rate limits use the monotonic count, so that a step of the calendar clock neither
/// blocks nor admits a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    monotonic_nanos: u64,
    unix_nanos: u64,
}

impl Now {
    /// Combines a monotonic count since any fixed origin and the time since the Unix epoch. Both are kept in
    /// nanoseconds; times beyond 584 years are clamped.
    pub const fn new(monotonic: Duration, unix: Duration) -> Self {
        Self { monotonic_nanos: nanos(monotonic), unix_nanos: nanos(unix) }
    }

    /// Time since the clock's own fixed origin; never goes backwards.
    pub const fn monotonic(self) -> Duration {
        Duration::from_nanos(self.monotonic_nanos)
    }

    /// Time since the Unix epoch, by the calendar.
    pub const fn since_unix_epoch(self) -> Duration {
        Duration::from_nanos(self.unix_nanos)
    }

    /// The calendar time, in whole milliseconds.
    pub const fn timestamp(self) -> Timestamp {
        Timestamp::from_unix_millis(self.unix_nanos / 1_000_000)
    }

    pub(crate) const fn monotonic_nanos(self) -> u64 {
        self.monotonic_nanos
    }

    pub(crate) const fn unix_nanos(self) -> u64 {
        self.unix_nanos
    }
}

/// A source of time. Use [`SystemClock`] in production (or, with the feature `coarse-clock`, `CoarseClock`), and
/// [`ManualClock`] in tests.
pub trait Clock: Send + Sync + 'static {
    /// The current time. Called once for each request.
    fn now(&self) -> Now;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Now {
        (**self).now()
    }
}

/// Nanoseconds in 64 bits reach to the year 2554.
pub(crate) const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}
