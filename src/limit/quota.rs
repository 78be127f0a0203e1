use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use super::calendar::Calendar;
use crate::InvalidValue;

/// How much may be admitted: in any span of time, at a time, or in a period of the calendar.
///
/// | | limit | counted |
/// |---|---|---|
/// | [`new`](Self::new), `per_second`, `per_minute`, `per_hour` | 1 to 1 048 575 ([`MAX_LIMIT`](Self::MAX_LIMIT)) | in any span as long as the window: 1 second to 1 day, in whole milliseconds |
/// | [`concurrent`](Self::concurrent) | 1 to 1 048 575 | requests under way |
/// | [`per_day`](Self::per_day), [`per_month`](Self::per_month) | 1 to 4 294 967 295 | since the beginning of the day or month, in the [store](crate::limit#stored-quotas) |
/// | [`credits`](Self::credits) | 1 to 4 294 967 295 | for good, in the store |
///
/// Limits are in units of cost; a request costs 1 unit by default.
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
    span: Span,
}

/// What a quota counts: the milliseconds of a window, or one of the values above all windows. In one word, since each request
/// copies and compares quotas.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Span(u32);

/// The same, to be matched.
enum Kind {
    Window { millis: u32 },
    Concurrent,
    Calendar(Calendar),
}

impl Quota {
    /// The highest limit of a window: 2^20 − 1. Counts are kept in 20 bits.
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
        let nanos = window.as_nanos();
        if nanos < Self::MIN_WINDOW.as_nanos()
            || nanos > Self::MAX_WINDOW.as_nanos()
            || nanos % 1_000_000 != 0
        {
            return Err(InvalidValue::naming(
                "quota",
                format!("a window is 1 second to 1 day in whole milliseconds, not {window:?}"),
            ));
        }
        Self::of(limit, Span(window.as_millis() as u32))
    }

    fn of(limit: u32, span: Span) -> Result<Self, InvalidValue> {
        let highest = span.highest_limit();
        match NonZeroU32::new(limit).filter(|limit| *limit <= highest) {
            Some(limit) => Ok(Self { limit, span }),
            None => Err(InvalidValue::naming("quota", format!("a limit is 1 to {highest}, not {limit}"))),
        }
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

    /// At most `limit` requests at a time. One counts from its admission until its response is ready, or until every
    /// [`InFlight`](super::InFlight) of it is dropped, whichever is later.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if `limit` is out of range.
    pub fn concurrent(limit: u32) -> Result<Self, InvalidValue> {
        Self::of(limit, Span::CONCURRENT)
    }

    /// At most `limit` a calendar day, in UTC unless set [otherwise](Self::in_offset).
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if `limit` is zero.
    pub fn per_day(limit: u32) -> Result<Self, InvalidValue> {
        Self::of(limit, Span::of(Calendar::day()))
    }

    /// At most `limit` a calendar month, in UTC unless set [otherwise](Self::in_offset).
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if `limit` is zero.
    pub fn per_month(limit: u32) -> Result<Self, InvalidValue> {
        Self::of(limit, Span::of(Calendar::month()))
    }

    /// A balance that begins with `initial` and grows by [`grant`](crate::ApiKeys::grant) only.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if `initial` is zero.
    pub fn credits(initial: u32) -> Result<Self, InvalidValue> {
        Self::of(initial, Span::of(Calendar::ever()))
    }

    /// Begins days and months so many minutes east of UTC, −1080 to 1080: 330 for India, −300 for New York in winter. A
    /// clamped value, and no change to a window.
    #[must_use]
    pub fn in_offset(self, minutes: i16) -> Self {
        match self.span.kind() {
            Kind::Calendar(calendar) => Self { span: Span::of(calendar.in_offset(minutes)), ..self },
            Kind::Window { .. } | Kind::Concurrent => self,
        }
    }

    /// The same with another limit, clamped to the highest.
    #[must_use]
    pub fn with_limit(self, limit: NonZeroU32) -> Self {
        Self { limit: limit.min(self.span.highest_limit()), ..self }
    }

    /// The most cost admitted in any window, in a period, or at a time.
    pub const fn limit(self) -> NonZeroU32 {
        self.limit
    }

    /// The length of the window; of a month, 31 days. Zero for [concurrent](Self::concurrent) requests and
    /// [credits](Self::credits), which have none.
    pub const fn window(self) -> Duration {
        match self.span.kind() {
            Kind::Window { millis } => Duration::from_millis(millis as u64),
            Kind::Concurrent => Duration::ZERO,
            Kind::Calendar(calendar) => calendar.length(),
        }
    }

    /// Whether it is for [concurrent](Self::concurrent) requests.
    pub const fn is_concurrent(self) -> bool {
        self.span.0 == Span::CONCURRENT.0
    }

    /// Whether it is a balance of [credits](Self::credits), so that waiting does not help.
    pub fn is_credits(self) -> bool {
        self.span == Span::of(Calendar::ever())
    }

    /// The calendar of a stored quota.
    pub(crate) const fn calendar(self) -> Option<Calendar> {
        match self.span.kind() {
            Kind::Calendar(calendar) => Some(calendar),
            Kind::Window { .. } | Kind::Concurrent => None,
        }
    }

    /// Whether this is a quota for any span as long as its window.
    pub(crate) const fn is_window(self) -> bool {
        self.span.0 <= Span::LONGEST
    }
}

impl Span {
    /// The milliseconds of the longest window.
    const LONGEST: u32 = 24 * 60 * 60 * 1000;
    const CONCURRENT: Self = Self(Self::LONGEST + 1);
    /// Set in what is not of a window; the lower bits are a calendar's.
    const CALENDAR: u32 = 1 << 31;

    const fn of(calendar: Calendar) -> Self {
        Self(Self::CALENDAR | calendar.pack())
    }

    const fn kind(self) -> Kind {
        match self.0 {
            millis if millis <= Self::LONGEST => Kind::Window { millis },
            packed if packed >= Self::CALENDAR => Kind::Calendar(Calendar::unpack(packed)),
            _ => Kind::Concurrent,
        }
    }

    const fn highest_limit(self) -> NonZeroU32 {
        if self.0 >= Self::CALENDAR { NonZeroU32::MAX } else { HIGHEST }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Window { millis } => Duration::from_millis(millis.into()).fmt(f),
            Kind::Concurrent => f.write_str("at a time"),
            Kind::Calendar(calendar) => calendar.fmt(f),
        }
    }
}

impl fmt::Display for Quota {
    /// `1000 requests per minute`; `per 90 seconds`, `per 1500 ms` for windows without a name; `10 requests at a time`;
    /// `1000 requests per month`; `1000 credits`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit;
        match self.span.kind() {
            Kind::Concurrent => write!(f, "{limit} requests at a time"),
            Kind::Calendar(calendar) if calendar.is_ever() => write!(f, "{limit} credits"),
            Kind::Calendar(calendar) => write!(f, "{limit} requests per {calendar}"),
            Kind::Window { millis: 1_000 } => write!(f, "{limit} requests per second"),
            Kind::Window { millis: 60_000 } => write!(f, "{limit} requests per minute"),
            Kind::Window { millis } if millis % 1000 == 0 => {
                write!(f, "{limit} requests per {} seconds", millis / 1000)
            }
            Kind::Window { millis } => write!(f, "{limit} requests per {millis} ms"),
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
        for (quota, want) in [
            (Quota::concurrent(10), "10 requests at a time"),
            (Quota::per_day(10), "10 requests per day"),
            (Quota::per_month(u32::MAX), "4294967295 requests per month"),
            (Quota::credits(1), "1 credits"),
        ] {
            assert_eq!(quota.unwrap().to_string(), want);
        }
    }

    #[test]
    fn kinds_are_kept_apart() {
        let kinds = [
            Quota::new(1, Quota::MAX_WINDOW),
            Quota::new(1, Quota::MIN_WINDOW),
            Quota::concurrent(1),
            Quota::per_day(1),
            Quota::per_day(1).map(|quota| quota.in_offset(-1_080)),
            Quota::per_month(1),
            Quota::per_month(1).map(|quota| quota.in_offset(1_080)),
            Quota::credits(1),
        ];
        let kinds = kinds.map(|quota| quota.unwrap());
        for (index, quota) in kinds.iter().enumerate() {
            assert!(!kinds[..index].contains(quota), "{quota:?}");
            assert_eq!(quota.is_window(), index < 2, "{quota:?}");
            assert_eq!(quota.is_concurrent(), index == 2, "{quota:?}");
            assert_eq!(quota.calendar().is_some(), index > 2, "{quota:?}");
            assert_eq!(quota.is_credits(), index == 7, "{quota:?}");
        }
    }

    #[test]
    fn an_override_above_the_range_is_clamped_to_the_highest_limit() {
        let quota = Quota::per_hour(5).expect("in range");
        assert_eq!(quota.with_limit(NonZeroU32::MAX).limit().get(), Quota::MAX_LIMIT);
        assert_eq!(quota.with_limit(NonZeroU32::MAX).window(), Duration::from_secs(3_600));
    }
}
