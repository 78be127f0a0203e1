use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::usage::{Usage, UsageBatch, UsageQuery};

/// Where a store keeps how often keys are [used](crate::usage): sums by owner, key, category, outcome and hour, and the same by
/// day.
///
/// See [`KeyAdministration::usage_log`](super::KeyAdministration::usage_log).
#[async_trait]
pub trait UsageLog: Send + Sync {
    /// Adds the entries of a batch, to their hours and to their days, and remembers its number as the last one of its process:
    /// all in one transaction.
    ///
    /// Does nothing if the process has added a batch with this number or a higher one. So a batch whose fate is not known can be
    /// added again. A process adds the next one only after `Ok`.
    ///
    /// A batch counts as made at most at the time of the store's own clock: else a process whose clock is ahead would make all
    /// others look ended.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it was not added, or may not have been.
    async fn add(&self, batch: &UsageBatch) -> Result<(), StoreError>;

    /// The rows with requests, by the rules of [`UsageQuery`]: at most `limit` of them, in any order. With
    /// [`as_of`](Usage::as_of), the earliest time at which a last batch was made, of the processes whose last batch was made at most
    /// three minutes before the last one of all. A store whose clock may have been set back leaves out what it has not reached.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot answer.
    async fn read(&self, query: &UsageQuery, limit: usize) -> Result<Usage, StoreError>;

    /// Deletes hours that began before `hours_before`, days that began before `days_before`, and what is remembered of processes
    /// that have added nothing since `days_before`. A few thousand rows at most: `true` if there may be more.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot delete them.
    async fn prune(&self, hours_before: Timestamp, days_before: Timestamp) -> Result<bool, StoreError>;
}
