//! A user of Redis that may do what the documentation of the limiter says, and nothing else.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use redis::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, service_fn};
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::limit::{OnFailure, RedisConnection, RedisRateLimiter, Subject};
use tower_api_keys::store::{Invalidation, InvalidationSink, InvalidationSource, RedisInvalidation};
use tower_api_keys::{Quota, RateLimit};

use crate::redis_server::RedisServer;
use crate::support::{KEY, X_API_KEY, assembly, record, store};

pub(crate) const SET_USER: &str = include_str!("../../src/limit/redis/acl.txt");
const MILLISECOND: Duration = Duration::from_millis(1);

fn words() -> impl Iterator<Item = &'static str> {
    SET_USER.split_whitespace()
}

#[tokio::test]
async fn the_documented_user_is_enough_and_none_of_its_rights_is_too_much() {
    assert_eq!(work_as_user(words().collect()).await, Ok(()));
    let mut tries = JoinSet::new();
    for right in words().filter(|word| word.starts_with(['+', '~', '&'])) {
        let others = words().filter(|word| *word != right).collect();
        tries.spawn(async move { (right, work_as_user(others).await) });
    }
    assert_eq!(tries.len(), 15);
    while let Some(tried) = tries.join_next().await {
        let (right, worked) = tried.unwrap();
        assert!(worked.is_err(), "without {right}");
    }
}

async fn work_as_user(set_user: Vec<&'static str>) -> Result<(), String> {
    let server = RedisServer::start();
    let _: () = server.run(&set_user);
    let url = server.url().replace("redis://", "redis://app:password@");
    limit(&url, &server).await.map_err(|problem| format!("limits: {problem}"))?;
    publish(&url).await.map_err(|problem| format!("channel: {problem}"))?;
    let denied: Vec<Value> = server.run(&["ACL", "LOG"]);
    if denied.is_empty() { Ok(()) } else { Err(format!("denied: {denied:?}")) }
}

/// Everything that limiters do.
async fn limit(url: &str, server: &RedisServer) -> Result<(), String> {
    let connection = || {
        let connection = RedisConnection::open(url).unwrap().with_prefix("acme");
        connection.with_on_failure(OnFailure::Closed).with_deadline(Duration::from_secs(10))
    };
    let quotas = [Quota::per_minute(100).unwrap()];
    for connection in [connection(), connection().with_leases()] {
        let limiter = RedisRateLimiter::new("all", &quotas, SystemClock.now(), connection).unwrap();
        let checked = limiter.check(&Subject::other("a"), None, 1, SystemClock.now()).await;
        let (_, permit) = checked.map_err(|error| error.to_string())?;
        limiter.refund(permit.unwrap()).await;
        if limiter.status().failures > 0 {
            return Err("not taken back".into());
        }
    }

    let limits = [
        RateLimit::per_key("all", quotas[0]).charged(),
        RateLimit::per_key("at a time", Quota::concurrent(1).unwrap()),
    ];
    let keys = assembly(store([record(KEY, |_| {})]).await).without_route_table().limits(limits);
    let keys = keys.shared_limits(connection(), "acme").build().unwrap();
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::new())));
    let request = Request::builder().header(X_API_KEY, KEY).body(()).unwrap();
    let response = keys.layer().layer(handler).call(request).await.unwrap();
    if response.status() != 200 {
        return Err(response.status().to_string());
    }
    drop(response);
    let subject = Subject::Key(record(KEY, |_| {}).id);
    keys.forget(&subject).await.map_err(|error| error.to_string())?;
    // What was under way is over.
    let is_over = async {
        while server.run::<Vec<String>>(&["KEYS", "acme:*concurrent*"]) != [""; 0] {
            sleep(5 * MILLISECOND).await
        }
    };
    timeout(500 * MILLISECOND, is_over).await.map_err(|_| "still under way".into())
}

async fn publish(url: &str) -> Result<(), String> {
    let redis = RedisInvalidation::open(url).unwrap();
    let mut source = redis.source();
    let connected = timeout(500 * MILLISECOND, source.next()).await;
    connected.map_err(|_| "not subscribed")?;
    // It pings after a second of silence.
    if let Ok(event) = timeout(1_500 * MILLISECOND, source.next()).await {
        return Err(format!("{event:?}"));
    }
    redis.publish(&"k".parse().unwrap()).await.map_err(|error| format!("{error:?}"))?;
    let heard = timeout(500 * MILLISECOND, source.next()).await;
    heard
        .is_ok_and(|heard| heard == Invalidation::Key("k".parse().unwrap()))
        .then_some(())
        .ok_or("not heard".into())
}
