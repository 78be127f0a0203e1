//! What is seen during a run, and what must not have been.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a revoked key may still be accepted.
pub(crate) const REVOKED_FOR: Duration = Duration::from_secs(5);
/// How long after a fault everything works again.
pub(crate) const BACK_AFTER: Duration = Duration::from_secs(10);

/// How long before its end a node that is killed may have counted usage that is in no store: ten seconds, and longer if the store
/// did not answer then.
const USAGE_LOST: Duration = Duration::from_secs(30);
/// What no key is authenticated for.
const WITHOUT_KEY: [&str; 6] = ["metrics", "malformed", "unknown", "no key", "page", "document"];

/// How many violations of a kind are shown.
const SHOWN: usize = 10;

/// How many of a kind there were, and the first ones.
pub(crate) type Violations = (u64, Vec<String>);

/// Answers of one node, by what was asked.
#[derive(Default)]
pub(crate) struct Tally {
    /// By status; 0 is no answer.
    pub(crate) statuses: BTreeMap<u16, u64>,
}

/// Shared by all that look.
pub(crate) struct Watch {
    violations: Mutex<BTreeMap<&'static str, Violations>>,
    is_over: AtomicBool,
    /// Until when requests may go unanswered, and the number of the fault.
    trouble: Mutex<(Option<Instant>, u64)>,
    pub(crate) tallies: Mutex<BTreeMap<(&'static str, &'static str), Tally>>,
    /// The longest that a revoked key was accepted.
    pub(crate) longest_accepted: Mutex<Duration>,
    /// Requests outside of faults, and those of them without an answer.
    pub(crate) calm: Mutex<(u64, u64)>,
    usage: Mutex<BTreeMap<&'static str, Usage>>,
}

/// What a node should have counted as `ok`.
#[derive(Default)]
pub(crate) struct Usage {
    pub(crate) answered: u64,
    /// Requests without an answer: it may have counted them.
    pub(crate) unanswered: u64,
    /// Answers that it may have lost when it was killed.
    pub(crate) lost_at_most: u64,
    recent: VecDeque<Instant>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            violations: Mutex::default(),
            is_over: AtomicBool::new(false),
            trouble: Mutex::new((Some(Instant::now() + BACK_AFTER), 0)),
            tallies: Mutex::default(),
            longest_accepted: Mutex::default(),
            calm: Mutex::default(),
            usage: Mutex::default(),
        }
    }

    /// Notes what must not be.
    #[allow(clippy::print_stderr, reason = "it is to be seen at once")]
    pub(crate) fn violation(&self, kind: &'static str, what: impl Display) {
        let mut violations = lock(&self.violations);
        let (number, first) = violations.entry(kind).or_default();
        *number += 1;
        if first.len() < SHOWN {
            eprintln!("VIOLATION: {kind}: {what}");
            first.push(what.to_string());
        }
    }

    pub(crate) fn violations(&self) -> BTreeMap<&'static str, Violations> {
        lock(&self.violations).clone()
    }

    /// No further request.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    pub(crate) fn fault_begins(&self) {
        let mut trouble = lock(&self.trouble);
        *trouble = (None, trouble.1 + 1);
    }

    pub(crate) fn fault_ends(&self) {
        lock(&self.trouble).0 = Some(Instant::now() + BACK_AFTER);
    }

    /// The number of the last fault, if its time is over.
    pub(crate) fn calm_since(&self) -> Option<u64> {
        let trouble = lock(&self.trouble);
        trouble.0.is_some_and(|until| until < Instant::now()).then_some(trouble.1)
    }

    pub(crate) fn note(&self, node: &'static str, asked: &'static str, status: u16, calm: Option<u64>) {
        *lock(&self.tallies).entry((node, asked)).or_default().statuses.entry(status).or_default() += 1;
        if !WITHOUT_KEY.contains(&asked) {
            self.count_usage(node, status);
        }
        if calm.is_some() && calm == self.calm_since() {
            let mut counted = lock(&self.calm);
            counted.0 += 1;
            counted.1 += u64::from(matches!(status, 0 | 503));
        }
    }

    fn count_usage(&self, node: &'static str, status: u16) {
        let (mut usage, now) = (lock(&self.usage), Instant::now());
        let usage = usage.entry(node).or_default();
        match status {
            0 => usage.unanswered += 1,
            200..400 => {
                usage.answered += 1;
                usage.recent.push_back(now);
            }
            _ => {}
        }
        while usage.recent.front().is_some_and(|at| now.duration_since(*at) > USAGE_LOST) {
            usage.recent.pop_front();
        }
    }

    /// What the node has counted of late may be lost.
    pub(crate) fn is_killed(&self, node: &'static str) {
        let mut usage = lock(&self.usage);
        let usage = usage.entry(node).or_default();
        usage.lost_at_most += usage.recent.len() as u64;
        usage.recent.clear();
    }

    /// What a pair of nodes should have counted.
    pub(crate) fn usage(&self, nodes: [&'static str; 2]) -> Usage {
        let usage = lock(&self.usage);
        nodes.iter().filter_map(|node| usage.get(node)).fold(Usage::default(), |sum, node| Usage {
            answered: sum.answered + node.answered,
            unanswered: sum.unanswered + node.unanswered,
            lost_at_most: sum.lost_at_most + node.lost_at_most,
            recent: VecDeque::new(),
        })
    }

    /// How often a request of this kind was answered with the status by one of the nodes.
    pub(crate) fn answers(&self, nodes: [&'static str; 2], asked: &'static str, status: u16) -> u64 {
        let tallies = lock(&self.tallies);
        let of = |node| tallies.get(&(node, asked)).and_then(|tally| tally.statuses.get(&status)).copied();
        nodes.into_iter().filter_map(of).sum()
    }

    pub(crate) fn accepted_after(&self, time: Duration) {
        let mut longest = lock(&self.longest_accepted);
        *longest = (*longest).max(time);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics")
}
