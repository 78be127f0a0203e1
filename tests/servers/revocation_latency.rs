//! How long a revoked key still works on other nodes: one node revokes, the others look the key up continuously. The nodes
//! are caches in front of PostgreSQL, with separate pools, that follow changes through PostgreSQL or Redis.
//!
//! `cargo test --release --all-features --test servers revocation_latency:: -- --nocapture` prints the figures.
//! Servers, proxy and nodes run on one machine, so a network adds its own time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::postgres::PgPoolOptions;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};
use tower_api_keys::key::{KeyId, KeyRecord, KeyState};
use tower_api_keys::store::{
    CachedStore, KeyAdministration, KeySelector, KeyStore, PostgresInvalidations, PostgresStore,
    RedisInvalidation, StoreErrorKind,
};

use crate::proxy::Proxy;
use crate::support::{self, record};
use crate::{postgres_server as postgres, redis_server as redis};

/// How long a record is valid without news.
const MAX_AGE: Duration = Duration::from_secs(5);
/// Revoked at regular intervals within [`MAX_AGE`], while all of them are used.
const AT_ONCE: usize = 20;

#[derive(Clone, Copy, Debug)]
enum Channel {
    Postgres,
    Redis,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The others' connections are closed, and no new one is made.
    Cut,
    /// The others' connections drop all packets.
    BlackHole,
    /// The node that revokes is cut from the channel, the others are not.
    RevokerCut,
    /// The channel's server does nothing.
    Frozen,
    /// The servers of store and channel are killed and restarted.
    Restarted,
}

struct Servers {
    postgres: postgres::Server,
    redis: Mutex<redis::RedisServer>,
}

impl Servers {
    fn start() -> Self {
        Self { postgres: postgres::Server::start(), redis: Mutex::new(redis::RedisServer::start()) }
    }
}

/// Nodes with the same keys, of which all but the first follow a channel through a proxy.
struct Nodes {
    revoker: CachedStore<PostgresStore>,
    others: Vec<CachedStore<PostgresStore>>,
    proxy: Proxy,
    revoker_proxy: Proxy,
    followers: Vec<JoinHandle<()>>,
    keys: Vec<KeyRecord>,
}

impl Nodes {
    async fn start(servers: &Servers, channel: Channel, nodes: usize, keys: usize) -> Self {
        let pool = servers.postgres.database(4).await;
        let store = PostgresStore::new(pool.clone());
        store.migrate().await.unwrap();
        let keys: Vec<_> = (0..keys).map(|n| record(&format!("key {n}"), |_| {})).collect();
        for key in &keys {
            store.insert(key.clone(), None).await.unwrap();
        }
        let options = pool.connect_options();
        let database = options.get_database().unwrap();
        let redis = |address| RedisInvalidation::open(&redis::url(address)).unwrap().channel(database);
        let redis_address = servers.redis.lock().unwrap().address();
        let revoker_proxy = Proxy::start(redis_address).await;
        let proxy = Proxy::start(match channel {
            Channel::Redis => redis_address,
            Channel::Postgres | Channel::None => SocketAddr::from(([127, 0, 0, 1], servers.postgres.port())),
        })
        .await;
        let mut revoker = CachedStore::builder(store);
        if let Channel::Redis = channel {
            revoker = revoker.publish_to(redis(revoker_proxy.address()));
        }
        let mut others = Vec::new();
        for _ in 1..nodes {
            let own_pool = PgPoolOptions::new().max_connections(4).connect_lazy_with((*options).clone());
            let other = CachedStore::builder(PostgresStore::new(own_pool));
            others.push(match channel {
                Channel::Postgres => {
                    let options = (*options).clone().port(proxy.address().port());
                    other.follow(PostgresInvalidations::connecting_with(options)).build()
                }
                Channel::Redis => other.follow(redis(proxy.address()).source()).build(),
                Channel::None => other.build(),
            });
        }
        let followers = others.iter().map(|other| tokio::spawn(other.background().unwrap())).collect();
        let nodes = Self { revoker: revoker.build(), others, proxy, revoker_proxy, followers, keys };
        for other in nodes.others.iter().filter(|_| !matches!(channel, Channel::None)) {
            while !other.is_connected() {
                sleep(Duration::from_millis(1)).await;
            }
        }
        nodes
    }

    async fn inflict(&self, servers: &Servers, fault: Fault) {
        match fault {
            Fault::None => {}
            Fault::Cut => self.proxy.shut(),
            Fault::BlackHole => self.proxy.black_hole(),
            Fault::RevokerCut => self.revoker_proxy.shut(),
            Fault::Frozen => servers.redis.lock().unwrap().freeze(),
            Fault::Restarted => {
                sleep(Duration::from_secs(1)).await;
                servers.redis.lock().unwrap().restart();
                servers.postgres.kill();
                servers.postgres.restart();
            }
        }
    }

    /// Revokes a key on one node while the others look it up: how long after the answer one of them still found it active.
    async fn revoke(&self, key: &KeyRecord, after: Duration, pause: Duration) -> Duration {
        let hammers: Vec<_> =
            self.others.iter().map(|other| tokio::spawn(hammer(other.clone(), key.id, pause))).collect();
        sleep(after).await;
        let mut revoked = key.clone();
        revoked.state = KeyState::Revoked { at: support::START };
        // While the server is away, the operator tries again.
        while let Err(error) = self.revoker.replace(revoked.clone(), None).await {
            if error.kind() == StoreErrorKind::Conflict {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        let answered = Instant::now();
        let mut longest = Duration::ZERO;
        for hammer in hammers {
            let used = timeout(4 * MAX_AGE, hammer).await.expect("the revocation arrives").unwrap();
            longest =
                longest.max(used.map_or(Duration::ZERO, |used| used.saturating_duration_since(answered)));
        }
        longest
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.followers.iter().for_each(JoinHandle::abort);
    }
}

/// When the last lookup that found the key active began.
async fn hammer(node: CachedStore<PostgresStore>, id: KeyId, pause: Duration) -> Option<Instant> {
    let mut used = None;
    loop {
        let begun = Instant::now();
        match node.find(KeySelector::Id(&id)).await {
            Ok(found) if found.as_ref().is_some_and(|key| key.state == KeyState::Active) => {
                used = Some(begun)
            }
            Ok(_) => return used,
            // The request is rejected.
            Err(_) => {}
        }
        if pause.is_zero() { yield_now().await } else { sleep(pause).await }
    }
}

/// Over a channel that is up.
async fn one_at_a_time(servers: &Servers, channel: Channel, nodes: usize, keys: usize) -> Vec<Duration> {
    let nodes = Nodes::start(servers, channel, nodes, keys).await;
    let mut latencies = Vec::new();
    for key in &nodes.keys {
        for other in &nodes.others {
            other.find(KeySelector::Id(&key.id)).await.unwrap();
        }
        latencies.push(nodes.revoke(key, Duration::ZERO, Duration::ZERO).await);
    }
    latencies
}

/// The first key is revoked at the moment of the fault, the others before or after the fault is noticed.
async fn through(servers: &Servers, channel: Channel, nodes: usize, fault: Fault) -> Vec<Duration> {
    let nodes = Arc::new(Nodes::start(servers, channel, nodes, AT_ONCE).await);
    for key in &nodes.keys {
        for other in &nodes.others {
            other.find(KeySelector::Id(&key.id)).await.unwrap();
        }
    }
    // Until the store has confirmed what is held.
    sleep(Duration::from_millis(1_500)).await;
    let mut running = Vec::new();
    for (n, key) in nodes.keys.iter().cloned().enumerate() {
        let (nodes, revoke_after) = (nodes.clone(), MAX_AGE * n as u32 / AT_ONCE as u32);
        let pause = Duration::from_millis(5);
        running.push(tokio::spawn(async move { nodes.revoke(&key, revoke_after, pause).await }));
    }
    nodes.inflict(servers, fault).await;
    let mut latencies = Vec::new();
    for latency in running {
        latencies.push(latency.await.unwrap());
    }
    latencies
}

fn report(channel: Channel, nodes: usize, fault: Fault, latencies: &mut [Duration]) {
    latencies.sort();
    let nearest_rank = |percent: usize| latencies[(latencies.len() * percent).div_ceil(100) - 1];
    let figures =
        [50, 99, 100].map(|percent| format!("{:>9.3}", nearest_rank(percent).as_secs_f64() * 1000.0));
    println!("{channel:<10?} {fault:<10?} {nodes:>5} {:>5} | {}", latencies.len(), figures.join(" "));
    assert!(nearest_rank(100) <= MAX_AGE, "{channel:?}, {fault:?}: {latencies:?}");
    if fault == Fault::None && !matches!(channel, Channel::None) {
        assert!(nearest_rank(99) < Duration::from_millis(50), "{channel:?}: {latencies:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_reaches_the_other_nodes_within_the_bound() {
    let servers = Servers::start();
    println!("Milliseconds for which a key was still used after its revocation was answered");
    println!(
        "{:<10} {:<10} {:>5} {:>5} | {:>9} {:>9} {:>9}",
        "channel", "fault", "nodes", "keys", "p50", "p99", "max"
    );
    for channel in [Channel::Postgres, Channel::Redis] {
        for (nodes, keys) in [(2, 300), (8, 100)] {
            let mut latencies = one_at_a_time(&servers, channel, nodes, keys).await;
            report(channel, nodes, Fault::None, &mut latencies);
        }
    }
    // They mostly wait, so they run concurrently. What disturbs a server has one of its own.
    let faults = [
        (Channel::Postgres, 2, Fault::Cut),
        (Channel::Postgres, 8, Fault::BlackHole),
        (Channel::Postgres, 2, Fault::Restarted),
        (Channel::Redis, 2, Fault::Cut),
        (Channel::Redis, 2, Fault::BlackHole),
        (Channel::Redis, 8, Fault::RevokerCut),
        (Channel::Redis, 2, Fault::Frozen),
        (Channel::Redis, 2, Fault::Restarted),
        (Channel::None, 2, Fault::None),
    ];
    let servers = Arc::new(servers);
    let cases = faults.map(|(channel, nodes, fault)| {
        let shared = servers.clone();
        tokio::spawn(async move {
            let own = matches!(fault, Fault::Frozen | Fault::Restarted).then(Servers::start);
            through(own.as_ref().unwrap_or(&shared), channel, nodes, fault).await
        })
    });
    for ((channel, nodes, fault), latencies) in faults.into_iter().zip(cases) {
        report(channel, nodes, fault, &mut latencies.await.unwrap());
    }
}
