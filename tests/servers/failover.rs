//! A standby that missed revocations takes over, and a node that is stopped while keys are revoked.

use std::env;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Command, Stdio};
use std::time::Duration;

use http::Request;
use metrics_exporter_prometheus::PrometheusBuilder;
use sqlx::postgres::PgPoolOptions;
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceBuilder, service_fn};
use tower_api_keys::key::{KeyId, KeyState};
use tower_api_keys::store::{CachedStore, KeyAdministration, KeySelector, KeyStore, PostgresStore};

use crate::damage::Log;
use crate::postgres_server::Server;
use crate::proxy::Proxy;
use crate::stores::{record, revoked};
use crate::support::{self, KEY, X_API_KEY, assembly, in_own_process, whoami};

async fn state(store: &impl KeyStore, id: &KeyId) -> Option<KeyState> {
    store.find(KeySelector::Id(id)).await.ok().flatten().map(|key| key.state)
}

#[test]
fn what_a_node_knows_to_be_revoked_stays_so_when_a_standby_that_missed_it_takes_over() {
    in_own_process(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(failover());
    });
}

async fn failover() {
    let log = Log::start();
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    metrics::set_global_recorder(recorder).unwrap_or_else(|_| panic!("there is one already"));
    let noticed = || scrape.render().contains("\napi_keys_failovers_noticed_total 1\n");
    let primary = Server::start();
    let replication = Proxy::start(primary.address()).await;
    let pool = primary.database(4).await;
    let application = Proxy::start(primary.address()).await;
    let options = (*pool.connect_options()).clone().port(application.address().port());
    let store = PostgresStore::new(PgPoolOptions::new().max_connections(4).connect_lazy_with(options));
    store.migrate().await.unwrap();
    let keys = ["seen", "made", "unseen"].map(record);
    for key in &keys {
        store.insert(key.clone(), None).await.unwrap();
    }
    let standby = Server::start_standby(replication.address());
    let position = "SELECT pg_current_wal_lsn()::text";
    let written: String = sqlx::query_scalar(position).fetch_one(&pool).await.unwrap();
    let database = (*pool.connect_options()).get_database().unwrap().to_owned();
    let follower = PgPoolOptions::new().connect_lazy_with(standby.options(&database));
    let caught_up = "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)";
    while !sqlx::query_scalar::<_, bool>(caught_up).bind(&written).fetch_one(&follower).await.unwrap_or(false)
    {
        sleep(Duration::from_millis(50)).await;
    }
    replication.shut();

    // One is revoked by this node, one is seen to be, and one is not seen. The standby hears of none.
    let cache = CachedStore::new(store);
    let background = tokio::spawn(cache.background().unwrap());
    let other = PostgresStore::new(pool.clone());
    cache.replace(revoked(keys[1].clone()), None).await.unwrap();
    for key in [&keys[0], &keys[2]] {
        other.replace(revoked(key.clone()), None).await.unwrap();
    }
    for key in &keys[..2] {
        assert!(matches!(state(&cache, &key.id).await, Some(KeyState::Revoked { .. })));
    }
    // Until the store is asked where it is.
    sleep(Duration::from_millis(1_500)).await;
    assert!(!noticed());
    assert_eq!(log.take(), "");
    primary.kill();
    standby.promote();
    application.point_to(standby.address());

    let deadline = Instant::now() + Duration::from_secs(20);
    while state(&cache, &keys[2].id).await != Some(KeyState::Active) {
        assert!(Instant::now() < deadline, "the standby answers");
        sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..20 {
        for key in &keys[..2] {
            let state = state(&cache, &key.id).await;
            assert!(matches!(state, None | Some(KeyState::Revoked { .. })), "{state:?}");
        }
        sleep(Duration::from_millis(200)).await;
    }
    assert!(state(&cache, &keys[0].id).await.is_some(), "it answers again");
    assert!(noticed(), "{}", scrape.render());
    let log = log.take();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    let [seen, made, unseen] = keys.map(|key| {
        lines(&format!("is revoked; it stays revoked here code=\"revocation_forgotten\" key_id={}", key.id))
    });
    assert_eq!((lines("the store is not where it was"), unseen), (1, 0), "{log}");
    assert!(seen >= 1 && made >= 1, "{log}");
    background.abort();
}

/// Another process runs this, with the variable that the test sets. In this one it does nothing. For each line that it reads it
/// makes a request, and prints its status.
#[test]
fn node() {
    let Ok(url) = env::var("STOPPED_NODE") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let keys = assembly(PostgresStore::connect(&url).await.unwrap().cached());
        let keys = keys.without_route_table().build().unwrap();
        tokio::spawn(keys.background());
        let mut service = ServiceBuilder::new().layer(keys.layer()).service(service_fn(whoami::<()>));
        for _ in stdin().lines() {
            let request = Request::builder().header(X_API_KEY, KEY).body(()).unwrap();
            println!("status {}", service.call(request).await.unwrap().status().as_u16());
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_revoked_while_a_node_was_stopped_is_rejected_by_its_first_request() {
    let server = Server::start();
    let pool = server.database(2).await;
    let store = PostgresStore::new(pool.clone());
    store.migrate().await.unwrap();
    let key = support::record(KEY, |_| {});
    store.insert(key.clone(), None).await.unwrap();
    let database = (*pool.connect_options()).get_database().unwrap().to_owned();
    let mut node = Command::new(env::current_exe().unwrap())
        .args(["failover::node", "--exact", "--nocapture"])
        .env("STOPPED_NODE", format!("postgres://postgres@{}/{database}", server.address()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, output) = (node.stdin.take().unwrap(), node.stdout.take().unwrap());
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let mut ask = || {
        writeln!(input).unwrap();
        lines.by_ref().find_map(|line| line.strip_prefix("status ").map(str::to_owned)).unwrap()
    };
    // Until the store has confirmed what is held. On a busy machine its first answers may be late.
    for _ in 0..30 {
        let status = ask();
        assert!(status == "200" || status == "503", "{status}");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(ask(), "200");
    let signal = |name: &str| Command::new("kill").args([name, &node.id().to_string()]).status().unwrap();
    signal("-STOP");
    store.replace(revoked(key), None).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    signal("-CONT");
    // A call that was on its way when the node stopped is late now, so that the node may not know at first whether the store
    // answers.
    let first = ask();
    assert!(first == "401" || first == "503", "{first}");
    for _ in 0..20 {
        match ask().as_str() {
            "401" => break,
            other => assert_eq!(other, "503"),
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(ask(), "401");
    drop(input);
    node.kill().unwrap();
    node.wait().unwrap();
}
