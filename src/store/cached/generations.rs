//! Which of the things that a cache holds are older than a change.

use super::atomic::{AtomicU64, Ordering};

/// Numbers every change, and remembers for each key the last one.
///
/// What was read from the store carries the generation in which the reading *began*. It is good as long as its key has
/// seen no later one. So nothing has to be removed when a key changes, and nothing can be put in its place too late: a
/// reading that began before the change is out of date whenever it arrives.
///
/// Keys share slots. One that shares its slot with a changed one is read again, that is all.
pub(crate) struct Generations {
    latest: AtomicU64,
    /// For each slot, the generation of its last change.
    changed: Box<[AtomicU64]>,
    /// When the channel of changes was last lost or found again.
    interrupted: AtomicU64,
    /// When it was last found.
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

    /// The slot of whatever has this hash.
    pub(crate) fn slot(&self, hash: u64) -> usize {
        (hash % self.changed.len() as u64) as usize
    }

    /// The generation for a reading that begins now. To be asked before the store is.
    pub(crate) fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// Something in `slot` was changed. To be called when it is, before anybody is told so.
    pub(crate) fn change(&self, slot: usize) {
        let generation = self.next();
        // Two changes of one slot may come here in either order.
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

    /// Whether a reading of `slot` that began in `generation` is not known to be out of date.
    pub(crate) fn is_current(&self, slot: usize, generation: u64) -> bool {
        self.is_unchanged(slot, generation) && self.interrupted.load(Ordering::Acquire) <= generation
    }

    /// The same, though the channel may have been lost since. Nothing from before it was found again will do.
    pub(crate) fn is_unchanged(&self, slot: usize, generation: u64) -> bool {
        self.changed[slot].load(Ordering::Acquire) <= generation
            && self.connected.load(Ordering::Acquire) <= generation
    }
}
