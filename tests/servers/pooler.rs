//! The PostgreSQL store behind PgBouncer in its `transaction` mode, where several processes share few connections.

use std::env;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tower_api_keys::key::KeyRecord;
use tower_api_keys::store::{
    CachedStore, KeyAdministration, KeySelector, KeyStore, PostgresInvalidations, PostgresStore, conformance,
};

use crate::postgres_server::Server;
use crate::stores::record;

const PROCESSES: usize = 6;
const LOOKUPS: usize = 300;
/// Fewer than there are clients.
const CONNECTIONS: usize = 3;

/// PgBouncer in front of a server. Stopped when dropped.
struct Pooler {
    process: Child,
    address: SocketAddr,
}

impl Pooler {
    fn start(server: &Server) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
        let (mut command, directory) = server.program_beside("pgbouncer");
        let users = directory.join("users");
        fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let settings = directory.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = any\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {CONNECTIONS}\nmax_client_conn = 500\n",
            server.port(),
            address.port(),
            users.display(),
        );
        let text = text.replace("* = host", "* = user=postgres host");
        fs::write(&settings, text).unwrap();
        let process = command
            .arg(&settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer runs");
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer listens");
            thread::sleep(Duration::from_millis(20));
        }
        Self { process, address }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connect(url: &str) -> PostgresStore {
    PostgresStore::connect(url).await.unwrap().behind_pooler()
}

/// Another process runs this, with the variable that the test sets. In this one it does nothing.
#[test]
fn client() {
    let Ok(url) = env::var("POOLED_STORE") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = connect(&url).await.with_lookup_timeout(Duration::from_secs(10));
        let lookups: Vec<_> = (0..LOOKUPS)
            .map(|number| {
                let (store, key) = (store.clone(), record(&format!("k{}", number % 5)));
                tokio::spawn(async move {
                    let by_id = store.find(KeySelector::Id(&key.id)).await.unwrap();
                    let by_digest = store.find(KeySelector::Digests(&[key.digest])).await.unwrap();
                    assert_eq!(by_id, by_digest);
                    assert_eq!(by_id.unwrap().id, key.id);
                })
            })
            .collect();
        for lookup in lookups {
            lookup.await.unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_share_a_pooler_without_one_failed_lookup() {
    let server = Server::start();
    let pooler = Pooler::start(&server);
    let pool = server.database(1).await;
    let url = pooler.url((*pool.connect_options()).get_database().unwrap());
    let store = connect(&url).await;
    let keys: Vec<KeyRecord> = (0..5).map(|number| record(&format!("k{number}"))).collect();
    for key in &keys {
        store.insert(key.clone(), None).await.unwrap();
    }
    let clients: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(env::current_exe().unwrap())
                .args(["pooler::client", "--exact", "--nocapture"])
                .env("POOLED_STORE", &url)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_behind_a_pooler_passes_the_conformance_suite() {
    let server = Server::start();
    let pooler = Pooler::start(&server);
    conformance::check(async || {
        let pool = server.database(1).await;
        connect(&pooler.url((*pool.connect_options()).get_database().unwrap())).await
    })
    .await;
}

/// It listens past the pooler.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_behind_a_pooler_hears_of_changes() {
    let server = Server::start();
    let pooler = Pooler::start(&server);
    let pool = server.database(1).await;
    let direct = (*pool.connect_options()).clone();
    let url = pooler.url(direct.get_database().unwrap());
    let key = record("k");
    let store = connect(&url).await;
    store.insert(key.clone(), None).await.unwrap();
    let source = PostgresInvalidations::connecting_with(direct);
    let cache = CachedStore::builder(connect(&url).await).follow(source).build();
    let background = tokio::spawn(cache.background().unwrap());
    while !cache.is_connected() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(cache.find(KeySelector::Id(&key.id)).await.unwrap().is_some());
    let deleted = Instant::now();
    assert!(store.delete(&key.owner, &key.id, None).await.unwrap());
    while cache.find(KeySelector::Id(&key.id)).await.unwrap().is_some() {
        assert!(deleted.elapsed() < Duration::from_millis(900), "before the store is asked");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    background.abort();
}
