mod audit;
mod listing;
mod names;
mod shared_scopes;
mod usage;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use papaya::Guard;

use self::audit::Events;
use self::listing::Listing;
use self::names::{ByDigest, ById, Digested, Identified};
use self::shared_scopes::SharedScopes;
use self::usage::UsageSums;
use super::audit::AuditEvent;
use super::{
    AuditLog, Cursor, FindResult, History, HistoryQuery, KeyAdministration, KeyQuery, KeySelector, KeyStore,
    Lookup, Page, QuotaChange, QuotaRow, StoreError, StoreErrorKind, UsageLog,
};
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord, KeyStatus, Mode, Owner};
use crate::usage::{Usage, UsageBatch, UsageQuery};

/// Keys in the memory of one process. Clones share their keys, which are lost when the process ends.
///
/// Lookups take no lock, wait for no writer and complete immediately. Writers wait for each other. The
/// [audit log](AuditLog) has the last 10 000 events, and the [usage log](UsageLog) the last 100 000 rows of hours and of days.
///
/// ```
/// use tower_api_keys::store::MemoryStore;
///
/// let store = MemoryStore::new();
/// let same_keys = store.clone();
/// assert!(same_keys.is_empty());
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Inner>);

struct Inner {
    by_digest: ByDigest,
    by_id: ById,
    /// Locked by every write, and by no lookup.
    writing: Mutex<Writing>,
    /// By category and subject.
    quotas: Mutex<HashMap<(String, String), QuotaRow>>,
    usage: Mutex<UsageSums>,
}

#[derive(Default)]
struct Writing {
    listing: Listing,
    scopes: SharedScopes,
    imports: HashMap<Digest, KeyId>,
    events: Events,
}

impl MemoryStore {
    /// A store without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of keys, revoked ones included.
    pub fn len(&self) -> usize {
        self.0.by_id.len()
    }

    /// Whether the store is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            by_digest: names::set(),
            by_id: names::set(),
            writing: Mutex::default(),
            quotas: Mutex::default(),
            usage: Mutex::default(),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Writing> {
        // No write below leaves the maps inconsistent when it panics, so a poisoned lock is safe to use.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usage(&self) -> MutexGuard<'_, UsageSums> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, selector: KeySelector<'_>) -> Option<Arc<KeyRecord>> {
        match selector {
            KeySelector::Id(id) => self.by_id.pin().get(id).map(|Identified(record)| record.clone()),
            KeySelector::Digests(digests) => {
                let by_digest = self.by_digest.pin();
                digests.iter().find_map(|digest| by_digest.get(digest)).map(|found| found.record.clone())
            }
        }
    }

    /// Whether a digest of `record` belongs to another key.
    fn digest_is_taken(&self, record: &KeyRecord) -> bool {
        let by_digest = self.by_digest.pin();
        record
            .digests()
            .any(|digest| by_digest.get(&digest).is_some_and(|other| other.record.id != record.id))
    }

    /// Replaces `old` with `record`. The caller holds the lock.
    fn store(&self, writing: &mut Writing, old: Option<&KeyRecord>, mut record: KeyRecord) {
        // Texts that many keys share are stored once.
        let sibling = writing.listing.keys(&record.owner, None).next().cloned();
        if let Some(sibling) = sibling {
            record.owner = sibling.owner.clone();
            if record.creator == sibling.creator {
                record.creator.clone_from(&sibling.creator);
            }
        }
        record.scopes = writing.scopes.share(&record.scopes);
        record.extras.shrink();
        let record = Arc::new(record);
        writing.listing.insert(record.clone());
        self.by_id.pin().insert(Identified(record.clone()));
        let by_digest = self.by_digest.pin();
        for digested in Digested::all(&record) {
            by_digest.insert(digested);
        }
        for stale in old
            .into_iter()
            .flat_map(KeyRecord::digests)
            .filter(|old| !record.digests().any(|new| new == *old))
        {
            by_digest.remove(&stale);
        }
    }

    /// Frees removed entries now, as they may be a whole table. Called at the end of a write.
    fn free(&self) {
        self.by_id.guard().flush();
        self.by_digest.guard().flush();
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    #[inline]
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        Lookup::ready(Ok(self.0.find(selector)))
    }

    fn needs_guard(&self) -> bool {
        false
    }

    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.replace(record, event).await
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let mut writing = self.0.lock();
        for (id, at) in uses {
            let Some(stored) = self.0.find(KeySelector::Id(id)) else { continue };
            if stored.last_used_at.is_none_or(|last| last < *at) {
                let record = KeyRecord { last_used_at: Some(*at), ..KeyRecord::clone(&stored) };
                self.0.store(&mut writing, Some(&stored), record);
            }
        }
        self.0.free();
        Ok(())
    }
}

#[async_trait]
impl KeyAdministration for MemoryStore {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        let mut writing = self.0.lock();
        if self.0.find(KeySelector::Id(&record.id)).is_some() || self.0.digest_is_taken(&record) {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        self.0.store(&mut writing, None, record);
        writing.events.push(event);
        self.0.free();
        Ok(())
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> FindResult {
        Ok(self.0.find(KeySelector::Id(id)).filter(|record| record.owner == *owner))
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        let limit = query.limit.clamp(1, KeyQuery::MAX_LIMIT);
        let writing = self.0.lock();
        let after = query.after.as_ref();
        let matches = |record: &&Arc<KeyRecord>| query.matches(record);
        let (listing, count) = (&writing.listing, limit + 1);
        let mut keys: Vec<_> = match (owner, query.newest_first) {
            (Some(owner), false) => listing.keys(owner, after).filter(matches).take(count).cloned().collect(),
            (Some(owner), true) => {
                listing.newest_keys(owner, after).filter(matches).take(count).cloned().collect()
            }
            (None, false) => listing.oldest(after, count, matches),
            (None, true) => listing.newest(after, count, matches),
        };
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = keys.last().filter(|_| more).map(|record| Cursor::behind(record));
        Ok(Page { keys, broken: Vec::new(), next })
    }

    async fn count(&self, owner: &Owner) -> Result<u64, StoreError> {
        Ok(self.0.lock().listing.keys(owner, None).count() as u64)
    }

    async fn peppers_in_use(&self, at: Timestamp) -> Result<BTreeMap<Option<u32>, u64>, StoreError> {
        let mut counts = BTreeMap::new();
        for pepper in self.0.lock().listing.all().flat_map(|record| record.peppers_needed(at)) {
            *counts.entry(pepper).or_default() += 1;
        }
        Ok(counts)
    }

    async fn count_by_status(&self, at: Timestamp) -> Result<BTreeMap<(Mode, KeyStatus), u64>, StoreError> {
        let mut counts = BTreeMap::new();
        for record in self.0.lock().listing.all() {
            *counts.entry((record.owner.mode, KeyStatus::of(record, at))).or_default() += 1;
        }
        Ok(counts)
    }

    async fn replace(&self, mut record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        let mut writing = self.0.lock();
        let stored = self.0.find(KeySelector::Id(&record.id)).filter(|stored| {
            stored.version == record.version
                && stored.owner == record.owner
                && stored.created_at == record.created_at
        });
        let Some(stored) = stored.filter(|_| !self.0.digest_is_taken(&record)) else {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        };
        record.version = record.version.wrapping_add(1);
        record.last_used_at = stored.last_used_at;
        record.creator.clone_from(&stored.creator);
        self.0.store(&mut writing, Some(&stored), record);
        writing.events.push(event);
        self.0.free();
        Ok(())
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        let mut writing = self.0.lock();
        let Some(record) = self.0.find(KeySelector::Id(id)).filter(|record| record.owner == *owner) else {
            return Ok(false);
        };
        let by_digest = self.0.by_digest.pin();
        for digest in record.digests() {
            by_digest.remove(&digest);
        }
        self.0.by_id.pin().remove(id);
        writing.listing.remove(&record);
        writing.events.push(event);
        self.0.free();
        Ok(true)
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
        let mut quotas = self.0.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (category.to_owned(), subject.to_owned());
        let (row, leased) = change.apply(quotas.get(&name).copied());
        if !change.is_look() || quotas.contains_key(&name) {
            quotas.insert(name, row);
        }
        Ok((row, leased))
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.0.lock().imports.entry(*digest).or_insert(*id);
        Ok(())
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        let writing = self.0.lock();
        Ok(digests.iter().find_map(|digest| writing.imports.get(digest)).copied())
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        let mut writing = self.0.lock();
        let before = writing.imports.len();
        writing.imports.retain(|_, key| key != id);
        let is_forgotten = writing.imports.len() < before;
        writing.events.push(event.filter(|_| is_forgotten));
        Ok(is_forgotten)
    }
}

#[async_trait]
impl AuditLog for MemoryStore {
    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError> {
        self.0.lock().events.push(Some(event));
        Ok(())
    }

    async fn history(
        &self,
        key: Option<(&Owner, &KeyId)>,
        query: &HistoryQuery,
    ) -> Result<History, StoreError> {
        Ok(self.0.lock().events.history(key, query))
    }

    async fn undelivered(
        &self,
        process: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        Ok(self.0.lock().events.undelivered(process, now, until))
    }

    async fn delivered(&self, numbers: &[u64]) -> Result<(), StoreError> {
        self.0.lock().events.delivered(numbers);
        Ok(())
    }
}

#[async_trait]
impl UsageLog for MemoryStore {
    async fn add(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        self.0.usage().add(batch);
        Ok(())
    }

    async fn read(&self, query: &UsageQuery, limit: usize) -> Result<Usage, StoreError> {
        Ok(self.0.usage().read(query, limit))
    }

    async fn prune(&self, hours_before: Timestamp, days_before: Timestamp) -> Result<bool, StoreError> {
        self.0.usage().prune(hours_before, days_before);
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_version_wraps_around() {
        let store = MemoryStore::new();
        let owner = Owner::system(crate::key::Mode::Live);
        let digest = crate::key::Peppers::none().digest("a");
        let mut record =
            KeyRecord::new("k1".parse().unwrap(), owner, digest, Timestamp::from_unix_millis(u64::MAX));
        record.version = u64::MAX;
        store.insert(record.clone(), None).await.unwrap();
        store.replace(record.clone(), None).await.unwrap();
        let stored = store.get(&record.owner, &record.id).await.unwrap().unwrap();
        assert_eq!(stored.version, 0);
        store.replace(record, None).await.unwrap_err();
    }

    #[test]
    fn a_key_is_found_while_its_secrets_change_places_and_others_are_added() {
        let [one, other] = ["one", "other"].map(|secret| crate::key::Peppers::none().digest(secret));
        let (owner, at) = (Owner::system(crate::key::Mode::Live), Timestamp::from_unix_millis(5));
        let record = KeyRecord::new("k1".parse().unwrap(), owner.clone(), one, at);
        let inner = Inner::default();
        let store = |old: Option<&KeyRecord>, record| {
            inner.store(&mut inner.lock(), old, record);
            inner.free();
        };
        store(None, record.clone());
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut old = record;
                for number in 0..5_000 {
                    let mut new = old.clone();
                    new.digest = if number % 2 == 0 { other } else { one };
                    let previous = crate::key::PreviousSecret { digest: old.digest, valid_until: at };
                    new.extras.previous = Some(previous);
                    store(Some(&old), new.clone());
                    old = new;
                    let (id, text) = (format!("n{number}").parse().unwrap(), number.to_string());
                    let digest = crate::key::Peppers::none().digest(&text);
                    store(None, KeyRecord::new(id, owner.clone(), digest, at));
                }
            });
            while !writer.is_finished() {
                assert!(inner.find(KeySelector::Digests(&[one])).is_some());
                assert!(inner.find(KeySelector::Id(&"k1".parse().unwrap())).is_some());
            }
            writer.join().unwrap();
        });
        assert_eq!(inner.by_id.len(), 5_001);
    }

    #[tokio::test]
    async fn conforms() {
        crate::store::conformance::check(async || MemoryStore::new()).await;
    }

    #[tokio::test]
    async fn conforms_behind_an_arc_of_a_trait_object() {
        crate::store::conformance::check(async || Arc::new(MemoryStore::new()) as Arc<dyn KeyAdministration>)
            .await;
    }
}
