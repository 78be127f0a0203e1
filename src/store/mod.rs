//! Where keys are kept: the traits, the store in memory, and the suite that every store must pass.
//!
//! A store has two faces. [`KeyStore`] is the one that each request meets: a single look-up. [`KeyAdministration`]
//! is the one that [`KeyManager`](crate::manage::KeyManager) works with: insert, list, replace, delete. Both are
//! usable as `dyn`, are implemented for `Arc`s of what implements them, and are written with `async fn` under
//! [`async_trait`](macro@async_trait).
//!
//! A store decides nothing. It returns what it holds, revoked and expired keys too, and the layer judges.
//!
//! To write one, implement both traits and run [`conformance::check`] on it in a test.

mod administration;
pub mod conformance;
mod error;
mod memory;

use std::sync::Arc;
use std::task::Poll;

pub use administration::{Cursor, InvalidCursor, KeyAdministration, KeyPage, KeyQuery};
use async_trait::async_trait;
pub use error::{StoreError, StoreErrorKind};
pub use memory::MemoryStore;

use crate::key::{Digest, KeyId, KeyRecord};

/// How a request names the key it presents.
#[derive(Clone, Copy, Debug)]
pub enum KeySelector<'a> {
    /// By the public identifier in the key's text.
    Id(&'a KeyId),
    /// By the digest of the key: the record whose current or previous secret has any one of these digests.
    ///
    /// One for each pepper in use, the current first; so at most one look-up finds a key whichever pepper it was
    /// stored under.
    Digests(&'a [Digest]),
}

/// What a look-up answers: the record, or that there is none, or that the store can't say.
pub type FindResult = Result<Option<Arc<KeyRecord>>, StoreError>;

/// The look-up that each request with a well-formed credential makes, once.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Answers at once if that takes no waiting: from memory, from a cache.
    ///
    /// [`Poll::Pending`] means "ask [`find`](Self::find)"; no waker is involved. An answer given here costs the
    /// request no allocation, which is why the layer always asks here first.
    fn find_now(&self, selector: KeySelector<'_>) -> Poll<FindResult> {
        let _ = selector;
        Poll::Pending
    }

    /// The record that `selector` names, whatever its state, or `None`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store can't tell. The request is then answered 503: an error is never taken for
    /// "no such key".
    async fn find(&self, selector: KeySelector<'_>) -> FindResult;

    /// Replaces the digest `old` of key `id` by `new`, a digest of the same secret under the current pepper.
    ///
    /// Called after a key verified under a pepper that is no longer the current one. Must change nothing if the
    /// key no longer holds `old`. A store that can't write keeps the default, which does nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not be written; the request goes on, and the next one tries again.
    async fn replace_digest(&self, id: &KeyId, old: &Digest, new: &Digest) -> Result<(), StoreError> {
        let _ = (id, old, new);
        Ok(())
    }
}

#[async_trait]
impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    fn find_now(&self, selector: KeySelector<'_>) -> Poll<FindResult> {
        (**self).find_now(selector)
    }

    async fn find(&self, selector: KeySelector<'_>) -> FindResult {
        (**self).find(selector).await
    }

    async fn replace_digest(&self, id: &KeyId, old: &Digest, new: &Digest) -> Result<(), StoreError> {
        (**self).replace_digest(id, old, new).await
    }
}
