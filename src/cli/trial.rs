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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::Timestamp;
    use crate::key::{KeyFormat, Mode};
    use crate::manage::KeyManager;
    use crate::{Authority, NewKey};

    #[tokio::test]
    async fn an_import_that_is_tried_is_told_to_no_one() {
        let reported = Arc::new(AtomicU32::new(0));
        let count = reported.clone();
        let manager = KeyManager::new(MemoryStore::new(), KeyFormat::new("acme_").unwrap())
            .with_audit(move |_| _ = count.fetch_add(1, Ordering::SeqCst));
        let trial = manager.clone().on_trial(Arc::new(Trial::over(manager.store().clone())));
        let authority = Authority::operator(Owner::organization("org_1".parse().unwrap(), Mode::Live));
        let secret = || KeyFormat::new("acme_").unwrap().generate(Mode::Live).unwrap().secret;
        let mut ended = NewKey::new("Ended");
        ended.expires_at = Some(Timestamp::from_unix_seconds(1));
        trial.import(&authority, NewKey::new("Ours"), secret()).await.unwrap();
        trial.import(&authority, ended, secret()).await.unwrap_err();
        assert_eq!(reported.load(Ordering::SeqCst), 0);
        assert!(manager.list_all(&KeyQuery::default()).await.unwrap().keys.is_empty());
        manager.import(&authority, NewKey::new("Ours"), secret()).await.unwrap();
        assert_eq!(reported.load(Ordering::SeqCst), 1);
    }
}
