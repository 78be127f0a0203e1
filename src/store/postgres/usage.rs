use async_trait::async_trait;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};

use super::{PostgresStore, once};
use crate::clock::Timestamp;
use crate::store::sql::row::millis;
use crate::store::sql::usage::{
    Asked, PRUNED_AT_ONCE, UsageColumns, add_counts, as_of, entry_columns, keys_of, pruned, remember_batch,
    statement, to_usage,
};
use crate::store::{StoreError, UsageLog};
use crate::usage::{Usage, UsageBatch, UsageQuery};

macro_rules! now {
    () => {
        "CAST(extract(epoch FROM now()) * 1000 AS bigint)"
    };
}

const AS_OF: &str = as_of!(now!());

/// Adds a batch, unless it was added. Rows are written in one order, so that no two processes wait for each other.
const ADD: &str = concat!(
    "WITH batch AS (",
    remember_batch!("least", now!()),
    " RETURNING number), \
     given AS (SELECT entry.* FROM batch, unnest($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) AS entry (hour, organization, \
     mode, key_id, category, ok, client_error, limited, forbidden, refused, server_error)), \
     by_hour AS (INSERT INTO api_key_usage_hours AS kept (hour, organization, mode, key_id, category, ok, client_error, limited, \
     forbidden, refused, server_error) SELECT * FROM given ORDER BY organization, mode, hour, key_id, category \
     ON CONFLICT (organization, mode, hour, key_id, category) DO UPDATE SET ",
    add_counts!(),
    "), by_day AS (INSERT INTO api_key_usage_days AS kept (day, organization, mode, key_id, category, ok, client_error, limited, \
     forbidden, refused, server_error) SELECT hour - hour % 86400000, organization, mode, key_id, category, sum(ok), \
     sum(client_error), sum(limited), sum(forbidden), sum(refused), sum(server_error) FROM given \
     GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 3, 1, 4, 5 \
     ON CONFLICT (organization, mode, day, key_id, category) DO UPDATE SET ",
    add_counts!(),
    ") SELECT FROM batch"
);

macro_rules! prune {
    ($table:literal, $age:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ctid = ANY (ARRAY(SELECT ctid FROM ",
            $table,
            " WHERE ",
            $age,
            " < $1 LIMIT 5000 FOR UPDATE SKIP LOCKED))"
        )
    };
}

const PRUNE: [&str; 3] = [
    prune!("api_key_usage_hours", "hour"),
    prune!("api_key_usage_days", "day"),
    prune!("api_key_usage_processes", "made_at"),
];

impl PostgresStore {
    fn add_batch(&self, batch: &UsageBatch) -> Query<'static, Postgres, PgArguments> {
        let count = batch.entries.len();
        let (mut hours, mut counts) = (Vec::with_capacity(count), [const { Vec::<i64>::new() }; 6]);
        let mut texts = [const { Vec::<String>::new() }; 4];
        for entry in &batch.entries {
            let (hour, organization, mode, key_id, category, requests) = entry_columns(entry);
            hours.push(hour);
            texts.iter_mut().zip([organization, mode, key_id, category]).for_each(|(to, text)| to.push(text));
            counts.iter_mut().zip(requests).for_each(|(to, count)| to.push(count));
        }
        let process = self.query(ADD).bind(batch.process.to_string());
        let number = i64::try_from(batch.number).unwrap_or(i64::MAX);
        let query = process.bind(number).bind(millis(batch.made_at)).bind(hours);
        let query = texts.into_iter().fold(query, Query::bind);
        counts.into_iter().fold(query, Query::bind)
    }
}

#[async_trait]
impl UsageLog for PostgresStore {
    async fn add(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        let query = self.add_batch(batch);
        self.administer(move |to| Box::pin(query.execute(to))).await.map(|_| ())
    }

    async fn read(&self, query: &UsageQuery, limit: usize) -> Result<Usage, StoreError> {
        // Before the rows, which may have more then, but not less.
        let as_of = self.query_as::<(Option<i64>,)>(AS_OF);
        let (as_of,) = self.administer(move |to| Box::pin(as_of.fetch_one(to))).await?;
        let Asked { start, end, organization, mode, limit } = Asked::new(query, limit);
        let rows = sqlx::query_as::<_, UsageColumns>(statement(query, "key_id = ANY ($5)"))
            .persistent(!self.is_pooled)
            .bind(start)
            .bind(end)
            .bind(organization)
            .bind(mode)
            .bind(keys_of(query))
            .bind(limit);
        let rows = self.administer(move |to| Box::pin(rows.fetch_all(to))).await?;
        to_usage(rows, as_of, query)
    }

    async fn prune(&self, hours_before: Timestamp, days_before: Timestamp) -> Result<bool, StoreError> {
        let ends = pruned(hours_before, days_before);
        self.administer(move |to| Box::pin(prune(to, ends))).await
    }
}

/// Returns whether there may be more. Rare, so its statements are not prepared under a name.
async fn prune(connection: &mut PgConnection, ends: [i64; 3]) -> Result<bool, sqlx::Error> {
    let mut has_more = false;
    for (sql, end) in PRUNE.into_iter().zip(ends) {
        let deleted = once(sql).bind(end).execute(&mut *connection).await?;
        has_more |= deleted.rows_affected() >= PRUNED_AT_ONCE;
    }
    Ok(has_more)
}
