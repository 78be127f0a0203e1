//! Rate limits of requests, through the layer.

use std::collections::HashMap;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tower::util::BoxCloneService;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::{Clock, ManualClock};
use tower_api_keys::key::{KeyRecord, Mode, Peppers, PreviousSecret};
use tower_api_keys::limit::{FIELD_NAMES, MemoryRateLimiter, RateLimiter, Subject};
use tower_api_keys::{ApiKeysBuilder, Quota, RateLimit};

use crate::support::*;

type Stack = BoxCloneService<Request<()>, Response<Bytes>, Infallible>;

fn per_minute(limit: u32) -> Quota {
    Quota::per_minute(limit).unwrap()
}

fn by_key(category: &str, limit: u32) -> RateLimit {
    RateLimit::per_key(category, per_minute(limit))
}

async fn stack(clock: &ManualClock, limit: RateLimit) -> Stack {
    stack_with(clock, |keys| keys.limit(limit)).await
}

async fn stack_with(clock: &ManualClock, set: impl FnOnce(ApiKeysBuilder) -> ApiKeysBuilder) -> Stack {
    let mut test_mode = record(OTHER_KEY, |key| key.owner.mode = Mode::Test);
    test_mode.name = "test".into();
    let keys = store([record(KEY, |_| {}), test_mode]).await;
    let keys = set(assembly(keys).clock(clock.clone()).without_route_table()).build().unwrap();
    let handler = service_fn(async |request: Request<()>| {
        let status = request.uri().path().trim_start_matches('/').parse().unwrap_or(200);
        Ok::<_, Infallible>(Response::builder().status(status).body(Bytes::new()).unwrap())
    });
    BoxCloneService::new(ServiceBuilder::new().layer(keys.layer()).service(handler))
}

fn send(method: Method, path: &str, key: &'static str) -> Request<()> {
    Request::builder().method(method).uri(path).header(X_API_KEY, key).body(()).unwrap()
}

fn fields(response: &Response<Bytes>) -> [String; 3] {
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(|name| {
        response.headers().get(name).map_or("-".into(), |value| value.to_str().unwrap().to_owned())
    })
}

#[tokio::test]
async fn every_counted_response_has_limit_remaining_and_reset() {
    let clock = ManualClock::starting_at(START);
    let mut stack = stack(&clock, by_key("all", 10)).await;
    for (spent, path) in ["/", "/201", "/400", "/403", "/404", "/500"].into_iter().enumerate() {
        let response = stack.call(send(Method::GET, path, KEY)).await.unwrap();
        let remaining = 9 - spent;
        // The first request stops counting 60 s after the end of the second in which it arrived.
        assert_eq!(fields(&response), ["10", &remaining.to_string(), "1702531261"], "{path}");
        assert!(!response.headers().contains_key("retry-after"), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_sleeps_until_reset_and_tries_once_is_admitted() {
    for offset in [0, 1, 250, 500, 999] {
        let clock = ManualClock::starting_at(START);
        clock.advance(Duration::from_millis(offset));
        let mut stack = stack(&clock, by_key("all", 3)).await;
        for _ in 0..3 {
            assert_eq!(stack.call(send(Method::GET, "/", KEY)).await.unwrap().status(), StatusCode::OK);
            clock.advance(Duration::from_millis(300));
        }
        let denied = stack.call(send(Method::GET, "/", KEY)).await.unwrap();
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
        let [limit, remaining, reset] = fields(&denied);
        assert_eq!((limit.as_str(), remaining.as_str()), ("3", "0"));
        assert_eq!(denied.headers()["cache-control"], "no-store");

        let now = clock.now().since_unix_epoch();
        let wait = Duration::from_secs(reset.parse().unwrap()) - now;
        let retry_after: u64 = denied.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(Duration::from_secs(retry_after) >= wait, "Retry-After is not before Reset");
        assert!(retry_after <= 61);

        clock.advance(wait - Duration::from_millis(1001));
        let early = stack.call(send(Method::GET, "/", KEY)).await.unwrap();
        assert_eq!(
            early.status(),
            StatusCode::TOO_MANY_REQUESTS,
            "{offset} ms: a second before it is too early"
        );
        clock.advance(Duration::from_millis(1001));
        let retry = stack.call(send(Method::GET, "/", KEY)).await.unwrap();
        assert_eq!(retry.status(), StatusCode::OK, "{offset} ms");
    }
}

#[tokio::test]
async fn only_the_most_specific_category_counts() {
    let clock = ManualClock::starting_at(START);
    let limit = by_key("write", 20)
        .methods([Method::GET], "read", per_minute(30))
        .route(Method::POST, "/workflows/:id/run", "execute", per_minute(10))
        .without_method(Method::OPTIONS);
    let mut stack = stack(&clock, limit).await;
    for (method, path, limit, remaining) in [
        (Method::GET, "/workflows", "30", "29"),
        (Method::HEAD, "/workflows", "30", "28"),
        (Method::POST, "/workflows", "20", "19"),
        (Method::PATCH, "/workflows/1", "20", "18"),
        (Method::DELETE, "/workflows/1", "20", "17"),
        (Method::from_bytes(b"PURGE").unwrap(), "/workflows/1", "20", "16"),
        (Method::POST, "/workflows/1/run", "10", "9"),
        (Method::POST, "/workflows/2/run", "10", "8"),
        (Method::GET, "/workflows/2/run", "30", "27"),
        (Method::POST, "/workflows//run", "10", "7"),
        (Method::OPTIONS, "/workflows", "-", "-"),
    ] {
        let response = stack.call(send(method.clone(), path, KEY)).await.unwrap();
        let [told_limit, told_remaining, _] = fields(&response);
        assert_eq!((told_limit.as_str(), told_remaining.as_str()), (limit, remaining), "{method} {path}");
    }
}

#[tokio::test]
async fn each_key_has_its_own_window_and_an_organization_shares_one_in_each_mode() {
    let clock = ManualClock::starting_at(START);
    let mut by_key = stack(&clock, by_key("all", 1)).await;
    assert_eq!(by_key.call(send(Method::GET, "/", KEY)).await.unwrap().status(), StatusCode::OK);
    assert_eq!(
        by_key.call(send(Method::GET, "/", KEY)).await.unwrap().status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(by_key.call(send(Method::GET, "/", OTHER_KEY)).await.unwrap().status(), StatusCode::OK);

    // The other key belongs to the same organization, in test mode.
    let mut shared = stack(&clock, RateLimit::per_organization("all", per_minute(1))).await;
    assert_eq!(shared.call(send(Method::GET, "/", KEY)).await.unwrap().status(), StatusCode::OK);
    assert_eq!(shared.call(send(Method::GET, "/", OTHER_KEY)).await.unwrap().status(), StatusCode::OK);
    assert_eq!(
        shared.call(send(Method::GET, "/", KEY)).await.unwrap().status(),
        StatusCode::TOO_MANY_REQUESTS
    );
}

/// Otherwise a key with a high limit of its own would raise that of its organization, and one with a low limit would be let
/// in when its organization has used up more than that.
#[tokio::test]
async fn an_organizations_limit_does_not_depend_on_which_key_calls() {
    let clock = ManualClock::starting_at(START);
    let with_limit =
        |limit| move |key: &mut KeyRecord| _ = key.extras_mut().limits.insert("all".to_owned(), limit);
    let five = NonZeroU32::new(5).unwrap();
    let keys = store([record(KEY, with_limit(five)), record(OTHER_KEY, with_limit(NonZeroU32::MIN))]).await;
    let keys = assembly(keys).clock(clock.clone()).without_route_table();
    let keys = keys.limit(RateLimit::per_organization("all", per_minute(3))).build().unwrap();
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::new())));
    let mut stack = ServiceBuilder::new().layer(keys.layer()).service(handler);
    for (key, status, remaining) in [
        (KEY, 200, "2"),
        (OTHER_KEY, 200, "1"),
        (OTHER_KEY, 200, "0"),
        (KEY, 429, "0"),
        (OTHER_KEY, 429, "0"),
    ] {
        let response = stack.call(send(Method::GET, "/", key)).await.unwrap();
        assert_eq!((response.status().as_u16(), &*fields(&response)[0]), (status, "3"), "{key}");
        assert_eq!(fields(&response)[1], remaining);
    }
}

#[tokio::test]
async fn unauthenticated_requests_use_no_limit_and_see_none() {
    let clock = ManualClock::starting_at(START);
    let mut stack = stack(&clock, by_key("all", 2)).await;
    for key in ["", "junk", UNKNOWN_KEY] {
        let response = stack.call(send(Method::GET, "/", key)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(fields(&response), ["-", "-", "-"]);
    }
    let response = stack.call(send(Method::GET, "/", KEY)).await.unwrap();
    assert_eq!(fields(&response)[1], "1");
}

#[tokio::test]
async fn the_ietf_fields_are_structured_fields_with_the_same_values() {
    let clock = ManualClock::starting_at(START);
    let mut stack = stack_with(&clock, |keys| keys.limit(by_key("read", 2)).ietf_rate_limit_fields()).await;
    for (remaining, status) in [("1", 200), ("0", 200), ("0", 429)] {
        let response = stack.call(send(Method::GET, "/", KEY)).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["ratelimit-policy"], r#""read";q=2;w=60"#);
        assert_eq!(
            response.headers()["ratelimit"].to_str().unwrap(),
            format!(r#""read";r={remaining};t=61"#)
        );
    }
    let odd = by_key("a \"b\" \\ é\n", 2);
    let mut stack = stack_with(&clock, |keys| keys.limit(odd).ietf_rate_limit_fields()).await;
    let response = stack.call(send(Method::GET, "/", KEY)).await.unwrap();
    assert_eq!(response.headers()["ratelimit"], r#""a \"b\" \\ ??";r=1;t=61"#);
}

#[tokio::test]
async fn several_quotas_are_reported_as_several_policies() {
    let clock = ManualClock::starting_at(START);
    let quotas = [per_minute(100), Quota::new(500, Duration::from_secs(300)).unwrap()];
    let both = RateLimit::per_key("api", quotas);
    let mut stack = stack_with(&clock, |keys| keys.limit(both).ietf_rate_limit_fields()).await;
    let response = stack.call(send(Method::GET, "/", KEY)).await.unwrap();
    assert_eq!(response.headers()["ratelimit-policy"], r#""api";q=100;w=60, "api";q=500;w=300"#);
    assert_eq!(fields(&response)[0], "100");
}

#[tokio::test]
async fn requests_may_cost_more_and_may_be_refunded() {
    let clock = ManualClock::starting_at(START);
    let limit = by_key("all", 10)
        .cost(|request| if request.method == Method::POST { 4 } else { 1 })
        .refund(|status| status.is_server_error());
    let mut stack = stack(&clock, limit).await;
    for (method, path, status, remaining) in [
        (Method::POST, "/", 200, "6"),
        // The remaining limit is reported after the refund.
        (Method::POST, "/503", 503, "6"),
        (Method::GET, "/", 200, "5"),
        (Method::POST, "/", 200, "1"),
        (Method::POST, "/", 429, "1"),
        (Method::GET, "/", 200, "0"),
    ] {
        let response = stack.call(send(method.clone(), path, KEY)).await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(fields(&response)[1], remaining, "{method} {path}");
    }
}

#[tokio::test]
async fn a_request_that_costs_more_than_a_window_gets_no_retry_after() {
    let clock = ManualClock::starting_at(START);
    let limit = by_key("all", 2).cost(|_| 3);
    let response = stack(&clock, limit).await.call(send(Method::GET, "/", KEY)).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(!response.headers().contains_key("retry-after"));
    let body = std::str::from_utf8(response.body()).unwrap();
    assert!(body.contains(r#""code":"cost_exceeds_limit""#), "{body}");
    assert!(body.contains("Waiting does not help") && !body.contains("Retry-After"), "{body}");
}

/// A handler that passes on the response of an upstream passes on its limit as well.
#[tokio::test]
async fn fields_of_another_limit_are_replaced_and_never_mixed_with_ours() {
    const ALL: [&str; 5] =
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-policy", "ratelimit"];
    let clock = ManualClock::starting_at(START);
    for ietf in [false, true] {
        for upstream in 0..1 << ALL.len() {
            let keys =
                assembly(store([record(KEY, |_| {})]).await).clock(clock.clone()).without_route_table();
            let keys = keys.limit(by_key("all", 10));
            let keys = if ietf { keys.ietf_rate_limit_fields() } else { keys }.build().unwrap();
            let handler = service_fn(move |_: Request<()>| async move {
                let mut response = Response::builder().header("content-type", "text/plain");
                for (_, name) in ALL.iter().enumerate().filter(|(bit, _)| upstream >> bit & 1 == 1) {
                    response = response.header(*name, "upstream").header(*name, "twice");
                }
                Ok::<_, Infallible>(response.body(Bytes::new()).unwrap())
            });
            let stack = ServiceBuilder::new().layer(keys.layer()).service(handler);
            let response = stack.oneshot(send(Method::GET, "/", KEY)).await.unwrap();
            let values = |name| response.headers().get_all(name).iter().collect::<Vec<_>>();
            for (index, name) in ALL.into_iter().enumerate() {
                let values = values(name);
                assert_eq!(values.len(), usize::from(index < 3 || ietf), "{name}, upstream {upstream:b}");
                assert!(values.iter().all(|value| !value.as_bytes().starts_with(b"upstream")), "{name}");
            }
            assert!(FIELD_NAMES.iter().all(|name| ALL.contains(&name.as_str()) || *name == "retry-after"));
        }
    }
}

#[tokio::test]
async fn addresses_are_limited_without_authentication() {
    let clock = ManualClock::starting_at(START);
    let keys = assembly(store([]).await)
        .client_address(ClientAddressSource::peer())
        .limit(RateLimit::per_address("webhooks", per_minute(2)))
        .clock(clock.clone())
        .without_route_table()
        .build()
        .unwrap();
    let mut service = ServiceBuilder::new().layer(keys.limit_addresses()).service(service_fn(whoami));
    for (peer, forwarded, status) in [
        ("192.0.2.1", "203.0.113.1", 200),
        ("192.0.2.1", "203.0.113.2", 200),
        ("192.0.2.1", "203.0.113.3", 429),
        ("192.0.2.2", "203.0.113.3", 200),
        ("2001:db8::1", "203.0.113.3", 200),
        ("2001:db8::2", "203.0.113.3", 200),
        ("2001:db8::3", "203.0.113.3", 429),
    ] {
        let mut request = Request::builder().header("x-forwarded-for", forwarded).body(()).unwrap();
        request.extensions_mut().insert(PeerAddress(peer.parse().unwrap()));
        assert_eq!(service.call(request).await.unwrap().status(), status, "{peer}");
    }
}

#[tokio::test]
async fn the_tightest_of_several_limits_is_reported() {
    for limits in [["wide", "tight"], ["tight", "wide"]] {
        let clock = ManualClock::starting_at(START);
        let limits = limits.map(|name| by_key(name, if name == "tight" { 5 } else { 100 }));
        let mut stack = stack_with(&clock, |keys| limits.into_iter().fold(keys, ApiKeysBuilder::limit)).await;
        let response = stack.call(send(Method::GET, "/", KEY)).await.unwrap();
        assert_eq!(fields(&response), ["5", "4", "1702531261"]);
    }
}

#[tokio::test]
async fn a_step_of_the_calendar_changes_no_limit() {
    let clock = ManualClock::starting_at(START);
    let mut stack = stack(&clock, by_key("all", 1)).await;
    assert_eq!(stack.call(send(Method::GET, "/", KEY)).await.unwrap().status(), StatusCode::OK);
    for step in [Duration::from_secs(3600), Duration::ZERO] {
        clock.step_calendar(START.saturating_add(step));
        let denied = stack.call(send(Method::GET, "/", KEY)).await.unwrap();
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
        let reset: u64 = fields(&denied)[2].parse().unwrap();
        assert_eq!(
            reset - clock.now().since_unix_epoch().as_secs(),
            61,
            "reset follows the calendar as it now is"
        );
    }
    clock.advance(Duration::from_secs(61));
    assert_eq!(stack.call(send(Method::GET, "/", KEY)).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn readiness_is_that_of_the_inner_service() {
    let clock = ManualClock::starting_at(START);
    let keys = store([record(KEY, |_| {})]).await;
    let keys = assembly(keys).clock(clock.clone()).limit(by_key("all", 2)).without_route_table();
    let mut service = ServiceBuilder::new()
        .layer(keys.build().unwrap().layer())
        .concurrency_limit(1)
        .service(service_fn(whoami));
    for status in [200, 200, 429, 429] {
        let ready = tokio::time::timeout(Duration::from_secs(5), service.ready()).await;
        let response = ready.expect("the permit is free").unwrap().call(request(KEY)).await.unwrap();
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_escapes_the_category_of_its_route() {
    // As routers read them: by the path as written.
    for (pattern, path) in [
        ("/workflows/{id}/run", "/workflows/1/run"),
        ("/workflows/{id}/run", "/workflows/%31/run"),
        ("/workflows/{id}/run", "/workflows/1;x/run"),
        ("/workflows/{id}/run", "/workflows/../run"),
        ("/workflows/{id}/run", "/workflows//run"),
        ("/files/{*path}", "/files/a/"),
        ("/files/{*path}", "/files/a//b"),
        ("/files/{*path}", "/files//a"),
        ("/files/{*path}", "/files/%61"),
    ] {
        let clock = ManualClock::starting_at(START);
        let limit = by_key("rest", 20).route(Method::POST, pattern, "route", per_minute(10));
        let mut stack = stack(&clock, limit).await;
        let response = stack.call(send(Method::POST, path, KEY)).await.unwrap();
        assert_eq!(fields(&response)[0], "10", "{pattern}: {path}");
    }
}

#[tokio::test]
async fn spellings_and_secrets_of_one_key_share_a_limit() {
    let clock = ManualClock::starting_at(START);
    let rotated = record(KEY, |key| {
        let valid_until = START.saturating_add(Duration::from_secs(60));
        key.extras_mut().previous =
            Some(PreviousSecret { digest: Peppers::none().digest(OTHER_KEY), valid_until });
    });
    let keys = assembly(store([rotated]).await).clock(clock.clone());
    let keys = keys.limit(by_key("all", 10)).without_route_table().build().unwrap();
    let service = ServiceBuilder::new().layer(keys.layer()).service_fn(whoami);
    let spellings = [KEY.to_owned(), format!(" {KEY}"), format!("{KEY}\t "), OTHER_KEY.to_owned()];
    for (spent, spelling) in spellings.into_iter().enumerate() {
        let request = Request::builder().header("X-API-KEY", &spelling).body(()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(fields(&response)[1], (9 - spent).to_string(), "{spelling:?}");
    }
}

#[tokio::test]
async fn a_handler_can_read_the_remaining_limit_without_using_it() {
    let clock = ManualClock::starting_at(START);
    let stored = record(KEY, |key| {
        key.extras_mut().limits = [("all".into(), std::num::NonZeroU32::new(3).unwrap())].into();
    });
    let counts = Arc::new(MemoryRateLimiter::new("all", &[per_minute(10)], clock.now()).unwrap());
    let (peeked, reading) = (counts.clone(), clock.clone());
    let handler = service_fn(move |request: Request<()>| {
        let principal = tower_api_keys::Principal::from_extensions(request.extensions()).unwrap();
        let left = [peeked.peek_for(principal, reading.now()), peeked.peek_for(principal, reading.now())];
        let left = left.map(|decision| (decision.limit(), decision.remaining()));
        std::future::ready(Ok::<_, Infallible>(Response::new(Bytes::from(format!("{left:?}")))))
    });
    let keys = assembly(store([stored]).await)
        .clock(clock.clone())
        .limit(by_key("all", 10))
        .limiters(move |category, quotas| {
            assert_eq!((category, quotas), ("all", &[per_minute(10)][..]));
            counts.clone()
        })
        .without_route_table()
        .build()
        .unwrap();
    let service = ServiceBuilder::new().layer(keys.layer()).service(handler);
    let response = service.oneshot(request(KEY)).await.unwrap();
    assert_eq!(response.body(), "[(3, 2), (3, 2)]");
}

/// One of the limits is 1, so the second request is denied; what remains of the others says whether it was counted.
#[tokio::test]
async fn the_limits_of_a_caller_count_all_or_none_and_so_do_those_of_an_address() {
    let limits = |key: u32, organization: u32, first: u32, second: u32| {
        [
            by_key("key", key),
            RateLimit::per_organization("organization", per_minute(organization)),
            RateLimit::per_address("first", per_minute(first)),
            RateLimit::per_address("second", per_minute(second)),
        ]
    };
    for (name, limits, remaining) in [
        // The limits of the address are decided before the caller is known, so the denied request stays counted there.
        ("key", limits(1, 9, 9, 9), [0, 8, 7, 7]),
        ("organization", limits(9, 1, 9, 9), [8, 0, 7, 7]),
        ("first", limits(9, 9, 1, 9), [8, 8, 0, 8]),
        ("second", limits(9, 9, 9, 1), [8, 8, 8, 0]),
    ] {
        let clock = ManualClock::starting_at(START);
        let limiters = Arc::new(Mutex::new(HashMap::new()));
        let make = {
            let (limiters, now) = (limiters.clone(), clock.now());
            move |category: &str, quotas: &[Quota]| -> Arc<dyn RateLimiter> {
                let limiter = Arc::new(MemoryRateLimiter::new(category, quotas, now).unwrap());
                limiters.lock().unwrap().insert(category.to_owned(), limiter.clone());
                limiter
            }
        };
        let mut stack = stack_with(&clock, |keys| {
            keys.client_address(ClientAddressSource::peer()).limits(limits).limiters(make)
        })
        .await;
        let peer = PeerAddress([192, 0, 2, 1].into());
        for status in [200, 429] {
            let mut request = send(Method::GET, "/", KEY);
            request.extensions_mut().insert(peer);
            assert_eq!(stack.call(request).await.unwrap().status(), status, "{name}");
        }
        let address = Subject::Address(ClientAddressSource::peer().find(peer.0, &HeaderMap::new()));
        let key = Subject::Key(record(KEY, |_| {}).id);
        let subjects = [
            ("key", key),
            ("organization", Subject::other("live:acme")),
            ("first", address.clone()),
            ("second", address),
        ];
        let left = subjects.map(|(category, subject)| {
            limiters.lock().unwrap()[category].peek(&subject, None, 0, clock.now()).remaining()
        });
        assert_eq!(left, remaining, "{name}");
    }
}
