//! The responses of the JustPaid preset, byte for byte, including those that its example server never sends.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::ManualClock;
use tower_api_keys::identity::OrganizationRule;
use tower_api_keys::manage::KeyManager;
use tower_api_keys::presets::justpaid::{all_scopes, justpaid, key_format, limits};
use tower_api_keys::rejection::ErrorTable;
use tower_api_keys::store::KeyAdministration;
use tower_api_keys::{ApiKeysBuilder, MemoryStore, Quota};

use crate::bodies::{self, Whole, get, key_routes, routed, second, through};
use crate::manage_routes::Failing;
use crate::support::{Answers, KEY, OTHER_KEY, START, TestStore, UNKNOWN_KEY, record, store};

const UNAUTHORIZED: &str =
    r#"{"success":false,"error":{"code":"UNAUTHORIZED","message":"Invalid or missing API key"}}"#;
const FORBIDDEN: &str = r#"{"success":false,"error":{"code":"FORBIDDEN","message":"Insufficient permissions for this operation"}}"#;
const UNAVAILABLE: &str =
    r#"{"success":false,"error":{"code":"SERVICE_UNAVAILABLE","message":"Service temporarily unavailable"}}"#;
const INTERNAL_ERROR: &str =
    r#"{"success":false,"error":{"code":"INTERNAL_ERROR","message":"Internal server error"}}"#;
const KEY_NOT_FOUND: &str = r#"{"success":false,"error":{"code":"NOT_FOUND","message":"API key not found"}}"#;

/// Has [`KEY`], which may read workflows, and [`OTHER_KEY`], which may do everything.
async fn preset() -> ApiKeysBuilder<ErrorTable> {
    preset_in(keys().await)
}

async fn keys() -> MemoryStore {
    store([record(KEY, |_| {}), record(OTHER_KEY, |key| key.scopes = all_scopes())]).await
}

fn preset_in(store: impl KeyAdministration) -> ApiKeysBuilder<ErrorTable> {
    justpaid(store).clock(ManualClock::starting_at(START))
}

fn read(path: &str, keys: &[&str]) -> Request<()> {
    let fields: Vec<_> = keys.iter().map(|key| ("x-api-key", *key)).collect();
    let mut request = get(path, &fields);
    request.extensions_mut().insert(PeerAddress([192, 0, 2, 1].into()));
    request
}

async fn all(keys: ApiKeysBuilder<ErrorTable>, path: &str, with: &[&str]) -> Whole {
    bodies::all(keys, read(path, with)).await
}

#[test]
fn six_scopes_and_two_for_managing_keys_can_be_granted() {
    assert_eq!(all_scopes().len(), 8);
}

#[tokio::test]
async fn bad_credentials_are_one_body() {
    for keys in [&[][..], &[UNKNOWN_KEY], &["wfk_"], &[KEY, KEY]] {
        let rejected = all(preset().await, "/workflows", keys).await;
        rejected.is_json(401, UNAUTHORIZED);
        assert_eq!(rejected.challenges(), [r#"ApiKey header="x-api-key""#]);
    }
}

#[tokio::test]
async fn forbidden_requests_are_one_body() {
    for (path, key) in [("/runs", KEY), ("/none", OTHER_KEY), ("/workflows//", OTHER_KEY)] {
        all(preset().await, path, &[key]).await.is_json(403, FORBIDDEN);
    }
    // This API names organizations only in the key. An application that names them elsewhere gets the same body.
    let header = || OrganizationRule::named_in("organization-id");
    all(preset().await.organization(header()), "/workflows", &[KEY]).await.is_json(403, FORBIDDEN);
    let mut named = read("/workflows", &[KEY]);
    named.headers_mut().insert("organization-id", "globex".parse().unwrap());
    bodies::all(preset().await.organization(header()), named).await.is_json(403, FORBIDDEN);
    let route = OrganizationRule::context().route_parameter("id");
    all(preset().await.organization(route), "/workflows/globex", &[KEY]).await.is_json(403, FORBIDDEN);
}

#[tokio::test]
async fn a_limit_is_reported_with_its_window() {
    for (seconds, per) in [(1, "second"), (60, "minute"), (90, "90 seconds")] {
        let limits = limits(1, 1, 1, 1, Duration::from_secs(seconds)).unwrap();
        let rejected = second(preset().await.limits(limits), || read("/workflows", &[KEY])).await;
        let message = format!("Rate limit exceeded. Limit: 1 requests per {per}.");
        let body = format!(r#"{{"success":false,"error":{{"code":"RATE_LIMITED","message":"{message}"}}}}"#);
        rejected.is_json(429, &body);
        assert_eq!(rejected.headers["x-ratelimit-limit"], "1");
        assert!(rejected.headers.contains_key("retry-after"));
    }
    let throttled = preset().await.throttle_bad_credentials(Quota::per_minute(1).unwrap());
    second(throttled, || read("/workflows", &[UNKNOWN_KEY])).await.is_json(
        429,
        r#"{"success":false,"error":{"code":"RATE_LIMITED","message":"Rate limit exceeded. Limit: 1 requests per minute."}}"#,
    );
    // Webhooks carry no key.
    let limits = limits(1, 1, 1, 1, Duration::from_secs(60)).unwrap();
    let keys = preset().await.limits(limits).client_address(ClientAddressSource::peer()).build().unwrap();
    for status in [200, 429] {
        let mut webhook = read("/webhooks/bank", &[]);
        *webhook.method_mut() = http::Method::POST;
        assert_eq!(through(keys.limit_addresses(), webhook).await.status, status);
    }
}

#[tokio::test]
async fn server_errors_do_not_reveal_their_cause() {
    let down = preset_in(TestStore::new(MemoryStore::new(), Answers::WithAnError));
    let rejected = all(down, "/workflows", &[KEY]).await;
    rejected.is_json(503, UNAVAILABLE);
    assert_eq!(rejected.headers["retry-after"], "1");
    let keys = preset().await.build().unwrap();
    through(keys.authorize(), read("/workflows", &[KEY])).await.is_json(500, INTERNAL_ERROR);
}

async fn manage(keys: ApiKeysBuilder<ErrorTable>, method: &str, path: &str, key: &str, body: Value) -> Whole {
    let routes = key_routes(&keys.build().unwrap(), "/auth/api-keys", true);
    let request =
        Request::builder().method(method).uri(format!("/auth/api-keys{path}")).header("x-api-key", key);
    let request = request.header("content-type", "application/json");
    routed(routes, request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn key_routes_respond_in_the_published_envelopes() {
    let body = |scope: &str| json!({ "name": "CI", "scopes": [scope] });
    let made = manage(preset().await, "POST", "", OTHER_KEY, body("workflows:read")).await;
    let shown: Value = serde_json::from_str(&made.body).unwrap();
    assert!(shown["data"]["key"].as_str().unwrap().starts_with("wfk_"), "{shown}");
    made.is_json(201, &format!(r#"{{"success":true,"data":{}}}"#, shown["data"]));
    let listed = manage(preset().await, "GET", "", OTHER_KEY, Value::Null).await;
    let shown: Value = serde_json::from_str(&listed.body).unwrap();
    assert_eq!(shown["data"].as_array().unwrap().len(), 2, "{shown}");
    listed.is_json(200, &format!(r#"{{"success":true,"data":{}}}"#, shown["data"]));
    let first = manage(preset().await, "GET", "?limit=1", OTHER_KEY, Value::Null).await;
    let shown: Value = serde_json::from_str(&first.body).unwrap();
    let next = shown["nextCursor"].as_str().unwrap();
    first.is_json(200, &format!(r#"{{"success":true,"data":{},"nextCursor":"{next}"}}"#, shown["data"]));

    let none = manage(preset().await, "DELETE", "/none", OTHER_KEY, Value::Null).await;
    none.is_json(404, KEY_NOT_FOUND);
    manage(preset().await, "GET", "", KEY, Value::Null).await.is_json(403, FORBIDDEN);
    let not_held = manage(preset().await, "POST", "", OTHER_KEY, body("nothing:like-that")).await;
    not_held.is_json(400, r#"{"success":false,"error":{"code":"VALIDATION_ERROR","message":"Invalid request","details":[{"field":"scopes","message":"must be scopes that keys can have here"}]}}"#);
    let faulty = manage(preset().await, "POST", "", OTHER_KEY, json!({ "scopes": [], "id": "k1" })).await;
    faulty.is_json(400, r#"{"success":false,"error":{"code":"VALIDATION_ERROR","message":"Invalid request","details":[{"field":"id","message":"is not a member of a new key"},{"field":"name","message":"is required"}]}}"#);

    // Outside of the layer there is no caller.
    let routes = preset().await.build().unwrap().key_routes::<()>();
    routed(routes, Request::new(Body::empty())).await.is_json(401, UNAUTHORIZED);
    // The store fails after the caller was authenticated.
    let keys = preset().await.build().unwrap();
    let down = Failing(MemoryStore::new(), Arc::new(AtomicBool::new(true)));
    let routes = keys.key_routes_of(KeyManager::new(down, key_format()));
    let routes = routes.into_router().layer(keys.authenticate());
    let request = Request::delete("/none").header("x-api-key", OTHER_KEY).body(Body::empty()).unwrap();
    routed(routes, request).await.is_json(503, UNAVAILABLE);
}
