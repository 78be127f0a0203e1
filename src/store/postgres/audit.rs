use async_trait::async_trait;

use super::PostgresStore;
use crate::clock::Timestamp;
use crate::key::{KeyId, Owner};
use crate::store::audit::AuditEvent;
use crate::store::sql::audit::{
    EventRow, RECORD, history, numbers, start_delivery, to_deliver, to_events, undelivered,
};
use crate::store::{AuditLog, History, HistoryQuery, StoreError};

const DELIVERED: &str = "UPDATE api_key_audit SET delivered = true WHERE number = ANY ($1)";

/// Writes an event, all in one parameter, for each row of `changed`; none if there is no event. The number comes after the
/// lock of the key's row, so that those of one key are in the order of its changes.
macro_rules! audit {
    ($event:literal) => {
        concat!(
            "audited AS (INSERT INTO api_key_audit (",
            $crate::store::sql::audit::event_columns!(),
            ") SELECT event[1]::bigint, event[2], event[3], event[4], event[5], event[6], event[7], event[8], event[9], event[10] \
             FROM changed, (SELECT ",
            $event,
            "::text[] AS event) AS given WHERE event IS NOT NULL)"
        )
    };
}

pub(super) use audit;

/// The parameter of [`audit`].
pub(super) fn texts(event: Option<&AuditEvent>) -> Option<Vec<Option<String>>> {
    event.map(|event| EventRow::new(event).into_texts())
}

#[async_trait]
impl AuditLog for PostgresStore {
    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let query = EventRow::new(event).bind(self.query(RECORD));
        self.administer(move |to| Box::pin(query.execute(to))).await.map(|_| ())
    }

    async fn history(
        &self,
        key: Option<(&Owner, &KeyId)>,
        query: &HistoryQuery,
    ) -> Result<History, StoreError> {
        let page = history(key, query).persistent(!self.is_pooled);
        let rows = self.administer(move |to| Box::pin(page.fetch_all(to))).await?;
        Ok(query.page(to_events(rows)?))
    }

    async fn undelivered(
        &self,
        process: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        let persistent = !self.is_pooled;
        // Most often there are none, and nothing is written.
        let events =
            self.administer(move |to| Box::pin(undelivered().persistent(persistent).fetch_all(to))).await?;
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let start = start_delivery(process, now, until).persistent(!self.is_pooled);
        let started = self.administer(move |to| Box::pin(start.execute(to))).await?;
        if started.rows_affected() == 0 {
            return Ok(Vec::new());
        }
        // Another process may have delivered some of them until now.
        to_deliver(
            self.administer(move |to| Box::pin(undelivered().persistent(persistent).fetch_all(to))).await?,
        )
    }

    async fn delivered(&self, delivered: &[u64]) -> Result<(), StoreError> {
        let query = self.query(DELIVERED).bind(numbers(delivered));
        self.administer(move |to| Box::pin(query.execute(to))).await.map(|_| ())
    }
}
