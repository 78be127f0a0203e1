use std::io::Write;
use std::num::NonZeroUsize;

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::{list, table};
use super::session::{Session, key_id};
use crate::key::{KeyId, Owner};
use crate::manage::{AuditEvent, ManageError};
use crate::store::{History, HistoryQuery};

#[derive(Args, Clone, Debug)]
pub(super) struct Audit {
    /// The identifier of a key, also of a deleted one; without it, the events of all keys
    id: Option<String>,
    /// How many events at most, the newest first
    #[arg(long, value_name = "N", default_value = "100", conflicts_with = "all")]
    limit: NonZeroUsize,
    /// Starts before the event of this number
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// Shows all events
    #[arg(long)]
    all: bool,
}

impl Audit {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let id = self.id.as_deref().map(key_id).transpose()?;
        let of = match id {
            Some(id) => Some((owner_of(session, &id).await?, id)),
            None => None,
        };
        let limit = if self.all { HistoryQuery::MAX_LIMIT } else { self.limit.get() };
        let mut query = HistoryQuery { before: self.before, limit };
        let mut is_first = true;
        loop {
            let page = match &of {
                Some((owner, id)) => {
                    session.manager.history(&session.authority(owner.clone()), id, &query).await?
                }
                None => session.manager.history_of_all(&query).await?,
            };
            print(session, &page, self.all, is_first)?;
            match page.next {
                Some(next) if self.all => query.before = Some(next),
                Some(next) => {
                    session.say(&format!("There are more: --before {next}"));
                    return Ok(Exit::Done);
                }
                None => return Ok(Exit::Done),
            }
            is_first = false;
        }
    }
}

/// Of a key that is gone, its events know the owner.
async fn owner_of(session: &Session<'_>, id: &KeyId) -> Result<Owner, Failure> {
    match session.authority_over(id).await {
        Ok(authority) => return Ok(authority.owner().clone()),
        Err(failure) if failure.exit == Exit::NotFound => {}
        Err(failure) => return Err(failure),
    }
    let mut query = HistoryQuery { before: None, limit: HistoryQuery::MAX_LIMIT };
    loop {
        let page = session.manager.history_of_all(&query).await?;
        if let Some(event) = page.events.into_iter().find(|event| event.key_id == Some(*id)) {
            return Ok(event.owner);
        }
        query.before = Some(page.next.ok_or(ManageError::NotFound)?);
    }
}

fn print(session: &Session<'_>, page: &History, is_part: bool, is_first: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match (session.json, is_part) {
        (true, true) => {
            for event in &page.events {
                writeln!(out, "{}", json!(event))?;
            }
        }
        (true, false) => {
            let next = page.next.map(|next| next.to_string());
            writeln!(out, "{}", json!({ "data": page.events, "nextCursor": next }))?;
        }
        (false, _) => {
            let header = ["NUMBER", "AT", "ACTION", "OUTCOME", "KEY", "OWNER", "BY", "CHANGED", "REASON"];
            let text = table(&header, &page.events.iter().map(row).collect::<Vec<_>>());
            let skipped = if is_first { 0 } else { text.find('\n').map_or(0, |end| end + 1) };
            out.write_all(&text.as_bytes()[skipped..])?;
        }
    }
    out.flush()?;
    Ok(())
}

fn row(event: &AuditEvent) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        or_none(event.number.map(|number| number.to_string())),
        event.at.to_string(),
        event.action.to_string(),
        event.outcome_text().to_owned(),
        or_none(event.key_id.map(|id| id.to_string())),
        event.owner.to_string(),
        event.actor.to_string(),
        list(&event.changed),
        event.reason.as_deref().unwrap_or_default().to_owned(),
    ]
}
