use async_trait::async_trait;

use super::StoreError;
use super::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::key::{KeyId, Owner};

/// Where a store keeps what was done to keys: the other half of the [changes](super::KeyAdministration) that come with an
/// event.
///
/// A store that has one writes the event of a change in the transaction of the change: both are there, or neither is. See
/// [`KeyAdministration::audit_log`](super::KeyAdministration::audit_log).
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Writes an event that comes with no change: an attempt that was forbidden or has failed.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it was not written, or may not have been.
    async fn record(&self, event: &AuditEvent) -> Result<(), StoreError>;

    /// One page of events, the newest first: of the key with this owner and identifier, or of all keys.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot answer.
    async fn history(
        &self,
        key: Option<(&Owner, &KeyId)>,
        query: &HistoryQuery,
    ) -> Result<History, StoreError>;

    /// The oldest events that were not [delivered](Self::delivered) yet, oldest first, at most 100, and none while another
    /// process delivers. From now on `process` does, until `until` or until it asks again.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot answer.
    async fn undelivered(
        &self,
        process: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<AuditEvent>, StoreError>;

    /// Remembers that the events with these numbers were delivered to the application.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if that was not stored; they will be delivered again then.
    async fn delivered(&self, numbers: &[u64]) -> Result<(), StoreError>;
}

/// Which events to read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HistoryQuery {
    /// Only events before the one with this number: the [`History::next`] of the previous page.
    pub before: Option<u64>,
    /// The maximum number of events, clamped to 1..=1000.
    pub limit: usize,
}

impl Default for HistoryQuery {
    /// The last hundred.
    fn default() -> Self {
        Self { before: None, limit: 100 }
    }
}

impl HistoryQuery {
    /// The largest page.
    pub const MAX_LIMIT: usize = 1000;

    /// The events of a page, of those that were read: up to one more than the limit.
    pub(super) fn page(&self, mut events: Vec<AuditEvent>) -> History {
        let more = events.len() > self.limit();
        events.truncate(self.limit());
        let next = events.last().filter(|_| more).and_then(|event| event.number);
        History { events, next }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.clamp(1, Self::MAX_LIMIT)
    }
}

/// One page of events.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct History {
    /// The events, newest first.
    pub events: Vec<AuditEvent>,
    /// Where the next page starts; `None` on the last page.
    pub next: Option<u64>,
}

/// How many events are delivered at a time.
pub(super) const DELIVERED_AT_ONCE: usize = 100;
