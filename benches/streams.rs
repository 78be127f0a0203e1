//! Ten thousand streams that wait for the end of their keys: what each takes in memory, what `revoked()` costs, what the
//! waiting costs, and how soon the last one knows.
//!
//! `cargo bench --bench streams`. With `-- --test` there are few streams, and the figures mean little.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use cpu_time::ProcessTime;
use http::{Request, Response};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::manage::CreatedKey;
use tower_api_keys::stream::Revoked;
use tower_api_keys::{ApiKeys, Authority, KeyFormat, MemoryStore, NewKey, Principal};

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (streams, rounds) = if is_test { (100, 1) } else { (10_000, 11) };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_").unwrap())
        .header("x-api-key")
        .without_route_table()
        .manage_with(|manager| manager.with_max_keys(u64::MAX))
        .build()
        .unwrap();
    let background = runtime.spawn(keys.background());

    let (_, caller) = runtime.block_on(key(&keys));
    let others: Vec<Principal> = runtime.block_on(async {
        let mut callers = Vec::new();
        for _ in 0..streams {
            callers.push(self::key(&keys).await.1);
        }
        callers
    });
    println!("{streams} streams:");
    let mut waiting = Vec::with_capacity(streams);
    bytes("a stream, all of one key", streams, &mut waiting, |_| keys.manager().revoked(&caller));
    drop(waiting);
    let mut waiting = Vec::with_capacity(streams);
    bytes("a stream and its key, each of its own", streams, &mut waiting, |n| {
        keys.manager().revoked(&others[n])
    });

    let again = if is_test { 10 } else { 1_000_000 };
    let start = Instant::now();
    for _ in 0..again {
        assert!(poll(&mut black_box(keys.manager().revoked(&others[0]))).is_pending());
    }
    row("revoked(), polled and dropped", start.elapsed() / again);

    let watched = if is_test { Duration::from_millis(10) } else { Duration::from_secs(10) };
    let start = ProcessTime::now();
    std::thread::sleep(watched);
    row("processor time a second, each of its own key", start.elapsed() / watched.as_secs().max(1) as u32);
    drop(waiting);

    let mut last: Vec<Duration> = (0..rounds).map(|_| notified(&runtime, &keys, streams)).collect();
    last.sort_unstable();
    row("from revoke() to the last stream, median", last[last.len() / 2]);
    row("… and the longest of all rounds", last[last.len() - 1]);
    background.abort();
}

/// Revokes a key that so many tasks wait for.
fn notified(runtime: &Runtime, keys: &ApiKeys, streams: usize) -> Duration {
    runtime.block_on(async {
        let (key, caller) = key(keys).await;
        let mut tasks = JoinSet::new();
        for _ in 0..streams {
            let mut revoked = keys.manager().revoked(&caller);
            assert!(poll(&mut revoked).is_pending());
            tasks.spawn(async move {
                revoked.await;
                Instant::now()
            });
        }
        // All of them wait by then.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let owner = key.key.owner.clone();
        let start = Instant::now();
        keys.manager().revoke(&Authority::operator(owner), &key.key.id).await.unwrap();
        let ends = tasks.join_all().await;
        ends.into_iter().max().unwrap() - start
    })
}

/// A new key, and the caller of a request with it.
async fn key(keys: &ApiKeys) -> (CreatedKey, Principal) {
    let key = keys.manager().create_for("org_1", NewKey::new("stream")).await.unwrap();
    let service =
        ServiceBuilder::new().layer(keys.authenticate()).service(service_fn(async |request: Request<()>| {
            let mut response = Response::new(bytes::Bytes::new());
            response
                .extensions_mut()
                .insert(Principal::from_extensions(request.extensions()).unwrap().clone());
            Ok::<_, Infallible>(response)
        }));
    let request = Request::builder().header("x-api-key", key.secret.expose_secret()).body(()).unwrap();
    let caller = service.oneshot(request).await.unwrap().extensions_mut().remove().unwrap();
    (key, caller)
}

fn poll(revoked: &mut Revoked) -> Poll<()> {
    Pin::new(revoked).poll(&mut Context::from_waker(Waker::noop()))
}

fn bytes(name: &str, streams: usize, waiting: &mut Vec<Revoked>, make: impl Fn(usize) -> Revoked) {
    let requested = measure(|| {
        for number in 0..streams {
            let mut revoked = make(number);
            assert!(poll(&mut revoked).is_pending());
            waiting.push(revoked);
        }
    });
    let bytes = requested.bytes_current as usize / streams + size_of::<Revoked>();
    println!("{name:<60} {bytes:>8} bytes");
}

fn row(name: &str, time: Duration) {
    println!("{name:<60} {:>8.2} µs", time.as_secs_f64() * 1e6);
}
