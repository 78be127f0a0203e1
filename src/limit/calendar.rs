use std::fmt;
use std::time::Duration;

use crate::clock::{Timestamp, date_of, days_from};

/// The periods of a stored quota: days, months, or one that never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Calendar {
    unit: Unit,
    /// Of the place where days begin at midnight, in minutes east of UTC.
    offset: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Day,
    Month,
    Ever,
}

/// One period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) start: Timestamp,
    /// When the next one begins; none if it never ends.
    pub(crate) end: Option<Timestamp>,
}

impl Calendar {
    pub(super) const fn day() -> Self {
        Self { unit: Unit::Day, offset: 0 }
    }

    pub(super) const fn month() -> Self {
        Self { unit: Unit::Month, offset: 0 }
    }

    pub(super) const fn ever() -> Self {
        Self { unit: Unit::Ever, offset: 0 }
    }

    pub(super) fn in_offset(self, minutes: i16) -> Self {
        Self { offset: minutes.clamp(-MAX_OFFSET, MAX_OFFSET), ..self }
    }

    /// In 18 bits.
    pub(super) const fn pack(self) -> u32 {
        (self.unit as u32) << 16 | self.offset as u16 as u32
    }

    pub(super) const fn unpack(packed: u32) -> Self {
        let unit = match packed >> 16 & 3 {
            0 => Unit::Day,
            1 => Unit::Month,
            _ => Unit::Ever,
        };
        Self { unit, offset: packed as u16 as i16 }
    }

    pub(super) const fn is_ever(self) -> bool {
        matches!(self.unit, Unit::Ever)
    }

    /// The longest that a period lasts; zero if it never ends.
    pub(super) const fn length(self) -> Duration {
        let days = match self.unit {
            Unit::Day => 1,
            Unit::Month => 31,
            Unit::Ever => 0,
        };
        Duration::from_secs(days * 24 * 60 * 60)
    }

    /// The period that `time` lies in.
    pub(crate) fn period(self, time: Timestamp) -> Period {
        let local = (time.as_unix_millis() / 1000).saturating_add_signed(self.offset_seconds());
        let day = (local / DAY).min(LAST_DAY);
        let (first, next) = match self.unit {
            Unit::Ever => return Period { start: Timestamp::from_unix_millis(0), end: None },
            Unit::Day => (day, day + 1),
            Unit::Month => {
                let (year, month, _) = date_of(day);
                let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                (days_from(year, month, 1) as u64, days_from(next_year, next_month, 1) as u64)
            }
        };
        let at = |day: u64| {
            Timestamp::from_unix_seconds((day * DAY).saturating_add_signed(-self.offset_seconds()))
        };
        Period { start: at(first), end: Some(at(next)) }
    }

    fn offset_seconds(self) -> i64 {
        i64::from(self.offset) * 60
    }
}

/// `day`, `month`.
impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.unit {
            Unit::Day => "day",
            Unit::Month => "month",
            Unit::Ever => "lifetime",
        })
    }
}

const DAY: u64 = 24 * 60 * 60;
/// In minutes: no place is farther from UTC than 14 hours.
const MAX_OFFSET: i16 = 18 * 60;
/// The last day of the year 9999.
const LAST_DAY: u64 = 2_932_896;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_at_midnight_of_their_offset() {
        let (day, month) = (Calendar::day(), Calendar::month());
        for (calendar, time, start, end) in [
            (day, "2026-02-28T23:59:59Z", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z"),
            (month, "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            (month, "2026-12-31T23:59:59.999Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (month, "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"),
            // India is 5:30 ahead: its March begins while it is still February in UTC.
            (month.in_offset(330), "2026-02-28T18:30:00Z", "2026-02-28T18:30:00Z", "2026-03-31T18:30:00Z"),
            (month.in_offset(330), "2026-02-28T18:29:59Z", "2026-01-31T18:30:00Z", "2026-02-28T18:30:00Z"),
            (day.in_offset(-300), "2026-03-01T04:59:59Z", "2026-02-28T05:00:00Z", "2026-03-01T05:00:00Z"),
            (day.in_offset(-300), "1970-01-01T00:00:00Z", "1970-01-01T05:00:00Z", "1970-01-02T05:00:00Z"),
        ] {
            let period = calendar.period(time.parse().unwrap());
            let want = Period { start: start.parse().unwrap(), end: Some(end.parse().unwrap()) };
            assert_eq!(period, want, "{calendar} at {time}");
        }
        assert_eq!(Calendar::ever().period(Timestamp::from_unix_seconds(5)).end, None);
    }

    #[test]
    fn the_ends_of_time_are_in_some_period() {
        for calendar in
            [Calendar::day(), Calendar::month().in_offset(-1080), Calendar::month().in_offset(i16::MAX)]
        {
            for time in [0, 1, u64::MAX / 2, u64::MAX] {
                calendar.period(Timestamp::from_unix_millis(time));
            }
        }
    }
}
