//! The usage log of a store in memory.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::key::{KeyId, Owner};
use crate::usage::{Usage, UsageBatch, UsageBucket, UsageCounts, UsageEntry, UsageQuery, UsageRow};

/// The most rows of each kind; the oldest are dropped.
const CAPACITY: usize = 100_000;

/// A process that has added nothing for so long has ended.
const SILENT: Duration = Duration::from_secs(180);

#[derive(Default)]
pub(super) struct UsageSums {
    hours: Sums,
    days: Sums,
    /// The last batch of each process.
    processes: HashMap<KeyId, (u64, Timestamp)>,
}

/// By the beginning of the hour or day, then owner, key and category.
type Sums = BTreeMap<(Timestamp, Owner, KeyId, String), UsageCounts>;

impl UsageSums {
    pub(super) fn add(&mut self, batch: &UsageBatch) {
        let made_at = batch.made_at.min(SystemClock.now().timestamp());
        let (last, at) = self.processes.entry(batch.process).or_insert((0, made_at));
        if batch.number <= *last {
            return;
        }
        (*last, *at) = (batch.number, made_at);
        for (sums, bucket) in [(&mut self.hours, UsageBucket::Hour), (&mut self.days, UsageBucket::Day)] {
            for UsageEntry { owner, key_id, category, hour, counts } in &batch.entries {
                let place = (bucket.start_of(*hour), owner.clone(), *key_id, category.clone());
                *sums.entry(place).or_default() += *counts;
            }
            while sums.len() > CAPACITY {
                sums.pop_first();
            }
        }
    }

    pub(super) fn read(&self, query: &UsageQuery, limit: usize) -> Usage {
        let sums = match query.bucket {
            UsageBucket::Hour => &self.hours,
            UsageBucket::Day => &self.days,
        };
        let start = query.bucket.start_of(query.start);
        let mut rows = BTreeMap::<_, UsageRow>::new();
        for ((at, owner, key_id, category), counts) in sums {
            let is_asked_for = (start..query.end).contains(at)
                && query.owner.as_ref().is_none_or(|asked| asked == owner)
                && query.mode.is_none_or(|mode| mode == owner.mode)
                && (query.keys.is_empty() || query.keys.contains(key_id));
            if is_asked_for {
                let entry = UsageEntry::new(owner.clone(), *key_id, category.clone(), *at, *counts);
                let row = UsageRow::of(&entry, query);
                let place = (row.start, row.owner.clone(), row.key_id, row.category.clone());
                rows.entry(place).or_insert(row).calls += *counts;
            }
        }
        let last = self.processes.values().map(|(_, at)| *at).max();
        let silent = last.map(|last| last.saturating_sub(SILENT));
        let as_of = self.processes.values().map(|(_, at)| *at).filter(|at| Some(*at) >= silent).min();
        Usage::new(rows.into_values().take(limit).collect(), as_of)
    }

    pub(super) fn prune(&mut self, hours_before: Timestamp, days_before: Timestamp) {
        self.hours.retain(|(start, ..), _| *start >= hours_before);
        self.days.retain(|(start, ..), _| *start >= days_before);
        self.processes.retain(|_, (_, at)| *at >= days_before);
    }
}
