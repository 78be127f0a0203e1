use std::cmp::Ordering as Order;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::InvalidValue;

/// A point in time: whole milliseconds since the Unix epoch, 1970-01-01T00:00:00Z.
///
/// The range is less than 2<sup>48</sup> milliseconds, up to the year 10889; later times are clamped. The instants
/// stored with a key (when it was made, when it expires) are `Timestamp`s. Its text is that of RFC 3339, with at most
/// three digits of a second. A time after the year 9999, which RFC 3339 cannot express, is written as the last one it
/// can.
///
/// ```
/// use tower_api_keys::clock::Timestamp;
///
/// let time: Timestamp = "2026-01-31T12:00:00+01:00".parse()?;
/// assert_eq!(time.to_string(), "2026-01-31T11:00:00Z");
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Timestamp {
    low: u32,
    high: u16,
    highest: Zero,
}

/// The highest two bytes of every timestamp. Values that never occur give an `Option` or an enum around a timestamp
/// its niche; the record of a key has several.
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

    /// A timestamp from seconds since the Unix epoch, clamped to the range of milliseconds.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self::from_unix_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_unix_millis(self) -> u64 {
        // The compiler emits no instruction for the last term.
        self.low as u64 | (self.high as u64) << 32 | (self.highest as u64) << 48
    }

    /// This time plus `duration`, clamped to the latest one.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self::from_unix_millis(self.as_unix_millis().saturating_add(millis(duration)))
    }

    /// This time minus `duration`, clamped to the Unix epoch.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self::from_unix_millis(self.as_unix_millis().saturating_sub(millis(duration)))
    }

    /// The time from `earlier` to this; zero if this is before it.
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

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.as_unix_millis().min(LAST_WRITABLE);
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let (year, month, day) = date_of(seconds / DAY);
        let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match millis {
            0 => {}
            _ if millis % 100 == 0 => write!(f, ".{}", millis / 100)?,
            _ if millis % 10 == 0 => write!(f, ".{:02}", millis / 10)?,
            _ => write!(f, ".{millis:03}")?,
        }
        f.write_str("Z")
    }
}

impl FromStr for Timestamp {
    type Err = InvalidValue;

    /// A time before 1970 becomes the Unix epoch, and one after the year 9999 in UTC the last that can be written; fractions of a
    /// millisecond are cut off.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        parse(text.as_bytes()).ok_or(INVALID)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}

/// The seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// 9999-12-31T23:59:59.999Z.
const LAST_WRITABLE: u64 = 253_402_300_799_999;

/// `date "T" time` of RFC 3339 section 5.6.
fn parse(text: &[u8]) -> Option<Timestamp> {
    let (fixed, rest) = text.split_at_checked(19)?;
    let has_separators =
        [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')].iter().all(|(at, byte)| fixed[*at] == *byte);
    if !has_separators || !matches!(fixed[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (digits(&fixed[..4])?, digits(&fixed[5..7])?, digits(&fixed[8..10])?);
    let (hour, minute, second) = (digits(&fixed[11..13])?, digits(&fixed[14..16])?, digits(&fixed[17..])?);
    let is_date = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
    // A leap second is counted as the second before it.
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (millis, rest) = fraction(rest)?;
    let offset = offset(rest)?;
    let days = days_from(year, month, day);
    let seconds = days * DAY as i64 + (hour * 3600 + minute * 60 + second.min(59)) as i64 - offset;
    let millis = seconds.checked_mul(1000)? + millis as i64;
    Some(Timestamp::from_unix_millis(u64::try_from(millis).unwrap_or(0).min(LAST_WRITABLE)))
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

/// Milliseconds, and the rest of the text.
fn fraction(rest: &[u8]) -> Option<(u64, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, rest) = rest.split_at(length);
    let known = fraction.len().min(3);
    let millis = digits(&fraction[..known])? * 10_u64.pow(3 - known as u32);
    (length > 0).then_some((millis, rest))
}

/// Seconds ahead of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    if matches!(text, b"Z" | b"z") {
        return Some(0);
    }
    let [sign @ (b'+' | b'-'), hour1, hour2, b':', minute1, minute2] = text else { return None };
    let (hour, minute) = (digits(&[*hour1, *hour2])?, digits(&[*minute1, *minute2])?);
    let seconds = (hour * 3600 + minute * 60) as i64;
    (hour < 24 && minute < 60).then_some(if *sign == b'+' { seconds } else { -seconds })
}

fn is_leap(year: u64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the Unix epoch to a date of the Gregorian calendar. Years are counted from March, so that a leap day is
/// the last of its year.
pub(crate) fn days_from(year: u64, month: u64, day: u64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.wrapping_sub(1), month + 9) };
    let year = year as i64;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = ((153 * month + 2) / 5 + day - 1) as i64;
    year * 365 + leap_days + day_of_year - DAYS_TO_1970
}

/// Days from 1 March of the year 0 to 1 January 1970.
const DAYS_TO_1970: i64 = 719_468;

/// The date of a day since the Unix epoch, up to the year 9999.
pub(crate) fn date_of(day: u64) -> (u64, u64, u64) {
    let day = day as i64;
    // At most one year too late: every year has at least 365 days.
    let mut year = 1970 + (day / 365) as u64;
    while days_from(year, 1, 1) > day {
        year -= 1;
    }
    let mut left = (day - days_from(year, 1, 1)) as u64;
    let mut month = 1;
    while left >= days_of_month(year, month) {
        left -= days_of_month(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

const INVALID: InvalidValue =
    InvalidValue::new("time", "a time is written as in RFC 3339, such as 2030-01-31T12:00:00Z");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_around_a_timestamp_takes_no_space() {
        assert_eq!(size_of::<Option<Timestamp>>(), 8);
        assert_eq!(size_of::<crate::key::KeyState>(), 8);
    }

    #[test]
    fn timestamps_are_ordered_like_their_milliseconds() {
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

    #[test]
    fn texts_are_those_of_rfc_3339() {
        for (text, written) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("2023-12-14T05:20:00Z", "2023-12-14T05:20:00Z"),
            ("2024-02-29t23:59:59.5z", "2024-02-29T23:59:59.5Z"),
            ("2000-02-29 00:00:00.120Z", "2000-02-29T00:00:00.12Z"),
            ("2026-01-31T12:00:00.123987+01:00", "2026-01-31T11:00:00.123Z"),
            ("2026-01-31T23:30:00-01:30", "2026-02-01T01:00:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
            ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999Z"),
            ("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.to_string(), written, "{text}");
            assert_eq!(written.parse(), Ok(time), "{text}");
        }
        assert_eq!(Timestamp::from_unix_millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        for text in [
            "",
            "2030-01-31",
            "2030-01-31T12Z",
            "2030-01-31T12:00Z",
            "2030-01-31T12:00:00",
            "20300131T120000Z",
            "2030-01-31T12:00:00+25:00",
            "2030-01-31T12:00:00+0100",
            "2030-01-31T12:00:00+1:00",
            "2030-01-31T12:00:00+001:00",
            "2030-01-31T12:00:00+99999999999999999999:00",
            "2030-01-31T12:00:00+01:60",
            "2030-01-31T12:00:00Z[UTC]",
            "+002030-01-31T12:00:00Z",
            "2030-01-31T12:00:00.Z",
            "2030-01-31T12:00:00,5Z",
            "2030-00-31T12:00:00Z",
            "2030-13-31T12:00:00Z",
            "2030-02-29T12:00:00Z",
            "2030-04-31T12:00:00Z",
            "2030-01-00T12:00:00Z",
            "2030-01-31T24:00:00Z",
            "2030-01-31T12:60:00Z",
            "2030-01-31T12:00:61Z",
            "2030-01-31T12:00:0\u{0661}Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(INVALID), "{text}");
        }
    }

    #[test]
    fn every_day_round_trips() {
        let mut written = (1970, 1, 1);
        for day in 0..=(LAST_WRITABLE / 1000 / DAY) {
            let date = date_of(day);
            assert_eq!(days_from(date.0, date.1, date.2), day as i64);
            if day > 0 {
                let next = match written {
                    (year, 12, 31) => (year + 1, 1, 1),
                    (year, month, day) if day == days_of_month(year, month) => (year, month + 1, 1),
                    (year, month, day) => (year, month, day + 1),
                };
                assert_eq!(date, next);
                written = next;
            }
        }
    }
}
