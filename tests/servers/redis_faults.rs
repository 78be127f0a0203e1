//! Requests while Redis is unavailable, and afterwards, with real faults.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::time::sleep;
use tower::util::BoxCloneService;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::limit::{OnFailure, RedisConnection, RedisRateLimiter, RedisStatus, Subject};
use tower_api_keys::middleware::ApiKeysLayer;
use tower_api_keys::rejection::{Check, Reason};
use tower_api_keys::{MemoryStore, Quota, RateLimit};

use crate::proxy::Proxy;
use crate::redis_server::{self as server, RedisServer};
use crate::support::{assembly, rejection};

const LIMIT: u32 = 40;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// The time between a deadline and the response, on a busy machine.
const SLACK: Duration = Duration::from_millis(700);

/// Counts addresses with `limiter`.
fn limit_addresses(limiter: &RedisRateLimiter) -> ApiKeysLayer {
    let limiter = Arc::new(limiter.clone());
    let builder = assembly(MemoryStore::new())
        .client_address(ClientAddressSource::peer())
        .limit(RateLimit::per_address("all", Quota::per_minute(LIMIT).unwrap()))
        .limiters(move |_, _| limiter.clone())
        .without_route_table();
    builder.build().unwrap().limit_addresses()
}

fn limiter(connection: RedisConnection) -> RedisRateLimiter {
    let quotas = [Quota::per_minute(LIMIT).unwrap()];
    RedisRateLimiter::new("all", &quotas, SystemClock.now(), connection).unwrap()
}

/// A layer whose limiter reaches Redis through a proxy.
struct Rig {
    server: RedisServer,
    proxy: Proxy,
    limiter: RedisRateLimiter,
    service: BoxCloneService<Request<()>, Response<Bytes>, Infallible>,
}

impl Rig {
    async fn start(server: RedisServer, on_failure: OnFailure) -> Self {
        Self::start_with(server, on_failure, RedisRateLimiter::DEFAULT_DEADLINE).await
    }

    async fn start_with(server: RedisServer, on_failure: OnFailure, deadline: Duration) -> Self {
        let proxy = Proxy::start(server.address()).await;
        let connection = RedisConnection::open(&server::url(proxy.address())).unwrap();
        let limiter = limiter(connection.with_on_failure(on_failure).with_deadline(deadline));
        let layer = limit_addresses(&limiter);
        let handler = service_fn(async |_: Request<()>| Ok(Response::new(Bytes::new())));
        let service = BoxCloneService::new(ServiceBuilder::new().layer(layer).service(handler));
        Self { server, proxy, limiter, service }
    }

    async fn send(&self) -> Response<Bytes> {
        let mut request = Request::new(());
        request.extensions_mut().insert(PeerAddress([192, 0, 2, 1].into()));
        let started = Instant::now();
        let response = self.service.clone().oneshot(request).await.unwrap();
        let took = started.elapsed();
        assert!(took < RedisRateLimiter::DEFAULT_DEADLINE + SLACK, "{took:?}");
        response
    }

    /// Sends this many requests, and counts the responses by status.
    async fn send_many(&self, count: usize, totals: &mut BTreeMap<u16, u32>) {
        for _ in 0..count {
            *totals.entry(self.send().await.status().as_u16()).or_default() += 1;
        }
    }

    fn status(&self) -> RedisStatus {
        self.limiter.status()
    }

    /// How long it takes until Redis decides again.
    async fn recovery(&self, totals: &mut BTreeMap<u16, u32>) -> Duration {
        let healed = Instant::now();
        loop {
            let before = self.status();
            self.send_many(1, totals).await;
            let after = self.status();
            if after.available && after.round_trips > before.round_trips && after.failures == before.failures
            {
                return healed.elapsed();
            }
            // A denial by Redis that is remembered, or by this process's own count, needs no call.
            if after.available && after.decided_alone > before.decided_alone {
                let probe = Subject::other(format!("probe {}", after.decided_alone));
                if self.limiter.check(&probe, None, 1, SystemClock.now()).await.is_ok()
                    && self.status().failures == before.failures
                {
                    return healed.elapsed();
                }
            }
            assert!(healed.elapsed() < 10 * SECOND, "Redis is back: {after:?}");
            sleep(10 * MILLISECOND).await;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Frozen,
    Shut,
    BlackHoled,
    Slow,
}

impl Fault {
    fn begin(self, rig: &mut Rig) {
        match self {
            Self::Killed => rig.server.kill(),
            Self::Frozen => rig.server.freeze(),
            Self::Shut => rig.proxy.shut(),
            Self::BlackHoled => rig.proxy.black_hole(),
            Self::Slow => rig.proxy.delay_answers(300 * MILLISECOND),
        }
    }

    fn end(self, rig: &mut Rig) {
        match self {
            Self::Killed => rig.server.restart(),
            Self::Frozen => rig.server.thaw(),
            Self::Shut | Self::BlackHoled | Self::Slow => rig.proxy.heal(),
        }
    }
}

async fn survive(fault: Fault) {
    for on_failure in [OnFailure::Local, OnFailure::Open, OnFailure::Closed] {
        let what = format!("{fault:?}, {on_failure:?}");
        let mut rig = Rig::start(RedisServer::start(), on_failure).await;
        let (mut before, mut during, mut after) = Default::default();
        rig.send_many(10, &mut before).await;
        assert_eq!(before, BTreeMap::from([(200, 10)]), "{what}");
        assert_eq!(rig.status().decided_alone, 0, "{what}");

        fault.begin(&mut rig);
        let began = Instant::now();
        rig.send_many(25, &mut during).await;
        assert!(began.elapsed() < SECOND + SLACK, "{what}: few wait for a deadline");
        let status = rig.status();
        assert!(!status.available && status.decided_alone == 25, "{what}: {status:?}");
        assert!((5..=7).contains(&status.failures), "{what}: {status:?}");
        match on_failure {
            OnFailure::Local | OnFailure::Open => assert_eq!(during, BTreeMap::from([(200, 25)]), "{what}"),
            OnFailure::Closed => {
                assert_eq!(during, BTreeMap::from([(503, 25)]), "{what}");
                let rejected = rig.send().await;
                assert_eq!(rejected.headers()["retry-after"], "1");
                assert_eq!(rejected.headers()["cache-control"], "no-store");
                let rejection = rejection(&rejected);
                assert!(
                    matches!(rejection.reason(), Reason::LimiterFailed(category) if &**category == "all")
                );
                assert_eq!(rejection.check(), Some(Check::RateLimit));
            }
        }

        fault.end(&mut rig);
        let recovery = rig.recovery(&mut after).await;
        assert!(recovery < 5 * SECOND, "{what}: {recovery:?}");
        rig.send_many(60, &mut after).await;
        let admitted =
            [before, during, after.clone()].iter().filter_map(|totals| totals.get(&200)).sum::<u32>();
        assert!(after.keys().all(|status| matches!(status, 200 | 429 | 503)), "{what}: {after:?}");
        match on_failure {
            // Also if Redis has lost all its data.
            OnFailure::Local => assert_eq!(admitted, LIMIT, "{what}"),
            OnFailure::Closed => assert!(admitted <= LIMIT, "{what}: {admitted}"),
            OnFailure::Open => assert!(after[&429] > 0, "{what}: limited again"),
        }
    }
}

#[tokio::test]
async fn a_killed_server() {
    survive(Fault::Killed).await;
}

#[tokio::test]
async fn a_frozen_server() {
    survive(Fault::Frozen).await;
}

#[tokio::test]
async fn a_server_that_refuses_connections() {
    survive(Fault::Shut).await;
}

#[tokio::test]
async fn a_network_that_drops_all_packets() {
    survive(Fault::BlackHoled).await;
}

#[tokio::test]
async fn replies_that_come_too_late() {
    survive(Fault::Slow).await;
}

#[tokio::test]
async fn a_closed_connection_is_replaced_and_costs_at_most_one_request() {
    // A busy machine may be slow, which this test should ignore.
    let rig = Rig::start_with(RedisServer::start(), OnFailure::Closed, SLACK / 2).await;
    let mut totals = BTreeMap::new();
    for _ in 0..5 {
        rig.send_many(3, &mut totals).await;
        rig.proxy.cut();
        sleep(20 * MILLISECOND).await;
    }
    rig.send_many(3, &mut totals).await;
    let failed = totals.get(&503).copied().unwrap_or(0);
    assert!(failed <= 5, "{totals:?}");
    assert_eq!(totals[&200] + failed, 18, "{totals:?}");
    assert!(rig.status().available);
}

#[tokio::test]
async fn a_server_that_is_not_running_at_first() {
    let mut server = RedisServer::start();
    server.kill();
    let mut rig = Rig::start(server, OnFailure::Local).await;
    let mut totals = BTreeMap::new();
    rig.send_many(30, &mut totals).await;
    assert_eq!(totals, BTreeMap::from([(200, 30)]));
    assert!(!rig.status().available);
    rig.server.restart();
    assert!(rig.recovery(&mut totals).await < 5 * SECOND);
    rig.send_many(30, &mut totals).await;
    assert_eq!(totals[&200], LIMIT);
}

#[test]
fn a_connection_outlives_the_runtime_it_was_made_in() {
    let server = RedisServer::start();
    let connection = RedisConnection::open(&server.url()).unwrap();
    let limiter = limiter(connection.with_on_failure(OnFailure::Closed).with_deadline(5 * SECOND));
    let (subject, mut admitted) = (Subject::other("a"), 0);
    for _ in 0..5 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // An attempt that is not waited for, cut short by the runtime's end.
            let check = limiter.check(&subject, None, 1, SystemClock.now());
            let _ = tokio::time::timeout(Duration::ZERO, check).await;
        });
        drop(runtime);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..3 {
                admitted +=
                    u32::from(limiter.check(&Subject::other("a"), None, 1, SystemClock.now()).await.is_ok());
            }
        });
    }
    assert!(admitted >= 10, "{admitted}: {:?}", limiter.status());
}

#[tokio::test]
async fn without_redis_each_process_admits_its_part() {
    let mut server = RedisServer::start();
    server.kill();
    for (processes, admitted) in [(1, 40), (3, 13), (40, 1), (1_000, 1)] {
        let connection = RedisConnection::open(&server.url()).unwrap();
        let limiter = limiter(connection.with_processes(processes.try_into().unwrap()));
        let mut found = 0;
        for _ in 0..LIMIT * 2 {
            let decision = limiter.check(&Subject::other("a"), None, 1, SystemClock.now()).await.unwrap().0;
            assert!(decision.is_degraded());
            found += u32::from(decision.is_admitted());
        }
        assert_eq!(found, admitted, "{processes} processes");
        // A request that fits the whole limit is not reported as never fitting.
        let large = limiter.check(&Subject::other("b"), None, LIMIT, SystemClock.now()).await.unwrap().0;
        assert_eq!(large.is_admitted(), processes == 1);
        assert!(large.is_admitted() || large.reset() > 59 * SECOND, "{large:?}");
    }
}

#[tokio::test]
async fn exactly_the_limit_through_a_fail_over() {
    let primary = RedisServer::start();
    let port = primary.address().port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
    let mut rig = Rig::start_with(primary, OnFailure::Closed, SLACK / 2).await;
    let mut totals = BTreeMap::new();
    rig.send_many(25, &mut totals).await;
    let acknowledged: u32 = rig.server.run(&["WAIT", "1", "10000"]);
    // WAIT counts only the writes of its own connection, so check the replica, too.
    let deadline = Instant::now() + 10 * SECOND;
    let key = rig.limiter.redis_key(&address());
    let held = |server: &RedisServer| server.run::<Vec<u8>>(&["GET", &key]);
    while acknowledged < 1 || held(&replica) != held(&rig.server) {
        assert!(Instant::now() < deadline, "the replica follows");
        sleep(10 * MILLISECOND).await;
    }

    rig.server.kill();
    rig.proxy.point_to(replica.address());
    rig.send_many(20, &mut totals).await;
    assert_eq!(totals, BTreeMap::from([(200, 25), (503, 20)]), "a replica takes no writes");
    replica.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    assert!(rig.recovery(&mut totals).await < 5 * SECOND);
    rig.send_many(60, &mut totals).await;
    assert_eq!(totals[&200], LIMIT);
}

fn address() -> Subject {
    let source = ClientAddressSource::peer();
    Subject::Address(source.find([192, 0, 2, 1].into(), &Default::default()))
}

#[tokio::test]
async fn exactly_the_limit_through_crashes_of_a_server_with_an_append_only_file() {
    let mut rig = Rig::start_with(RedisServer::start_durable(), OnFailure::Closed, SLACK / 2).await;
    let mut totals = BTreeMap::new();
    for _ in 0..3 {
        rig.send_many(8, &mut totals).await;
        rig.server.kill();
        rig.send_many(8, &mut totals).await;
        rig.server.restart();
        assert!(rig.recovery(&mut totals).await < 5 * SECOND);
    }
    rig.send_many(60, &mut totals).await;
    assert_eq!(totals[&200], LIMIT, "{totals:?}");
}

#[tokio::test]
async fn an_outage_is_logged_once_a_second_and_so_is_its_end() {
    use std::cell::RefCell;
    use std::io;

    thread_local! {
        /// The log of this test's thread. The subscriber is global, as a subscriber of a single thread misses events
        /// that other threads have registered first.
        static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    struct Log;
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LOG.with_borrow_mut(|log| log.write(bytes))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let count = |text: &str| {
        let written = LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap());
        written.lines().filter(|line| line.contains(text)).count()
    };

    for on_failure in [OnFailure::Open, OnFailure::Closed] {
        LOG.with_borrow_mut(Vec::clear);
        let mut rig = Rig::start(RedisServer::start(), on_failure).await;
        let mut totals = BTreeMap::new();
        rig.send_many(2, &mut totals).await;
        rig.server.kill();
        let began = Instant::now();
        while began.elapsed() < 3 * SECOND {
            rig.send_many(20, &mut totals).await;
            sleep(MILLISECOND).await;
        }
        let logged = count("rate limiter works without Redis");
        assert!((2..=4).contains(&logged), "{logged} lines");
        assert_eq!(
            count("rate limiter works without Redis code=\"redis_unavailable\" category=\"all\""),
            logged,
            "it says which"
        );
        assert_eq!(count("ERROR") + count("WARN"), logged, "rejections are no trouble of their own");
        rig.server.restart();
        rig.recovery(&mut totals).await;
        assert_eq!(count("Redis is reachable again"), 1);
    }
}

#[tokio::test]
async fn an_outage_is_counted_by_what_becomes_of_requests() {
    for (on_failure, outcome) in [
        (OnFailure::Open, "failed_open"),
        (OnFailure::Closed, "failed_closed"),
        (OnFailure::Local, "allowed"),
    ] {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _guard = metrics::set_default_local_recorder(&recorder);
        // Long enough for a busy machine.
        let mut rig = Rig::start_with(RedisServer::start(), on_failure, SECOND / 2).await;
        let mut totals = BTreeMap::new();
        rig.send_many(2, &mut totals).await;
        rig.server.kill();
        rig.send_many(20, &mut totals).await;
        let scrape = recorder.handle().render();
        let count = |series: &str| {
            let line = scrape.lines().find_map(|line| line.strip_prefix(series));
            line.map_or(0, |value| value.trim().parse::<u32>().unwrap())
        };
        let decided = |outcome: &str| {
            count(&format!(
                "api_keys_rate_limit_decisions_total{{category=\"all\",engine=\"redis\",outcome=\"{outcome}\"}}"
            ))
        };
        let with_redis = if outcome == "allowed" { 2 } else { 0 };
        assert_eq!(decided(outcome), 20 + with_redis, "{scrape}");
        assert_eq!(count("api_keys_rate_limit_degraded_total{category=\"all\"}"), 20, "{scrape}");
        assert_eq!(count("api_keys_breaker_open{store=\"redis\",calls=\"limits\"}"), 1, "{scrape}");
        let calls = count("api_keys_rate_limit_backend_duration_seconds_count");
        assert!((7..22).contains(&calls), "two and five that failed, or more at the same time: {calls}");
        let rejected =
            "api_keys_decisions_total{check=\"rate_limit\",code=\"limiter_failed\",mode=\"unknown\"}";
        assert_eq!(count(rejected), if on_failure == OnFailure::Closed { 20 } else { 0 }, "{scrape}");
    }
}

#[tokio::test]
async fn readiness_is_that_of_the_inner_service_while_a_request_waits() {
    let rig = Rig::start(RedisServer::start(), OnFailure::Local).await;
    let layer = limit_addresses(&rig.limiter);
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::new())));
    let mut service = ServiceBuilder::new().layer(layer).buffer(2).concurrency_limit(1).service(handler);
    for _ in 0..4 {
        let mut request = Request::new(());
        request.extensions_mut().insert(PeerAddress([192, 0, 2, 9].into()));
        let ready = tokio::time::timeout(5 * SECOND, service.ready()).await.expect("the permit is free");
        let response = ready.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}
