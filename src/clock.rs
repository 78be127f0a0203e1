//! Where the layers read the time, and how a test hands it in.
//!
//! A request reads its [`Clock`] once; the [`Now`] it got travels with the request through every layer, so
//! that expiry, rate limits and the instants in header fields agree with one another.
//!
//! ```
//! use std::time::Duration;
//! use tower_api_keys::clock::{Clock, ManualClock, Timestamp};
//!
//! let clock = ManualClock::starting_at(Timestamp::from_unix_seconds(1_702_531_200));
//! let before = clock.now();
//! clock.advance(Duration::from_secs(60));
//! let after = clock.now();
//!
//! assert_eq!(after.monotonic() - before.monotonic(), Duration::from_secs(60));
//! assert_eq!(after.timestamp(), Timestamp::from_unix_seconds(1_702_531_260));
//! ```
//!
//! # Testing limits and expiry
//!
//! Give the one clock to the authentication layer, to the [`KeyManager`](crate::manage::KeyManager) and, by
//! [`build_at`](crate::rate_limit::MemoryRateLimiterBuilder::build_at), to each limiter. A
//! [`RateLimitLayer`](crate::RateLimitLayer) has a clock of its own for requests that no authentication layer
//! has seen.
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::{HeaderName, Request, Response, StatusCode};
//! use tower::{Service, ServiceBuilder, service_fn};
//! use tower_api_keys::clock::{Clock, ManualClock, Timestamp};
//! use tower_api_keys::credential::HeaderKey;
//! use tower_api_keys::key::{KeyFormat, Mode, Owner};
//! use tower_api_keys::manage::{Authority, KeyManager, NewKey};
//! use tower_api_keys::rate_limit::{MemoryRateLimiter, Quota};
//! use tower_api_keys::scope::ScopeSet;
//! use tower_api_keys::store::MemoryStore;
//! use tower_api_keys::{AuthenticateLayer, RateLimitLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ManualClock::starting_at(Timestamp::from_unix_seconds(1_702_531_200));
//! let (store, format) = (MemoryStore::new(), KeyFormat::new("acme_").build()?);
//! let manager = KeyManager::new(store.clone(), format.clone()).with_clock(clock.clone());
//! let header = HeaderKey::new(HeaderName::from_static("x-api-key"), format);
//! let limiter = MemoryRateLimiter::builder("requests", Quota::per_minute(1)?).build_at(clock.now());
//! let mut service = ServiceBuilder::new()
//!     .layer(AuthenticateLayer::new(store, header).with_clock(clock.clone()))
//!     .layer(RateLimitLayer::by_key(limiter))
//!     .service(service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))));
//!
//! // A key for one hour.
//! let operator = Authority::operator(Owner::organization("org_1".parse()?, Mode::Live));
//! let mut new = NewKey::new("First key", ScopeSet::empty());
//! new.expires_at = Some(clock.now().timestamp().saturating_add(Duration::from_secs(60 * 60)));
//! let key = manager.create(&operator, new).await?;
//! let request = || Request::builder().header("x-api-key", key.secret.expose_secret()).body(());
//!
//! assert_eq!(service.call(request()?).await?.status(), StatusCode::OK);
//! let refused = service.call(request()?).await?;
//! assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
//!
//! let retry_after = refused.headers()["retry-after"].to_str()?.parse()?;
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

use std::cmp::Ordering as Order;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(feature = "coarse-clock")]
pub use coarse::CoarseClock;

/// A point in time: whole milliseconds since the Unix epoch, 1970-01-01T00:00:00Z, less than 2<sup>48</sup> of them:
/// up to the year 10889. What would be later is the latest there is.
///
/// What is stored with a key (when it was made, when it expires) is a `Timestamp`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Timestamp {
    low: u32,
    high: u16,
    highest: Zero,
}

/// The highest two bytes of every timestamp. The values that they never have leave room within the eight bytes for what an
/// `Option` or an enum puts round a timestamp, of which the record of a key has several.
#[derive(Clone, Copy)]
#[repr(u16)]
enum Zero {
    Zero = 0,
}

impl Timestamp {
    const MAX_MILLIS: u64 = (1 << 48) - 1;

    /// A timestamp from milliseconds since the Unix epoch.
    pub const fn from_unix_millis(millis: u64) -> Self {
        let millis = if millis > Self::MAX_MILLIS { Self::MAX_MILLIS } else { millis };
        Self { low: millis as u32, high: (millis >> 32) as u16, highest: Zero::Zero }
    }

    /// A timestamp from seconds since the Unix epoch; one beyond the range of milliseconds becomes the latest.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self::from_unix_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_unix_millis(self) -> u64 {
        // The compiler puts no instruction in the place of the last term.
        self.low as u64 | (self.high as u64) << 32 | (self.highest as u64) << 48
    }

    /// The point in time that lies `duration` later, or the latest there is.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self::from_unix_millis(self.as_unix_millis().saturating_add(millis(duration)))
    }

    /// The point in time that lies `duration` earlier, or the Unix epoch.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self::from_unix_millis(self.as_unix_millis().saturating_sub(millis(duration)))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.as_unix_millis().saturating_sub(earlier.as_unix_millis()))
    }
}

const fn millis(duration: Duration) -> u64 {
    let millis = duration.as_millis();
    if millis > u64::MAX as u128 { u64::MAX } else { millis as u64 }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.as_unix_millis() == other.as_unix_millis()
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Order {
        self.as_unix_millis().cmp(&other.as_unix_millis())
    }
}

impl Hash for Timestamp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_unix_millis().hash(state);
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({} ms)", self.as_unix_millis())
    }
}

impl From<SystemTime> for Timestamp {
    /// A time before 1970 becomes the Unix epoch.
    fn from(time: SystemTime) -> Self {
        Self::from_unix_millis(millis(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(timestamp.as_unix_millis())
    }
}

/// One reading of a [`Clock`]: what the calendar says, and a count that only goes forward.
///
/// Expiry follows the calendar. Rate limits follow the monotonic count, so that a step of the calendar clock
/// neither locks a caller out nor lets one in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    monotonic_nanos: u64,
    unix_nanos: u64,
}

impl Now {
    /// A reading from a monotonic count since any fixed origin, and the time since the Unix epoch. Both are kept in
    /// nanoseconds; what is beyond 584 years becomes the latest there is.
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

    /// The calendar's point in time, whole milliseconds.
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

/// Tells the time. [`SystemClock`] in production (or, with the feature `coarse-clock`, `CoarseClock`), [`ManualClock`] in
/// tests.
pub trait Clock: Send + Sync + 'static {
    /// The time now. Called once for each request.
    fn now(&self) -> Now;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Now {
        (**self).now()
    }
}

/// The operating system's clocks.
///
/// Reads the monotonic clock each time, and the calendar clock at most once a second: in between, the calendar is
/// the last reading plus what the monotonic clock has counted since. A step of the system's calendar clock is thus
/// seen within a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// What all copies of [`SystemClock`] share: one origin for the whole process.
struct Anchor {
    origin: Instant,
    calendar: Calendar,
}

static ANCHOR: LazyLock<Anchor> =
    LazyLock::new(|| Anchor { origin: Instant::now(), calendar: Calendar::read_at(0) });

/// Knows the calendar's time by a monotonic count.
struct Calendar {
    /// Nanoseconds to add to the monotonic count to get time since the Unix epoch.
    offset: AtomicU64,
    /// Monotonic count at which the calendar clock is to be read again.
    refresh_at: AtomicU64,
}

const REFRESH_NANOS: u64 = 1_000_000_000;

impl Calendar {
    fn read_at(count: u64) -> Self {
        Self {
            offset: AtomicU64::new(unix_nanos().saturating_sub(count)),
            refresh_at: AtomicU64::new(count.saturating_add(REFRESH_NANOS)),
        }
    }

    #[inline]
    fn at(&self, count: u64) -> Now {
        if count >= self.refresh_at.load(Ordering::Relaxed) {
            self.refresh_at.store(count.saturating_add(REFRESH_NANOS), Ordering::Relaxed);
            self.offset.store(unix_nanos().saturating_sub(count), Ordering::Relaxed);
        }
        let offset = self.offset.load(Ordering::Relaxed);
        Now { monotonic_nanos: count, unix_nanos: offset.saturating_add(count) }
    }
}

fn unix_nanos() -> u64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Nanoseconds in 64 bits reach to the year 2554.
pub(crate) const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

impl Anchor {
    fn elapsed(&self) -> u64 {
        nanos(self.origin.elapsed())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        ANCHOR.calendar.at(ANCHOR.elapsed())
    }
}

/// A clock that stands still until it is told to move. Copies share one time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    /// Monotonic nanoseconds and nanoseconds since the Unix epoch.
    state: Arc<(AtomicU64, AtomicU64)>,
}

impl ManualClock {
    /// A clock whose calendar shows `start`.
    pub fn starting_at(start: Timestamp) -> Self {
        let unix = start.as_unix_millis().saturating_mul(1_000_000);
        Self { state: Arc::new((AtomicU64::new(0), AtomicU64::new(unix))) }
    }

    /// Lets `duration` pass.
    pub fn advance(&self, duration: Duration) {
        self.state.0.fetch_add(nanos(duration), Ordering::SeqCst);
        self.state.1.fetch_add(nanos(duration), Ordering::SeqCst);
    }

    /// Sets the calendar to `to` while no time passes: what an administrator or NTP does to a running machine.
    pub fn step_calendar(&self, to: Timestamp) {
        self.state.1.store(to.as_unix_millis().saturating_mul(1_000_000), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        Now::new(
            Duration::from_nanos(self.state.0.load(Ordering::SeqCst)),
            Duration::from_nanos(self.state.1.load(Ordering::SeqCst)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_agrees_with_the_calendar_and_only_goes_forward() {
        let mut last = SystemClock.now();
        for _ in 0..10_000 {
            let now = SystemClock.now();
            assert!(now.monotonic() >= last.monotonic());
            last = now;
        }
        let calendar = Timestamp::from(SystemTime::now());
        assert!(calendar.saturating_since(last.timestamp()) < Duration::from_secs(2));
        assert!(last.timestamp().saturating_since(calendar) < Duration::from_secs(2));
    }

    #[test]
    fn a_calendar_step_leaves_the_monotonic_count_alone() {
        let clock = ManualClock::starting_at(Timestamp::from_unix_seconds(1_000));
        let before = clock.now();
        clock.step_calendar(Timestamp::from_unix_seconds(10));
        assert_eq!(clock.now().monotonic(), before.monotonic());
        assert_eq!(clock.now().timestamp(), Timestamp::from_unix_seconds(10));
    }

    #[test]
    fn what_may_be_round_a_timestamp_takes_no_room() {
        assert_eq!(size_of::<Option<Timestamp>>(), 8);
        assert_eq!(size_of::<crate::key::KeyState>(), 8);
    }

    #[test]
    fn timestamps_count_and_are_ordered_as_their_milliseconds() {
        let counts = [0, 1, 999, u32::MAX.into(), 1 << 32, 1_702_531_200_000, (1 << 48) - 2, (1 << 48) - 1];
        for (index, millis) in counts.into_iter().enumerate() {
            let timestamp = Timestamp::from_unix_millis(millis);
            assert_eq!(timestamp.as_unix_millis(), millis);
            for (other, other_millis) in counts.into_iter().enumerate() {
                let other_timestamp = Timestamp::from_unix_millis(other_millis);
                assert_eq!(timestamp.cmp(&other_timestamp), index.cmp(&other));
                assert_eq!(timestamp == other_timestamp, index == other);
            }
        }
        assert_eq!(Timestamp::from_unix_millis(1 << 48).as_unix_millis(), (1 << 48) - 1);
    }

    #[test]
    fn timestamps_saturate_instead_of_wrapping() {
        let latest = Timestamp::from_unix_millis(u64::MAX);
        assert_eq!(latest.saturating_add(Duration::from_secs(1)), latest);
        assert_eq!(Timestamp::from_unix_seconds(u64::MAX), latest);
        assert_eq!(
            Timestamp::from_unix_millis(5).saturating_sub(Duration::MAX),
            Timestamp::from_unix_millis(0)
        );
    }
}
