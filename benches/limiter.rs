//! One check of a rate limiter: mostly allowed and always denied, with one key and with 100 000, on one thread and two.
//! governor's keyed limiter stands beside this crate's in the same run.
//!
//! `cargo bench --bench limiter`. Time is made up, a millisecond more for each allowed check: windows fill and empty as in
//! service, and reading a clock is not part of the figures (the rows `clock` give it on its own). Rows of two threads are
//! wall time of the slower one, a check; they depend on what else the machine does, far more than the others.
//!
//! With the feature `redis` also a limiter that asks Redis, a server of the bench's own on this machine, for each request
//! or for a lease of them: wall time a check with one task and with many at a time, which is the inverse of the checks a
//! second; each task waits as many times that as there are tasks.
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

#[cfg(feature = "redis")]
#[path = "../tests/support/redis.rs"]
mod server;

use std::hint::black_box;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use governor::clock::{Clock as _, DefaultClock, FakeRelativeClock};
use tower_api_keys::clock::{Clock, Now, SystemClock};
use tower_api_keys::limit::{Algorithm, MemoryRateLimiter, Quota, Subject};

const KEYS: [usize; 2] = [1, 100_000];
const ALGORITHMS: [(&str, Algorithm); 3] =
    [("sliding", Algorithm::Sliding), ("exact", Algorithm::Exact), ("counter", Algorithm::Counter)];
const STEP: Duration = Duration::from_millis(1);
const GOVERNOR: &str = "governor";

fn limiter(algorithm: Algorithm, limit: u32) -> MemoryRateLimiter {
    // More room than keys, as they do not spread evenly over the shards.
    let capacity = (4 * KEYS[1]).try_into().unwrap();
    let limiter = MemoryRateLimiter::new("read", &[Quota::per_minute(limit).unwrap()], at(0)).unwrap();
    limiter.with_algorithm(algorithm).with_capacity(capacity)
}

fn at(step: u32) -> Now {
    Now::new(STEP * step, Duration::from_secs(1_702_531_200) + STEP * step)
}

fn subjects(count: usize) -> Vec<Subject> {
    (0..count).map(|index| Subject::Key(format!("{index:016}").parse().unwrap())).collect()
}

type Governor = governor::RateLimiter<
    Subject,
    governor::state::keyed::DashMapStateStore<Subject>,
    FakeRelativeClock,
    governor::middleware::NoOpMiddleware<<FakeRelativeClock as governor::clock::Clock>::Instant>,
>;

fn governor(limit: u32) -> Governor {
    let quota = governor::Quota::per_minute(NonZeroU32::new(limit).unwrap());
    governor::RateLimiter::dashmap_with_clock(quota, FakeRelativeClock::default())
}

fn allow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allow");
    group.throughput(Throughput::Elements(1));
    for count in KEYS {
        let subjects = subjects(count);
        for (name, algorithm) in ALGORITHMS {
            let limiter = limiter(algorithm, Quota::MAX_LIMIT);
            let mut subjects = subjects.iter().cycle();
            let mut step = 0;
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    step += 1;
                    limiter.check(subjects.next().unwrap(), None, 1, at(step))
                });
            });
        }
        let limiter = governor(Quota::MAX_LIMIT);
        let mut subjects = subjects.iter().cycle();
        group.bench_function(BenchmarkId::new(GOVERNOR, count), |bencher| {
            bencher.iter(|| {
                limiter.clock().advance(STEP);
                limiter.check_key(subjects.next().unwrap())
            });
        });
    }
    group.finish();
}

fn deny(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deny");
    group.throughput(Throughput::Elements(1));
    for count in KEYS {
        let subjects = subjects(count);
        for (name, algorithm) in ALGORITHMS {
            let limiter = limiter(algorithm, 1);
            for subject in &subjects {
                assert!(limiter.check(subject, None, 1, at(0)).0.is_admitted());
            }
            let mut subjects = subjects.iter().cycle();
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| limiter.check(subjects.next().unwrap(), None, 1, at(1)));
            });
        }
        let limiter = governor(1);
        for subject in &subjects {
            assert!(limiter.check_key(subject).is_ok());
        }
        let mut subjects = subjects.iter().cycle();
        group.bench_function(BenchmarkId::new(GOVERNOR, count), |bencher| {
            bencher.iter(|| limiter.check_key(subjects.next().unwrap()));
        });
    }
    group.finish();
}

fn two_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("two threads");
    group.throughput(Throughput::Elements(1));
    let subjects = subjects(512);
    let (one, other) = subjects.split_at(256);
    // For comparison, one thread that has it all to itself.
    for (keys, halves) in
        [("no other", (one, &[][..])), ("own keys", (one, other)), ("one key", (&one[..1], &one[..1]))]
    {
        for (name, algorithm) in ALGORITHMS {
            let limiter = limiter(algorithm, Quota::MAX_LIMIT);
            let mut steps = 0..0;
            group.bench_function(BenchmarkId::new(name, keys), |bencher| {
                bencher.iter_custom(|checks| {
                    steps = steps.end..steps.end + checks as u32;
                    on_two_threads(halves, steps.clone(), |subject, step| {
                        black_box(limiter.check(subject, None, 1, at(step)));
                    })
                });
            });
        }
        // Time stands still here, as governor's clock would be a third thing that both threads write to.
        let limiter = governor(u32::MAX);
        group.bench_function(BenchmarkId::new(GOVERNOR, keys), |bencher| {
            bencher.iter_custom(|checks| {
                on_two_threads(halves, 0..checks as u32, |subject, _| {
                    let _ = black_box(limiter.check_key(subject));
                })
            });
        });
    }
    group.finish();
}

/// Each thread makes a check a step; the slower one's time.
fn on_two_threads(
    (one, other): (&[Subject], &[Subject]),
    steps: Range<u32>,
    check: impl Fn(&Subject, u32) + Sync,
) -> Duration {
    let start = Barrier::new(2);
    let run = |subjects: &[Subject]| {
        start.wait();
        let begin = Instant::now();
        for (subject, step) in subjects.iter().cycle().zip(steps.clone()) {
            check(subject, step);
        }
        begin.elapsed()
    };
    thread::scope(|scope| {
        let thread = scope.spawn(|| run(one));
        run(other).max(thread.join().unwrap())
    })
}

fn clock(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("clock");
    group.bench_function("SystemClock", |bencher| bencher.iter(|| SystemClock.now()));
    #[cfg(feature = "coarse-clock")]
    group.bench_function("CoarseClock", |bencher| {
        bencher.iter(|| tower_api_keys::clock::CoarseClock.now());
    });
    let clock = DefaultClock::default();
    group.bench_function(GOVERNOR, |bencher| bencher.iter(|| clock.now()));
    group.finish();
}

#[cfg(feature = "redis")]
fn redis(criterion: &mut Criterion) {
    use std::sync::Arc;

    use tokio::runtime::Builder;
    use tokio::task::JoinSet;
    use tower_api_keys::limit::{RedisConnection, RedisRateLimiter};

    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = server::RedisServer::start();
    let subjects: Arc<[Subject]> = subjects(1024).into();
    let mut group = criterion.benchmark_group("redis");
    group.throughput(Throughput::Elements(1));
    for (name, has_leases) in [("strict", false), ("leases", true)] {
        let quota = Quota::per_minute(Quota::MAX_LIMIT).unwrap();
        // A machine that is shared may be slow; a check that is not answered would be a quick one.
        let connection = RedisConnection::open(&server.url()).unwrap().with_deadline(Duration::from_secs(10));
        let connection = if has_leases { connection.with_leases() } else { connection };
        let limiter = Arc::new(RedisRateLimiter::new(name, &[quota], SystemClock.now(), connection).unwrap());
        for tasks in [1, 16, 256] {
            let mut turn = 0;
            let mut run = |checks: u64| {
                let begin = Instant::now();
                let mut running = JoinSet::new();
                for task in 0..tasks {
                    let (limiter, subjects) = (limiter.clone(), subjects.clone());
                    turn += 7;
                    let from = turn % subjects.len();
                    let own = (checks + task) / tasks;
                    running.spawn_on(
                        async move {
                            for subject in subjects.iter().cycle().skip(from).take(own as usize) {
                                let checked = limiter.check(subject, None, 1, SystemClock.now()).await;
                                let decision = checked.unwrap().0;
                                assert!(decision.is_admitted() && !decision.is_degraded());
                            }
                        },
                        runtime.handle(),
                    );
                }
                runtime.block_on(async {
                    while let Some(ended) = running.join_next().await {
                        ended.unwrap()
                    }
                });
                begin.elapsed()
            };
            group.bench_function(BenchmarkId::new(name, format!("{tasks} tasks")), |bencher| {
                bencher.iter_custom(&mut run);
            });
        }
    }
    group.finish();
}

#[cfg(not(feature = "redis"))]
fn redis(_: &mut Criterion) {}

criterion_group!(benches, allow, deny, two_threads, clock, redis);
criterion_main!(benches);
