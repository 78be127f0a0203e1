//! The list of the key page over ten thousand keys: how long its first byte takes, in each store, for staff and for a customer.
//!
//! `cargo bench --all-features --bench console`. Starts a PostgreSQL server of its own, and keeps SQLite's file in the temporary
//! directory. Wall time from the request to the response, whose body is whole by then. With `-- --test` there are few keys, and the
//! figures mean little.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

#[path = "../tests/support/postgres.rs"]
mod postgres;

use std::time::{Duration, Instant};
use std::{env, fs, process};

use axum::Router;
use axum::body::Body;
use http::Request;
use tokio::runtime::Builder;
use tower::ServiceExt;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::console::Console;
use tower_api_keys::key::{KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::store::{KeyAdministration, MemoryStore, PostgresStore, SqliteStore};
use tower_api_keys::{ApiKeys, Authority, KeyFormat};

const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

fn main() {
    let is_test = env::args().any(|argument| argument == "--test");
    let (keys, rounds) = if is_test { (100, 2) } else { (10_000, 100) };
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("{keys} keys, median and worst of {rounds}, ms:");
        measure("memory", MemoryStore::new(), keys, rounds).await;
        let file = env::temp_dir().join(format!("tower-api-keys-bench-{}.db", process::id()));
        measure("SQLite", SqliteStore::open(&file).await.unwrap(), keys, rounds).await;
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{ending}", file.display()));
        }
        let server = postgres::Server::start();
        let store = PostgresStore::new(server.database(4).await);
        store.migrate().await.unwrap();
        measure("PostgreSQL", store, keys, rounds).await;
    });
}

fn organization(name: &str) -> Owner {
    Owner::organization(name.parse().unwrap(), Mode::Live)
}

/// Half of the keys are of one customer, and the others of a hundred.
async fn measure(name: &str, store: impl KeyAdministration + Clone, keys: u32, rounds: usize) {
    for number in 0..keys {
        let digest = Peppers::none().digest(&format!("acme_{number:032}"));
        let owner = if number % 2 == 0 { "acme".to_owned() } else { format!("org_{}", number % 100) };
        let made = START.saturating_add(Duration::from_secs(number.into()));
        let mut record =
            KeyRecord::new(format!("{number:016}").parse().unwrap(), organization(&owner), digest, made);
        record.name = format!("Machine {number}").into();
        store.insert(record, None).await.unwrap();
    }
    let keys = ApiKeys::builder(store, KeyFormat::new("acme_").unwrap()).bearer().without_route_table();
    let keys = keys.count_usage().build().unwrap();
    let staff = Console::new(&keys, |_| Some(Authority::operator(Owner::system(Mode::Live))));
    let staff = staff.for_staff().into_router();
    let customer = keys.console_for(|_| Some(Authority::operator(organization("acme"))));
    for (who, page) in [("staff", staff), ("customer", customer)] {
        for (what, query) in [("first page", ""), ("filtered", "?name=Machine%2099&state=active&unused=30")] {
            let mut times = Vec::new();
            for _ in 0..rounds {
                times.push(time(&page, query).await);
            }
            times.sort();
            let [median, worst] =
                [times[rounds / 2], times[rounds - 1]].map(|time| time.as_secs_f64() * 1000.0);
            println!("{name}, {who}, {what}: {median:.1}, {worst:.1}");
        }
    }
}

async fn time(page: &Router, query: &str) -> Duration {
    let request =
        Request::get(format!("/{query}")).header("host", "acme.example").body(Body::empty()).unwrap();
    let start = Instant::now();
    let response = page.clone().oneshot(request).await.unwrap();
    let time = start.elapsed();
    let page = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert!(page.windows(8).any(|text| text == b"Machine "), "a page without a key");
    time
}
