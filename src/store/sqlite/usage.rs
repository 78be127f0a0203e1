use async_trait::async_trait;
use sqlx::{Connection, SqliteConnection};

use super::{BEGIN, SqliteStore};
use crate::clock::Timestamp;
use crate::store::sql::row::millis;
use crate::store::sql::usage::{
    Asked, PRUNED_AT_ONCE, UsageColumns, add_counts, as_of, entry_columns, keys_of, pruned, remember_batch,
    statement, to_usage,
};
use crate::store::{StoreError, StoreErrorKind, UsageLog};
use crate::usage::{Usage, UsageBatch, UsageQuery};

macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}

const REMEMBER_BATCH: &str = remember_batch!("min", now!());

const AS_OF: &str = as_of!(now!());

/// `$1` is a JSON array of entries.
const ADD: [&str; 2] = [
    concat!(
        "INSERT INTO api_key_usage_hours AS kept (hour, organization, mode, key_id, category, ok, client_error, limited, \
         forbidden, refused, server_error) SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, \
         value ->> '$[5][0]', value ->> '$[5][1]', value ->> '$[5][2]', value ->> '$[5][3]', value ->> '$[5][4]', \
         value ->> '$[5][5]' FROM json_each($1) WHERE true \
         ON CONFLICT (organization, mode, hour, key_id, category) DO UPDATE SET ",
        add_counts!()
    ),
    concat!(
        "INSERT INTO api_key_usage_days AS kept (day, organization, mode, key_id, category, ok, client_error, limited, \
         forbidden, refused, server_error) SELECT (value ->> 0) - (value ->> 0) % 86400000, value ->> 1, value ->> 2, \
         value ->> 3, value ->> 4, value ->> '$[5][0]', value ->> '$[5][1]', value ->> '$[5][2]', value ->> '$[5][3]', \
         value ->> '$[5][4]', value ->> '$[5][5]' FROM json_each($1) WHERE true \
         ON CONFLICT (organization, mode, day, key_id, category) DO UPDATE SET ",
        add_counts!()
    ),
];

macro_rules! prune {
    ($table:literal, $age:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE rowid IN (SELECT rowid FROM ",
            $table,
            " WHERE ",
            $age,
            " < $1 LIMIT 5000)"
        )
    };
}

const PRUNE: [&str; 3] = [
    prune!("api_key_usage_hours", "hour"),
    prune!("api_key_usage_days", "day"),
    prune!("api_key_usage_processes", "made_at"),
];

#[async_trait]
impl UsageLog for SqliteStore {
    async fn add(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        let entries: Vec<_> = batch.entries.iter().map(entry_columns).collect();
        let entries = serde_json::to_string(&entries)
            .map_err(|error| StoreError::new(StoreErrorKind::Other).with_source(error))?;
        let number = i64::try_from(batch.number).unwrap_or(i64::MAX);
        let process = (batch.process.to_string(), number, millis(batch.made_at));
        self.write(self.engine.administration_timeout, |to| Box::pin(add(to, process, entries))).await
    }

    async fn read(&self, query: &UsageQuery, limit: usize) -> Result<Usage, StoreError> {
        // Before the rows, which may have more then, but not less.
        let as_of = sqlx::query_as::<_, (Option<i64>,)>(AS_OF);
        let (as_of,) = self.administer(|to| Box::pin(as_of.fetch_one(to))).await?;
        let Asked { start, end, organization, mode, limit } = Asked::new(query, limit);
        let keys = keys_of(query).map(|keys| super::json(keys.iter()));
        let rows = statement(query, "key_id IN (SELECT value FROM json_each($5))");
        let rows = sqlx::query_as::<_, UsageColumns>(rows)
            .bind(start)
            .bind(end)
            .bind(organization)
            .bind(mode)
            .bind(keys)
            .bind(limit);
        let rows = self.administer(|to| Box::pin(rows.fetch_all(to))).await?;
        to_usage(rows, as_of, query)
    }

    async fn prune(&self, hours_before: Timestamp, days_before: Timestamp) -> Result<bool, StoreError> {
        let ends = pruned(hours_before, days_before);
        self.write(self.engine.administration_timeout, |to| Box::pin(prune(to, ends))).await
    }
}

async fn add(
    connection: &mut SqliteConnection,
    (process, number, made_at): (String, i64, i64),
    entries: String,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let remember = sqlx::query(REMEMBER_BATCH).bind(process).bind(number).bind(made_at);
    if remember.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(());
    }
    for statement in ADD {
        sqlx::query(statement).bind(&entries).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Returns whether there may be more.
async fn prune(connection: &mut SqliteConnection, ends: [i64; 3]) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let mut has_more = false;
    for (statement, end) in PRUNE.into_iter().zip(ends) {
        let deleted = sqlx::query(statement).bind(end).execute(&mut *transaction).await?;
        has_more |= deleted.rows_affected() >= PRUNED_AT_ONCE;
    }
    transaction.commit().await?;
    Ok(has_more)
}
