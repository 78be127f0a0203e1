//! Usage of keys while processes are killed, answers are lost and the database is silent.

use std::env;
use std::io::{BufRead, BufReader, Write, stdout};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, PgPool};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_api_keys::clock::Timestamp;
use tower_api_keys::manage::KeyManager;
use tower_api_keys::store::{KeyAdministration, PostgresStore, StoreError, StoreErrorKind, UsageLog};
use tower_api_keys::usage::{Usage, UsageBatch, UsageBucket, UsageGroup, UsageOutcome, UsageQuery};
use tower_api_keys::{ApiKeys, MemoryStore};

use crate::postgres_server::Server;
use crate::support::{Answers, KEY, TestStore, assembly, format, record, request};

const KEYS: u64 = 10_000;
/// What each of two processes sends, or would send.
const REQUESTS: u64 = 500_000;
/// After so many requests a process says how many it has sent.
const STEP: u64 = 5_000;
/// With so many keys a process writes each second, and a write on a busy machine takes some time.
const LOST_AT_MOST: Duration = Duration::from_secs(6);

/// A usage log whose every third answer is lost, after the batch was added.
struct Unsure {
    log: PostgresStore,
    calls: AtomicU64,
}

#[async_trait]
impl UsageLog for Unsure {
    async fn add(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        UsageLog::add(&self.log, batch).await?;
        match self.calls.fetch_add(1, Ordering::Relaxed) % 3 {
            2 => Err(StoreError::new(StoreErrorKind::Unavailable).with_source("the answer was lost")),
            _ => Ok(()),
        }
    }

    async fn read(&self, query: &UsageQuery, limit: usize) -> Result<Usage, StoreError> {
        self.log.read(query, limit).await
    }

    async fn prune(&self, hours_before: Timestamp, days_before: Timestamp) -> Result<bool, StoreError> {
        self.log.prune(hours_before, days_before).await
    }
}

/// Keys in memory, whose usage is kept in `log`.
async fn counting(keys: MemoryStore, log: impl UsageLog + 'static) -> ApiKeys {
    let store = TestStore { usage: Some(Arc::new(log)), ..TestStore::new(keys, Answers::AtOnce) };
    assembly(store).without_route_table().count_usage().build().unwrap()
}

fn secret(number: u64) -> String {
    format!("wfk_{number:032}")
}

/// Another process runs this, with the variable that [`start`] sets. In this one it does nothing. It uses all keys in turn; all
/// its requests are answered with one status. Then it ends as a server should.
#[test]
fn caller() {
    let (Ok(url), Ok(status)) = (env::var("USAGE_STORE"), env::var("USAGE_STATUS")) else { return };
    let status: StatusCode = status.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let keys = MemoryStore::new();
        for number in 0..KEYS {
            keys.insert(record(&secret(number), |_| {}), None).await.unwrap();
        }
        let log = PostgresStore::new(PgPool::connect(&url).await.unwrap());
        let keys = counting(keys, Unsure { log, calls: AtomicU64::new(0) }).await;
        let background = tokio::spawn(keys.background());
        let mut service = keys.layer().layer(service_fn(move |_: Request<()>| async move {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = status;
            Ok::<_, std::convert::Infallible>(response)
        }));
        let secrets: Vec<http::HeaderValue> =
            (0..KEYS).map(|number| secret(number).parse().unwrap()).collect();
        for number in 0..REQUESTS {
            let mut request = Request::new(());
            request.headers_mut().insert("x-api-key", secrets[(number % KEYS) as usize].clone());
            assert_eq!(service.call(request).await.unwrap().status(), status);
            if (number + 1) % STEP == 0 {
                writeln!(stdout(), "sent {}", number + 1).unwrap();
                tokio::task::yield_now().await;
            }
        }
        background.abort();
        // A lost answer is an error here, too; what it was about is sent again.
        for _ in 0..3 {
            if keys.flush().await.is_ok() {
                writeln!(stdout(), "flushed").unwrap();
                return;
            }
        }
    });
}

/// The reports of a process, each with its time, until it has sent so many requests and is killed then; or until it ends.
fn run(url: &str, status: u16, killed_after: Option<u64>) -> (Vec<(Instant, u64)>, bool) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["usage_processes::caller", "--exact", "--nocapture"])
        .env("USAGE_STORE", url)
        .env("USAGE_STATUS", status.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut sent, mut is_flushed) = (Vec::new(), false);
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        is_flushed |= line == "flushed";
        if let Some(number) = line.strip_prefix("sent ") {
            let number = number.parse().unwrap();
            sent.push((Instant::now(), number));
            if killed_after.is_some_and(|end| number >= end) {
                child.kill().unwrap();
            }
        }
    }
    assert_eq!(child.wait().unwrap().success(), killed_after.is_none());
    (sent, is_flushed)
}

/// The hours around now.
fn query(group_by: Option<UsageGroup>) -> UsageQuery {
    let now = Timestamp::from(std::time::SystemTime::now());
    let hour = Duration::from_secs(3600);
    let mut query = UsageQuery::new(now.saturating_sub(hour), now.saturating_add(hour), UsageBucket::Hour);
    query.group_by = group_by;
    query
}

async fn sum(store: &PostgresStore, outcome: UsageOutcome) -> u64 {
    let manager = KeyManager::new(store.clone(), format());
    let usage = manager.usage_of_all(&query(None)).await.unwrap();
    usage.rows.iter().map(|row| row.calls.of(outcome)).sum()
}

#[tokio::test]
async fn a_million_requests_of_two_processes_are_counted_though_one_is_killed() {
    let pool = Server::shared().database(4).await;
    let store = PostgresStore::new(pool.clone());
    store.migrate().await.unwrap();
    let url = pool.connect_options().to_url_lossy().to_string();
    let began = Instant::now();
    let ((_, is_flushed), (sent, _)) = tokio::task::spawn_blocking(move || {
        thread::scope(|scope| {
            let whole = scope.spawn(|| run(&url, 200, None));
            let killed = scope.spawn(|| run(&url, 500, Some(REQUESTS * 9 / 10)));
            (whole.join().unwrap(), killed.join().unwrap())
        })
    })
    .await
    .unwrap();
    assert!(is_flushed);

    // Exact where the process could end as it should, though every third answer of the store was lost.
    assert_eq!(sum(&store, UsageOutcome::Ok).await, REQUESTS);
    let usage = UsageLog::read(&store, &query(Some(UsageGroup::Key)), usize::MAX).await.unwrap();
    let mut each = std::collections::HashMap::new();
    for row in &usage.rows {
        *each.entry(row.key_id.unwrap()).or_insert(0) += row.calls.of(UsageOutcome::Ok);
    }
    assert_eq!(each.len() as u64, KEYS);
    assert!(each.values().all(|calls| *calls == REQUESTS / KEYS), "of each key");

    // Of the other, what it counted last is lost, and nothing is counted twice.
    let counted = sum(&store, UsageOutcome::ServerError).await;
    let (killed_at, reported) = *sent.last().unwrap();
    let written = sent.iter().rev().find(|(at, _)| killed_at.duration_since(*at) >= LOST_AT_MOST);
    let least = written.map_or(0, |(_, number)| *number);
    println!(
        "killed after {reported} of {REQUESTS} requests, {counted} are counted, and at least {least} have to be; {:?}",
        began.elapsed()
    );
    assert!((least..=REQUESTS).contains(&counted) && counted > 0, "{counted} of {reported}");
    // It may have sent more than it said.
    let unreported = (REQUESTS - reported).min(10 * STEP);
    assert!(counted <= reported + unreported, "{counted} of {reported}");
}

#[tokio::test]
async fn requests_are_answered_and_counted_while_the_database_is_silent_and_after_a_restart() {
    let server = Server::start();
    let pool = server.database(1).await;
    let migrated = PostgresStore::new(pool.clone());
    migrated.migrate().await.unwrap();
    let options = (*pool.connect_options()).clone();
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options);
    let log = PostgresStore::new(pool).with_administration_timeout(Duration::from_secs(2));
    let keys = MemoryStore::new();
    keys.insert(record(KEY, |_| {}), None).await.unwrap();
    let keys = counting(keys, log.clone()).await;
    let service = keys.layer().layer(service_fn(async |_: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
    }));
    let send = async |requests: u64| {
        for _ in 0..requests {
            let began = Instant::now();
            assert_eq!(service.clone().oneshot(request(KEY)).await.unwrap().status(), 200);
            assert!(began.elapsed() < Duration::from_secs(1), "no request waits for the database");
        }
    };
    send(10).await;
    keys.flush().await.unwrap();
    assert_eq!(sum(&log, UsageOutcome::Ok).await, 10);

    send(20).await;
    server.freeze();
    keys.flush().await.unwrap_err();
    send(30).await;
    keys.flush().await.unwrap_err();
    server.thaw();
    keys.flush().await.unwrap();
    assert_eq!(
        sum(&log, UsageOutcome::Ok).await,
        60,
        "whether or not the frozen server has added what it was sent"
    );

    send(40).await;
    server.kill();
    keys.flush().await.unwrap_err();
    send(50).await;
    server.restart();
    let deadline = Instant::now() + Duration::from_secs(30);
    while keys.flush().await.is_err() {
        assert!(Instant::now() < deadline, "the database is there again");
    }
    assert_eq!(sum(&log, UsageOutcome::Ok).await, 150);
}
