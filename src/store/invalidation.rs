use async_trait::async_trait;

use super::StoreError;
use crate::key::KeyId;

/// Reports the changes of other nodes to a cache.
///
/// Events come in the order in which they happened: a change made after [`Connected`](Invalidation::Connected) was
/// returned is reported, or [`Disconnected`](Invalidation::Disconnected) is returned instead. A source reconnects by
/// itself, and never ends.
#[async_trait]
pub trait InvalidationSource: Send + 'static {
    /// Waits for the next event.
    async fn next(&mut self) -> Invalidation;
}

#[async_trait]
impl<S: InvalidationSource + ?Sized> InvalidationSource for Box<S> {
    async fn next(&mut self) -> Invalidation {
        (**self).next().await
    }
}

/// An event of an [`InvalidationSource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// This key was changed or deleted.
    Key(KeyId),
    /// The channel is up (again). Entries held so far may be out of date.
    Connected,
    /// The channel is lost: until `Connected`, changes may be missed.
    Disconnected,
}

/// Reports changes made here to other nodes' caches, for stores that do not do so themselves.
///
/// A store that reports a change in the transaction that makes it needs no sink. This is better, as no change can
/// then be made without being reported.
#[async_trait]
pub trait InvalidationSink: Send + Sync + 'static {
    /// Reports to all nodes that `id` was changed or deleted.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not be reported. The change is kept; see `CachedStoreBuilder::publish_to`.
    async fn publish(&self, id: &KeyId) -> Result<(), StoreError>;
}
