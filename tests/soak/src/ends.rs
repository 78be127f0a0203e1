//! What the databases and the audit sinks hold at the end, compared with what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::book::{Book, End};
use crate::contradictions::{contradictions, rows};
use crate::node::MONTH;
use crate::watch::{Watch, lock};

/// Compares the keys of a pair of nodes with the answers, and both with the events.
pub(crate) async fn compare(url: &str, book: &Book, watch: &Watch) -> String {
    for contradiction in contradictions(url).await {
        watch.violation("changes and events", contradiction);
    }
    let states: BTreeMap<String, String> =
        rows(url, "SELECT id, state FROM api_keys").await.into_iter().map(two).collect();
    let counts = "SELECT key_id || ' ' || action || CASE WHEN reason IS NULL THEN '' ELSE ' with reason' END AS what, \
                  cast(count(*) AS text) FROM api_key_audit WHERE outcome = 'done' AND key_id IS NOT NULL GROUP BY what";
    let counts: BTreeMap<String, String> = rows(url, counts).await.into_iter().map(two).collect();
    let histories = lock(&book.histories);
    let mut changes = 0;
    for (id, history) in &*histories {
        let state = states.get(id).map(String::as_str);
        let expected = match history.end {
            End::Active => Some("active"),
            End::Revoked => Some("revoked"),
            End::Deleted => None,
        };
        if state != expected {
            watch.violation(
                "changes and events",
                format_args!("key {id} is {state:?}, and was answered to be {:?}", history.end),
            );
        }
        for (action, (answered, asked)) in &history.actions {
            changes += answered;
            let events = counts.get(&format!("{id} {action}")).map_or(0, |count| count.parse().unwrap_or(0));
            // The deletion of a key that is not revoked revokes it first.
            let most = if *action == "revoke" { asked + 1 } else { *asked };
            if events < *answered || events > most {
                watch.violation(
                    "changes and events",
                    format_args!(
                        "key {id}: {events} events of {action}; {answered} were answered, {asked} asked for"
                    ),
                );
            }
        }
    }
    format!("{} keys made, {changes} changes answered, {} keys left", histories.len(), states.len())
}

/// The events of the database that no sink has, and those of a sink that the database does not have.
pub(crate) async fn undelivered(url: &str, directory: &Path, nodes: [&str; 2]) -> (usize, usize) {
    let stored = rows(url, "SELECT cast(number AS text) FROM api_key_audit").await;
    let stored: BTreeSet<String> = stored.into_iter().flatten().collect();
    let sunk = nodes.map(|node| fs::read_to_string(directory.join(format!("{node}.events"))));
    let sunk = sunk.map(Result::unwrap_or_default);
    let sunk: BTreeSet<String> = sunk.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    (stored.difference(&sunk).count(), sunk.difference(&stored).count())
}

/// Compares what stopped nodes have counted in their store with what they answered.
pub(crate) async fn counts(url: &str, nodes: [&'static str; 2], watch: &Watch) -> String {
    let one = async |sql| {
        let row = rows(url, sql).await.into_iter().flatten().next();
        row.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
    };
    let counted = one("SELECT cast(coalesce(sum(ok), 0) AS text) FROM api_key_usage_hours").await;
    let usage = watch.usage(nodes);
    let (least, most) =
        (usage.answered.saturating_sub(usage.lost_at_most), usage.answered + usage.unanswered);
    if !(least..=most).contains(&counted) {
        watch
            .violation("usage", format_args!("{nodes:?}: {counted} were counted, and not {least} to {most}"));
    }
    let used =
        one("SELECT cast(coalesce(sum(used), 0) AS text) FROM api_key_quotas WHERE category = 'month'").await;
    let admitted = watch.answers(nodes, "counted", 200);
    if used < admitted || used > MONTH.into() {
        watch.violation(
            "quotas",
            format_args!(
                "{nodes:?}: {admitted} requests were admitted and {used} counted, of {MONTH} a month"
            ),
        );
    }
    format!(
        "{nodes:?}: usage of {counted} requests, {} answered, {} unanswered, {} counted by nodes that were killed soon after; \
         quota {admitted} admitted, {used} counted",
        usage.answered, usage.unanswered, usage.lost_at_most
    )
}

fn two(row: Vec<String>) -> (String, String) {
    let [first, second] = <[String; 2]>::try_from(row).expect("there are two columns");
    (first, second)
}
