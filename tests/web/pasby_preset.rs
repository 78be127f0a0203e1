//! What the pasby preset does that its example server does not show: time, revocation, and two processes that share a
//! signing secret.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod support;

#[path = "support/http2.rs"]
mod http2;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{Method, StatusCode};
use http2::{Answer, Http2};
use serde_json::{Value, json};
use support::*;
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::Principal;
use tower_api_keys::clock::ManualClock;
use tower_api_keys::credential::SessionTokens;
use tower_api_keys::key::{KeyId, Mode, Owner};
use tower_api_keys::limit::Quota;
use tower_api_keys::manage::{Authority, CreatedKey, NewKey};
use tower_api_keys::presets::pasby::{self, ErrorType, Pasby, PasbyFormat};
use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
use tower_api_keys::store::{KeySelector, KeyStore, MemoryStore};
use tower_api_keys::{AuthenticateLayer, RequireScopeLayer};

const SIGNING_SECRET: &str = "0123456789abcdef0123456789abcdef";

type Host = Pasby<MemoryStore>;

fn preset(store: &MemoryStore, clock: &ManualClock) -> Host {
    let tokens = SessionTokens::new(SIGNING_SECRET.into()).unwrap();
    Pasby::new(store.clone(), tokens).with_clock(clock.clone())
}

/// A process of the host's, at a socket of its own.
async fn serve(pasby: Host) -> Http2 {
    let served =
        async |principal: Principal| principal.companion_id().map(KeyId::to_string).unwrap_or_default();
    let app = Router::new()
        .route("/api/v1/flow/authorize", get(authorize))
        .route("/api/v1/flow/ping", post(served))
        .route("/api/v2/flow/ping", post(served))
        .with_state(pasby.clone())
        .layer(pasby.authenticate())
        .layer(pasby.address_limit());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    Http2::connect(&address).await
}

async fn authorize(principal: Principal, State(pasby): State<Host>, uri: Uri) -> Response {
    match pasby.authorize(&principal, &uri) {
        Ok(token) => (token, "granted").into_response(),
        Err(error) => error.response(pasby.rejection_format()),
    }
}

fn operator(mode: Mode) -> Authority {
    Authority::operator(Owner::organization("org_1".parse().unwrap(), mode))
}

async fn mint(pasby: &Host, mode: Mode) -> (CreatedKey, CreatedKey) {
    let new = || NewKey::new("First");
    let key = pasby.key_manager().create(&operator(mode), new()).await.unwrap();
    let app = pasby.app_manager().create(&operator(mode), new()).await.unwrap();
    (key, app)
}

async fn send(client: &mut Http2, path: &str, key: &CreatedKey, field: (&str, &str)) -> Answer {
    let method = if path.contains("authorize") { Method::GET } else { Method::POST };
    let fields = [("x-api-key", key.secret.expose_secret().as_bytes()), (field.0, field.1.as_bytes())];
    client.send(method, path, &fields).await.unwrap()
}

async fn token(client: &mut Http2, key: &CreatedKey, app: &CreatedKey) -> String {
    let path = format!("/api/v1/flow/authorize?sub=bcn_1&app={}", app.key.id);
    let answer = send(client, &path, key, ("x-access-secret", app.secret.expose_secret())).await;
    assert_eq!(answer.status(), 200, "{}", answer.body);
    answer.header("x-access-token").unwrap().to_owned()
}

/// The status of a ping with a token, and the envelope's type.
async fn ping(client: &mut Http2, key: &CreatedKey, token: &str) -> (u16, String) {
    let answer = send(client, "/api/v1/flow/ping", key, ("x-access-token", token)).await;
    let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer.status(), json["type"].as_str().unwrap_or_default().to_owned())
}

fn passes() -> (u16, String) {
    (200, String::new())
}

fn refused(kind: &str) -> (u16, String) {
    (401, kind.to_owned())
}

#[tokio::test]
async fn a_token_lasts_fifteen_minutes_also_elsewhere_and_after_a_restart() {
    let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
    let pasby = preset(&store, &clock);
    let (key, app) = mint(&pasby, Mode::Test).await;
    let mut first = serve(pasby).await;
    let token = token(&mut first, &key, &app).await;
    drop(first);
    let mut second = serve(preset(&store, &clock)).await;
    let other_secret = SessionTokens::new("another secret of thirty-two bytes".into()).unwrap();
    let mut stranger = serve(Pasby::new(store.clone(), other_secret).with_clock(clock.clone())).await;
    assert_eq!(ping(&mut second, &key, &token).await, passes());
    assert_eq!(ping(&mut stranger, &key, &token).await, refused("authorization_error"));
    clock.advance(Duration::from_secs(15 * 60) - Duration::from_millis(1));
    assert_eq!(ping(&mut second, &key, &token).await, passes());
    clock.advance(Duration::from_millis(1));
    assert_eq!(ping(&mut second, &key, &token).await, refused("session_expiry"));
}

#[tokio::test]
async fn r57_revoking_key_or_secret_ends_the_tokens_and_a_rotation_ends_them_with_its_grace() {
    let minute = Duration::from_secs(60);
    for is_app in [false, true] {
        let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
        let pasby = preset(&store, &clock);
        let manager = if is_app { pasby.app_manager() } else { pasby.key_manager() };
        let mut client = serve(pasby.clone()).await;
        let operator = operator(Mode::Test);

        let (key, app) = mint(&pasby, Mode::Test).await;
        let id = if is_app { app.key.id } else { key.key.id };
        let granted = token(&mut client, &key, &app).await;
        assert_eq!(ping(&mut client, &key, &granted).await, passes());
        let rotated = manager.rotate(&operator, &id, minute).await.unwrap();
        let new_key = if is_app { &key } else { &rotated };
        assert_eq!(ping(&mut client, new_key, &granted).await, passes(), "in the grace, app: {is_app}");
        clock.advance(minute);
        assert_eq!(
            ping(&mut client, new_key, &granted).await,
            refused("authorization_error"),
            "app: {is_app}"
        );

        let new_app = if is_app { &rotated } else { &app };
        let granted = token(&mut client, new_key, new_app).await;
        assert_eq!(ping(&mut client, new_key, &granted).await, passes());
        manager.revoke(&operator, &id).await.unwrap();
        assert_eq!(
            ping(&mut client, new_key, &granted).await,
            refused("authorization_error"),
            "app: {is_app}"
        );
        let answer = send(
            &mut client,
            "/api/v2/flow/ping",
            new_key,
            ("x-access-secret", new_app.secret.expose_secret()),
        );
        assert_eq!(answer.await.status(), 401, "app: {is_app}");
    }
}

#[tokio::test]
async fn another_key_or_app_of_the_organization_makes_no_use_of_a_token() {
    let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
    let pasby = preset(&store, &clock);
    let mut client = serve(pasby.clone()).await;
    let ((key, app), (other_key, other_app)) =
        (mint(&pasby, Mode::Live).await, mint(&pasby, Mode::Live).await);
    let granted = token(&mut client, &key, &app).await;
    assert_eq!(ping(&mut client, &other_key, &granted).await, refused("authorization_error"));
    let fields = [
        ("x-api-key", key.secret.expose_secret().as_bytes()),
        ("x-access-secret", other_app.secret.expose_secret().as_bytes()),
        ("x-access-token", granted.as_bytes()),
    ];
    let answer = client.send(Method::POST, "/api/v1/flow/ping", &fields).await.unwrap();
    assert_eq!(answer.status(), 401);
    // Any app of the organization goes with any key of it, in the same mode.
    let answer =
        send(&mut client, "/api/v2/flow/ping", &key, ("x-access-secret", other_app.secret.expose_secret()));
    assert_eq!(answer.await.body, other_app.key.id.as_str());
}

#[tokio::test]
async fn r19_r20_credentials_look_as_published_and_the_store_has_digests_only() {
    let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
    let pasby = preset(&store, &clock);
    for (mode, key_prefix, secret_prefix) in
        [(Mode::Test, "bk-test_", "snb_"), (Mode::Live, "bk-live_", "prd_")]
    {
        let (key, app) = mint(&pasby, mode).await;
        for (created, prefix, id_prefix) in [(key, key_prefix, ""), (app, secret_prefix, "app_")] {
            let text = created.secret.expose_secret();
            assert!(text.starts_with(prefix) && text.len() == prefix.len() + 32, "{text}");
            assert!(created.key.id.as_str().starts_with(id_prefix));
            let stored = store.find(KeySelector::Id(&created.key.id)).await.unwrap().unwrap();
            assert!(!format!("{stored:?}").contains(&text[prefix.len()..]));
        }
    }
    assert!(pasby::key_format().parse("bk_test_abc123def456ghi789jkl012mno345pq").is_err());
}

#[tokio::test]
async fn r27_r68_what_the_guide_does_not_name_is_in_its_envelope_too() {
    async fn body<S>(service: S, request: http::Request<()>) -> (u16, Value)
    where
        S: tower::Service<http::Request<()>, Response = http::Response<bytes::Bytes>>,
        S::Error: std::fmt::Debug,
    {
        let response = service.oneshot(request).await.unwrap();
        let json = serde_json::from_slice::<Value>(response.body());
        (response.status().as_u16(), json.unwrap()["type"].clone())
    }
    let format = PasbyFormat::default();
    let down = TestStore::new(MemoryStore::new(), Answers::WithAnError);
    let layer = AuthenticateLayer::new(down, header_key()).with_rejection_format(format);
    assert_eq!(body(layer.layer(service_fn(whoami)), request(KEY)).await, (503, json!("server_error")));
    let scope = RequireScopeLayer::new(ScopeRequirement::from_static("a:b")).with_rejection_format(format);
    assert_eq!(
        body(scope.clone().layer(service_fn(whoami)), request(KEY)).await,
        (500, json!("server_error"))
    );
    let keys = store([record(KEY, |_| {})]).await;
    let layer = AuthenticateLayer::new(keys, header_key()).with_rejection_format(format);
    let layered = layer.layer(scope.layer(service_fn(whoami)));
    assert_eq!(body(layered, request(KEY)).await, (403, json!("authorization_error")));
}

#[tokio::test]
async fn the_envelope_s_code_is_the_host_s_to_say() {
    let format = PasbyFormat::with_codes(|_| 400);
    let response: http::Response<bytes::Bytes> =
        format.error(StatusCode::UNAUTHORIZED, ErrorType::SessionCancel, "\"gone\"\n");
    let json: Value = serde_json::from_slice(response.body()).unwrap();
    let expected = json!({
        "status": "handled", "reason": "\"gone\"\n", "type": "session_cancel", "code": 400,
        "helper_url": "https://docs.pasby.africa/docs/reference/errors", "body": null
    });
    assert_eq!((response.status(), json), (StatusCode::UNAUTHORIZED, expected));

    let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
    let pasby = preset(&store, &clock).with_codes(|_| 400);
    let (key, app) = mint(&pasby, Mode::Test).await;
    let mut client = serve(pasby).await;
    for path in ["/api/v1/flow/authorize?sub=bcn_1&app=app_other", "/api/v2/flow/ping"] {
        let secret = if path.contains("ping") { "wrong" } else { app.secret.expose_secret() };
        let answer = send(&mut client, path, &key, ("x-access-secret", secret)).await;
        let json: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status(), &json["code"]), (401, &json!(400)), "{path}");
    }
}

#[tokio::test]
async fn the_limit_s_window_slides_with_the_clock() {
    let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
    // One request goes to the connection's first one.
    let pasby = preset(&store, &clock).with_address_limit(Quota::per_minute(3).unwrap());
    let (key, app) = mint(&pasby, Mode::Test).await;
    let mut client = serve(pasby).await;
    let secret = ("x-access-secret", app.secret.expose_secret());
    for status in [200, 200, 429] {
        assert_eq!(send(&mut client, "/api/v2/flow/ping", &key, secret).await.status(), status);
    }
    clock.advance(Duration::from_secs(61));
    assert_eq!(send(&mut client, "/api/v2/flow/ping", &key, secret).await.status(), 200);
}
