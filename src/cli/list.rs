use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::{Progress, list, table};
use super::owner::OwnerOptions;
use super::session::Session;
use super::times::duration;
use crate::key::{Actor, KeyStatus};
use crate::manage::KeyView;
use crate::scope::Scope;
use crate::store::{Cursor, KeyQuery, Page};

#[derive(Args, Clone, Debug)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// How many keys at most
    #[arg(long, value_name = "N", default_value = "100", conflicts_with = "all")]
    limit: NonZeroUsize,
    /// Starts where another page has ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
    /// Lists all pages, one after the other
    #[arg(long)]
    all: bool,
}

/// Which keys.
#[derive(Args, Clone, Debug)]
pub(super) struct Filter {
    #[command(flatten)]
    owner: OwnerOptions,
    /// Only keys of this status: active, disabled, not_yet_valid, expired or revoked
    #[arg(long, value_name = "STATUS")]
    status: Option<KeyStatus>,
    /// Only keys that end within this time, or have ended
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expiring_within: Option<Duration>,
    /// Only keys that were neither made nor used for this time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    unused_for: Option<Duration>,
    /// Only keys whose secret is older than this
    #[arg(long, value_name = "TIME", value_parser = duration)]
    older_than: Option<Duration>,
    /// Only keys that have this scope
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Only keys whose name begins like this
    #[arg(long, value_name = "TEXT")]
    name_prefix: Option<String>,
    /// Only keys that were made by this: `key ID`, `operator NAME`
    #[arg(long, value_name = "MAKER")]
    created_by: Option<Actor>,
}

impl Filter {
    /// `None` is every owner.
    pub(super) fn owner(&self) -> Option<crate::key::Owner> {
        self.owner.owner()
    }

    pub(super) fn query(&self, session: &Session<'_>) -> KeyQuery {
        let manager = session.manager;
        KeyQuery {
            mode: self.owner.mode(),
            status_at: self.status.and_then(|status| manager.of_status(status).status_at),
            expires_before: self.expiring_within.and_then(|time| manager.ending_within(time).expires_before),
            unused_since: self.unused_for.and_then(|time| manager.unused_for(time).unused_since),
            secret_created_before: self
                .older_than
                .and_then(|age| manager.older_than(age).secret_created_before),
            scope: self.scope.clone(),
            name_prefix: self.name_prefix.clone(),
            created_by: self.created_by.clone(),
            ..KeyQuery::default()
        }
    }

    pub(super) async fn page(
        &self,
        session: &Session<'_>,
        query: &KeyQuery,
    ) -> Result<Page<KeyView>, Failure> {
        Ok(match self.owner.owner() {
            Some(owner) => session.manager.list(&session.authority(owner), query).await?,
            None => session.manager.list_all(query).await?,
        })
    }
}

impl List {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let mut query = self.filter.query(session);
        query.after = self.after;
        query.limit = if self.all { KeyQuery::MAX_LIMIT } else { self.limit.get() };
        let mut progress = Progress::of("keys");
        let (mut is_first, mut ended) = (true, Exit::Done);
        loop {
            let page = self.filter.page(session, &query).await?;
            progress.add(page.keys.len());
            print(session, &page, self.all, is_first)?;
            for broken in &page.broken {
                session.warn("record_corrupt", &format!("not listed: {broken}"));
                ended = Exit::Failed;
            }
            match page.next {
                Some(next) if self.all => query.after = Some(next),
                next => {
                    next.iter().for_each(|next| session.say(&format!("There are more: --after {next}")));
                    return Ok(ended);
                }
            }
            is_first = false;
        }
    }
}

/// One page. Of all pages, none is kept: one JSON object a line, and a table without the header of the first.
fn print(session: &Session<'_>, page: &Page<KeyView>, is_part: bool, is_first: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match (session.json, is_part) {
        (true, true) => {
            for key in &page.keys {
                writeln!(out, "{}", json!(key))?;
            }
        }
        (true, false) => {
            let next = page.next.map(|next| next.to_string());
            let mut listing = json!({ "data": page.keys, "nextCursor": next });
            let broken: Vec<_> = page.broken.iter().filter_map(|broken| broken.id).collect();
            if !broken.is_empty() {
                listing["broken"] = json!(broken);
            }
            writeln!(out, "{listing}")?;
        }
        (false, _) => {
            let text = table(&HEADER, &page.keys.iter().map(row).collect::<Vec<_>>());
            let skipped = if is_first { 0 } else { text.find('\n').map_or(0, |end| end + 1) };
            out.write_all(&text.as_bytes()[skipped..])?;
        }
    }
    out.flush()?;
    Ok(())
}

const HEADER: [&str; 8] = ["ID", "OWNER", "NAME", "KEY", "STATUS", "EXPIRES", "LAST USED", "SCOPES"];

/// The name of one key must not move the columns of all others. `show` has the whole.
fn cut(name: &str) -> String {
    const LONGEST: usize = 32;
    match name.chars().count() > LONGEST {
        true => name.chars().take(LONGEST - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

fn row(key: &KeyView) -> Vec<String> {
    let day = |at: crate::clock::Timestamp| at.to_string().chars().take(10).collect();
    vec![
        key.id.to_string(),
        key.owner.to_string(),
        cut(&key.name),
        key.hint.clone(),
        key.status.to_string(),
        key.expires_at.map_or_else(|| "never".to_owned(), day),
        key.last_used_at.map_or_else(|| "-".to_owned(), day),
        list(&key.scopes),
    ]
}
