//! Times and durations as people write them.

use std::time::{Duration, SystemTime};

use crate::clock::Timestamp;

/// When a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End(pub(super) Option<Timestamp>);

/// `90d`, a day, an instant, or `never`.
pub(super) fn end(text: &str) -> Result<End, &'static str> {
    if text == "never" {
        return Ok(End(None));
    }
    instant(text).map(|instant| End(Some(instant))).map_err(|_| {
        "an end is a time from now such as 90d, a day such as 2030-01-31, an instant such as 2030-01-31T12:00:00Z, or never"
    })
}

/// A time from now such as `90d`, a day, or an instant.
pub(super) fn instant(text: &str) -> Result<Timestamp, &'static str> {
    if let Ok(instant) = day_or_instant(text) {
        return Ok(instant);
    }
    duration(text).map(|duration| Timestamp::from(SystemTime::now() + duration)).map_err(|_| {
        "a time is one from now such as 90d, a day such as 2030-01-31, or an instant such as 2030-01-31T12:00:00Z"
    })
}

/// A day, from its beginning, or an instant.
pub(super) fn day_or_instant(text: &str) -> Result<Timestamp, &'static str> {
    let day = || format!("{text}T00:00:00Z").parse();
    text.parse()
        .or_else(|_| day())
        .map_err(|_| "a time is a day such as 2030-01-31, or an instant such as 2030-01-31T12:00:00Z")
}

/// `24 hours`, `7 days`.
pub(super) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(24 * 60 * 60, "day"), (60 * 60, "hour"), (60, "minute"), (1, "second")];
    let whole = units.into_iter().find(|(length, _)| seconds % length == 0 && seconds >= *length);
    let (length, unit) = whole.unwrap_or((1, "second"));
    let count = seconds / length;
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

/// `24h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    const FAR: Duration = Duration::from_secs(1000 * 366 * 24 * 60 * 60);
    let duration = humantime::parse_duration(text).map_err(|_| FORMAT)?;
    if duration <= FAR { Ok(duration) } else { Err(FORMAT) }
}

const FORMAT: &str = "a duration is a number with a unit, such as 30m, 24h or 90d";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_duration_a_day_an_instant_or_never() {
        let at = |text: &str| Ok(End(Some(text.parse().unwrap())));
        assert_eq!(end("never"), Ok(End(None)));
        assert_eq!(end("2030-01-31"), at("2030-01-31T00:00:00Z"));
        assert_eq!(end("2030-01-31T12:00:00Z"), at("2030-01-31T12:00:00Z"));
        let in_a_day = end("1d").unwrap().0.unwrap().saturating_since(SystemTime::now().into());
        assert!((86_390..=86_400).contains(&in_a_day.as_secs()), "{in_a_day:?}");
        for text in ["", "90", "soon", "2030-02-31", "-1d", "99999999y"] {
            assert!(end(text).is_err(), "{text}");
        }
    }
}
