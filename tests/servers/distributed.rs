//! The two-minute tour of `examples/distributed.rs`, read from its documentation and run line by line against two
//! processes, a PostgreSQL and a Redis; and the responses of both while these fail.

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::postgres_server as postgres;
use crate::redis_server::RedisServer;
use crate::server::{self, Server};

const EXAMPLE: &str = include_str!("../../examples/distributed.rs");

/// One command of the tour, and the result that the line above it announces.
struct Step {
    line: &'static str,
    shows: Option<&'static str>,
}

/// The commands of the last block of the example's documentation.
fn tour() -> Vec<Step> {
    let lines = EXAMPLE.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim_start);
    let mut blocks = Vec::new();
    let mut is_command = false;
    for line in lines {
        match (line, is_command) {
            ("```sh", _) => blocks.push(Vec::new()),
            (_, true) if line != "```" => blocks.last_mut().expect("a block was begun").push(line),
            _ => {}
        }
        is_command = line == "```sh" || (is_command && line != "```");
    }
    let block = blocks.pop().expect("there is a tour");
    let above = std::iter::once("").chain(block.iter().copied());
    let steps = above.zip(&block).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    steps.map(|(above, line)| Step { line, shows: above.strip_prefix("# ") }).collect()
}

/// The variables of the reader's shell.
struct Shell(HashMap<String, String>);

impl Shell {
    fn run(&self, command: &str) -> String {
        let output =
            Command::new("sh").args(["-c", command]).envs(&self.0).output().expect("there is a shell");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the answer is text")
    }

    fn assign(&mut self, name: &str, line: &str) {
        let value = self.run(&format!("{line}; printf %s \"${name}\""));
        assert!(!value.is_empty(), "{line}");
        self.0.insert(name.to_owned(), value);
    }
}

/// Whether the response has the status, and the field if there is one: `200, x-ratelimit-remaining: 2`.
fn is_shown(answer: &str, shows: &str) -> bool {
    let (status, field) = shows.split_once(", ").unwrap_or((shows, ""));
    let mut lines = answer.lines();
    let has_status = lines.next().is_some_and(|line| line.split(' ').nth(1) == Some(status));
    has_status && (field.is_empty() || lines.any(|line| line == field))
}

struct Backends {
    database_url: String,
    redis_url: String,
}

impl Backends {
    async fn of(postgres: &postgres::Server, redis: &RedisServer) -> Self {
        let pool = postgres.database(1).await;
        let options = pool.connect_options();
        let database = options.get_database().expect("the database has a name");
        let database_url = format!("postgres://postgres@127.0.0.1:{}/{database}", postgres.port());
        Self { database_url, redis_url: redis.url() }
    }

    fn program(&self, variable: (&str, &str)) -> Server {
        let variables = [("DATABASE_URL", &*self.database_url), ("REDIS_URL", &*self.redis_url), variable];
        Server::start("distributed", &variables)
    }
}

/// Redis should count even if the machine is busy.
const PATIENT: (&str, &str) = ("REDIS_DEADLINE_MS", "5000");

fn status(server: &Server, key: &str) -> u16 {
    server.send("GET", "/notes", &[("x-api-key", key)], None).status
}

#[tokio::test]
async fn the_tour_shows_what_it_says() {
    let redis = RedisServer::start();
    let postgres = postgres::Server::start();
    let backends = Backends::of(&postgres, &redis).await;
    let (a, b) = (backends.program(PATIENT), backends.program(PATIENT));

    let mut shell = Shell(HashMap::new());
    shell.0.insert("API_KEY".into(), a.get("API_KEY").into());
    let mut shown = Vec::new();
    for Step { line, shows } in tour() {
        match line.split_once('=') {
            // The test uses its own ports.
            Some(("A", _)) => drop(shell.0.insert("A".into(), a.get("BASE_URL").into())),
            Some(("B", _)) => drop(shell.0.insert("B".into(), b.get("BASE_URL").into())),
            Some((name, _)) if name.bytes().all(|byte| byte.is_ascii_uppercase()) => shell.assign(name, line),
            _ => {
                let shows = shows.unwrap_or_else(|| panic!("the tour says what is shown by: {line}"));
                let began = Instant::now();
                let mut answer = shell.run(line);
                // The report of a revocation is on its way. The cache alone would keep its entry for seconds.
                while shows == "401" && !is_shown(&answer, shows) && began.elapsed() < Duration::from_secs(1)
                {
                    sleep(Duration::from_millis(5));
                    answer = shell.run(line);
                }
                assert!(is_shown(&answer, shows), "{line}\nshould be {shows}, and is\n{answer}");
                shown.push(shows.split(',').next().unwrap_or_default());
            }
        }
    }
    assert_eq!(shown, ["200", "200", "200", "429", "429", "200", "401", "401"]);

    // The end of the tour: the state that a restart, here after `kill -9`, must keep.
    drop(a);
    let a = backends.program(PATIENT);
    assert_eq!(status(&a, &shell.0["API_KEY"]), 200, "the key of the program before");
    assert_eq!(status(&b, a.get("API_KEY")), 200, "the key of the one after");
    assert_eq!(status(&a, &shell.0["KEY"]), 401);

    let printed = a.lines.iter().filter(|line| line.starts_with("curl "));
    let statuses = printed.map(|line| shell.run(line).split(' ').nth(1).map(str::to_owned));
    assert_eq!(statuses.flatten().collect::<Vec<_>>(), ["200", "200", "401"], "its own lines work as pasted");
    assert!(a.stop("-TERM") && b.stop("-INT"), "both stop cleanly");
}

#[tokio::test]
async fn no_answer_is_wrong_while_the_engines_are_killed_frozen_and_flushed() {
    let (mut redis, postgres) = (RedisServer::start(), postgres::Server::start());
    let backends = Backends::of(&postgres, &redis).await;
    let [a, b] = [(); 2].map(|()| backends.program(("LIMIT", "1000000")));
    let good = a.get("API_KEY");
    let body = r#"{"name": "Leaked", "scopes": ["notes:read"]}"#;
    let headers = [("x-api-key", good), ("content-type", "application/json")];
    let made = a.send("POST", "/api-keys", &headers, Some(body)).json();
    let (revoked, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert_eq!((status(&a, revoked), status(&b, revoked)), (200, 200));
    assert_eq!(a.send("DELETE", &format!("/api-keys/{id}"), &headers, None).status, 200);
    let unknown = "demo_00000000000000000000000000000000";
    // The time for a report of the revocation, and for the recovery after each fault.
    let recovers = |after: &str| {
        let began = Instant::now();
        let all =
            [(&a, good, 200), (&b, good, 200), (&a, unknown, 401), (&b, unknown, 401), (&b, revoked, 401)];
        while !all.iter().all(|(server, key, right)| status(server, key) == *right) {
            assert!(began.elapsed() < Duration::from_secs(10), "not back 10 s after {after}");
        }
    };
    recovers("the start");

    /// Stops the load, also if a check below has failed.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&done);
        for (server, key, right) in [
            (&a, good, 200),
            (&b, good, 200),
            (&a, unknown, 401),
            (&b, unknown, 401),
            (&a, revoked, 401),
            (&b, revoked, 401),
        ] {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let answer = status(server, key);
                    assert!(answer == right || answer == 503, "{answer} in the place of {right}");
                }
            });
        }
        let outage = || sleep(Duration::from_millis(1500));
        redis.kill();
        outage();
        redis.restart();
        recovers("Redis was killed");
        redis.freeze();
        outage();
        redis.thaw();
        recovers("Redis was frozen");
        redis.run::<()>(&["SCRIPT", "FLUSH"]);
        redis.run::<()>(&["FLUSHALL"]);
        recovers("Redis was flushed");
        postgres.freeze();
        outage();
        postgres.thaw();
        recovers("PostgreSQL was frozen");
        postgres.kill();
        outage();
        postgres.restart();
        recovers("PostgreSQL was killed");
    });
    assert!(a.stop("-TERM") && b.stop("-TERM"), "and nothing has crashed");
}

#[test]
fn what_is_not_set_is_named() {
    for (set, missing) in [("REDIS_URL", "DATABASE_URL"), ("DATABASE_URL", "REDIS_URL")] {
        let output = Command::new(server::binary("distributed"))
            .env_remove(missing)
            .env(set, "redis://127.0.0.1")
            .output()
            .expect("the example runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(&format!("{missing} must be set")), "{error}");
    }
}
