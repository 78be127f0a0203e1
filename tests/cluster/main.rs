//! Limits and the channel in a Redis Cluster of three nodes, which the tests start.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/redis.rs"]
mod redis_server;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use redis::cluster::ClusterClient;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::key::Mode;
use tower_api_keys::limit::{OnFailure, RedisConnection, RedisRateLimiter, Subject};
use tower_api_keys::store::{Invalidation, InvalidationSink, InvalidationSource, RedisInvalidation};
use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, NewKey, Quota, RateLimit};

use crate::redis_server::{RedisServer, free_port};

const LIMIT: u32 = 3;
const SECOND: Duration = Duration::from_secs(1);

struct Cluster([RedisServer; 3]);

impl Cluster {
    fn start() -> Self {
        let nodes = [(); 3].map(|()| {
            let port = free_port().to_string();
            let node = RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-port", &port]);
            (node, port)
        });
        let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for ((node, _), (first, last)) in nodes.iter().zip(slots) {
            let _: () = node.run(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
            for (other, port) in &nodes {
                let address = other.address();
                let (host, other_port) = (address.ip().to_string(), address.port().to_string());
                let _: () = node.run(&["CLUSTER", "MEET", &host, &other_port, port]);
            }
        }
        let cluster = Self(nodes.map(|(node, _)| node));
        let deadline = Instant::now() + 30 * SECOND;
        let is_up = |node: &RedisServer| {
            let information: String = node.run(&["CLUSTER", "INFO"]);
            information.contains("cluster_state:ok") && information.contains("cluster_known_nodes:3")
        };
        while !cluster.0.iter().all(is_up) {
            assert!(Instant::now() < deadline, "the nodes know each other");
            sleep(Duration::from_millis(20));
        }
        cluster
    }

    async fn connection(&self) -> RedisConnection {
        let client = ClusterClient::new(self.0.iter().map(RedisServer::url).collect::<Vec<_>>()).unwrap();
        let connection = client.get_async_connection().await.unwrap();
        RedisConnection::from_connection(connection)
            .with_deadline(10 * SECOND)
            .with_on_failure(OnFailure::Closed)
    }
}

fn limiter(connection: RedisConnection) -> RedisRateLimiter {
    RedisRateLimiter::new("all", &[Quota::per_minute(LIMIT).unwrap()], SystemClock.now(), connection).unwrap()
}

#[tokio::test]
async fn each_subject_has_its_limit_on_one_of_the_nodes() {
    let cluster = Cluster::start();
    for connection in [cluster.connection().await, cluster.connection().await.with_leases()] {
        let processes = [limiter(connection), limiter(cluster.connection().await)];
        let mut requests = JoinSet::new();
        for number in 0..60 {
            let processes = processes.clone();
            requests.spawn(async move {
                let subject = Subject::other(format!("{number}"));
                let mut admitted = 0;
                for limiter in processes.iter().cycle().take(6) {
                    let (decision, permit) =
                        limiter.check(&subject, None, 1, SystemClock.now()).await.unwrap();
                    assert!(!decision.is_degraded());
                    admitted += u32::from(permit.is_some());
                }
                admitted
            });
        }
        assert_eq!(requests.join_all().await, [LIMIT; 60]);
    }
    for node in &cluster.0 {
        let keys: u64 = node.run(&["DBSIZE"]);
        assert!(keys > 10, "{keys}");
    }
}

#[tokio::test]
async fn limits_on_different_nodes_count_a_request_all_or_none() {
    let cluster = Cluster::start();
    let per_minute = |limit| Quota::per_minute(limit).unwrap();
    let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_").unwrap())
        .header("x-api-key")
        .without_route_table()
        .shared_limits(cluster.connection().await, "acme")
        .limits([
            RateLimit::per_organization("organization", per_minute(LIMIT + 1)),
            RateLimit::per_key("key", per_minute(LIMIT)),
            RateLimit::per_key("other", per_minute(100)).charged(),
            RateLimit::per_key("at a time", Quota::concurrent(1).unwrap()),
        ])
        .build()
        .unwrap();
    let mut secrets = Vec::new();
    for name in ["one", "two"] {
        let key = keys.manager().create_for("acme", NewKey::new(name)).await.unwrap();
        secrets.push(key.secret.expose_secret().to_owned());
    }
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::new())));
    let stack = keys.layer().layer(handler);
    let send = async |key: &str| {
        let request = Request::builder().header("x-api-key", key).body(()).unwrap();
        let response = stack.clone().oneshot(request).await.unwrap();
        response.status().as_u16()
    };
    // What is refused, and what was under way, is given back soon after the response.
    let until = async |key: &str, expected: u16| {
        let answered = async {
            while send(key).await != expected {
                tokio::time::sleep(SECOND / 100).await;
            }
        };
        timeout(10 * SECOND, answered).await.unwrap_or_else(|_| panic!("never {expected}"));
    };
    for expected in [200, 200, 200, 429] {
        until(&secrets[0], expected).await;
    }
    // What the limit of one key has refused, that of the organization has not counted.
    for expected in [200, 429] {
        until(&secrets[1], expected).await;
    }
    for node in &cluster.0 {
        let _: () = node.run(&["SCRIPT", "FLUSH"]);
    }
    keys.forget(&Subject::organization(&"acme".parse().unwrap(), Mode::Live)).await.unwrap();
    until(&secrets[1], 200).await;
}

#[tokio::test]
async fn news_published_at_one_node_arrive_at_another() {
    let cluster = Cluster::start();
    let [one, other, _] = cluster.0.each_ref().map(|node| RedisInvalidation::open(&node.url()).unwrap());
    let mut source = one.source();
    let mut next = async || timeout(10 * SECOND, source.next()).await.unwrap();
    assert_eq!(next().await, Invalidation::Connected);
    other.publish(&"k".parse().unwrap()).await.unwrap();
    assert_eq!(next().await, Invalidation::Key("k".parse().unwrap()));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_to_do_about_the_url_of_one_node_is_in_the_log() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let cluster = Cluster::start();
    let limiter = limiter(RedisConnection::open(&cluster.0[0].url()).unwrap().with_deadline(10 * SECOND));
    for number in 0..10 {
        limiter.check(&Subject::other(format!("{number}")), None, 1, SystemClock.now()).await.unwrap();
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("part of a Redis Cluster: `from_connection` takes a `ClusterConnection`"), "{log}");
}
