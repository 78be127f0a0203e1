//! Quotas of calendar periods, and credits: counted by the store, in leases.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;
use tower::util::BoxCloneService;
use tower::{Service, ServiceBuilder, service_fn};
use tower_api_keys::clock::{Clock, ManualClock};
use tower_api_keys::key::{KeyId, Mode};
use tower_api_keys::limit::Subject;
use tower_api_keys::rejection::ErrorKind;
use tower_api_keys::{ApiKeys, Charge, MemoryStore, Quota, RateLimit};

use crate::support::*;

type Stack = BoxCloneService<Request<()>, Response<Bytes>, Infallible>;

/// A process: charges the number in the path, if the limit is charged.
fn process(store: &Arc<MemoryStore>, clock: &ManualClock, limit: RateLimit) -> (ApiKeys, Stack) {
    let keys = assembly(store.clone()).clock(clock.clone()).without_route_table().ietf_rate_limit_fields();
    let keys = keys.limit(limit).build().unwrap();
    let handler = service_fn(async |request: Request<()>| {
        if let Some(charge) = Charge::from_extensions(request.extensions()) {
            charge.add(request.uri().path().trim_start_matches('/').parse().unwrap());
        }
        Ok::<_, Infallible>(Response::new(Bytes::new()))
    });
    let stack = BoxCloneService::new(ServiceBuilder::new().layer(keys.layer()).service(handler));
    (keys, stack)
}

async fn one_process(clock: &ManualClock, limit: RateLimit) -> (ApiKeys, Stack) {
    let store = Arc::new(store([record(KEY, |_| {})]).await);
    process(&store, clock, limit)
}

async fn call(stack: &mut Stack, path: &str) -> Response<Bytes> {
    let request = Request::builder().uri(path).header(X_API_KEY, KEY).body(()).unwrap();
    stack.call(request).await.unwrap()
}

async fn status(stack: &mut Stack) -> u16 {
    call(stack, "/0").await.status().as_u16()
}

fn fields(response: &Response<Bytes>, names: [&str; 3]) -> [String; 3] {
    names.map(|name| {
        response.headers().get(name).map_or("-".into(), |value| value.to_str().unwrap().to_owned())
    })
}

const THREE: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
const IETF: [&str; 3] = ["ratelimit-policy", "ratelimit", "retry-after"];

/// The subject of the key.
fn subject() -> Subject {
    let id: KeyId = record(KEY, |_| {}).id;
    Subject::Key(id)
}

#[tokio::test]
async fn a_month_begins_anew_at_its_first_midnight() {
    let clock = ManualClock::starting_at("2026-02-28T12:00:00Z".parse().unwrap());
    let limit = RateLimit::per_key("month", Quota::per_month(3).unwrap());
    let (_, mut stack) = one_process(&clock, limit).await;
    for remaining in ["2", "1", "0"] {
        let response = call(&mut stack, "/0").await;
        assert_eq!(fields(&response, THREE), ["3", remaining, "1772323200"]);
    }
    let denied = call(&mut stack, "/0").await;
    assert_eq!((denied.status().as_u16(), rejection(&denied).reason().code()), (429, "quota_used_up"));
    assert_eq!(fields(&denied, THREE), ["3", "0", "1772323200"]);
    assert_eq!(fields(&denied, IETF), [r#""month";q=3;w=2678400"#, r#""month";r=0;t=43200"#, "43200"]);
    clock.advance(Duration::from_secs(43_199));
    assert_eq!(status(&mut stack).await, 429);
    clock.advance(Duration::from_secs(1));
    assert_eq!(fields(&call(&mut stack, "/0").await, THREE), ["3", "2", "1775001600"]);
}

#[tokio::test]
async fn a_day_begins_where_its_offset_says() {
    for (minutes, until) in [(0, 43_200), (330, 23_400), (-300, 61_200)] {
        let clock = ManualClock::starting_at("2026-02-28T12:00:00Z".parse().unwrap());
        let limit = RateLimit::per_organization("day", Quota::per_day(1).unwrap().in_offset(minutes));
        let (_, mut stack) = one_process(&clock, limit).await;
        assert_eq!(status(&mut stack).await, 200);
        clock.advance(Duration::from_secs(until - 1));
        assert_eq!(status(&mut stack).await, 429, "{minutes}");
        clock.advance(Duration::from_secs(1));
        assert_eq!(status(&mut stack).await, 200, "{minutes}");
    }
}

#[tokio::test]
async fn credits_are_spent_for_good_and_waiting_does_not_help() {
    let clock = ManualClock::starting_at(START);
    let limit = RateLimit::per_key("credits", Quota::credits(2).unwrap());
    let (keys, mut stack) = one_process(&clock, limit).await;
    assert_eq!([status(&mut stack).await, status(&mut stack).await], [200, 200]);
    clock.advance(Duration::from_secs(100 * 24 * 60 * 60));
    let denied = call(&mut stack, "/0").await;
    assert_eq!((denied.status().as_u16(), rejection(&denied).reason().code()), (429, "credits_used_up"));
    assert_eq!(fields(&denied, THREE), ["2", "0", "-"]);
    assert_eq!(fields(&denied, IETF), [r#""credits";q=2"#, r#""credits";r=0"#, "-"]);

    let balance = keys.grant("credits", &subject(), 10).await.unwrap();
    assert_eq!((balance.remaining(), balance.quota().limit().get()), (10, 12));
    assert_eq!(fields(&call(&mut stack, "/0").await, THREE), ["12", "9", "-"]);
    assert_eq!(keys.grant("credits", &subject(), -4).await.unwrap().remaining(), 5);
    let error = keys.grant("credit", &subject(), 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn what_is_granted_is_spent_after_the_limit_and_outlasts_the_period() {
    let clock = ManualClock::starting_at("2026-02-28T12:00:00Z".parse().unwrap());
    let limit = RateLimit::per_key("day", Quota::per_day(10).unwrap()).charged();
    let (keys, mut stack) = one_process(&clock, limit).await;
    assert_eq!(keys.grant("day", &subject(), 5).await.unwrap().remaining(), 15);
    assert_eq!(fields(&call(&mut stack, "/12").await, THREE)[..2], ["15", "3"]);
    // The store is told.
    keys.flush().await.unwrap();
    clock.advance(Duration::from_secs(24 * 60 * 60));
    // Two of the five were spent.
    assert_eq!(fields(&call(&mut stack, "/0").await, THREE)[..2], ["13", "13"]);
}

#[tokio::test]
async fn a_process_that_does_not_know_the_plan_spends_nothing_of_what_was_granted() {
    for (plan, quota, granted, spent, left) in
        [(1_000, 10, 500, 600, "1501"), (10, 1_000, 5, 12, "14"), (10, 10, 5, 12, "14")]
    {
        let clock = ManualClock::starting_at("2026-02-28T12:00:00Z".parse().unwrap());
        let limit = RateLimit::per_key("day", Quota::per_day(quota).unwrap()).charged();
        let limit = limit.limit_for(move |_, _| NonZeroU32::new(plan));
        let store = Arc::new(store([record(KEY, |_| {})]).await);
        let (keys, mut stack) = process(&store, &clock, limit.clone());
        keys.grant("day", &subject(), granted).await.unwrap();
        assert_eq!(call(&mut stack, &format!("/{spent}")).await.status(), 200);
        keys.flush().await.unwrap();
        clock.advance(Duration::from_secs(24 * 60 * 60));
        // Another process, where the operator grants and resets, and no request comes.
        let (operator, _) = process(&store, &clock, limit);
        operator.forget(&subject()).await.unwrap();
        operator.grant("day", &subject(), 1).await.unwrap();
        operator.flush().await.unwrap();
        assert_eq!(fields(&call(&mut stack, "/0").await, THREE)[1], left, "plan {plan}, quota {quota}");
    }
}

#[tokio::test]
async fn a_charge_counts_past_the_limit() {
    let clock = ManualClock::starting_at(START);
    let limit = RateLimit::per_key("day", Quota::per_day(1_000).unwrap()).charged();
    let store = Arc::new(store([record(KEY, |_| {})]).await);
    let (_, mut here) = process(&store, &clock, limit.clone());
    let (there_keys, mut there) = process(&store, &clock, limit);
    assert_eq!(fields(&call(&mut here, "/900").await, THREE)[1], "100");
    assert_eq!(fields(&call(&mut here, "/600").await, THREE)[1], "0");
    assert_eq!(status(&mut here).await, 429);
    assert_eq!(status(&mut there).await, 429);
    assert_eq!(there_keys.grant("day", &subject(), 501).await.unwrap().remaining(), 1);
    assert_eq!(call(&mut there, "/1").await.status(), 200);
    assert_eq!(status(&mut there).await, 429);
}

#[tokio::test]
async fn processes_share_a_quota_and_give_back_what_they_do_not_use() {
    let clock = ManualClock::starting_at(START);
    let store = Arc::new(store([record(KEY, |_| {})]).await);
    let limit = || RateLimit::per_key("day", Quota::per_day(1_000).unwrap());
    let (idle, mut stack) = process(&store, &clock, limit());
    // It leases ten, and uses one of them.
    assert_eq!(status(&mut stack).await, 200);
    let (keys, mut other) = process(&store, &clock, limit());
    let mut admitted = 0;
    while status(&mut other).await == 200 {
        admitted += 1;
    }
    assert_eq!(admitted, 990);
    idle.flush().await.unwrap();
    // Seen within a second.
    clock.advance(Duration::from_secs(1));
    while status(&mut other).await == 200 {
        admitted += 1;
    }
    assert_eq!(admitted, 999);
    assert_eq!(keys.limits_of(&principal(&keys).await).await.unwrap()[0].remaining(), 0);
}

#[tokio::test]
async fn a_reset_of_rates_gives_back_no_month() {
    let clock = ManualClock::starting_at(START);
    let limit = RateLimit::per_key("day", Quota::per_day(1).unwrap());
    let (keys, mut stack) = one_process(&clock, limit).await;
    assert_eq!([status(&mut stack).await, status(&mut stack).await], [200, 429]);
    keys.forget(&subject()).await.unwrap();
    assert_eq!(status(&mut stack).await, 429);
}

#[tokio::test]
async fn what_was_granted_outlasts_the_period_whoever_asks_first_in_the_next() {
    let clock = ManualClock::starting_at(START);
    let store = Arc::new(store([record(KEY, |_| {})]).await);
    let rule = RateLimit::per_organization("day", Quota::per_day(1_000).unwrap()).charged();
    let vip = rule.clone().limit_for(|_, _| NonZeroU32::new(5_000));
    let (vip_keys, mut of_vip) = process(&store, &clock, vip);
    let (_, mut of_free) = process(&store, &clock, rule);
    let acme = Subject::organization(&"acme".parse().unwrap(), Mode::Live);
    vip_keys.grant("day", &acme, 500).await.unwrap();
    assert_eq!(fields(&call(&mut of_vip, "/3000").await, THREE)[..2], ["5500", "2500"]);
    vip_keys.flush().await.unwrap();
    clock.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(fields(&call(&mut of_free, "/0").await, THREE)[..2], ["1500", "1500"]);
}

#[tokio::test]
async fn a_plan_has_its_own_limit_and_a_change_of_plan_keeps_what_was_counted() {
    let clock = ManualClock::starting_at(START);
    let limit = RateLimit::per_key("day", Quota::per_day(1_000).unwrap());
    let store = Arc::new(store([record(KEY, |_| {})]).await);
    let limits = [100, 1, 100, 2_000].map(|own| {
        let limit = limit.clone().limit_for(move |_, _| NonZeroU32::new(own));
        (own, process(&store, &clock, limit).1)
    });
    let told = ["99", "0", "98", "1997"];
    for ((own, mut stack), want) in limits.into_iter().zip(told) {
        let response = call(&mut stack, "/0").await;
        let expected = if own == 1 { 429 } else { 200 };
        assert_eq!(
            (response.status().as_u16(), &*fields(&response, THREE)[1]),
            (expected, want),
            "limit {own}"
        );
    }
}

#[tokio::test]
async fn a_store_without_quotas_is_refused() {
    let store = TestStore::new(MemoryStore::new(), Answers::AtOnce);
    let keys = ApiKeys::builder(store, format()).header("x-api-key").without_route_table();
    let limit = RateLimit::per_key("month", Quota::per_month(3).unwrap());
    let error = keys.limit(limit).build().unwrap_err();
    assert!(error.to_string().contains(r#"the store keeps no quotas such as that of "month""#), "{error}");
}

/// Of a store that keeps quotas like this.
async fn process_of_a_store(quotas: Answers, limit: RateLimit) -> (ApiKeys, Stack) {
    let mut store = TestStore::new(store([record(KEY, |_| {})]).await, Answers::AtOnce);
    store.quotas = Some(quotas);
    let keys = assembly(store).without_route_table().limit(limit).build().unwrap();
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::new())));
    let stack = BoxCloneService::new(ServiceBuilder::new().layer(keys.layer()).service(handler));
    (keys, stack)
}

#[tokio::test]
async fn what_one_quota_denies_costs_no_other() {
    let month = || RateLimit::per_key("month", Quota::per_month(10).unwrap());
    let day = || RateLimit::per_key("day", Quota::per_day(1).unwrap());
    for answers in [Answers::AtOnce, Answers::Later] {
        for limits in [[month(), day()], [day(), month()]] {
            let clock = ManualClock::starting_at("2026-02-01T12:00:00Z".parse().unwrap());
            let keys = store([record(KEY, |_| {})]).await;
            let keys = TestStore { quotas: Some(answers), ..TestStore::new(keys, Answers::AtOnce) };
            let keys = assembly(keys).clock(clock.clone()).without_route_table().ietf_rate_limit_fields();
            let keys = limits.into_iter().fold(keys, |keys, limit| keys.limit(limit)).build().unwrap();
            let mut stack =
                BoxCloneService::new(ServiceBuilder::new().layer(keys.layer()).service(service_fn(whoami)));
            for status in [200, 429, 429] {
                assert_eq!(call(&mut stack, "/0").await.status(), status, "{answers:?}");
            }
            clock.advance(Duration::from_secs(24 * 60 * 60));
            let [_, left, _] = fields(&call(&mut stack, "/0").await, IETF);
            assert!(left.contains(r#""month";r=8"#), "{answers:?}: {left}");
        }
    }
}

#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
#[tokio::test]
async fn a_client_that_hangs_up_costs_its_request_and_no_lease() {
    let limit = RateLimit::per_key("day", Quota::per_day(1_000).unwrap());
    let (keys, stack) = process_of_a_store(Answers::Later, limit).await;
    let principal = principal(&keys).await;
    for _ in 0..50 {
        let mut caller = stack.clone();
        let gone = tokio::spawn(async move { status(&mut caller).await });
        tokio::task::yield_now().await;
        gone.abort();
        let _ = gone.await;
    }
    let left = keys.limits_of(&principal).await.unwrap()[0].remaining();
    assert!((950..=1_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_store_that_panics_is_one_that_fails() {
    let limit = RateLimit::per_key("day", Quota::per_day(1_000).unwrap());
    let (_, mut stack) = process_of_a_store(Answers::WithAPanic, limit).await;
    for _ in 0..2 {
        let response = call(&mut stack, "/0").await;
        assert_eq!(
            (response.status().as_u16(), rejection(&response).reason().code()),
            (503, "store_panicked")
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A request of a process, with its charge.
    Call {
        process: usize,
        charge: u8,
    },
    /// A process gives back what it does not use, or dies and begins anew.
    Flush(usize),
    Kill(usize),
    /// Milliseconds.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3_usize, 0..20_u8).prop_map(|(process, charge)| Step::Call { process, charge }),
        1 => (0..3_usize).prop_map(Step::Flush),
        1 => (0..3_usize).prop_map(Step::Kill),
        2 => (1..5_000_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Three processes, whatever they do, and each request ends before the next begins.
    #[test]
    fn no_order_of_events_admits_more_than_the_limit(steps in prop::collection::vec(step(), 0..300), limit in 1..400_u32, charged: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let clock = ManualClock::starting_at(START);
            let store = Arc::new(store([record(KEY, |_| {})]).await);
            let rule = RateLimit::per_key("day", Quota::per_day(limit).unwrap());
            let rule = if charged { rule.charged() } else { rule };
            let new = || process(&store, &clock, rule.clone());
            let mut processes = [new(), new(), new()];
            // What other processes have charged, and may not have told the store: one charge each, and of each that was killed.
            let mut untold = if charged { 2 * 19 } else { 0 };
            let (mut day, mut admitted) = (0, 0);
            for step in steps {
                match step {
                    Step::Call { process, charge } => {
                        let today = clock.now().since_unix_epoch().as_secs() / 86_400;
                        if today != day {
                            (day, admitted) = (today, 0);
                        }
                        let response = call(&mut processes[process].1, &format!("/{charge}")).await;
                        if response.status() == 200 {
                            prop_assert!(admitted < limit + untold, "{admitted} of {limit} were counted");
                            admitted += if charged { u32::from(charge) } else { 1 };
                        }
                    }
                    Step::Flush(process) => processes[process].0.flush().await.unwrap(),
                    Step::Kill(process) => {
                        processes[process] = new();
                        untold += if charged { 19 } else { 0 };
                    }
                    Step::Pass(millis) => clock.advance(Duration::from_millis(millis * 20_000)),
                }
            }
            Ok(())
        })?;
    }
}

async fn principal(keys: &ApiKeys) -> tower_api_keys::Principal {
    let handler = service_fn(async |request: Request<()>| {
        let mut response = Response::new(Bytes::new());
        let principal = tower_api_keys::Principal::from_extensions(request.extensions()).cloned().unwrap();
        response.extensions_mut().insert(principal);
        Ok::<_, Infallible>(response)
    });
    let mut stack = BoxCloneService::new(ServiceBuilder::new().layer(keys.authenticate()).service(handler));
    call(&mut stack, "/").await.extensions().get::<tower_api_keys::Principal>().unwrap().clone()
}
