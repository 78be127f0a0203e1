use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use async_trait::async_trait;

use super::{
    Cursor, FindResult, KeyAdministration, KeyPage, KeyQuery, KeySelector, KeyStore, StoreError,
    StoreErrorKind,
};
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord, Owner};

/// Keys in the memory of one process. Clones share their keys; nothing outlives the process.
///
/// Look-ups take no lock and wait for no writer, and they answer at once. Writers wait for each other.
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

#[derive(Default)]
struct Inner {
    /// Every digest that a look-up may find: of the secrets in use, and of those before and after them.
    by_digest: papaya::HashMap<Digest, Arc<KeyRecord>, BuildHasherDefault<DigestHasher>>,
    by_id: papaya::HashMap<KeyId, Arc<KeyRecord>>,
    /// The keys of each owner in the order of a listing. Locked by every write, and by no look-up.
    owners: Mutex<HashMap<Owner, Listing>>,
}

type Listing = BTreeMap<(Timestamp, KeyId), Arc<KeyRecord>>;

/// Takes bytes of the digest as the hash: they are as good as random, and nobody but the owner of the store
/// inserts any.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }
}

impl MemoryStore {
    /// A store without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys it holds, revoked ones too.
    pub fn len(&self) -> usize {
        self.0.by_id.len()
    }

    /// Whether it holds no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, Listing>> {
        // No write below leaves the maps inconsistent when it panics, so a poisoned lock is as good as any.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, selector: KeySelector<'_>) -> Option<Arc<KeyRecord>> {
        match selector {
            KeySelector::Id(id) => self.by_id.pin().get(id).cloned(),
            KeySelector::Digests(digests) => {
                let by_digest = self.by_digest.pin();
                digests.iter().find_map(|digest| by_digest.get(digest).cloned())
            }
        }
    }

    /// Whether a digest of `record` belongs to another key.
    fn digest_is_taken(&self, record: &KeyRecord) -> bool {
        let by_digest = self.by_digest.pin();
        record.digests().any(|digest| by_digest.get(&digest).is_some_and(|other| other.id != record.id))
    }

    /// Puts `record` in the place of `old`. The caller holds the lock.
    fn store(&self, listing: &mut Listing, old: Option<&KeyRecord>, record: Arc<KeyRecord>) {
        listing.insert((record.created_at, record.id), record.clone());
        self.by_id.pin().insert(record.id, record.clone());
        let by_digest = self.by_digest.pin();
        for digest in record.digests() {
            by_digest.insert(digest, record.clone());
        }
        for stale in old
            .into_iter()
            .flat_map(KeyRecord::digests)
            .filter(|old| !record.digests().any(|new| new == *old))
        {
            by_digest.remove(&stale);
        }
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    fn find_now(&self, selector: KeySelector<'_>) -> Poll<FindResult> {
        Poll::Ready(Ok(self.0.find(selector)))
    }

    async fn find(&self, selector: KeySelector<'_>) -> FindResult {
        Ok(self.0.find(selector))
    }

    async fn refresh(&self, record: KeyRecord) -> Result<(), StoreError> {
        self.replace(record).await
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let mut owners = self.0.lock();
        for (id, at) in uses {
            let Some(stored) = self.0.find(KeySelector::Id(id)) else { continue };
            if stored.last_used_at.is_none_or(|last| last < *at) {
                let record = KeyRecord { last_used_at: Some(*at), ..KeyRecord::clone(&stored) };
                let listing = owners.entry(record.owner.clone()).or_default();
                self.0.store(listing, Some(&stored), Arc::new(record));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl KeyAdministration for MemoryStore {
    async fn insert(&self, record: KeyRecord) -> Result<(), StoreError> {
        let mut owners = self.0.lock();
        if self.0.find(KeySelector::Id(&record.id)).is_some() || self.0.digest_is_taken(&record) {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        let listing = owners.entry(record.owner.clone()).or_default();
        self.0.store(listing, None, Arc::new(record));
        Ok(())
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> FindResult {
        Ok(self.0.find(KeySelector::Id(id)).filter(|record| record.owner == *owner))
    }

    async fn list(&self, owner: &Owner, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        let limit = query.limit.clamp(1, KeyQuery::MAX_LIMIT);
        let start = match &query.after {
            Some(cursor) => Bound::Excluded((cursor.created_at, cursor.id)),
            None => Bound::Unbounded,
        };
        let owners = self.0.lock();
        let mut keys: Vec<_> = owners
            .get(owner)
            .into_iter()
            .flat_map(|listing| listing.range((start, Bound::Unbounded)).map(|(_, record)| record))
            .filter(|record| {
                query.secret_created_before.is_none_or(|instant| record.secret_created_at < instant)
            })
            .take(limit + 1)
            .cloned()
            .collect();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = keys.last().filter(|_| more).map(|record| Cursor::behind(record));
        Ok(KeyPage { keys, next })
    }

    async fn replace(&self, mut record: KeyRecord) -> Result<(), StoreError> {
        let mut owners = self.0.lock();
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
        let listing = owners.entry(record.owner.clone()).or_default();
        self.0.store(listing, Some(&stored), Arc::new(record));
        Ok(())
    }

    async fn delete(&self, owner: &Owner, id: &KeyId) -> Result<bool, StoreError> {
        let mut owners = self.0.lock();
        let Some(record) = self.0.find(KeySelector::Id(id)).filter(|record| record.owner == *owner) else {
            return Ok(false);
        };
        let by_digest = self.0.by_digest.pin();
        for digest in record.digests() {
            by_digest.remove(&digest);
        }
        self.0.by_id.pin().remove(id);
        if let Some(listing) = owners.get_mut(owner) {
            listing.remove(&(record.created_at, record.id));
            if listing.is_empty() {
                owners.remove(owner);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_version_is_followed_by_the_first() {
        let store = MemoryStore::new();
        let owner = Owner::system(crate::key::Mode::Live);
        let digest = crate::key::Peppers::none().digest("a");
        let mut record =
            KeyRecord::new("k1".parse().unwrap(), owner, digest, Timestamp::from_unix_millis(u64::MAX));
        record.version = u64::MAX;
        store.insert(record.clone()).await.unwrap();
        store.replace(record.clone()).await.unwrap();
        let stored = store.get(&record.owner, &record.id).await.unwrap().unwrap();
        assert_eq!(stored.version, 0);
        store.replace(record).await.unwrap_err();
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
