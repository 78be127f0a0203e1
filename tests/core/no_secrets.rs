//! No secret is in a log line at any level, in `Debug` output or in an error; reasons and names are.
#![cfg(feature = "tracing")]

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::credential::{
    Companions, CredentialExtractor, HeaderKey, Parts, QueryKey, SessionTokens, WebSocketKey,
};
use tower_api_keys::identity::{OrganizationRule, Session, SessionAuthenticator};
use tower_api_keys::key::{KeyFormat, KeyState, Mode, Peppers, SecretString};
use tower_api_keys::manage::{Authority, KeyManager, NewKey};
use tower_api_keys::request::RequestView;
use tower_api_keys::store::{KeyAdministration, MemoryStore, StoreError};
use tower_api_keys::{ApiKeys, Principal, Quota, RateLimit};

use crate::support::*;

/// Part of every secret in this file: 32 characters, so that it can be the random part of a key.
const SENTINEL: &str = "5ent1nel5ent1nel5ent1nel5ent1nel";
const X_SECRET: HeaderName = HeaderName::from_static("x-secret");
const X_TOKEN: HeaderName = HeaderName::from_static("x-token");

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

/// Records all log events, at every level.
fn subscriber(log: &Log) -> impl tracing::Subscriber + use<> {
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish()
}

fn block_on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Runs `work` and returns what it logged on this thread.
pub(crate) fn logged<F: Future>(work: F) -> (F::Output, String) {
    let log = Log::default();
    let output = tracing::subscriber::with_default(subscriber(&log), || block_on(work));
    (output, log.text())
}

fn sentinel_key() -> String {
    format!("wfk_{SENTINEL}")
}

fn with_key(key: &str) -> Request<()> {
    Request::builder().header(X_API_KEY, key).body(()).unwrap()
}

#[test]
fn requests_are_logged_with_key_and_reason_and_without_secrets() {
    in_own_process(|| {
        let key = sentinel_key();
        let (id, log) = logged(async {
            let stored = record(&key, |_| {});
            let id = stored.id;
            let keys = store([stored]).await;
            let assembly = assembly(keys.clone())
                .extractor(WebSocketKey::new(format()))
                .extractor(QueryKey::new("api_key", format()))
                .limit(RateLimit::per_key("all", Quota::per_minute(2).unwrap()))
                .without_route_table()
                .build()
                .unwrap();
            let mut service = ServiceBuilder::new()
                .layer(assembly.layer())
                .layer(assembly.require("workflows:write"))
                .service(service_fn(whoami));
            let mut send =
                async |request: Request<()>| service.call(request).await.unwrap().status().as_u16();

            assert_eq!(send(with_key(&key)).await, 403);
            assert_eq!(send(with_key(&key)).await, 403);
            assert_eq!(send(with_key(&key)).await, 429);
            assert_eq!(send(with_key(&format!("{key}x"))).await, 401);
            assert_eq!(send(with_key(&key.replace("nel", "NEL"))).await, 401);
            assert_eq!(send(with_key(&format!("\tESC[31m{key}"))).await, 401);
            let mut twice = with_key(&key);
            twice.headers_mut().append(X_API_KEY, key.parse().unwrap());
            assert_eq!(send(twice).await, 400);
            for (parameter, status) in [("", 429), ("x", 401), ("%", 401), ("&api_key=", 400)] {
                let request = Request::get(format!("/?api_key={key}{parameter}"));
                assert_eq!(send(request.body(()).unwrap()).await, status);
                let offered = format!("acme, key.{key}{}", parameter.replace("&api_key=", ", key."));
                let request = Request::get("/").header("sec-websocket-protocol", offered);
                assert_eq!(send(request.body(()).unwrap()).await, status);
            }
            let mut revoked = record(&key, |_| {});
            revoked.state = KeyState::Revoked { at: START };
            keys.replace(revoked, None).await.unwrap();
            assert_eq!(send(with_key(&key)).await, 401);

            let failing = TestStore::new(keys, Answers::WithAnError);
            let failing = self::assembly(failing).without_route_table().build().unwrap();
            let mut service = failing.layer().layer(service_fn(whoami));
            assert_eq!(service.call(with_key(&key)).await.unwrap().status(), 503);
            id
        });
        for expected in [
            "the key lacks the scope: workflows:write",
            "the rate limit of category all is exceeded",
            "no such key",
            "the key is revoked",
            "was sent more than once",
            "the key store is unavailable",
            "connection refused",
            "request accepted",
            id.as_str(),
            "acme",
        ] {
            assert!(log.contains(expected), "{expected:?} is missing from the log:\n{log}");
        }
        assert!(!log.to_lowercase().contains("5ent1nel"), "a secret is in the log:\n{log}");
        assert!(!log.contains("ESC["), "text of the client's is in the log:\n{log}");
    });
}

#[test]
fn changes_of_keys_are_logged_without_secrets() {
    in_own_process(|| {
        let (secrets, log) = logged(async {
            let store = store([]).await;
            let manager = KeyManager::new(store, format());
            let operator = Authority::operator(acme());
            let created = manager.create(&operator, NewKey::new("made")).await.unwrap();
            let id = created.key.id;
            let rotated = manager.rotate(&operator, &id, KeyManager::DEFAULT_GRACE).await.unwrap();
            let plaintext = SecretString::from(sentinel_key().as_str());
            manager.import(&operator, NewKey::new("imported"), plaintext).await.unwrap();
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
    });
}

#[test]
fn debug_output_has_no_secrets() {
    let key = sentinel_key();
    let mut shown = String::new();
    let format = format();
    let parsed = format.parse(&key).unwrap();
    write!(shown, "{:?} {parsed:?} {format:?}", SecretString::from(key.as_str())).unwrap();
    let request = with_key(&key);
    write!(shown, " {:?}", HeaderKey::new(X_API_KEY, format.clone()).extract(RequestView::of(&request)))
        .unwrap();
    let peppers = Peppers::new(7, SecretString::from(SENTINEL)).unwrap();
    write!(shown, " {peppers:?} {:?}", peppers.candidates(&key)).unwrap();
    let digest = peppers.digest(&key);
    write!(shown, " {digest:?} {:?}", record(&key, |record| record.digest = digest)).unwrap();
    let other = KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap();
    let made = other.generate(Mode::Live).unwrap();
    write!(shown, " {made:?}").unwrap();
    let builder = ApiKeys::builder(MemoryStore::new(), format)
        .header("x-api-key")
        .extractor(HeaderKey::new(X_TOKEN, other))
        .peppers(peppers)
        .without_route_table();
    write!(shown, " {builder:?}").unwrap();
    let keys = builder.build().unwrap();
    write!(shown, " {keys:?} {:?}", keys.manager()).unwrap();
    for layer in [keys.layer(), keys.authenticate(), keys.authorize(), keys.require("a:b")] {
        write!(shown, " {layer:?} {:?}", layer.layer(())).unwrap();
    }

    let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for secret in [SENTINEL, &made.secret.expose_secret()["sk_live_".len()..], &hex] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("[redacted]"), "{shown}");
}

/// A caller with an app's secret, then with a token; a session; and a link that opens once.
#[test]
fn companions_tokens_sessions_and_links_are_neither_logged_nor_in_debug_output() {
    in_own_process(|| {
        let (shown, log) = logged(async {
            let mut shown = String::new();
            let app_secret = format!("app_{SENTINEL}");
            let app = record(&app_secret, |app| app.id = "app_1".parse().unwrap());
            let keys = store([record(&sentinel_key(), |_| {}), app]).await;
            let tokens = SessionTokens::new(SecretString::from(SENTINEL)).unwrap();
            let companions = Companions::new(HeaderKey::new(X_SECRET, KeyFormat::new("app_").unwrap()))
                .with_session_tokens(X_TOKEN, tokens.clone())
                .with_otherwise(Parts::KEY);
            let builder = assembly(keys.clone()).companions(companions.clone()).without_route_table();
            write!(shown, "{tokens:?} {companions:?} {builder:?}").unwrap();
            let assembly = builder.build().unwrap();
            let layer = assembly.layer();
            write!(shown, "{assembly:?} {layer:?}").unwrap();
            let issuer = tokens.clone();
            let mut service = layer.layer(service_fn(move |request: Request<()>| {
                let principal = Principal::from_extensions(request.extensions()).unwrap();
                let text = format!("{principal:?} {request:?}");
                let now = SystemClock.now().timestamp();
                let token = issuer.issue(principal, now).map(|token| token.expose_secret().to_owned());
                std::future::ready(Ok::<_, Infallible>(Response::new(Bytes::from(format!(
                    "{}\n{text}",
                    token.unwrap_or_default()
                )))))
            }));
            let mut send = async |parts: &[(&HeaderName, &str)]| {
                let mut request = with_key(&sentinel_key());
                for (name, value) in parts {
                    request.headers_mut().append(*name, value.parse().unwrap());
                }
                let response: Response<Bytes> = service.call(request).await.unwrap();
                (response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap())
            };
            let (status, answer) = send(&[(&X_SECRET, &app_secret)]).await;
            assert_eq!(status, 200);
            let (token, text) = answer.split_once('\n').unwrap();
            let signature = token.rsplit('.').next().unwrap().to_owned();
            shown += text;
            let (status, answer) = send(&[(&X_TOKEN, token)]).await;
            assert_eq!(status, 200);
            shown += &answer;
            let forged = token.replace("app_1", "app_2");
            for bad in [
                [(&X_SECRET, format!("{app_secret}x")), (&X_TOKEN, token.to_owned())],
                [(&X_SECRET, app_secret.replace("nel", "NEL")), (&X_TOKEN, token.to_owned())],
                [(&X_SECRET, app_secret.clone()), (&X_TOKEN, forged)],
                [
                    (&X_SECRET, app_secret.clone()),
                    (&X_TOKEN, format!("{token}\u{1b}").replace('\u{1b}', "%1b")),
                ],
            ] {
                let parts: Vec<_> = bad.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let (status, answer) = send(&parts).await;
                assert_eq!(status, 401);
                shown += &answer;
            }

            let session = Session::new("ada");
            write!(shown, "{session:?}").unwrap();
            let dashboard = ApiKeys::builder(keys.clone(), format())
                .bearer()
                .sessions(Dashboard)
                .organization(OrganizationRule::context().session_cookie("organization"))
                .without_route_table();
            write!(shown, "{dashboard:?}").unwrap();
            let dashboard = dashboard.build().unwrap();
            write!(shown, "{dashboard:?}").unwrap();
            let mut service = dashboard.authenticate().layer(service_fn(whoami));
            for token in [SENTINEL, "another"] {
                let request = Request::builder().header("authorization", format!("Bearer {token}{SENTINEL}"));
                let _ = service.call(request.body(()).unwrap()).await;
            }

            let links = KeyManager::new(store([]).await, KeyFormat::new("pl_").unwrap());
            let link = links.create(&Authority::operator(acme()), NewKey::new("link")).await.unwrap();
            write!(shown, "{link:?} {:?}", links.redeem(link.secret.expose_secret()).await.unwrap()).unwrap();
            write!(shown, "{:?}", links.redeem(&format!("pl_{SENTINEL}")).await).unwrap();
            (shown, [signature, link.secret.expose_secret()["pl_".len()..].to_owned()])
        });
        let (shown, secrets) = shown;
        for text in [&shown, &log] {
            assert!(!text.to_lowercase().contains("5ent1nel"), "{text}");
            assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
        }
        for expected in ["session token", "redeem", "session-"] {
            assert!(log.contains(expected), "{expected:?} is missing from the log:\n{log}");
        }
    });
}

struct Dashboard;

#[async_trait::async_trait]
impl SessionAuthenticator for Dashboard {
    async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
        let is_known = token.expose_secret().starts_with(SENTINEL);
        Ok(is_known.then(|| Session::new("ada")))
    }
}

/// Including the statements that sqlx logs.
#[cfg(feature = "sqlite")]
#[test]
fn database_queries_do_not_log_digests() {
    in_own_process(|| {
        let directory = std::env::temp_dir().join(format!("api-keys-no-secrets-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        // sqlx logs statements on its own threads.
        let log = Log::default();
        tracing::subscriber::set_global_default(subscriber(&log)).unwrap();
        let digests = block_on(async {
            let store = tower_api_keys::store::SqliteStore::open(directory.join("keys.db")).await.unwrap();
            let keys = assembly(store.clone()).without_route_table().build().unwrap();
            let manager = keys.manager();
            let operator = Authority::operator(acme());
            let key = manager.create(&operator, NewKey::new("key")).await.unwrap();
            let next =
                manager.rotate_on_first_use(&operator, &key.key.id, KeyManager::DEFAULT_GRACE).await.unwrap();
            let mut service = keys.layer().layer(service_fn(whoami));
            for secret in [&key.secret, &next.secret, &key.secret] {
                let response = service.call(with_key(secret.expose_secret())).await.unwrap();
                assert_eq!(response.status(), 200);
            }
            let mut twin = record("wfk_twin", |_| {});
            twin.digest = Peppers::none().digest(next.secret.expose_secret());
            let conflict = store.insert(twin, None).await.unwrap_err();
            let secrets = [key.secret, next.secret];
            let digest = |secret: &SecretString| Peppers::none().digest(secret.expose_secret());
            let digests = secrets.each_ref().map(|secret| digest(secret).to_string());
            assert!(
                !digests.iter().any(|digest| format!("{conflict:?}").contains(&digest["sha256:".len()..]))
            );
            digests
                .into_iter()
                .chain(secrets.map(|secret| secret.expose_secret().to_owned()))
                .collect::<Vec<_>>()
        });
        std::fs::remove_dir_all(&directory).unwrap();
        let log = log.text();
        assert!(log.contains("api_key_digests"), "the statements are logged:\n{log}");
        for digest in &digests {
            let random = digest.rsplit([':', '_']).next().unwrap();
            assert!(!log.contains(random), "{random} is in the log:\n{log}");
        }
    });
}
