//! The rows of the usage log.

use sqlx::AssertSqlSafe;

use super::row::{self, millis};
use super::{corrupt, owner_columns};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::usage::{
    Usage, UsageBucket, UsageCounts, UsageEntry, UsageGroup, UsageOutcome, UsageQuery, UsageRow,
};

/// How many rows of each table one call deletes at most.
pub(crate) const PRUNED_AT_ONCE: u64 = 5_000;

/// The columns of an entry, in the order of the tables: hour, organization, mode, key, category and counts.
pub(crate) type EntryColumns = (i64, String, String, String, String, [i64; 6]);

/// Those of a row to read. What rows are not grouped by is the empty text.
pub(crate) type UsageColumns = (i64, String, String, String, String, i64, i64, i64, i64, i64, i64);

/// What an entry adds to a stored row of the table alias `kept`.
macro_rules! add_counts {
    () => {
        "ok = kept.ok + excluded.ok, client_error = kept.client_error + excluded.client_error, \
         limited = kept.limited + excluded.limited, forbidden = kept.forbidden + excluded.forbidden, \
         refused = kept.refused + excluded.refused, server_error = kept.server_error + excluded.server_error"
    };
}

/// Remembers the last batch of a process. Changes no row if it has added this one. `earlier` is the function that returns the
/// earlier of two times, and `now` the time of the database: a batch was not made after it.
macro_rules! remember_batch {
    ($earlier:literal, $now:expr) => {
        concat!(
            "INSERT INTO api_key_usage_processes AS kept (process, number, made_at) VALUES ($1, $2, ",
            $earlier,
            "($3, ",
            $now,
            ")) ON CONFLICT  (process) DO UPDATE SET number = excluded.number, made_at = excluded.made_at \
             WHERE kept.number < excluded.number"
        )
    };
}

/// How far usage is complete, as processes that have added something in the last three minutes say. A time that the clock of the
/// database has not reached is from when that was wrong.
macro_rules! as_of {
    ($now:expr) => {
        concat!(
            "WITH known AS (SELECT made_at FROM api_key_usage_processes WHERE made_at <= ",
            $now,
            ") \
             SELECT min(made_at) FROM known WHERE made_at >= (SELECT max(made_at) FROM known) - 180000"
        )
    };
}

pub(crate) use {add_counts, as_of, remember_batch};

/// The statement that answers `query`: `$1` and `$2` are start and end, `$3` and `$4` organization and mode, `$5` keys, `$6` how
/// many rows. `among_keys` is the condition that a key is one of `$5`.
pub(crate) fn statement(query: &UsageQuery, among_keys: &'static str) -> AssertSqlSafe<String> {
    let (table, bucket) = match query.bucket {
        UsageBucket::Hour => ("api_key_usage_hours", "hour"),
        UsageBucket::Day => ("api_key_usage_days", "day"),
    };
    let group = match query.group_by {
        None => "'', '', '', ''",
        Some(UsageGroup::Key) => "organization, mode, key_id, ''",
        Some(UsageGroup::Organization) => "organization, mode, '', ''",
        Some(UsageGroup::Category) => "'', '', '', category",
    };
    // Apart, so that the index is used.
    let owner = match query.owner {
        Some(_) => "organization = $3 AND mode = $4",
        None => "$3 IS NULL AND ($4 IS NULL OR mode = $4)",
    };
    let sums = UsageOutcome::ALL.map(|outcome| format!("CAST(sum({outcome}) AS bigint)")).join(", ");
    AssertSqlSafe(format!(
        "SELECT {bucket}, {group}, {sums} FROM {table} WHERE {bucket} >= $1 AND {bucket} < $2 AND {owner} \
         AND ($5 IS NULL OR {among_keys}) GROUP BY 1, 2, 3, 4, 5 LIMIT $6"
    ))
}

/// The parameters of a [`statement`], but for the keys.
pub(crate) struct Asked {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) organization: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) limit: i64,
}

impl Asked {
    pub(crate) fn new(query: &UsageQuery, limit: usize) -> Self {
        let (organization, mode) = query.owner.as_ref().map(owner_columns).unzip();
        Self {
            start: millis(query.bucket.start_of(query.start)),
            end: millis(query.end),
            organization,
            mode: mode.or_else(|| query.mode.map(|mode| mode.to_string())),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        }
    }
}

/// The identifiers of the keys that are asked for; `None` is all.
pub(crate) fn keys_of(query: &UsageQuery) -> Option<Vec<String>> {
    (!query.keys.is_empty()).then(|| query.keys.iter().map(ToString::to_string).collect())
}

pub(crate) fn entry_columns(entry: &UsageEntry) -> EntryColumns {
    let (organization, mode) = owner_columns(&entry.owner);
    let count = |outcome| i64::try_from(entry.counts.of(outcome)).unwrap_or(i64::MAX);
    let counts = UsageOutcome::ALL.map(count);
    (millis(entry.hour), organization, mode, entry.key_id.to_string(), entry.category.clone(), counts)
}

pub(crate) fn to_usage(
    rows: Vec<UsageColumns>,
    as_of: Option<i64>,
    query: &UsageQuery,
) -> Result<Usage, StoreError> {
    let rows = rows.into_iter().map(|row| to_row(row, query).map_err(corrupt)).collect::<Result<_, _>>()?;
    let as_of = as_of.map(|at| row::timestamp("made_at", at).map_err(corrupt)).transpose()?;
    Ok(Usage::new(rows, as_of))
}

fn to_row(
    columns: UsageColumns,
    query: &UsageQuery,
) -> Result<UsageRow, Box<dyn std::error::Error + Send + Sync>> {
    let (start, organization, mode, key_id, category, ok, client_error, limited, forbidden, refused, failed) =
        columns;
    let mut calls = UsageCounts::default();
    let counts = [ok, client_error, limited, forbidden, refused, failed];
    for (outcome, count) in UsageOutcome::ALL.into_iter().zip(counts) {
        calls.add(outcome, u64::try_from(count)?);
    }
    let mut row = UsageRow::of_all(row::timestamp("start", start)?, calls);
    if !mode.is_empty() {
        let tier = if organization.is_empty() { "system" } else { "organization" };
        row.owner = Some(row::to_owner(tier, &organization, &mode)?);
    }
    if !key_id.is_empty() {
        row.key_id = Some(key_id.parse()?);
    }
    row.category = (query.group_by == Some(UsageGroup::Category)).then_some(category);
    Ok(row)
}

/// The end of what is old, in each table: hours, days and processes.
pub(crate) fn pruned(hours_before: Timestamp, days_before: Timestamp) -> [i64; 3] {
    [millis(hours_before), millis(days_before), millis(days_before)]
}

const _: () = assert!(UsageBucket::Day.length().as_millis() == 86_400_000, "the statements say so, too");
