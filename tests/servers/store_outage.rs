//! Many clients while PostgreSQL is silent: requests are rejected at once, and nothing piles up.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use sqlx::postgres::PgPoolOptions;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_api_keys::store::PostgresStore;
use tower_api_keys::{ApiKeys, KeyFormat, NewKey};

use crate::postgres_server::Server;
use crate::proxy::Proxy;
use crate::support::{in_own_process, whoami};

const CLIENTS: u32 = 3_000;
const CONNECTIONS: u32 = 10;
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(12);
/// From when on the breaker is open: a deadline, and some time for a busy machine.
const OPEN_AFTER: Duration = Duration::from_millis(1_500);

/// Bytes of memory that this process uses.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn requests_are_rejected_at_once_while_the_store_is_silent_and_accepted_once_it_answers() {
    in_own_process(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(outage());
    });
}

/// A request that was answered.
struct Answered {
    began: Instant,
    took: Duration,
    status: StatusCode,
}

async fn outage() {
    let server = Server::start();
    let direct = server.database(2).await;
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).await;
    let options = (*direct.connect_options()).clone().port(proxy.address().port());
    let store =
        PostgresStore::new(PgPoolOptions::new().max_connections(CONNECTIONS).connect_lazy_with(options));
    store.migrate().await.unwrap();
    let keys = ApiKeys::builder(store, KeyFormat::new("acme_").unwrap())
        .header("x-api-key")
        .without_route_table()
        .build()
        .unwrap();
    let key = keys.manager().create_for("acme", NewKey::new("First key")).await.unwrap();
    let key: Arc<str> = key.secret.expose_secret().into();

    let answered = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (key, answered) = (key.clone(), answered.clone());
            let mut service = keys.layer().layer(service_fn(whoami::<()>));
            tokio::spawn(async move {
                sleep(PAUSE * number / CLIENTS).await;
                loop {
                    let request = Request::builder().header("x-api-key", &*key).body(()).unwrap();
                    let began = Instant::now();
                    let response = service.ready().await.unwrap().call(request).await.unwrap();
                    let (took, status) = (began.elapsed(), response.status());
                    answered.lock().unwrap().push(Answered { began, took, status });
                    sleep(PAUSE).await;
                }
            })
        })
        .collect();
    sleep(PAUSE + Duration::from_secs(1)).await;
    let before = answered.lock().unwrap().iter().filter(|one| one.status == StatusCode::OK).count();
    assert!(before > 1_000, "{before} requests were accepted before");

    let memory = resident();
    let (mut most, mut attempts) = (0, 0);
    let silent = Instant::now();
    server.freeze();
    while silent.elapsed() < SILENCE {
        let accepted = proxy.accepted();
        sleep(Duration::from_secs(1)).await;
        attempts = attempts.max(proxy.accepted() - accepted);
        most = most.max(resident());
    }
    server.thaw();
    let back = Instant::now();
    sleep(Duration::from_secs(4)).await;
    clients.iter().for_each(tokio::task::JoinHandle::abort);

    let answered = answered.lock().unwrap();
    let during = |one: &&Answered| one.began > silent + OPEN_AFTER && one.began + one.took < back;
    let mut refused: Vec<_> = answered.iter().filter(during).collect();
    // One a second waits for its deadline: it tries the store.
    refused.sort_by_key(|one| one.took);
    let p99 = refused[refused.len() * 99 / 100].took;
    let good = answered.iter().filter(|one| one.status == StatusCode::OK && one.began + one.took > back);
    let first_good = good.map(|one| (one.began + one.took) - back).min().expect("the store answers again");
    let grown = most.saturating_sub(memory);
    println!(
        "{} refused: 99 % within {p99:?}; {} KiB more memory; at most {attempts} connections a second; accepted again \
         after {first_good:?}",
        refused.len(),
        grown / 1024,
    );
    let accepted = refused.iter().filter(|one| one.status != StatusCode::SERVICE_UNAVAILABLE).count();
    assert!(refused.len() > 2_000 && accepted == 0, "{} answered, {accepted} accepted", refused.len());
    assert!(p99 < Duration::from_millis(50), "{p99:?}");
    assert!(grown <= 20 << 20, "{grown} bytes");
    assert!(attempts <= CONNECTIONS as usize + 1, "{attempts}");
    assert!(first_good < Duration::from_secs(2), "{first_good:?}");
    let later = answered.iter().filter(|one| one.began > back + Duration::from_secs(2));
    let (good, bad): (Vec<_>, Vec<_>) = later.partition(|one| one.status == StatusCode::OK);
    // On a busy machine the server may be slower than its clients.
    assert!(good.len() > 100 && bad.len() <= good.len() / 10, "{} good, {} bad", good.len(), bad.len());
}
