//! What a cache holds, and for how long it is good.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

use super::generations::Generations;
use crate::clock::Clock;
use crate::key::{Digest, KeyId, KeyRecord};
use crate::store::KeySelector;

/// What a look-up names a key by, whole: a digest with how it was made, or an identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Id(KeyId),
    Digest(Digest),
}

/// How long what was read is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    pub(super) alone: Duration,
    pub(super) connected: Duration,
    pub(super) absent: Duration,
    pub(super) outage: Duration,
}

/// When a reading of the store began.
#[derive(Clone, Copy)]
pub(super) struct Began {
    pub(super) generation: u64,
    /// Nanoseconds of the monotonic clock.
    at: u64,
}

/// Where and when something was read.
#[derive(Clone, Copy)]
struct Mark {
    slot: usize,
    began: Began,
}

type Map<T> = Cache<Name, T, UnitWeighter, RandomState>;

/// Records and absences, apart: however many unknown keys are asked for, no record makes room for them.
pub(super) struct Known {
    found: Map<(Mark, Arc<KeyRecord>)>,
    absent: Map<Mark>,
    generations: Generations,
    is_connected: AtomicBool,
    ages: Ages,
    clock: Arc<dyn Clock>,
    hasher: RandomState,
}

/// 32 KiB. With 10 000 keys held, a change makes two or three others be read again.
const SLOTS: usize = 4096;

impl Known {
    pub(super) fn new(capacity: usize, absent_capacity: usize, ages: Ages, clock: Arc<dyn Clock>) -> Self {
        // Seeded at random: whoever sends keys chooses what is hashed here.
        let hasher = RandomState::new();
        Self {
            found: map(capacity, hasher.clone()),
            absent: map(absent_capacity, hasher.clone()),
            generations: Generations::new(SLOTS),
            is_connected: AtomicBool::new(false),
            ages,
            clock,
            hasher,
        }
    }

    /// What is known, or pending if that is not enough for an answer. Waits for no lock: a record that is being
    /// written at this moment is not known.
    pub(super) fn look_up(&self, selector: KeySelector<'_>) -> Poll<Option<Arc<KeyRecord>>> {
        let now = self.now();
        // Before the generations: who sees the channel connected sees what that made out of date.
        let max_age = if self.is_connected() { self.ages.connected } else { self.ages.alone };
        let is_good = |mark: &Mark, max_age| {
            mark.began.is_younger_than(max_age, now)
                && self.generations.is_current(mark.slot, mark.began.generation)
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

    /// A record that is too old, for when there is no other to be had.
    pub(super) fn last_resort(&self, selector: KeySelector<'_>) -> Option<Arc<KeyRecord>> {
        let now = self.now();
        let is_good = |mark: &Mark| {
            mark.began.is_younger_than(self.ages.outage, now)
                && self.generations.is_unchanged(mark.slot, mark.began.generation)
        };
        let found = names(selector).filter_map(|name| self.found.get(&name));
        found.filter(|(mark, _)| is_good(mark)).map(|(_, record)| record).next()
    }

    /// To be called before the store is asked.
    pub(super) fn begin(&self) -> Began {
        Began { generation: self.generations.latest(), at: self.now() }
    }

    /// Holds what the store answered, unless that is out of date by now.
    pub(super) fn keep(&self, selector: KeySelector<'_>, found: Option<&Arc<KeyRecord>>, began: Began) {
        for name in names(selector) {
            // A record changes with its key, whatever it was found by.
            let slot = self.slot(found.map_or(name, |record| Name::Id(record.id)));
            let mark = Mark { slot, began };
            match found {
                _ if !self.generations.is_current(slot, began.generation) => {}
                Some(record) if name.is_of(record) => self.found.insert(name, (mark, record.clone())),
                Some(_) => {}
                None => self.absent.insert(name, mark),
            }
        }
    }

    /// What is held about `name` was changed.
    pub(super) fn change(&self, name: Name) {
        self.generations.change(self.slot(name));
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }

    pub(super) fn connect(&self) {
        self.generations.connect();
        self.is_connected.store(true, Ordering::Release);
    }

    pub(super) fn disconnect(&self) {
        self.is_connected.store(false, Ordering::Release);
        self.generations.disconnect();
    }

    fn slot(&self, name: Name) -> usize {
        self.generations.slot(self.hasher.hash_one(name))
    }

    fn now(&self) -> u64 {
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

impl Began {
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

fn map<T: Clone>(capacity: usize, hasher: RandomState) -> Map<T> {
    Cache::with(capacity, capacity as u64, UnitWeighter, hasher, Default::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SystemClock, Timestamp};
    use crate::key::{Mode, Owner, Peppers};

    #[test]
    fn each_kind_of_entry_is_bounded() {
        let hour = Duration::from_secs(3600);
        let ages = Ages { alone: hour, connected: hour, absent: hour, outage: hour };
        for capacity in [0, 1, 10, 1000] {
            let known = Known::new(capacity, capacity, ages, Arc::new(SystemClock));
            for n in 0..3 * capacity + 10 {
                let digest = Peppers::none().digest(&n.to_string());
                let id = format!("k{n}").parse().unwrap();
                let began = known.begin();
                known.keep(KeySelector::Digests(&[digest]), None, began);
                let record =
                    KeyRecord::new(id, Owner::system(Mode::Live), digest, Timestamp::from_unix_millis(0));
                known.keep(KeySelector::Id(&id), Some(&Arc::new(record)), began);
            }
            let most = capacity + known.found.num_shards();
            assert!(known.found.len() <= most, "{} records for {capacity}", known.found.len());
            assert!(known.absent.len() <= most, "{} unknown names for {capacity}", known.absent.len());
            assert!(known.found.len() >= capacity * 9 / 10, "{} records for {capacity}", known.found.len());
        }
    }
}
