use async_trait::async_trait;

use super::audit::AuditEvent;
use super::{
    BackgroundTask, ChangeMark, Changes, FindResult, KeyAdministration, KeyQuery, KeySelector, KeyStore,
    Lookup, Page, StoreError, StoreErrorKind, StoreHealth,
};
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord, Owner};

/// A store that only looks up keys, because they are managed elsewhere.
///
/// Changing or listing keys fails with [`StoreErrorKind::Other`].
///
/// ```
/// use tower_api_keys::store::{KeyStore, ReadOnly};
/// use tower_api_keys::{ApiKeys, KeyFormat};
///
/// # fn example(lookups: impl KeyStore) -> Result<(), Box<dyn std::error::Error>> {
/// let keys = ApiKeys::builder(ReadOnly::new(lookups), KeyFormat::new("acme_")?)
///     .header("x-api-key")
///     .route("GET", "/workflows", "workflows:read")
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnly<S>(S);

impl<S> ReadOnly<S> {
    /// Looks up keys in `store`.
    pub fn new(store: S) -> Self {
        Self(store)
    }
}

fn read_only_error() -> StoreError {
    StoreError::new(StoreErrorKind::Other).with_source("keys are managed elsewhere: the store is read-only")
}

#[async_trait]
impl<S: KeyStore> KeyStore for ReadOnly<S> {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        self.0.find(selector)
    }

    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.0.refresh(record, event).await
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.0.record_last_use(uses).await
    }

    async fn changes(&self, since: Option<ChangeMark>) -> Result<Option<Changes>, StoreError> {
        self.0.changes(since).await
    }

    fn background(&self) -> Option<BackgroundTask> {
        self.0.background()
    }

    fn health(&self) -> StoreHealth {
        self.0.health()
    }

    fn needs_guard(&self) -> bool {
        self.0.needs_guard()
    }
}

#[async_trait]
impl<S: KeyStore> KeyAdministration for ReadOnly<S> {
    async fn insert(&self, _: KeyRecord, _: Option<&AuditEvent>) -> Result<(), StoreError> {
        Err(read_only_error())
    }

    async fn get(&self, _: &Owner, _: &KeyId) -> FindResult {
        Err(read_only_error())
    }

    async fn list(&self, _: Option<&Owner>, _: &KeyQuery) -> Result<Page, StoreError> {
        Err(read_only_error())
    }

    async fn replace(&self, _: KeyRecord, _: Option<&AuditEvent>) -> Result<(), StoreError> {
        Err(read_only_error())
    }

    async fn delete(&self, _: &Owner, _: &KeyId, _: Option<&AuditEvent>) -> Result<bool, StoreError> {
        Err(read_only_error())
    }

    async fn remember_import(&self, _: &KeyId, _: &Digest) -> Result<(), StoreError> {
        Err(read_only_error())
    }

    async fn imported_as(&self, _: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        Err(read_only_error())
    }

    async fn forget_import(&self, _: &KeyId, _: Option<&AuditEvent>) -> Result<bool, StoreError> {
        Err(read_only_error())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::key::Mode;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn finds_and_changes_nothing() {
        let (store, owner) = (MemoryStore::new(), Owner::system(Mode::Live));
        let record = KeyRecord::new(
            "k1".parse().unwrap(),
            owner.clone(),
            crate::key::Peppers::none().digest("secret"),
            Timestamp::from_unix_seconds(0),
        );
        store.insert(record.clone(), None).await.unwrap();
        let read_only = ReadOnly::new(Arc::new(store.clone()));
        assert!(read_only.find(KeySelector::Id(&record.id)).await.unwrap().is_some());
        assert!(read_only.insert(record.clone(), None).await.is_err());
        assert!(read_only.get(&owner, &record.id).await.is_err());
        assert!(read_only.list(Some(&owner), &KeyQuery::default()).await.is_err());
        assert!(read_only.replace(record.clone(), None).await.is_err());
        assert!(read_only.delete(&owner, &record.id, None).await.is_err());
        assert!(read_only.remember_import(&record.id, &record.digest).await.is_err());
        assert!(read_only.imported_as(&[record.digest]).await.is_err());
        assert!(read_only.forget_import(&record.id, None).await.is_err());
        assert_eq!(store.len(), 1);
    }
}
