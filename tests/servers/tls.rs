//! Encrypted connections to PostgreSQL and Redis, with an authority of the tests' own.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Builder;
use tower_api_keys::Quota;
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::limit::{OnFailure, RedisConnection, RedisRateLimiter, Subject};
use tower_api_keys::store::{
    Invalidation, InvalidationSink, InvalidationSource, KeySelector, KeyStore, PostgresStore,
    RedisInvalidation, StoreErrorKind,
};
use tracing::level_filters::LevelFilter;

use crate::certificates::{Authority, text};
use crate::postgres_server::Server;
use crate::redis_server::{RedisServer, free_port};
use crate::sentinels::Sentinel;
use crate::support::in_own_process;

const USER: &str = "app";
/// In no error and no line of the log, at any level, neither as it is nor as the URL has it.
const PASSWORD: &str = "5ent1nel@5ent1nel";
const IN_URL: &str = "5ent1nel%405ent1nel";
const WRONG_PASSWORD: &str = "wrong5ent1nel";

/// The host, whether it is reached by the right authority, the password, and whether it is accepted.
const CASES: [(&str, bool, &str, bool); 4] = [
    ("localhost", true, IN_URL, true),
    ("localhost", false, IN_URL, false),
    // The certificate is for `localhost`.
    ("127.0.0.1", true, IN_URL, false),
    ("localhost", true, WRONG_PASSWORD, false),
];

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

/// Runs `work`, which returns all errors it has seen, and checks that neither they nor the log have a password.
fn without_a_secret<F: Future<Output = String>>(work: F) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let errors = tracing::subscriber::with_default(subscriber, || runtime.block_on(work));
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for text in [errors, log] {
        assert!(!text.is_empty());
        assert!(!text.contains("5ent1nel"), "{text}");
    }
}

/// An error in every form, with all its sources.
fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("{error:?} {error:#?}");
    let mut next = Some(error);
    while let Some(error) = next {
        write!(text, ": {error} {error:?}").unwrap();
        next = error.source();
    }
    text
}

#[test]
fn redis_is_spoken_to_if_its_certificate_is_right() {
    in_own_process(|| {
        let (authority, other) = (Authority::new(), Authority::new());
        let (server, port) = redis(&authority);
        let _: () = server.run(&["ACL", "SETUSER", USER, "on", &format!(">{PASSWORD}"), "~*", "&*", "+@all"]);
        without_a_secret(async {
            let mut errors = String::new();
            for (host, is_right, password, is_accepted) in CASES {
                let root = if is_right { &authority } else { &other }.certificate();
                let url = format!("rediss://{USER}:{password}@{host}:{port}/?sslrootcert={}", text(&root));
                let what = format!("{host}, {is_right}, {password}");
                errors +=
                    &try_redis(&url, is_accepted).await.unwrap_or_else(|problem| panic!("{what}: {problem}"));
            }
            // The operating system does not trust the authority.
            errors += &try_redis(&format!("rediss://{USER}:{IN_URL}@localhost:{port}"), false).await.unwrap();
            // What is not encrypted is refused where that is expected.
            let plain = server.address().port();
            errors +=
                &try_redis(&format!("rediss://{USER}:{IN_URL}@localhost:{plain}"), false).await.unwrap();
            errors
        });
    });
}

/// A server that takes encrypted connections as well, on the port returned.
fn redis(authority: &Authority) -> (RedisServer, u16) {
    let (options, port) = encryption(authority);
    let options =
        options.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]).collect::<Vec<_>>();
    (RedisServer::start_with(&options.iter().map(String::as_str).collect::<Vec<_>>()), port)
}

/// The settings of a server or Sentinel that is `localhost`, on the port returned, and asks for no certificate.
fn encryption(authority: &Authority) -> ([(&'static str, String); 5], u16) {
    let (certificate, port) = (authority.issue("localhost"), free_port());
    let settings = [
        ("tls-port", port.to_string()),
        ("tls-cert-file", text(&certificate.certificate).to_owned()),
        ("tls-key-file", text(&certificate.key).to_owned()),
        ("tls-ca-cert-file", text(&authority.certificate()).to_owned()),
        ("tls-auth-clients", "no".to_owned()),
    ];
    (settings, port)
}

#[test]
fn sentinels_and_their_master_are_spoken_to_if_their_certificates_are_right() {
    in_own_process(|| {
        let (authority, other) = (Authority::new(), Authority::new());
        let (_server, master) = redis(&authority);
        let (settings, port) = encryption(&authority);
        let mut settings: String = settings.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        settings += &format!("requirepass {PASSWORD}\n");
        settings += "tls-replication yes\nsentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n";
        let _sentinel = Sentinel::start(&format!("{settings}sentinel monitor main localhost {master} 1\n"));
        without_a_secret(async {
            let mut errors = String::new();
            for (authority, password, is_accepted) in
                [(&authority, IN_URL, true), (&other, IN_URL, false), (&authority, WRONG_PASSWORD, false)]
            {
                let root = authority.certificate();
                let query = format!("sslrootcert={}&sentinel_password={password}", text(&root));
                let url = format!("rediss+sentinel://localhost:{port}/main?{query}");
                errors += &try_redis(&url, is_accepted).await.unwrap();
            }
            errors
        });
    });
}

/// Uses Redis as limiters and caches do, and returns the errors.
async fn try_redis(url: &str, is_accepted: bool) -> Result<String, String> {
    let redis = RedisInvalidation::open(url).unwrap();
    let connection = RedisConnection::open(url).unwrap().with_on_failure(OnFailure::Closed);
    let mut errors = format!("{redis:?} {connection:?}");
    let quotas = [Quota::per_minute(9).unwrap()];
    let connection = connection.with_deadline(Duration::from_secs(5));
    let limiter = RedisRateLimiter::new("all", &quotas, SystemClock.now(), connection).unwrap();
    let counted = limiter.check(&Subject::other("a"), None, 1, SystemClock.now()).await;
    write!(errors, "{limiter:?}").unwrap();
    let published = redis.publish(&"k".parse().unwrap()).await;
    let mut source = redis.source();
    let heard =
        tokio::time::timeout(Duration::from_millis(if is_accepted { 5_000 } else { 500 }), source.next());
    let is_heard = heard.await.is_ok_and(|heard| heard == Invalidation::Connected);
    if let Err(error) = &published {
        errors += &describe(error);
    }
    if [counted.is_ok(), published.is_ok(), is_heard] != [is_accepted; 3] {
        return Err(format!("{counted:?} {published:?} {is_heard}"));
    }
    Ok(errors)
}

#[test]
fn redis_that_asks_for_a_certificate_gets_one() {
    in_own_process(|| {
        let authority = Authority::new();
        let client = authority.issue("client");
        let (server, port) = redis(&authority);
        let _: () = server.run(&["CONFIG", "SET", "tls-auth-clients", "yes"]);
        let url = format!("rediss://localhost:{port}/?sslrootcert={}", text(&authority.certificate()));
        let with_certificate =
            format!("{url}&sslcert={}&sslkey={}", text(&client.certificate), text(&client.key));
        without_a_secret(async {
            let refused = try_redis(&url, false).await.unwrap();
            refused + &try_redis(&with_certificate, true).await.unwrap()
        });
    });
}

#[test]
fn postgres_is_spoken_to_if_its_certificate_is_right() {
    in_own_process(|| {
        let (authority, other) = (Authority::new(), Authority::new());
        let server = Server::start();
        let certificate = authority.issue("localhost");
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server.require_tls(&certificate.certificate, &certificate.key, USER, PASSWORD));
        without_a_secret(async {
            let url = |host: &str, password: &str, query: &str| {
                format!("postgres://{USER}:{password}@{host}:{}/postgres?{query}", server.port())
            };
            let file = |authority: &Authority| text(&authority.certificate()).to_owned();
            let mut errors = String::new();
            for (host, is_right, password, is_accepted) in CASES {
                let root = file(if is_right { &authority } else { &other });
                let url = url(host, password, &format!("sslmode=verify-full&sslrootcert={root}"));
                let what = format!("{host}, {is_right}, {password}");
                errors += &try_postgres(&url, is_accepted)
                    .await
                    .unwrap_or_else(|problem| panic!("{what}: {problem}"));
            }
            for (query, is_accepted) in [
                ("sslmode=verify-full".to_owned(), false),
                ("sslmode=disable".to_owned(), false),
                ("sslmode=require".to_owned(), true),
                // An authority that is named is asked.
                (format!("sslmode=require&sslrootcert={}", file(&authority)), true),
                (format!("sslmode=require&sslrootcert={}", file(&other)), false),
                (format!("sslmode=verify-ca&sslrootcert={}", file(&other)), false),
                ("sslmode=verify-full&sslrootcert=/nowhere".to_owned(), false),
                ("sslmode=certainly".to_owned(), false),
            ] {
                let tried = try_postgres(&url("localhost", IN_URL, &query), is_accepted).await;
                errors += &tried.unwrap_or_else(|problem| panic!("{query}: {problem}"));
            }
            errors
        });
    });
}

/// Uses PostgreSQL as stores and caches do, and returns the errors.
async fn try_postgres(url: &str, is_accepted: bool) -> Result<String, String> {
    let connected = PostgresStore::connect(url).await;
    if connected.is_ok() != is_accepted {
        return Err(format!("{connected:?}"));
    }
    match connected {
        Ok(store) => {
            let found = store.find(KeySelector::Id(&"k".parse().unwrap())).await;
            assert_eq!(found.unwrap(), None);
            Ok(format!("{store:?}"))
        }
        Err(error) => {
            assert!(matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Other), "{error:?}");
            Ok(describe(&error))
        }
    }
}
