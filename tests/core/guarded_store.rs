//! The guard in front of every store that waits: a deadline, a bound, and a breaker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::StatusCode;
use tokio::sync::watch;
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::ApiKeys;
use tower_api_keys::key::{KeyId, KeyRecord};
use tower_api_keys::manage::AuditEvent;
use tower_api_keys::rejection::Reason;
use tower_api_keys::store::{
    GuardedStore, KeySelector, KeyStore, Lookup, MemoryStore, OwnedKeySelector, ReadOnly, StoreError,
    StoreErrorKind,
};

use crate::support::*;

/// How a store answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// With what it holds.
    Good,
    Fails(StoreErrorKind),
    /// Not at all.
    Hangs,
    Panics,
}

/// A store of the application's own, which waits for each answer.
#[derive(Clone)]
struct Database {
    keys: MemoryStore,
    answer: watch::Sender<Answer>,
    /// Calls that were begun.
    calls: Arc<AtomicUsize>,
}

impl Database {
    async fn new() -> Self {
        Self {
            keys: store([record(KEY, |_| {})]).await,
            answer: watch::Sender::new(Answer::Good),
            calls: Arc::default(),
        }
    }

    fn answers(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn end(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let answer = *self.answer.subscribe().wait_for(|answer| *answer != Answer::Hangs).await.unwrap();
        match answer {
            Answer::Fails(kind) => Err(StoreError::new(kind)),
            Answer::Panics => panic!("a defect of the store"),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl KeyStore for Database {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        let (store, selector) = (self.clone(), selector.to_owned());
        if matches!(&selector, OwnedKeySelector::Id(id) if id.as_str() == IN_MEMORY) {
            return Lookup::ready(Ok(None));
        }
        Lookup::pending(async move {
            if matches!(&selector, OwnedKeySelector::Id(id) if id.as_str() == SLOW) {
                return std::future::pending().await;
            }
            store.end().await?;
            store.keys.find(selector.borrow()).await
        })
    }

    async fn refresh(&self, _: KeyRecord, _: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.end().await
    }
}

/// A key whose lookups hang.
const SLOW: &str = "slow";
/// A key that the store knows without waiting.
const IN_MEMORY: &str = "in_memory";

const DEADLINE: Duration = Duration::from_millis(100);

fn id(n: usize) -> KeyId {
    format!("k{n}").parse().unwrap()
}

fn poll(lookup: &mut Lookup) -> Poll<Result<Option<Arc<KeyRecord>>, StoreError>> {
    std::pin::Pin::new(lookup).poll(&mut Context::from_waker(Waker::noop()))
}

/// Looks up some key, and says how that ended.
async fn look_up(store: &impl KeyStore) -> Result<(), String> {
    let lookup = store.find(KeySelector::Id(&id(1)));
    match tokio::spawn(lookup).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            Err(format!("{:?}: {}", error.kind(), source.unwrap_or_default()))
        }
        Err(_) => Err("panic".to_owned()),
    }
}

#[tokio::test]
async fn a_lookup_without_an_answer_is_given_up_after_the_deadline() {
    let database = Database::new().await;
    database.answers(Answer::Hangs);
    let store = GuardedStore::new(database).with_deadline(DEADLINE);
    let start = Instant::now();
    assert_eq!(look_up(&store).await, Err("Unavailable: no answer in time".to_owned()));
    assert!(start.elapsed() >= DEADLINE);
}

#[tokio::test]
async fn more_lookups_than_may_wait_are_rejected_at_once() {
    let database = Database::new().await;
    database.answers(Answer::Hangs);
    let store = GuardedStore::new(database.clone()).with_max_lookups(10);
    let mut waiting: Vec<_> = (0..10).map(|n| store.find(KeySelector::Id(&id(n)))).collect();
    assert!(waiting.iter_mut().all(|lookup| poll(lookup).is_pending()));
    for n in 10..20 {
        let Poll::Ready(Err(error)) = poll(&mut store.find(KeySelector::Id(&id(n)))) else {
            panic!("it waits")
        };
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    }
    assert_eq!(database.calls(), 10);
    waiting.pop();
    let mut next = store.find(KeySelector::Id(&id(10)));
    assert!(poll(&mut next).is_pending(), "a client that hangs up makes room");
}

#[tokio::test]
async fn five_failures_in_a_row_stop_lookups_until_one_that_tries_is_answered() {
    for (answer, stops) in [
        (Answer::Good, false),
        (Answer::Fails(StoreErrorKind::Corrupt), false),
        (Answer::Fails(StoreErrorKind::Conflict), false),
        (Answer::Fails(StoreErrorKind::Unavailable), true),
        (Answer::Fails(StoreErrorKind::Other), true),
        (Answer::Panics, true),
    ] {
        let database = Database::new().await;
        let store = GuardedStore::new(database.clone());
        for _ in 0..3 {
            database.answers(answer);
            for _ in 0..4 {
                let _ = look_up(&store).await;
            }
            database.answers(Answer::Good);
            assert_eq!(look_up(&store).await, Ok(()), "{answer:?}: four are not enough");
        }
        database.answers(answer);
        for _ in 0..5 {
            let _ = look_up(&store).await;
        }
        database.answers(Answer::Good);
        let before = database.calls();
        for _ in 0..20 {
            assert_eq!(look_up(&store).await.is_err(), stops, "{answer:?}");
        }
        assert_eq!(database.calls() == before, stops, "{answer:?}");
        if stops {
            tokio::time::sleep(Duration::from_millis(1_010)).await;
            for _ in 0..20 {
                assert_eq!(look_up(&store).await, Ok(()), "{answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn silence_stops_lookups_before_five_have_failed() {
    let database = Database::new().await;
    database.answers(Answer::Hangs);
    let store = GuardedStore::new(database.clone()).with_deadline(DEADLINE);
    look_up(&store).await.unwrap_err();
    let start = Instant::now();
    look_up(&store).await.unwrap_err();
    assert!(start.elapsed() < DEADLINE);
    assert_eq!(database.calls(), 1);
}

#[tokio::test]
async fn silence_is_noticed_though_clients_do_not_wait_for_the_deadline() {
    let database = Database::new().await;
    database.answers(Answer::Hangs);
    let store = GuardedStore::new(database.clone()).with_deadline(DEADLINE);
    let mut impatient = store.find(KeySelector::Id(&id(0)));
    assert!(poll(&mut impatient).is_pending());
    tokio::time::sleep(DEADLINE / 2).await;
    let mut later = store.find(KeySelector::Id(&id(1)));
    assert!(poll(&mut later).is_pending());
    drop(impatient);
    tokio::time::sleep(DEADLINE / 2).await;
    assert!(poll(&mut store.find(KeySelector::Id(&id(2)))).is_ready());
    assert_eq!(database.calls(), 2);
}

#[tokio::test]
async fn one_slow_lookup_among_good_ones_stops_nothing() {
    let database = Database::new().await;
    let store = GuardedStore::new(database).with_deadline(DEADLINE);
    for _ in 0..2 {
        let slow = tokio::spawn(store.find(KeySelector::Id(&SLOW.parse().unwrap())));
        while !slow.is_finished() {
            assert_eq!(look_up(&store).await, Ok(()));
            tokio::time::sleep(DEADLINE / 20).await;
        }
        assert!(slow.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn lookups_that_wait_end_when_lookups_are_stopped() {
    let database = Database::new().await;
    let store = GuardedStore::new(database.clone()).with_deadline(Duration::from_secs(60));
    let waiting = tokio::spawn(store.find(KeySelector::Id(&SLOW.parse().unwrap())));
    tokio::task::yield_now().await;
    database.answers(Answer::Fails(StoreErrorKind::Unavailable));
    for _ in 0..5 {
        look_up(&store).await.unwrap_err();
    }
    let ended =
        tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it ends before its deadline");
    assert_eq!(ended.unwrap().unwrap_err().kind(), StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn what_a_store_has_at_hand_is_found_though_lookups_are_stopped() {
    let database = Database::new().await;
    database.answers(Answer::Fails(StoreErrorKind::Unavailable));
    let store = GuardedStore::new(database).with_max_lookups(1);
    for _ in 0..5 {
        look_up(&store).await.unwrap_err();
    }
    let at_hand = IN_MEMORY.parse().unwrap();
    assert!(matches!(poll(&mut store.find(KeySelector::Id(&at_hand))), Poll::Ready(Ok(None))));
}

#[tokio::test]
async fn changes_that_fail_do_not_stop_lookups() {
    let database = Database::new().await;
    let store = GuardedStore::new(database.clone());
    database.answers(Answer::Fails(StoreErrorKind::Unavailable));
    for _ in 0..5 {
        store.refresh(record(KEY, |_| {}), None).await.unwrap_err();
    }
    database.answers(Answer::Good);
    assert!(store.refresh(record(KEY, |_| {}), None).await.is_err(), "changes are stopped");
    assert_eq!(look_up(&store).await, Ok(()));
}

/// The status of a request, and how long it took.
async fn ask(keys: &ApiKeys, key: &'static str) -> (StatusCode, Duration) {
    let start = Instant::now();
    let response = keys.layer().layer(service_fn(whoami::<()>)).oneshot(request(key)).await.unwrap();
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        assert!(matches!(rejection(&response).reason(), Reason::StoreFailed(_)));
    }
    (response.status(), start.elapsed())
}

#[tokio::test]
async fn an_assembly_guards_every_store_that_waits() {
    let database = Database::new().await;
    let keys = assembly(ReadOnly::new(database.clone())).without_route_table().build().unwrap();
    assert_eq!(ask(&keys, KEY).await.0, StatusCode::OK);
    database.answers(Answer::Hangs);
    let (status, time) = ask(&keys, KEY).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(time >= Duration::from_secs(1));
    let (status, time) = ask(&keys, KEY).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(time < Duration::from_millis(500));
    let health = keys.health();
    let lookups = &health.store.guards[0];
    assert_eq!((lookups.store, lookups.calls), ("ReadOnly", "lookups"));
    assert!(!health.is_good && lookups.is_open && lookups.refused == 1, "{health:?}");
    database.answers(Answer::Good);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&keys, KEY).await.0, StatusCode::OK);
    assert!(keys.health().is_good);
}

#[cfg(feature = "cache")]
#[tokio::test]
async fn a_cache_guards_the_store_behind_it_and_joins_the_lookups_of_one_key() {
    use tower_api_keys::store::CachedStore;

    let database = Database::new().await;
    database.answers(Answer::Hangs);
    let store = CachedStore::new(database.clone());
    let find = |n| store.find(KeySelector::Id(&id(n)));
    let mut waiting: Vec<_> = (0..256).chain(0..256).map(find).collect();
    assert!(waiting.iter_mut().all(|lookup| poll(lookup).is_pending()));
    assert!((256..10_256).all(|n| poll(&mut find(n)).is_ready()));
    assert_eq!(database.calls(), 256);
}

#[cfg(feature = "cache")]
#[tokio::test]
async fn cached_keys_are_found_though_lookups_are_stopped() {
    use tower_api_keys::store::CachedStore;

    let database = Database::new().await;
    let keys =
        assembly(ReadOnly::new(CachedStore::new(database.clone()))).without_route_table().build().unwrap();
    assert_eq!(ask(&keys, KEY).await.0, StatusCode::OK);
    database.answers(Answer::Fails(StoreErrorKind::Unavailable));
    for _ in 0..10 {
        assert_eq!(ask(&keys, OTHER_KEY).await.0, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(ask(&keys, KEY).await.0, StatusCode::OK);
    assert_eq!(database.calls(), 6);
}
