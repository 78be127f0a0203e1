//! What the PayMongo preset does that its example server does not show.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_api_keys::clock::Timestamp;
use tower_api_keys::credential::BasicKey;
use tower_api_keys::identity::OrganizationRule;
use tower_api_keys::key::{KeyState, Mode, Owner};
use tower_api_keys::presets::paymongo::{ERRORS, error, key_format, paymongo, paymongo_with};
use tower_api_keys::rejection::{ApiError, ErrorTable, Reason};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, ErrorFormat, MemoryStore, Quota, RateLimit};

use crate::bodies;
use crate::support::{Answers, KEY, START, TestStore, assembly, record, rejection, request, store, whoami};

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

fn preset(store: &MemoryStore) -> ApiKeysBuilder<ErrorTable> {
    paymongo(store.clone()).attach_rejections()
}

async fn answer<F: ErrorFormat<Bytes>>(keys: ApiKeysBuilder<F>, request: Request<()>) -> Response<Bytes> {
    let keys = keys.build().unwrap();
    keys.layer().layer(service_fn(whoami)).oneshot(request).await.unwrap()
}

fn first_error(response: &Response<Bytes>) -> Value {
    let json: Value = serde_json::from_slice(response.body()).unwrap();
    json["errors"][0].clone()
}

#[track_caller]
fn rejected(response: &Response<Bytes>, status: u16, code: &str) {
    assert_eq!((response.status().as_u16(), first_error(response)["code"].as_str()), (status, Some(code)));
}

#[tokio::test]
async fn the_stored_mode_is_the_truth() {
    // A live key that is stored as test, as an import might do, is no key at all.
    let store = store([
        record(TEST_KEY, |key| key.owner = owner(Mode::Test)),
        record(LIVE_KEY, |key| key.owner = owner(Mode::Test)),
    ]);
    let store = store.await;
    assert_eq!(answer(preset(&store), basic(&format!("{TEST_KEY}:"))).await.status(), 200);
    let response = answer(preset(&store), basic(&format!("{LIVE_KEY}:"))).await;
    rejected(&response, 401, "authentication_failed");
    let reason = rejection(&response).reason();
    assert!(matches!(reason, Reason::ModeMismatch), "{reason}");
}

#[tokio::test]
async fn every_end_of_a_key_looks_like_an_unknown_one() {
    let unknown = answer(preset(&MemoryStore::new()), basic(&format!("{TEST_KEY}:"))).await;
    assert_eq!(unknown.status(), 401);
    for state in [KeyState::Disabled, KeyState::Revoked { at: START }] {
        let ended = record(TEST_KEY, |key| (key.owner, key.state) = (owner(Mode::Test), state));
        let rejected = answer(preset(&store([ended]).await), basic(&format!("{TEST_KEY}:"))).await;
        assert_eq!(rejected.headers(), unknown.headers(), "{state:?}");
        assert_eq!(rejected.body(), unknown.body(), "{state:?}");
    }
    let expired = record(TEST_KEY, |key| {
        (key.owner, key.expires_at) = (owner(Mode::Test), Some(Timestamp::from_unix_seconds(1)));
    });
    let rejected = answer(preset(&store([expired]).await), basic(&format!("{TEST_KEY}:"))).await;
    assert_eq!((rejected.status(), rejected.body()), (unknown.status(), unknown.body()), "expired");
}

#[tokio::test]
async fn colon_padding_and_an_empty_password_are_mandatory_unless_the_application_says_otherwise() {
    let store = store([record(TEST_KEY, |key| key.owner = owner(Mode::Test))]).await;
    let strict = || preset(&store);
    let with = |basic: BasicKey| paymongo_with(store.clone(), basic).attach_rejections();
    let basic_key = || BasicKey::new(key_format());
    for (user_info, strictly, leniently) in [
        (format!("{TEST_KEY}:"), 200, 200),
        (TEST_KEY.to_owned(), 401, 200),
        (format!("{TEST_KEY}:password"), 401, 401),
        (TEST_KEY.replace("sk_", "pk_"), 401, 401),
    ] {
        assert_eq!(answer(strict(), basic(&user_info)).await.status(), strictly, "{user_info}");
        let lenient = with(basic_key().accept_missing_colon());
        assert_eq!(answer(lenient, basic(&user_info)).await.status(), leniently, "{user_info}");
    }
    let with_password = || basic(&format!("{TEST_KEY}:password"));
    assert_eq!(answer(with(basic_key().ignore_password()), with_password()).await.status(), 200);
    let mut unpadded = basic(&format!("{TEST_KEY}:"));
    let value = unpadded.headers()["authorization"].to_str().unwrap().trim_end_matches('=').to_owned();
    unpadded.headers_mut().insert("authorization", value.parse().unwrap());
    assert_eq!(answer(strict(), unpadded.clone()).await.status(), 401);
    assert_eq!(answer(with(basic_key().accept_missing_padding()), unpadded).await.status(), 200);
}

#[tokio::test]
async fn the_texts_are_the_applications_and_the_codes_are_not() {
    let keys = preset(&MemoryStore::new()).errors(|rejected: &ApiError<'_>| {
        let published: Response<Bytes> = ERRORS.error(rejected);
        match first_error(&published)["code"].as_str().unwrap() {
            code @ "authentication_failed" => error(published.status(), code, "¿\"Quién\"\\\n?"),
            _ => published,
        }
    });
    let response = answer(keys, Request::new(())).await;
    let expected = json!({ "code": "authentication_failed", "detail": "¿\"Quién\"\\\n?" });
    assert_eq!((response.status().as_u16(), first_error(&response)), (401, expected));
}

#[tokio::test]
async fn what_the_guide_does_not_name_is_in_its_envelope_too() {
    let store = store([record(TEST_KEY, |key| key.owner = owner(Mode::Test))]).await;
    let limit = RateLimit::per_key("all", Quota::per_minute(2).unwrap());
    let keys = preset(&store).limit(limit).build().unwrap();
    let mut service = keys.layer().layer(service_fn(whoami::<()>));
    let mut wrong_organization = basic(&format!("{TEST_KEY}:"));
    wrong_organization.headers_mut().insert("organization-id", "other".parse().unwrap());
    let response = service.call(wrong_organization).await.unwrap();
    rejected(&response, 403, "organization_mismatch");
    assert_eq!(service.call(basic(&format!("{TEST_KEY}:"))).await.unwrap().status(), 200);
    let response = service.call(basic(&format!("{TEST_KEY}:"))).await.unwrap();
    rejected(&response, 429, "rate_limit_exceeded");
    assert!(response.headers().contains_key("retry-after"));

    let keys = preset(&store).build().unwrap();
    let service = keys.authenticate().layer(keys.require("workflows:write").layer(service_fn(whoami)));
    let response = service.oneshot(basic(&format!("{TEST_KEY}:"))).await.unwrap();
    rejected(&response, 403, "forbidden");

    let down = TestStore::new(MemoryStore::new(), Answers::WithAnError);
    let response = answer(assembly(down).without_route_table().errors(ERRORS.clone()), request(KEY)).await;
    rejected(&response, 503, "service_unavailable");

    let response = keys.authorize().layer(service_fn(whoami)).oneshot(Request::new(())).await.unwrap();
    rejected(&response, 500, "internal_error");
}

#[tokio::test]
async fn browsers_can_be_spared_the_challenge() {
    let keys = preset(&MemoryStore::new()).without_challenge();
    let response = answer(keys, Request::new(())).await;
    rejected(&response, 401, "authentication_failed");
    assert!(!response.headers().contains_key("www-authenticate"));
}

#[test]
fn any_text_makes_well_formed_json() {
    for text in ["", "plain", "\"", "\\", "a\"b\\c", "\r\n\t\0\u{1f}\u{7f}", "ñ – 日本", "</script>"] {
        let response: Response<Bytes> = error(StatusCode::BAD_REQUEST, text, text);
        let json: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(json, json!({ "errors": [{ "code": text, "detail": text }] }), "{text:?}");
    }
}

#[test]
fn keys_are_of_22_to_64_letters_and_digits() {
    let format = key_format();
    for (length, ok) in [(21, false), (22, true), (24, true), (32, true), (64, true), (65, false)] {
        let key = format!("sk_live_{}", "a".repeat(length));
        assert_eq!(format.parse(&key).is_ok(), ok, "{length}");
    }
    let made = format.generate(Mode::Test).unwrap();
    assert_eq!(made.secret.expose_secret().len(), "sk_test_".len() + 32);
}

#[tokio::test]
async fn every_body_is_as_published() {
    let published =
        |code: &str, detail: &str| format!(r#"{{"errors":[{{"code":"{code}","detail":"{detail}"}}]}}"#);
    let store = store([record(TEST_KEY, |key| key.owner = owner(Mode::Test))]).await;
    let good = || basic(&format!("{TEST_KEY}:"));
    let with = |organization: Option<&str>| {
        let mut request = good();
        request.headers_mut().remove("organization-id");
        if let Some(organization) = organization {
            request.headers_mut().insert("organization-id", organization.parse().unwrap());
        }
        request
    };
    let invalid = published(
        "authentication_failed",
        "The Authorization header is missing or malformed, or the API key is invalid.",
    );
    let mut two = good();
    let value = two.headers()["authorization"].clone();
    two.headers_mut().append("authorization", value);
    for request in [Request::new(()), basic("sk_test_"), basic(&format!("{LIVE_KEY}:")), two] {
        let rejected = bodies::all(preset(&store), request).await;
        rejected.is_json(401, &invalid);
        assert_eq!(rejected.challenges(), [r#"Basic realm="PayMongo Workflow API""#]);
    }
    let missing = published("missing_organization_header", "The Organization-Id header is required.");
    bodies::all(preset(&store), with(None)).await.is_json(400, &missing);
    let mismatch = "The Organization-Id header does not match the organization of the API key.";
    let mismatch = published("organization_mismatch", mismatch);
    bodies::all(preset(&store), with(Some("other"))).await.is_json(403, &mismatch);
    let not_found = published("not_found", "The resource was not found.");
    let context = OrganizationRule::context().route_parameter("org");
    let routed = ApiKeys::builder(store.clone(), key_format())
        .basic()
        .organization(context)
        .route("GET", "/{org}", "workflows:read")
        .errors(ERRORS.clone());
    let mut other = good();
    *other.uri_mut() = "/other".parse().unwrap();
    bodies::all(routed, other).await.is_json(404, &not_found);
    let keys = preset(&store).build().unwrap();
    let forbidden = published("forbidden", "The API key is not allowed to perform this action.");
    let service =
        keys.layer().layer(keys.require("workflows:write").layer(service_fn(whoami))).oneshot(good()).await;
    let response = service.unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (403, forbidden.as_bytes()));
    let limit = RateLimit::per_key("all", Quota::per_minute(1).unwrap());
    let limited = published(
        "rate_limit_exceeded",
        "Too many requests. Try again after the time in the Retry-After header.",
    );
    bodies::second(preset(&store).limit(limit), good).await.is_json(429, &limited);
    let internal = published("internal_error", "Something went wrong on our side.");
    bodies::through(keys.authorize(), good()).await.is_json(500, &internal);
    let down = TestStore::new(MemoryStore::new(), Answers::WithAnError);
    let unavailable = published("service_unavailable", "The service is temporarily unavailable. Try again.");
    bodies::all(paymongo(down), good()).await.is_json(503, &unavailable);

    let livemode = published("livemode_mismatch", "The resource belongs to the other mode than the API key.");
    for (code, status, body) in [("livemode_mismatch", 403, &livemode), ("not_found", 404, &not_found)] {
        let response: Response<Bytes> = ERRORS.response(code);
        assert_eq!((response.status().as_u16(), &response.body()[..]), (status, body.as_bytes()), "{code}");
        assert_eq!(response.headers()["content-type"], "application/json", "{code}");
    }
}
