//! A caller asks who it is.

use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_keys::clock::ManualClock;
use tower_api_keys::identity::{OrganizationRule, Role, Session, SessionAuthenticator};
use tower_api_keys::key::{Metadata, Mode, Owner, SecretString};
use tower_api_keys::rejection::{ApiError, Success};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::StoreError;
use tower_api_keys::{Access, ApiKeys, Authority, ErrorFormat, KeyFormat, MemoryStore, NewKey};

use crate::support::{START, acme};

const HOUR: Duration = Duration::from_secs(3600);

struct People;

#[async_trait]
impl SessionAuthenticator for People {
    async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
        let scopes = ScopeSet::parse_list(["invoice:read"]).unwrap();
        let ada = Session::new("ada").with_name("Ada").with_expiry(START.saturating_add(HOUR));
        let ada = ada.with_owner(acme(), Role::of_rank(1), scopes);
        Ok((token.expose_secret() == "dash_ada").then_some(ada))
    }
}

struct Envelope;

impl ErrorFormat<Body> for Envelope {
    fn error(&self, error: &ApiError<'_>) -> Response {
        let mut response = Response::new(Body::from(json!({ "error": error.code() }).to_string()));
        *response.status_mut() = error.status();
        response
    }

    fn success(&self, success: &Success) -> Response {
        Response::new(Body::from(json!({ "ok": success.to_json() }).to_string()))
    }
}

async fn ask(app: &Router, path: &str, token: &str) -> (StatusCode, Value) {
    let mut request = Request::get(path).header("cookie", "organization=acme");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store", "{path}");
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_caller_learns_who_it_is_and_nothing_that_is_not_its_own_to_know() {
    let clock = ManualClock::starting_at(START);
    let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_").unwrap())
        .bearer()
        .clock(clock.clone())
        .sessions(People)
        .organization(OrganizationRule::context().session_cookie("organization").header("x-organization"))
        .route("GET", "/whoami", Access::AnyKey)
        .route("GET", "/system/whoami", Access::AnyKey.of_system())
        .errors(Envelope)
        .build()
        .unwrap();
    let app: Router = Router::new()
        .route("/whoami", keys.whoami_route())
        .route("/system/whoami", keys.whoami_route())
        .layer(keys.layer());

    let mut new = NewKey::new("Production").scope("invoice:read");
    new.expires_at = Some(START.saturating_add(48 * HOUR));
    new.metadata = Some(Metadata::new(&json!({ "risk": "late payer" })).unwrap());
    let operator = Authority::operator(acme());
    let key = keys.manager().create(&operator, new).await.unwrap();
    let mut of_key = json!({
        "id": key.key.id, "name": "Production", "organization": "acme", "mode": "live",
        "scopes": ["invoice:read"], "createdAt": "2023-12-14T05:20:00Z", "expiresAt": "2023-12-16T05:20:00Z",
        "secretRetiredUntil": null,
    });
    let (first, id) = (key.secret.expose_secret(), key.key.id);
    assert_eq!(ask(&app, "/whoami", first).await, (StatusCode::OK, json!({ "ok": of_key })));

    let rotated = keys.manager().rotate(&operator, &id, HOUR).await.unwrap();
    let second = rotated.secret.expose_secret();
    assert_eq!(ask(&app, "/whoami", second).await, (StatusCode::OK, json!({ "ok": of_key })));
    of_key["secretRetiredUntil"] = json!("2023-12-14T06:20:00Z");
    assert_eq!(
        ask(&app, "/whoami", first).await,
        (StatusCode::OK, json!({ "ok": of_key })),
        "time to change"
    );

    let system = Authority::operator(Owner::system(Mode::Test));
    let key = keys.manager().create(&system, NewKey::new("Provisioning")).await.unwrap();
    let of_system = json!({
        "id": key.key.id, "name": "Provisioning", "organization": null, "mode": "test", "scopes": [],
        "createdAt": "2023-12-14T05:20:00Z", "expiresAt": null, "secretRetiredUntil": null,
    });
    let answer = ask(&app, "/system/whoami", key.secret.expose_secret()).await;
    assert_eq!(answer, (StatusCode::OK, json!({ "ok": of_system })));

    let (status, of_session) = ask(&app, "/whoami", "dash_ada").await;
    let id = of_session["ok"]["id"].as_str().unwrap();
    assert!(id.starts_with("session-"), "{id}");
    let want = json!({
        "id": id, "name": "Ada", "organization": "acme", "mode": "live", "scopes": ["invoice:read"],
        "createdAt": null, "expiresAt": "2023-12-14T06:20:00Z", "secretRetiredUntil": null,
    });
    assert_eq!((status, &of_session["ok"]), (StatusCode::OK, &want));

    clock.advance(HOUR);
    for (token, code) in [
        ("", "unauthenticated"),
        (first, "unauthenticated"),
        ("dash_ada", "unauthenticated"),
        ("dash_eve", "unauthenticated"),
    ] {
        let want = (StatusCode::UNAUTHORIZED, json!({ "error": code }));
        assert_eq!(ask(&app, "/whoami", token).await, want, "{token}");
    }
}

#[tokio::test]
async fn an_anonymous_request_is_nobody() {
    let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_").unwrap())
        .bearer()
        .public("GET", "/whoami")
        .errors(Envelope)
        .build()
        .unwrap();
    let app: Router = Router::new().route("/whoami", keys.whoami_route()).layer(keys.layer());
    let want = (StatusCode::UNAUTHORIZED, json!({ "error": "unauthenticated" }));
    assert_eq!(ask(&app, "/whoami", "").await, want);
}
