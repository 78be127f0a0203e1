//! Several limits at once against a log of what was admitted.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;
use tower::util::BoxCloneService;
use tower::{Service, ServiceBuilder, service_fn};
use tower_api_keys::clock::{Clock, ManualClock};
use tower_api_keys::{Charge, Quota, RateLimit};

use crate::support::*;

type Stack = BoxCloneService<Request<()>, Response<Bytes>, Infallible>;

#[derive(Clone, Debug)]
enum Step {
    /// One of two keys sends a request of this cost; its handler charges, and answers with 500 or 200.
    Call { other_key: bool, cost: u32, charge: u32, fails: bool },
    /// Milliseconds.
    Pass(u64),
    /// The limit of each key changes.
    Limit(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let call = (any::<bool>(), 0..4_u32, 0..30_u32, prop::bool::weighted(0.2));
    prop_oneof![
        8 => call.prop_map(|(other_key, cost, charge, fails)| Step::Call { other_key, cost, charge, fails }),
        2 => (1..20_000_u64).prop_map(Step::Pass),
        1 => (1..15_u32).prop_map(Step::Limit),
    ]
}

/// What one limit has counted of one subject: when, and how much.
#[derive(Default)]
struct Log(Vec<(u64, u32)>);

impl Log {
    /// What lies less than `span` milliseconds back.
    fn within(&self, span: u64, now: u64) -> u32 {
        self.0.iter().filter(|(at, _)| now - at < span).map(|(_, cost)| cost).sum()
    }
}

const MINUTE: u64 = 60_000;
const OF_ORGANIZATION: u32 = 16;
const TOKENS: u32 = 100;

async fn stack(clock: &ManualClock, of_key: &Arc<AtomicU32>) -> Stack {
    let limit = of_key.clone();
    let cost = |request: tower_api_keys::request::RequestView<'_>| {
        request.headers["x-cost"].to_str().unwrap().parse().unwrap()
    };
    let rules = [
        RateLimit::per_organization("organization", Quota::per_minute(OF_ORGANIZATION).unwrap()).cost(cost),
        RateLimit::per_key("tokens", Quota::per_minute(TOKENS).unwrap()).charged(),
        RateLimit::per_key("key", Quota::per_minute(1_000).unwrap())
            .cost(cost)
            .refund(|status| status.is_server_error())
            .limit_for(move |_, _| NonZeroU32::new(limit.load(Ordering::Relaxed))),
        RateLimit::per_key("at a time", Quota::concurrent(1).unwrap()),
    ];
    let keys = assembly(store([record(KEY, |_| {}), record(OTHER_KEY, |_| {})]).await);
    let keys = keys.clock(clock.clone()).without_route_table().limits(rules).build().unwrap();
    let handler = service_fn(async |request: Request<()>| {
        let number = |name: &str| request.headers()[name].to_str().unwrap().parse::<u64>().unwrap();
        Charge::from_extensions(request.extensions()).unwrap().add(number("x-charge"));
        let status = number("x-status") as u16;
        Ok::<_, Infallible>(Response::builder().status(status).body(Bytes::new()).unwrap())
    });
    BoxCloneService::new(ServiceBuilder::new().layer(keys.layer()).service(handler))
}

async fn is_admitted(stack: &mut Stack, key: &str, cost: u32, charge: u32, status: u16) -> bool {
    let request = Request::builder()
        .header(X_API_KEY, key)
        .header("x-cost", cost)
        .header("x-charge", charge)
        .header("x-status", status);
    stack.call(request.body(()).unwrap()).await.unwrap().status() != 429
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// No more is admitted than each limit allows in any window, and no less than it must: a request is denied only if some
    /// limit has no room for it, where a cost may count for a second more than its window.
    #[test]
    fn a_request_is_admitted_if_every_limit_has_room_and_else_counted_by_none(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let clock = ManualClock::starting_at(START);
            let of_key = Arc::new(AtomicU32::new(10));
            let mut stack = stack(&clock, &of_key).await;
            let (mut organization, mut keys, mut tokens) = (Log::default(), [(); 2].map(|()| Log::default()), [(); 2].map(|()| Log::default()));
            for step in steps {
                match step {
                    Step::Pass(millis) => clock.advance(Duration::from_millis(millis)),
                    Step::Limit(limit) => of_key.store(limit, Ordering::Relaxed),
                    Step::Call { other_key, cost, charge, fails } => {
                        let now = clock.now().since_unix_epoch().as_millis() as u64;
                        let index = usize::from(other_key);
                        let limit = of_key.load(Ordering::Relaxed);
                        let has_room = |span: u64| {
                            organization.within(span, now) + cost <= OF_ORGANIZATION
                                && keys[index].within(span, now) + cost <= limit
                                && tokens[index].within(span, now) < TOKENS
                        };
                        let (could, must) = (has_room(MINUTE), has_room(MINUTE + 1_000));
                        let key = if other_key { OTHER_KEY } else { KEY };
                        let status = if fails { 500 } else { 200 };
                        let is_admitted = is_admitted(&mut stack, key, cost, charge, status).await;
                        prop_assert!(could || !is_admitted, "there was no room at {now}");
                        prop_assert!(is_admitted || !must, "there was room at {now}");
                        if is_admitted {
                            organization.0.push((now, cost));
                            tokens[index].0.push((now, charge));
                            if !fails {
                                keys[index].0.push((now, cost));
                            }
                        }
                    }
                }
            }
            Ok(())
        })?;
    }
}
