//! Stores with one fault each, which the conformance suite must find.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::key::{Digest, KeyId, KeyRecord, KeyState, KeyStatus, Mode, Owner};
use tower_api_keys::manage::AuditEvent;
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{
    AuditLog, History, HistoryQuery, KeyAdministration, KeyQuery, KeySelector, KeyStore, Lookup, MemoryStore,
    OwnedKeySelector, Page, StoreError, StoreErrorKind, conformance,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Lookups by identifier are cached, and not invalidated when the key changes.
    StaleCache,
    /// The cache lacks a column.
    CacheWithoutScopes,
    /// A refresh overwrites changes made since the record was found.
    RefreshesAnyVersion,
    /// The trait's default is used.
    RefreshesNothing,
    /// `UPDATE … SET digest = new WHERE id = id`
    RefreshesTheDigestOnly,
    /// A refresh creates a new record.
    ForgetsTheState,
    /// The column for the next secret is missing.
    IgnoresTheNext,
    /// A unique index on one column of two.
    AllowsPreviousTwice,
    /// `… LIMIT n` first, and the age condition after it.
    FiltersAfterThePage,
    ListsTheOldestFirst,
    /// A use increments the version, so concurrent changes fail.
    CountsAUseAsAChange,
    /// `… SET last_used_at = ?`, without comparing.
    KeepsTheUseThatCameLast,
    /// `UPDATE … SET state = 'revoked' WHERE id = ?`
    RevokesForAnyOwner,
    /// `… SET state = 'revoked'`, and no other column.
    RevokesTheSecretInUseAlone,
    /// `SELECT digest … `, without the other two columns.
    CountsPeppersInUseAlone,
    /// `SELECT state, count(*) …`, which knows no instant.
    CountsStoredStates,
    /// `ON DELETE CASCADE`
    ForgetsImportsOfDeletedKeys,
    /// `INSERT OR REPLACE`
    RemembersTheLastImport,
    /// The column for the hash is missing.
    IgnoresTheHash,
    /// The event is written first, in a transaction of its own.
    WritesTheEventFirst,
    /// A change is not audited.
    ForgetsAnEvent,
    /// `WHERE key_id = ?` alone.
    ShowsTheHistoryOfAllOwners,
    /// Nothing says who delivers.
    LetsEveryProcessDeliver,
    /// The mark is not stored.
    ForgetsWhatWasDelivered,
}

struct Faulty(MemoryStore, Fault, Arc<Mutex<HashMap<KeyId, Arc<KeyRecord>>>>);

impl Faulty {
    fn is(&self, fault: Fault) -> bool {
        self.1 == fault
    }

    fn cached(&self, id: &KeyId) -> Option<Arc<KeyRecord>> {
        let mut cached = self.2.lock().unwrap().get(id).cloned()?;
        match self.1 {
            Fault::StaleCache => {}
            Fault::CacheWithoutScopes => Arc::make_mut(&mut cached).scopes = ScopeSet::empty(),
            _ => return None,
        }
        Some(cached)
    }

    async fn by_id(&self, id: &KeyId) -> Option<KeyRecord> {
        self.0.find(KeySelector::Id(id)).await.unwrap().map(Arc::unwrap_or_clone)
    }

    /// Stores `record` unconditionally.
    async fn force(&self, mut record: KeyRecord) -> Result<(), StoreError> {
        if let Some(stored) = self.by_id(&record.id).await {
            record.version = stored.version;
            self.0.replace(record, None).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl KeyStore for Faulty {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        if let KeySelector::Id(id) = selector
            && let Some(cached) = self.cached(id)
        {
            return Lookup::ready(Ok(Some(cached)));
        }
        let (store, cache, selector) = (self.0.clone(), self.2.clone(), selector.to_owned());
        Lookup::pending(async move {
            let found = store.find(selector.borrow()).await?;
            if let (OwnedKeySelector::Id(_), Some(record)) = (&selector, &found) {
                cache.lock().unwrap().entry(record.id).or_insert_with(|| record.clone());
            }
            Ok(found)
        })
    }

    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        let Some(mut read) = self.by_id(&record.id).await else { return Ok(()) };
        match self.1 {
            Fault::RefreshesAnyVersion => {
                tokio::task::yield_now().await;
                self.force(record).await
            }
            Fault::RefreshesNothing => Ok(()),
            Fault::RefreshesTheDigestOnly => {
                read.digest = record.digest;
                self.force(read).await
            }
            Fault::ForgetsTheState => {
                let mut bare = KeyRecord::new(read.id, read.owner, record.digest, read.created_at);
                bare.scopes = read.scopes;
                self.force(bare).await
            }
            _ => self.0.refresh(record, event).await,
        }
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        for (id, at) in uses {
            if self.is(Fault::KeepsTheUseThatCameLast)
                && let Some(mut read) = self.by_id(id).await
            {
                read.last_used_at = Some(*at);
                self.0.delete(&read.owner, id, None).await?;
                self.0.insert(read, None).await?;
            }
        }
        self.0.record_last_use(uses).await?;
        if self.is(Fault::CountsAUseAsAChange) {
            for (id, _) in uses {
                if let Some(read) = self.by_id(id).await {
                    self.0.replace(read, None).await?;
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl KeyAdministration for Faulty {
    async fn insert(&self, mut record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        if self.is(Fault::IgnoresTheNext) {
            record.extras_mut().next = None;
        }
        if self.is(Fault::IgnoresTheHash) {
            record.extras_mut().imported_hash = None;
        }
        if self.is(Fault::AllowsPreviousTwice)
            && let Some(previous) = record.extras().previous
            && self.0.find(KeySelector::Digests(&[previous.digest])).await?.is_some()
        {
            record.extras_mut().previous = None;
        }
        if let Some(event) = event.filter(|_| self.is(Fault::WritesTheEventFirst)) {
            self.0.record(event).await?;
            return self.0.insert(record, None).await;
        }
        self.0.insert(record, event).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.0.get(owner, id).await
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        let mut all = query.clone();
        all.newest_first &= !self.is(Fault::ListsTheOldestFirst);
        let Some(before) = all.secret_created_before.take_if(|_| self.is(Fault::FiltersAfterThePage)) else {
            return self.0.list(owner, &all).await;
        };
        let mut page = self.0.list(owner, &all).await?;
        page.keys.retain(|record| record.secret_created_at < before);
        Ok(page)
    }

    async fn count_by_status(&self, at: Timestamp) -> Result<BTreeMap<(Mode, KeyStatus), u64>, StoreError> {
        let at = if self.is(Fault::CountsStoredStates) { Timestamp::from_unix_seconds(0) } else { at };
        self.0.count_by_status(at).await
    }

    async fn peppers_in_use(&self, at: Timestamp) -> Result<BTreeMap<Option<u32>, u64>, StoreError> {
        let mut counts = self.0.peppers_in_use(at).await?;
        if self.is(Fault::CountsPeppersInUseAlone) {
            counts.retain(|pepper, _| *pepper < Some(7));
        }
        Ok(counts)
    }

    async fn revoke_unread(
        &self,
        owner: &Owner,
        id: &KeyId,
        at: Timestamp,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        let Some(mut read) = self.by_id(id).await else { return Ok(false) };
        match self.1 {
            Fault::RevokesForAnyOwner => self.0.revoke_unread(&read.owner, id, at, event).await,
            Fault::RevokesTheSecretInUseAlone if read.owner == *owner => {
                read.state = KeyState::Revoked { at };
                self.0.replace(read, event).await.map(|()| true)
            }
            _ => self.0.revoke_unread(owner, id, at, event).await,
        }
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        if self.by_id(&record.id).await.is_none() {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        self.0.replace(record, event).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        if self.is(Fault::ForgetsImportsOfDeletedKeys) {
            self.0.forget_import(id, None).await?;
        }
        self.0.delete(owner, id, event.filter(|_| !self.is(Fault::ForgetsAnEvent))).await
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        Some(self)
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        if self.is(Fault::RemembersTheLastImport)
            && let Some(first) = self.0.imported_as(&[*digest]).await?
        {
            self.0.forget_import(&first, None).await?;
        }
        self.0.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.0.imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.0.forget_import(id, event).await
    }
}

#[async_trait]
impl AuditLog for Faulty {
    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError> {
        self.0.record(event).await
    }

    async fn history(
        &self,
        key: Option<(&Owner, &KeyId)>,
        query: &HistoryQuery,
    ) -> Result<History, StoreError> {
        let Some((_, id)) = key.filter(|_| self.is(Fault::ShowsTheHistoryOfAllOwners)) else {
            return self.0.history(key, query).await;
        };
        let mut all = self.0.history(None, query).await?;
        all.events.retain(|event| event.key_id == Some(*id));
        Ok(all)
    }

    async fn undelivered(
        &self,
        process: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        let process = if self.is(Fault::LetsEveryProcessDeliver) { "all" } else { process };
        self.0.undelivered(process, now, until).await
    }

    async fn delivered(&self, numbers: &[u64]) -> Result<(), StoreError> {
        let numbers = if self.is(Fault::ForgetsWhatWasDelivered) { &[] } else { numbers };
        self.0.delivered(numbers).await
    }
}

async fn verdict(fault: Fault) -> Result<(), String> {
    let suite = async move {
        conformance::check(async || Faulty(MemoryStore::new(), fault, Arc::default())).await;
    };
    let tasks = tokio::task::LocalSet::new();
    let ended = tasks.run_until(async { tokio::task::spawn_local(suite).await }).await;
    ended.map_err(|error| {
        let panic = error.into_panic();
        let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        panic.downcast_ref::<String>().cloned().or(literal).unwrap_or_default()
    })
}

#[tokio::test]
async fn a_store_with_one_fault_does_not_conform() {
    assert_eq!(verdict(Fault::None).await, Ok(()));
    for (fault, message) in [
        (Fault::StaleCache, "a replace must store the new record"),
        (Fault::CacheWithoutScopes, "two lookups of the same key must find the same"),
        (Fault::RefreshesAnyVersion, "a refresh must not undo a revocation"),
        (Fault::RefreshesNothing, "a refresh must store the whole record"),
        (Fault::RefreshesTheDigestOnly, "a refresh must store the whole record"),
        (Fault::ForgetsTheState, "a refresh must store the whole record"),
        (Fault::IgnoresTheNext, "a lookup must return every field"),
        (Fault::AllowsPreviousTwice, "an insert must not take over a stored digest as a previous one"),
        (Fault::FiltersAfterThePage, "a listing by age"),
        (Fault::ListsTheOldestFirst, "newest_first: true"),
        (Fault::CountsAUseAsAChange, "a use must change nothing else"),
        (Fault::KeepsTheUseThatCameLast, "the latest must be kept"),
        (Fault::RevokesForAnyOwner, "must not revoke another owner's key"),
        (Fault::RevokesTheSecretInUseAlone, "with every secret"),
        (Fault::CountsPeppersInUseAlone, "by each pepper that they need"),
        (Fault::CountsStoredStates, "each key is counted once"),
        (Fault::ForgetsImportsOfDeletedKeys, "also when the key is deleted"),
        (Fault::RemembersTheLastImport, "the first import must be remembered"),
        (Fault::IgnoresTheHash, "a lookup must return every field"),
        (Fault::WritesTheEventFirst, "the event of a change that was made must be kept, and no other one"),
        (Fault::ForgetsAnEvent, "all events must be kept"),
        (Fault::ShowsTheHistoryOfAllOwners, "the history of a key must hold its events"),
        (Fault::LetsEveryProcessDeliver, "while one process delivers, no other must"),
        (Fault::ForgetsWhatWasDelivered, "another one must deliver the rest"),
    ] {
        let found = verdict(fault).await.expect_err(&format!("{fault:?} must be found"));
        assert!(found.contains(message), "{fault:?}: {found}");
    }
}
