use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::failure::{Exit, Failure};
use super::output::table;
use super::owner::OwnerOptions;
use super::session::{Session, key_id};
use super::times::{day_or_instant, duration};
use crate::clock::Timestamp;
use crate::manage::{csv, json};
use crate::usage::{
    Usage as Answer, UsageBucket, UsageCounts, UsageGroup, UsageOutcome, UsageQuery, UsageRow,
};

#[derive(Args, Clone, Debug)]
pub(super) struct Usage {
    /// The identifiers of keys, also of deleted ones; without one, all keys
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    owner: OwnerOptions,
    /// How long before the end it begins, such as `7d`; 1 day in hours and 30 days in days, if it is not given
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "start")]
    since: Option<Duration>,
    /// From when on: a day or an instant, in UTC
    #[arg(long, value_name = "START", value_parser = day_or_instant)]
    start: Option<Timestamp>,
    /// Until when: a day or an instant; now, if it is not given
    #[arg(long, value_name = "END", value_parser = day_or_instant)]
    end: Option<Timestamp>,
    /// How time is divided: hour or day
    #[arg(long, value_name = "BUCKET", default_value_t = UsageBucket::Day)]
    bucket: UsageBucket,
    /// What has lines of its own: key, organization or category
    #[arg(long, value_name = "GROUP")]
    by: Option<UsageGroup>,
    /// Writes CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

impl Usage {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let query = self.query(session.manager.now())?;
        let usage = session.manager.usage_of_all(&query).await?;
        if let [id] = query.keys.as_slice() {
            if usage.rows.iter().all(|row| row.calls.is_empty()) {
                // Usage outlasts its key, so only a key without any has to be there.
                session.key(id).await?;
            }
        }
        if self.csv {
            let mut out = std::io::stdout().lock();
            out.write_all(csv::usage(&usage).as_bytes())?;
            out.flush()?;
        } else {
            session.print_either(&json::usage(&query, &usage), || text(&query, &usage))?;
        }
        session.say(&match usage.as_of {
            Some(at) => format!("Complete up to {at}."),
            None => "Nothing was ever counted: an application counts with `count_usage`.".to_owned(),
        });
        Ok(Exit::Done)
    }

    fn query(&self, now: Timestamp) -> Result<UsageQuery, Failure> {
        let end = self.end.unwrap_or(now.saturating_add(Duration::from_millis(1)));
        let since = self.since.unwrap_or(self.bucket.usual_span());
        let start = self.start.unwrap_or(end.saturating_sub(since));
        let mut query = UsageQuery::new(start, end, self.bucket);
        query.owner = self.owner.owner();
        query.mode = self.owner.mode();
        query.keys = self.ids.iter().map(|id| key_id(id)).collect::<Result<_, _>>()?;
        query.group_by = self.by;
        Ok(query)
    }
}

/// A line for each row, and the sum of all.
fn text(query: &UsageQuery, usage: &Answer) -> String {
    let mut header = vec!["START"];
    header.extend(match query.group_by {
        None => [].as_slice(),
        Some(UsageGroup::Key) => &["KEY", "OWNER"],
        Some(UsageGroup::Organization) => &["OWNER"],
        Some(UsageGroup::Category) => &["CATEGORY"],
    });
    let first = header.len();
    header.extend(["TOTAL", "OK", "CLIENT ERROR", "LIMITED", "FORBIDDEN", "REFUSED", "SERVER ERROR"]);
    // Of groups there can be many, most of them idle most of the time.
    let is_shown = |row: &&UsageRow| query.group_by.is_none() || !row.calls.is_empty();
    let mut rows: Vec<Vec<String>> = usage.rows.iter().filter(is_shown).map(|row| line(query, row)).collect();
    let mut sum = UsageCounts::default();
    usage.rows.iter().for_each(|row| sum += row.calls);
    let mut last = vec![String::new(); first];
    last[0] = "all".to_owned();
    last.extend(counts(&sum));
    rows.push(last);
    table(&header, &rows)
}

fn line(query: &UsageQuery, row: &UsageRow) -> Vec<String> {
    let start = row.start.to_string();
    let mut cells = vec![match query.bucket {
        UsageBucket::Day => start.chars().take(10).collect(),
        UsageBucket::Hour => start,
    }];
    cells.extend(row.key_id.map(|id| id.to_string()));
    cells.extend(row.owner.as_ref().map(ToString::to_string));
    // Requests that no limit counts have none.
    cells.extend(row.category.as_ref().map(|name| if name.is_empty() { "-" } else { name }.to_owned()));
    cells.extend(counts(&row.calls));
    cells
}

fn counts(calls: &UsageCounts) -> impl Iterator<Item = String> {
    std::iter::once(calls.total())
        .chain(UsageOutcome::ALL.map(|outcome| calls.of(outcome)))
        .map(|count| count.to_string())
}
