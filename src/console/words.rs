//! Times, states and names as people read them.

use std::time::Duration;

use maud::{Markup, html};

use super::Texts;
use super::visit::Visit;
use crate::clock::Timestamp;
use crate::key::KeyStatus;
use crate::manage::KeyView;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: Duration = Duration::from_secs(24 * HOUR);

/// `in 6 days`, `3 hours ago`, with the instant as a tip.
pub(super) fn relative(visit: &Visit, at: Timestamp) -> Markup {
    let words = from_now(visit.texts(), at, visit.now);
    html! { time datetime=(at) title=(instant(at)) { (words) } }
}

/// `2027-02-27 14:05 UTC (in 6 days)`.
pub(super) fn in_full(visit: &Visit, at: Timestamp) -> Markup {
    let words = from_now(visit.texts(), at, visit.now);
    html! { time datetime=(at) { (instant(at)) } " " span.muted { "(" (words) ")" } }
}

/// `2027-02-27 14:05 UTC`.
fn instant(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} {} UTC", &text[..10], &text[11..16])
}

/// `2027-02-27`.
pub(super) fn date(at: Timestamp) -> String {
    at.to_string()[..10].to_owned()
}

fn from_now(t: &Texts, at: Timestamp, now: Timestamp) -> String {
    let (distance, frame) = match at > now {
        true => (at.saturating_since(now), &t.ahead),
        false => (now.saturating_since(at), &t.ago),
    };
    match distance.as_secs() {
        0..MINUTE if at <= now => t.just_now.to_string(),
        _ => frame.replace("{}", &duration(t, distance)),
    }
}

/// In the largest unit of which there are two, rounded down.
pub(super) fn duration(t: &Texts, duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [
        (365 * DAY.as_secs(), &t.years),
        (30 * DAY.as_secs(), &t.months),
        (DAY.as_secs(), &t.days),
        (HOUR, &t.hours),
        (MINUTE, &t.minutes),
    ];
    let counted = units.into_iter().map(|(unit, many)| (seconds / unit, many));
    match counted.into_iter().find(|(count, _)| *count > 1) {
        Some((count, many)) => many.replace("{}", &count.to_string()),
        None => t.one_minute.to_string(),
    }
}

/// The state as a word, with a colour beside it.
pub(super) fn state(t: &Texts, status: KeyStatus) -> Markup {
    let (class, word) = match status {
        KeyStatus::Active => ("state good", &t.active),
        KeyStatus::NotYetValid => ("state warn", &t.not_yet_valid),
        KeyStatus::Disabled => ("state warn", &t.disabled),
        KeyStatus::Expired => ("state bad", &t.expired),
        KeyStatus::Revoked => ("state bad", &t.revoked),
    };
    html! { span class=(class) { (word) } }
}

/// When a key ends, in few words. A key that ends within a week, and works, stands out.
pub(super) fn end(visit: &Visit, key: &KeyView) -> Markup {
    match key.expires_at {
        None => html! { span.muted { (visit.texts().never) } },
        Some(end) => {
            let is_soon = end > visit.now
                && end.saturating_since(visit.now) <= 7 * DAY
                && key.status == KeyStatus::Active;
            html! { span class=[is_soon.then_some("soon")] { (relative(visit, end)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_said_in_the_largest_unit_that_is_not_too_coarse() {
        let (t, now) = (Texts::default(), Timestamp::from_unix_seconds(1_702_531_200));
        for (seconds, ahead, ago) in [
            (0, "just now", "just now"),
            (1, "in 1 minute", "just now"),
            (60, "in 1 minute", "1 minute ago"),
            (119, "in 1 minute", "1 minute ago"),
            (59 * 60, "in 59 minutes", "59 minutes ago"),
            (90 * 60, "in 90 minutes", "90 minutes ago"),
            (2 * 3600, "in 2 hours", "2 hours ago"),
            (47 * 3600, "in 47 hours", "47 hours ago"),
            (6 * 86_400, "in 6 days", "6 days ago"),
            (59 * 86_400, "in 59 days", "59 days ago"),
            (90 * 86_400, "in 3 months", "3 months ago"),
            (800 * 86_400, "in 2 years", "2 years ago"),
        ] {
            let distance = Duration::from_secs(seconds);
            assert_eq!(from_now(&t, now.saturating_add(distance), now), ahead);
            assert_eq!(from_now(&t, now.saturating_sub(distance), now), ago);
        }
        assert_eq!(instant(now), "2023-12-14 05:20 UTC");
        assert_eq!(date(now), "2023-12-14");
    }
}
