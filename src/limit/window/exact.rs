use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Reading, Timeline, Window};

/// A log of admitted costs and their times. Time in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Exact {
    log: Mutex<Log>,
}

#[derive(Clone, Debug, Default)]
struct Log {
    /// Time and cost, oldest first.
    entries: VecDeque<(u64, u32)>,
    total: u32,
    latest: u64,
}

impl Window for Exact {
    fn new(_: &Timeline, _: u64) -> Self {
        Self::default()
    }

    fn check(&self, timeline: &Timeline, now: u64, limit: u32, cost: u32) -> Reading {
        let window = timeline.window();
        let mut log = self.at(window, now);
        if log.total + cost > limit {
            return log.denied(window, limit, cost);
        }
        log.total += cost;
        let latest = log.latest;
        match log.entries.back_mut() {
            Some((time, sum)) if *time == latest => *sum += cost,
            _ if cost > 0 => log.entries.push_back((latest, cost)),
            _ => {}
        }
        log.admitted(window)
    }

    fn peek(&self, timeline: &Timeline, now: u64, limit: u32, cost: u32) -> Reading {
        let window = timeline.window();
        let log = self.at(window, now);
        if log.total + cost > limit { log.denied(window, limit, cost) } else { log.admitted(window) }
    }

    fn refund(&self, time: u64, cost: u32) {
        let mut log = self.lock();
        let Ok(index) = log.entries.binary_search_by_key(&time, |entry| entry.0) else { return };
        if log.entries[index].1 >= cost {
            log.entries[index].1 -= cost;
            log.total -= cost;
        }
    }

    fn forget(&self) {
        let mut log = self.lock();
        log.entries.clear();
        log.total = 0;
    }

    fn is_idle(&self, timeline: &Timeline, now: u64) -> bool {
        self.at(timeline.window(), now).total == 0
    }

    fn snapshot(&self) -> Self {
        Self { log: Mutex::new(self.lock().clone()) }
    }
}

impl Exact {
    /// The log without the entries that have left the window.
    fn at(&self, window: u64, now: u64) -> MutexGuard<'_, Log> {
        let mut log = self.lock();
        log.latest = log.latest.max(now);
        while let Some(&(time, cost)) = log.entries.front() {
            if time.saturating_add(window) > log.latest {
                break;
            }
            log.entries.pop_front();
            log.total -= cost;
        }
        log
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn admitted(&self, window: u64) -> Reading {
        let oldest = self.entries.iter().find(|(_, cost)| *cost > 0);
        let frees = oldest.map(|(time, _)| time.saturating_add(window));
        Reading { admitted: true, used: self.total, place: self.latest, frees }
    }

    fn denied(&self, window: u64, limit: u32, cost: u32) -> Reading {
        let mut excess = self.total + cost - limit;
        let enough = self.entries.iter().find(|(_, cost)| {
            excess = excess.saturating_sub(*cost);
            excess == 0
        });
        let frees = enough.map(|(time, _)| time.saturating_add(window));
        Reading { admitted: false, used: self.total, place: self.latest, frees }
    }
}
