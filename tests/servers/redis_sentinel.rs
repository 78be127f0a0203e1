//! Limits and the channel while Sentinels make another server the master.

use std::time::{Duration, Instant};

use redis::Value;
use tokio::time::{sleep, timeout};
use tower_api_keys::Quota;
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::limit::{OnFailure, RedisConnection, RedisRateLimiter, Subject};
use tower_api_keys::store::{Invalidation, InvalidationSink, InvalidationSource, RedisInvalidation};

use crate::redis_acl::SET_USER;
use crate::redis_server::RedisServer;
use crate::sentinels::Sentinels;

const LIMIT: u32 = 40;
const SECOND: Duration = Duration::from_secs(1);

/// Two processes that share a limit under a policy. The window is longer than the test.
#[derive(Debug)]
struct Processes([RedisRateLimiter; 2]);

impl Processes {
    fn new(url: &str, policy: OnFailure) -> Self {
        Self([(); 2].map(|()| {
            let connection = RedisConnection::open(url).unwrap().with_prefix("acme");
            let connection = connection
                .with_processes(2.try_into().unwrap())
                .with_on_failure(policy)
                .with_deadline(SECOND);
            let quotas = [Quota::new(LIMIT, 600 * SECOND).unwrap()];
            RedisRateLimiter::new(format!("{policy:?}"), &quotas, SystemClock.now(), connection).unwrap()
        }))
    }

    /// Sends a request to each. Returns how many are admitted, and whether Redis has decided all.
    async fn send(&self, subject: &Subject) -> (u32, bool) {
        let (mut admitted, mut are_decided) = (0, true);
        for limiter in &self.0 {
            let checked = limiter.check(subject, None, 1, SystemClock.now()).await;
            are_decided &= checked.as_ref().is_ok_and(|(decision, _)| !decision.is_degraded());
            admitted += u32::from(checked.is_ok_and(|(_, permit)| permit.is_some()));
        }
        (admitted, are_decided)
    }
}

async fn next(source: &mut impl InvalidationSource) -> Invalidation {
    timeout(30 * SECOND, source.next()).await.expect("there is an event")
}

fn is_master(server: &RedisServer) -> bool {
    let role: Vec<Value> = server.run(&["ROLE"]);
    role[0] == Value::BulkString(b"master".to_vec())
}

#[tokio::test]
async fn limits_hold_and_news_arrive_while_another_server_becomes_the_master() {
    let at_once = ["--repl-diskless-sync-delay", "0"];
    let one = RedisServer::start_with(&at_once);
    let port = one.address().port().to_string();
    let mut other = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port, at_once[0], at_once[1]]);
    for server in [&one, &other] {
        let set_user: Vec<&str> = SET_USER.split_whitespace().chain(["+role"]).collect();
        let _: () = server.run(&set_user);
    }
    let sentinels = Sentinels::start(one.address());
    let url = format!("redis+sentinel://app:password@{}/main", sentinels.hosts());
    let policies = [OnFailure::Closed, OnFailure::Local].map(|policy| Processes::new(&url, policy));
    let redis = RedisInvalidation::open(&url).unwrap();
    let mut source = redis.source();
    assert_eq!(next(&mut source).await, Invalidation::Connected);

    for is_planned in [true, false] {
        // A master without a replica refuses to count, so that the old one does not go on beside the new one.
        let replicas = if is_planned { "1" } else { "0" };
        let _: () = one.run(&["CONFIG", "SET", "min-replicas-to-write", replicas]);
        let old = if is_planned { &one } else { &other };
        let wait_for_replica =
            || assert_eq!(old.run::<u64>(&["WAIT", "1", "20000"]), 1, "a replica is up to date");
        wait_for_replica();
        let subject = Subject::other(format!("planned: {is_planned}"));
        let mut admitted = [0; 2];
        for (processes, admitted) in policies.iter().zip(&mut admitted) {
            for _ in 0..6 {
                let (more, are_decided) = processes.send(&subject).await;
                assert!(are_decided, "{processes:?}");
                *admitted += more;
            }
        }
        assert_eq!(admitted, [12, 12]);
        wait_for_replica();

        if is_planned {
            sentinels.fail_over();
        } else {
            // The machine of the master has also run a Sentinel, the first one in the URL.
            sentinels.freeze_first();
            other.kill();
        }
        let began = Instant::now();
        // What the old master admits while it is replaced may not reach the new one, and what it does not answer may be counted.
        // A process with `OnFailure::Local` knows what it has admitted itself.
        let (mut lost, mut unanswered) = (0, [0; 2]);
        for number in 0.. {
            let is_over = is_master(if is_planned { &other } else { &one });
            let mut are_all_decided = true;
            for (place, processes) in policies.iter().enumerate() {
                let (more, are_decided) = processes.send(&subject).await;
                admitted[place] += more;
                lost += if is_over || place > 0 { 0 } else { more };
                unanswered[place] += if are_decided { 0 } else { 2 };
                // Not one that may be denied from memory.
                are_all_decided &= processes.send(&Subject::other(format!("{is_planned} {number}"))).await.1;
            }
            if is_over && are_all_decided {
                break;
            }
            assert!(began.elapsed() < 60 * SECOND, "{policies:?}");
            sleep(SECOND / 20).await;
        }
        for (place, processes) in policies.iter().enumerate() {
            for _ in 0..LIMIT {
                admitted[place] += processes.send(&subject).await.0;
            }
            let most = [LIMIT + lost, LIMIT][place];
            let allowed = LIMIT.saturating_sub(unanswered[place])..=most;
            assert!(
                allowed.contains(&admitted[place]),
                "{} and not {allowed:?}: {processes:?}",
                admitted[place]
            );
        }

        assert_eq!(next(&mut source).await, Invalidation::Disconnected);
        assert_eq!(next(&mut source).await, Invalidation::Connected);
        redis.publish(&"k".parse().unwrap()).await.unwrap();
        assert_eq!(next(&mut source).await, Invalidation::Key("k".parse().unwrap()));
    }
}
