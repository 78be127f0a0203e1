use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::SqliteStore;
use crate::clock::Timestamp;
use crate::key::{KeyId, Owner};
use crate::store::audit::AuditEvent;
use crate::store::sql::audit::{
    EventRow, RECORD, history, numbers, start_delivery, to_deliver, to_events, undelivered,
};
use crate::store::{AuditLog, History, HistoryQuery, StoreError};

/// `$1` is a JSON array of numbers.
const DELIVERED: &str =
    "UPDATE api_key_audit SET delivered = 1 WHERE number IN (SELECT value FROM json_each($1))";

/// Writes the event of a change in its transaction.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    event: Option<EventRow>,
) -> Result<(), sqlx::Error> {
    let Some(event) = event else { return Ok(()) };
    event.bind(sqlx::query(RECORD)).execute(connection).await.map(|_| ())
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let event = Some(EventRow::new(event));
        self.write(self.engine.administration_timeout, |to| Box::pin(record(to, event))).await
    }

    async fn history(
        &self,
        key: Option<(&Owner, &KeyId)>,
        query: &HistoryQuery,
    ) -> Result<History, StoreError> {
        let page = history(key, query);
        let rows = self.administer(|to| Box::pin(page.fetch_all(to))).await?;
        Ok(query.page(to_events(rows)?))
    }

    async fn undelivered(
        &self,
        process: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        // Most often there are none, and nothing is written.
        let events = self.administer(|to| Box::pin(undelivered().fetch_all(to))).await?;
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let start = start_delivery(process, now, until);
        let started =
            self.write(self.engine.administration_timeout, |to| Box::pin(start.execute(to))).await?;
        if started.rows_affected() == 0 {
            return Ok(Vec::new());
        }
        // Another process may have delivered some of them until now.
        to_deliver(self.administer(|to| Box::pin(undelivered().fetch_all(to))).await?)
    }

    async fn delivered(&self, delivered: &[u64]) -> Result<(), StoreError> {
        let query = sqlx::query(DELIVERED).bind(json_numbers(delivered));
        self.write(self.engine.administration_timeout, |to| Box::pin(query.execute(to))).await.map(|_| ())
    }
}

fn json_numbers(delivered: &[u64]) -> String {
    format!("{:?}", numbers(delivered))
}
