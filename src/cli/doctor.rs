use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure, chain};
use super::output::{Progress, table};
use super::session::Session;
use crate::ApiKeys;
use crate::store::{HistoryQuery, KeyQuery};

#[derive(Args, Clone, Debug)]
pub(super) struct Doctor {}

/// What was looked at, and what is wrong with it.
struct Finding {
    check: &'static str,
    is_good: bool,
    text: String,
}

/// Clocks that differ by less are no fault.
const SKEW: Duration = Duration::from_secs(5);

impl Doctor {
    pub(super) async fn run<F>(self, session: &Session<'_>, keys: &ApiKeys<F>) -> Result<Exit, Failure> {
        let findings =
            [store(session).await, peppers(session).await, clock(session).await, limits(keys).await];
        let is_good = findings.iter().all(|finding| finding.is_good);
        let json = findings
            .iter()
            .map(|Finding { check, is_good, text }| json!({ "check": check, "good": is_good, "text": text }));
        let json = json!({ "good": is_good, "checks": json.collect::<Vec<_>>() });
        session.print_either(&json, || {
            let rows = findings.iter().map(|Finding { check, is_good, text }| {
                vec![(*check).to_owned(), if *is_good { "good" } else { "BAD" }.to_owned(), text.clone()]
            });
            table(&["CHECK", "", ""], &rows.collect::<Vec<_>>())
        })?;
        Ok(if is_good { Exit::Done } else { Exit::Negative })
    }
}

/// Reads every record.
async fn store(session: &Session<'_>) -> Finding {
    let finding = |is_good, text| Finding { check: "records", is_good, text };
    let mut query = KeyQuery { limit: KeyQuery::MAX_LIMIT, ..KeyQuery::default() };
    let (mut count, mut broken, mut progress) = (0, Vec::new(), Progress::of("keys"));
    loop {
        let page = match session.manager.list_all(&query).await {
            Ok(page) => page,
            Err(error) => return finding(false, chain(&error)),
        };
        count += page.keys.len();
        progress.add(page.keys.len());
        broken.extend(page.broken.into_iter().take(10_usize.saturating_sub(broken.len())));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    let faults: Vec<_> = broken.iter().map(ToString::to_string).collect();
    match faults.is_empty() {
        true => finding(true, format!("{count} keys can be read")),
        false => finding(false, format!("{}: revoke or delete what can't be mended", faults.join("; "))),
    }
}

async fn peppers(session: &Session<'_>) -> Finding {
    let finding = |is_good, text| Finding { check: "peppers", is_good, text };
    let in_use = match session.manager.peppers_in_use().await {
        Ok(in_use) => in_use,
        Err(error) => return finding(false, chain(&error)),
    };
    let name = |pepper: &Option<u32>| pepper.map_or("none".to_owned(), |id| id.to_string());
    let count = |(pepper, keys): (&Option<u32>, &u64)| format!("{keys} keys with pepper {}", name(pepper));
    let missing: Vec<_> =
        in_use.iter().filter(|(pepper, _)| !session.manager.accepts_pepper(**pepper)).map(count).collect();
    match missing.is_empty() {
        true => finding(true, in_use.iter().map(count).collect::<Vec<_>>().join(", ")),
        false => finding(false, format!("missing here: {}", missing.join(", "))),
    }
}

/// What was recorded last can't be in the future.
async fn clock(session: &Session<'_>) -> Finding {
    let finding = |is_good, text| Finding { check: "clock", is_good, text };
    let last = match session.manager.history_of_all(&HistoryQuery { before: None, limit: 1 }).await {
        Ok(page) => page.events.first().map(|event| event.at),
        // A store that keeps no audit has nothing to compare with.
        Err(_) => None,
    };
    let now = session.manager.now();
    let ahead = last.map(|last| last.saturating_since(now)).unwrap_or_default();
    match ahead > SKEW {
        false => finding(true, format!("{now}")),
        true => finding(false, format!("the last change was made {} s from now", ahead.as_secs())),
    }
}

async fn limits<F>(keys: &ApiKeys<F>) -> Finding {
    let silent = keys.silent_limits().await;
    let text = if silent.is_empty() {
        "all counts can be read".to_owned()
    } else {
        format!("no answer: {}", silent.join(", "))
    };
    Finding { check: "limits", is_good: silent.is_empty(), text }
}
