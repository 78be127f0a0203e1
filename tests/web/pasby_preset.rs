//! The pasby preset beyond its example server: time, revocation, and two processes that share a signing secret.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::{Clock, ManualClock};
use tower_api_keys::credential::SessionTokens;
use tower_api_keys::identity::OrganizationRule;
use tower_api_keys::key::{KeyId, Mode, Owner};
use tower_api_keys::manage::{CreatedKey, KeyManager};
use tower_api_keys::presets::pasby::{self, ERRORS, X_ACCESS_TOKEN, pasby};
use tower_api_keys::rejection::{ApiError, ErrorTable};
use tower_api_keys::store::{KeySelector, KeyStore};
use tower_api_keys::{
    ApiKeys, ApiKeysBuilder, Authority, ErrorFormat, MemoryStore, NewKey, Principal, Quota, RateLimit,
};

use crate::bodies::{self, get as get_request};
use crate::http2::{Answer, Http2};
use crate::support::{Answers, KEY, START, TestStore, assembly, record, request, store, whoami};

const SIGNING_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A process of the application.
struct Process<F = ErrorTable> {
    keys: ApiKeysBuilder<F>,
    apps: KeyManager,
    grants: Grants,
}

/// Issues session tokens.
#[derive(Clone)]
struct Grants {
    tokens: SessionTokens,
    clock: ManualClock,
    /// The final change of the published errors.
    reject: fn(Response<Bytes>) -> Response,
}

fn preset(store: &MemoryStore, clock: &ManualClock) -> Process {
    preset_with(SIGNING_SECRET, store, clock)
}

fn preset_with(secret: &str, store: &MemoryStore, clock: &ManualClock) -> Process {
    let tokens = SessionTokens::new(secret.to_owned().into()).unwrap();
    let keys = pasby(store.clone(), tokens.clone())
        .clock(clock.clone())
        .client_address(ClientAddressSource::peer().from_connect_info());
    Process {
        keys,
        apps: pasby::app_manager(store.clone()).with_clock(clock.clone()),
        grants: Grants { tokens, clock: clock.clone(), reject: |response| response.map(Body::from) },
    }
}

/// Serves a process on its own socket, and connects to it.
async fn serve<F: ErrorFormat<Body>>(process: Process<F>) -> (Http2, ApiKeys<F>, KeyManager) {
    let served =
        async |principal: Principal| principal.companion_id().map(KeyId::to_string).unwrap_or_default();
    let keys = process.keys.build().unwrap();
    let app = Router::new()
        .route("/api/v1/flow/authorize", get(authorize))
        .route("/api/v1/flow/ping", post(served))
        .route("/api/v2/flow/ping", post(served))
        .with_state(process.grants)
        .layer(keys.layer());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    (Http2::connect(&address).await, keys, process.apps)
}

async fn authorize(principal: Principal, State(grants): State<Grants>, uri: Uri) -> Response {
    let app = uri.query().and_then(|query| query.rsplit_once("app=")).map(|(_, app)| app);
    let token = grants.tokens.issue(&principal, grants.clock.now().timestamp());
    match token {
        Some(token) if principal.companion_id().map(KeyId::as_str) == app => {
            let fields = [(X_ACCESS_TOKEN, token.expose_secret()), (CACHE_CONTROL, "no-store")];
            (fields, "granted").into_response()
        }
        Some(_) => (grants.reject)(ERRORS.response("authorization_error")),
        None => (grants.reject)(ERRORS.response("secret_missing")),
    }
}

fn operator(mode: Mode) -> Authority {
    Authority::operator(Owner::organization("org_1".parse().unwrap(), mode))
}

async fn mint<F>(keys: &ApiKeys<F>, apps: &KeyManager, mode: Mode) -> (CreatedKey, CreatedKey) {
    let key = keys.manager().create(&operator(mode), NewKey::new("First")).await.unwrap();
    let app = apps.create(&operator(mode), NewKey::new("First")).await.unwrap();
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

fn rejected(kind: &str) -> (u16, String) {
    (401, kind.to_owned())
}

#[tokio::test]
async fn a_token_lasts_fifteen_minutes_also_elsewhere_and_after_a_restart() {
    let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
    let (mut first, keys, apps) = serve(preset(&store, &clock)).await;
    let (key, app) = mint(&keys, &apps, Mode::Test).await;
    let token = token(&mut first, &key, &app).await;
    drop(first);
    let (mut second, ..) = serve(preset(&store, &clock)).await;
    let (mut stranger, ..) = serve(preset_with("another secret of thirty-two bytes", &store, &clock)).await;
    assert_eq!(ping(&mut second, &key, &token).await, passes());
    assert_eq!(ping(&mut stranger, &key, &token).await, rejected("authorization_error"));
    clock.advance(Duration::from_secs(15 * 60) - Duration::from_millis(1));
    assert_eq!(ping(&mut second, &key, &token).await, passes());
    clock.advance(Duration::from_millis(1));
    assert_eq!(ping(&mut second, &key, &token).await, rejected("session_expiry"));
}

#[tokio::test]
async fn revoking_key_or_secret_ends_the_tokens_and_a_rotation_after_its_grace() {
    let minute = Duration::from_secs(60);
    for is_app in [false, true] {
        let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
        let (mut client, keys, apps) = serve(preset(&store, &clock)).await;
        let manager = if is_app { &apps } else { keys.manager() };
        let operator = operator(Mode::Test);

        let (key, app) = mint(&keys, &apps, Mode::Test).await;
        let id = if is_app { app.key.id } else { key.key.id };
        let granted = token(&mut client, &key, &app).await;
        assert_eq!(ping(&mut client, &key, &granted).await, passes());
        let rotated = manager.rotate(&operator, &id, minute).await.unwrap();
        let new_key = if is_app { &key } else { &rotated };
        assert_eq!(ping(&mut client, new_key, &granted).await, passes(), "in the grace, app: {is_app}");
        clock.advance(minute);
        assert_eq!(
            ping(&mut client, new_key, &granted).await,
            rejected("authorization_error"),
            "app: {is_app}"
        );

        let new_app = if is_app { &rotated } else { &app };
        let granted = token(&mut client, new_key, new_app).await;
        assert_eq!(ping(&mut client, new_key, &granted).await, passes());
        manager.revoke(&operator, &id).await.unwrap();
        assert_eq!(
            ping(&mut client, new_key, &granted).await,
            rejected("authorization_error"),
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
async fn another_key_or_app_of_the_organization_cannot_use_a_token() {
    let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
    let (mut client, keys, apps) = serve(preset(&store, &clock)).await;
    let ((key, app), (other_key, other_app)) =
        (mint(&keys, &apps, Mode::Live).await, mint(&keys, &apps, Mode::Live).await);
    let granted = token(&mut client, &key, &app).await;
    assert_eq!(ping(&mut client, &other_key, &granted).await, rejected("authorization_error"));
    let fields = [
        ("x-api-key", key.secret.expose_secret().as_bytes()),
        ("x-access-secret", other_app.secret.expose_secret().as_bytes()),
        ("x-access-token", granted.as_bytes()),
    ];
    let answer = client.send(Method::POST, "/api/v1/flow/ping", &fields).await.unwrap();
    assert_eq!(answer.status(), 401);
    // Any app of the organization is accepted with any key of it, in the same mode.
    let answer =
        send(&mut client, "/api/v2/flow/ping", &key, ("x-access-secret", other_app.secret.expose_secret()));
    assert_eq!(answer.await.body, other_app.key.id.as_str());
}

#[tokio::test]
async fn credentials_have_the_published_format_and_the_store_only_digests() {
    let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
    let Process { keys, apps, .. } = preset(&store, &clock);
    let keys = keys.build().unwrap();
    for (mode, key_prefix, secret_prefix) in
        [(Mode::Test, "bk-test_", "snb_"), (Mode::Live, "bk-live_", "prd_")]
    {
        let (key, app) = mint(&keys, &apps, mode).await;
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
async fn undocumented_errors_have_the_published_envelope_too() {
    async fn body<S>(service: S, request: http::Request<()>) -> (u16, Value)
    where
        S: tower::Service<http::Request<()>, Response = http::Response<Bytes>>,
        S::Error: std::fmt::Debug,
    {
        let response = service.oneshot(request).await.unwrap();
        let json = serde_json::from_slice::<Value>(response.body());
        (response.status().as_u16(), json.unwrap()["type"].clone())
    }
    let down = TestStore::new(MemoryStore::new(), Answers::WithAnError);
    let keys = assembly(down).without_route_table().errors(ERRORS.clone()).build().unwrap();
    let layered = keys.layer().layer(service_fn(whoami));
    assert_eq!(body(layered, request(KEY)).await, (503, json!("server_error")));
    let keys = assembly(store([record(KEY, |_| {})]).await).without_route_table().errors(ERRORS.clone());
    let keys = keys.build().unwrap();
    let scope = || keys.require("a:b").layer(service_fn(whoami));
    assert_eq!(body(scope(), request(KEY)).await, (500, json!("server_error")));
    let layered = keys.layer().layer(scope());
    assert_eq!(body(layered, request(KEY)).await, (403, json!("authorization_error")));
}

#[tokio::test]
async fn the_application_sets_the_code_of_the_envelope() {
    let response: Response<Bytes> = pasby::error(StatusCode::UNAUTHORIZED, "session_cancel", "\"gone\"\n");
    let json: Value = serde_json::from_slice(response.body()).unwrap();
    let expected = json!({
        "status": "handled", "reason": "\"gone\"\n", "type": "session_cancel", "code": 401,
        "helper_url": "https://docs.pasby.africa/docs/reference/errors", "body": null
    });
    assert_eq!((response.status(), json), (StatusCode::UNAUTHORIZED, expected));

    fn with_code_400(published: Response<Bytes>) -> Response {
        published.map(|body| {
            let mut json: Value = serde_json::from_slice(&body).unwrap();
            json["code"] = 400.into();
            Body::from(json.to_string())
        })
    }
    let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
    let Process { keys, apps, grants } = preset(&store, &clock);
    // A response that is not an envelope is left unchanged.
    let keys = keys.errors(|error: &ApiError<'_>| {
        let published: Response<Bytes> = ERRORS.error(error);
        match published.headers()["content-type"] == "application/json" {
            true => with_code_400(published),
            false => published.map(Body::from),
        }
    });
    let grants = Grants { reject: with_code_400, ..grants };
    let (mut client, keys, apps) = serve(Process { keys, apps, grants }).await;
    let (key, app) = mint(&keys, &apps, Mode::Test).await;
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
    // One request uses the first permit of the connection.
    let limit = RateLimit::per_address("address", Quota::per_minute(3).unwrap());
    let process = preset(&store, &clock);
    let process = Process { keys: process.keys.limits([limit]), ..process };
    let (mut client, keys, apps) = serve(process).await;
    let (key, app) = mint(&keys, &apps, Mode::Test).await;
    let secret = ("x-access-secret", app.secret.expose_secret());
    for status in [200, 200, 429] {
        assert_eq!(send(&mut client, "/api/v2/flow/ping", &key, secret).await.status(), status);
    }
    clock.advance(Duration::from_secs(61));
    assert_eq!(send(&mut client, "/api/v2/flow/ping", &key, secret).await.status(), 200);
}

/// The published envelope.
fn envelope(status: u16, kind: &str, reason: &str) -> String {
    format!(
        r#"{{"status":"handled","reason":"{reason}","type":"{kind}","code":{status},"helper_url":"https://docs.pasby.africa/docs/reference/errors","body":null}}"#
    )
}

#[test]
fn the_matrix_lists_forgotten_routes() {
    let matrix = preset(&MemoryStore::new(), &ManualClock::starting_at(START)).keys.build().unwrap();
    assert_eq!(matrix.uncovered([(Method::POST, "/api/v2/flow/ping")]), []);
    let forgotten = (Method::GET, "/api/v1/signing/wildcard");
    assert_eq!(matrix.uncovered([forgotten.clone()]), [forgotten.into()]);
}

#[tokio::test]
async fn every_body_is_as_published() {
    const INVALID: &str = "The credentials are not valid.";
    const SERVER: &str = "Something went wrong on our side. Try again.";
    const AUTHORIZE: &str = "/api/v1/flow/authorize?sub=bcn_1";
    let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
    let Process { keys, apps, .. } = preset(&store, &clock);
    let (key, app) = mint(&keys.build().unwrap(), &apps, Mode::Test).await;
    let (key, app) = (key.secret.expose_secret(), app.secret.expose_secret());
    let preset = || preset(&store, &clock).keys.client_address(ClientAddressSource::peer());
    let get = |path: &str, fields: &[(&str, &str)]| {
        let mut request = get_request(path, fields);
        request.extensions_mut().insert(PeerAddress([192, 0, 2, 1].into()));
        request
    };
    let all = async |path: &str, fields: &[(&str, &str)]| bodies::all(preset(), get(path, fields)).await;
    let (with_key, wrong) = (("x-api-key", key), "bk-test_00000000000000000000000000000000");

    for (path, fields, status, text) in [
        ("/", &[][..], 401, "An api key is needed to access our services."),
        (AUTHORIZE, &[], 401, "An api key is needed to access our services."),
        ("/api/v2/flow/ping", &[with_key], 400, "App secret missing in headers."),
        ("/none", &[with_key], 400, "App secret missing in headers."),
        (AUTHORIZE, &[with_key], 401, "App secret missing"),
    ] {
        let rejected = all(path, fields).await;
        rejected.is_text(status, text);
        let challenges: &[&str] = if status == 401 { &[r#"ApiKey header="x-api-key""#] } else { &[] };
        assert_eq!(rejected.challenges(), challenges, "{path}");
    }
    for (path, fields, kind, reason) in [
        ("/", &[("x-api-key", wrong)][..], "authorization_error", INVALID),
        ("/", &[("x-api-key", "bk-")], "authorization_error", INVALID),
        ("/", &[with_key, with_key], "authorization_error", INVALID),
        ("/api/v2/flow/ping", &[with_key, ("x-access-secret", "snb_")], "authorization_error", INVALID),
        ("/api/v2/flow/ping", &[with_key, ("x-access-secret", key)], "authorization_error", INVALID),
        ("/", &[with_key, ("x-access-token", "wrong")], "authorization_error", INVALID),
        (
            "/api/v1/flow/ping",
            &[with_key],
            "authorization_error",
            "A session token is needed in x-access-token.",
        ),
    ] {
        all(path, fields).await.is_json(401, &envelope(401, kind, reason));
    }
    let limit = RateLimit::per_address("address", Quota::per_minute(1).unwrap());
    let limited = bodies::second(preset().limits([limit]), || get("/", &[with_key])).await;
    limited.is_text(429, "Too many requests. Try again later.");

    // The guide names no organizations. An application that does gets the envelope, too.
    let forbidden = envelope(403, "authorization_error", "The key may not do this.");
    let header = || preset().organization(OrganizationRule::named_in("organization-id"));
    bodies::all(header(), get("/", &[with_key])).await.is_json(403, &forbidden);
    let named = get("/", &[with_key, ("organization-id", "other")]);
    bodies::all(header(), named).await.is_json(403, &forbidden);
    let keys = preset().build().unwrap();
    let scope = ServiceBuilder::new().layer(keys.layer()).layer(keys.require("a:b")).service_fn(whoami);
    let response = scope.oneshot(get("/", &[with_key])).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (403, forbidden.as_bytes()));
    let misplaced = bodies::through(keys.require("a:b"), get("/", &[with_key])).await;
    misplaced.is_json(500, &envelope(500, "server_error", SERVER));
    let down = TestStore::new(MemoryStore::new(), Answers::WithAnError);
    let tokens = SessionTokens::new(SIGNING_SECRET.into()).unwrap();
    let failed = bodies::all(pasby(down, tokens), get("/", &[with_key])).await;
    failed.is_json(503, &envelope(503, "server_error", SERVER));
    assert_eq!(failed.headers["retry-after"], "1");

    // An app's secret with another app's token, and an expired token.
    let (mut client, keys, apps) = serve(preset_with(SIGNING_SECRET, &store, &clock)).await;
    let (key, other_app) = mint(&keys, &apps, Mode::Test).await;
    let granted = token(&mut client, &key, &other_app).await;
    let ping = |secret: Option<&str>| {
        let fields = [("x-api-key", key.secret.expose_secret()), ("x-access-token", &granted)];
        let fields: Vec<_> =
            fields.into_iter().chain(secret.map(|secret| ("x-access-secret", secret))).collect();
        get("/api/v1/flow/ping", &fields)
    };
    let invalid = envelope(401, "authorization_error", INVALID);
    assert_eq!(bodies::all(preset(), ping(None)).await.status, 200);
    bodies::all(preset(), ping(Some(app))).await.is_json(401, &invalid);
    clock.advance(Duration::from_secs(15 * 60));
    let expired = envelope(401, "session_expiry", "The session has expired. Authorize again.");
    bodies::all(preset(), ping(None)).await.is_json(401, &expired);

    // The errors of the handlers of authorize.
    for (code, status, text) in [
        ("secret_missing", 401, "App secret missing"),
        ("consumer_missing", 403, "Forbidden request. No consumer provided."),
        ("app_missing", 400, "Authorization grants are only given to apps not organizations."),
    ] {
        let response: http::Response<Bytes> = ERRORS.response(code);
        assert_eq!((response.status().as_u16(), &response.body()[..]), (status, text.as_bytes()), "{code}");
        assert_eq!(response.headers()["content-type"], "text/plain", "{code}");
    }
    let response: http::Response<Bytes> =
        pasby::error(StatusCode::UNAUTHORIZED, "authorization_error", pasby::INVALID);
    assert_eq!((response.status().as_u16(), &response.body()[..]), (401, invalid.as_bytes()));
}
