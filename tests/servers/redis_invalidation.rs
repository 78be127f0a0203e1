//! Caches of several nodes that follow changes through Redis.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tower_api_keys::key::{KeyId, KeyState};
use tower_api_keys::store::{
    CachedStore, Invalidation, InvalidationSink, InvalidationSource, KeyAdministration, KeySelector,
    KeyStore, RedisInvalidation, StoreErrorKind,
};

use crate::proxy::Proxy;
use crate::redis_server::{self as server, RedisServer};
use crate::support::{KEY, record, store};

const SECOND: Duration = Duration::from_secs(1);

async fn next(source: &mut impl InvalidationSource) -> Invalidation {
    timeout(10 * SECOND, source.next()).await.expect("there is an event")
}

fn id(text: &str) -> KeyId {
    text.parse().unwrap()
}

#[tokio::test]
async fn what_is_published_arrives_in_order_and_in_its_channel() {
    let server = RedisServer::start();
    let redis = RedisInvalidation::open(&server.url()).unwrap();
    let (mut one, mut other) = (redis.source(), redis.source());
    let mut elsewhere = redis.clone().channel("another store's").source();
    for source in [&mut one, &mut other, &mut elsewhere] {
        assert_eq!(next(source).await, Invalidation::Connected);
    }
    for key in ["a", "b", "a"] {
        redis.publish(&id(key)).await.unwrap();
    }
    for source in [&mut one, &mut other] {
        for key in ["a", "b", "a"] {
            assert_eq!(next(source).await, Invalidation::Key(id(key)));
        }
    }
    // Longer than the silence after which it pings the server.
    assert!(timeout(3 * SECOND, elsewhere.next()).await.is_err(), "nothing else happens");
    assert!(timeout(Duration::from_millis(10), one.next()).await.is_err());
}

#[tokio::test]
async fn a_lost_connection_is_reported_and_replaced() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.address()).await;
    let mut source = RedisInvalidation::open(&server::url(proxy.address())).unwrap().source();
    let publisher = RedisInvalidation::open(&server.url()).unwrap();
    type Fault = (&'static str, fn(&Proxy), u64);
    let faults: [Fault; 3] = [
        ("cut", |proxy| proxy.cut(), 1),
        ("shut", |proxy| proxy.shut(), 1),
        ("black hole", |proxy| proxy.black_hole(), 3),
    ];
    assert_eq!(next(&mut source).await, Invalidation::Connected);
    for (name, fault, within) in faults {
        fault(&proxy);
        let began = Instant::now();
        assert_eq!(next(&mut source).await, Invalidation::Disconnected, "{name}");
        assert!(began.elapsed() < Duration::from_secs(within), "{name}: {:?}", began.elapsed());
        proxy.heal();
        assert_eq!(next(&mut source).await, Invalidation::Connected, "{name}");
        publisher.publish(&id(name.split(' ').next().unwrap())).await.unwrap();
        assert!(matches!(next(&mut source).await, Invalidation::Key(_)), "{name}");
    }
}

#[tokio::test]
async fn what_can_not_be_read_is_taken_for_a_loss() {
    let server = RedisServer::start();
    let mut source = RedisInvalidation::open(&server.url()).unwrap().source();
    for nonsense in ["", "not a key", "\u{0}"] {
        assert_eq!(next(&mut source).await, Invalidation::Connected);
        let receivers: u32 = server.run(&["PUBLISH", RedisInvalidation::DEFAULT_CHANNEL, nonsense]);
        assert_eq!(receivers, 1);
        assert_eq!(next(&mut source).await, Invalidation::Disconnected, "{nonsense:?}");
    }
}

#[tokio::test]
async fn publishing_survives_a_restart_and_reports_failures() {
    let mut server = RedisServer::start();
    let redis = RedisInvalidation::open(&server.url()).unwrap();
    redis.publish(&id("a")).await.unwrap();
    server.kill();
    let error = redis.publish(&id("a")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    server.restart();
    redis.publish(&id("a")).await.unwrap();
    server.kill();
    server.restart();
    redis.publish(&id("a")).await.unwrap();
}

#[tokio::test]
async fn a_key_disabled_on_one_node_stops_on_another() {
    let server = RedisServer::start();
    let redis = RedisInvalidation::open(&server.url()).unwrap();
    let keys = store([record(KEY, |_| {})]).await;
    let here = CachedStore::builder(keys.clone()).publish_to(redis.clone()).build();
    let there = CachedStore::builder(keys.clone()).build();
    tokio::spawn(there.follow(redis.source()));
    while !there.is_connected() {
        sleep(Duration::from_millis(5)).await;
    }
    let mut changed = record(KEY, |_| {});
    let id = changed.id;
    let state = async || there.find(KeySelector::Id(&id)).await.unwrap().unwrap().state;
    assert_eq!(state().await, KeyState::Active);

    changed.state = KeyState::Disabled;
    here.replace(changed, None).await.unwrap();
    let published_at = Instant::now();
    while state().await == KeyState::Active {
        assert!(published_at.elapsed() < SECOND, "the other node gets the report");
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn no_output_has_the_password() {
    let redis = RedisInvalidation::open("redis://user:hunter2@127.0.0.1/0").unwrap();
    let shown = format!("{redis:?} {:?}", redis.source());
    assert!(!shown.contains("hunter2"), "{shown}");
}
