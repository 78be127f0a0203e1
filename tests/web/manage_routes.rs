//! The axum routes for managing keys, behind the real authentication layer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_core::Stream;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::ManualClock;
use tower_api_keys::key::{Digest, KeyId, KeyRecord, Mode, Owner};
use tower_api_keys::manage::{AuditEvent, CreatedKey, KeyManager, KeyRoutes};
use tower_api_keys::rejection::{ApiError, ErrorKind, ProblemDetails, Success};
use tower_api_keys::route::RouteMatching;
use tower_api_keys::store::{
    KeyAdministration, KeyQuery, KeySelector, KeyStore, Lookup, Page, StoreError, StoreErrorKind,
};
use tower_api_keys::{Authority, ErrorFormat, MemoryStore, NewKey};

use crate::support::{START, acme, assembly, format};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MANAGER: &[&str] = &["api-keys:read", "api-keys:write", "workflows:*"];

struct World {
    app: Router,
    manager: KeyManager,
    store: MemoryStore,
    clock: ManualClock,
    store_is_down: Arc<AtomicBool>,
    events: Arc<Mutex<Vec<AuditEvent>>>,
}

impl World {
    fn new() -> Self {
        Self::with_format(ProblemDetails)
    }

    fn with_format(errors: impl ErrorFormat<Body>) -> Self {
        let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
        let store_is_down = Arc::new(AtomicBool::new(false));
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        let manager = KeyManager::new(Failing(store.clone(), store_is_down.clone()), format())
            .with_clock(clock.clone())
            .with_metadata_of_callers()
            .with_audit(move |event: &AuditEvent| sink.lock().unwrap().push(event.clone()));
        let keys = assembly(store.clone())
            .clock(clock.clone())
            .client_address(ClientAddressSource::peer())
            .allow_anonymous()
            .without_route_table()
            .match_routes(RouteMatching::MatchedPath)
            .errors(errors)
            .build()
            .unwrap();
        let routes: Router = keys.key_routes_of(manager.clone()).delete_revokes().into_router();
        let app = Router::new()
            .nest("/auth/api-keys", routes.clone())
            .nest("/companies/{id}/{key}/api-keys", routes)
            .layer(keys.layer());
        Self { app, manager, store, clock, store_is_down, events }
    }

    async fn create(&self, owner: &Owner, scopes: &[&str]) -> CreatedKey {
        let key = scopes.iter().fold(NewKey::new("key"), |key, scope| key.scope(*scope));
        self.manager.create(&Authority::operator(owner.clone()), key).await.unwrap()
    }

    /// The secret of a key that may manage keys.
    async fn caller(&self) -> String {
        self.create(&acme(), MANAGER).await.secret.expose_secret().to_owned()
    }

    async fn send(&self, method: Method, path: &str, key: &str, content_type: &str, body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !key.is_empty() {
            request = request.header("x-api-key", key);
        }
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        Answer::of(self.app.clone().oneshot(request.body(body).unwrap()).await.unwrap()).await
    }

    async fn get(&self, query: &str, key: &str) -> Answer {
        self.send(Method::GET, &format!("/auth/api-keys{query}"), key, "", Body::empty()).await
    }

    async fn post(&self, key: &str, body: impl ToString) -> Answer {
        let body = Body::from(body.to_string());
        self.send(Method::POST, "/auth/api-keys", key, "application/json", body).await
    }

    async fn post_from(&self, peer: &str, key: &str, body: Value) -> Answer {
        let mut request = Request::post("/auth/api-keys")
            .header("x-api-key", key)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        request.extensions_mut().insert(PeerAddress(peer.parse().unwrap()));
        Answer::of(self.app.clone().oneshot(request).await.unwrap()).await
    }

    /// With `If-Match` unless it is empty.
    async fn patch(&self, id: &str, key: &str, if_match: &str, body: Value) -> Answer {
        let mut request = Request::patch(format!("/auth/api-keys/{id}"))
            .header("x-api-key", key)
            .header("content-type", "application/merge-patch+json");
        if !if_match.is_empty() {
            request = request.header("if-match", if_match);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        Answer::of(self.app.clone().oneshot(request).await.unwrap()).await
    }

    async fn delete(&self, id: &str, key: &str) -> Answer {
        self.send(Method::DELETE, &format!("/auth/api-keys/{id}"), key, "", Body::empty()).await
    }
}

/// A response, read completely.
#[derive(Debug, PartialEq)]
struct Answer {
    status: StatusCode,
    headers: Vec<(String, String)>,
    text: String,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let status = response.status();
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Self { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    /// The fields that are reported as not valid.
    fn fields(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}

/// A store that can be made unavailable.
pub(crate) struct Failing(pub(crate) MemoryStore, pub(crate) Arc<AtomicBool>);

impl Failing {
    fn up(&self) -> Result<&MemoryStore, StoreError> {
        let failed = || StoreError::new(StoreErrorKind::Unavailable).with_source("db-7.internal is down");
        if self.1.load(Ordering::SeqCst) { Err(failed()) } else { Ok(&self.0) }
    }
}

impl KeyStore for Failing {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        match self.up() {
            Ok(store) => store.find(selector),
            Err(error) => Lookup::ready(Err(error)),
        }
    }
}

#[async_trait]
impl KeyAdministration for Failing {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.up()?.insert(record, event).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.up()?.get(owner, id).await
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.up()?.list(owner, query).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.up()?.replace(record, event).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.up()?.delete(owner, id, event).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.up()?.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.up()?.imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.up()?.forget_import(id, event).await
    }
}

#[tokio::test]
async fn a_key_is_read_and_changed_by_merge_patches_of_the_version_they_name() {
    let world = World::new();
    let caller = world.caller().await;
    let made =
        world.post(&caller, json!({"name": "CI", "scopes": ["workflows:read", "workflows:run"]})).await;
    let made = made.json();
    let id = made["id"].as_str().unwrap();
    let read = world.get(&format!("/{id}"), &caller).await;
    assert_eq!((read.status, read.header("etag")), (StatusCode::OK, "\"0\""));
    let mut want = made.clone();
    want.as_object_mut().unwrap().remove("key");
    assert_eq!(read.json(), want);

    let end = "2024-01-01T00:00:00Z";
    let steps = [
        ("", json!({"scopes": ["workflows:read"], "expiresAt": end}), 200, "\"1\""),
        ("\"1\"", json!({"name": "Nightly", "allowedAddresses": ["192.0.2.0/24"]}), 200, "\"2\""),
        ("\"1\"", json!({"name": "Late"}), 412, ""),
        ("W/\"2\"", json!({"name": "Weak"}), 412, ""),
        ("2", json!({"name": "No tag"}), 400, ""),
        ("*", json!({"name": null}), 400, ""),
        ("*", json!({"id": "k1"}), 400, ""),
        ("*", json!({"limits": {"read": 0}, "notBefore": "soon"}), 400, ""),
        ("*", json!({"limits": {"read": "9"}}), 400, ""),
        ("*", json!({"limits": ["read"]}), 400, ""),
        ("\"2\"", json!({}), 200, "\"2\""),
        ("\"2\"", json!({"limits": {"read": 9}}), 403, ""),
        ("\"2\"", json!({"scopes": ["runs:read"]}), 403, ""),
        ("\"2\"", json!({"limits": null, "notBefore": null, "allowedAddresses": null}), 200, "\"3\""),
        ("", json!({"metadata": {"plan": "free", "crm": "c_1", "seats": {"max": 3}}}), 200, "\"4\""),
        (
            "",
            json!({"metadata": {"plan": "pro", "crm": null, "seats": {"max": null, "used": 2}}}),
            200,
            "\"5\"",
        ),
        ("", json!({"metadata": ["pro"]}), 400, ""),
        ("", json!({"metadata": {"more": "x".repeat(4_080)}}), 400, ""),
    ];
    for (if_match, patch, status, tag) in steps {
        let answer = world.patch(id, &caller, if_match, patch.clone()).await;
        assert_eq!(answer.status, status, "{if_match} {patch}");
        assert_eq!(answer.header("cache-control"), "no-store");
        if status == 200 {
            assert_eq!(answer.header("etag"), tag, "{if_match} {patch}");
            assert_eq!(answer.json(), world.get(&format!("/{id}"), &caller).await.json(), "{patch}");
        }
    }
    let want = json!({
        "id": id, "organization": "acme", "mode": "live", "name": "Nightly", "hint": made["hint"],
        "nextHint": null, "scopes": ["workflows:read"], "status": "active", "createdAt": made["createdAt"],
        "secretCreatedAt": made["secretCreatedAt"], "ageDays": 0, "previousValidUntil": null, "lastUsedAt": null, "notBefore": null, "expiresAt": end, "limits": {}, "allowedAddresses": null,
        "metadata": {"plan": "pro", "seats": {"used": 2}}, "createdBy": made["createdBy"],
    });
    assert_eq!(world.get(&format!("/{id}"), &caller).await.json(), want);

    world.delete(id, &caller).await;
    assert_eq!(world.get(&format!("/{id}"), &caller).await.json()["status"], "revoked");
    assert_eq!(world.patch(id, &caller, "", json!({"name": "Gone"})).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_key_is_revoked_with_what_was_made_with_it_on_demand() {
    let world = World::new();
    let caller = world.caller().await;
    let make =
        async |key: &str| world.post(key, json!({"name": "CI", "scopes": ["api-keys:write"]})).await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let maker = make(&caller).await;
    let child = make(&text(&maker["key"])).await;
    for query in ["?descendants=yes", "?descendants=", "?descendants=true&descendants=true"] {
        let answer = world.delete(&format!("{}{query}", text(&maker["id"])), &caller).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, vec!["descendants".to_owned()])
        );
    }
    let sibling = make(&caller).await;
    let one = world.delete(&format!("{}?descendants=false", text(&sibling["id"])), &caller).await;
    assert_eq!(one.json()["status"], "revoked");
    let all = world.delete(&format!("{}?descendants=true", text(&maker["id"])), &caller).await;
    assert_eq!(all.status, StatusCode::OK);
    let revoked: Vec<_> = all.json()["data"].as_array().unwrap().iter().map(|key| text(&key["id"])).collect();
    assert_eq!(revoked, [text(&maker["id"]), text(&child["id"])]);
    assert_eq!(make(&text(&child["key"])).await["status"], 401);
}

#[tokio::test]
async fn a_new_key_has_the_limits_and_the_start_that_are_asked_for() {
    let world = World::new();
    let mut new = NewKey::new("caller").scopes(["api-keys:read", "api-keys:write"]);
    new.limits.insert("read".into(), 100.try_into().unwrap());
    let caller = world.manager.create(&Authority::operator(acme()), new).await.unwrap();
    let caller = caller.secret.expose_secret();
    for (limits, status, want) in [
        (json!({"read": 50}), 201, json!({"read": 50})),
        (json!({"read": 100}), 201, json!({"read": 100})),
        (json!({"read": null}), 201, json!({"read": 100})),
        (json!(null), 201, json!({"read": 100})),
        (json!({"read": 101}), 403, Value::Null),
        (json!({"write": 1}), 403, Value::Null),
    ] {
        let start = "2024-01-01T00:00:00Z";
        let body = json!({"name": "CI", "scopes": [], "limits": limits.clone(), "notBefore": start});
        let made = world.post(caller, body).await;
        assert_eq!(made.status, status, "{limits}");
        let made = made.json();
        assert_eq!(made["limits"], want, "{limits}");
        assert_eq!(made["notBefore"] == json!(start), status == 201, "{made}");
    }
}

#[tokio::test]
async fn a_key_is_made_listed_used_and_revoked() {
    let world = World::new();
    let caller = world.caller().await;
    let made = world.post(&caller, json!({"name": "CI", "scopes": ["workflows:read"]})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let hint = format!("wfk_…{}", &key[key.len() - 4..]);
    assert_eq!(
        made,
        json!({
            "id": id, "key": key, "organization": "acme", "mode": "live", "name": "CI", "hint": hint,
            "nextHint": null, "scopes": ["workflows:read"], "status": "active",
            "createdAt": "2023-12-14T05:20:00Z", "secretCreatedAt": "2023-12-14T05:20:00Z", "ageDays": 0,
            "previousValidUntil": null, "lastUsedAt": null, "notBefore": null, "expiresAt": null, "limits": {}, "allowedAddresses": null,
            "metadata": null, "createdBy": made["createdBy"],
        })
    );
    assert_eq!(
        world.get("", key).await.status,
        StatusCode::FORBIDDEN,
        "the key works, and may not manage keys"
    );

    world.clock.advance(3 * DAY);
    let listed = world.get("", &caller).await.json();
    let shown = listed["data"].as_array().unwrap().iter().find(|shown| shown["id"] == id).unwrap();
    assert_eq!(shown["ageDays"], 3);
    assert!(shown.get("key").is_none(), "the secret was shown once");
    assert_eq!(listed["nextCursor"], Value::Null);

    let revoked = world.delete(id, &caller).await;
    assert_eq!(revoked.status, StatusCode::OK);
    assert_eq!(revoked.json()["status"], "revoked");
    assert_eq!(world.get("", key).await.status, StatusCode::UNAUTHORIZED, "a revoked key is no key");
    let own = listed["data"].as_array().unwrap().iter().find(|shown| shown["id"] != id).unwrap();
    let own = own["id"].as_str().unwrap();
    assert_eq!(world.delete(own, &caller).await.status, StatusCode::OK, "one's own key, with an answer");
    assert_eq!(world.get("", &caller).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_a_principal_everything_is_401_whatever_the_body() {
    let world = World::new();
    let id = world.create(&acme(), MANAGER).await.key.id;
    let before = world.store.len();
    let good = json!({"name": "CI", "scopes": [], "owner": "acme", "userId": 1}).to_string();
    let huge = "x".repeat(100_000);
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD];
    let mut answers = Vec::new();
    for method in methods {
        for path in ["/auth/api-keys".to_owned(), format!("/auth/api-keys/{id}"), "/auth/api-keys/%ff".into()]
        {
            for body in ["", "{}", good.as_str(), huge.as_str()] {
                let answer = world
                    .send(method.clone(), &path, "", "application/json", Body::from(body.to_owned()))
                    .await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
                assert_eq!(answer.header("www-authenticate"), r#"ApiKey header="x-api-key""#);
                if method != Method::HEAD {
                    answers.push(answer);
                }
            }
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "all of them are alike");
    assert_eq!(world.store.len(), before, "nothing is stored");

    let caller = world.caller().await;
    let answer = world.send(Method::PUT, "/auth/api-keys", &caller, "", Body::empty()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("allow")),
        (405, "GET,HEAD,POST"),
        "reported to a permitted caller"
    );

    // The body is not read either: this one never arrives.
    let never = Body::from_stream(Never);
    let answer = world.send(Method::POST, "/auth/api-keys", "", "application/json", never);
    let answer =
        tokio::time::timeout(Duration::from_secs(5), answer).await.expect("the body is not waited for");
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn routes_outside_of_the_layer_accept_no_request() {
    let world = World::new();
    let routes = KeyRoutes::new(world.manager.clone(), ProblemDetails).delete_revokes();
    let routes: Router = routes.into_router();
    let response = routes.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

/// A body of which nothing ever arrives.
struct Never;

impl futures_core::Stream for Never {
    type Item = Result<bytes::Bytes, std::io::Error>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn without_the_management_scope_everything_is_403_before_the_body_is_read() {
    let world = World::new();
    let target = world.create(&acme(), MANAGER).await.key.id;
    let key = world.create(&acme(), &["workflows:*"]).await;
    let key = key.secret.expose_secret();
    for answer in [
        world.get("", key).await,
        world.get("?limit=nonsense", key).await,
        world.post(key, json!({"name": "CI", "scopes": []})).await,
        world.post(key, "nonsense").await,
        world.delete(target.as_str(), key).await,
        world.delete("no-such-key", key).await,
        world.delete("%00", key).await,
    ] {
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.json()["code"], "management_scope_missing");
    }
    let events = std::mem::take(&mut *world.events.lock().unwrap());
    assert_eq!(events.len(), 2 + 7, "each attempt is audited, once");
    assert!(events[2..].iter().any(|event| event.key_id == Some(target)), "with the key it was about");
    let never = Body::from_stream(Never);
    let answer = world.send(Method::POST, "/auth/api-keys", key, "application/json", never);
    let answer =
        tokio::time::timeout(Duration::from_secs(5), answer).await.expect("the body is not waited for");
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn more_scopes_than_the_callers_are_403_and_no_scopes_are_none() {
    let world = World::new();
    let caller = world.caller().await;
    let rejected = world.post(&caller, json!({"name": "CI", "scopes": ["runs:read"]})).await;
    assert_eq!(rejected.status, StatusCode::FORBIDDEN);
    let none = world.post(&caller, json!({"name": "CI", "scopes": []})).await;
    assert_eq!((none.status, &none.json()["scopes"]), (StatusCode::CREATED, &json!([])));
    let key = none.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(world.get("", &key).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn bad_bodies_are_400_with_every_fault_and_nothing_is_stored() {
    let world = World::new();
    let caller = world.caller().await;
    let deep = format!(r#"{{"name":"CI","scopes":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let long = json!({"name": "CI", "scopes": [], "x".repeat(65): 1}).to_string();
    let cases: &[(&str, &[&str])] = &[
        ("", &["body"]),
        ("nonsense", &["body"]),
        ("null", &["body"]),
        ("[]", &["body"]),
        ("\"name\"", &["body"]),
        (r#"{"name":"CI","scopes":[]"#, &["body"]),
        (r#"{"name":"CI","scopes":[]} {}"#, &["body"]),
        (&deep, &["body"]),
        (&long, &["body"]),
        ("{}", &["name", "scopes"]),
        (r#"{"name":null,"scopes":null}"#, &["name", "scopes"]),
        (r#"{"name":7,"scopes":"workflows:read"}"#, &["name", "scopes"]),
        (r#"{"name":"CI"}"#, &["scopes"]),
        (r#"{"name":"CI","scopes":{}}"#, &["scopes"]),
        (r#"{"name":"CI","scopes":[1]}"#, &["scopes"]),
        (r#"{"name":"CI","scopes":["workflows:read",null]}"#, &["scopes"]),
        (r#"{"name":"CI","scopes":["*"]}"#, &["scopes"]),
        (r#"{"name":"CI","scopes":["*:*"]}"#, &["scopes"]),
        (r#"{"name":"CI","scopes":["Workflows:read"]}"#, &["scopes"]),
        (r#"{"name":"","scopes":[]}"#, &["name"]),
        (r#"{"name":"a\u001b[31m","scopes":[]}"#, &["name"]),
        (r#"{"name":"CI","name":"CI","scopes":[]}"#, &["name"]),
        (r#"{"name":"CI","scopes":[],"scopes":["workflows:*"]}"#, &["scopes"]),
        (r#"{"name":"CI","scopes":[],"expiresAt":null,"expiresAt":null}"#, &["expiresAt"]),
        (r#"{"name":"CI","scopes":[],"expiresAt":4102444800}"#, &["expiresAt"]),
        (r#"{"name":"CI","scopes":[],"expiresAt":"tomorrow"}"#, &["expiresAt"]),
        (r#"{"name":"CI","scopes":[],"expiresAt":"2030-01-31"}"#, &["expiresAt"]),
        (r#"{"name":"CI","scopes":[],"expiresAt":"2023-12-14T05:20:00Z"}"#, &["expiresAt"]),
        (r#"{"name":"CI","scopes":[],"expiresAt":"1960-01-01T00:00:00Z"}"#, &["expiresAt"]),
        (r#"{"name":"CI","scopes":[],"allowedAddresses":"192.0.2.1"}"#, &["allowedAddresses"]),
        (r#"{"name":"CI","scopes":[],"allowedAddresses":{}}"#, &["allowedAddresses"]),
        (r#"{"name":"CI","scopes":[],"allowedAddresses":[]}"#, &["allowedAddresses"]),
        (r#"{"name":"CI","scopes":[],"allowedAddresses":[null]}"#, &["allowedAddresses"]),
        (r#"{"name":"CI","scopes":[],"allowedAddresses":[3221225985]}"#, &["allowedAddresses"]),
        (r#"{"name":"CI","scopes":[],"allowedAddresses":["192.0.2.1/24"]}"#, &["allowedAddresses"]),
        (r#"{"name":"CI","scopes":[],"allowedAddresses":["192.0.2.0/33"]}"#, &["allowedAddresses"]),
        (r#"{"name":"CI","scopes":[],"allowedAddresses":["::1","example.com"]}"#, &["allowedAddresses"]),
        (r#"{"name":"CI","scopes":[],"allowedAddresses":[" 192.0.2.1"]}"#, &["allowedAddresses"]),
        (
            r#"{"name":"CI","scopes":[],"allowedAddresses":null,"allowedAddresses":["::1"]}"#,
            &["allowedAddresses"],
        ),
        (r#"{"name":"CI","scopes":[],"allowed_addresses":["::1"]}"#, &["allowed_addresses"]),
        (r#"{"name":"CI","scopes":[],"id":"k1"}"#, &["id"]),
        (r#"{"name":"CI","scopes":[],"mode":"live","owner":"globex"}"#, &["mode", "owner"]),
        (r#"{"name":"CI","scopes":[],"limits":{"read":0},"key":"wfk_x"}"#, &["key", "limits"]),
        (r#"{"name":"CI","scopes":[],"notBefore":"soon"}"#, &["notBefore"]),
        (r#"{"name":"CI","scopes":[],"metadata":"pro"}"#, &["metadata"]),
        (r#"{"name":"CI","scopes":[],"limits":{"read":1,"read":2}}"#, &["limits"]),
        (
            r#"{"name":"CI","scopes":[],"metadata":{"a":[{"b":1,"\u0062":1}]},"x":{"y":1,"y":1}}"#,
            &["metadata", "x"],
        ),
        (r#"{"name":"CI","scopes":[],"Name":"CI","expires_at":null}"#, &["Name", "expires_at"]),
        (r#"{"name":7,"scopes":[],"status":"active"}"#, &["status", "name"]),
    ];
    let before = world.store.len();
    for (body, want) in cases {
        let answer = world.post(&caller, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.fields(), *want, "{body}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!((&answer.json()["status"], &answer.json()["code"]), (&json!(400), &json!("invalid")));
    }
    assert_eq!(world.store.len(), before);
}

#[tokio::test]
async fn a_body_is_json_of_a_bounded_length() {
    let world = World::new();
    let caller = world.caller().await;
    let good = json!({"name": "CI", "scopes": []}).to_string();
    let padded = |length: usize| format!("{good}{}", " ".repeat(length - good.len()));
    for (content_type, body, want) in [
        ("application/json", good.clone(), StatusCode::CREATED),
        ("Application/JSON; charset=utf-8", good.clone(), StatusCode::CREATED),
        ("application/json", padded(16 * 1024), StatusCode::CREATED),
        ("application/json", padded(16 * 1024 + 1), StatusCode::BAD_REQUEST),
        ("", good.clone(), StatusCode::BAD_REQUEST),
        ("text/plain", good.clone(), StatusCode::BAD_REQUEST),
        ("application/jsonp", good.clone(), StatusCode::BAD_REQUEST),
        ("application/x-www-form-urlencoded", "name=CI".into(), StatusCode::BAD_REQUEST),
    ] {
        let length = body.len();
        let answer =
            world.send(Method::POST, "/auth/api-keys", &caller, content_type, Body::from(body)).await;
        assert_eq!(answer.status, want, "{content_type:?}, {length} bytes");
    }
}

#[tokio::test]
async fn an_expiry_is_read_with_its_offset() {
    let world = World::new();
    let caller = world.caller().await;
    let body = json!({"name": "CI", "scopes": [], "expiresAt": "2030-01-31T14:00:00.5+02:00"});
    assert_eq!(world.post(&caller, body).await.json()["expiresAt"], "2030-01-31T12:00:00.5Z");
}

#[tokio::test]
async fn allowed_addresses_are_read_shown_and_bounded_by_the_callers() {
    let world = World::new();
    let caller = world.caller().await;
    let create = |allowed: Value| json!({"name": "CI", "scopes": MANAGER, "allowedAddresses": allowed});

    let made = world.post(&caller, create(json!(["10.0.0.0/8", "::ffff:192.0.2.1", "2001:db8::/32"]))).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let shown = json!(["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
    assert_eq!(made.json()["allowedAddresses"], shown);
    let listed = world.get("", &caller).await.json();
    assert!(listed["data"].as_array().unwrap().iter().any(|key| key["allowedAddresses"] == shown));
    let bounded = made.json()["key"].as_str().unwrap().to_owned();

    for (asked, status, want) in [
        (Value::Null, 201, shown),
        (json!(["10.1.0.0/16"]), 201, json!(["10.1.0.0/16"])),
        (json!(["10.0.0.0/7"]), 403, Value::Null),
        (json!(["0.0.0.0/0", "::/0"]), 403, Value::Null),
    ] {
        let answer = world.post_from("10.9.9.9", &bounded, create(asked.clone())).await;
        assert_eq!(answer.status, status, "{asked}");
        assert_eq!(answer.json()["allowedAddresses"], want, "{asked}");
    }
    let elsewhere = world.post_from("198.51.100.1", &bounded, create(Value::Null)).await;
    assert_eq!(elsewhere.status, StatusCode::FORBIDDEN, "the bounded key itself is bounded");
}

#[tokio::test]
async fn every_id_of_another_owner_is_the_same_404() {
    let world = World::new();
    let caller = world.caller().await;
    let foreign =
        world.create(&Owner::organization("globex".parse().unwrap(), Mode::Live), MANAGER).await.key.id;
    let other_mode = world.create(&Owner { mode: Mode::Test, ..acme() }, MANAGER).await.key.id;
    let revoked = world.create(&acme(), &[]).await.key.id;
    assert_eq!(world.delete(revoked.as_str(), &caller).await.status, StatusCode::OK);
    let unknown = world.delete("k7Jc0qWvTz4n8XsB", &caller).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let too_long = "x".repeat(33);
    for (name, id) in [
        ("another organization's", foreign.as_str()),
        ("the other mode's", other_mode.as_str()),
        ("revoked before", revoked.as_str()),
        ("dots", "%2e%2e"),
        ("an encoded slash", "..%2Fk1"),
        ("not UTF-8", "%ff"),
        ("a null byte", "k1%00"),
        ("a space", "k1%20"),
        ("SQL", "'%20OR%201=1--"),
        ("too long", too_long.as_str()),
    ] {
        assert_eq!(world.delete(id, &caller).await, unknown, "{name}");
    }
    for id in [foreign, other_mode] {
        assert!(world.store.find(KeySelector::Id(&id)).await.unwrap().is_some_and(|key| key.version == 0));
    }
}

#[tokio::test]
async fn the_routes_work_below_paths_with_parameters() {
    let world = World::new();
    let caller = world.caller().await;
    let id = world.create(&acme(), &[]).await.key.id;
    let path = format!("/companies/c1/k1/api-keys/{id}");
    let answer = world.send(Method::DELETE, &path, &caller, "", Body::empty()).await;
    assert_eq!((answer.status, &answer.json()["id"]), (StatusCode::OK, &json!(id.as_str())));
}

#[tokio::test]
async fn a_listing_comes_page_by_page_and_by_age() {
    let world = World::new();
    let caller = world.caller().await;
    for _ in 0..4 {
        world.create(&acme(), &[]).await;
    }
    world.create(&Owner::organization("globex".parse().unwrap(), Mode::Live), MANAGER).await;
    let mut ids = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = world.get(&query, &caller).await.json();
        ids.extend(page["data"].as_array().unwrap().iter().map(|key| key["id"].clone()));
        let Some(next) = page["nextCursor"].as_str() else { break };
        query = format!("?limit=2&cursor={next}");
    }
    let whole = world.get("?utm_source=mail", &caller).await.json();
    let whole: Vec<_> = whole["data"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
    assert_eq!((ids.len(), &ids), (5, &whole));

    world.clock.advance(90 * DAY);
    world.post(&caller, json!({"name": "CI", "scopes": [], "expiresAt": "2024-03-20T00:00:00Z"})).await;
    let creator = &world.get("?expiresWithinDays=9999", &caller).await.json()["data"][0]["createdBy"];
    let made_by_caller = format!("?createdBy={}", creator.as_str().unwrap().replace(' ', "%20"));
    for (query, want) in [
        ("?olderThanDays=90", 0),
        ("?olderThanDays=89", 5),
        ("?olderThanDays=4294967295", 0),
        ("?unusedForDays=89", 5),
        ("?unusedForDays=90", 0),
        ("?expiresWithinDays=6", 0),
        ("?expiresWithinDays=7", 1),
        (&*made_by_caller, 1),
        ("?createdBy=operator", 5),
        ("?createdBy=operator%20ada", 0),
        ("?createdBy=operator&olderThanDays=90", 0),
        ("?status=active", 6),
        ("?status=expired", 0),
        ("?scope=workflows:read", 1),
        ("?scope=workflows:*", 1),
        ("?scope=runs:read", 0),
        ("?namePrefix=key", 5),
        ("?namePrefix=Key", 0),
        ("?namePrefix=C", 1),
        ("?namePrefix=%25", 0),
        ("?namePrefix=_", 0),
        ("?namePrefix=key&scope=api-keys:read&status=active", 1),
    ] {
        let page = world.get(query, &caller).await.json();
        assert_eq!(page["data"].as_array().unwrap().len(), want, "{query}");
    }
    for (query, want) in [
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?limit=-1", "limit"),
        ("?limit=", "limit"),
        ("?limit=1&limit=2", "limit"),
        ("?cursor=nonsense", "cursor"),
        ("?cursor=1.%2e%2e", "cursor"),
        ("?olderThanDays=4294967296", "olderThanDays"),
        ("?olderThanDays=1.5", "olderThanDays"),
        ("?unusedForDays=-1", "unusedForDays"),
        ("?expiresWithinDays=soon", "expiresWithinDays"),
        ("?createdBy=ada", "createdBy"),
        ("?createdBy=operator%20a%00b", "createdBy"),
        ("?status=Active", "status"),
        ("?status=", "status"),
        ("?scope=", "scope"),
        ("?scope=workflows", "scope"),
        ("?scope=workflows:read%20runs:read", "scope"),
        ("?scope=a:b&scope=c:d", "scope"),
        ("?namePrefix=", "namePrefix"),
        ("?namePrefix=a%00", "namePrefix"),
    ] {
        let answer = world.get(query, &caller).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, vec![want.to_owned()]),
            "{query}"
        );
    }
}

#[tokio::test]
async fn no_answer_may_be_cached() {
    let world = World::new();
    let caller = world.caller().await;
    for answer in [
        world.post(&caller, json!({"name": "CI", "scopes": []})).await,
        world.post(&caller, "nonsense").await,
        world.get("", &caller).await,
        world.get("", "").await,
        world.delete("k1", &caller).await,
        world.send(Method::PUT, "/auth/api-keys", &caller, "", Body::empty()).await,
    ] {
        assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_503_and_does_not_reveal_its_error() {
    let world = World::new();
    let caller = world.caller().await;
    world.store_is_down.store(true, Ordering::SeqCst);
    for answer in [
        world.get("", &caller).await,
        world.post(&caller, json!({"name": "CI", "scopes": []})).await,
        world.delete("k1", &caller).await,
    ] {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.json()["code"], "unavailable");
        assert!(!answer.text.contains("internal"), "{answer:?}");
    }
}

/// A body that does something before it ends.
struct Meanwhile(Pin<Box<dyn Future<Output = ()> + Send>>, Option<Bytes>);

impl Stream for Meanwhile {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.1.is_some() {
            ready!(self.0.as_mut().poll(context));
        }
        Poll::Ready(self.1.take().map(Ok))
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_during_its_request_creates_no_key() {
    for action in ["nothing", "revoke", "disable", "delete", "rotate"] {
        let world = World::new();
        let caller = world.create(&acme(), MANAGER).await;
        world.clock.advance(Duration::from_secs(1));
        let (manager, id) = (world.manager.clone(), caller.key.id);
        let meanwhile = async move {
            let operator = Authority::operator(acme());
            match action {
                "revoke" => drop(manager.revoke(&operator, &id).await.unwrap()),
                "disable" => drop(manager.disable(&operator, &id).await.unwrap()),
                "delete" => manager.delete(&operator, &id).await.unwrap(),
                "rotate" => drop(manager.rotate(&operator, &id, Duration::ZERO).await.unwrap()),
                _ => {}
            }
        };
        let body = json!({"name": "successor", "scopes": ["workflows:read"]}).to_string();
        let body = Body::from_stream(Meanwhile(Box::pin(meanwhile), Some(body.into())));
        let secret = caller.secret.expose_secret();
        let answer = world.send(Method::POST, "/auth/api-keys", secret, "application/json", body).await;

        let want = if action == "nothing" { StatusCode::CREATED } else { StatusCode::FORBIDDEN };
        assert_eq!(answer.status, want, "{action}: {answer:?}");
        let others = world.store.len() - usize::from(action != "delete");
        assert_eq!(others, usize::from(action == "nothing"), "{action}: nothing is stored");
        let audited = world.events.lock().unwrap().pop().unwrap();
        let ended = Err("own_key_ended".into());
        assert_eq!(audited.outcome, if action == "nothing" { Ok(()) } else { ended }, "{action}");
    }
}

/// The format of an application with its own envelope.
struct Envelope;

impl ErrorFormat<Body> for Envelope {
    fn success(&self, success: &Success) -> Response {
        let mut body = json!({"success": true, "data": success.data});
        if let Some(next_cursor) = &success.next_cursor {
            body["nextCursor"] = next_cursor.as_str().into();
        }
        (success.status, [("cache-control", "max-age=60")], axum::Json(body)).into_response()
    }

    fn error(&self, error: &ApiError<'_>) -> Response {
        let mut body = json!({"success": false, "error": {"code": "NOT_FOUND"}});
        if error.kind() == ErrorKind::Invalid {
            let details =
                error.fields().iter().map(|fault| json!({"field": fault.field, "message": fault.message}));
            body["error"] = json!({"code": "VALIDATION_ERROR", "details": details.collect::<Vec<_>>()});
        }
        (error.status(), axum::Json(body)).into_response()
    }
}

#[tokio::test]
async fn an_application_sets_the_format_of_responses() {
    let world = World::with_format(Envelope);
    let caller = world.caller().await;
    world.create(&acme(), &[]).await;
    let page = world.get("?limit=1", &caller).await;
    let caching: Vec<_> = page.headers.iter().filter(|(name, _)| name == "cache-control").collect();
    assert_eq!(caching, [&("cache-control".to_owned(), "no-store".to_owned())], "not for a format to decide");
    let page = page.json();
    assert_eq!((&page["success"], page["data"].as_array().unwrap().len()), (&json!(true), 1));
    assert!(page["nextCursor"].is_string());
    let made = world.post(&caller, json!({"name": "CI", "scopes": []})).await;
    assert!(made.json()["data"]["key"].as_str().unwrap().starts_with("wfk_"));
    let rejected = world.post(&caller, json!({"name": "CI", "scopes": [], "id": "k1"})).await;
    assert_eq!(
        rejected.json(),
        json!({"success": false, "error": {
            "code": "VALIDATION_ERROR",
            "details": [{"field": "id", "message": "is not a member of a new key"}],
        }})
    );
}
