//! One limit for several processes: real ones, and limiters that simulate them.

use std::env;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tower_api_keys::clock::{Clock, ManualClock, SystemClock, Timestamp};
use tower_api_keys::limit::{OnFailure, Quota, RedisConnection, RedisRateLimiter, Subject};

use crate::redis_server::RedisServer;

const SECOND: Duration = Duration::from_secs(1);
const PROCESSES: u32 = 8;

fn alice() -> Subject {
    Subject::Key("alice".parse().unwrap())
}

fn connection(url: &str, leases: bool) -> RedisConnection {
    let connection = RedisConnection::open(url).unwrap().with_deadline(10 * SECOND);
    if leases { connection.with_leases() } else { connection }
}

fn limiter(connection: RedisConnection, quota: Quota) -> RedisRateLimiter {
    RedisRateLimiter::new("read", &[quota], SystemClock.now(), connection).unwrap()
}

/// Another process runs this, with the variables that [`start_hammers`] sets. In this one it does nothing.
#[test]
fn hammer() {
    let (Ok(url), Ok(number)) = (env::var("HAMMER_URL"), env::var("HAMMER_NUMBER")) else { return };
    let number: u32 = number.parse().unwrap();
    let limit = env::var("HAMMER_LIMIT").unwrap().parse().unwrap();
    let connection = connection(&url, env::var("HAMMER_LEASES").is_ok())
        .with_on_failure(OnFailure::Closed)
        .with_processes(PROCESSES.try_into().unwrap());
    let quota = Quota::per_minute(limit).unwrap();
    // Each process has a different clock, and changes it now and then.
    let clock = ManualClock::starting_at(Timestamp::from_unix_seconds(1_000_000 * u64::from(number)));
    let limiter = RedisRateLimiter::new("read", &[quota], clock.now(), connection).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (admitted, undecided) = runtime.block_on(async {
        let (mut admitted, mut undecided, mut denied) = (0, 0, 0);
        let began = Instant::now();
        while denied < 20 {
            assert!(began.elapsed() < 40 * SECOND, "{:?}", limiter.status());
            let batch: Vec<_> = (0..4)
                .map(|_| {
                    let (limiter, now) = (limiter.clone(), clock.now());
                    tokio::spawn(async move { limiter.check(&alice(), None, 1, now).await })
                })
                .collect();
            for check in batch {
                match check.await.unwrap() {
                    Ok((decision, _)) if decision.is_admitted() => admitted += 1,
                    Ok(_) => denied += 1,
                    Err(_) => {
                        undecided += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
            match admitted % 7 {
                0 => clock.advance(Duration::from_secs(100 * u64::from(number))),
                3 => clock.step_calendar(Timestamp::from_unix_seconds(u64::from(number))),
                _ => {}
            }
        }
        (admitted, undecided)
    });
    let _: (u32, u32) = (admitted, undecided);
    println!("\nHAMMERED {admitted} {undecided}");
}

fn start_hammers(server: &RedisServer, limit: u32, variables: &[(&str, &str)]) -> Vec<Child> {
    let start = |number: u32| {
        Command::new(env::current_exe().unwrap())
            .args(["redis_processes::hammer", "--exact", "--nocapture"])
            .env("HAMMER_URL", server.url())
            .env("HAMMER_LIMIT", limit.to_string())
            .env("HAMMER_NUMBER", number.to_string())
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    (0..PROCESSES).map(start).collect()
}

/// The cost admitted by each process, and the calls without a reply of all together.
fn join(hammers: Vec<Child>) -> (Vec<u32>, u32) {
    let (mut admitted, mut undecided) = (Vec::new(), 0);
    for hammer in hammers {
        let output = hammer.wait_with_output().unwrap();
        assert!(output.status.success(), "a process failed");
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("HAMMERED ")).expect("it says how it went");
        let (one, other) = line.split_once(' ').unwrap();
        admitted.push(one.parse().unwrap());
        undecided += other.parse::<u32>().unwrap();
    }
    (admitted, undecided)
}

#[test]
fn eight_processes_with_different_clocks_admit_exactly_the_limit() {
    let server = RedisServer::start();
    let limit = 3_000;
    let done = AtomicBool::new(false);
    let (admitted, undecided) = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                server.run::<()>(&["SCRIPT", "FLUSH"]);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let result = join(start_hammers(&server, limit, &[]));
        done.store(true, Ordering::SeqCst);
        result
    });
    assert_eq!((admitted.iter().sum::<u32>(), undecided), (limit, 0), "{admitted:?}");
    assert!(admitted.iter().all(|share| *share > 0), "all of them took part: {admitted:?}");
    assert!(server.calls_of("eval") > 10, "the scripts were forgotten on the way");
}

#[test]
fn eight_processes_admit_no_more_than_the_limit_through_crashes_of_a_durable_server() {
    let mut server = RedisServer::start_durable();
    let limit = 6_000;
    let hammers = start_hammers(&server, limit, &[]);
    for _ in 0..3 {
        // The server's call count restarts after each crash, so the amount of work is fixed.
        let since = Instant::now();
        while server.calls_of("evalsha") < 1_000 {
            assert!(since.elapsed() < Duration::from_secs(30), "the processes ask the server again");
            thread::sleep(Duration::from_millis(1));
        }
        server.kill();
        server.restart();
    }
    let (admitted, undecided) = join(hammers);
    let sum: u32 = admitted.iter().sum();
    // A crash may lose the reply to a counted request; nothing else is lost.
    assert!(sum <= limit && sum + undecided >= limit, "{admitted:?}, {undecided} without an answer");
    assert!(undecided > 0, "the crashes came while there was work to do");
}

#[test]
fn eight_processes_with_leases_admit_no_more_than_the_limit() {
    let server = RedisServer::start();
    let limit = 3_000;
    let (admitted, undecided) = join(start_hammers(&server, limit, &[("HAMMER_LEASES", "1")]));
    let sum: u32 = admitted.iter().sum();
    assert_eq!(undecided, 0);
    // Units that a process has leased when it stops may stay unused.
    assert!(sum <= limit && sum > limit * 9 / 10, "{sum}: {admitted:?}");
}

/// When a request was admitted: between the start and the end of its check.
type Admitted = (Instant, Instant);

/// The most requests that were certainly admitted within one window.
fn most_in_one(window: Duration, mut admitted: Vec<Admitted>) -> usize {
    admitted.sort_unstable_by_key(|(_, end)| *end);
    let from = |(index, (first, _)): (usize, &Admitted)| {
        admitted[index..].iter().take_while(|(_, end)| *end - *first < window).count()
    };
    admitted.iter().enumerate().map(from).max().unwrap_or(0)
}

async fn admit(limiter: &RedisRateLimiter, subject: &Subject, admitted: &mut Vec<Admitted>) -> bool {
    let start = Instant::now();
    let (decision, _) = limiter.check(subject, None, 1, SystemClock.now()).await.unwrap();
    if decision.is_admitted() {
        admitted.push((start, Instant::now()));
    }
    decision.is_admitted()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_window_has_more_than_the_limit_for_all_processes_together() {
    let server = RedisServer::start();
    let (limit, window) = (40_usize, SECOND);
    for leases in [false, true] {
        let mut tasks = Vec::new();
        let began = Instant::now();
        for process in 0..4_u64 {
            let quota = Quota::new(u32::try_from(limit).unwrap(), window).unwrap();
            let connection = connection(&server.url(), leases).with_processes(4.try_into().unwrap());
            let limiter = limiter(connection, quota);
            tasks.push(tokio::spawn(async move {
                let mut admitted = Vec::new();
                let mut seed = process + 1;
                while began.elapsed() < 4 * SECOND {
                    admit(&limiter, &alice(), &mut admitted).await;
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Bursts and pauses.
                    let pause = if seed >> 60 == 0 { 120 } else { seed >> 61 };
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                admitted
            }));
        }
        let mut admitted = Vec::new();
        for task in tasks {
            admitted.extend(task.await.unwrap());
        }
        let total = admitted.len();
        let most = most_in_one(window, admitted);
        assert!(most <= limit, "leases: {leases}, {most} in one window");
        assert!(total > limit * 3, "leases: {leases}, {total} in four windows");
    }
}

/// The worst case: part of a lease is used at its very end, and the limit is used up; a window after the lease was
/// granted, another request waits for the expiring units. The lease begins at different places of its sub-window, of
/// 16 667 µs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_admissions_from_a_lease_count_for_a_full_window() {
    let server = RedisServer::start();
    let (limit, window) = (400, SECOND);
    let mut late = 0;
    for phase in [4_000, 10_000, 13_000, 15_000, 16_000] {
        let limiter = || limiter(connection(&server.url(), true), Quota::new(400, window).unwrap());
        let (one, other, subject) = (limiter(), limiter(), Subject::other(phase.to_string()));
        // Both are connected before it begins.
        let (mut admitted, mut ignored) = (Vec::new(), Vec::new());
        admit(&one, &alice(), &mut ignored).await;
        admit(&other, &alice(), &mut ignored).await;
        let in_sub_window = || std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() % 16_667;
        while !(phase..phase + 600).contains(&in_sub_window()) {
            std::hint::spin_loop();
        }

        let granted = Instant::now();
        admit(&one, &subject, &mut admitted).await;
        while admit(&other, &subject, &mut admitted).await {}
        let before = one.status();
        // The second time it has ended.
        for (at, count) in [(14, 14), (45, 5)] {
            while granted.elapsed() < Duration::from_millis(at) {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            for _ in 0..count {
                admit(&one, &subject, &mut admitted).await;
            }
        }
        late += one.status().admitted_from_lease - before.admitted_from_lease;
        while granted.elapsed() < window + Duration::from_millis(90) {
            if !admit(&other, &subject, &mut admitted).await {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        }
        let most = most_in_one(window, admitted);
        assert!(most <= limit, "{most} in one window, phase {phase}");
    }
    assert!(late > 0, "something was admitted at the end of a lease");
}

/// Sends requests to ten limiters in turn until the limit is used up; returns the admitted requests and the calls.
async fn spend(limit: u32, leases: bool) -> (u32, u64) {
    let server = RedisServer::start();
    let quota = Quota::per_minute(limit).unwrap();
    let limiters: Vec<RedisRateLimiter> = (0..10)
        .map(|_| limiter(connection(&server.url(), leases).with_processes(10.try_into().unwrap()), quota))
        .collect();
    let mut admitted = 0;
    for request in 0.. {
        let limiter = &limiters[request % limiters.len()];
        let decision = limiter.check(&alice(), None, 1, SystemClock.now()).await.unwrap().0;
        admitted += u32::from(decision.is_admitted());
        // Until each limiter has denied once.
        if request > limit as usize && limiters.iter().all(|limiter| limiter.status().denied_from_memory > 0)
        {
            break;
        }
    }
    let calls = server.calls_of("evalsha") + server.calls_of("eval");
    assert_eq!(calls, limiters.iter().map(|limiter| limiter.status().round_trips).sum::<u64>());
    (admitted, calls)
}

#[tokio::test]
async fn leases_take_far_fewer_round_trips() {
    for (limit, most) in [(100, 0.75), (1_000, 0.15), (10_000, 0.05)] {
        let (admitted, calls) = spend(limit, true).await;
        let rate = calls as f64 / f64::from(admitted);
        println!("limit {limit}: {:.0} round trips for 1000 requests", rate * 1_000.0);
        assert!(rate <= most, "limit {limit}: {calls} calls for {admitted} requests");
        assert!(admitted <= limit && f64::from(admitted) >= f64::from(limit) * 0.97, "{admitted} of {limit}");
    }
    let (admitted, calls) = spend(300, false).await;
    // Ten denials, and the script's text sent once.
    assert_eq!((admitted, calls), (300, 300 + 10 + 1), "strict: one each");
}

#[tokio::test]
async fn the_rest_of_a_lease_is_returned_with_the_next_call() {
    let server = RedisServer::start();
    let quota = Quota::per_minute(1_000).unwrap();
    let one = limiter(connection(&server.url(), true), quota);
    let other = limiter(connection(&server.url(), true), quota);
    let check = async |limiter: &RedisRateLimiter| {
        let (decision, permit) = limiter.check(&alice(), None, 1, SystemClock.now()).await.unwrap();
        (decision.remaining(), permit)
    };
    assert_eq!(check(&one).await.0, 999);
    let (remaining, permit) = check(&one).await;
    assert_eq!((remaining, one.status().admitted_from_lease), (998, 1));
    assert_eq!(check(&other).await.0, 949, "50 are leased to the first");

    let trips = one.status().round_trips;
    one.refund(permit.unwrap()).await;
    assert_eq!(one.status().round_trips, trips, "it goes back to the lease");
    assert_eq!(check(&one).await.0, 998);

    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(check(&one).await.0, 1_000 - 50 - 2 - 1, "the other still has its lease");
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(check(&other).await.0, 1_000 - 2 - 50 - 1 - 1);
}
