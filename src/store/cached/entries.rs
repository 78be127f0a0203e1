//! The entries of a cache, and how long they are valid.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

use super::generations::Generations;
use crate::clock::{Clock, Timestamp};
use crate::key::{Digest, KeyId, KeyRecord, KeyState};
use crate::log;
use crate::store::{CacheHealth, KeySelector};

/// A key of the cache: an identifier, or a digest with its algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Id(KeyId),
    Digest(Digest),
}

/// How long entries are valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    pub(super) alone: Duration,
    pub(super) confirmed: Duration,
    pub(super) absent: Duration,
    pub(super) outage: Duration,
}

/// When a read of the store began.
#[derive(Clone, Copy)]
pub(super) struct ReadStart {
    pub(super) generation: u64,
    /// Nanoseconds of the monotonic clock.
    at: u64,
}

/// The slot and the time of a read.
#[derive(Clone, Copy)]
struct Mark {
    slot: usize,
    start: ReadStart,
}

type Map<K, T> = Cache<K, T, UnitWeighter, RandomState>;

/// Records and absences, held apart: negative entries never evict records.
pub(super) struct Entries {
    found: Map<Name, (Mark, Arc<KeyRecord>)>,
    absent: Map<Name, Mark>,
    generations: Generations,
    is_connected: AtomicBool,
    /// Whether a channel was ever connected.
    has_channel: AtomicBool,
    /// Until when every change of the store is known here, and one nanosecond; zero for never.
    confirmed: AtomicU64,
    /// Keys that were seen to be revoked. A revocation is for good.
    revoked: Map<KeyId, Revocation>,
    ages: Ages,
    clock: Arc<dyn Clock>,
    hasher: RandomState,
}

/// When a key was revoked, and when it was made: a key that was deleted can be imported again.
#[derive(Clone, Copy)]
struct Revocation {
    at: Timestamp,
    created_at: Timestamp,
    /// When this was seen, in nanoseconds of the monotonic clock.
    seen: u64,
}

/// 32 KiB. With 10 000 keys held, a change makes two or three others be read again.
const SLOTS: usize = 4096;

impl Entries {
    pub(super) fn new(capacity: usize, absent_capacity: usize, ages: Ages, clock: Arc<dyn Clock>) -> Self {
        // Seeded at random: clients choose the values that are hashed here.
        let hasher = RandomState::new();
        Self {
            found: map(capacity, hasher.clone()),
            absent: map(absent_capacity, hasher.clone()),
            generations: Generations::new(SLOTS),
            is_connected: AtomicBool::new(false),
            has_channel: AtomicBool::new(false),
            confirmed: AtomicU64::new(0),
            revoked: map(capacity, hasher.clone()),
            ages,
            clock,
            hasher,
        }
    }

    /// The cached answer, or pending if there is none. Waits for no lock: a record that is being written at this
    /// moment counts as missing.
    pub(super) fn look_up(&self, selector: KeySelector<'_>) -> Poll<Option<Arc<KeyRecord>>> {
        let now = self.now();
        // Read before the generations: if changes are known up to an instant, their invalidations are seen too.
        let max_age = if self.is_confirmed(now) { self.ages.confirmed } else { self.ages.alone };
        let is_good = |mark: &Mark, max_age| {
            mark.start.is_younger_than(max_age, now)
                && self.generations.is_current(mark.slot, mark.start.generation)
        };
        let found = |name| self.found.try_get(&name).ok().flatten();
        let good_record = names(selector).filter_map(found).find(|(mark, _)| is_good(mark, max_age));
        if let Some((_, record)) = good_record {
            return Poll::Ready(Some(record));
        }
        let absent = |name| self.absent.try_get(&name).ok().flatten();
        let max_age = self.ages.absent.min(max_age);
        if names(selector).all(|name| absent(name).is_some_and(|mark| is_good(&mark, max_age))) {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    /// A record past its maximum age, for when the store is unavailable.
    pub(super) fn last_resort(&self, selector: KeySelector<'_>) -> Option<Arc<KeyRecord>> {
        let now = self.now();
        let is_good = |mark: &Mark| {
            mark.start.is_younger_than(self.ages.outage, now)
                && self.generations.is_unchanged(mark.slot, mark.start.generation)
        };
        let found = names(selector).filter_map(|name| self.found.get(&name));
        found.filter(|(mark, _)| is_good(mark)).map(|(_, record)| record).next()
    }

    /// Call it before asking the store.
    pub(super) fn begin(&self) -> ReadStart {
        ReadStart { generation: self.generations.latest(), at: self.now() }
    }

    /// Stores the answer of the store, unless it is out of date by now.
    pub(super) fn keep(&self, selector: KeySelector<'_>, found: Option<&Arc<KeyRecord>>, start: ReadStart) {
        for name in names(selector) {
            // A record changes with its key, even if it was found by a digest.
            let slot = self.slot(found.map_or(name, |record| Name::Id(record.id)));
            let mark = Mark { slot, start };
            match found {
                _ if !self.generations.is_current(slot, start.generation) => {}
                Some(record) if name.is_of(record) => self.found.insert(name, (mark, record.clone())),
                Some(_) => {}
                None => self.absent.insert(name, mark),
            }
        }
    }

    /// Marks the entries of `name` as changed.
    pub(super) fn change(&self, name: Name) {
        self.generations.change(self.slot(name));
    }

    pub(super) fn change_key(&self, id: KeyId) {
        self.change(Name::Id(id));
    }

    /// From now on every change that was made before `until` is known here.
    pub(super) fn confirm(&self, until: u64) {
        self.confirmed.fetch_max(until.saturating_add(1), Ordering::AcqRel);
    }

    /// Whether all changes are known, but for those of the last moments: as long as an entry may be held alone.
    fn is_confirmed(&self, now: u64) -> bool {
        let until = self.confirmed.load(Ordering::Acquire).checked_sub(1);
        until.is_some_and(|until| Duration::from_nanos(now.saturating_sub(until)) < self.ages.alone)
    }

    /// Any key may have changed.
    pub(super) fn change_all(&self) {
        self.generations.connect();
    }

    /// The record as the store has it, or revoked if this process knows it to be: a store that was restored from a backup, or
    /// has failed over, may have forgotten that.
    pub(super) fn keep_revoked(&self, record: Arc<KeyRecord>, start: ReadStart) -> Arc<KeyRecord> {
        if matches!(record.state, KeyState::Revoked { .. }) {
            self.note_revoked(&record);
            return record;
        }
        match self.revoked.get(&record.id) {
            // A read that began before may be of a record from before.
            Some(Revocation { at, created_at, seen })
                if created_at == record.created_at && start.at > seen =>
            {
                log::revocation_forgotten(&record.id);
                let mut record = KeyRecord::clone(&record);
                record.state = KeyState::Revoked { at };
                Arc::new(record)
            }
            _ => record,
        }
    }

    pub(super) fn note_revoked(&self, record: &KeyRecord) {
        if let KeyState::Revoked { at } = record.state {
            self.revoked
                .insert(record.id, Revocation { at, created_at: record.created_at, seen: self.now() });
        }
    }

    pub(super) fn records(&self) -> usize {
        self.found.len()
    }

    pub(super) fn absences(&self) -> usize {
        self.absent.len()
    }

    pub(super) fn health(&self) -> CacheHealth {
        let confirmed = self.confirmed.load(Ordering::Acquire).checked_sub(1);
        CacheHealth {
            records: self.records(),
            absent: self.absences(),
            channel_is_connected: self.has_channel.load(Ordering::Relaxed).then(|| self.is_connected()),
            confirmed_ago: confirmed.map(|at| Duration::from_nanos(self.now().saturating_sub(at))),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }

    pub(super) fn connect(&self) {
        self.generations.connect();
        self.is_connected.store(true, Ordering::Release);
        self.has_channel.store(true, Ordering::Relaxed);
    }

    pub(super) fn disconnect(&self) {
        self.is_connected.store(false, Ordering::Release);
        self.generations.disconnect();
    }

    fn slot(&self, name: Name) -> usize {
        self.generations.slot(self.hasher.hash_one(name))
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.now().monotonic_nanos()
    }
}

impl Name {
    fn is_of(&self, record: &KeyRecord) -> bool {
        match self {
            Self::Id(id) => record.id == *id,
            Self::Digest(digest) => record.digests().any(|held| held == *digest),
        }
    }
}

impl ReadStart {
    fn is_younger_than(self, age: Duration, now: u64) -> bool {
        Duration::from_nanos(now.saturating_sub(self.at)) < age
    }
}

fn names(selector: KeySelector<'_>) -> impl Iterator<Item = Name> {
    let (id, digests) = match selector {
        KeySelector::Id(id) => (Some(*id), &[][..]),
        KeySelector::Digests(digests) => (None, digests),
    };
    id.map(Name::Id).into_iter().chain(digests.iter().copied().map(Name::Digest))
}

fn map<K: Eq + Hash, T: Clone>(capacity: usize, hasher: RandomState) -> Map<K, T> {
    Cache::with(capacity, capacity as u64, UnitWeighter, hasher, Default::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::key::{Mode, Owner, Peppers};

    #[test]
    fn each_kind_of_entry_is_bounded() {
        let hour = Duration::from_secs(3600);
        let ages = Ages { alone: hour, confirmed: hour, absent: hour, outage: hour };
        for capacity in [0, 1, 10, 1000] {
            let entries = Entries::new(capacity, capacity, ages, Arc::new(SystemClock));
            for n in 0..3 * capacity + 10 {
                let digest = Peppers::none().digest(&n.to_string());
                let id = format!("k{n}").parse().unwrap();
                let start = entries.begin();
                entries.keep(KeySelector::Digests(&[digest]), None, start);
                let record =
                    KeyRecord::new(id, Owner::system(Mode::Live), digest, Timestamp::from_unix_millis(0));
                entries.keep(KeySelector::Id(&id), Some(&Arc::new(record)), start);
            }
            let most = capacity + entries.found.num_shards();
            assert!(entries.found.len() <= most, "{} records for {capacity}", entries.found.len());
            assert!(entries.absent.len() <= most, "{} unknown names for {capacity}", entries.absent.len());
            assert!(
                entries.found.len() >= capacity * 9 / 10,
                "{} records for {capacity}",
                entries.found.len()
            );
        }
    }
}
