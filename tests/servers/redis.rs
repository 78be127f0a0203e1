//! Limits counted by Redis, with a server that the tests start.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Arg, Cmd, Pipeline, RedisFuture, Value};
use tower::{Service, ServiceBuilder, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::{Clock, Now, SystemClock};
use tower_api_keys::limit::{
    Decision, MemoryRateLimiter, Permit, Quota, RedisConnection, RedisRateLimiter, Subject, Verdict,
};
use tower_api_keys::{MemoryStore, RateLimit};

use crate::redis_server::RedisServer;
use crate::support::assembly;

const SECOND: Duration = Duration::from_secs(1);

fn per_minute(limit: u32) -> Quota {
    Quota::per_minute(limit).unwrap()
}

fn quota(limit: u32, window: Duration) -> Quota {
    Quota::new(limit, window).unwrap()
}

fn alice() -> Subject {
    Subject::Key("alice".parse().unwrap())
}

/// Machines that run many tests concurrently are slow, which these tests should ignore.
fn connection(server: &RedisServer) -> RedisConnection {
    RedisConnection::open(&server.url()).unwrap().with_deadline(10 * SECOND)
}

fn limiter_of(server: &RedisServer, category: &str, quotas: &[Quota]) -> RedisRateLimiter {
    with(connection(server), category, quotas)
}

fn with(connection: RedisConnection, category: &str, quotas: &[Quota]) -> RedisRateLimiter {
    RedisRateLimiter::new(category, quotas, SystemClock.now(), connection).unwrap()
}

async fn check(limiter: &RedisRateLimiter, subject: &Subject) -> Decision {
    charge(limiter, subject, None, 1).await.0
}

async fn charge(
    limiter: &RedisRateLimiter,
    subject: &Subject,
    limit_override: Option<u32>,
    cost: u32,
) -> (Decision, Option<Permit>) {
    let limit_override = limit_override.and_then(NonZeroU32::new);
    limiter.check(subject, limit_override, cost, SystemClock.now()).await.unwrap()
}

#[tokio::test]
async fn counts_down_and_denies_until_the_reported_instant() {
    let server = RedisServer::start();
    let limiter = limiter_of(&server, "read", &[quota(3, SECOND)]);
    for remaining in [2, 1, 0] {
        let decision = check(&limiter, &alice()).await;
        assert!(decision.is_admitted() && !decision.is_degraded());
        assert_eq!((decision.limit(), decision.remaining()), (3, remaining));
        assert!(decision.reset() > Duration::ZERO && decision.reset() <= SECOND + SECOND / 30);
    }
    let denied = check(&limiter, &alice()).await;
    assert_eq!((denied.verdict(), denied.remaining()), (Verdict::Denied, 0));
    assert!(check(&limiter, &Subject::other("bob")).await.is_admitted());

    tokio::time::sleep(denied.reset()).await;
    assert!(check(&limiter, &alice()).await.is_admitted());
}

#[tokio::test]
async fn a_request_costs_one_call_of_one_script_on_one_key_that_expires() {
    let server = RedisServer::start();
    let limiter = limiter_of(&server, "read", &[per_minute(50), quota(500, 300 * SECOND)]);
    check(&limiter, &alice()).await;
    let (calls, trips) = (server.calls_of("evalsha"), limiter.status().round_trips);
    for _ in 0..40 {
        assert!(check(&limiter, &alice()).await.is_admitted());
    }
    assert_eq!(server.calls_of("evalsha") - calls, 40);
    assert_eq!(limiter.status().round_trips - trips, 40);
    assert_eq!(server.calls_of("eval"), 1, "the text was sent once");

    let keys: Vec<String> = server.run(&["KEYS", "*"]);
    assert_eq!(keys, [limiter.redis_key(&alice())]);
    assert_eq!(keys, ["rate_limit:1:read:strict:60000,300000:key=alice"]);
    let expires_in: u64 = server.run(&["PTTL", &keys[0]]);
    assert!((300_000..=305_000).contains(&expires_in), "{expires_in} ms");
    let size: u64 = server.run(&["STRLEN", &keys[0]]);
    assert!(size < 600, "{size} bytes");
}

#[tokio::test]
async fn a_flood_on_an_exhausted_key_makes_no_calls() {
    let server = RedisServer::start();
    let limiter = limiter_of(&server, "read", &[per_minute(3)]);
    for _ in 0..4 {
        check(&limiter, &alice()).await;
    }
    let before = limiter.status();
    for _ in 0..10_000 {
        assert_eq!(check(&limiter, &alice()).await.verdict(), Verdict::Denied);
    }
    let after = limiter.status();
    assert_eq!(after.round_trips, before.round_trips);
    assert_eq!(after.denied_from_memory - before.denied_from_memory, 10_000);

    // A remembered denial does not apply to a request with a lower cost or its own limit.
    let cheap = charge(&limiter, &alice(), None, 0).await;
    assert!(cheap.0.is_admitted());
    assert!(charge(&limiter, &alice(), Some(4), 1).await.0.is_admitted());
}

#[tokio::test]
async fn a_request_counts_under_all_quotas_or_under_none() {
    let server = RedisServer::start();
    let limiter = limiter_of(&server, "export", &[quota(5, 300 * SECOND), per_minute(3)]);
    for remaining in [2, 1, 0] {
        let decision = check(&limiter, &alice()).await;
        assert_eq!((decision.limit(), decision.remaining()), (3, remaining));
    }
    let denied = check(&limiter, &alice()).await;
    assert_eq!((denied.verdict(), denied.limit()), (Verdict::Denied, 3));

    let raised = |limiter: RedisRateLimiter| async move { charge(&limiter, &alice(), Some(4), 1).await.0 };
    let still = raised(limiter.clone()).await;
    assert_eq!((still.verdict(), still.limit()), (Verdict::Denied, 3), "an override is of the first quota");
    let lowered = charge(&limiter, &alice(), Some(2), 1).await.0;
    assert_eq!((lowered.verdict(), lowered.limit()), (Verdict::Denied, 2), "the longer wait is reported");
}

#[tokio::test]
async fn a_changed_limit_applies_to_what_was_counted_under_the_old_one() {
    let server = RedisServer::start();
    let limiter = limiter_of(&server, "read", &[per_minute(10)]);
    for (limit, admitted, remaining) in [
        (10, true, 9),
        (10, true, 8),
        (2, false, 0),
        (3, true, 0),
        (1, false, 0),
        (2_000_000, true, 1_048_571),
    ] {
        let decision = charge(&limiter, &alice(), Some(limit), 1).await.0;
        assert_eq!((decision.is_admitted(), decision.remaining()), (admitted, remaining), "limit {limit}");
    }
    let larger = limiter_of(&server, "read", &[per_minute(20)]);
    assert_eq!(check(&larger, &alice()).await.remaining(), 15, "another process that knows another limit");
}

#[tokio::test]
async fn requests_that_never_fit_make_no_call() {
    let server = RedisServer::start();
    let limiter = limiter_of(&server, "read", &[per_minute(10), quota(5, 120 * SECOND)]);
    check(&limiter, &alice()).await;
    let before = limiter.status().round_trips;
    for cost in [6, 11, u32::MAX] {
        let decision = charge(&limiter, &alice(), None, cost).await.0;
        assert_eq!(decision.verdict(), Verdict::NeverFits, "{cost}");
    }
    assert_eq!(limiter.status().round_trips, before);
    assert!(charge(&limiter, &alice(), None, 4).await.0.is_admitted());
}

#[tokio::test]
async fn a_refund_takes_back_what_was_counted_and_ends_a_denial() {
    let server = RedisServer::start();
    let limiter = limiter_of(&server, "read", &[per_minute(3), quota(9, 300 * SECOND)]);
    let (_, permit) = charge(&limiter, &alice(), None, 2).await;
    assert!(check(&limiter, &alice()).await.is_admitted());
    assert!(!check(&limiter, &alice()).await.is_admitted());
    limiter.refund(permit.unwrap()).await;
    let decision = charge(&limiter, &alice(), None, 2).await.0;
    assert!(decision.is_admitted());
    assert_eq!(decision.remaining(), 0);

    // A lost state was replaced by another one.
    let (_, permit) = charge(&limiter, &Subject::other("bob"), None, 2).await;
    server.run::<()>(&["FLUSHALL"]);
    assert_eq!(charge(&limiter, &Subject::other("bob"), None, 3).await.0.remaining(), 0);
    limiter.refund(permit.unwrap()).await;
    let (other, _) =
        charge(&limiter_of(&server, "read", &[per_minute(3)]), &Subject::other("bob"), None, 1).await;
    assert!(other.is_admitted(), "with other windows it is another category");
    assert!(!check(&limiter, &Subject::other("bob")).await.is_admitted(), "nothing was taken back");
}

#[tokio::test]
async fn flushing_the_script_cache_changes_nothing() {
    let server = RedisServer::start();
    let limiter = limiter_of(&server, "read", &[per_minute(100)]);
    for remaining in (0..100).rev() {
        server.run::<()>(&["SCRIPT", "FLUSH"]);
        let decision = check(&limiter, &alice()).await;
        assert_eq!((decision.is_admitted(), decision.remaining()), (true, remaining));
    }
    assert!(!check(&limiter, &alice()).await.is_admitted());
    assert_eq!(limiter.status().failures, 0);
}

#[tokio::test]
async fn no_two_subjects_and_no_two_categories_share_a_key() {
    let server = RedisServer::start();
    let names = ["a", "A", "a ", "a\r\nDEL x", "a:b", "{a}", "a}b{", "*", "", "é", "key=alice", "\0"];
    let mut keys = Vec::new();
    for category in names {
        let limiter = limiter_of(&server, category, &[per_minute(5)]);
        keys.push(limiter.redis_key(&alice()));
        for subject in names {
            let subject = Subject::other(subject);
            keys.push(limiter.redis_key(&subject));
            assert_eq!(check(&limiter, &subject).await.remaining(), 4, "{category:?} {subject:?}");
        }
        keys.push(limiter.redis_key(&Subject::other("a".repeat(100_000))));
        let leased = with(connection(&server).with_leases(), category, &[per_minute(5)]);
        keys.push(leased.redis_key(&alice()));
    }
    for key in &keys {
        assert!(key.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}*".contains(&byte)), "{key}");
        assert!(key.len() < 150, "{key}");
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
    let stored: Vec<String> = server.run(&["KEYS", "rate_limit:1:*"]);
    assert_eq!(stored.len(), names.len() * names.len());
}

#[tokio::test]
async fn a_cluster_accepts_every_script() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    server.run::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let deadline = Instant::now() + 10 * SECOND;
    while !server.run::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
        assert!(Instant::now() < deadline, "the cluster of one is up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for leased in [false, true] {
        let connection = connection(&server);
        let connection = if leased { connection.with_leases() } else { connection };
        let limiter = with(connection, "read {x}", &[per_minute(100), quota(500, 300 * SECOND)]);
        for name in ["a", "{b}", "c}{"] {
            let (decision, permit) = charge(&limiter, &Subject::other(name), None, 1).await;
            assert_eq!((decision.is_admitted(), decision.remaining()), (true, 99));
            // With leases, after the lease has ended.
            tokio::time::sleep(Duration::from_millis(if leased { 1_100 } else { 0 })).await;
            limiter.refund(permit.unwrap()).await;
        }
        assert_eq!(limiter.status().failures, 0);
    }
}

/// A connection with modified scripts that use the time passed by the test. The scripts have no argument for it.
#[derive(Clone)]
struct VirtualTime {
    inner: MultiplexedConnection,
    unix_micros: Arc<AtomicU64>,
}

impl VirtualTime {
    async fn connect(server: &RedisServer, start: u64) -> Self {
        let client = redis::Client::open(server.url()).unwrap();
        let inner = client.get_multiplexed_async_connection().await.unwrap();
        Self { inner, unix_micros: Arc::new(AtomicU64::new(start)) }
    }
}

impl ConnectionLike for VirtualTime {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        const TIME: &str = "redis.call('TIME')";
        let time = self.unix_micros.load(Ordering::SeqCst);
        let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
        let arguments: Vec<&[u8]> = command
            .args_iter()
            .filter_map(|argument| match argument {
                Arg::Simple(bytes) => Some(bytes),
                _ => None,
            })
            .collect();
        Box::pin(async move {
            if arguments[0] == b"EVALSHA" {
                let unknown = redis::ServerErrorKind::NoScript;
                return Err((redis::ErrorKind::Server(unknown), "no such script").into());
            }
            let text = std::str::from_utf8(arguments[1]).unwrap();
            assert_eq!(text.matches(TIME).count(), 1);
            let mut changed = redis::cmd("EVAL");
            changed.arg(text.replace(TIME, &format!("{{{seconds}, {micros}}}"))).arg(&arguments[2..]);
            self.inner.send_packed_command(&changed).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        _: &'a Pipeline,
        _: usize,
        _: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        panic!("no limiter sends a pipeline")
    }

    fn get_db(&self) -> i64 {
        0
    }
}

const START_MICROS: u64 = 1_702_531_200_250_123;

/// A limiter without remembered denials, which has to ask Redis.
fn newcomer(connection: &VirtualTime, quotas: &[Quota]) -> RedisRateLimiter {
    with(RedisConnection::from_connection(connection.clone()).with_deadline(10 * SECOND), "read", quotas)
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Check { cost: u32, limit_override: Option<u32> },
    Refund(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![0u64..2_000, 0u64..1_500_000, 0u64..30_000_000, 0u64..400_000_000];
    let step = prop_oneof![
        3 => wait.prop_map(Step::Wait),
        6 => (0u32..8, prop::option::weighted(0.2, 1u32..14))
            .prop_map(|(cost, limit_override)| Step::Check { cost, limit_override }),
        1 => any::<usize>().prop_map(Step::Refund),
    ];
    prop::collection::vec(step, 1..60)
}

fn quotas() -> impl Strategy<Value = Vec<Quota>> {
    let windows = prop::sample::select(vec![1_000u64, 1_234, 10_000, 60_000, 61_000, 127_000, 300_000]);
    let quota = (1u32..12, windows).prop_map(|(limit, window)| quota(limit, Duration::from_millis(window)));
    prop::collection::vec(quota, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn redis_decides_as_the_sliding_window_in_memory_does(
        cases in prop::collection::vec((quotas(), steps()), 1..3),
    ) {
        thread_local! {
            static SERVER: (tokio::runtime::Runtime, RedisServer) = (
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
                RedisServer::start(),
            );
        }
        SERVER.with(|(runtime, server)| runtime.block_on(async {
            for (quotas, steps) in cases {
                same_decisions(server, &quotas, &steps).await?;
            }
            Ok::<_, TestCaseError>(())
        }))?;
    }
}

async fn same_decisions(server: &RedisServer, quotas: &[Quota], steps: &[Step]) -> Result<(), TestCaseError> {
    server.run::<()>(&["FLUSHALL"]);
    let connection = VirtualTime::connect(server, START_MICROS).await;
    let now = || {
        let time = Duration::from_micros(connection.unix_micros.load(Ordering::SeqCst));
        Now::new(time, time)
    };
    let memory = MemoryRateLimiter::new("read", quotas, now()).unwrap();
    let mut permits = Vec::new();
    for step in steps {
        match *step {
            Step::Wait(micros) => {
                connection.unix_micros.fetch_add(micros, Ordering::SeqCst);
            }
            Step::Check { cost, limit_override } => {
                let redis = newcomer(&connection, quotas);
                let (found, permit) = charge(&redis, &alice(), limit_override, cost).await;
                let limit_override = limit_override.and_then(NonZeroU32::new);
                let (expected, expected_permit) = memory.check(&alice(), limit_override, cost, now());
                prop_assert_eq!(found.verdict(), expected.verdict());
                if found.verdict() != Verdict::NeverFits {
                    let micros = |decision: Decision| decision.reset().as_nanos().div_ceil(1_000);
                    prop_assert_eq!(
                        (found.quota(), found.remaining()),
                        (expected.quota(), expected.remaining())
                    );
                    prop_assert_eq!(micros(found), micros(expected));
                }
                permits.extend(permit.zip(expected_permit));
            }
            Step::Refund(index) if !permits.is_empty() => {
                let (found, expected) = permits.swap_remove(index % permits.len());
                newcomer(&connection, quotas).refund(found).await;
                memory.refund(expected);
            }
            Step::Refund(_) => {}
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_server_clock_that_is_set_back_changes_no_limit() {
    let server = RedisServer::start();
    let connection = VirtualTime::connect(&server, START_MICROS).await;
    let set = |micros: u64| connection.unix_micros.store(micros, Ordering::SeqCst);
    let ask = || async { check(&newcomer(&connection, &[per_minute(3)]), &alice()).await };
    for _ in 0..3 {
        assert!(ask().await.is_admitted());
    }
    let hour = 3_600_000_000;
    for step in [hour, 3 * hour] {
        set(START_MICROS - step);
        let denied = ask().await;
        assert!(!denied.is_admitted(), "it lets no request in");
        assert!(denied.reset() <= 61 * SECOND);
    }
    set(START_MICROS - 3 * hour + 30_000_000);
    let denied = ask().await;
    assert!(!denied.is_admitted() && denied.reset() <= 31 * SECOND, "time continues");
    set(START_MICROS - 3 * hour + 61_000_000);
    assert!(ask().await.is_admitted(), "it locks no caller out");
}

#[tokio::test]
async fn leased_units_count_for_a_sub_window_longer() {
    let server = RedisServer::start();
    let connection = VirtualTime::connect(&server, START_MICROS).await;
    for (leases, counts_for) in [(false, 61), (true, 62)] {
        let ask = async |seconds: u64| {
            // From the beginning of a second, which is a sub-window.
            let time = START_MICROS - START_MICROS % 1_000_000 + seconds * 1_000_000;
            connection.unix_micros.store(time, Ordering::SeqCst);
            let connection = RedisConnection::from_connection(connection.clone()).with_deadline(10 * SECOND);
            let connection = if leases { connection.with_leases() } else { connection };
            check(&with(connection, "read", &[per_minute(1)]), &alice()).await
        };
        assert!(ask(0).await.is_admitted());
        let denied = ask(counts_for - 1).await;
        assert_eq!((denied.is_admitted(), denied.reset()), (false, SECOND), "leases: {leases}");
        assert!(ask(counts_for).await.is_admitted(), "leases: {leases}");
    }
}

#[test]
fn no_output_has_the_password() {
    for url in
        ["redis://user:hunter2@127.0.0.1:6379/0", "redis://user:hunter2@[nonsense", "hunter2://hunter2"]
    {
        let shown = match RedisConnection::open(url) {
            Ok(connection) => {
                let limiter = with(connection.clone(), "read", &[per_minute(1)]);
                format!("{connection:?} {limiter:?}")
            }
            Err(error) => format!("{error:?} {error}"),
        };
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn the_layer_refunds_requests_that_its_application_failed() {
    let server = RedisServer::start();
    let limiter = Arc::new(limiter_of(&server, "all", &[per_minute(3)]));
    let keys = assembly(MemoryStore::new())
        .client_address(ClientAddressSource::peer())
        .limit(RateLimit::per_address("all", per_minute(3)).refund(|status| status.is_server_error()))
        .limiters(move |_, _| limiter.clone())
        .without_route_table();
    let layer = keys.build().unwrap().limit_addresses();
    let mut service = ServiceBuilder::new().layer(layer).service(service_fn(async |request: Request<()>| {
        let status = request.uri().path()[1..].parse::<u16>().unwrap();
        Ok::<_, Infallible>(Response::builder().status(status).body(Bytes::new()).unwrap())
    }));
    for (path, status, remaining) in [
        ("/200", 200, "2"),
        ("/500", 500, "2"),
        ("/503", 503, "2"),
        ("/404", 404, "1"),
        ("/200", 200, "0"),
        ("/200", 429, "0"),
    ] {
        let mut request = Request::builder().uri(path).body(()).unwrap();
        request.extensions_mut().insert(PeerAddress([192, 0, 2, 1].into()));
        let response = service.call(request).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["x-ratelimit-remaining"], remaining, "{path}");
        // It is given back after the response.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
