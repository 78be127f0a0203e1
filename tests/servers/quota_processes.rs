//! One stored quota for several processes, some of which are killed.

use std::convert::Infallible;
use std::env;
use std::io::{Read, Write, stdout};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use sqlx::ConnectOptions;
use tower::{Service, ServiceBuilder, service_fn};
use tower_api_keys::key::KeyRecord;
use tower_api_keys::limit::Subject;
use tower_api_keys::store::{KeyAdministration, PostgresStore, SqliteStore};
use tower_api_keys::{ApiKeys, Quota, RateLimit};

use crate::postgres_server::Server;
use crate::support::{KEY, X_API_KEY, assembly, record};

const PROCESSES: usize = 8;
const LIMIT: u32 = 6_000;
/// A hundredth of the limit.
const LEASE: u64 = 60;

async fn open(url: &str) -> Arc<dyn KeyAdministration> {
    if url.starts_with("sqlite:") {
        return Arc::new(SqliteStore::open(url).await.unwrap());
    }
    Arc::new(PostgresStore::connect(url).await.unwrap())
}

fn keys(store: Arc<dyn KeyAdministration>) -> ApiKeys {
    let limit = RateLimit::per_key("month", Quota::per_month(LIMIT).unwrap());
    assembly(store).without_route_table().limit(limit).build().unwrap()
}

/// Another process runs this, with the variable that [`start`] sets. In this one it does nothing. It writes a byte for each
/// request that was admitted, until five were not.
#[test]
fn consumer() {
    let Ok(url) = env::var("QUOTA_STORE") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let keys = keys(open(&url).await);
        let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::new())));
        let mut stack = ServiceBuilder::new().layer(keys.layer()).service(handler);
        let mut denied = 0;
        while denied < 5 {
            let request = Request::builder().header(X_API_KEY, KEY).body(()).unwrap();
            let status = stack.call(request).await.unwrap().status();
            match status.as_u16() {
                200 => {
                    stdout().write_all(b"+").unwrap();
                    stdout().flush().unwrap();
                }
                429 => denied += 1,
                // A store that waits for others may be late.
                503 => {}
                other => panic!("{other}"),
            }
            tokio::task::yield_now().await;
        }
        keys.flush().await.unwrap();
    });
}

fn start(url: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["quota_processes::consumer", "--exact", "--nocapture"])
        .env("QUOTA_STORE", url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How many requests were admitted.
fn finish(mut child: Child, is_killed: bool) -> u64 {
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    assert_eq!(child.wait().unwrap().success(), !is_killed);
    output.iter().filter(|byte| **byte == b'+').count() as u64
}

async fn holds_over_processes_that_are_killed(url: &str) {
    let store = open(url).await;
    let key: KeyRecord = record(KEY, |_| {});
    let id = key.id;
    store.insert(key, None).await.unwrap();

    let mut killed: Vec<_> = (0..PROCESSES).map(|_| start(url)).collect();
    let url = url.to_owned();
    let admitted = tokio::task::spawn_blocking(move || {
        thread::sleep(Duration::from_millis(300));
        killed.iter_mut().for_each(|child| child.kill().unwrap());
        let survivors: Vec<_> = (0..PROCESSES).map(|_| start(&url)).collect();
        let by_killed: u64 = killed.into_iter().map(|child| finish(child, true)).sum();
        by_killed + survivors.into_iter().map(|child| finish(child, false)).sum::<u64>()
    })
    .await
    .unwrap();

    let limit = u64::from(LIMIT);
    assert!(admitted <= limit, "{admitted} were admitted");
    // A lease of each that was killed, and a request that it could not write down.
    let lost = limit - admitted;
    let most = PROCESSES as u64 * (LEASE + 1);
    println!(
        "{admitted} of {limit} were admitted, {lost} lost, by {PROCESSES} processes killed and as many not"
    );
    assert!(lost <= most, "{lost} were lost");
    let left = keys(store).grant("month", &Subject::Key(id), 0).await.unwrap().remaining();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn eight_processes_share_a_month_in_postgres() {
    let server = Server::shared();
    let pool = server.database(4).await;
    let url = pool.connect_options().to_url_lossy().to_string();
    let store = PostgresStore::new(pool);
    store.migrate().await.unwrap();
    holds_over_processes_that_are_killed(&url).await;
}

#[tokio::test]
async fn eight_processes_share_a_month_in_sqlite() {
    let directory = env::temp_dir().join(format!("api-keys-quota-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let url = format!("sqlite:{}", directory.join("keys.db").display());
    holds_over_processes_that_are_killed(&url).await;
    std::fs::remove_dir_all(directory).unwrap();
}
