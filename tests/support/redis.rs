//! A Redis or Valkey server for one test.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::env;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::FromRedisValue;

/// A server on a free port of this machine, with its own directory for files. Stopped and removed when dropped, also
/// by a panic.
pub struct RedisServer {
    program: PathBuf,
    options: Vec<String>,
    directory: PathBuf,
    port: u16,
    process: Child,
}

impl RedisServer {
    /// A server without persistence.
    pub fn start() -> Self {
        Self::start_with(&["--appendonly", "no"])
    }

    /// A server that has written what it answers: a kill loses nothing. With `always` it would also wait for the disk, and with
    /// `everysec` it writes later while the disk is busy.
    pub fn start_durable() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "no"])
    }

    /// A server with further options of its command line.
    pub fn start_with(options: &[&str]) -> Self {
        let program = program();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        // Another process may take the port between finding it and using it.
        for _ in 0..5 {
            let (directory, port) = (new_directory(), free_port());
            let process = launch(&program, &options, &directory, port);
            let mut server =
                Self { program: program.clone(), options: options.clone(), directory, port, process };
            if server.is_up_soon() {
                return server;
            }
        }
        panic!("{} does not start: run it by hand to see why", program.display());
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn url(&self) -> String {
        url(self.address())
    }

    /// Runs one command over a new connection.
    pub fn run<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("the URL is one");
        let mut connection = client.get_connection().expect("the server is up");
        redis::cmd(command[0]).arg(&command[1..]).query(&mut connection).expect("the command is one")
    }

    /// How often a command was called, by the server's own count.
    pub fn calls_of(&self, command: &str) -> u64 {
        let statistics: String = self.run(&["INFO", "commandstats"]);
        let field = format!("cmdstat_{command}:calls=");
        let line = statistics.lines().find_map(|line| line.strip_prefix(field.as_str()));
        line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
    }

    /// Crashes the server: SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().expect("the server runs");
        self.process.wait().expect("the server has ended");
    }

    /// Starts a killed server again, on the same port, with the same files.
    pub fn restart(&mut self) {
        self.process = launch(&self.program, &self.options, &self.directory, self.port);
        assert!(self.is_up_soon(), "the server starts again");
    }

    /// Freezes the process, while its connections stay up: SIGSTOP.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }

    fn is_up_soon(&mut self) -> bool {
        let client = redis::Client::open(self.url()).expect("the URL is one");
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            // While it reads its files, it answers with an error.
            let pong = client
                .get_connection_with_timeout(Duration::from_secs(1))
                .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
            if pong.is_ok() {
                return true;
            }
            sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub fn url(address: SocketAddr) -> String {
    format!("redis://{address}/")
}

fn launch(program: &PathBuf, options: &[String], directory: &PathBuf, port: u16) -> Child {
    Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(directory)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{} can't be run: {error}", program.display()))
}

/// `REDIS_SERVER`, or what is installed.
pub fn program() -> PathBuf {
    if let Some(program) = env::var_os("REDIS_SERVER") {
        return program.into();
    }
    let directories: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)))
        .find(|program| program.is_file())
        .expect(
            "these tests need a Redis or Valkey server: install the package redis-server (Debian, Ubuntu), redis or \
             valkey (Fedora, Arch, Homebrew), or set REDIS_SERVER to the path of the program",
        )
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

pub fn new_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = env::temp_dir().join(format!("tower-api-keys-redis-{}-{number}", process::id()));
    fs::create_dir_all(&directory).expect("there is room for temporary files");
    directory
}
