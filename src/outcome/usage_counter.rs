use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord, Owner};
use crate::store::{StoreError, StoreErrorKind, UsageLog};
use crate::usage::{UsageBatch, UsageCounts, UsageEntry, UsageHealth, UsageOutcome};
use crate::{log, metrics};

/// Counts requests by key, hour, category and outcome, until they are added to a store.
///
/// Counts are taken out of their cells into batches, and a batch is kept until the store has added it. So each request is in a
/// cell or in a batch, in one only.
pub(crate) struct UsageCounter {
    cells: papaya::HashMap<Place, Cell, RandomState>,
    /// The most cells, and about the most entries of batches.
    capacity: usize,
    /// About how many cells have requests that are in no batch.
    unwritten: AtomicUsize,
    /// Requests for which there was no cell.
    lost: AtomicU64,
    /// As many of them are in the log.
    reported: AtomicU64,
    /// The names of categories. The first one is empty.
    categories: Box<[Arc<str>]>,
    outbox: Mutex<Outbox>,
}

/// Which requests a cell counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    key_id: KeyId,
    /// The hour since the Unix epoch, the number of the category, and the outcome: one number is hashed faster than three.
    slot: u64,
}

struct Cell {
    /// Or [`GONE`] and above.
    requests: AtomicU64,
    owner: Owner,
}

/// Marks a cell that is being removed. A request that is counted in it now would be lost.
const GONE: u64 = 1 << 63;

/// The most entries in a batch.
pub(super) const BATCH: usize = 5_000;

/// The most cells of an assembly: some 20 MB.
const CAPACITY: usize = 100_000;

/// What was taken out of the cells, and is not known to be in the store.
#[derive(Default)]
struct Outbox {
    process: Option<KeyId>,
    last_number: u64,
    last_made_at: Option<Timestamp>,
    batches: VecDeque<Arc<UsageBatch>>,
    /// When everything was last in the store.
    written_at: Option<Timestamp>,
    /// Whether the store has not taken the last batch.
    is_failing: bool,
}

impl UsageCounter {
    /// Counts nothing yet.
    pub(crate) fn new(categories: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self::with_capacity(categories, CAPACITY)
    }

    fn with_capacity(categories: impl IntoIterator<Item = Arc<str>>, capacity: usize) -> Self {
        Self {
            cells: papaya::HashMap::default(),
            capacity,
            unwritten: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            categories: [Arc::from("")].into_iter().chain(categories).collect(),
            outbox: Mutex::default(),
        }
    }

    /// Counts a request with the key of `record`. Does not wait, and allocates only for what was not counted in this hour.
    ///
    /// `category` is the place of the category's name, from 1 on; 0 is none.
    #[inline]
    pub(crate) fn count(&self, record: &KeyRecord, category: u16, outcome: UsageOutcome, at: Timestamp) {
        let place = Place::new(record.id, at, category, outcome);
        let cells = self.cells.pin();
        loop {
            let cell = match cells.get(&place) {
                Some(cell) => cell,
                None if cells.len() >= self.capacity => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                None => cells.get_or_insert_with(place, || Cell {
                    requests: AtomicU64::new(0),
                    owner: record.owner.clone(),
                }),
            };
            match cell.requests.fetch_add(1, Ordering::AcqRel) {
                0 => {
                    self.unwritten.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                before if before < GONE => return,
                _ => _ = cells.remove_if(&place, |_, cell| cell.is_gone()),
            }
        }
    }

    /// About how many rows are not in the store yet.
    pub(crate) fn buffered(&self) -> usize {
        let waiting: usize = self.outbox().batches.iter().map(|batch| batch.entries.len()).sum();
        waiting + self.unwritten.load(Ordering::Relaxed)
    }

    /// What becomes of what is counted, for operators.
    pub(crate) fn health(&self, now: Timestamp) -> UsageHealth {
        let waiting_rows = self.buffered();
        let outbox = self.outbox();
        UsageHealth {
            written_ago: outbox.written_at.map(|at| now.saturating_since(at)),
            waiting_rows,
            lost_requests: self.lost.load(Ordering::Relaxed),
            is_failing: outbox.is_failing,
        }
    }

    /// Whether there is enough for a batch.
    pub(super) fn is_due(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) >= BATCH
    }

    /// Adds to the store what it does not have yet. After an error, the same batch is added next time: the store may have it.
    ///
    /// May be called at the same time as another call of it. Both send the same batches, of which the store adds each once.
    pub(crate) async fn write_to(&self, log: &dyn UsageLog, now: Timestamp) -> Result<(), StoreError> {
        self.report_lost();
        let written = async {
            // What was counted since a batch failed goes into another one.
            self.send(log).await?;
            self.pack(now)?;
            self.send(log).await
        };
        let written = written.await;
        let mut outbox = self.outbox();
        outbox.is_failing = written.is_err();
        if written.is_ok() {
            outbox.written_at = Some(now);
        }
        written
    }

    fn report_lost(&self) {
        let lost = self.lost.load(Ordering::Relaxed);
        // Another call may report some of them.
        let new = lost.saturating_sub(self.reported.fetch_max(lost, Ordering::Relaxed));
        if new > 0 {
            metrics::usage_lost(new);
            log::usage_lost(new);
        }
    }

    async fn send(&self, log: &dyn UsageLog) -> Result<(), StoreError> {
        loop {
            let Some(batch) = self.outbox().batches.front().cloned() else { return Ok(()) };
            log.add(&batch).await?;
            let batches = &mut self.outbox().batches;
            if batches.front().is_some_and(|front| front.number == batch.number) {
                batches.pop_front();
            }
        }
    }

    /// Takes all requests out of their cells. If there are none, one batch a minute says so.
    fn pack(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut outbox = self.outbox();
        // Another call may have packed since.
        if !outbox.batches.is_empty() {
            return Ok(());
        }
        let process = match outbox.process {
            Some(process) => process,
            None => *outbox.process.insert(KeyId::random("").map_err(no_name)?),
        };
        let entries = self.take_all(now);
        if entries.is_empty() && outbox.last_made_at.is_some_and(|last| now < last.saturating_add(SILENCE)) {
            return Ok(());
        }
        // Only with the last of several batches everything is there.
        let first_hour = entries.iter().map(|entry| entry.hour).min();
        let before = outbox.last_made_at.replace(now).or(first_hour).unwrap_or(now);
        let count = entries.len().div_ceil(BATCH).max(1);
        let mut entries = entries.into_iter();
        for place in 1..=count {
            outbox.last_number += 1;
            let batch = entries.by_ref().take(BATCH).collect();
            let made_at = if place == count { now } else { before };
            let batch = UsageBatch::new(process, outbox.last_number, made_at, batch);
            outbox.batches.push_back(Arc::new(batch));
        }
        Ok(())
    }

    /// The counts of all cells, which begin at zero again. Called by one thread at a time. Idle cells are removed: those of past
    /// hours, and all if cells become scarce.
    fn take_all(&self, now: Timestamp) -> Vec<UsageEntry> {
        let cells = self.cells.pin();
        let is_crowded = cells.len() > self.capacity / 2;
        self.unwritten.store(0, Ordering::Relaxed);
        let mut sums = BTreeMap::<_, UsageCounts>::new();
        for (place, cell) in &cells {
            let requests = cell.requests.swap(0, Ordering::AcqRel);
            if requests > 0 {
                let sum = sums.entry((&cell.owner, place.key_id, self.category(place), place.hour()));
                sum.or_default().add(place.outcome(), requests);
            } else if is_crowded || place.hour() < hour_of(now) {
                // Not if a request was counted just now.
                let idle = cell.requests.compare_exchange(0, GONE, Ordering::AcqRel, Ordering::Relaxed);
                if idle.is_ok() {
                    let _ = cells.remove_if(place, |_, cell| cell.is_gone());
                }
            }
        }
        let entry = |((owner, key_id, category, hour), counts): ((&Owner, _, &str, u32), _)| {
            let hour = Timestamp::from_unix_seconds(u64::from(hour) * 3600);
            UsageEntry::new(owner.clone(), key_id, category.to_owned(), hour, counts)
        };
        sums.into_iter().map(entry).collect()
    }

    fn category(&self, place: &Place) -> &str {
        self.categories.get(place.category()).map_or("", |name| name)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process without requests tells once in this time how far usage is complete.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

fn hour_of(at: Timestamp) -> u32 {
    (at.as_unix_millis() / 3_600_000) as u32
}

fn no_name(error: std::io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable).with_source(error)
}

impl Place {
    #[inline]
    fn new(key_id: KeyId, at: Timestamp, category: u16, outcome: UsageOutcome) -> Self {
        let slot = u64::from(hour_of(at)) << 32 | u64::from(category) << 8 | outcome as u64;
        Self { key_id, slot }
    }

    fn hour(&self) -> u32 {
        (self.slot >> 32) as u32
    }

    fn category(&self) -> usize {
        (self.slot >> 8) as usize & 0xffff
    }

    fn outcome(&self) -> UsageOutcome {
        UsageOutcome::ALL[self.slot as usize & 0xff]
    }
}

impl Cell {
    fn is_gone(&self) -> bool {
        self.requests.load(Ordering::Acquire) >= GONE
    }
}

impl fmt::Debug for UsageCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageCounter").field("cells", &self.cells.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "usage_counter_tests.rs"]
mod tests;
