//! One layer or four, with limiters that wait: every request is answered alike.

use std::sync::{Arc, Mutex};

use tower_api_keys::clock::Clock;
use tower_api_keys::limit::{RateLimiter, RedisConnection, RedisRateLimiter};

use crate::faults::{Combination, Fault, LIMIT, Layers, World, seen};
use crate::redis_server::RedisServer;
use crate::support::Answers;

#[tokio::test]
async fn one_layer_and_four_answer_alike_where_limits_are_counted_in_redis() {
    let server = RedisServer::start();
    let connection = RedisConnection::open(&server.url()).unwrap();
    let mut worlds = 0;
    for answers in [Answers::AtOnce, Answers::Later] {
        for combination in Combination::all() {
            let mut responses = Vec::new();
            for layers in [Layers::One, Layers::Four] {
                worlds += 1;
                let (prefix, connection) = (format!("world-{worlds}"), connection.clone());
                let made = Arc::new(Mutex::new(Vec::new()));
                let make = {
                    let made = made.clone();
                    move |category: &str, quotas: &[_], clock: &_| -> Arc<dyn RateLimiter> {
                        let connection = connection.clone().with_prefix(&*prefix);
                        let limiter =
                            RedisRateLimiter::new(category, quotas, Clock::now(clock), connection).unwrap();
                        made.lock().unwrap().push(limiter.clone());
                        Arc::new(limiter)
                    }
                };
                let world = World::new(combination, answers, Some(Arc::new(make))).await;
                if combination.has(Fault::RateLimit) {
                    let limiter = made.lock().unwrap().iter().find(|made| made.category() == "key").cloned();
                    limiter.unwrap().check(world.key(), None, LIMIT, world.now()).await.unwrap();
                }
                responses.push(without_times(seen(&world.ask(layers).await)));
            }
            assert_eq!(responses[0], responses[1], "{combination:?} {answers:?}");
        }
    }
}

type Seen = (http::StatusCode, Vec<(String, String)>, bytes::Bytes, Option<String>);

/// Without what depends on when Redis was asked.
fn without_times((status, mut headers, body, reason): Seen) -> Seen {
    for (name, value) in &mut headers {
        match &**name {
            "retry-after" | "x-ratelimit-reset" => value.clear(),
            "ratelimit" => value.truncate(value.find(";t=").unwrap()),
            _ => {}
        }
    }
    let reason = reason.map(|reason| reason.split("retry_after").next().unwrap().to_owned());
    (status, headers, body, reason)
}
