//! Finds out which cache entries are older than a change.

use super::atomic::{AtomicU64, Ordering};

/// Numbers every change, and stores the number of the last change for each key.
///
/// A cache entry carries the generation in which its read *began*. It is valid as long as its key has no later
/// change. So a change does not have to remove entries, and a late insert does no harm: a read that began before the
/// change is out of date whenever it arrives.
///
/// Keys share slots. If one changes, the others in its slot are read again.
pub(crate) struct Generations {
    latest: AtomicU64,
    /// For each slot, the generation of its last change.
    changed: Box<[AtomicU64]>,
    /// When the channel of changes was last lost or connected.
    interrupted: AtomicU64,
    /// When the channel was last connected.
    connected: AtomicU64,
}

impl Generations {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            latest: AtomicU64::new(0),
            changed: (0..slots.max(1)).map(|_| AtomicU64::new(0)).collect(),
            interrupted: AtomicU64::new(0),
            connected: AtomicU64::new(0),
        }
    }

    /// The slot for a hash.
    pub(crate) fn slot(&self, hash: u64) -> usize {
        (hash % self.changed.len() as u64) as usize
    }

    /// The generation for a read that begins now. Call it before asking the store.
    pub(crate) fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// Marks a change of something in `slot`. Call it when the change is made, before it is reported to the caller.
    pub(crate) fn change(&self, slot: usize) {
        let generation = self.next();
        // Two changes of one slot may arrive here in either order.
        self.changed[slot].fetch_max(generation, Ordering::AcqRel);
    }

    /// From now on changes may be missed.
    pub(crate) fn disconnect(&self) {
        self.interrupted.fetch_max(self.next(), Ordering::AcqRel);
    }

    /// From now on no change is missed.
    pub(crate) fn connect(&self) {
        let generation = self.next();
        self.interrupted.fetch_max(generation, Ordering::AcqRel);
        self.connected.fetch_max(generation, Ordering::AcqRel);
    }

    fn next(&self) -> u64 {
        self.latest.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether a read of `slot` that began in `generation` is still valid.
    pub(crate) fn is_current(&self, slot: usize, generation: u64) -> bool {
        self.is_unchanged(slot, generation) && self.interrupted.load(Ordering::Acquire) <= generation
    }

    /// Like `is_current`, but accepts entries read before the channel was lost. Entries from before the last connect
    /// are out of date.
    pub(crate) fn is_unchanged(&self, slot: usize, generation: u64) -> bool {
        self.changed[slot].load(Ordering::Acquire) <= generation
            && self.connected.load(Ordering::Acquire) <= generation
    }
}
