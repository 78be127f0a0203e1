//! An example server as a separate process, and a client that writes raw requests.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A running example. Stopped when dropped.
pub struct Server {
    process: Child,
    /// What it printed: `NAME=value` lines.
    pub printed: HashMap<String, String>,
    /// Everything it printed, up to `ready`.
    pub lines: Vec<String>,
}

impl Server {
    /// Builds and starts an example on a free port, with further variables.
    pub fn start(example: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with_log(example, variables, Stdio::inherit())
    }

    /// The same, with its standard error there.
    pub fn start_with_log(example: &str, variables: &[(&str, &str)], log: impl Into<Stdio>) -> Self {
        let mut process = Command::new(binary(example))
            // Not the variable of the environment that runs the tests.
            .env_remove("DATABASE_URL")
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the example starts");
        let output = process.stdout.take().expect("the output is piped");
        let lines: Vec<String> = BufReader::new(output)
            .lines()
            .map(|line| line.expect("the output is text"))
            .take_while(|line| line != "ready")
            .collect();
        let printed = lines
            .iter()
            .filter_map(|line| line.split_once('='))
            .filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { process, printed, lines }
    }

    pub fn get(&self, name: &str) -> &str {
        self.printed.get(name).unwrap_or_else(|| panic!("the example prints {name}"))
    }

    /// The results of the printed `curl` lines in a shell.
    pub fn paste_curl_lines(&self) -> Vec<u16> {
        let lines = self.lines.iter().filter(|line| line.starts_with("curl "));
        let statuses = lines.map(|line| {
            let text = paste(line);
            let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
            status.unwrap_or_else(|| panic!("{line}: {text}"))
        });
        statuses.collect()
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        let base = self.get("BASE_URL").strip_prefix("http://").expect("the base is an http URL");
        base.split('/').next().expect("there is a host")
    }

    /// Sends a request to a path below the base URL.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let base = self.get("BASE_URL").strip_prefix("http://").expect("the base is an http URL");
        let prefix = base.strip_prefix(self.address()).expect("the base starts with the address");
        let mut head =
            format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.raw(&[head.as_bytes(), body.unwrap_or_default().as_bytes()].concat())
    }

    /// Sends bytes as they are.
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address()).expect("the example listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        stream.write_all(request).expect("the request can be written");
        let mut bytes = Vec::new();
        // A server that rejects early may reset the connection; its response before that counts.
        let _ = stream.read_to_end(&mut bytes);
        Answer::parse(&bytes)
    }

    /// Kills the process. Its output stays.
    pub fn kill(&self) {
        let kill = Command::new("kill").args(["-KILL", &self.process.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
    }

    /// Stops the process with `signal`, and returns whether it succeeded.
    pub fn stop(mut self, signal: &str) -> bool {
        let kill = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
        self.process.wait().expect("the process ends").success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The example's binary, built if need be.
pub fn binary(example: &str) -> PathBuf {
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--features", "full", "--example", example])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(build.expect("cargo runs").success(), "the example {example} must build");
    // This test is target/debug/deps/NAME; the example is target/debug/examples/NAME.
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("a test lies in deps").join("examples").join(example)
}

/// The output of a line in a shell.
///
/// A rejection does not wait for the request's body, so an HTTP/2 stream may be reset with NO_ERROR after the
/// response, and curl 7.88 then sometimes shows nothing and exits with 92.
pub fn paste(line: &str) -> String {
    let paste = || Command::new("sh").args(["-c", line]).output().expect("sh runs");
    let mut attempts = std::iter::repeat_with(paste).take(10);
    let output = attempts.find(|output| output.status.code() != Some(92)).expect("curl shows an answer");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A parsed HTTP response.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { status: status.unwrap_or(0), headers, body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str) -> u64 {
        let text = self.header(name).unwrap_or_else(|| panic!("the answer has {name}: {:?}", self.headers));
        text.parse().unwrap_or_else(|_| panic!("{name} is a number: {text}"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}
