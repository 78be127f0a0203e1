use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::InvalidValue;

/// The cost that may be admitted in any span of time as long as the window.
///
/// * limit: 1 to 1 048 575 ([`Quota::MAX_LIMIT`]), in units of cost; a request costs 1 unit by default
/// * window: 1 second to 1 day, in whole milliseconds
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use tower_api_keys::limit::Quota;
///
/// let read = Quota::per_minute(1_000)?;
/// assert_eq!(read.window(), Duration::from_secs(60));
///
/// // What is stored with one key replaces the limit; the window stays.
/// let raised = read.with_limit(NonZeroU32::new(5_000).unwrap());
/// assert_eq!(raised, Quota::per_minute(5_000)?);
///
/// assert!(Quota::per_minute(0).is_err());
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    limit: NonZeroU32,
    window_millis: u32,
}

impl Quota {
    /// The highest limit: 2^20 − 1. Counts are kept in 20 bits.
    pub const MAX_LIMIT: u32 = (1 << 20) - 1;

    /// The shortest window: one second.
    pub const MIN_WINDOW: Duration = Duration::from_secs(1);

    /// The longest window: one day.
    pub const MAX_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

    /// At most `limit` in any span as long as `window`.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if either is out of range.
    pub fn new(limit: u32, window: Duration) -> Result<Self, InvalidValue> {
        let invalid = |reason| Err(InvalidValue::naming("quota", reason));
        let Some(limit) = NonZeroU32::new(limit).filter(|limit| limit.get() <= Self::MAX_LIMIT) else {
            return invalid(format!("a limit is 1 to {}, not {limit}", Self::MAX_LIMIT));
        };
        let nanos = window.as_nanos();
        if nanos < Self::MIN_WINDOW.as_nanos()
            || nanos > Self::MAX_WINDOW.as_nanos()
            || nanos % 1_000_000 != 0
        {
            return invalid(format!("a window is 1 second to 1 day in whole milliseconds, not {window:?}"));
        }
        Ok(Self { limit, window_millis: window.as_millis() as u32 })
    }

    /// At most `limit` in any second.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if `limit` is out of range.
    pub fn per_second(limit: u32) -> Result<Self, InvalidValue> {
        Self::per_seconds(limit, 1)
    }

    /// At most `limit` in any 60 seconds.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if `limit` is out of range.
    pub fn per_minute(limit: u32) -> Result<Self, InvalidValue> {
        Self::per_seconds(limit, 60)
    }

    /// At most `limit` in any 3 600 seconds.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if `limit` is out of range.
    pub fn per_hour(limit: u32) -> Result<Self, InvalidValue> {
        Self::per_seconds(limit, 60 * 60)
    }

    fn per_seconds(limit: u32, seconds: u64) -> Result<Self, InvalidValue> {
        Self::new(limit, Duration::from_secs(seconds))
    }

    /// The same window with another limit, clamped to [`Quota::MAX_LIMIT`].
    #[must_use]
    pub const fn with_limit(self, limit: NonZeroU32) -> Self {
        let highest = limit.get() > Self::MAX_LIMIT;
        Self { limit: if highest { HIGHEST } else { limit }, ..self }
    }

    /// The most cost admitted in any window.
    pub const fn limit(self) -> NonZeroU32 {
        self.limit
    }

    /// The length of the window.
    pub const fn window(self) -> Duration {
        Duration::from_millis(self.window_millis as u64)
    }
}

impl fmt::Display for Quota {
    /// `1000 requests per minute`; `per 90 seconds`, `per 1500 ms` for windows without a name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests per ", self.limit)?;
        match (self.window_millis / 1000, self.window_millis % 1000) {
            (1, 0) => f.write_str("second"),
            (60, 0) => f.write_str("minute"),
            (seconds, 0) => write!(f, "{seconds} seconds"),
            _ => write!(f, "{} ms", self.window_millis),
        }
    }
}

const HIGHEST: NonZeroU32 = NonZeroU32::new(Quota::MAX_LIMIT).expect("2^20 - 1 is not zero");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_ranges_are_accepted() {
        let one = NonZeroU32::MIN;
        for (name, limit, window, accepted) in [
            ("shortest", one, Duration::from_secs(1), true),
            ("longest", one, Duration::from_secs(86_400), true),
            ("odd milliseconds", one, Duration::from_millis(1_234), true),
            ("highest limit", HIGHEST, Duration::from_secs(60), true),
            ("too short", one, Duration::from_millis(999), false),
            ("too long", one, Duration::from_millis(86_400_001), false),
            ("part of a millisecond", one, Duration::from_micros(1_000_500), false),
            ("nothing", one, Duration::ZERO, false),
            ("forever", one, Duration::MAX, false),
            ("limit too high", HIGHEST.saturating_add(1), Duration::from_secs(60), false),
        ] {
            assert_eq!(Quota::new(limit.get(), window).is_ok(), accepted, "{name}");
        }
    }

    #[test]
    fn it_is_shown_as_requests_per_window() {
        for (limit, millis, want) in [
            (10, 1_000, "10 requests per second"),
            (1000, 60_000, "1000 requests per minute"),
            (1, 300_000, "1 requests per 300 seconds"),
            (5, 1_500, "5 requests per 1500 ms"),
        ] {
            assert_eq!(Quota::new(limit, Duration::from_millis(millis)).unwrap().to_string(), want);
        }
    }

    #[test]
    fn an_override_above_the_range_is_clamped_to_the_highest_limit() {
        let quota = Quota::per_hour(5).expect("in range");
        assert_eq!(quota.with_limit(NonZeroU32::MAX).limit().get(), Quota::MAX_LIMIT);
        assert_eq!(quota.with_limit(NonZeroU32::MAX).window(), Duration::from_secs(3_600));
    }
}
