//! What the PayMongo preset does that its example server does not show.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use support::*;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::RateLimitLayer;
use tower_api_keys::authorize::RequireScopeLayer;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::key::{KeyState, Mode, Owner};
use tower_api_keys::limit::{MemoryRateLimiter, Quota};
use tower_api_keys::presets::paymongo::{ErrorCode, PayMongo};
use tower_api_keys::rejection::{Reason, Rejection};
use tower_api_keys::scope::ScopeRequirement;
use tower_api_keys::store::MemoryStore;

const TEST_KEY: &str = "sk_test_abc123def456ghi789jkl012mno345pq";
const LIVE_KEY: &str = "sk_live_abc123def456ghi789jkl012mno345pq";

fn owner(mode: Mode) -> Owner {
    Owner::organization("org_1".parse().unwrap(), mode)
}

fn basic(user_info: &str) -> Request<()> {
    let value = format!("Basic {}", STANDARD.encode(user_info));
    let request = Request::builder().header("authorization", value).header("organization-id", "org_1");
    request.body(()).unwrap()
}

async fn answer(paymongo: &PayMongo<MemoryStore>, request: Request<()>) -> Response<Bytes> {
    let service = ServiceBuilder::new().layer(paymongo.authenticate()).layer(paymongo.organization());
    service.service(service_fn(whoami)).oneshot(request).await.unwrap()
}

fn error(response: &Response<Bytes>) -> Value {
    let json: Value = serde_json::from_slice(response.body()).unwrap();
    json["errors"][0].clone()
}

#[track_caller]
fn refused(response: &Response<Bytes>, status: u16, code: &str) {
    assert_eq!((response.status().as_u16(), error(response)["code"].as_str()), (status, Some(code)));
}

#[tokio::test]
async fn r25_the_stored_mode_is_the_truth() {
    // A live key that is stored as test, as an import might do, is no key at all.
    let store = store([
        record(TEST_KEY, |key| key.owner = owner(Mode::Test)),
        record(LIVE_KEY, |key| key.owner = owner(Mode::Test)),
    ]);
    let paymongo = PayMongo::new(store.await);
    assert_eq!(answer(&paymongo, basic(&format!("{TEST_KEY}:"))).await.status(), 200);
    let response = answer(&paymongo, basic(&format!("{LIVE_KEY}:"))).await;
    refused(&response, 401, "authentication_failed");
    let reason = response.extensions().get::<Rejection>().unwrap().reason();
    assert!(matches!(reason, Reason::ModeMismatch), "{reason}");
}

#[tokio::test]
async fn r18_every_end_of_a_key_looks_like_an_unknown_one() {
    let unknown = answer(&PayMongo::new(MemoryStore::new()), basic(&format!("{TEST_KEY}:"))).await;
    assert_eq!(unknown.status(), 401);
    for state in [KeyState::Disabled, KeyState::Revoked { at: START }] {
        let ended = record(TEST_KEY, |key| (key.owner, key.state) = (owner(Mode::Test), state));
        let refused = answer(&PayMongo::new(store([ended]).await), basic(&format!("{TEST_KEY}:"))).await;
        assert_eq!(refused.headers(), unknown.headers(), "{state:?}");
        assert_eq!(refused.body(), unknown.body(), "{state:?}");
    }
    let expired = record(TEST_KEY, |key| {
        (key.owner, key.expires_at) = (owner(Mode::Test), Some(Timestamp::from_unix_seconds(1)));
    });
    let refused = answer(&PayMongo::new(store([expired]).await), basic(&format!("{TEST_KEY}:"))).await;
    assert_eq!((refused.status(), refused.body()), (unknown.status(), unknown.body()), "expired");
}

#[tokio::test]
async fn colon_padding_and_an_empty_password_are_mandatory_unless_the_host_says_otherwise() {
    let store = store([record(TEST_KEY, |key| key.owner = owner(Mode::Test))]).await;
    let strict = PayMongo::new(store);
    let lenient = strict.clone().accept_missing_colon();
    for (user_info, strictly, leniently) in [
        (format!("{TEST_KEY}:"), 200, 200),
        (TEST_KEY.to_owned(), 401, 200),
        (format!("{TEST_KEY}:password"), 401, 401),
        (TEST_KEY.replace("sk_", "pk_"), 401, 401),
    ] {
        assert_eq!(answer(&strict, basic(&user_info)).await.status(), strictly, "{user_info}");
        assert_eq!(answer(&lenient, basic(&user_info)).await.status(), leniently, "{user_info}");
    }
    let with_password = || basic(&format!("{TEST_KEY}:password"));
    assert_eq!(answer(&strict.clone().ignore_password(), with_password()).await.status(), 200);
    let mut unpadded = basic(&format!("{TEST_KEY}:"));
    let value = unpadded.headers()["authorization"].to_str().unwrap().trim_end_matches('=').to_owned();
    unpadded.headers_mut().insert("authorization", value.parse().unwrap());
    assert_eq!(answer(&strict, unpadded.clone()).await.status(), 401);
    assert_eq!(answer(&strict.accept_missing_padding(), unpadded).await.status(), 200);
}

#[tokio::test]
async fn the_texts_are_the_host_s_and_the_codes_are_not() {
    let paymongo = PayMongo::new(MemoryStore::new()).with_details(|code| match code {
        ErrorCode::AuthenticationFailed => "¿\"Quién\"\\\n?",
        code => code.detail(),
    });
    let refused = answer(&paymongo, Request::new(())).await;
    let expected = json!({ "code": "authentication_failed", "detail": "¿\"Quién\"\\\n?" });
    assert_eq!(error(&refused), expected);
}

#[tokio::test]
async fn r27_r68_what_the_guide_does_not_name_is_in_its_envelope_too() {
    let store = store([record(TEST_KEY, |key| key.owner = owner(Mode::Test))]).await;
    let paymongo = PayMongo::new(store);
    let limiter = MemoryRateLimiter::builder("all", Quota::per_minute(2).unwrap()).build();
    let format = paymongo.rejection_format();
    let layers = ServiceBuilder::new()
        .layer(paymongo.authenticate())
        .layer(RateLimitLayer::by_key(limiter).with_rejection_format(format))
        .layer(paymongo.organization());
    let mut service = layers.service(service_fn(whoami::<()>));
    let mut wrong_organization = basic(&format!("{TEST_KEY}:"));
    wrong_organization.headers_mut().insert("organization-id", "other".parse().unwrap());
    let response = service.call(wrong_organization).await.unwrap();
    refused(&response, 403, "organization_mismatch");
    assert_eq!(service.call(basic(&format!("{TEST_KEY}:"))).await.unwrap().status(), 200);
    let response = service.call(basic(&format!("{TEST_KEY}:"))).await.unwrap();
    refused(&response, 429, "rate_limit_exceeded");
    assert!(response.headers().contains_key("retry-after"));

    let scope = RequireScopeLayer::new(ScopeRequirement::from_static("workflows:write"))
        .with_rejection_format(format);
    let service = paymongo.authenticate().layer(scope.layer(service_fn(whoami)));
    let response = service.oneshot(basic(&format!("{TEST_KEY}:"))).await.unwrap();
    refused(&response, 403, "forbidden");

    let down = TestStore::new(MemoryStore::new(), Answers::WithAnError);
    let layer = tower_api_keys::AuthenticateLayer::new(down, header_key()).with_rejection_format(format);
    let response = layer.layer(service_fn(whoami)).oneshot(request(KEY)).await.unwrap();
    refused(&response, 503, "service_unavailable");

    let response = paymongo.organization().layer(service_fn(whoami)).oneshot(Request::new(())).await.unwrap();
    refused(&response, 500, "internal_error");
}

#[tokio::test]
async fn browsers_can_be_spared_the_challenge() {
    let paymongo = PayMongo::new(MemoryStore::new());
    let layer = paymongo.authenticate().without_challenge();
    let response = layer.layer(service_fn(whoami)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(!response.headers().contains_key("www-authenticate"));
}
