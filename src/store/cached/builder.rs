use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::entries::{Ages, Entries};
use super::load::Loads;
use super::{CachedStore, Shared};
use crate::clock::{Clock, SystemClock};
use crate::log::OncePerSecond;
use crate::store::{GuardedStore, InvalidationSink, InvalidationSource};

/// Records that were read longer ago are not used during an outage.
const MAX_OUTAGE: Duration = Duration::from_secs(30);

/// Configures a [`CachedStore`].
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
                confirmed: Duration::from_secs(60),
                absent: Duration::from_secs(1),
                outage: Duration::ZERO,
            },
            clock: Arc::new(SystemClock),
            sink: None,
            source: None,
        }
    }

    /// The number of records to hold; default 10 000, 0 for none.
    ///
    /// A key takes one entry under the identifier or digest that its clients are recognized by, and a second one
    /// while two of its secrets are in use. The least used entries are evicted first. Rounded up to a multiple of a
    /// small power of two.
    pub fn capacity(self, names: usize) -> Self {
        Self { capacity: names, ..self }
    }

    /// The number of unknown identifiers and digests to hold; default 10 000. Negative entries never evict records.
    /// An unknown key takes one entry for each [pepper](crate::key::Peppers) in use.
    pub fn absent_capacity(self, names: usize) -> Self {
        Self { absent_capacity: names, ..self }
    }

    /// How long a record is valid since it was read, or since the store last said [what has
    /// changed](crate::store::KeyStore::changes); default 5 seconds. It counts from the start of the store's call. Zero asks
    /// the store each time. A change takes effect within this time, whatever else fails.
    pub fn max_age(self, age: Duration) -> Self {
        Self { ages: Ages { alone: age, ..self.ages }, ..self }
    }

    /// How long a record is valid at most while the store says each second [what has
    /// changed](crate::store::KeyStore::changes); default 60 seconds.
    pub fn max_age_while_confirmed(self, age: Duration) -> Self {
        Self { ages: Ages { confirmed: age, ..self.ages }, ..self }
    }

    /// How long an unknown key stays unknown; default 1 second, and never longer than a record is valid. A key that
    /// was just made on another node may be rejected here for this long.
    pub fn absent_max_age(self, age: Duration) -> Self {
        Self { ages: Ages { absent: age, ..self.ages }, ..self }
    }

    /// Accepts cached keys while the store is [unavailable](crate::store::StoreErrorKind::Unavailable), until `age`
    /// after their last read; off by default, at most 30 seconds.
    ///
    /// A key that another node revokes during the outage works here until then, unless a channel reports the
    /// revocation. A key that expires during the outage does not work, nor does one that was changed here. Each such
    /// request still asks the store first and waits for it to fail.
    pub fn use_during_outage(self, age: Duration) -> Self {
        let outage = age.min(MAX_OUTAGE);
        Self { ages: Ages { outage, ..self.ages }, ..self }
    }

    /// Reports each change made through this store to other nodes, before the change returns. For stores that do not
    /// do so themselves.
    ///
    /// If the report fails, the change is kept and returns success, and an event of level `ERROR` is logged, once a second at most
    /// (feature `tracing`). Other nodes then see the change when their entries reach the maximum age. The same holds, without
    /// an event, if the future of a change is dropped before it completes.
    pub fn publish_to(self, sink: impl InvalidationSink) -> Self {
        Self { sink: Some(Arc::new(sink)), ..self }
    }

    /// Follows the changes of other nodes from `source`, once the store's [background
    /// task](crate::store::KeyStore::background) runs: [`ApiKeys::background`](crate::ApiKeys::background) runs it.
    /// Without an assembly, use [`CachedStore::follow`].
    pub fn follow(self, source: impl InvalidationSource) -> Self {
        Self { source: Some(Box::new(source)), ..self }
    }

    /// Sets the clock; only its monotonic time is used.
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// The store.
    #[must_use]
    pub fn build(self) -> CachedStore<S> {
        CachedStore(Arc::new(Shared {
            store: GuardedStore::new(self.store),
            entries: Arc::new(Entries::new(self.capacity, self.absent_capacity, self.ages, self.clock)),
            loads: Arc::new(Loads::default()),
            sink: self.sink,
            line: OncePerSecond::default(),
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
