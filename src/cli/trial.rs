use std::sync::Arc;

use async_trait::async_trait;

use crate::key::{Digest, KeyId, KeyRecord, Owner};
use crate::manage::AuditEvent;
use crate::store::{
    KeyAdministration, KeyQuery, KeySelector, KeyStore, Lookup, MemoryStore, Page, StoreError, StoreErrorKind,
};

/// A store in which imports can be tried: what they add stays in memory, and all else is read from the store beneath.
pub(super) struct Trial {
    beneath: Arc<dyn KeyAdministration>,
    added: MemoryStore,
}

impl Trial {
    pub(super) fn over(beneath: Arc<dyn KeyAdministration>) -> Self {
        Self { beneath, added: MemoryStore::new() }
    }
}

#[async_trait]
impl KeyStore for Trial {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        let (added, beneath) = (self.added.find(selector), self.beneath.find(selector));
        Lookup::pending(async move {
            match added.await? {
                None => beneath.await,
                found => Ok(found),
            }
        })
    }
}

#[async_trait]
impl KeyAdministration for Trial {
    async fn insert(&self, record: KeyRecord, _: Option<&AuditEvent>) -> Result<(), StoreError> {
        let digests: Vec<_> = record.digests().collect();
        for selector in [KeySelector::Id(&record.id), KeySelector::Digests(&digests)] {
            if self.beneath.find(selector).await?.is_some() {
                return Err(StoreError::new(StoreErrorKind::Conflict));
            }
        }
        self.added.insert(record, None).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.added.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        match self.added.imported_as(digests).await? {
            None => self.beneath.imported_as(digests).await,
            id => Ok(id),
        }
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let found = self.find(KeySelector::Id(id)).await?;
        Ok(found.filter(|record| record.owner == *owner))
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.beneath.list(owner, query).await
    }

    async fn replace(&self, _: KeyRecord, _: Option<&AuditEvent>) -> Result<(), StoreError> {
        Err(no_import())
    }

    async fn delete(&self, _: &Owner, _: &KeyId, _: Option<&AuditEvent>) -> Result<bool, StoreError> {
        Err(no_import())
    }

    async fn forget_import(&self, _: &KeyId, _: Option<&AuditEvent>) -> Result<bool, StoreError> {
        Err(no_import())
    }
}

fn no_import() -> StoreError {
    StoreError::new(StoreErrorKind::Other).with_source("only imports can be tried")
}
