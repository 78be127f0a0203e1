//! Streams on one node end when another one revokes their key: two nodes share a PostgreSQL, behind caches or not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::manage::{KeyChange, KeyManager};
use tower_api_keys::store::{CachedStore, KeyAdministration, PostgresInvalidations, PostgresStore};
use tower_api_keys::{Authority, NewKey, Principal};

use crate::postgres_server as postgres;
use crate::support::*;

/// What a stream waits with.
enum Node {
    Followed,
    Cached,
    Bare,
}

/// How long the stream of a key on this node goes on after it was revoked elsewhere.
async fn latency(server: &postgres::Server, node: Node, runs_background: bool, delete: bool) -> Duration {
    let pool = server.database(4).await;
    let elsewhere = PostgresStore::new(pool.clone());
    elsewhere.migrate().await.unwrap();
    let elsewhere = KeyManager::new(elsewhere, format());
    let database = PostgresStore::new(pool.clone());
    let store: Arc<dyn KeyAdministration> = match node {
        Node::Followed => {
            let store = CachedStore::builder(database).follow(PostgresInvalidations::new(&pool)).build();
            Arc::new(store)
        }
        Node::Cached => Arc::new(CachedStore::new(database)),
        Node::Bare => Arc::new(database),
    };
    let keys = assembly(store).without_route_table().build().unwrap();
    let background = runs_background.then(|| tokio::spawn(keys.background()));
    let acme = Authority::operator(acme());
    let key = elsewhere.create(&acme, NewKey::new("stream")).await.unwrap();

    let caller = Arc::new(Mutex::new(None));
    let seen = caller.clone();
    let service = keys.authenticate().layer(service_fn(move |request: Request<()>| {
        *seen.lock().unwrap() = Principal::from_extensions(request.extensions()).cloned();
        whoami(request)
    }));
    let request = Request::builder().header(X_API_KEY, key.secret.expose_secret()).body(()).unwrap();
    service.oneshot(request).await.unwrap();
    let caller: Principal = caller.lock().unwrap().take().expect("an accepted request");
    let mut revoked = keys.manager().revoked(&caller);

    // The cache is warm, and a change of the name ends nothing.
    sleep(Duration::from_millis(2500)).await;
    let change = KeyChange::new().name("renamed");
    elsewhere.update(&acme, &key.key.id, change).await.unwrap();
    assert!(timeout(Duration::from_millis(1500), &mut revoked).await.is_err(), "the key is good");
    let start = Instant::now();
    match delete {
        true => elsewhere.delete(&acme, &key.key.id).await.unwrap(),
        false => drop(elsewhere.revoke(&acme, &key.key.id).await.unwrap()),
    }
    timeout(Duration::from_secs(30), revoked).await.expect("the stream ends");
    if let Some(background) = background {
        background.abort();
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_elsewhere_ends_streams_within_the_bound_of_the_store() {
    let server = postgres::Server::start();
    let case = |node, background, delete| latency(&server, node, background, delete);
    let mut late = Vec::new();
    // A machine that is busy may be late once, and again.
    for _ in 0..3 {
        let (followed, deleted, cached, alone, bare, bare_alone) = tokio::join!(
            case(Node::Followed, true, false),
            case(Node::Followed, true, true),
            case(Node::Cached, true, false),
            case(Node::Cached, false, true),
            case(Node::Bare, true, false),
            case(Node::Bare, false, true),
        );
        // As documented, and a second for the machine.
        let bounds = [(followed, 2), (deleted, 2), (cached, 7), (alone, 7), (bare, 6), (bare_alone, 6)];
        println!("followed, cached and bare, each twice, with their bounds: {bounds:.1?}");
        late =
            bounds.into_iter().filter(|(latency, bound)| *latency >= Duration::from_secs(*bound)).collect();
        if late.is_empty() {
            return;
        }
    }
    panic!("three times in a row: {late:?}");
}
