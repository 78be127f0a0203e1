//! How long a revoked key still works on another node: one node revokes, the other looks the key up continuously. Two
//! nodes are two caches in front of PostgreSQL, with separate pools, that follow changes through PostgreSQL or Redis.
//!
//! `cargo test --release --all-features --test servers revocation_latency:: -- --nocapture` prints the figures.
//! Servers, proxy and nodes run on one machine, so a network adds its own time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::key::{KeyId, KeyRecord, KeyState};
use tower_api_keys::store::{
    CachedStore, KeyAdministration, KeySelector, KeyStore, PostgresInvalidations, PostgresStore,
    RedisInvalidation, StoreError,
};

use crate::proxy::Proxy;
use crate::support::{self, record};
use crate::{postgres_server as postgres, redis_server as redis};

/// The default validity of a record without a channel.
const MAX_AGE: Duration = Duration::from_secs(5);
/// Revoked one at a time, over a channel that is up.
const BY_ONES: usize = 500;
/// Revoked at regular intervals within [`MAX_AGE`], while all of them are used.
const AT_ONCE: usize = 20;

#[derive(Clone, Copy, Debug)]
enum Channel {
    Postgres,
    Redis,
    None,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Its connections are closed, and no new one is made.
    Cut,
    /// It drops all packets.
    BlackHole,
}

/// How long a lookup still found the key active, from the start and from the end of its revocation.
#[derive(Clone, Copy, Debug)]
struct Latency {
    of_asking: Duration,
    of_answer: Duration,
}

struct Servers {
    postgres: postgres::Server,
    redis: redis::RedisServer,
}

/// Two nodes with the same keys, of which `b` follows a channel through a proxy.
struct Nodes {
    a: CachedStore<PostgresStore>,
    b: CachedStore<PostgresStore>,
    proxy: Proxy,
    follower: Option<JoinHandle<()>>,
    keys: Vec<KeyRecord>,
}

impl Nodes {
    async fn start(servers: &Servers, channel: Channel, keys: usize) -> Self {
        let pool = servers.postgres.database(4).await;
        let store = PostgresStore::new(pool.clone());
        store.migrate().await.unwrap();
        let keys: Vec<_> = (0..keys).map(|n| record(&format!("key {n}"), |_| {})).collect();
        for key in &keys {
            store.insert(key.clone(), None).await.unwrap();
        }
        let options = pool.connect_options();
        let own_pool = sqlx::postgres::PgPoolOptions::new().connect_lazy_with((*options).clone());

        let database = options.get_database().unwrap();
        let redis = |address| RedisInvalidation::open(&redis::url(address)).unwrap().channel(database);
        let mut a = CachedStore::builder(store);
        let b = CachedStore::new(PostgresStore::new(own_pool));
        let proxy = Proxy::start(match channel {
            Channel::Redis => servers.redis.address(),
            Channel::Postgres | Channel::None => SocketAddr::from(([127, 0, 0, 1], servers.postgres.port())),
        })
        .await;
        let follower = match channel {
            Channel::Postgres => {
                let options = (*options).clone().port(proxy.address().port());
                Some(tokio::spawn(b.follow(PostgresInvalidations::connecting_with(options))))
            }
            Channel::Redis => {
                a = a.publish_to(redis(servers.redis.address()));
                Some(tokio::spawn(b.follow(redis(proxy.address()).source())))
            }
            Channel::None => None,
        };
        while follower.is_some() && !b.is_connected() {
            sleep(Duration::from_millis(1)).await;
        }
        Self { a: a.build(), b, proxy, follower, keys }
    }

    fn inflict(&self, fault: Fault) {
        match fault {
            Fault::None => {}
            Fault::Cut => self.proxy.shut(),
            Fault::BlackHole => self.proxy.black_hole(),
        }
    }

    /// Revokes a key on one node while the other looks it up continuously.
    async fn revoke(&self, mut key: KeyRecord, after: Duration) -> Latency {
        assert!(is_active(self.b.find(KeySelector::Id(&key.id)).await));
        let hammer = tokio::spawn(hammer(self.b.clone(), key.id));
        sleep(after).await;
        key.state = KeyState::Revoked { at: support::START };
        let asked = SystemClock.now().monotonic();
        self.a.replace(key, None).await.unwrap();
        let answered = SystemClock.now().monotonic();
        let used = timeout(4 * MAX_AGE, hammer).await.expect("the revocation arrives").unwrap();
        Latency { of_asking: used.saturating_sub(asked), of_answer: used.saturating_sub(answered) }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.follower.iter().for_each(JoinHandle::abort);
    }
}

fn is_active(found: Result<Option<Arc<KeyRecord>>, StoreError>) -> bool {
    found.unwrap().expect("there is such a key").state == KeyState::Active
}

/// When the last lookup that found the key active began.
async fn hammer(node: CachedStore<PostgresStore>, id: KeyId) -> Duration {
    let mut used = Duration::ZERO;
    loop {
        let begun = SystemClock.now().monotonic();
        if !is_active(node.find(KeySelector::Id(&id)).await) {
            return used;
        }
        used = begun;
        yield_now().await;
    }
}

/// Over a channel that is up.
async fn one_at_a_time(servers: &Servers, channel: Channel) -> Vec<Latency> {
    let nodes = Nodes::start(servers, channel, BY_ONES).await;
    let mut latencies = Vec::new();
    for key in nodes.keys.clone() {
        latencies.push(nodes.revoke(key, Duration::ZERO).await);
    }
    latencies
}

/// The first key is revoked at the moment of the fault, the others before or after the fault is noticed.
async fn through(servers: &Servers, channel: Channel, fault: Fault) -> Vec<Latency> {
    let nodes = Arc::new(Nodes::start(servers, channel, AT_ONCE).await);
    for key in &nodes.keys {
        assert!(is_active(nodes.b.find(KeySelector::Id(&key.id)).await));
    }
    nodes.inflict(fault);
    let mut running = Vec::new();
    for (n, key) in nodes.keys.iter().cloned().enumerate() {
        let (nodes, revoke_after) = (nodes.clone(), MAX_AGE * n as u32 / AT_ONCE as u32);
        running.push(tokio::spawn(async move { nodes.revoke(key, revoke_after).await }));
    }
    let mut latencies = Vec::new();
    for latency in running {
        latencies.push(latency.await.unwrap());
    }
    latencies
}

/// The bound of every row is that of the documentation of `CachedStore`, to the nanosecond: the age of a record
/// counts from before the revocation.
fn report(channel: Channel, fault: Fault, latencies: &[Latency]) {
    print!("{:<10} {:<10} {:>5} |", format!("{channel:?}"), format!("{fault:?}"), latencies.len());
    for of in [|latency: &Latency| latency.of_asking, |latency: &Latency| latency.of_answer] {
        let mut sorted: Vec<_> = latencies.iter().map(of).collect();
        sorted.sort();
        for percent in [50, 99, 100] {
            let nearest_rank = sorted[(sorted.len() * percent).div_ceil(100) - 1];
            print!(" {:>9.3}", nearest_rank.as_secs_f64() * 1000.0);
        }
        print!(" |");
    }
    println!();
    let is_bounded = |latency: &Latency| latency.of_answer <= MAX_AGE;
    assert!(latencies.iter().all(is_bounded), "{channel:?}, {fault:?}: {latencies:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_reaches_the_other_node_within_the_bound() {
    let servers = Servers { postgres: postgres::Server::start(), redis: redis::RedisServer::start() };
    println!("Milliseconds for which a key was still used after its revocation was asked for | was answered");
    let columns = format!("{:>10} {:>9} {:>9} |", "p50", "p99", "maximum");
    println!("{:<10} {:<10} {:>5} |{columns}{columns}", "channel", "fault", "keys");
    for channel in [Channel::Postgres, Channel::Redis] {
        report(channel, Fault::None, &one_at_a_time(&servers, channel).await);
    }
    // They mostly wait, so they run concurrently.
    let of = |channel, fault| through(&servers, channel, fault);
    let (postgres_cut, postgres_silent, redis_cut, redis_silent, none) = tokio::join!(
        of(Channel::Postgres, Fault::Cut),
        of(Channel::Postgres, Fault::BlackHole),
        of(Channel::Redis, Fault::Cut),
        of(Channel::Redis, Fault::BlackHole),
        of(Channel::None, Fault::None),
    );
    report(Channel::Postgres, Fault::Cut, &postgres_cut);
    report(Channel::Postgres, Fault::BlackHole, &postgres_silent);
    report(Channel::Redis, Fault::Cut, &redis_cut);
    report(Channel::Redis, Fault::BlackHole, &redis_silent);
    report(Channel::None, Fault::None, &none);
}
