//! What each stack of [`support`] costs in proportion to the same work written by hand: to the honest one, which keeps what
//! this crate promises to clients, and to the lean one, which does not.
//!
//! `cargo bench --all-features --bench ratios`, with `-- whole` for only those with that in their name. The stacks take turns
//! in slices of about 2 ms, so that whatever else the machine does hits all of them alike, and only time of this thread on the
//! processor counts. Medians of 60 rounds. Both ratios are to a good key, which is accepted.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]

#[path = "support/peers.rs"]
mod peers;
mod support;

use std::time::Duration;

use cpu_time::ThreadTime;
use support::{BASELINE, HONEST, IDEAL, Stack};

const SLICE: Duration = Duration::from_millis(2);
const ROUNDS: usize = 60;
/// Of four digits like those of most APIs, and more than a key has to send.
const LIMIT: u32 = 9_999;

struct Row {
    stack: Stack,
    requests: u32,
    /// Nanoseconds a request, one for each round.
    times: Vec<f64>,
}

impl Row {
    fn new(mut stack: Stack) -> Self {
        let start = ThreadTime::now();
        let mut requests = 0;
        while start.elapsed() < 10 * SLICE {
            stack.send();
            requests += 1;
        }
        Self { stack, requests: requests / 10, times: Vec::with_capacity(ROUNDS) }
    }

    fn run(&mut self) {
        let start = ThreadTime::now();
        for _ in 0..self.requests {
            self.stack.send();
        }
        self.times.push(start.elapsed().as_nanos() as f64 / f64::from(self.requests));
    }

    fn median(&mut self) -> f64 {
        self.times.sort_by(f64::total_cmp);
        self.times[ROUNDS / 2]
    }
}

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let is_wanted =
        |stack: &Stack| stack.name.contains(&wanted) || [BASELINE, HONEST, IDEAL].contains(&stack.name);
    let mut rows: Vec<Row> = peers::all(LIMIT).into_iter().filter(is_wanted).map(Row::new).collect();
    for _ in 0..ROUNDS {
        rows.iter_mut().for_each(Row::run);
    }
    let medians: Vec<(&str, f64)> = rows.iter_mut().map(|row| (row.stack.name, row.median())).collect();
    let median =
        |wanted| medians.iter().find(|(name, _)| *name == wanted).map_or(f64::NAN, |(_, median)| *median);
    let baseline = median(BASELINE);
    let (honest, lean) = (median(HONEST) - baseline, median(IDEAL) - baseline);

    println!("{:<50} {:>7} {:>7} {:>8} {:>8}", "", "ns", "net ns", "× honest", "× lean");
    for (name, total) in &medians {
        let net = total - baseline;
        println!("{name:<50} {total:>7.0} {net:>7.0} {:>8.2} {:>8.2}", net / honest, net / lean);
    }
}
