//! What key management asks of the store.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::statements::{IMPORTED_AS, REMEMBER_IMPORT};
use super::transactions::{change_quota, delete, forget_import, insert, revoke_unread};
use super::{SqliteStore, json};
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord, KeyStatus, Mode, Owner};
use crate::store::audit::AuditEvent;
use crate::store::sql::audit::EventRow;
use crate::store::sql::row::millis;
use crate::store::sql::{
    COUNT, COUNT_BY_STATUS, COUNT_PEPPERS, GET, Listing, QuotaName, bind_key, digests, owner_columns,
    to_found, to_id, to_peppers, to_row, to_statuses,
};
use crate::store::{
    AuditLog, FindResult, KeyAdministration, KeyQuery, Page, QuotaChange, QuotaRow, StoreError, UsageLog,
};

#[async_trait]
impl KeyAdministration for SqliteStore {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        let (row, digests) = (to_row(&record)?, json(digests(&record).iter()));
        let event = event.map(EventRow::new);
        self.write(self.engine.administration_timeout, |to| Box::pin(insert(to, row, digests, event))).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> FindResult {
        let query = bind_key!(sqlx::query(GET), owner, id);
        to_found(self.administer(|to| Box::pin(query.fetch_optional(to))).await?)
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        let listing = Listing::new(owner, query);
        let mut count = listing.rows();
        loop {
            let query = listing.query(count);
            let rows = self.administer(|to| Box::pin(query.fetch_all(to))).await?;
            match listing.page(&rows, count) {
                Ok(page) => return Ok(page),
                Err(more) => count = more,
            }
        }
    }

    async fn count(&self, owner: &Owner) -> Result<u64, StoreError> {
        let (organization, mode) = owner_columns(owner);
        let query = sqlx::query_scalar::<_, i64>(COUNT).bind(organization).bind(mode);
        let count = self.administer(|to| Box::pin(query.fetch_one(to))).await?;
        Ok(count.unsigned_abs())
    }

    async fn peppers_in_use(&self, at: Timestamp) -> Result<BTreeMap<Option<u32>, u64>, StoreError> {
        let query = sqlx::query_as(COUNT_PEPPERS).bind(millis(at));
        Ok(to_peppers(self.administer(|to| Box::pin(query.fetch_all(to))).await?))
    }

    async fn count_by_status(&self, at: Timestamp) -> Result<BTreeMap<(Mode, KeyStatus), u64>, StoreError> {
        let query = sqlx::query_as(COUNT_BY_STATUS).bind(millis(at));
        Ok(to_statuses(self.administer(|to| Box::pin(query.fetch_all(to))).await?))
    }

    async fn revoke_unread(
        &self,
        owner: &Owner,
        id: &KeyId,
        at: Timestamp,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        let (owner, id, event) = (owner.clone(), *id, event.map(EventRow::new));
        let time = self.engine.administration_timeout;
        self.write(time, |to| Box::pin(revoke_unread(to, owner, id, at, event))).await
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
        let (owner, id, event) = (owner.clone(), *id, event.map(EventRow::new));
        self.write(self.engine.administration_timeout, |to| Box::pin(delete(to, owner, id, event))).await
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
        self.write(self.engine.lookup_timeout, |to| Box::pin(change_quota(to, name, change))).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        let query = sqlx::query(REMEMBER_IMPORT).bind(digest.to_string()).bind(id.to_string());
        self.write(self.engine.administration_timeout, |to| Box::pin(query.execute(to))).await.map(|_| ())
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        let query = sqlx::query_scalar(IMPORTED_AS).bind(json(digests.iter()));
        to_id(self.administer(|to| Box::pin(query.fetch_optional(to))).await?)
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        let (id, event) = (*id, event.map(EventRow::new));
        self.write(self.engine.administration_timeout, |to| Box::pin(forget_import(to, id, event))).await
    }
}
