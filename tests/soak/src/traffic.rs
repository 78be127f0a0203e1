//! Clients of a node: those that use keys, and one that manages them.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::HttpBody as Body;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::book::{Book, End, Live};
use crate::watch::{REVOKED_FOR, Watch};

/// No answer within it is none.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a stream may outlive its key: a second longer than requests are accepted, and a second to look.
const STREAM_FOR: Duration = Duration::from_secs(REVOKED_FOR.as_secs() + 2);
/// How many keys a pair of nodes has at a time.
const KEYS: usize = 40;

/// The keys that stay what they are.
pub(crate) struct Fixed {
    /// May manage keys.
    pub(crate) admin: String,
    pub(crate) expired: String,
    pub(crate) wrong_scope: String,
    /// To five requests a minute.
    pub(crate) limited: String,
    /// Uses its month, and as many requests at a time as it may.
    pub(crate) busy: String,
}

/// A client of one node.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) node: &'static str,
    pub(crate) address: SocketAddr,
    client: Client<HttpConnector, Full<axum::body::Bytes>>,
    grpc: HealthClient<Channel>,
    watch: Arc<Watch>,
    pub(crate) book: Arc<Book>,
    pub(crate) fixed: Arc<Fixed>,
}

/// An answer; the status is 0 if there is none.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    began: Instant,
}

impl Answer {
    fn is_none(&self) -> bool {
        matches!(self.status, 0 | 503)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Caller {
    pub(crate) fn new(
        node: &'static str,
        address: SocketAddr,
        watch: Arc<Watch>,
        book: Arc<Book>,
        fixed: Arc<Fixed>,
    ) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let channel =
            Endpoint::from_shared(format!("http://{address}")).expect("this is a URL").connect_lazy();
        Self { node, address, client, grpc: HealthClient::new(channel), watch, book, fixed }
    }

    async fn send(&self, asked: &'static str, line: (&str, &str), key: Option<&str>, body: &str) -> Answer {
        let (method, path) = line;
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::from(body.to_owned())).expect("this is a request");
        let (began, calm) = (Instant::now(), self.watch.calm_since());
        let exchange = async {
            let response = self.client.request(request).await.ok()?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.ok()?.to_bytes();
            Some((status, String::from_utf8_lossy(&body).into_owned()))
        };
        let (status, body) = timeout(PATIENCE, exchange).await.ok().flatten().unwrap_or_default();
        self.watch.note(self.node, asked, status, calm);
        Answer { status, body, began }
    }

    /// Calls a gRPC method. The status of the answer is that of HTTP with the same meaning.
    async fn call(&self, asked: &'static str, key: &str) -> Answer {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("x-api-key", key.parse().expect("a key is visible ASCII"));
        let (began, calm) = (Instant::now(), self.watch.calm_since());
        let outcome = timeout(PATIENCE, self.grpc.clone().check(request)).await;
        let (status, body) = match outcome {
            Ok(Ok(_)) => (200, String::new()),
            // The connection broke.
            Ok(Err(status)) if status.source().is_some() => (0, status.to_string()),
            Ok(Err(status)) => {
                let by_http = match status.code() {
                    Code::Unauthenticated => 401,
                    Code::PermissionDenied => 403,
                    Code::ResourceExhausted => 429,
                    Code::Unavailable => 503,
                    _ => 500,
                };
                (by_http, status.to_string())
            }
            Err(_) => (0, String::new()),
        };
        self.watch.note(self.node, asked, status, calm);
        Answer { status, body, began }
    }

    /// Reads notes with a key, or calls the method.
    async fn use_key(&self, request: &'static str, call: &'static str, key: &str) -> Answer {
        match fastrand::u32(..5) {
            0 => self.call(call, key).await,
            _ => self.send(request, ("GET", "/notes"), Some(key), "").await,
        }
    }

    /// Reads notes with a key, to which `expected` is the answer if there is one.
    async fn read(&self, asked: &'static str, key: Option<&str>, expected: &[u16]) -> Answer {
        self.get(asked, "/notes", key, expected).await
    }

    async fn get(&self, asked: &'static str, path: &str, key: Option<&str>, expected: &[u16]) -> Answer {
        let answer = self.send(asked, ("GET", path), key, "").await;
        if !answer.is_none() && !expected.contains(&answer.status) {
            self.watch.violation(
                "rejections",
                format_args!("{}: {asked}: {} {}", self.node, answer.status, answer.body),
            );
        }
        answer
    }

    pub(crate) async fn manage(&self, asked: &'static str, line: (&str, &str), body: &str) -> Answer {
        self.send(asked, line, Some(&self.fixed.admin), body).await
    }

    pub(crate) async fn metrics(&self) -> String {
        self.send("metrics", ("GET", "/metrics"), None, "").await.body
    }

    /// Until the end.
    pub(crate) async fn use_keys(self) {
        while !self.watch.is_over() {
            match fastrand::u32(..100) {
                0..50 => self.use_live().await,
                50..68 => self.use_dead().await,
                68..72 => drop(self.read("expired", Some(&self.fixed.expired), &[401]).await),
                72..76 => drop(self.read("wrong scope", Some(&self.fixed.wrong_scope), &[403]).await),
                76..79 => drop(self.read("malformed", Some("soak_nonsense"), &[401]).await),
                79..82 => drop(self.read("unknown", Some(&crate::invented()), &[401]).await),
                82..84 => drop(self.read("no key", None, &[401]).await),
                84..87 => drop(self.read("limited", Some(&self.fixed.limited), &[200, 429]).await),
                87..91 => drop(self.get("counted", "/counted", Some(&self.fixed.busy), &[200, 429]).await),
                91..95 => drop(self.slow().await),
                95..97 => drop(self.get("page", "/page", None, &[200]).await),
                97..98 => drop(self.get("document", "/openapi.json", None, &[200]).await),
                _ => {
                    let listed = self.manage("list", ("GET", "/api-keys?limit=10"), "").await;
                    self.expect("list", &listed, &[200]);
                }
            }
            sleep(Duration::from_millis(fastrand::u64(40..120))).await;
        }
    }

    /// A request that lasts.
    pub(crate) async fn slow(&self) -> Answer {
        self.get("slow", "/slow", Some(&self.fixed.busy), &[200, 429]).await
    }

    /// Follows events with one key after the other, until the end.
    pub(crate) async fn follow(self) {
        while !self.watch.is_over() {
            sleep(Duration::from_millis(200)).await;
            let Some(key) = self.book.any() else { continue };
            let secret = fastrand::choice(&key.secrets).expect("a key has a secret");
            let request = Request::get(format!("http://{}/events", self.address)).header("x-api-key", secret);
            let request = request.body(Full::default()).expect("this is a request");
            let (calm, opened) =
                (self.watch.calm_since(), timeout(PATIENCE, self.client.request(request)).await);
            let response = opened.ok().and_then(Result::ok);
            self.watch.note(
                self.node,
                "events",
                response.as_ref().map_or(0, |got| got.status().as_u16()),
                calm,
            );
            if let Some(response) = response.filter(|response| response.status() == 200) {
                self.read_events(response.into_body(), secret, calm).await;
            }
        }
    }

    /// Reads what comes while the secret works, for twenty seconds at most.
    async fn read_events<B: Body + Unpin>(&self, mut body: B, secret: &str, calm: Option<u64>) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) && !self.watch.is_over() {
            match timeout(Duration::from_secs(1), body.frame()).await {
                Ok(Some(Ok(_))) | Err(_) => {}
                Ok(None | Some(Err(_))) => {
                    sleep(Duration::from_secs(1)).await;
                    let is_calm = calm.is_some() && calm == self.watch.calm_since();
                    if is_calm && self.book.is_live(secret) && !self.watch.is_over() {
                        self.watch
                            .violation("streams", format_args!("{}: one ended before its key", self.node));
                    }
                    return;
                }
            }
            let outlived = self.book.dead_since(secret).map(|since| since.elapsed()).unwrap_or_default();
            if outlived > STREAM_FOR && self.watch.calm_since().is_some() {
                let node = self.node;
                self.watch
                    .violation("streams", format_args!("{node}: open {outlived:?} after the end of its key"));
                return;
            }
        }
    }

    async fn use_live(&self) {
        let Some(key) = self.book.any() else { return };
        let secret = fastrand::choice(&key.secrets).expect("a key has a secret");
        let answer = self.use_key("valid", "valid call", secret).await;
        if !answer.is_none() && answer.status != 200 && !key.is_taken() {
            let (node, id) = (self.node, &key.id);
            self.watch.violation(
                "rejections",
                format_args!("{node}: valid key {id}: {} {}", answer.status, answer.body),
            );
        }
    }

    async fn use_dead(&self) {
        let Some(dead) = self.book.any_dead() else { return };
        let answer = self.use_key("revoked", "revoked call", &dead.secret).await;
        let since = answer.began.saturating_duration_since(dead.since);
        match answer.status {
            0 | 401 | 503 => {}
            200 if since <= REVOKED_FOR => self.watch.accepted_after(since),
            other => self.watch.violation(
                "revocations",
                format_args!("{}: a key is answered {other} {since:?} after its end", self.node),
            ),
        }
    }

    fn expect(&self, asked: &str, answer: &Answer, expected: &[u16]) -> bool {
        let is_expected = expected.contains(&answer.status);
        if !is_expected && !answer.is_none() {
            self.watch.violation(
                "rejections",
                format_args!("{}: {asked}: {} {}", self.node, answer.status, answer.body),
            );
        }
        is_expected
    }

    /// Until the end.
    pub(crate) async fn manage_keys(self) {
        while !self.watch.is_over() {
            sleep(Duration::from_millis(fastrand::u64(200..600))).await;
            if self.book.count() < KEYS && fastrand::u32(..3) > 0 {
                self.create().await;
                continue;
            }
            let Some(key) = self.book.take() else { continue };
            match fastrand::u32(..10) {
                0..3 => self.rotate(&key, 0).await,
                3..5 => self.rotate(&key, 3600).await,
                5 => self.update(&key).await,
                6 => self.rename(&key).await,
                7..9 => self.revoke(&key).await,
                _ => self.delete(&key.id, &key.secrets).await,
            }
        }
    }

    async fn create(&self) {
        let answer =
            self.manage("create", ("POST", "/api-keys"), r#"{"name":"Soak","scopes":["notes:read"]}"#).await;
        if self.expect("create", &answer, &[201]) {
            let made = answer.json();
            let (id, secret) = (text(&made, "id"), text(&made, "key"));
            self.book.note(&id, "create", true);
            self.book.add(id, vec![secret]);
        }
    }

    async fn rotate(&self, key: &Live, grace: u32) {
        let path = format!("/api-keys/{}/rotate", key.id);
        let answer = self.manage("rotate", ("POST", &path), &format!(r#"{{"graceSeconds":{grace}}}"#)).await;
        let is_done = self.expect("rotate", &answer, &[200]);
        self.book.note(&key.id, "rotate", is_done);
        if !is_done {
            // Which secret is the key's is not known.
            return self.delete(&key.id, &key.secrets).await;
        }
        let kept = usize::from(grace > 0);
        self.book.bury(&key.secrets[kept..]);
        let mut secrets = vec![text(&answer.json(), "key")];
        secrets.extend_from_slice(&key.secrets[..kept]);
        self.book.add(key.id.clone(), secrets);
    }

    async fn update(&self, key: &Live) {
        let path = format!("/api-keys/{}", key.id);
        let name = format!(r#"{{"name":"Soak {}"}}"#, fastrand::u32(..));
        let answer = self.manage("update", ("PATCH", &path), &name).await;
        let is_done = self.expect("update", &answer, &[200]);
        self.book.note(&key.id, "update", is_done);
        self.book.add(key.id.clone(), key.secrets.clone());
    }

    /// Updates it with a reason.
    async fn rename(&self, key: &Live) {
        // An update that changes nothing has no event.
        let (path, name) = (format!("/names/{}", key.id), format!("Soak {}", fastrand::u32(..)));
        let answer = self.manage("rename", ("PUT", &path), &name).await;
        let is_done = self.expect("rename", &answer, &[200]);
        self.book.note(&key.id, "update with reason", is_done);
        self.book.add(key.id.clone(), key.secrets.clone());
    }

    async fn revoke(&self, key: &Live) {
        let path = format!("/api-keys/{}/revoke", key.id);
        // Again, until it is known. Then it may have been done before.
        let mut expected: &[u16] = &[200];
        loop {
            let answer = self.manage("revoke", ("POST", &path), "").await;
            let is_done = self.expect("revoke", &answer, expected);
            self.book.note(&key.id, "revoke", is_done && expected.len() == 1);
            if is_done {
                break;
            }
            expected = &[200, 404];
            sleep(Duration::from_millis(300)).await;
        }
        self.book.end(&key.id, End::Revoked);
        self.book.bury(&key.secrets);
        if let Some(old) = self.book.note_revoked(key.id.clone()) {
            self.delete(&old, &[]).await;
        }
    }

    /// Until it is known to be gone.
    async fn delete(&self, id: &str, secrets: &[String]) {
        let path = format!("/api-keys/{id}");
        let mut expected: &[u16] = &[200];
        loop {
            let answer = self.manage("delete", ("DELETE", &path), "").await;
            let is_done = self.expect("delete", &answer, expected);
            self.book.note(id, "delete", is_done && expected.len() == 1);
            if is_done {
                break;
            }
            expected = &[200, 404];
            sleep(Duration::from_millis(300)).await;
        }
        self.book.end(id, End::Deleted);
        self.book.bury(secrets);
    }
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("{member} in {value}")).to_owned()
}
