//! R79, R80: secrets are in no log line at any level, in no `Debug` output and in no error; reasons and names are.
#![cfg(feature = "tracing")]

mod support;

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};

use http::{HeaderName, Request};
use support::*;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_api_keys::AuthenticateLayer;
use tower_api_keys::authorize::RequireScopeLayer;
use tower_api_keys::credential::{CredentialExtractor, HeaderKey, RequestView};
use tower_api_keys::key::{KeyFormat, KeyState, Mode, PepperId, Peppers, SecretString};
use tower_api_keys::manage::{Authority, ExistingKey, KeyManager, NewKey};
use tower_api_keys::rate_limit::{MemoryRateLimiter, Quota, RateLimitLayer};
use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
use tower_api_keys::store::KeyAdministration;

/// Stands in every secret of this file: 32 characters, so that it can be the random part of a key.
const SENTINEL: &str = "5ent1nel5ent1nel5ent1nel5ent1nel";

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

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Runs `work` with everything that is logged, at every level, written down.
fn logged<F: Future>(work: F) -> (F::Output, String) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let output = tracing::subscriber::with_default(subscriber, || runtime.block_on(work));
    (output, log.text())
}

fn sentinel_key() -> String {
    format!("wfk_{SENTINEL}")
}

fn with_key(key: &str) -> Request<()> {
    Request::builder().header(X_API_KEY, key).body(()).unwrap()
}

#[test]
fn r80_requests_are_logged_with_key_and_reason_and_without_secrets() {
    let key = sentinel_key();
    let (id, log) = logged(async {
        let stored = record(&key, |_| {});
        let id = stored.id;
        let keys = store([stored]).await;
        let limiter = MemoryRateLimiter::builder("all", Quota::per_minute(2).unwrap()).build();
        let mut service = ServiceBuilder::new()
            .layer(AuthenticateLayer::new(keys.clone(), header_key()))
            .layer(RateLimitLayer::by_key(limiter))
            .layer(RequireScopeLayer::new(ScopeRequirement::from_static("workflows:write")))
            .service(service_fn(whoami));
        let mut send = async |request: Request<()>| service.call(request).await.unwrap().status().as_u16();

        assert_eq!(send(with_key(&key)).await, 403);
        assert_eq!(send(with_key(&key)).await, 403);
        assert_eq!(send(with_key(&key)).await, 429);
        assert_eq!(send(with_key(&format!("{key}x"))).await, 401);
        assert_eq!(send(with_key(&key.replace("nel", "NEL"))).await, 401);
        assert_eq!(send(with_key(&format!("\tESC[31m{key}"))).await, 401);
        let mut twice = with_key(&key);
        twice.headers_mut().append(X_API_KEY, key.parse().unwrap());
        assert_eq!(send(twice).await, 400);
        let mut revoked = record(&key, |_| {});
        revoked.state = KeyState::Revoked { at: START };
        keys.replace(revoked).await.unwrap();
        assert_eq!(send(with_key(&key)).await, 401);

        let failing = TestStore::new(keys, Answers::WithAnError);
        let mut service = AuthenticateLayer::new(failing, header_key()).layer(service_fn(whoami));
        assert_eq!(service.call(with_key(&key)).await.unwrap().status(), 503);
        id
    });
    for expected in [
        "the key lacks the scope: workflows:write",
        "over the rate limit of category all",
        "no such key",
        "the key is revoked",
        "came more than once",
        "the key store is unavailable",
        "connection refused",
        "request authenticated",
        id.as_str(),
        "acme",
    ] {
        assert!(log.contains(expected), "{expected:?} is missing from the log:\n{log}");
    }
    assert!(!log.to_lowercase().contains("5ent1nel"), "a secret is in the log:\n{log}");
    assert!(!log.contains("ESC["), "text of the client's is in the log:\n{log}");
}

#[test]
fn r81_changes_of_keys_are_logged_without_secrets() {
    let (secrets, log) = logged(async {
        let store = store([]).await;
        let manager = KeyManager::new(store, format());
        let operator = Authority::operator(acme());
        let created = manager.create(&operator, NewKey::new("made", ScopeSet::empty())).await.unwrap();
        let id = created.key.id;
        let rotated = manager.rotate(&operator, &id, KeyManager::DEFAULT_GRACE).await.unwrap();
        let plaintext = ExistingKey::Plaintext(SecretString::from(sentinel_key().as_str()));
        manager.import(&operator, NewKey::new("imported", ScopeSet::empty()), plaintext).await.unwrap();
        manager.revoke(&operator, &id).await.unwrap();
        manager.delete(&operator, &id).await.unwrap();
        let shown = format!("{created:?} {rotated:?} {manager:?} {operator:?}");
        [created.secret, rotated.secret].map(|secret| {
            assert!(!shown.contains(secret.expose_secret()), "{shown}");
            secret.expose_secret().to_owned()
        })
    });
    assert!(log.lines().count() >= 5, "every change is logged:\n{log}");
    for secret in secrets.iter().map(String::as_str).chain([SENTINEL]) {
        assert!(!log.contains(secret), "a secret is in the log:\n{log}");
    }
}

#[test]
fn r79_debug_output_has_no_secrets() {
    let key = sentinel_key();
    let mut shown = String::new();
    let format = format();
    let parsed = format.parse(&key).unwrap();
    write!(shown, "{:?} {parsed:?} {format:?}", SecretString::from(key.as_str())).unwrap();
    let request = with_key(&key);
    write!(shown, " {:?}", HeaderKey::new(X_API_KEY, format.clone()).extract(RequestView::of(&request)))
        .unwrap();
    let peppers = Peppers::new(PepperId::new(7), SecretString::from(SENTINEL)).unwrap();
    write!(shown, " {peppers:?} {:?}", peppers.candidates(&key)).unwrap();
    let digest = peppers.digest(&key);
    write!(shown, " {digest:?} {:?}", record(&key, |record| record.digest = digest)).unwrap();
    let other = KeyFormat::new("sk_").with_modes("test_", "live_").build().unwrap();
    let made = other.generate(Mode::Live).unwrap();
    write!(shown, " {made:?}").unwrap();
    let layer = AuthenticateLayer::new(tower_api_keys::store::MemoryStore::new(), header_key())
        .add_extractor(HeaderKey::new(HeaderName::from_static("x-token"), other))
        .with_peppers(peppers);
    write!(shown, " {layer:?} {:?}", layer.layer(())).unwrap();

    let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for secret in [SENTINEL, &made.secret.expose_secret()["sk_live_".len()..], &hex] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("[redacted]"), "{shown}");
}
