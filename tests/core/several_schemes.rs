//! `x-api-key`, Bearer and Basic side by side: one router, three families of keys.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::credential::{BasicKey, BearerKey, HeaderKey};
use tower_api_keys::key::{KeyFormat, KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::rejection::{Reason, Rejection, ErrorKind};
use tower_api_keys::store::{KeyAdministration, MemoryStore};
use tower_api_keys::{AuthenticateLayer, Principal};

const API_KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";
const BEARER: &str = "sk_live_4f9a7Yc2.abc123def456ghi789jkl012mno345pq";
const BASIC: &str = "sk_test_abc123def456ghi789jkl012mno345pq";

async fn app() -> Router {
    let store = MemoryStore::new();
    for (id, key, mode) in
        [("header", API_KEY, Mode::Live), ("4f9a7Yc2", BEARER, Mode::Live), ("basic", BASIC, Mode::Test)]
    {
        let owner = Owner::organization("acme".parse().unwrap(), mode);
        let digest = Peppers::none().digest(key);
        let record = KeyRecord::new(id.parse().unwrap(), owner, digest, Timestamp::from_unix_seconds(0));
        store.insert(record).await.unwrap();
    }
    let api_keys = KeyFormat::new("wfk_").unwrap();
    let bearers =
        KeyFormat::builder("sk_").optional_modes("test_", "live_").public_id(8, '.').build().unwrap();
    let basics = KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap();
    let layer = AuthenticateLayer::new(store, HeaderKey::new(HeaderName::from_static("x-api-key"), api_keys))
        .add_extractor(BearerKey::new(bearers))
        .add_extractor(BasicKey::new(basics));
    let whoami = async |principal: Principal| format!("{} {}", principal.key_id(), principal.scheme());
    Router::new().route("/", get(whoami)).layer(layer)
}

async fn answer(app: &Router, fields: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::new(Body::empty());
    for (name, value) in fields {
        request
            .headers_mut()
            .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    app.clone().oneshot(request).await.unwrap()
}

fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{key}:")))
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[tokio::test]
async fn the_one_that_is_there_decides() {
    let app = app().await;
    for (field, value, who) in [
        ("x-api-key", API_KEY, "header ApiKey"),
        ("authorization", &bearer(BEARER), "4f9a7Yc2 Bearer"),
        ("authorization", &basic(BASIC), "basic Basic"),
    ] {
        let response = answer(&app, &[(field, value)]).await;
        assert_eq!(response.status(), StatusCode::OK, "{who}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(str::from_utf8(&body).unwrap(), who);
    }
    // A key is good in its own scheme only.
    for (field, value) in [
        ("x-api-key", BASIC),
        ("x-api-key", BEARER),
        ("authorization", &bearer(API_KEY)),
        ("authorization", &bearer(BASIC)),
        ("authorization", &basic(API_KEY)),
        ("authorization", &basic(BEARER)),
        ("authorization", &format!("ApiKey {API_KEY}")),
        ("authorization", API_KEY),
    ] {
        let response = answer(&app, &[(field, value)]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{field}: {value}");
    }
}

#[tokio::test]
async fn r11_two_at_once_are_a_conflict_and_nothing_covers_a_malformed_one_up() {
    let app = app().await;
    let (basic_good, bearer_good) = (basic(BASIC), bearer(BEARER));
    let (basic_bad, bearer_bad) = (basic("pk_test_x"), bearer("nonsense"));
    let unknown = "wfk_00000000000000000000000000000000";
    for api_key in [API_KEY, unknown, "junk", ""] {
        for authorization in [&*basic_good, &bearer_good, &basic_bad, &bearer_bad, "Basic", "Bearer  "] {
            let response = answer(&app, &[("x-api-key", api_key), ("authorization", authorization)]).await;
            let name = format!("{api_key:?} and {authorization:?}");
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{name}");
            let rejection = response.extensions().get::<Rejection>().unwrap();
            assert!(matches!(rejection.reason(), Reason::CredentialConflict), "{name}: {rejection:?}");
        }
    }
    // R9: two lines of the one field, of one scheme or of two.
    for lines in [[&basic_good, &basic_good], [&basic_good, &bearer_good], [&bearer_good, &basic_bad]] {
        let response = answer(&app, &lines.map(|line| ("authorization", line.as_str()))).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{lines:?}");
        let kind = response.extensions().get::<Rejection>().unwrap().kind();
        assert_eq!(kind, ErrorKind::AmbiguousCredentials, "{lines:?}");
    }
    // A scheme that nobody here reads is no credential, so it is in nobody's way.
    let response = answer(&app, &[("x-api-key", API_KEY), ("authorization", "Digest abc")]).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn r64_a_401_has_one_challenge_for_each_scheme() {
    let app = app().await;
    let unknown = bearer(&BEARER.replace('q', "r"));
    let basic = basic(&BASIC.replace('q', "r"));
    // The error of RFC 6750 is for who presented a bearer token.
    let invalid = r#"Bearer error="invalid_token""#;
    for (name, fields, of_bearer) in [
        ("nothing", vec![], "Bearer"),
        ("junk", vec![("authorization", "Bearer nonsense")], invalid),
        ("an unknown key", vec![("authorization", &*unknown)], invalid),
        ("a key of another scheme", vec![("authorization", &*basic)], "Bearer"),
        ("another scheme", vec![("authorization", "Digest abc")], "Bearer"),
    ] {
        let response = answer(&app, &fields).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
        let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
        assert_eq!(challenges, [r#"ApiKey header="x-api-key""#, of_bearer, r#"Basic realm="api""#], "{name}");
    }
}

#[tokio::test]
async fn the_host_may_leave_the_challenge_out() {
    let format = KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap();
    let layer = AuthenticateLayer::new(MemoryStore::new(), BasicKey::new(format.clone()))
        .without_challenge()
        .with_realm("workflows")
        .unwrap()
        .add_extractor(BearerKey::new(format));
    let app = Router::new()
        .route("/", get(async || StatusCode::UNAUTHORIZED))
        .layer(layer.clone())
        .route("/handler", get(async || StatusCode::UNAUTHORIZED).layer(layer.allow_anonymous()));
    for path in ["/", "/handler"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(!response.headers().contains_key("www-authenticate"), "{path}");
    }
}
