//! Rules of limits beyond counting requests of a key: subjects and plans by closure, charges after the answer, requests at a
//! time, trial limits; and what an operator sees and resets.

use std::convert::Infallible;
use std::future::pending;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use http::{Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tower::util::BoxCloneService;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::clock::ManualClock;
use tower_api_keys::key::{KeyRecord, Mode, Owner};
use tower_api_keys::limit::{InFlight, Subject};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, Charge, Principal, Quota, RateLimit};

use crate::support::*;

type Stack = BoxCloneService<Request<()>, Response<Bytes>, Infallible>;

/// What a handler does, by the request's path.
type Handler = fn(Request<()>) -> BoxFuture<'static, Response<Bytes>>;

const LIVE: fn(&mut KeyRecord) = |_| {};

async fn keys(clock: &ManualClock, set: impl FnOnce(ApiKeysBuilder) -> ApiKeysBuilder) -> ApiKeys {
    let mut test_mode = record(OTHER_KEY, |key| key.owner.mode = Mode::Test);
    test_mode.name = "test".into();
    let keys = store([record(KEY, LIVE), test_mode]).await;
    set(assembly(keys).clock(clock.clone()).without_route_table()).build().unwrap()
}

fn stack(keys: &ApiKeys, handler: Handler) -> Stack {
    let handler = service_fn(move |request| {
        let answer = handler(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    BoxCloneService::new(ServiceBuilder::new().layer(keys.layer()).service(handler))
}

fn answer(status: u16) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::new()).unwrap()
}

const OK: Handler = |_| Box::pin(async { answer(200) });

/// Charges the number in the path.
const CHARGING: Handler = |request| {
    Box::pin(async move {
        let charge = Charge::from_extensions(request.extensions()).expect("a charged limit");
        charge.add(request.uri().path().trim_start_matches('/').parse().unwrap());
        answer(200)
    })
};

fn send(path: &str, key: &'static str) -> Request<()> {
    Request::builder().uri(path).header(X_API_KEY, key).body(()).unwrap()
}

async fn status(stack: &mut Stack, path: &str) -> u16 {
    stack.call(send(path, KEY)).await.unwrap().status().as_u16()
}

/// Status, limit and remaining.
async fn told(stack: &mut Stack, path: &str) -> (u16, String, String) {
    let response = stack.call(send(path, KEY)).await.unwrap();
    let field = |name: &str| {
        response.headers().get(name).map_or("-".into(), |value| value.to_str().unwrap().to_owned())
    };
    (response.status().as_u16(), field("x-ratelimit-limit"), field("x-ratelimit-remaining"))
}

fn per_minute(limit: u32) -> Quota {
    Quota::per_minute(limit).unwrap()
}

#[tokio::test]
async fn requests_are_counted_by_the_subject_that_the_application_names() {
    let clock = ManualClock::starting_at(START);
    let by_region = RateLimit::per("region", per_minute(1), |request, principal| {
        let region = request.headers.get("x-region")?.to_str().ok()?;
        Some(Subject::other(format!("{}/{region}", principal.organization()?)))
    });
    let keys = keys(&clock, |keys| keys.limit(by_region).allow_anonymous()).await;
    let mut stack = stack(&keys, OK);
    for (key, region, want) in [
        (Some(KEY), Some("eu"), 200),
        (Some(KEY), Some("eu"), 429),
        (Some(OTHER_KEY), Some("eu"), 429),
        (Some(OTHER_KEY), Some("us"), 200),
        (Some(KEY), None, 200),
        (Some(KEY), None, 200),
        // A missing identity is no shared one.
        (None, Some("eu"), 200),
        (None, Some("eu"), 200),
    ] {
        let mut request = request(key);
        if let Some(region) = region {
            request.headers_mut().insert("x-region", region.parse().unwrap());
        }
        let response = stack.call(request).await.unwrap();
        assert_eq!(response.status(), want, "{key:?} in {region:?}");
    }
}

#[tokio::test]
async fn a_limit_is_the_keys_own_or_the_closures_or_the_quotas() {
    let clock = ManualClock::starting_at(START);
    let of_test_mode = |principal: Option<&Principal>, category: &str| {
        assert_eq!(category, "all");
        NonZeroU32::new(20).filter(|_| principal.is_some_and(|principal| principal.mode() == Mode::Test))
    };
    for (rule, own, key, want) in [
        (RateLimit::per_key("all", per_minute(10)), false, KEY, "10"),
        (RateLimit::per_key("all", per_minute(10)), false, OTHER_KEY, "20"),
        (RateLimit::per_key("all", per_minute(10)), true, KEY, "30"),
        (RateLimit::per_key("all", per_minute(10)), true, OTHER_KEY, "30"),
        // An organization's limit does not depend on what is stored with the key that calls.
        (RateLimit::per_organization("all", per_minute(10)), true, KEY, "10"),
        (RateLimit::per_organization("all", per_minute(10)), true, OTHER_KEY, "20"),
    ] {
        let stored = [(KEY, Mode::Live), (OTHER_KEY, Mode::Test)].map(|(key, mode)| {
            record(key, |record| {
                record.owner.mode = mode;
                if own {
                    record.extras_mut().limits.insert("all".into(), NonZeroU32::new(30).unwrap());
                }
            })
        });
        let keys = assembly(store(stored).await).clock(clock.clone()).without_route_table();
        let keys = keys.limit(rule.limit_for(of_test_mode)).build().unwrap();
        let response = stack(&keys, OK).oneshot(send("/", key)).await.unwrap();
        assert_eq!(response.headers()["x-ratelimit-limit"], want, "own {own}, {key}");
    }
}

#[tokio::test]
async fn a_limit_that_changes_while_the_application_runs_keeps_what_was_counted() {
    let clock = ManualClock::starting_at(START);
    let current = Arc::new(AtomicU32::new(3));
    let limit = current.clone();
    let rule = RateLimit::per_key("all", per_minute(100))
        .limit_for(move |_, _| NonZeroU32::new(limit.load(Ordering::Relaxed)));
    let keys = keys(&clock, |keys| keys.limit(rule)).await;
    let mut stack = stack(&keys, OK);
    for (limit, want) in [
        (3, (200, "3", "2")),
        (3, (200, "3", "1")),
        (1, (429, "1", "0")),
        (10, (200, "10", "7")),
        (3, (429, "3", "0")),
    ] {
        current.store(limit, Ordering::Relaxed);
        let (status, limit, remaining) = told(&mut stack, "/").await;
        assert_eq!((status, &*limit, &*remaining), want);
    }
}

#[tokio::test]
async fn a_request_costs_what_its_handler_charges() {
    let clock = ManualClock::starting_at(START);
    let rule = RateLimit::per_key("tokens", per_minute(1_000)).charged();
    let keys = keys(&clock, |keys| keys.limit(rule)).await;
    let mut stack = stack(&keys, CHARGING);
    for (path, want) in [
        ("/0", (200, "1000")),
        ("/300", (200, "700")),
        ("/699", (200, "1")),
        // Past the limit it is counted in full, and nothing is admitted until enough of it has gone.
        ("/300", (200, "0")),
        ("/0", (429, "0")),
    ] {
        let (status, _, remaining) = told(&mut stack, path).await;
        assert_eq!((status, &*remaining), want, "{path}");
    }
    clock.advance(Duration::from_secs(61));
    assert_eq!(told(&mut stack, "/5").await, (200, "1000".into(), "995".into()));
    // No number is too high: the count stays at the highest there is.
    assert_eq!(told(&mut stack, &format!("/{}", u64::MAX)).await, (200, "1000".into(), "0".into()));
    assert_eq!(status(&mut stack, "/0").await, 429);
    clock.advance(Duration::from_secs(61));
    assert_eq!(told(&mut stack, "/1").await, (200, "1000".into(), "999".into()));
}

#[tokio::test]
async fn a_request_costs_what_the_head_of_its_response_says() {
    let clock = ManualClock::starting_at(START);
    let rule = RateLimit::per_key("tokens", per_minute(1_000))
        .charge(|status, headers| {
            let tokens = headers.get("x-tokens").and_then(|tokens| tokens.to_str().ok()?.parse().ok());
            if status.is_success() { tokens.unwrap_or(0) } else { 7 }
        })
        .refund(|status| status.is_server_error());
    let keys = keys(&clock, |keys| keys.limit(rule)).await;
    let mut stack = stack(&keys, |request| {
        Box::pin(async move {
            let path = request.uri().path();
            let mut response = answer(path[1..4].parse().unwrap());
            if let Some(tokens) = path.get(5..) {
                response.headers_mut().insert("x-tokens", tokens.parse().unwrap());
            }
            response
        })
    });
    for (path, remaining) in
        [("/200/100", "900"), ("/200", "900"), ("/404/100", "893"), ("/500/100", "893"), ("/200/x", "893")]
    {
        assert_eq!(
            told(&mut stack, path).await,
            (path[1..4].parse().unwrap(), "1000".into(), remaining.into())
        );
    }
}

#[tokio::test]
async fn only_charged_limits_are_charged_and_the_reserve_counts_meanwhile() {
    let clock = ManualClock::starting_at(START);
    let requests = RateLimit::per_key("requests", per_minute(10));
    let tokens = RateLimit::per_key("tokens", per_minute(1_000)).cost(|_| 400).charged();
    let keys = keys(&clock, |keys| keys.limit(requests).limit(tokens)).await;
    let principal = principal_of(&keys).await;
    let left = async || {
        let states = keys.limits_of(&principal).await.unwrap();
        states.iter().map(|state| (state.category().to_owned(), state.remaining())).collect::<Vec<_>>()
    };
    let is = |requests, tokens| vec![("requests".to_owned(), requests), ("tokens".to_owned(), tokens)];

    let mut stuck = stack(&keys, |_| Box::pin(pending()));
    let one = tokio::spawn(stuck.call(send("/", KEY)));
    let two = tokio::spawn(stuck.call(send("/", KEY)));
    tokio::task::yield_now().await;
    assert_eq!(left().await, is(8, 200));
    // A third does not fit, so it is counted by neither.
    assert_eq!(status(&mut stuck, "/").await, 429);
    assert_eq!(left().await, is(8, 200));

    // Their clients go: without an answer they cost what was reserved.
    one.abort();
    two.abort();
    assert!(one.await.is_err() && two.await.is_err());
    assert_eq!(left().await, is(8, 200));

    clock.advance(Duration::from_secs(61));
    let mut charging = stack(&keys, CHARGING);
    assert_eq!(status(&mut charging, "/50").await, 200);
    assert_eq!(left().await, is(9, 950));
}

#[tokio::test]
async fn what_is_charged_after_the_response_counts_at_once() {
    let clock = ManualClock::starting_at(START);
    let rules = [
        RateLimit::per_key("tokens", per_minute(1_000)).charged(),
        RateLimit::per_organization("all tokens", per_minute(5_000)).charged(),
    ];
    let keys = keys(&clock, |keys| keys.limits(rules)).await;
    let principal = principal_of(&keys).await;
    let mut stack = stack(&keys, |request| {
        Box::pin(async move {
            let charge = Charge::from_extensions(request.extensions()).expect("a charged limit").clone();
            charge.add(100);
            let mut response = answer(200);
            // As a streamed body would hold it.
            response.extensions_mut().insert(charge);
            response
        })
    });
    let response = stack.call(send("/", KEY)).await.unwrap();
    assert_eq!(response.headers()["x-ratelimit-remaining"], "900");
    response.extensions().get::<Charge>().unwrap().add(850);
    let left: Vec<_> =
        keys.limits_of(&principal).await.unwrap().iter().map(|state| state.remaining()).collect();
    assert_eq!(left, [50, 4_050]);
}

#[tokio::test]
async fn a_charge_is_not_lost_with_its_request() {
    let clock = ManualClock::starting_at(START);
    let rule = RateLimit::per_key("tokens", per_minute(1_000)).charged();
    let keys = keys(&clock, |keys| keys.limit(rule)).await;
    let principal = principal_of(&keys).await;
    let mut stack = stack(&keys, |request| {
        Box::pin(async move {
            let charge = Charge::from_extensions(request.extensions()).expect("a charged limit");
            charge.add(300);
            match request.uri().path() {
                "/panics" => panic!("a defect of the handler"),
                _ => pending().await,
            }
        })
    });
    for (path, remaining) in [("/panics", 700), ("/hangs", 400)] {
        let call = tokio::spawn(stack.call(send(path, KEY)));
        tokio::task::yield_now().await;
        call.abort();
        assert!(call.await.is_err());
        assert_eq!(keys.limits_of(&principal).await.unwrap()[0].remaining(), remaining, "{path}");
    }
}

#[tokio::test]
async fn a_charge_is_not_lost_with_a_closure_that_panics() {
    let clock = ManualClock::starting_at(START);
    let rule = || RateLimit::per_key("tokens", per_minute(1_000));
    for rule in [
        rule().charge(|_, _| panic!("a defect of the application")),
        rule().charged().refund(|_| panic!("a defect of the application")),
    ] {
        let other = RateLimit::per_organization("all", per_minute(1_000)).charged();
        let keys = keys(&clock, |keys| keys.limit(other).limit(rule)).await;
        let principal = principal_of(&keys).await;
        let mut stack = stack(&keys, CHARGING);
        assert!(tokio::spawn(stack.call(send("/300", KEY))).await.is_err());
        let left = keys.limits_of(&principal).await.unwrap();
        assert_eq!([left[0].remaining(), left[1].remaining()], [700, 700]);
    }
}

#[tokio::test]
async fn a_charge_reaches_the_limits_of_every_layer() {
    let clock = ManualClock::starting_at(START);
    let rule = RateLimit::per_key("tokens", per_minute(1_000)).charged();
    let outer = keys(&clock, |keys| keys.limit(rule.clone())).await;
    let inner = keys(&clock, |keys| keys.limit(rule)).await;
    let handler = service_fn(|request| {
        let answer = CHARGING(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let layers = ServiceBuilder::new().layer(outer.layer()).layer(inner.layer());
    let mut stack: Stack = BoxCloneService::new(layers.service(handler));
    assert_eq!(status(&mut stack, "/300").await, 200);
    for keys in [outer, inner] {
        let principal = principal_of(&keys).await;
        assert_eq!(keys.limits_of(&principal).await.unwrap()[0].remaining(), 700);
    }
}

#[tokio::test]
async fn requests_at_a_time_are_given_back_on_every_path() {
    static DONE: Semaphore = Semaphore::const_new(0);

    let clock = ManualClock::starting_at(START);
    let rule = RateLimit::per_key("at a time", Quota::concurrent(2).unwrap());
    let keys = keys(&clock, |keys| keys.limit(rule).ietf_rate_limit_fields()).await;
    let mut stack = stack(&keys, |request| {
        Box::pin(async move {
            DONE.acquire().await.unwrap().forget();
            match request.uri().path() {
                "/panics" => panic!("a defect of the handler"),
                "/fails" => answer(500),
                _ => answer(200),
            }
        })
    });
    for path in ["/answers", "/fails", "/panics", "/hangs up"] {
        let path = path.split(' ').next().unwrap();
        let calls = [(); 2].map(|()| tokio::spawn(stack.call(send(path, KEY))));
        tokio::task::yield_now().await;
        let denied = stack.call(send(path, KEY)).await.unwrap();
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        let code = rejection(&denied).reason().code();
        let fields = ["ratelimit-policy", "ratelimit", "retry-after"]
            .map(|name| denied.headers()[name].to_str().unwrap());
        assert_eq!(code, "concurrency_limited");
        assert_eq!(fields, [r#""at a time";q=2;qu="concurrent-requests""#, r#""at a time";r=0"#, "1"]);
        match path {
            "/hangs" => calls.iter().for_each(|call| call.abort()),
            _ => DONE.add_permits(2),
        }
        for call in calls {
            let _ = call.await;
        }
    }
    DONE.add_permits(1);
    let response = stack.call(send("/answers", KEY)).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-ratelimit-remaining"]),
        (200, &"1".parse().unwrap())
    );
}

#[tokio::test]
async fn a_stream_can_stay_counted_until_it_ends() {
    let clock = ManualClock::starting_at(START);
    let rules = [
        RateLimit::per_key("streams", Quota::concurrent(1).unwrap()),
        RateLimit::per_organization("all streams", Quota::concurrent(10).unwrap()),
    ];
    let keys = keys(&clock, |keys| keys.limits(rules)).await;
    let mut stack = stack(&keys, |request| {
        Box::pin(async move {
            let mut response = answer(200);
            let in_flight = InFlight::from_extensions(request.extensions()).expect("a limit at a time");
            response.extensions_mut().insert(in_flight.clone());
            response
        })
    });
    let response = stack.call(send("/", KEY)).await.unwrap();
    assert_eq!(status(&mut stack, "/").await, 429);
    drop(response);
    assert_eq!(status(&mut stack, "/").await, 200);
}

#[tokio::test]
async fn a_shadow_limit_rejects_nothing_and_tells_nothing() {
    let clock = ManualClock::starting_at(START);
    let rules = [
        RateLimit::per_key("trial", per_minute(1)).shadow(),
        RateLimit::per_key("real", per_minute(3)),
        RateLimit::per_key("trial at a time", Quota::concurrent(1).unwrap()).shadow(),
    ];
    let keys = keys(&clock, |keys| keys.limits(rules)).await;
    let mut stack = stack(&keys, OK);
    for want in [(200, "2"), (200, "1"), (200, "0"), (429, "0")] {
        let (status, limit, remaining) = told(&mut stack, "/").await;
        assert_eq!((status, &*limit, &*remaining), (want.0, "3", want.1));
    }
}

#[tokio::test]
async fn the_operator_lets_a_caller_in_at_once() {
    let clock = ManualClock::starting_at(START);
    let rules = [RateLimit::per_key("all", per_minute(1)), RateLimit::per_organization("org", per_minute(2))];
    let keys = keys(&clock, |keys| keys.limits(rules)).await;
    let principal = principal_of(&keys).await;
    let mut stack = stack(&keys, OK);
    let of_key = Subject::Key(*principal.key_id());
    let of_organization = Subject::organization(principal.organization().unwrap(), principal.mode());
    for (forgotten, want) in [
        (None, [200, 429]),
        (Some(&of_key), [200, 429]),
        (Some(&of_organization), [429, 429]),
        (Some(&of_key), [200, 429]),
    ] {
        if let Some(subject) = forgotten {
            keys.forget(subject).await.unwrap();
        }
        assert_eq!([status(&mut stack, "/").await, status(&mut stack, "/").await], want, "{forgotten:?}");
    }
}

#[tokio::test]
async fn the_three_fields_tell_the_tightest_limit_and_those_of_the_ietf_all() {
    let clock = ManualClock::starting_at(START);
    let rules = [
        RateLimit::per_key("requests", per_minute(1_000)),
        RateLimit::per_organization("tokens", per_minute(100_000)).charged(),
        RateLimit::per_key("at a time", Quota::concurrent(5).unwrap()),
        RateLimit::per_key("trial", per_minute(1)).shadow(),
    ];
    let keys = keys(&clock, |keys| keys.limits(rules).ietf_rate_limit_fields()).await;
    let mut stack = stack(&keys, CHARGING);
    for (path, limit, remaining, states) in [
        ("/50000", "100000", "50000", r#""tokens";r=50000;t=61, "requests";r=999;t=61, "at a time";r=4"#),
        ("/49990", "100000", "10", r#""tokens";r=10;t=61, "requests";r=998;t=61, "at a time";r=4"#),
        // One that is denied is told alone: the others have taken it back.
        ("/10", "100000", "0", r#""tokens";r=0;t=61, "requests";r=997;t=61, "at a time";r=4"#),
        ("/0", "100000", "0", r#""tokens";r=0;t=61"#),
    ] {
        let response = stack.call(send(path, KEY)).await.unwrap();
        let fields = ["x-ratelimit-limit", "x-ratelimit-remaining", "ratelimit"];
        let fields = fields.map(|name| response.headers()[name].to_str().unwrap().to_owned());
        assert_eq!(fields, [limit, remaining, states], "{path}");
    }
    clock.advance(Duration::from_secs(61));
    let response = stack.call(send("/0", KEY)).await.unwrap();
    assert_eq!(
        response.headers()["ratelimit-policy"],
        r#""requests";q=1000;w=60, "tokens";q=100000;w=60, "at a time";q=5;qu="concurrent-requests""#
    );
}

#[tokio::test]
async fn a_route_without_a_limit_is_not_counted() {
    let clock = ManualClock::starting_at(START);
    let rule = RateLimit::per_key("all", per_minute(1)).without_route("GET", "/limits");
    let keys = keys(&clock, |keys| keys.limit(rule)).await;
    let mut stack = stack(&keys, OK);
    for (path, want) in [("/limits", 200), ("/", 200), ("/", 429), ("/limits", 200), ("/limits/", 429)] {
        assert_eq!(status(&mut stack, path).await, want, "{path}");
    }
}

#[tokio::test]
async fn staff_see_what_is_left_to_a_key() {
    let clock = ManualClock::starting_at(START);
    let rules = [
        RateLimit::per_key("all", per_minute(5)),
        RateLimit::per_organization("month", Quota::per_month(100).unwrap()),
        RateLimit::per_key("trial", per_minute(1)).shadow(),
    ];
    let keys = keys(&clock, |keys| keys.limits(rules)).await;
    assert_eq!(status(&mut stack(&keys, OK), "/").await, 200);
    let left = async |owner| {
        let id = record(KEY, LIVE).id;
        let states = keys.limits_of_key(&owner, &id).await.unwrap();
        states.map(|states| states.iter().map(|state| state.remaining()).collect::<Vec<_>>())
    };
    assert_eq!(left(acme()).await, Some(vec![4, 99]));
    assert_eq!(left(Owner::system(Mode::Live)).await, None);
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_the_assembly_is_built() {
    for (rule, want) in [
        (
            RateLimit::per_key("a", [per_minute(1), Quota::concurrent(1).unwrap()]),
            "only quotas of windows can stand together",
        ),
        (
            RateLimit::per_key("a", per_minute(1)).methods(["GET"], "b", Quota::concurrent(1).unwrap()),
            "need a limit of their own",
        ),
        (RateLimit::per_address("a", per_minute(1)).charged(), "an address can't be charged"),
        (RateLimit::per_key("a", Quota::concurrent(1).unwrap()).charged(), "can't be charged"),
    ] {
        let error = assembly(store([]).await).without_route_table().limit(rule).build().unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
}

/// The one of `KEY`, as a handler has it.
async fn principal_of(keys: &ApiKeys) -> Principal {
    let layer = ServiceBuilder::new().layer(keys.authenticate());
    let handler = service_fn(async |request: Request<()>| {
        let mut response = answer(200);
        response.extensions_mut().insert(Principal::from_extensions(request.extensions()).cloned().unwrap());
        Ok::<_, Infallible>(response)
    });
    let response = layer.service(handler).oneshot(send("/", KEY)).await.unwrap();
    response.extensions().get::<Principal>().unwrap().clone()
}
