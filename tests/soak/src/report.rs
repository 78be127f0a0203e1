//! The table at the end, and what it says about memory, descriptors and logs.
#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::faults::Injected;
use crate::process::{Lines, Sample};
use crate::traffic::Caller;
use crate::watch::{Watch, lock};

/// How much a node that runs all the time may grow, from the third sixth of a run to the last. Before, the caches of nine connections
/// to a file of SQLite fill. After, each key that is used leaves some 1.6 KiB: its limits, for up to 100,000 keys, and its usage, for
/// an hour. There are some 2,000 in this part of an hour.
const GROWTH_KIB: u64 = 6 * 1024;
const GROWTH_DESCRIPTORS: usize = 8;
/// How many lines of `WARN` and `ERROR` a node may write in one second.
const LOUD_LINES: usize = 20;
/// Of the requests outside of faults, how many in a thousand may go unanswered: the machine may be busy.
const UNANSWERED: u64 = 2;

/// What one node has taken, second by second.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) samples: Vec<Sample>,
    pub(crate) lines: Vec<Lines>,
}

/// The medians of the sixths of a run, after a tenth of the time for warming up.
fn sixths(samples: &[Sample]) -> [Sample; 6] {
    let warm = &samples[samples.len() / 10..];
    [0, 1, 2, 3, 4, 5].map(|sixth| {
        let part = &warm[warm.len() * sixth / 6..warm.len() * (sixth + 1) / 6];
        let mut resident: Vec<_> = part.iter().map(|sample| sample.resident_kib).collect();
        let mut descriptors: Vec<_> = part.iter().map(|sample| sample.descriptors).collect();
        resident.sort_unstable();
        descriptors.sort_unstable();
        let middle = part.len() / 2;
        Sample {
            resident_kib: resident.get(middle).copied().unwrap_or_default(),
            descriptors: descriptors.get(middle).copied().unwrap_or_default(),
        }
    })
}

pub(crate) fn requests(watch: &Watch) {
    println!("\n{:<8} {:<14} {:>9}  statuses (0: no answer)", "node", "request", "number");
    for ((node, asked), tally) in &*lock(&watch.tallies) {
        let number: u64 = tally.statuses.values().sum();
        let statuses: Vec<_> =
            tally.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        println!("{node:<8} {asked:<14} {number:>9}  {}", statuses.join(", "));
    }
    let (calm, unanswered) = *lock(&watch.calm);
    println!("\noutside of faults: {calm} requests, {unanswered} of them 503 or unanswered");
    if unanswered > 5 + calm * UNANSWERED / 1000 {
        watch.violation(
            "recovery",
            format_args!("{unanswered} of {calm} requests went unanswered without a fault"),
        );
    }
    println!("a revoked key was accepted for {:?} at most after the answer", lock(&watch.longest_accepted));
}

pub(crate) fn faults(injected: &[Injected]) {
    println!("\n{:<40} {:>6} {:>14}", "fault", "times", "back after at most");
    let mut by_name: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    for fault in injected {
        let (times, longest) = by_name.entry(fault.name).or_default();
        *times += 1;
        *longest = (*longest).max(fault.back_after);
    }
    for (name, (times, longest)) in by_name {
        println!("{name:<40} {times:>6} {longest:>14.1?}");
    }
    if let Some(last) = injected.last() {
        println!("{} faults, the last one {:.0?} after the start", injected.len(), last.began);
    }
}

/// `is_steady`: was never killed. `is_long`: long enough for memory to settle.
pub(crate) fn node(watch: &Watch, name: &str, seen: &Seen, is_steady: bool, is_long: bool) {
    let sixths = sixths(&seen.samples);
    let [_, _, third, _, _, last] = &sixths;
    let memory = sixths.each_ref().map(|sixth| format!("{:.1}", mebibytes(sixth.resident_kib))).join(" ");
    let descriptors = sixths.each_ref().map(|sixth| sixth.descriptors.to_string()).join(" ");
    let most = seen.samples.iter().map(|sample| sample.resident_kib).max().unwrap_or_default();
    let loudest = seen.lines.iter().map(|lines| lines.loud).max().unwrap_or_default();
    let all: usize = seen.lines.iter().map(|lines| lines.all).sum();
    println!(
        "{name:<8} memory {memory} MiB (at most {:.1}), descriptors {descriptors}, log {all} lines, at most {loudest} WARN and \
         ERROR a second{}",
        mebibytes(most),
        if is_steady { "" } else { " (was killed)" },
    );
    if is_steady && is_long && last.resident_kib > third.resident_kib + GROWTH_KIB {
        watch.violation("resources", format_args!("{name}: memory grows"));
    }
    if is_steady && is_long && last.descriptors > third.descriptors + GROWTH_DESCRIPTORS {
        watch.violation("resources", format_args!("{name}: descriptors grow"));
    }
    if loudest > LOUD_LINES {
        watch.violation("resources", format_args!("{name}: {loudest} lines of WARN and ERROR in a second"));
    }
    if seen.lines.iter().any(|lines| lines.panics > 0) {
        watch.violation("resources", format_args!("{name}: a panic"));
    }
}

/// How many failovers the nodes have noticed.
pub(crate) async fn failovers(callers: &[Caller]) -> u64 {
    let mut noticed = 0;
    for caller in callers {
        let metrics = caller.metrics().await;
        let counts =
            metrics.lines().filter_map(|line| line.strip_prefix("api_keys_failovers_noticed_total "));
        noticed += counts.filter_map(|count| count.parse::<u64>().ok()).sum::<u64>();
        let series = metrics.lines().filter(|line| line.starts_with("api_keys_")).count();
        println!("{:<8} {series} series of metrics", caller.node);
    }
    noticed
}

/// Each fault that a node has logged is in its metrics, and none is silent. Of a node that was never killed.
pub(crate) async fn counted_faults(watch: &Watch, caller: &Caller, log: &str) {
    let metrics = caller.metrics().await;
    let mut codes = String::new();
    for row in include_str!("../../../docs/README.md").lines() {
        let Some((code, _)) = row.strip_prefix("| `").and_then(|row| row.split_once("` |")) else { continue };
        if !row.contains("| `api_keys_faults_total` |") {
            continue;
        }
        let series = format!("api_keys_faults_total{{code=\"{code}\"}} ");
        let counted = metrics.lines().find_map(|line| line.strip_prefix(&*series)?.parse::<usize>().ok());
        let counted = counted.unwrap_or_default();
        let logged = log.matches(&format!("code=\"{code}\"")).count();
        if logged > counted || (logged == 0) != (counted == 0) {
            let node = caller.node;
            watch.violation(
                "faults",
                format_args!("{node}: {code}: {logged} lines, and {counted} are counted"),
            );
        }
        if counted > 0 {
            codes += &format!(" {code} {logged}/{counted}");
        }
    }
    println!("{:<8} faults, lines and all:{codes}", caller.node);
}

pub(crate) fn pair(summary: &str) {
    println!("{summary}");
}

pub(crate) fn logs(directory: &Path) {
    println!("what the nodes logged: {}", directory.display());
}

/// Whether all is as it should be.
pub(crate) fn verdict(watch: &Watch) -> bool {
    let violations = watch.violations();
    println!("\n{} kinds of violations", violations.len());
    for (kind, (number, first)) in &violations {
        println!("{kind}: {number}");
        first.iter().for_each(|violation| println!("  {violation}"));
    }
    violations.is_empty()
}

#[allow(clippy::cast_precision_loss, reason = "one decimal place is shown")]
fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}
