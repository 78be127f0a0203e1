//! How many instructions a request takes through each stack of [`support`], counted by valgrind's callgrind, and compared
//! with what is recorded in `benches/instructions.txt`: more than 5 % above it fails.
//!
//! `cargo bench --all-features --bench instructions` compares, `… -- --record` records. Needs valgrind.
//!
//! `… -- run "whole stack, accepted" 1000` sends to one stack a thousand times as many, to be watched by a profiler.
//!
//! A count is that of the 1000 requests which follow the first ones, less that of the inner service alone; it is the
//! same on each run to about 0.1 %. Callgrind does not know the processor's SHA instructions, so each block of
//! SHA-256 counts some 3000 instructions more than it takes: the same for every stack that digests.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

#[path = "support/peers.rs"]
mod peers;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::{Command, ExitCode};

use support::{BASELINE, Stack};

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../instructions.txt");
const LIMIT: u32 = 9_999;
const REQUESTS: u64 = 1000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, run, name, times @ ..] = &arguments[..]
        && run == "run"
    {
        // All of them stay: what the others would give back changes how the allocator goes about its work.
        let mut stacks = peers::all(LIMIT);
        let stack = stacks.iter_mut().find(|stack| stack.name == name).unwrap();
        let times = times.first().map_or(1, |times| times.parse().unwrap());
        (0..times).for_each(|_| send_counted(stack));
        std::process::exit(0);
    }
    let recorded = recorded();
    let names = peers::all(LIMIT).into_iter().map(|stack| stack.name);
    let totals: Vec<(&str, u64)> = names.map(|name| (name, instructions(name))).collect();
    let baseline = totals.iter().find(|(name, _)| *name == BASELINE).unwrap().1;

    let mut table = String::new();
    let mut is_worse = false;
    for (name, total) in totals {
        let net = total - baseline;
        writeln!(table, "{name:<50} {net:>7}").unwrap();
        let change = recorded.get(name).map(|before| 100.0 * (net as f64 / *before as f64 - 1.0));
        let is_ours = !name.starts_with("peer") && name != BASELINE;
        is_worse |= is_ours && change.is_none_or(|change| change > 5.0);
        println!("{name:<50} {net:>7} {}", change.map_or("new".into(), |change| format!("{change:+.1} %")));
    }
    if arguments.iter().any(|argument| argument == "--record") {
        std::fs::write(RECORD, table).unwrap();
    } else if is_worse {
        println!("more instructions than {RECORD} says: make it leaner, or record the new count and say why");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What callgrind counts, by its name.
#[inline(never)]
fn send_counted(stack: &mut Stack) {
    for _ in 0..REQUESTS {
        stack.send();
    }
}

fn recorded() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(RECORD).unwrap_or_default();
    let line = |line: &str| {
        line.rsplit_once(' ').map(|(name, net)| (name.trim_end().to_owned(), net.parse().unwrap()))
    };
    text.lines().filter_map(line).collect()
}

/// Instructions a request.
fn instructions(name: &str) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*send_counted*"]);
    command.arg(std::env::current_exe().unwrap()).args(["run", name]);
    let output = command.output().expect("valgrind must be installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let count =
        text.lines().find_map(|line| line.split_once("Collected : ")).expect("callgrind tells the sum").1;
    count.trim().parse::<u64>().unwrap() / REQUESTS
}
