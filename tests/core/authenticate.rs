//! Authentication through the public API.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::clock::ManualClock;
use tower_api_keys::credential::{
    self, BasicKey, BearerKey, Challenge, Credential, Extracted, HeaderKey, QueryKey, WebSocketKey,
};
use tower_api_keys::key::{KeyFormat, KeyState, Mode, Peppers, SecretString};
use tower_api_keys::middleware::{ApiKeysLayer, ApiKeysService};
use tower_api_keys::rejection::{ApiError, Check};
use tower_api_keys::scope::ScopeRequirement;
use tower_api_keys::store::{KeyAdministration, KeySelector, KeyStore, MemoryStore};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, Principal};

use crate::support::*;

/// Authentication only: all routes accept any key.
fn authenticate<F>(builder: ApiKeysBuilder<F>) -> ApiKeysLayer<F> {
    builder.without_route_table().build().unwrap().authenticate()
}

async fn call(layer: &ApiKeysLayer, request: Request<()>) -> Response<Bytes> {
    layer.layer(service_fn(whoami)).oneshot(request).await.unwrap()
}

fn reason(response: &Response<Bytes>) -> String {
    format!("{:?}", rejection(response).reason())
}

#[tokio::test]
async fn a_good_key_reaches_the_handler_as_its_principal() {
    for answers in [Answers::AtOnce, Answers::Later] {
        let record = record(KEY, |_| {});
        let store = TestStore::new(store([record.clone()]).await, answers);
        let layer = authenticate(assembly(store.clone()));
        let response = call(&layer, request(KEY)).await;
        assert_eq!(response.status(), StatusCode::OK, "{answers:?}");
        assert_eq!(response.body(), record.id.as_str(), "{answers:?}");
        assert_eq!(store.lookups(), 1, "{answers:?}: one lookup");
    }
}

#[tokio::test]
async fn every_bad_key_gets_the_same_response() {
    let clock = ManualClock::starting_at(START);
    let bad = [
        ("unknown", None),
        ("revoked", Some(record(KEY, |key| key.state = KeyState::Revoked { at: START }))),
        ("disabled", Some(record(KEY, |key| key.state = KeyState::Disabled))),
        ("expired", Some(record(KEY, |key| key.expires_at = Some(START)))),
        (
            "yet to come",
            Some(record(KEY, |key| {
                key.extras_mut().not_before = Some(START.saturating_add(Duration::from_secs(1)))
            })),
        ),
    ];
    let mut answers = Vec::new();
    let mut reasons = Vec::new();
    for (name, record) in bad {
        let layer = authenticate(assembly(store(record).await).clock(clock.clone()));
        let response = call(&layer, request(KEY)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
        reasons.push(reason(&response));
        answers.push((name, response.status(), response.headers().clone(), response.body().clone()));
    }
    for (name, status, headers, body) in &answers {
        let (_, first_status, first_headers, first_body) = &answers[0];
        assert_eq!((status, headers, body), (first_status, first_headers, first_body), "{name}");
    }
    assert_eq!(reasons, ["KeyUnknown", "KeyRevoked", "KeyDisabled", "KeyExpired", "KeyNotYetValid"]);
}

#[tokio::test]
async fn expiry_is_checked_when_the_request_arrives() {
    let clock = ManualClock::starting_at(START);
    let expiring = record(KEY, |key| key.expires_at = Some(START.saturating_add(Duration::from_secs(1))));
    let layer = authenticate(assembly(store([expiring]).await).clock(clock.clone()));
    assert_eq!(call(&layer, request(KEY)).await.status(), StatusCode::OK);
    clock.advance(Duration::from_millis(999));
    assert_eq!(call(&layer, request(KEY)).await.status(), StatusCode::OK);
    clock.advance(Duration::from_millis(1));
    assert_eq!(call(&layer, request(KEY)).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn malformed_credentials_cost_no_lookup_and_others_cost_one() {
    let store = TestStore::new(store([record(KEY, |_| {})]).await, Answers::AtOnce);
    let layer = authenticate(assembly(store.clone()));
    let long = "x".repeat(Credential::MAX_LENGTH + 1);
    for value in ["", " ", "wfk_", "Bearer abc", "wfk_abc123def456ghi789jkl012mno345p!", &long] {
        let mut request = request(None);
        request.headers_mut().insert(X_API_KEY, value.parse().unwrap());
        assert_eq!(call(&layer, request).await.status(), StatusCode::UNAUTHORIZED, "{value:.40}");
    }
    assert_eq!(call(&layer, request(None)).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(store.lookups(), 0);
    call(&layer, request(UNKNOWN_KEY)).await;
    assert_eq!(store.lookups(), 1);
    call(&layer, request(KEY)).await;
    assert_eq!(store.lookups(), 2);
}

#[tokio::test]
async fn two_credentials_are_rejected_by_presence() {
    let x_token = HeaderName::from_static("x-token");
    let format = KeyFormat::new("tok_").unwrap();
    let store = TestStore::new(store([record(KEY, |_| {})]).await, Answers::AtOnce);
    let layer = authenticate(assembly(store.clone()).extractor(HeaderKey::new(x_token.clone(), format)));

    let mut twice = request(KEY);
    twice.headers_mut().append(X_API_KEY, HeaderValue::from_static(KEY));
    for (name, other) in
        [("junk", "junk"), ("empty", ""), ("well formed", "tok_00000000000000000000000000000000")]
    {
        let mut both = request(KEY);
        both.headers_mut().insert(x_token.clone(), other.parse().unwrap());
        let response = call(&layer, both).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "a good key beside a {name} token");
        assert_eq!(reason(&response), "CredentialConflict");
        let body = std::str::from_utf8(response.body()).unwrap();
        assert!(body.contains(r#""code":"ambiguous_credentials""#), "{body}");
    }
    let response = call(&layer, twice).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(reason(&response), "CredentialMalformed(Repeated)");
    assert_eq!(store.lookups(), 0);

    assert_eq!(call(&layer, request(KEY)).await.status(), StatusCode::OK, "one of the two is enough");
}

#[tokio::test]
async fn a_closure_is_an_extractor() {
    let by_query = credential::from_fn(Challenge::new("Query").unwrap(), [], |request| {
        match request.uri.query().and_then(|query| query.strip_prefix("key=")) {
            Some(key) => Extracted::Found(Credential::owned(SecretString::from(key.to_uppercase().as_str()))),
            None => Extracted::Absent,
        }
    });
    let layer = authenticate(
        ApiKeys::builder(store([record("SESAME", |_| {})]).await, format())
            .extractor(by_query)
            .attach_rejections(),
    );
    let get = |uri: &str| Request::builder().uri(uri).body(()).unwrap();
    assert_eq!(call(&layer, get("/?key=sesame")).await.status(), StatusCode::OK);
    assert_eq!(reason(&call(&layer, get("/?key=radish")).await), "KeyUnknown");
    assert_eq!(reason(&call(&layer, get("/")).await), "CredentialMissing");
    assert_eq!(reason(&call(&layer, get("/?key=")).await), "CredentialMalformed(Empty)");
    let long = format!("/?key={}", "x".repeat(Credential::MAX_LENGTH + 1));
    assert_eq!(reason(&call(&layer, get(&long)).await), "CredentialMalformed(TooLong)");
}

#[tokio::test]
async fn what_an_extractor_says_of_a_key_is_compared_with_the_stored_one() {
    let stored = record(KEY, |_| {});
    let (own, other) = (stored.id, "another".parse().unwrap());
    let keys = store([stored]).await;
    for (id, mode, expected) in [
        (None, None, "ok"),
        (Some(own), Some(Mode::Live), "ok"),
        (Some(other), None, "KeyUnknown"),
        (None, Some(Mode::Test), "ModeMismatch"),
    ] {
        let extractor = credential::from_fn(Challenge::new("Whole").unwrap(), [X_API_KEY], move |request| {
            let key = request.headers.get(X_API_KEY).and_then(|value| value.to_str().ok());
            let Some(mut credential) = key.map(Credential::borrowed) else { return Extracted::Absent };
            if let Some(id) = id {
                credential = credential.with_id(id);
            }
            if let Some(mode) = mode {
                credential = credential.with_mode(mode);
            }
            Extracted::Found(credential)
        });
        let keys = ApiKeys::builder(keys.clone(), format()).extractor(extractor).attach_rejections();
        let response = call(&authenticate(keys), request(KEY)).await;
        let outcome = if response.status() == StatusCode::OK { "ok".into() } else { reason(&response) };
        assert_eq!(outcome, expected, "{id:?} {mode:?}");
    }
}

#[tokio::test]
async fn each_extractor_also_accepts_keys_of_a_second_format() {
    let stored = store([record(KEY, |_| {})]).await;
    let new = || KeyFormat::new("new_").unwrap();
    let builder = || ApiKeys::builder(stored.clone(), new());
    let in_basic = format!("Basic {}", STANDARD.encode(format!("{KEY}:")));
    let in_query = format!("/?key={KEY}");
    for (keys, uri, field, value) in [
        (builder().extractor(HeaderKey::new(X_API_KEY, new()).or_format(format())), "/", "x-api-key", KEY),
        (
            builder().extractor(BearerKey::new(new()).or_format(format())),
            "/",
            "authorization",
            &format!("Bearer {KEY}"),
        ),
        (builder().extractor(BasicKey::new(new()).or_format(format())), "/", "authorization", &in_basic),
        (builder().extractor(QueryKey::new("key", new()).or_format(format())), &in_query, "x-any", ""),
        (
            builder().extractor(WebSocketKey::new(new()).or_format(format())),
            "/",
            "sec-websocket-protocol",
            &format!("acme, key.{KEY}"),
        ),
    ] {
        let request = Request::get(uri).header(field, value).body(()).unwrap();
        assert_eq!(call(&authenticate(keys), request).await.status(), StatusCode::OK, "{field}");
    }
}

#[tokio::test]
async fn keys_with_a_public_id_are_found_by_it() {
    let format = KeyFormat::builder("sk_").public_id(12, '.').build().unwrap();
    let made = format.generate(Mode::Live).unwrap();
    let id = made.id.unwrap();
    let key: &'static str = made.secret.expose_secret().to_owned().leak();
    let wrong: &'static str =
        format.generate_with_id(Mode::Live, &id).unwrap().secret.expose_secret().to_owned().leak();
    let store = store([record(key, |record| record.id = id)]).await;
    let layer = authenticate(ApiKeys::builder(store, format).header("x-api-key").attach_rejections());
    assert_eq!(call(&layer, request(key)).await.body(), id.as_str());
    assert_eq!(reason(&call(&layer, request(wrong)).await), "SecretMismatch", "the id alone opens nothing");
}

#[tokio::test]
async fn the_stored_mode_is_authoritative() {
    let format = KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap();
    let live: &'static str = format.generate(Mode::Live).unwrap().secret.expose_secret().to_owned().leak();
    let store = store([record(live, |record| record.owner.mode = Mode::Test)]).await;
    let layer = authenticate(ApiKeys::builder(store, format).header("x-api-key").attach_rejections());
    assert_eq!(reason(&call(&layer, request(live)).await), "ModeMismatch");
}

#[tokio::test]
async fn a_store_that_fails_is_503_and_never_401() {
    for answers in [Answers::WithAnError, Answers::WithAPanic, Answers::WithAPanicLater] {
        let store = TestStore::new(store([record(KEY, |_| {})]).await, answers);
        let layer = authenticate(assembly(store));
        let response = call(&layer, request(KEY)).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{answers:?}");
        assert_eq!(response.headers()["retry-after"], "1", "{answers:?}");
        assert!(!response.headers().contains_key("www-authenticate"), "{answers:?}");
        let body = std::str::from_utf8(response.body()).unwrap();
        assert!(!body.contains("refused") && !body.contains("bug"), "no internals: {body}");
    }
}

#[tokio::test]
async fn rejections_carry_a_challenge_for_each_scheme_and_are_not_stored() {
    let token = HeaderKey::new(HeaderName::from_static("x-token"), KeyFormat::new("tok_").unwrap());
    let layer = authenticate(assembly(MemoryStore::new()).realm("workflows").extractor(token));
    for request in [request(None), request("junk"), request(KEY)] {
        let response = call(&layer, request).await;
        let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
        assert_eq!(
            challenges,
            [
                r#"ApiKey header="x-api-key", realm="workflows""#,
                r#"ApiKey header="x-token", realm="workflows""#
            ]
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    let malformed = assembly(MemoryStore::new()).realm("a\r\nb").without_route_table().build().unwrap_err();
    assert_eq!(malformed.faults().map(|(setting, _)| setting).collect::<Vec<_>>(), ["realm"]);
}

#[tokio::test]
async fn responses_to_a_key_in_its_own_header_are_private_by_default() {
    let layer = authenticate(assembly(store([record(KEY, |_| {})]).await));
    assert_eq!(call(&layer, request(KEY)).await.headers()["cache-control"], "private");

    let handler = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(
            Response::builder().header("cache-control", "no-cache").body(Bytes::new()).unwrap(),
        )
    });
    let response = layer.layer(handler).oneshot(request(KEY)).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-cache");

    let layer = authenticate(
        ApiKeys::builder(store([record(KEY, |_| {})]).await, format())
            .header("authorization")
            .attach_rejections(),
    );
    let request = Request::builder().header("authorization", KEY).body(()).unwrap();
    let response = call(&layer, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("cache-control"), "caches know about Authorization");
}

#[tokio::test]
async fn a_401_of_an_inner_service_gets_the_challenge_too() {
    let handler = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::builder().status(401).body(Bytes::new()).unwrap())
    });
    let layer = authenticate(assembly(store([record(KEY, |_| {})]).await));
    let response = layer.layer(handler).oneshot(request(KEY)).await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], r#"ApiKey header="x-api-key""#);
}

#[tokio::test]
async fn anonymous_requests_are_accepted_only_where_allowed_and_bad_keys_never() {
    let layer = authenticate(assembly(store([record(KEY, |_| {})]).await).allow_anonymous());
    assert_eq!(call(&layer, request(None)).await.body(), "anonymous");
    assert_ne!(call(&layer, request(KEY)).await.body(), "anonymous");
    for bad in [UNKNOWN_KEY, "junk", ""] {
        assert_eq!(call(&layer, request(bad)).await.status(), StatusCode::UNAUTHORIZED, "{bad:?}");
    }
}

#[tokio::test]
async fn only_a_valid_preflight_is_accepted_and_only_where_allowed() {
    let preflight = |method: Method, headers: &[&'static str]| {
        let mut request = Request::builder().method(method);
        for name in headers {
            request = request.header(*name, "https://example.com");
        }
        request.body(()).unwrap()
    };
    let both = ["origin", "access-control-request-method"];
    let closed = authenticate(assembly(MemoryStore::new()));
    assert_eq!(call(&closed, preflight(Method::OPTIONS, &both)).await.status(), StatusCode::UNAUTHORIZED);

    let open = authenticate(assembly(MemoryStore::new()).pass_cors_preflight());
    assert_eq!(call(&open, preflight(Method::OPTIONS, &both)).await.body(), "anonymous");
    for (name, request) in [
        ("no Origin", preflight(Method::OPTIONS, &both[1..])),
        ("no Access-Control-Request-Method", preflight(Method::OPTIONS, &both[..1])),
        ("another method", preflight(Method::GET, &both)),
    ] {
        assert_eq!(call(&open, request).await.status(), StatusCode::UNAUTHORIZED, "{name}");
    }
}

#[tokio::test]
async fn no_header_makes_a_principal_or_skips_the_check() {
    let layer = authenticate(assembly(store([record(KEY, |_| {})]).await));
    for name in
        ["x-middleware-subrequest", "x-user-id", "auth-key", "x-forwarded-uri", "x_api_key", "authorization"]
    {
        let request = Request::builder().header(name, KEY).body(()).unwrap();
        assert_eq!(call(&layer, request).await.status(), StatusCode::UNAUTHORIZED, "{name}");
    }
}

#[tokio::test]
async fn credential_headers_are_sensitive_inside() {
    let handler = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(Bytes::from(format!("{request:?}"))))
    });
    let keys = store([record(KEY, |_| {})]).await;
    let layer = authenticate(assembly(keys.clone()));
    let response = layer.layer(handler).oneshot(request(KEY)).await.unwrap();
    let debug = std::str::from_utf8(response.body()).unwrap();
    assert!(debug.contains(r#""x-api-key": Sensitive"#), "{debug}");
    assert!(!debug.contains("abc123"), "{debug}");

    // A preflight skips all other checks, so every line matters.
    let mut twice = request(OTHER_KEY);
    *twice.method_mut() = Method::OPTIONS;
    for (name, value) in
        [("x-api-key", KEY), ("origin", "https://a.example"), ("access-control-request-method", "GET")]
    {
        twice.headers_mut().append(name, value.parse().unwrap());
    }
    let layer = authenticate(assembly(keys).pass_cors_preflight());
    let response = layer.layer(handler).oneshot(twice).await.unwrap();
    let debug = std::str::from_utf8(response.body()).unwrap();
    assert_eq!(debug.matches("Sensitive").count(), 2, "{debug}");
    assert!(!debug.contains(KEY) && !debug.contains(OTHER_KEY), "{debug}");
}

#[tokio::test]
async fn principals_inserted_by_other_code_are_ignored() {
    let record = record(KEY, |_| {});
    let layer = authenticate(assembly(store([record]).await));
    let stolen = service_fn(async |request: Request<()>| {
        let principal = Principal::from_extensions(request.extensions()).unwrap().clone();
        let mut forged = Request::new(());
        forged.extensions_mut().insert(principal);
        Ok::<_, Infallible>(Response::new(Bytes::from(
            Principal::from_extensions(forged.extensions()).is_some().to_string(),
        )))
    });
    assert_eq!(layer.layer(stolen).oneshot(request(KEY)).await.unwrap().body(), "false");
}

#[tokio::test]
async fn keys_move_to_the_current_pepper_when_they_are_used() {
    let pepper = |text: &str| SecretString::from(format!("{text:-<32}").as_str());
    let old = Peppers::new(1, pepper("old")).unwrap();
    let new = Peppers::new(2, pepper("new")).unwrap();
    let both = new.clone().with_previous(1, pepper("old")).unwrap();
    for answers in [Answers::AtOnce, Answers::Later] {
        let keys = store([record(KEY, |key| key.digest = old.digest(KEY))]).await;
        let store = TestStore::new(keys.clone(), answers);
        let with = |peppers: &Peppers| authenticate(assembly(store.clone()).peppers(peppers.clone()));
        assert_eq!(
            call(&with(&new), request(KEY)).await.status(),
            StatusCode::UNAUTHORIZED,
            "the old pepper is gone"
        );
        assert_eq!(call(&with(&both), request(KEY)).await.status(), StatusCode::OK);
        assert_eq!(store.refreshed.load(Ordering::SeqCst), 1);
        assert!(keys.find(KeySelector::Digests(&[new.digest(KEY)])).await.unwrap().is_some());
        assert_eq!(
            call(&with(&new), request(KEY)).await.status(),
            StatusCode::OK,
            "now the new one is enough"
        );
        assert_eq!(call(&with(&both), request(KEY)).await.status(), StatusCode::OK);
        assert_eq!(store.refreshed.load(Ordering::SeqCst), 1, "once is enough");
    }
}

#[tokio::test]
async fn a_revoked_key_is_rejected_from_the_next_request_on() {
    let store = store([record(KEY, |_| {})]).await;
    let layer = authenticate(assembly(store.clone()));
    assert_eq!(call(&layer, request(KEY)).await.status(), StatusCode::OK);
    let mut revoked = record(KEY, |_| {});
    revoked.state = KeyState::Revoked { at: START };
    store.replace(revoked, None).await.unwrap();
    assert_eq!(call(&layer, request(KEY)).await.status(), StatusCode::UNAUTHORIZED);
}

/// A service that panics if it is called without having been polled ready, as its inner services do.
#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called() {
    for answers in [Answers::AtOnce, Answers::Later] {
        let store = TestStore::new(store([record(KEY, |_| {})]).await, answers);
        let layer = authenticate(assembly(store));
        let limited = ServiceBuilder::new().layer(layer.clone()).concurrency_limit(1).service_fn(whoami);
        let buffered = ServiceBuilder::new().layer(layer).buffer(1).service_fn(whoami);
        three_requests(limited, "ConcurrencyLimit").await;
        let buffered = buffered.map_err(|error| panic!("{error}"));
        three_requests(buffered, "Buffer").await;
    }

    async fn three_requests<S>(mut service: S, name: &str)
    where
        S: Service<Request<()>, Response = Response<Bytes>, Error = Infallible>,
    {
        for key in [KEY, UNKNOWN_KEY, KEY] {
            let want = if key == KEY { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            let response = service.ready().await.unwrap().call(request(key)).await.unwrap();
            assert_eq!(response.status(), want, "{name}");
        }
    }
}

#[tokio::test]
async fn a_rejection_frees_the_capacity_it_reserved() {
    let store = TestStore::new(MemoryStore::new(), Answers::Later);
    let layer = authenticate(assembly(store));
    let mut service = ServiceBuilder::new().layer(layer).concurrency_limit(1).service_fn(whoami);
    for _ in 0..3 {
        let ready = tokio::time::timeout(Duration::from_secs(5), service.ready()).await;
        let response = ready
            .expect("the permit of the rejected request is free again")
            .unwrap()
            .call(request(KEY))
            .await;
        assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn custom_error_formats_get_the_required_fields() {
    let layer = authenticate(assembly(MemoryStore::new()).errors(|error: &ApiError<'_>| {
        let mut response = Response::new(format!("{:?}", error.kind()));
        *response.status_mut() = error.status();
        response
    }));
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let response = layer.layer(handler).oneshot(request(None)).await.unwrap();
    assert_eq!(response.body(), "Unauthenticated");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.headers().contains_key("www-authenticate"));
    assert_eq!(rejection(&response).check(), Some(Check::Extraction));
}

#[test]
fn layers_and_services_meet_the_bounds_of_frameworks() {
    fn is_static<T: Clone + Send + Sync + 'static>() {}
    fn is_send<T: Send>(_: &T) {}
    is_static::<ApiKeys>();
    is_static::<ApiKeysLayer>();
    is_static::<ApiKeysService<tower::util::BoxCloneSyncService<(), (), Infallible>>>();
    is_static::<Principal>();
    let layer = authenticate(assembly(MemoryStore::new()));
    let mut service = layer.layer(service_fn(whoami::<()>));
    is_send(&service.call(request(None)));
    let debug = format!("{layer:?}");
    assert!(debug.contains("ApiKeysLayer"), "{debug}");
}

#[tokio::test]
async fn keys_are_read_only_from_their_header() {
    let store = TestStore::new(store([record(KEY, |_| {})]).await, Answers::AtOnce);
    let layer = authenticate(assembly(store.clone()));
    for uri in [format!("/?x-api-key={KEY}&api_key={KEY}"), format!("/{KEY}"), format!("http://{KEY}/")] {
        let mut elsewhere = Request::new(());
        *elsewhere.uri_mut() = uri.parse().unwrap();
        for name in ["authorization", "cookie", "x_api_key", "api-key", "proxy-authorization"] {
            elsewhere.headers_mut().insert(name, KEY.parse().unwrap());
        }
        let response = call(&layer, elsewhere).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{uri}");
        assert_eq!(reason(&response), "CredentialMissing", "{uri}");
    }
    assert_eq!(store.lookups(), 0);
}

#[tokio::test]
async fn upgrades_and_streams_are_authenticated_before_they_start() {
    let layer = authenticate(assembly(store([record(KEY, |_| {})]).await));
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    let stream = [("accept", "text/event-stream")];
    for (method, headers) in
        [(Method::GET, &upgrade[..]), (Method::CONNECT, &upgrade[1..]), (Method::GET, &stream[..])]
    {
        for (key, status) in [(None, 401), (Some(UNKNOWN_KEY), 401), (Some(KEY), 200)] {
            let mut request = request(key);
            *request.method_mut() = method.clone();
            for (name, value) in headers {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
            assert_eq!(call(&layer, request).await.status(), status, "{method} {headers:?} {key:?}");
        }
    }
}

#[tokio::test]
async fn rejections_are_problem_details_and_a_missing_scope_is_403() {
    let keys = store([record(KEY, |_| {})]).await;
    let scope = ScopeRequirement::from_static("runs:write");
    let assembled =
        |answers| assembly(TestStore::new(keys.clone(), answers)).without_route_table().build().unwrap();
    let layers = |answers| {
        let keys = assembled(answers);
        ServiceBuilder::new()
            .layer(keys.authenticate())
            .layer(keys.require(scope.clone()))
            .service(service_fn(whoami))
    };
    let mut twice = request(KEY);
    twice.headers_mut().append(X_API_KEY, KEY.parse().unwrap());
    let outside = assembled(Answers::AtOnce).require(scope.clone()).layer(service_fn(whoami));
    for (status, response) in [
        (401, layers(Answers::AtOnce).oneshot(request(None)).await),
        (401, layers(Answers::AtOnce).oneshot(request(UNKNOWN_KEY)).await),
        (400, layers(Answers::AtOnce).oneshot(twice).await),
        (403, layers(Answers::AtOnce).oneshot(request(KEY)).await),
        (503, layers(Answers::WithAnError).oneshot(request(KEY)).await),
        (500, outside.oneshot(request(KEY)).await),
    ] {
        let response = response.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{status}");
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401, "{status}");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["status"], status, "the real one");
        let text = body.to_string();
        assert!(!text.contains("runs:write") && !text.contains("refused"), "no internals: {text}");
    }
}
