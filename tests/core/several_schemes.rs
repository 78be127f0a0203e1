//! `x-api-key`, Bearer and Basic together: one router, three families of keys.
#![cfg(feature = "axum")]

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_api_keys::credential::{BasicKey, BearerKey};
use tower_api_keys::key::{KeyFormat, KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::rejection::{ErrorKind, Reason};
use tower_api_keys::store::{KeyAdministration, MemoryStore};
use tower_api_keys::{ApiKeys, Principal};

use crate::support::{START, assembly, rejection};

const API_KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";
const BEARER: &str = "sk_live_4f9a7Yc2.abc123def456ghi789jkl012mno345pq";
const BASIC: &str = "sk_test_abc123def456ghi789jkl012mno345pq";

/// A store of acme's keys: identifier, text and mode of each.
async fn store_of<const N: usize>(keys: [(&str, &str, Mode); N]) -> MemoryStore {
    let store = MemoryStore::new();
    for (id, key, mode) in keys {
        let owner = Owner::organization("acme".parse().unwrap(), mode);
        let digest = Peppers::none().digest(key);
        store.insert(KeyRecord::new(id.parse().unwrap(), owner, digest, START), None).await.unwrap();
    }
    store
}

async fn whoami(principal: Principal) -> String {
    format!("{} {}", principal.key_id(), principal.scheme())
}

async fn app() -> Router {
    let keys =
        [("header", API_KEY, Mode::Live), ("4f9a7Yc2", BEARER, Mode::Live), ("basic", BASIC, Mode::Test)];
    let store = store_of(keys).await;
    let bearers =
        KeyFormat::builder("sk_").optional_modes("test_", "live_").public_id(8, '.').build().unwrap();
    let basics = KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap();
    let keys = assembly(store).extractor(BearerKey::new(bearers)).extractor(BasicKey::new(basics));
    let layer = keys.without_route_table().build().unwrap().authenticate();
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
async fn the_credential_that_is_sent_decides() {
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
    // A key is accepted only in its own scheme.
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
async fn two_credentials_conflict_and_a_malformed_one_is_always_rejected() {
    let app = app().await;
    let (basic_good, bearer_good) = (basic(BASIC), bearer(BEARER));
    let (basic_bad, bearer_bad) = (basic("pk_test_x"), bearer("nonsense"));
    let unknown = "wfk_00000000000000000000000000000000";
    for api_key in [API_KEY, unknown, "junk", ""] {
        for authorization in [&*basic_good, &bearer_good, &basic_bad, &bearer_bad, "Basic", "Bearer  "] {
            let response = answer(&app, &[("x-api-key", api_key), ("authorization", authorization)]).await;
            let name = format!("{api_key:?} and {authorization:?}");
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{name}");
            let rejection = rejection(&response);
            assert!(matches!(rejection.reason(), Reason::CredentialConflict), "{name}: {rejection:?}");
        }
    }
    // Two lines of the same field, with one scheme or two.
    for lines in [[&basic_good, &basic_good], [&basic_good, &bearer_good], [&bearer_good, &basic_bad]] {
        let response = answer(&app, &lines.map(|line| ("authorization", line.as_str()))).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{lines:?}");
        let kind = rejection(&response).kind();
        assert_eq!(kind, ErrorKind::AmbiguousCredentials, "{lines:?}");
    }
    // A scheme that no extractor reads is not a credential, so it conflicts with none.
    let response = answer(&app, &[("x-api-key", API_KEY), ("authorization", "Digest abc")]).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_401_has_one_challenge_for_each_scheme() {
    let app = app().await;
    let unknown = bearer(&BEARER.replace('q', "r"));
    let basic = basic(&BASIC.replace('q', "r"));
    // The error of RFC 6750 is only for clients that sent a bearer token.
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
async fn the_application_may_leave_the_challenge_out() {
    let format = KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap();
    let keys = || {
        let keys = ApiKeys::builder(MemoryStore::new(), format.clone()).basic().bearer();
        keys.without_challenge().without_route_table()
    };
    let layer = keys().build().unwrap().authenticate();
    let anonymous = keys().allow_anonymous().build().unwrap().authenticate();
    let app = Router::new()
        .route("/", get(async || StatusCode::UNAUTHORIZED))
        .layer(layer)
        .route("/handler", get(async || StatusCode::UNAUTHORIZED).layer(anonymous));
    for path in ["/", "/handler"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(!response.headers().contains_key("www-authenticate"), "{path}");
    }
    let error = keys().realm("workflows").build().unwrap_err();
    assert_eq!(error.faults().map(|(setting, _)| setting).collect::<Vec<_>>(), ["realm"]);
}

/// With one format for all locations, and with several formats at each.
#[tokio::test]
async fn formats_of_the_assembly_are_accepted_in_every_location() {
    let old = KeyFormat::new("old_").unwrap();
    let old_key = "old_abc123def456ghi789jkl012mno345pq";
    let store = store_of([("new", API_KEY, Mode::Live), ("old", old_key, Mode::Live)]).await;
    let keys = assembly(store).bearer().basic().also_accept(old).without_route_table().build().unwrap();
    let app = Router::new().route("/", get(whoami)).layer(keys.authenticate());
    for (key, id) in [(API_KEY, "new"), (old_key, "old")] {
        for (field, value, scheme) in [
            ("x-api-key", key, "ApiKey"),
            ("authorization", &bearer(key), "Bearer"),
            ("authorization", &basic(key), "Basic"),
        ] {
            let response = answer(&app, &[(field, value)]).await;
            assert_eq!(response.status(), StatusCode::OK, "{field}: {value}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(str::from_utf8(&body).unwrap(), format!("{id} {scheme}"));
        }
    }
}
