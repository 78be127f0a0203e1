use super::UsageCounts;
use crate::clock::Timestamp;
use crate::key::{KeyId, Owner};

/// What one process has counted since its last batch. Made by the assembly, for a
/// [`UsageLog`](crate::store::UsageLog) to add.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UsageBatch {
    /// The process, by a random name.
    pub process: KeyId,
    /// Its number, one more than that of the batch before. The first one is 1.
    pub number: u64,
    /// When it was made, by the clock of the process: everything that it had counted until then is in it or in a batch before.
    pub made_at: Timestamp,
    /// Ordered by owner, key, category and hour, none of which is there twice together.
    pub entries: Vec<UsageEntry>,
}

/// Requests of one key, in one hour and category.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageEntry {
    /// The owner of the key.
    pub owner: Owner,
    /// The key.
    pub key_id: KeyId,
    /// The category of a limit; the empty text if no limit counts the requests.
    pub category: String,
    /// The beginning of the hour, in UTC, in which the requests arrived.
    pub hour: Timestamp,
    /// How many requests.
    pub counts: UsageCounts,
}

impl UsageEntry {
    /// For a store that is tested, or that reads entries.
    pub fn new(owner: Owner, key_id: KeyId, category: String, hour: Timestamp, counts: UsageCounts) -> Self {
        Self { owner, key_id, category, hour, counts }
    }
}

impl UsageBatch {
    /// For a store that is tested.
    pub fn new(process: KeyId, number: u64, made_at: Timestamp, entries: Vec<UsageEntry>) -> Self {
        Self { process, number, made_at, entries }
    }
}
