//! What key management asks of the store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::audit::texts;
use super::statements::{
    ADD_QUOTA, DELETE, FORGET_IMPORT, IMPORTED_AS, INSERT, LOCK_KEY, LOCK_QUOTA, REMEMBER_IMPORT,
};
use super::{PostgresStore, once};
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord, KeyStatus, Mode, Owner};
use crate::store::audit::AuditEvent;
use crate::store::sql::audit::{EventRow, RECORD};
use crate::store::sql::row::millis;
use crate::store::sql::{
    COUNT, COUNT_BY_STATUS, COUNT_PEPPERS, DROP_OTHER_DIGESTS, GET, KeyRow, Listing, QuotaName,
    REVOKE_UNREAD, WRITE_QUOTA, bind_key, bind_row, digests, owner_columns, to_found, to_id, to_peppers,
    to_quota_row, to_row, to_statuses,
};
use crate::store::{
    AuditLog, FindResult, KeyAdministration, KeyQuery, Page, QuotaChange, QuotaRow, StoreError, UsageLog,
};

#[async_trait]
impl KeyAdministration for PostgresStore {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        let query = bind_row(self.query(INSERT), to_row(&record)?).bind(digests(&record)).bind(texts(event));
        self.administer(move |to| Box::pin(query.execute(to))).await.map(|_| ())
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> FindResult {
        let query = bind_key!(self.query(GET), owner, id);
        to_found(self.administer(move |to| Box::pin(query.fetch_optional(to))).await?)
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        let listing = Listing::new(owner, query);
        let mut count = listing.rows();
        loop {
            let query = listing.query(count).persistent(!self.is_pooled);
            let rows = self.administer(move |to| Box::pin(query.fetch_all(to))).await?;
            match listing.page(&rows, count) {
                Ok(page) => return Ok(page),
                Err(more) => count = more,
            }
        }
    }

    async fn count(&self, owner: &Owner) -> Result<u64, StoreError> {
        let (organization, mode) = owner_columns(owner);
        let query = self.query_as::<(i64,)>(COUNT).bind(organization).bind(mode);
        let count = self.administer(move |to| Box::pin(query.fetch_one(to))).await?;
        Ok(count.0.unsigned_abs())
    }

    async fn peppers_in_use(&self, at: Timestamp) -> Result<BTreeMap<Option<u32>, u64>, StoreError> {
        let query = self.query_as(COUNT_PEPPERS).bind(millis(at));
        Ok(to_peppers(self.administer(move |to| Box::pin(query.fetch_all(to))).await?))
    }

    async fn count_by_status(&self, at: Timestamp) -> Result<BTreeMap<(Mode, KeyStatus), u64>, StoreError> {
        let query = self.query_as(COUNT_BY_STATUS).bind(millis(at));
        Ok(to_statuses(self.administer(move |to| Box::pin(query.fetch_all(to))).await?))
    }

    async fn revoke_unread(
        &self,
        owner: &Owner,
        id: &KeyId,
        at: Timestamp,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        let (owner, id, event) = (owner.clone(), *id, event.map(EventRow::new));
        self.administer(move |to| Box::pin(revoke_unread(to, owner, id, at, event))).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.replace_within(self.engine.administration_timeout, record, event).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        let query = bind_key!(self.query(DELETE), owner, id).bind(texts(event));
        let done = self.administer(move |to| Box::pin(query.execute(to))).await?;
        Ok(done.rows_affected() > 0)
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        Some(self)
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        Some(self)
    }

    fn keeps_quotas(&self) -> bool {
        true
    }

    async fn change_quota(
        &self,
        category: &str,
        subject: &str,
        change: &QuotaChange,
    ) -> Result<(QuotaRow, u64), StoreError> {
        let (name, change) = (QuotaName::new(category, subject), *change);
        // Requests wait for it.
        let persistent = !self.is_pooled;
        let deadline = Instant::now() + self.engine.lookup_timeout;
        self.schema.check(self.stored_schema(deadline)).await?;
        self.engine.run(deadline, |to| Box::pin(change_quota(to, name, change, persistent))).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        let query = self.query(REMEMBER_IMPORT).bind(digest.to_string()).bind(id.to_string());
        self.administer(move |to| Box::pin(query.execute(to))).await.map(|_| ())
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        let digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
        let query = self.query_as::<(String,)>(IMPORTED_AS).bind(digests);
        let id = self.administer(move |to| Box::pin(query.fetch_optional(to))).await?;
        to_id(id.map(|(id,)| id))
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        let query = self.query(FORGET_IMPORT).bind(id.to_string()).bind(texts(event));
        let done = self.administer(move |to| Box::pin(query.execute(to))).await?;
        Ok(done.rows_affected() > 0)
    }
}

/// Returns whether there was such a key to revoke.
/// Rare, so its statements are not prepared under a name.
async fn revoke_unread(
    connection: &mut PgConnection,
    owner: Owner,
    id: KeyId,
    at: Timestamp,
    event: Option<EventRow>,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let stored = once(LOCK_KEY).bind(id.to_string()).fetch_optional(&mut *transaction).await?;
    if stored.is_none_or(|row| row.owner().is_some_and(|stored| stored != owner)) {
        return Ok(false);
    }
    let revoke = bind_key!(once(REVOKE_UNREAD), &owner, id).bind(millis(at));
    if revoke.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(false);
    }
    once(DROP_OTHER_DIGESTS).bind(id.to_string()).execute(&mut *transaction).await?;
    if let Some(event) = event {
        event.bind(once(RECORD)).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

async fn change_quota(
    connection: &mut PgConnection,
    name: QuotaName,
    change: QuotaChange,
    persistent: bool,
) -> Result<(QuotaRow, u64), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut row = name
        .bind(sqlx::query_as(LOCK_QUOTA).persistent(persistent))
        .fetch_optional(&mut *transaction)
        .await?;
    if row.is_none() && change.is_look() {
        return Ok(change.apply(None));
    }
    if row.is_none() {
        // Another process may do so at the same time, and only one of them.
        let empty = QuotaRow { period: change.period, used: 0, limit: 0, granted: 0 };
        name.bind_row(sqlx::query(ADD_QUOTA).persistent(persistent), empty)
            .execute(&mut *transaction)
            .await?;
        row = name
            .bind(sqlx::query_as(LOCK_QUOTA).persistent(persistent))
            .fetch_optional(&mut *transaction)
            .await?;
    }
    let (row, leased) = change.apply(row.map(to_quota_row));
    name.bind_row(sqlx::query(WRITE_QUOTA).persistent(persistent), row).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((row, leased))
}
