use crate::key::KeyId;

/// What has changed in a store, as [`KeyStore::changes`](super::KeyStore::changes) returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Where to go on from.
    pub mark: ChangeMark,
    /// The keys that were made, changed or deleted since the mark that was given; may have others, too. `None` if any key
    /// may have changed: no mark was given, or more has changed than the store remembers.
    pub keys: Option<Vec<KeyId>>,
}

/// A place in the history of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeMark {
    /// Which history, such as the timeline of a database server that has failed over; 0 if that is not known.
    pub history: u64,
    /// How far, in units of the store. Never lower than before in the same history.
    pub position: u64,
}

impl ChangeMark {
    /// Whether a store that is here has lost, or may have lost, changes that it had at `earlier`: it was restored from a
    /// backup, or its server has failed over.
    pub(crate) fn is_back_from(&self, earlier: &Self) -> bool {
        let is_other = self.history != earlier.history && self.history > 0 && earlier.history > 0;
        is_other || self.position < earlier.position
    }
}
