//! Redis Sentinels for one test.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::{FromRedisValue, RedisResult, Value};

use crate::redis_server::{free_port, new_directory, program, url};

/// Three Sentinels of a master named `main`. Stopped when dropped.
pub struct Sentinels(Vec<Sentinel>);

pub struct Sentinel {
    directory: PathBuf,
    port: u16,
    process: Child,
}

impl Sentinels {
    /// Two of them agree that the master is down when it has not answered for half a second.
    pub fn start(master: SocketAddr) -> Self {
        let settings = format!(
            "sentinel monitor main {} {} 2\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 1500\n",
            master.ip(),
            master.port(),
        );
        let sentinels = Self((0..3).map(|_| Sentinel::start(&settings)).collect());
        sentinels.wait_until_ready();
        sentinels
    }

    /// The hosts as a URL has them.
    pub fn hosts(&self) -> String {
        self.0.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect::<Vec<_>>().join(",")
    }

    /// Freezes the first one, while it still takes connections: SIGSTOP.
    pub fn freeze_first(&self) {
        self.0[0].signal("-STOP");
    }

    /// Tells the last one to choose another master, while the present one is up.
    pub fn fail_over(&self) {
        let last = self.0.last().expect("there are three");
        let _: String = last.run(&["SENTINEL", "FAILOVER", "main"]).expect("there is a replica");
    }

    /// Waits until each has seen the others, and a replica.
    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let count =
            |one: &Sentinel, what| one.run(&["SENTINEL", what, "main"]).map(|all: Vec<Value>| all.len());
        while !self.0.iter().all(|one| count(one, "SENTINELS") == Ok(2) && count(one, "REPLICAS") == Ok(1)) {
            assert!(Instant::now() < deadline, "the Sentinels know each other");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Sentinel {
    pub fn start(settings: &str) -> Self {
        let (directory, port) = (new_directory(), free_port());
        let file = directory.join("sentinel.conf");
        let settings = format!("port {port}\nbind 127.0.0.1\ndir {}\n{settings}", directory.display());
        fs::write(&file, settings).expect("the directory can be written");
        let process = Command::new(program())
            .arg(file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a Redis server can be a Sentinel");
        Self { directory, port, process }
    }

    fn run<T: FromRedisValue>(&self, command: &[&str]) -> RedisResult<T> {
        let client = redis::Client::open(url(SocketAddr::from(([127, 0, 0, 1], self.port))))?;
        redis::cmd(command[0]).arg(&command[1..]).query(&mut client.get_connection()?)
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
