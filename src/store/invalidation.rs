use async_trait::async_trait;

use super::StoreError;
use crate::key::KeyId;

/// Tells a cache what other nodes have changed.
///
/// An event must come in the order in which things happened: a change that is made after
/// [`Connected`](Invalidation::Connected) was returned is reported, or else
/// [`Disconnected`](Invalidation::Disconnected) is. A source connects again by itself, and never ends.
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

/// What an [`InvalidationSource`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// This key was changed or deleted.
    Key(KeyId),
    /// The channel is up (again). What was held before may be out of date.
    Connected,
    /// The channel is lost: until `Connected`, changes may be missed.
    Disconnected,
}

/// Tells other nodes' caches that a key was changed here, for stores that do not do so themselves.
///
/// A store that reports a change in the transaction that makes it needs none, and is better: there, no change can be
/// made without being reported.
#[async_trait]
pub trait InvalidationSink: Send + Sync + 'static {
    /// Tells all nodes that `id` was changed or deleted.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not be told. The change stays made; `CachedStoreBuilder::publish_to` says what comes
    /// of it.
    async fn publish(&self, id: &KeyId) -> Result<(), StoreError>;
}
