//! Whichever faults a request has, the answer is that of the first check it fails.

mod support;

use std::num::NonZeroU32;

use http::{HeaderName, Method, Request, StatusCode};
use support::*;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::AuthenticateLayer;
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::authorize::{OrganizationLayer, RequireScopeLayer};
use tower_api_keys::clock::{Clock, ManualClock};
use tower_api_keys::credential::HeaderKey;
use tower_api_keys::key::{KeyFormat, KeyState};
use tower_api_keys::limit::{MemoryRateLimiter, Quota, RateLimitLayer, Subject};
use tower_api_keys::rejection::{Check, Rejection};
use tower_api_keys::route::RouteTable;
use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
use tower_api_keys::store::MemoryStore;

/// One fault for each check, in the declared order.
const FAULTS: [(Check, StatusCode); 9] = [
    (Check::Extraction, StatusCode::BAD_REQUEST),
    (Check::Format, StatusCode::UNAUTHORIZED),
    (Check::Throttle, StatusCode::TOO_MANY_REQUESTS),
    (Check::Lookup, StatusCode::UNAUTHORIZED),
    (Check::State, StatusCode::UNAUTHORIZED),
    (Check::Address, StatusCode::FORBIDDEN),
    (Check::RateLimit, StatusCode::TOO_MANY_REQUESTS),
    (Check::Organization, StatusCode::FORBIDDEN),
    (Check::Access, StatusCode::FORBIDDEN),
];

#[tokio::test]
async fn the_first_failed_check_answers_for_every_combination_of_faults() {
    assert!(FAULTS.is_sorted_by_key(|(check, _)| *check));
    for answers in [Answers::AtOnce, Answers::Later] {
        for combination in 0..1_u32 << FAULTS.len() {
            let has = |fault: Check| {
                let position = FAULTS.iter().position(|(check, _)| *check == fault).unwrap();
                combination & 1 << position != 0
            };
            let name = format!("{combination:09b} {answers:?}");
            let Outcome { status, check, remaining, guesses } = outcome(has, answers).await;
            match FAULTS.iter().find(|(check, _)| has(*check)) {
                Some((first, expected)) => {
                    assert_eq!((check, status), (Some(*first), *expected), "{name}");
                }
                None => assert_eq!(status, StatusCode::OK, "{name}"),
            }
            // R70: only who is known learns of a limit, and only a known request spends one.
            let spent = match check {
                Some(check) if check <= Check::RateLimit => 0,
                _ => 1,
            };
            let before = if has(Check::RateLimit) { 0 } else { 2 };
            assert_eq!(remaining, before - spent, "{name}: what is left of the limit");
            // Only a look-up that ends badly counts as a guess.
            let counted = u32::from(matches!(check, Some(Check::Lookup | Check::State)));
            let before = if has(Check::Throttle) { 0 } else { 2 };
            assert_eq!(guesses, before - counted, "{name}: what is left of the guesses");
        }
    }
}

struct Outcome {
    status: StatusCode,
    /// The check that refused.
    check: Option<Check>,
    /// What is left of the key's limit.
    remaining: u32,
    /// What is left of the address's.
    guesses: u32,
}

async fn outcome(has: impl Fn(Check) -> bool, answers: Answers) -> Outcome {
    let clock = ManualClock::starting_at(START);
    let stored = record(if has(Check::Lookup) { OTHER_KEY } else { KEY }, |key| {
        if has(Check::State) {
            key.state = KeyState::Revoked { at: START };
        }
        let scope = if has(Check::Access) { "workflows:write" } else { "workflows:read" };
        key.scopes = ScopeSet::parse_list([scope]).unwrap();
        let allowed = if has(Check::Address) { "198.51.100.0/24" } else { "192.0.2.0/24" };
        key.extras.allowed_addresses = vec![allowed.parse().unwrap()];
    });
    let quota = Quota::per_minute(2).unwrap();
    let limiter = std::sync::Arc::new(MemoryRateLimiter::builder("all", quota).build_at(clock.now()));
    let subject = Subject::Key(stored.id);
    if has(Check::RateLimit) {
        limiter.check(&subject, None, 2, clock.now());
    }
    let source = ClientAddressSource::peer();
    let peer = PeerAddress("192.0.2.1".parse().unwrap());
    let bad = std::sync::Arc::new(MemoryRateLimiter::builder("bad credentials", quota).build_at(clock.now()));
    let address = Subject::Address(source.find(peer.0, &http::HeaderMap::new()));
    if has(Check::Throttle) {
        bad.check(&address, None, 2, clock.now());
    }

    let tokens = KeyFormat::new("tok_").unwrap();
    let store = TestStore::new(store([stored]).await, answers);
    let authenticate = AuthenticateLayer::new(store, header_key())
        .add_extractor(HeaderKey::new(HeaderName::from_static("x-token"), tokens))
        .with_client_address(source)
        .with_bad_credential_limit(bad.clone())
        .with_clock(clock.clone());
    let organization_id = HeaderName::from_static("organization-id");
    let read = ScopeRequirement::from_static("workflows:read");
    let service = ServiceBuilder::new()
        .layer(authenticate)
        .layer(RateLimitLayer::by_key(limiter.clone()))
        .layer(OrganizationLayer::required(organization_id.clone()))
        .layer(RequireScopeLayer::new(read))
        .service(service_fn(whoami));

    let mut request = request(if has(Check::Format) { "junk" } else { KEY });
    if has(Check::Extraction) {
        request.headers_mut().insert("x-token", "junk".parse().unwrap());
    }
    let named = if has(Check::Organization) { "other" } else { "acme" };
    request.headers_mut().insert(organization_id, named.parse().unwrap());
    request.extensions_mut().insert(peer);
    let response = service.oneshot(request).await.unwrap();
    let check = response.extensions().get::<Rejection>().and_then(Rejection::check);
    assert_eq!(
        response.headers().contains_key("x-ratelimit-limit"),
        check.is_none_or(|check| check >= Check::RateLimit),
        "limits are told to known callers"
    );
    Outcome {
        status: response.status(),
        check,
        remaining: limiter.peek(&subject, None, 1, clock.now()).remaining(),
        guesses: bad.peek(&address, None, 1, clock.now()).remaining(),
    }
}

#[tokio::test]
async fn layers_in_the_wrong_order_refuse_everything_and_say_what_is_missing() {
    let limiter = || MemoryRateLimiter::builder("all", Quota::per_minute(2).unwrap()).build();
    let keys = || AuthenticateLayer::new(MemoryStore::new(), header_key()).allow_anonymous();
    let table = RouteTable::new().add(Method::GET, "/", ScopeRequirement::from_static("a:b").into()).unwrap();

    let limit_outside = ServiceBuilder::new().layer(RateLimitLayer::by_key(limiter())).layer(keys());
    let response = limit_outside.service(service_fn(whoami)).oneshot(request(None)).await.unwrap();
    refused(
        response,
        "RateLimitLayer needs AuthenticateLayer outside it: add that one later to an axum router, or earlier to a \
         ServiceBuilder",
    );

    let scope_alone = ServiceBuilder::new().layer(RequireScopeLayer::by_route(table).unwrap());
    let response = scope_alone.service(service_fn(whoami)).oneshot(request(None)).await.unwrap();
    refused(response, "AuthenticateLayer");

    let no_peer = RateLimitLayer::by_client_address(ClientAddressSource::peer(), limiter());
    let response = ServiceBuilder::new()
        .layer(no_peer)
        .service(service_fn(whoami))
        .oneshot(request(None))
        .await
        .unwrap();
    refused(response, "PeerAddress");

    fn refused(response: http::Response<bytes::Bytes>, word: &str) {
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert!(rejection.reason().to_string().contains(word), "{}", rejection.reason());
        assert!(!std::str::from_utf8(response.body()).unwrap().contains("Layer"), "the client is not told");
    }
}

#[tokio::test]
async fn a_limit_stored_with_the_key_replaces_the_category_s() {
    let stored = record(KEY, |key| key.extras.limits.set("all", NonZeroU32::new(1)));
    let limiter = MemoryRateLimiter::builder("all", Quota::per_minute(5).unwrap()).build();
    let mut service = ServiceBuilder::new()
        .layer(AuthenticateLayer::new(store([stored]).await, header_key()))
        .layer(RateLimitLayer::by_key(limiter))
        .service(service_fn(whoami::<()>));
    let request = || -> Request<()> { request(KEY) };
    let response = tower::Service::call(&mut service, request()).await.unwrap();
    assert_eq!(response.headers()["x-ratelimit-limit"], "1");
    let response = tower::Service::call(&mut service, request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
}
