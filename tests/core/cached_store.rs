//! The cache in front of a store: when it asks the store, and what it returns in between.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use tokio::sync::{mpsc, watch};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::clock::{Clock, ManualClock};
use tower_api_keys::key::{
    Digest, KeyFormat, KeyId, KeyRecord, KeyState, Mode, Owner, Peppers, SecretString,
};
use tower_api_keys::manage::AuditEvent;
use tower_api_keys::manage::{Authority, NewKey};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{
    CachedStore, CachedStoreBuilder, Invalidation, InvalidationSink, InvalidationSource, KeyAdministration,
    KeyQuery, KeySelector, KeyStore, Lookup, MemoryStore, Page, StoreError, StoreErrorKind, conformance,
};
use tower_api_keys::{ApiKeys, ApiKeysBuilder};

use crate::support::*;

/// A configurable store that counts its lookups. Clones are the same store, as seen from other nodes.
#[derive(Clone)]
struct Scripted {
    keys: MemoryStore,
    script: Arc<Script>,
}

struct Script {
    lookups: AtomicUsize,
    /// The error of the next lookups and writes. Writes are made nevertheless.
    failures: Mutex<VecDeque<StoreErrorKind>>,
    panics: AtomicBool,
    /// While this is set, results are held back: reads and writes are already done.
    held: watch::Sender<bool>,
    /// While this is set, writes are held back before they are made.
    locked: watch::Sender<bool>,
}

impl Scripted {
    fn new(keys: MemoryStore) -> Self {
        let [held, locked] = [(); 2].map(|()| watch::channel(false).0);
        let script = Script {
            lookups: AtomicUsize::new(0),
            failures: Mutex::default(),
            panics: AtomicBool::new(false),
            held,
            locked,
        };
        Self { keys, script: Arc::new(script) }
    }

    fn lookups(&self) -> usize {
        self.script.lookups.load(Ordering::SeqCst)
    }

    fn hold(&self, held: bool) {
        self.script.held.send_replace(held);
    }

    fn fail(&self, kind: StoreErrorKind) {
        self.script.failures.lock().unwrap().push_back(kind);
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.script.locked.subscribe().wait_for(|locked| !locked).await.unwrap();
        let answer = write.await;
        self.end(answer).await
    }

    async fn end<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.script.held.subscribe().wait_for(|held| !held).await.unwrap();
        assert!(!self.script.panics.load(Ordering::SeqCst), "the store has a bug");
        match self.script.failures.lock().unwrap().pop_front() {
            Some(kind) => Err(StoreError::new(kind).with_source("configured error")),
            None => answer,
        }
    }
}

#[async_trait]
impl KeyStore for Scripted {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        let (store, selector) = (self.clone(), selector.to_owned());
        Lookup::pending(async move {
            store.script.lookups.fetch_add(1, Ordering::SeqCst);
            let answer = store.keys.find(selector.borrow()).await;
            store.end(answer).await
        })
    }

    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.write(self.keys.refresh(record, event)).await
    }
}

#[async_trait]
impl KeyAdministration for Scripted {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.write(self.keys.insert(record, event)).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.keys.get(owner, id).await
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.keys.list(owner, query).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.write(self.keys.replace(record, event)).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.write(self.keys.delete(owner, id, event)).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.keys.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.keys.imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.keys.forget_import(id, event).await
    }
}

/// One node: a cache, the store behind it, and one stored key.
struct Node {
    cache: CachedStore<Scripted>,
    store: Scripted,
    clock: ManualClock,
    key: KeyRecord,
}

impl Node {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(set: impl FnOnce(CachedStoreBuilder<Scripted>) -> CachedStoreBuilder<Scripted>) -> Self {
        let key = record(KEY, |_| {});
        let (store, clock) = (Scripted::new(store([key.clone()]).await), ManualClock::starting_at(START));
        let cache = set(CachedStore::builder(store.clone()).clock(clock.clone())).build();
        Self { cache, store, clock, key }
    }

    fn by_id(&self) -> KeySelector<'_> {
        KeySelector::Id(&self.key.id)
    }

    fn by_digest(&self) -> KeySelector<'_> {
        KeySelector::Digests(std::slice::from_ref(&self.key.digest))
    }

    fn selectors(&self) -> [KeySelector<'_>; 2] {
        [self.by_id(), self.by_digest()]
    }

    async fn warm(&self) {
        for selector in self.selectors() {
            self.cache.find(selector).await.unwrap();
            assert!(is_at_hand(&self.cache, selector), "{selector:?}");
        }
    }

    /// The number of store calls for `lookups` lookups by identifier.
    async fn calls(&self, lookups: usize) -> usize {
        let before = self.store.lookups();
        for _ in 0..lookups {
            self.cache.find(self.by_id()).await.unwrap();
        }
        self.store.lookups() - before
    }

    fn revoked(&self) -> KeyRecord {
        revoked(self.key.clone())
    }

    /// Changes the key in the store like another node, without a report to this one.
    async fn revoke_elsewhere(&self) {
        self.store.keys.replace(self.revoked(), None).await.unwrap();
    }
}

fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn state(found: Result<Option<Arc<KeyRecord>>, StoreError>) -> KeyState {
    found.unwrap().expect("there is such a key").state
}

fn held(cache: &CachedStore<Scripted>, selector: KeySelector<'_>) -> Option<Option<KeyState>> {
    let mut lookup = answer_at_hand(cache, selector)?;
    match poll(&mut lookup) {
        Poll::Ready(found) => Some(found.unwrap().map(|record| record.state)),
        Poll::Pending => panic!("a cached answer must be ready at the first poll"),
    }
}

/// The lookup if the cache answers it without its store. A lookup that is not polled makes no store call.
fn answer_at_hand(cache: &CachedStore<Scripted>, selector: KeySelector<'_>) -> Option<Lookup> {
    let lookup = cache.find(selector);
    match format!("{lookup:?}").as_str() {
        "Lookup::Ready" => Some(lookup),
        "Lookup::Pending" => None,
        other => panic!("{other}"),
    }
}

fn is_at_hand(cache: &CachedStore<Scripted>, selector: KeySelector<'_>) -> bool {
    answer_at_hand(cache, selector).is_some()
}

/// A node's assembly, on its cache.
fn assembly_over(
    cache: CachedStore<Scripted>,
    set: impl FnOnce(ApiKeysBuilder) -> ApiKeysBuilder,
) -> ApiKeys {
    set(assembly(cache).without_route_table()).build().unwrap()
}

fn revoked(mut key: KeyRecord) -> KeyRecord {
    key.state = REVOKED;
    key
}

const REVOKED: KeyState = KeyState::Revoked { at: START };

/// A channel between nodes that live in one process.
struct Channel(mpsc::UnboundedReceiver<Invalidation>);

#[async_trait]
impl InvalidationSource for Channel {
    async fn next(&mut self) -> Invalidation {
        self.0.recv().await.expect("the channel has a bug")
    }
}

/// A node whose cache follows a channel. Each event has been processed when `send` returns.
struct Followed {
    events: mpsc::UnboundedSender<Invalidation>,
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Followed {
    fn new(cache: &CachedStore<Scripted>) -> Self {
        let (events, channel) = mpsc::unbounded_channel();
        let mut followed = Self { events, driver: Some(Box::pin(cache.follow(Channel(channel)))) };
        followed.send(Invalidation::Connected);
        followed
    }

    fn send(&mut self, event: Invalidation) {
        self.events.send(event).unwrap();
        assert!(poll(self.driver.as_mut().unwrap()).is_pending());
    }
}

// Hits.

#[tokio::test]
async fn a_second_lookup_does_not_ask_the_store() {
    let node = Node::new().await;
    for selector in node.selectors() {
        assert_eq!(held(&node.cache, selector), None);
        let before = node.store.lookups();
        assert_eq!(state(node.cache.find(selector).await), KeyState::Active);
        assert_eq!(held(&node.cache, selector), Some(Some(KeyState::Active)));
        assert_eq!(state(node.cache.find(selector).await), KeyState::Active);
        assert_eq!(node.store.lookups(), before + 1, "{selector:?}");
    }
}

#[tokio::test]
async fn a_key_is_found_by_any_of_several_digests_and_is_unknown_only_if_all_are() {
    let node = Node::new().await;
    let [a, b] = ["a", "b"].map(|secret| Peppers::none().digest(secret));
    node.cache.find(node.by_digest()).await.unwrap();
    let with_known = [a, node.key.digest];
    assert_eq!(held(&node.cache, KeySelector::Digests(&with_known)), Some(Some(KeyState::Active)));

    let with_unknown = [b, Peppers::none().digest(KEY)];
    node.clock.advance(Duration::from_secs(5));
    node.cache.find(KeySelector::Digests(&with_unknown)).await.unwrap();
    assert_eq!(held(&node.cache, node.by_digest()), Some(Some(KeyState::Active)));
    assert_eq!(
        held(&node.cache, KeySelector::Digests(&[b])),
        None,
        "it is the key's other digest that was found"
    );

    assert!(node.cache.find(KeySelector::Digests(&[a])).await.unwrap().is_none());
    assert_eq!(held(&node.cache, KeySelector::Digests(&[a])), Some(None));
    assert_eq!(held(&node.cache, KeySelector::Digests(&[a, b])), None, "b may be a key");
    assert!(node.cache.find(KeySelector::Digests(&[a, b])).await.unwrap().is_none());
    assert_eq!(held(&node.cache, KeySelector::Digests(&[b])), Some(None));
}

#[tokio::test]
async fn similar_names_are_different_entries() {
    let node = Node::new().await;
    node.warm().await;
    let bytes = *node.key.digest.as_bytes();
    let mut last_bit = bytes;
    last_bit[31] ^= 1;
    for (name, other) in [
        ("another last bit", Digest::from_parts(None, last_bit)),
        ("another pepper", Digest::from_parts(Some(0), bytes)),
    ] {
        assert_eq!(held(&node.cache, KeySelector::Digests(&[other])), None, "{name}");
        assert!(node.cache.find(KeySelector::Digests(&[other])).await.unwrap().is_none(), "{name}");
    }
    let longer: KeyId = format!("{}0", node.key.id).parse().unwrap();
    assert_eq!(held(&node.cache, KeySelector::Id(&longer)), None);
    assert!(node.cache.find(KeySelector::Id(&longer)).await.unwrap().is_none());
    assert_eq!(held(&node.cache, node.by_id()), Some(Some(KeyState::Active)));
}

#[tokio::test]
async fn entries_are_not_shared_between_owners() {
    let node = Node::new().await;
    node.warm().await;
    for stranger in [Owner { mode: Mode::Test, ..acme() }, Owner::system(Mode::Live)] {
        assert!(node.cache.get(&stranger, &node.key.id).await.unwrap().is_none());
        assert!(!node.cache.delete(&stranger, &node.key.id, None).await.unwrap());
    }
    assert_eq!(state(node.cache.find(node.by_id()).await), KeyState::Active);
}

#[tokio::test]
async fn expiry_and_start_are_checked_on_every_hit() {
    let minute = Duration::from_secs(60);
    let (early, late) = (START.saturating_add(minute), START.saturating_add(2 * minute));
    let key = record(KEY, |key| (key.extras_mut().not_before, key.expires_at) = (Some(early), Some(late)));
    let (store, clock) = (Scripted::new(store([key]).await), ManualClock::starting_at(START));
    let cache = CachedStore::builder(store.clone()).clock(clock.clone()).max_age(10 * minute).build();
    let layer = assembly_over(cache, |keys| keys.clock(clock.clone())).layer();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let response = layer.layer(service_fn(whoami)).oneshot(request(KEY)).await.unwrap();
        statuses.push(response.status().as_u16());
        clock.advance(minute);
    }
    assert_eq!(statuses, [401, 200, 401]);
    assert_eq!(store.lookups(), 1);
}

#[tokio::test]
async fn no_verdict_is_held() {
    let format = KeyFormat::builder("sk_").public_id(8, '.').build().unwrap();
    let id: KeyId = "k1234567".parse().unwrap();
    let [good, bad] = [(); 2].map(|()| format.generate_with_id(Mode::Live, &id).unwrap().secret);
    let key = KeyRecord::new(id, acme(), Peppers::none().digest(good.expose_secret()), START);
    let store = Scripted::new(store([key]).await);
    let keys = ApiKeys::builder(CachedStore::new(store.clone()), format).header("x-api-key");
    let layer = keys.without_route_table().build().unwrap().layer();
    for (secret, want) in [(&bad, 401), (&good, 200), (&bad, 401), (&good, 200)] {
        let request = http::Request::builder().header(X_API_KEY, secret.expose_secret()).body(()).unwrap();
        let response = layer.layer(service_fn(whoami)).oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), want);
    }
    assert_eq!(store.lookups(), 1);
}

// Changes.

type Write =
    fn(CachedStore<Scripted>, KeyRecord) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// The changes of a key through a cache.
const WRITES: [(&str, Write); 5] = [
    ("revoke", |cache, mut key| {
        key.state = REVOKED;
        Box::pin(async move { cache.replace(key, None).await })
    }),
    ("cut scopes", |cache, mut key| {
        key.scopes = ScopeSet::empty();
        Box::pin(async move { cache.replace(key, None).await })
    }),
    ("rotate", |cache, mut key| {
        key.digest = Peppers::none().digest(OTHER_KEY);
        Box::pin(async move { cache.replace(key, None).await })
    }),
    ("refresh", |cache, mut key| {
        key.digest = Peppers::none().digest(OTHER_KEY);
        Box::pin(async move { cache.refresh(key, None).await })
    }),
    ("delete", |cache, key| {
        Box::pin(async move { cache.delete(&key.owner, &key.id, None).await.map(|_| ()) })
    }),
];

/// Checks that the cache returns the same as the store, for every way to look a key up.
async fn assert_up_to_date(node: &Node, name: &str) {
    let other = Peppers::none().digest(OTHER_KEY);
    for selector in [node.by_id(), node.by_digest(), KeySelector::Digests(&[other])] {
        let stored = node.store.keys.find(selector).await.unwrap();
        if let Some(now) = answer_at_hand(&node.cache, selector) {
            assert_eq!(now.await.unwrap(), stored, "{name}: {selector:?} at once");
        }
        assert_eq!(node.cache.find(selector).await.unwrap(), stored, "{name}: {selector:?}");
    }
}

#[tokio::test]
async fn a_change_through_the_cache_is_visible_before_it_returns() {
    for (name, write) in WRITES {
        let node = Node::new().await;
        node.warm().await;
        // The new secret was tried before it existed.
        assert!(
            node.cache
                .find(KeySelector::Digests(&[Peppers::none().digest(OTHER_KEY)]))
                .await
                .unwrap()
                .is_none()
        );
        write(node.cache.clone(), node.key.clone()).await.unwrap();
        assert_up_to_date(&node, name).await;
    }
}

#[tokio::test]
async fn a_new_key_is_found_though_it_was_cached_as_unknown() {
    let node = Node::new().await;
    let new = record(OTHER_KEY, |_| {});
    for selector in [KeySelector::Id(&new.id), KeySelector::Digests(&[new.digest])] {
        assert!(node.cache.find(selector).await.unwrap().is_none());
        assert_eq!(held(&node.cache, selector), Some(None));
    }
    node.cache.insert(new.clone(), None).await.unwrap();
    for selector in [KeySelector::Id(&new.id), KeySelector::Digests(&[new.digest])] {
        assert_eq!(held(&node.cache, selector), None);
        assert_eq!(state(node.cache.find(selector).await), KeyState::Active);
    }
}

#[tokio::test]
async fn entries_read_during_a_change_do_not_outlive_it() {
    for (name, write) in WRITES {
        let node = Node::new().await;
        node.store.script.locked.send_replace(true);
        let mut change = write(node.cache.clone(), node.key.clone());
        assert!(poll(&mut change).is_pending());
        node.warm().await;
        node.store.script.locked.send_replace(false);
        change.await.unwrap();
        assert_up_to_date(&node, name).await;
    }
}

/// After a lost reply, a lost race, or a client that left, it is unknown whether anything was changed.
#[tokio::test]
async fn a_failed_or_cancelled_change_invalidates_too() {
    for (name, write) in WRITES {
        for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Conflict, StoreErrorKind::Other] {
            let node = Node::new().await;
            node.warm().await;
            node.store.fail(kind);
            write(node.cache.clone(), node.key.clone()).await.unwrap_err();
            assert_up_to_date(&node, name).await;
        }
        let node = Node::new().await;
        node.warm().await;
        node.store.hold(true);
        let mut change = write(node.cache.clone(), node.key.clone());
        assert!(poll(&mut change).is_pending());
        drop(change);
        node.store.hold(false);
        assert_up_to_date(&node, name).await;
    }
}

#[tokio::test]
async fn a_lost_race_shows_the_winning_change() {
    let node = Node::new().await;
    node.warm().await;
    node.revoke_elsewhere().await;
    let error = node.cache.replace(node.key.clone(), None).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    assert_eq!(state(node.cache.find(node.by_id()).await), REVOKED);
}

/// A revocation whose reply was lost is made after all, just after the key was read again. A caller that tries again
/// learns that the key is already revoked, and by then that must be true.
#[tokio::test]
async fn management_reads_the_store_and_updates_the_cache() {
    let node = Node::new().await;
    node.warm().await;
    node.revoke_elsewhere().await;
    assert_eq!(node.cache.list(Some(&acme()), &KeyQuery::default()).await.unwrap().keys[0].state, REVOKED);
    assert_eq!(held(&node.cache, node.by_id()), Some(Some(KeyState::Active)));
    assert_eq!(state(node.cache.get(&acme(), &node.key.id).await), REVOKED);
    for selector in node.selectors() {
        assert_eq!(held(&node.cache, selector), None);
        assert_eq!(state(node.cache.find(selector).await), REVOKED);
    }
}

// Loads.

#[tokio::test]
async fn a_load_that_began_before_a_revocation_is_not_kept_and_not_joined_afterwards() {
    for (name, change) in [
        ("revoked here", None),
        ("reported", Some(Invalidation::Key(record(KEY, |_| {}).id))),
        ("channel lost", Some(Invalidation::Disconnected)),
        ("channel back", Some(Invalidation::Connected)),
    ] {
        for late_first in [false, true] {
            for by in 0..2 {
                let node = Node::new().await;
                let selector = node.selectors()[by];
                let mut followed = Followed::new(&node.cache);
                node.store.hold(true);
                let mut early = node.cache.find(selector);
                assert!(poll(&mut early).is_pending());
                match change {
                    None => {
                        // The store's results are held back, so the change is made there and the call is cancelled
                        // here.
                        let mut revoke = node.cache.replace(node.revoked(), None);
                        assert!(poll(&mut revoke).is_pending());
                    }
                    Some(event) => {
                        node.revoke_elsewhere().await;
                        followed.send(event);
                    }
                }
                let mut late = node.cache.find(selector);
                assert!(poll(&mut late).is_pending());
                node.store.hold(false);
                let (early, late) = if late_first {
                    let late = late.await;
                    (early.await, late)
                } else {
                    (early.await, late.await)
                };
                assert_eq!(
                    state(early),
                    KeyState::Active,
                    "{name}: a lookup from before may see the old state"
                );
                assert_eq!(state(late), REVOKED, "{name}, {selector:?}");
                let now = held(&node.cache, selector);
                assert!(now.is_none() || now == Some(Some(REVOKED)), "{name}, {selector:?}: {now:?}");
                assert_eq!(state(node.cache.find(selector).await), REVOKED, "{name}, {selector:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_load_that_began_before_a_key_was_made_does_not_hide_it() {
    let node = Node::new().await;
    let new = record(OTHER_KEY, |_| {});
    for selector in [KeySelector::Id(&new.id), KeySelector::Digests(&[new.digest])] {
        node.store.hold(true);
        let mut early = node.cache.find(selector);
        assert!(poll(&mut early).is_pending());
        let mut insert = node.cache.insert(new.clone(), None);
        assert!(poll(&mut insert).is_pending());
        node.store.hold(false);
        insert.await.unwrap();
        assert!(early.await.unwrap().is_none());
        assert_eq!(state(node.cache.find(selector).await), KeyState::Active);
        node.cache.delete(&acme(), &new.id, None).await.unwrap();
    }
}

#[tokio::test]
async fn concurrent_lookups_make_one_call() {
    let node = Node::new().await;
    let unknown = Peppers::none().digest(UNKNOWN_KEY);
    for selector in [node.by_id(), node.by_digest(), KeySelector::Digests(&[unknown])] {
        let before = node.store.lookups();
        node.store.hold(true);
        let mut waiting: Vec<_> = (0..100).map(|_| node.cache.find(selector)).collect();
        assert!(waiting.iter_mut().all(|find| poll(find).is_pending()));
        node.store.hold(false);
        let expected = node.store.keys.find(selector).await.unwrap();
        for find in waiting {
            assert_eq!(find.await.unwrap(), expected);
        }
        assert_eq!(node.store.lookups(), before + 1, "{selector:?}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_block_others() {
    let node = Node::new().await;
    node.store.hold(true);
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (cache, id) = (node.cache.clone(), node.key.id);
            tokio::spawn(async move { cache.find(KeySelector::Id(&id)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(node.store.lookups(), 1);
    // The request that made the call, one that joined, and the one whose waker the call has.
    for leaver in [0, 5, 9] {
        tasks[leaver].abort();
    }
    tokio::task::yield_now().await;
    node.store.hold(false);
    let mut answered = 0;
    for task in tasks {
        match tokio::time::timeout(Duration::from_secs(10), task).await.expect("no caller is stranded") {
            Ok(found) => {
                assert_eq!(state(found), KeyState::Active);
                answered += 1;
            }
            Err(error) => assert!(error.is_cancelled()),
        }
    }
    assert_eq!((answered, node.store.lookups()), (7, 1));
}

#[tokio::test]
async fn a_load_without_waiters_ends() {
    let node = Node::new().await;
    node.store.hold(true);
    let mut find = node.cache.find(node.by_id());
    assert!(poll(&mut find).is_pending());
    assert_eq!(node.store.script.held.receiver_count(), 1, "the store's future waits");
    drop(find);
    assert_eq!(node.store.script.held.receiver_count(), 0, "and is dropped with the last who wants it");
    node.store.hold(false);
    assert_eq!(node.calls(1).await, 1);
}

#[tokio::test]
async fn a_failure_reaches_all_waiters_and_is_not_cached() {
    let node = Node::new().await;
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Corrupt] {
        let before = node.store.lookups();
        node.store.hold(true);
        let mut waiting = [(); 3].map(|()| node.cache.find(node.by_id()));
        assert!(waiting.iter_mut().all(|find| poll(find).is_pending()));
        node.store.fail(kind);
        node.store.hold(false);
        for find in waiting {
            let error = find.await.unwrap_err();
            assert_eq!(error.kind(), kind);
            assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "configured error");
        }
        assert_eq!(node.store.lookups(), before + 1);
        assert_eq!(held(&node.cache, node.by_id()), None);
    }
    assert_eq!(node.calls(1).await, 1);
}

#[tokio::test]
async fn a_panic_of_the_store_is_a_failure_for_all_waiters() {
    let node = Node::new().await;
    node.store.script.panics.store(true, Ordering::SeqCst);
    node.store.hold(true);
    let mut waiting = [(); 3].map(|()| node.cache.find(node.by_id()));
    assert!(waiting.iter_mut().all(|find| poll(find).is_pending()));
    node.store.hold(false);
    for find in waiting {
        assert_eq!(find.await.unwrap_err().kind(), StoreErrorKind::Other);
    }
    node.store.script.panics.store(false, Ordering::SeqCst);
    assert_eq!(state(node.cache.find(node.by_id()).await), KeyState::Active);
}

#[tokio::test]
async fn the_layer_answers_503_and_then_200() {
    let node = Node::new().await;
    let layer = assembly_over(node.cache.clone(), |keys| keys).layer();
    node.store.fail(StoreErrorKind::Unavailable);
    for want in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK] {
        let response = layer.layer(service_fn(whoami)).oneshot(request(KEY)).await.unwrap();
        assert_eq!(response.status(), want);
    }
}

// Bounds.

#[tokio::test]
async fn junk_pushes_no_key_out() {
    let node = Node::with(|builder| builder.capacity(200).absent_capacity(100)).await;
    let keys: Vec<_> = (0..50).map(|n| record(&format!("good {n}"), |_| {})).collect();
    for key in &keys {
        node.store.keys.insert(key.clone(), None).await.unwrap();
        node.cache.find(KeySelector::Digests(&[key.digest])).await.unwrap();
        node.cache.find(KeySelector::Id(&key.id)).await.unwrap();
    }
    for n in 0..10_000 {
        let junk = Peppers::none().digest(&format!("junk {n}"));
        assert!(node.cache.find(KeySelector::Digests(&[junk])).await.unwrap().is_none());
        let junk: KeyId = format!("junk-{n}").parse().unwrap();
        assert!(node.cache.find(KeySelector::Id(&junk)).await.unwrap().is_none());
    }
    let digests = (0..10_000).map(|n| Peppers::none().digest(&format!("junk {n}")));
    let junk = digests.filter(|junk| is_at_hand(&node.cache, KeySelector::Digests(&[*junk]))).count();
    assert!((1..150).contains(&junk), "{junk} of it are held");
    for key in &keys {
        assert!(is_at_hand(&node.cache, KeySelector::Digests(&[key.digest])));
        assert!(is_at_hand(&node.cache, KeySelector::Id(&key.id)));
    }
}

#[tokio::test]
async fn a_cache_without_capacity_works_as_a_store() {
    let node = Node::with(|builder| builder.capacity(0).absent_capacity(0)).await;
    assert_eq!(node.calls(3).await, 3);
    let node = Node::with(|builder| builder.max_age(Duration::ZERO)).await;
    assert_eq!(node.calls(3).await, 3);
}

const MILLI: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_revocation_on_another_node_is_visible_after_the_maximum_age() {
    for connected in [false, true] {
        let node = Node::new().await;
        let _followed = connected.then(|| Followed::new(&node.cache));
        assert_eq!(node.cache.is_connected(), connected);
        node.warm().await;
        node.revoke_elsewhere().await;
        // A channel makes it faster. It can be cut elsewhere, so it does not make records valid for longer.
        let age = Duration::from_secs(5);
        node.clock.advance(age - MILLI);
        // A step of the calendar changes nothing.
        node.clock.step_calendar(START);
        for selector in node.selectors() {
            assert_eq!(held(&node.cache, selector), Some(Some(KeyState::Active)));
        }
        node.clock.advance(MILLI);
        for selector in node.selectors() {
            assert_eq!(held(&node.cache, selector), None);
            assert_eq!(state(node.cache.find(selector).await), REVOKED);
        }
    }
}

#[tokio::test]
async fn the_age_counts_from_the_start_of_the_store_call() {
    let node = Node::new().await;
    node.store.hold(true);
    let mut find = node.cache.find(node.by_id());
    assert!(poll(&mut find).is_pending());
    node.clock.advance(Duration::from_secs(5));
    node.store.hold(false);
    find.await.unwrap();
    assert_eq!(held(&node.cache, node.by_id()), None);
}

#[tokio::test]
async fn an_unknown_key_stays_unknown_for_a_second_or_as_long_as_is_set() {
    const SECOND: Duration = Duration::from_secs(1);
    for (node, age) in [
        (Node::new().await, SECOND),
        (Node::with(|builder| builder.absent_max_age(3 * SECOND)).await, 3 * SECOND),
    ] {
        let new = record(OTHER_KEY, |_| {});
        let digests = [new.digest];
        let selectors = [KeySelector::Id(&new.id), KeySelector::Digests(&digests)];
        for selector in selectors {
            assert!(node.cache.find(selector).await.unwrap().is_none());
        }
        node.store.keys.insert(new.clone(), None).await.unwrap();
        node.clock.advance(age - MILLI);
        for selector in selectors {
            assert_eq!(held(&node.cache, selector), Some(None));
        }
        node.clock.advance(MILLI);
        for selector in selectors {
            assert_eq!(held(&node.cache, selector), None);
            assert_eq!(state(node.cache.find(selector).await), KeyState::Active);
        }
    }
}

// The channel.

#[tokio::test]
async fn reported_changes_are_visible_immediately() {
    let node = Node::new().await;
    let mut followed = Followed::new(&node.cache);
    node.warm().await;
    node.revoke_elsewhere().await;
    followed.send(Invalidation::Key("another".parse().unwrap()));
    followed.send(Invalidation::Key(node.key.id));
    for selector in node.selectors() {
        assert_eq!(held(&node.cache, selector), None);
        assert_eq!(state(node.cache.find(selector).await), REVOKED);
    }
}

#[tokio::test]
async fn a_channel_that_is_named_at_the_beginning_is_followed_in_the_background() {
    let (events, channel) = mpsc::unbounded_channel();
    let node = Node::with(|builder| builder.follow(Channel(channel))).await;
    let background = tokio::spawn(node.cache.background().unwrap());
    events.send(Invalidation::Connected).unwrap();
    while !node.cache.is_connected() {
        tokio::task::yield_now().await;
    }
    node.warm().await;
    node.revoke_elsewhere().await;
    events.send(Invalidation::Key(node.key.id)).unwrap();
    while is_at_hand(&node.cache, node.by_id()) {
        tokio::task::yield_now().await;
    }
    background.abort();
}

#[tokio::test]
async fn a_lost_channel_is_noticed_and_invalidates_all_entries() {
    type End = fn(&mut Followed);
    let ends: [(&str, End); 3] = [
        ("disconnected", |followed| followed.send(Invalidation::Disconnected)),
        ("future dropped", |followed| followed.driver = None),
        ("source panicked", |followed| {
            followed.events = mpsc::unbounded_channel().0;
            let mut driver = followed.driver.take().unwrap();
            let poll = std::panic::AssertUnwindSafe(|| poll(&mut driver).is_pending());
            std::panic::catch_unwind(poll).unwrap_err();
        }),
    ];
    for (name, end) in ends {
        let node = Node::new().await;
        let mut followed = Followed::new(&node.cache);
        node.warm().await;
        node.revoke_elsewhere().await;
        end(&mut followed);
        assert!(!node.cache.is_connected(), "{name}");
        for selector in node.selectors() {
            assert_eq!(held(&node.cache, selector), None, "{name}");
            assert_eq!(state(node.cache.find(selector).await), REVOKED, "{name}");
        }
    }
}

#[tokio::test]
async fn a_reconnected_channel_invalidates_all_entries() {
    let node = Node::new().await;
    let mut followed = Followed::new(&node.cache);
    followed.send(Invalidation::Disconnected);
    node.warm().await;
    node.revoke_elsewhere().await;
    assert_eq!(held(&node.cache, node.by_id()), Some(Some(KeyState::Active)), "for five seconds");
    followed.send(Invalidation::Connected);
    assert!(node.cache.is_connected());
    for selector in node.selectors() {
        assert_eq!(held(&node.cache, selector), None);
        assert_eq!(state(node.cache.find(selector).await), REVOKED);
    }
    assert_eq!(held(&node.cache, node.by_id()), Some(Some(REVOKED)));
}

#[tokio::test]
async fn following_ends_when_the_store_is_gone() {
    let node = Node::new().await;
    let mut followed = Followed::new(&node.cache);
    drop(node.cache);
    followed.events.send(Invalidation::Connected).unwrap();
    assert!(poll(followed.driver.as_mut().unwrap()).is_ready());
}

#[derive(Clone, Default)]
struct Published(Arc<Mutex<Vec<KeyId>>>, Arc<AtomicBool>);

#[async_trait]
impl InvalidationSink for Published {
    async fn publish(&self, id: &KeyId) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(*id);
        if self.1.load(Ordering::SeqCst) { Err(StoreError::new(StoreErrorKind::Unavailable)) } else { Ok(()) }
    }
}

#[tokio::test]
async fn changes_are_published_before_they_return() {
    for (name, write) in WRITES {
        let published = Published::default();
        let node = Node::with(|builder| builder.publish_to(published.clone())).await;
        for (error, times) in [(Some(StoreErrorKind::Conflict), 0), (Some(StoreErrorKind::Unavailable), 1)] {
            published.0.lock().unwrap().clear();
            error.into_iter().for_each(|kind| node.store.fail(kind));
            let fresh = node.store.keys.get(&acme(), &node.key.id).await.unwrap();
            let fresh = fresh.map_or(node.key.clone(), Arc::unwrap_or_clone);
            assert_eq!(write(node.cache.clone(), fresh).await.is_err(), error.is_some());
            assert_eq!(*published.0.lock().unwrap(), vec![node.key.id; times], "{name}, {error:?}");
        }
        let published = Published::default();
        let node = Node::with(|builder| builder.publish_to(published.clone())).await;
        published.1.store(true, Ordering::SeqCst);
        write(node.cache.clone(), node.key.clone()).await.expect("what was changed is changed");
        assert_eq!(*published.0.lock().unwrap(), [node.key.id], "{name}");
        assert_up_to_date(&node, name).await;
    }
    let published = Published::default();
    let node = Node::with(|builder| builder.publish_to(published.clone())).await;
    assert!(!node.cache.delete(&Owner::system(Mode::Live), &node.key.id, None).await.unwrap());
    assert_eq!(*published.0.lock().unwrap(), [], "a stranger's delete changes nothing");
}

// While the store is down.

const HALF_MINUTE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn during_an_outage_old_entries_are_used_only_if_configured() {
    for (allowed, age, used) in [
        (Duration::ZERO, Duration::from_secs(5), false),
        (Duration::from_secs(20), Duration::from_secs(20) - MILLI, true),
        (Duration::from_secs(20), Duration::from_secs(20), false),
        // Even if the application sets a longer time.
        (Duration::from_secs(3600), HALF_MINUTE - MILLI, true),
        (Duration::from_secs(3600), HALF_MINUTE, false),
    ] {
        let node = Node::with(|builder| builder.use_during_outage(allowed)).await;
        node.warm().await;
        node.clock.advance(age);
        for (kind, used) in [(StoreErrorKind::Unavailable, used), (StoreErrorKind::Corrupt, false)] {
            for selector in node.selectors() {
                node.store.fail(kind);
                let found = node.cache.find(selector).await;
                assert_eq!(found.is_ok(), used, "{allowed:?} after {age:?}, {kind:?}, {selector:?}");
            }
        }
        assert_eq!(held(&node.cache, node.by_id()), None, "the store is asked first, each time");
    }
}

#[tokio::test]
async fn during_an_outage_known_changes_apply() {
    type Event = fn(&Node, &mut Followed);
    let events: [(&str, bool, Event); 4] = [
        ("nothing", true, |_, _| {}),
        ("the channel is lost with the store", true, |_, followed| followed.send(Invalidation::Disconnected)),
        ("reported", false, |node, followed| followed.send(Invalidation::Key(node.key.id))),
        ("the channel was away", false, |_, followed| {
            followed.send(Invalidation::Disconnected);
            followed.send(Invalidation::Connected);
        }),
    ];
    for (name, used, happens) in events {
        let node = Node::with(|builder| builder.use_during_outage(HALF_MINUTE)).await;
        let mut followed = Followed::new(&node.cache);
        node.warm().await;
        happens(&node, &mut followed);
        node.clock.advance(Duration::from_secs(10));
        node.store.fail(StoreErrorKind::Unavailable);
        assert_eq!(node.cache.find(node.by_id()).await.is_ok(), used, "{name}");
    }
    let node = Node::with(|builder| builder.use_during_outage(HALF_MINUTE)).await;
    node.warm().await;
    node.store.fail(StoreErrorKind::Unavailable);
    node.cache.replace(node.revoked(), None).await.unwrap_err();
    node.store.fail(StoreErrorKind::Unavailable);
    node.cache.find(node.by_id()).await.expect_err("a revocation was tried here");
}

#[tokio::test]
async fn during_an_outage_a_key_still_expires() {
    let end = START.saturating_add(Duration::from_secs(8));
    let key = record(KEY, |key| key.expires_at = Some(end));
    let (store, clock) = (Scripted::new(store([key]).await), ManualClock::starting_at(START));
    let builder = CachedStore::builder(store.clone()).clock(clock.clone());
    let cache = builder.use_during_outage(HALF_MINUTE).build();
    let layer = assembly_over(cache, |keys| keys.clock(clock.clone())).layer();
    for (second, want) in [(0, 200), (7, 200), (8, 401), (30, 503)] {
        clock.advance(
            START.saturating_add(Duration::from_secs(second)).saturating_since(clock.now().timestamp()),
        );
        if second > 0 {
            store.fail(StoreErrorKind::Unavailable);
        }
        let response = layer.layer(service_fn(whoami)).oneshot(request(KEY)).await.unwrap();
        assert_eq!(response.status().as_u16(), want, "after {second} s");
    }
}

// All of it.

#[tokio::test]
async fn one_cache_for_the_layer_and_the_manager() {
    let store = Scripted::new(MemoryStore::new());
    let cache = CachedStore::new(store.clone());
    let keys = assembly_over(cache, |keys| keys);
    let (manager, layer) = (keys.manager(), keys.layer());
    let operator = Authority::operator(acme());
    let status = async |secret: &SecretString| {
        let request = http::Request::builder().header(X_API_KEY, secret.expose_secret()).body(()).unwrap();
        layer.layer(service_fn(whoami)).oneshot(request).await.unwrap().status().as_u16()
    };

    let key = manager.create(&operator, NewKey::new("Key")).await.unwrap();
    let (id, first) = (key.key.id, key.secret);
    for _ in 0..3 {
        assert_eq!(status(&first).await, 200);
    }
    assert_eq!(store.lookups(), 1);

    let minute = Duration::from_secs(60);
    let second = manager.rotate_on_first_use(&operator, &id, minute).await.unwrap().secret;
    assert_eq!((status(&first).await, status(&second).await), (200, 200));
    assert_eq!(manager.get(&operator, &id).await.unwrap().next_hint, None, "in use now");
    let third = manager.rotate(&operator, &id, Duration::ZERO).await.unwrap().secret;
    assert_eq!((status(&first).await, status(&second).await, status(&third).await), (401, 401, 200));
    manager.disable(&operator, &id).await.unwrap();
    assert_eq!(status(&third).await, 401);
    manager.enable(&operator, &id).await.unwrap();
    assert_eq!(status(&third).await, 200);
    manager.revoke(&operator, &id).await.unwrap();
    assert_eq!(status(&third).await, 401);
    manager.delete(&operator, &id).await.unwrap();
    assert_eq!(status(&third).await, 401);
}

#[tokio::test]
async fn conforms() {
    conformance::check(async || CachedStore::new(MemoryStore::new())).await;
    conformance::check(async || CachedStore::new(Scripted::new(MemoryStore::new()))).await;
    conformance::check(async || {
        CachedStore::new(Arc::new(CachedStore::new(MemoryStore::new())) as Arc<dyn KeyAdministration>)
    })
    .await;
}

/// Many threads look keys up while they are revoked one by one: after a revocation returns, no lookup sees the key
/// active.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lookup_after_a_revocation_sees_the_key_active() {
    let keys: Vec<_> = (0..500).map(|n| record(&format!("key {n}"), |_| {})).collect();
    let store = Scripted::new(store(keys.clone()).await);
    let cache = CachedStore::builder(store.clone()).capacity(300).build();
    // How many of the keys have been revoked, with the revocation returned.
    let count = Arc::new(AtomicUsize::new(0));
    let hammers: Vec<_> = (0..4)
        .map(|hammer| {
            let (cache, keys, count) = (cache.clone(), keys.clone(), count.clone());
            tokio::spawn(async move {
                let mut random = random_numbers(hammer);
                loop {
                    let done = count.load(Ordering::SeqCst);
                    // Mostly near the last revoked key.
                    let n = (done + random() % 4).saturating_sub(2).min(keys.len() - 1);
                    let selector = KeySelector::Id(&keys[n].id);
                    let digest = [keys[n].digest];
                    let selector =
                        if random().is_multiple_of(2) { selector } else { KeySelector::Digests(&digest) };
                    let found = cache.find(selector).await;
                    assert!(
                        n >= done || state(found) != KeyState::Active,
                        "key {n} after {done} were revoked"
                    );
                    if done == keys.len() {
                        break;
                    }
                    if random().is_multiple_of(16) {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for (n, key) in keys.iter().enumerate() {
        cache.replace(revoked(key.clone()), None).await.unwrap();
        count.store(n + 1, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    for hammer in hammers {
        hammer.await.unwrap();
    }
}

/// Xorshift from a seed: random enough for a schedule.
fn random_numbers(seed: usize) -> impl FnMut() -> usize {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize
    }
}

/// Otherwise a store that does not answer would stop the hits, too.
#[tokio::test]
async fn a_cache_guards_what_is_behind_it_and_is_not_guarded_itself() {
    let cache = CachedStore::builder(Scripted::new(MemoryStore::new())).build();
    let keys = assembly(cache).without_route_table().build().unwrap();
    assert_eq!(keys.health().store.guards.len(), 2, "lookups and changes of the store behind it");
}
