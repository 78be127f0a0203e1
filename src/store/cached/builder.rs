use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::known::{Ages, Known};
use super::load::Loads;
use super::{CachedStore, Shared};
use crate::clock::{Clock, SystemClock};
use crate::store::{InvalidationSink, InvalidationSource};

/// Of what was read longer ago, nobody can say any more that it holds.
const MAX_OUTAGE: Duration = Duration::from_secs(30);

/// Sets up a [`CachedStore`].
#[must_use]
pub struct CachedStoreBuilder<S> {
    store: S,
    capacity: usize,
    absent_capacity: usize,
    ages: Ages,
    clock: Arc<dyn Clock>,
    sink: Option<Arc<dyn InvalidationSink>>,
    source: Option<Box<dyn InvalidationSource>>,
}

impl<S> CachedStoreBuilder<S> {
    pub(super) fn new(store: S) -> Self {
        Self {
            store,
            capacity: 10_000,
            absent_capacity: 10_000,
            ages: Ages {
                alone: Duration::from_secs(5),
                connected: Duration::from_secs(60),
                absent: Duration::from_secs(1),
                outage: Duration::ZERO,
            },
            clock: Arc::new(SystemClock),
            sink: None,
            source: None,
        }
    }

    /// How many names to hold records for; 10 000 unless set, 0 for none. A key has one name, its identifier or its
    /// digest, whichever its clients are recognized by, and one more while two of its secrets are in use. Those that are
    /// used least go first. Rounded up to a multiple of a small power of two.
    pub fn capacity(self, names: usize) -> Self {
        Self { capacity: names, ..self }
    }

    /// How many unknown names to hold; 10 000 unless set. They take no room from those of keys. An unknown key counts
    /// once for each [pepper](crate::key::Peppers) in use.
    pub fn absent_capacity(self, names: usize) -> Self {
        Self { absent_capacity: names, ..self }
    }

    /// How long a record is good without a channel that reports changes; 5 seconds unless set. It counts from the
    /// moment at which the store was asked. Zero asks the store each time.
    pub fn max_age(self, age: Duration) -> Self {
        Self { ages: Ages { alone: age, ..self.ages }, ..self }
    }

    /// The same while a channel is up, in case that it loses a report or is lost without noticing; 60 seconds unless
    /// set.
    pub fn max_age_while_connected(self, age: Duration) -> Self {
        Self { ages: Ages { connected: age, ..self.ages }, ..self }
    }

    /// How long an unknown key stays unknown; 1 second unless set, and never longer than a record is good. This is
    /// also how late a key that was just made on another node may be known here.
    pub fn absent_max_age(self, age: Duration) -> Self {
        Self { ages: Ages { absent: age, ..self.ages }, ..self }
    }

    /// Lets keys be used while the store is [unavailable](crate::store::StoreErrorKind::Unavailable), until `age` after
    /// it was last read for them; not at all unless set, and at most for 30 seconds.
    ///
    /// A key that is revoked meanwhile by a node that does reach the store works here until then, unless a channel
    /// reports it. A key that expires meanwhile does not work, nor does one that was changed here. Each such request
    /// still asks the store first and waits for it to fail.
    pub fn use_during_outage(self, age: Duration) -> Self {
        let outage = age.min(MAX_OUTAGE);
        Self { ages: Ages { outage, ..self.ages }, ..self }
    }

    /// Tells the other nodes of each change made through this store, before the change is answered. For stores that do
    /// not do so themselves.
    ///
    /// If it can't be told, the change is made nevertheless and answered so, and an event of level `ERROR` says it
    /// (with the feature `tracing`). Other nodes then learn of it when what they hold reaches its greatest age. The same
    /// is so, without an event, if the future of a change is dropped before it ends.
    pub fn publish_to(self, sink: impl InvalidationSink) -> Self {
        Self { sink: Some(Arc::new(sink)), ..self }
    }

    /// Hears from `source` what other nodes change, as soon as the store's
    /// [background task](crate::store::KeyStore::background) runs: [`ApiKeys::background`](crate::ApiKeys::background)
    /// runs it. Without an assembly, [`CachedStore::follow`] does the same.
    pub fn follow(self, source: impl InvalidationSource) -> Self {
        Self { source: Some(Box::new(source)), ..self }
    }

    /// Reads the time from this clock; only its monotonic count matters here.
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// The store.
    #[must_use]
    pub fn build(self) -> CachedStore<S> {
        CachedStore(Arc::new(Shared {
            store: self.store,
            known: Arc::new(Known::new(self.capacity, self.absent_capacity, self.ages, self.clock)),
            loads: Arc::new(Loads::default()),
            sink: self.sink,
            source: Mutex::new(self.source),
        }))
    }
}

impl<S> fmt::Debug for CachedStoreBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStoreBuilder")
            .field("capacity", &self.capacity)
            .field("absent_capacity", &self.absent_capacity)
            .field("ages", &self.ages)
            .finish_non_exhaustive()
    }
}
