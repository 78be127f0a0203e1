//! A cache in front of a store that says what has changed, whether or not a channel does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;
use tower_api_keys::clock::ManualClock;
use tower_api_keys::key::{Digest, KeyId, KeyRecord, KeyState, Owner, Peppers};
use tower_api_keys::manage::AuditEvent;
use tower_api_keys::store::{
    CachedStore, CachedStoreBuilder, ChangeMark, Changes, KeyAdministration, KeyQuery, KeySelector, KeyStore,
    Lookup, MemoryStore, Page, StoreError, StoreErrorKind,
};

use crate::support::*;

/// A store that waits, and remembers what has changed.
#[derive(Clone)]
struct Historic {
    keys: Arc<Mutex<MemoryStore>>,
    history: Arc<Mutex<History>>,
    lookups: Arc<AtomicUsize>,
}

struct History {
    number: u64,
    changed: Vec<KeyId>,
    is_known: bool,
    fails: bool,
}

impl Historic {
    fn of(keys: MemoryStore) -> Self {
        let history = History { number: 1, changed: Vec::new(), is_known: true, fails: false };
        Self {
            keys: Arc::new(Mutex::new(keys)),
            history: Arc::new(Mutex::new(history)),
            lookups: Arc::default(),
        }
    }

    fn keys(&self) -> MemoryStore {
        self.keys.lock().unwrap().clone()
    }

    /// As another process does it.
    async fn revoke(&self, key: &KeyRecord) {
        let mut key = key.clone();
        key.state = KeyState::Revoked { at: START };
        self.keys().replace(key.clone(), None).await.unwrap();
        self.history.lock().unwrap().changed.push(key.id);
    }
}

#[async_trait]
impl KeyStore for Historic {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        let (store, selector) = (self.clone(), selector.to_owned());
        Lookup::pending(async move {
            store.lookups.fetch_add(1, Ordering::SeqCst);
            store.keys().find(selector.borrow()).await
        })
    }

    async fn changes(&self, since: Option<ChangeMark>) -> Result<Option<Changes>, StoreError> {
        let history = self.history.lock().unwrap();
        if history.fails {
            return Err(StoreError::new(StoreErrorKind::Unavailable));
        }
        let mark = ChangeMark { history: history.number, position: history.changed.len() as u64 };
        let keys = since.and_then(|mark| history.changed.get(mark.position as usize..)).map(<[_]>::to_vec);
        Ok(history.is_known.then_some(Changes { mark, keys }))
    }
}

#[async_trait]
impl KeyAdministration for Historic {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.keys().insert(record, event).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.keys().get(owner, id).await
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.keys().list(owner, query).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.keys().replace(record, event).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.keys().delete(owner, id, event).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.keys().remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.keys().imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.keys().forget_import(id, event).await
    }
}

/// A cache whose background task runs.
struct Node {
    store: Historic,
    cache: CachedStore<Historic>,
    clock: ManualClock,
    keys: [KeyRecord; 2],
}

/// More than the time between two questions to the store.
const ASKED: Duration = Duration::from_millis(1_100);
const SECOND: Duration = Duration::from_secs(1);

impl Node {
    async fn new(set: impl FnOnce(CachedStoreBuilder<Historic>) -> CachedStoreBuilder<Historic>) -> Self {
        let keys = [record(KEY, |_| {}), record(OTHER_KEY, |_| {})];
        let (store, clock) = (Historic::of(store(keys.clone()).await), ManualClock::starting_at(START));
        let cache = set(CachedStore::builder(store.clone()).clock(clock.clone())).build();
        tokio::spawn(cache.background().unwrap());
        Self { store, cache, clock, keys }
    }

    async fn state(&self, key: usize) -> KeyState {
        self.cache.find(KeySelector::Id(&self.keys[key].id)).await.unwrap().unwrap().state
    }

    /// The lookups that the store sees of one of each key.
    async fn lookups(&self) -> usize {
        let before = self.store.lookups.load(Ordering::SeqCst);
        self.state(0).await;
        self.state(1).await;
        self.store.lookups.load(Ordering::SeqCst) - before
    }

    /// Fills the cache, and waits until the store has confirmed it.
    async fn confirmed() -> Self {
        let node = Self::new(|cache| cache.max_age_while_confirmed(9 * SECOND)).await;
        node.lookups().await;
        // As many unknown keys as known ones.
        for unknown in ["unknown", "unknown too"] {
            let id = KeySelector::Digests(&[Peppers::none().digest(unknown)]);
            assert!(node.cache.find(id).await.unwrap().is_none());
        }
        let health = node.cache.health().cache.unwrap();
        assert_eq!((health.records, health.absent), (2, 2));
        sleep(ASKED).await;
        node.lookups().await;
        node
    }
}

#[tokio::test]
async fn records_are_valid_for_longer_while_the_store_says_what_has_changed() {
    let node = Node::confirmed().await;
    for _ in 0..2 {
        node.clock.advance(4 * SECOND);
        sleep(ASKED).await;
        assert_eq!(node.lookups().await, 0);
    }
    node.clock.advance(SECOND);
    assert_eq!(node.lookups().await, 2, "not for longer than they may be held at most");
}

#[tokio::test]
async fn what_was_changed_elsewhere_is_read_again_and_nothing_else() {
    let node = Node::confirmed().await;
    node.store.revoke(&node.keys[0]).await;
    sleep(ASKED).await;
    assert_eq!(node.lookups().await, 1);
    assert_eq!(node.state(0).await, KeyState::Revoked { at: START });
}

#[tokio::test]
async fn without_answers_records_are_valid_for_the_maximum_age() {
    for (is_known, fails) in [(true, true), (false, false)] {
        let node = Node::confirmed().await;
        {
            let mut history = node.store.history.lock().unwrap();
            (history.is_known, history.fails) = (is_known, fails);
        }
        node.store.revoke(&node.keys[0]).await;
        sleep(ASKED).await;
        node.clock.advance(5 * SECOND - Duration::from_millis(1));
        assert_eq!(node.state(0).await, KeyState::Active, "it is a channel's to be faster");
        node.clock.advance(Duration::from_millis(1));
        assert_eq!(node.state(0).await, KeyState::Revoked { at: START });
    }
}

#[tokio::test]
async fn a_store_that_went_back_forgets_no_revocation_that_is_known_here() {
    type Event = fn(&mut History);
    let events: [(&str, Event); 2] = [
        ("another history", |history| history.number = 2),
        ("less of the same", |history| history.changed.clear()),
    ];
    for (name, happens) in events {
        let node = Node::confirmed().await;
        let backup = store(node.keys.clone()).await;
        node.store.revoke(&node.keys[0]).await;
        sleep(ASKED).await;
        assert_eq!(node.state(0).await, KeyState::Revoked { at: START });
        node.clock.advance(Duration::from_millis(1));
        *node.store.keys.lock().unwrap() = backup;
        happens(&mut node.store.history.lock().unwrap());
        sleep(ASKED).await;
        assert_eq!(node.lookups().await, 2, "{name}: everything is read again");
        assert_eq!(node.state(0).await, KeyState::Revoked { at: START }, "{name}");
        assert_eq!(node.state(1).await, KeyState::Active, "{name}");
    }
}

#[tokio::test]
async fn a_revocation_made_here_is_not_forgotten_either() {
    let node = Node::confirmed().await;
    let backup = store(node.keys.clone()).await;
    let mut revoked = node.keys[0].clone();
    revoked.state = KeyState::Revoked { at: START };
    node.cache.replace(revoked, None).await.unwrap();
    node.clock.advance(Duration::from_millis(1));
    *node.store.keys.lock().unwrap() = backup;
    assert_eq!(node.state(0).await, KeyState::Revoked { at: START });
}

#[tokio::test]
async fn health_says_whether_changes_are_known_and_the_background_task_runs() {
    let store = Historic::of(store([record(KEY, |_| {})]).await);
    let keys = assembly(CachedStore::new(store)).without_route_table().build().unwrap();
    let health = keys.health();
    assert!(health.needs_background && !health.background_runs && !health.is_good, "{health:?}");
    let background = tokio::spawn(keys.background());
    let find = async || keys.manager().find_by_id(&record(KEY, |_| {}).id).await.unwrap();
    assert!(find().await.is_some());
    sleep(ASKED).await;
    let health = keys.health();
    let cache = health.store.cache.as_ref().unwrap();
    assert!(health.is_good && cache.records == 1 && cache.channel_is_connected.is_none(), "{health:?}");
    assert!(cache.confirmed_ago.unwrap() < ASKED, "{health:?}");
    background.abort();
    while keys.health().background_runs {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cache_passes_on_what_it_does_not_keep() {
    let store = Historic::of(MemoryStore::new());
    let cache = CachedStore::builder(store.clone()).build();
    let changes = cache.changes(None).await.unwrap();
    assert!(changes.is_some());
    assert_eq!(changes, store.changes(None).await.unwrap());
    let cache = CachedStore::builder(MemoryStore::new()).build();
    assert!(cache.audit_log().is_some() && cache.usage_log().is_some());
}
