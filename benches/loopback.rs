//! What a client sees of each stack: requests a second over loopback, through axum, in proportion to the same route bare.
//!
//! `cargo bench --all-features --bench loopback`; `… -- 30` makes 30 rounds instead of 15. Needs wrk, taskset, two
//! processors and a quiet machine.
//!
//! Each stack has a server of its own, a process with one thread on processor 0. All of them run all the time; an idle one
//! costs nothing. wrk, one thread and 16 connections on processor 1, goes to each in turn for a second, a round after the
//! other, each round beginning with another stack. 256 keys take turns, out of 10 000 stored. `ratio` is to the bare route
//! of the same round, in the median with the quartiles; `CPU` is the time that the server's process spends on a request,
//! and how much more than the bare route's of the same round, medians too.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

#[path = "support/peers.rs"]
mod peers;
mod support;

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::thread;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use cpu_time::ProcessTime;
use support::own::{preset, without_ietf_fields};
use support::{honest, store, typical};
use tokio::net::TcpListener;

const ROUNDS: usize = 15;
/// More than a key has to send.
const LIMIT: u32 = 99_999;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../loopback.lua");

type Layers = fn(Router) -> Router;

/// The bare route first.
const STACKS: [(&str, Layers); 8] = [
    ("bare route", |router| router),
    (support::IDEAL, |router| router.layer(support::ideal::IdealLayer::new(LIMIT))),
    (support::HONEST, |router| router.layer(honest::HonestLayer::new(LIMIT))),
    ("peer: tower_governor", |router| router.layer(peers::rate_limit())),
    (support::TYPICAL, |router| router.layer(from_fn_with_state(typical::Keys::new(LIMIT), typical::check))),
    (support::WHOLE_WITHOUT_IETF_FIELDS, |router| {
        router.layer(without_ietf_fields(store(), LIMIT).build().unwrap().layer())
    }),
    ("whole stack without IETF fields, layer by layer", |router| {
        let keys = without_ietf_fields(store(), LIMIT).build().unwrap();
        router.layer(keys.authorize()).layer(keys.rate_limit()).layer(keys.authenticate())
    }),
    (support::WHOLE, |router| router.layer(preset(store(), LIMIT).build().unwrap().layer())),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, serve, stack] = &arguments[..]
        && serve == "serve"
    {
        self::serve(stack);
        return ExitCode::SUCCESS;
    }
    for (program, package) in [("wrk", "wrk"), ("taskset", "util-linux")] {
        if Command::new(program).arg("--version").output().is_err() {
            println!("{program} is missing: install it, for instance with apt-get install {package}");
            return ExitCode::FAILURE;
        }
    }
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS).max(1);

    let mut rows = STACKS.map(|(name, _)| Row { server: Server::start(name), runs: Vec::new() });
    rows.iter_mut().for_each(Row::run);
    rows.iter_mut().for_each(|row| row.runs.clear());
    for round in 0..rounds {
        for turn in 0..rows.len() {
            rows[(round + turn) % STACKS.len()].run();
        }
    }
    report(&rows);
    ExitCode::SUCCESS
}

struct Row {
    server: Server,
    runs: Vec<Run>,
}

/// What one second came to.
struct Run {
    requests_a_second: f64,
    /// Microseconds of the processor's time a request.
    cpu: f64,
}

impl Row {
    fn run(&mut self) {
        let before = self.server.cpu_time();
        let wrk = Command::new("taskset")
            .args(["-c", "1", "wrk", "--threads", "1", "--connections", "16", "--duration", "1s"])
            .args(["--script", SCRIPT, &format!("http://127.0.0.1:{}", self.server.port)])
            .output()
            .unwrap();
        let cpu = self.server.cpu_time() - before;
        let text = String::from_utf8_lossy(&wrk.stdout);
        let sums: Vec<f64> =
            text.lines().last().unwrap_or_default().split(' ').filter_map(|sum| sum.parse().ok()).collect();
        let [requests, duration, 0.0] = sums[..] else {
            panic!(
                "not every request was answered with success: {text}{}",
                String::from_utf8_lossy(&wrk.stderr)
            );
        };
        self.runs.push(Run { requests_a_second: requests / duration * 1e6, cpu: cpu / requests });
    }
}

fn report(rows: &[Row]) {
    let bare = &rows[0].runs;
    println!("{:<45} {:>10} {:>23} {:>7} {:>10}", "", "requests/s", "ratio", "CPU µs", "over bare");
    for ((name, _), Row { runs, .. }) in std::iter::zip(STACKS, rows) {
        let to_bare = |of: fn(&Run, &Run) -> f64| {
            quartiles(std::iter::zip(runs, bare).map(|(run, bare)| of(run, bare)))
        };
        let [_, requests_a_second, _] = quartiles(runs.iter().map(|run| run.requests_a_second));
        let [_, cpu, _] = quartiles(runs.iter().map(|run| run.cpu));
        let [low, ratio, high] = to_bare(|run, bare| run.requests_a_second / bare.requests_a_second);
        let [_, more, _] = to_bare(|run, bare| run.cpu - bare.cpu);
        println!(
            "{name:<45} {requests_a_second:>10.0}   {ratio:.3} ({low:.3} to {high:.3}) {cpu:>7.2} {more:>+10.2}"
        );
    }
}

fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[quarter * (values.len() - 1) / 4])
}

/// This program again, as the server of one stack. It ends when its standard input does.
struct Server {
    port: u16,
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start(stack: &str) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(std::env::current_exe().unwrap()).args(["serve", stack]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = output.next().unwrap().unwrap().parse().unwrap();
        Self { port, process, output }
    }

    /// Microseconds of the processor's time until now.
    fn cpu_time(&mut self) -> f64 {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.output.next().unwrap().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Which closes its standard input first.
        let _ = self.process.wait();
    }
}

/// Prints the port, then the processor's time for each line that it reads.
fn serve(stack: &str) {
    let (_, layers) = STACKS.into_iter().find(|(name, _)| *name == stack).unwrap();
    let router = layers(Router::new().route("/workflows/{id}", get(async || "a workflow")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        thread::spawn(|| {
            for _ in std::io::stdin().lines() {
                println!("{}", ProcessTime::now().as_duration().as_micros());
            }
            std::process::exit(0);
        });
        axum::serve(listener, router).await.unwrap();
    });
}
