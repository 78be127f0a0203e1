//! How often keys are used, as pictures made on the server, with the numbers beneath.

use std::collections::HashMap;

use maud::{Markup, html};

use super::visit::{Subject, Visit};
use super::{Texts, words};
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::manage::{KeyView, ManageError};
use crate::usage::{Usage, UsageBucket, UsageCounts, UsageGroup, UsageOutcome, UsageQuery};

/// How many days are shown, today among them.
const DAYS: u32 = 30;

/// The days of each key of a page of the list, oldest first; `None` if nothing is counted, or it can't be read: the page that
/// ends keys does without.
pub(super) async fn of_page(visit: &Visit, keys: &[KeyView]) -> Option<HashMap<KeyId, Vec<UsageCounts>>> {
    if !visit.console.counts_usage {
        return None;
    }
    let mut days = HashMap::new();
    if !keys.is_empty() {
        for row in read(visit, keys.iter().map(|key| key.id).collect()).await.ok()?.rows {
            days.entry(row.key_id).or_insert_with(Vec::new).push(row.calls);
        }
    }
    Some(days.into_iter().filter_map(|(id, days)| Some((id?, days))).collect())
}

async fn read(visit: &Visit, keys: Vec<KeyId>) -> Result<Usage, ManageError> {
    let start = visit.now.saturating_sub(words::DAY * (DAYS - 1));
    let mode = Some(visit.authority.owner().mode);
    let end = UsageBucket::Day.start_of(visit.now).saturating_add(words::DAY);
    let query = UsageQuery {
        keys,
        mode,
        group_by: Some(UsageGroup::Key),
        ..UsageQuery::new(start, end, UsageBucket::Day)
    };
    match visit.is_for_staff() {
        true => visit.manager().usage_of_all(&query).await,
        false => visit.manager().usage(&visit.authority, &query).await,
    }
}

/// A bar a day, in a row of the list.
pub(super) fn sparkline(visit: &Visit, days: &[UsageCounts]) -> Markup {
    let t = visit.texts();
    let total = days.iter().map(UsageCounts::total).sum::<u64>();
    if total == 0 {
        return html! { span.muted { "0" } };
    }
    let label = t.calls_in_days.replace("{}", &grouped(total));
    html! {
        svg.spark role="img" aria-label=(label) viewBox="0 0 90 20" width="90" height="20" {
            title { (label) }
            (bars(days, Bars { width: 2, step: 3, height: 20 }))
        }
    }
}

/// The picture of a key's days, and their numbers as a table. Nothing if nothing is counted, or it can't be read.
pub(super) async fn section(subject: &Subject) -> Markup {
    let visit = &subject.visit;
    let t = visit.texts();
    if !visit.console.counts_usage {
        return Markup::default();
    }
    let Ok(usage) = read(visit, vec![subject.id]).await else { return Markup::default() };
    let days: Vec<_> = usage.rows.iter().map(|row| row.calls).collect();
    let (total, most) =
        (days.iter().map(UsageCounts::total).sum::<u64>(), days.iter().map(UsageCounts::total).max());
    let label = t.calls_in_days.replace("{}", &grouped(total));
    html! {
        section {
            h2 #usage { (t.usage) }
            @if total == 0 { p.empty { (t.no_usage) } } @else {
                div.card {
                    p { (label) " · " (t.most_in_a_day.replace("{}", &grouped(most.unwrap_or(0)))) }
                    svg.plot role="img" aria-label=(label) viewBox="0 0 600 120" preserveAspectRatio="none" {
                        title { (label) }
                        desc { (t.usage_explained) }
                        (bars(&days, Bars { width: 16, step: 20, height: 120 }))
                    }
                    p.help {
                        @if let (Some(first), Some(last)) = (usage.rows.first(), usage.rows.last()) {
                            (words::date(first.start)) " – " (words::date(last.start)) " · "
                        }
                        (t.usage_explained)
                        @if let Some(as_of) = usage.as_of { " " (t.counted_until) " " (words::in_full(visit, as_of)) "." }
                    }
                    details { summary { (t.as_a_table) } (table(t, &usage)) }
                }
            }
        }
    }
}

/// The measures of a picture.
struct Bars {
    width: usize,
    step: usize,
    height: u64,
}

/// What went well above what did not. Whatever there is of either is one unit high at the least.
fn bars(days: &[UsageCounts], measures: Bars) -> Markup {
    let most = days.iter().map(UsageCounts::total).max().unwrap_or(0).max(1);
    let height = |calls: u64| match calls {
        0 => 0,
        calls => (u128::from(calls) * u128::from(measures.height) / u128::from(most)).max(1) as u64,
    };
    html! {
        @for (number, day) in days.iter().enumerate() {
            @let failed = height(day.total() - day.of(UsageOutcome::Ok));
            @let done = height(day.of(UsageOutcome::Ok)).min(measures.height - failed);
            @let left = number * measures.step;
            @if failed > 0 { rect.failed x=(left) y=(measures.height - failed) width=(measures.width) height=(failed) {} }
            @if done > 0 { rect.done x=(left) y=(measures.height - failed - done) width=(measures.width) height=(done) {} }
        }
    }
}

/// The latest day first.
fn table(t: &Texts, usage: &Usage) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(t.usage) {
            table.numbers {
                caption.hidden { (t.usage) }
                thead { tr {
                    th scope="col" { (t.usage_day) }
                    @for outcome in UsageOutcome::ALL { th scope="col" { (t.outcome(outcome)) } }
                } }
                tbody {
                    @for row in usage.rows.iter().rev().filter(|row| !row.calls.is_empty()) {
                        tr {
                            th scope="row" { (day(row.start)) }
                            @for outcome in UsageOutcome::ALL { td { (grouped(row.calls.of(outcome))) } }
                        }
                    }
                }
            }
        }
    }
}

fn day(start: Timestamp) -> Markup {
    html! { time datetime=(words::date(start)) { (words::date(start)) } }
}

/// With a narrow space before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(ok: u64, failed: u64) -> UsageCounts {
        let mut counts = UsageCounts::default();
        counts.add(UsageOutcome::Ok, ok);
        counts.add(UsageOutcome::ServerError, failed);
        counts
    }

    #[test]
    fn one_failure_among_a_million_calls_can_be_seen() {
        let days =
            [day(0, 0), day(1_000_000, 1), day(1, 0), day(0, 500_000), day(u64::MAX / 2, u64::MAX / 2)];
        let picture = bars(&days[..4], Bars { width: 2, step: 3, height: 20 }).into_string();
        assert_eq!(
            picture,
            "<rect class=\"failed\" x=\"3\" y=\"19\" width=\"2\" height=\"1\"></rect>\
             <rect class=\"done\" x=\"3\" y=\"0\" width=\"2\" height=\"19\"></rect>\
             <rect class=\"done\" x=\"6\" y=\"19\" width=\"2\" height=\"1\"></rect>\
             <rect class=\"failed\" x=\"9\" y=\"11\" width=\"2\" height=\"9\"></rect>"
        );
        assert!(bars(&days, Bars { width: 2, step: 3, height: 20 }).into_string().contains("height=\"10\""));
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(grouped(number), text.replace(' ', "\u{202f}"));
        }
    }
}
