//! The store of an assembly, as requests ask it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::rejection::Reason;
use crate::store::{KeySelector, KeyStore, Lookup, MemoryStore};

/// The store of an assembly.
pub(super) enum Lookups {
    /// Called directly: it neither waits nor runs code of the application.
    Memory(MemoryStore),
    Other(Arc<dyn KeyStore>),
}

impl Lookups {
    /// Asks the store. One that panics is answered like one that fails.
    #[inline]
    pub(super) fn find(&self, selector: KeySelector<'_>) -> Result<Lookup, Reason> {
        match self {
            Self::Memory(store) => Ok(store.find(selector)),
            Self::Other(store) => {
                catch_unwind(AssertUnwindSafe(|| store.find(selector))).map_err(|_| Reason::StorePanicked)
            }
        }
    }

    pub(super) fn store(&self) -> &dyn KeyStore {
        match self {
            Self::Memory(store) => store,
            Self::Other(store) => &**store,
        }
    }
}
