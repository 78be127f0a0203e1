use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::StoreError;
use crate::key::{Digest, KeyId, KeyRecord};

/// What to look up a key by.
#[derive(Clone, Copy, Debug)]
pub enum KeySelector<'a> {
    /// By its public identifier.
    Id(&'a KeyId),
    /// By any of these digests, one for each algorithm that digests may have been made with. At most one key has any
    /// of them.
    Digests(&'a [Digest]),
}

/// A [`KeySelector`] that owns its values, for the future of a lookup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OwnedKeySelector {
    /// By its public identifier.
    Id(KeyId),
    /// By any of these digests.
    Digests(Box<[Digest]>),
}

impl KeySelector<'_> {
    /// The same selector for a future that outlives the call.
    pub fn to_owned(self) -> OwnedKeySelector {
        match self {
            Self::Id(id) => OwnedKeySelector::Id(*id),
            Self::Digests(digests) => OwnedKeySelector::Digests(digests.into()),
        }
    }
}

impl OwnedKeySelector {
    /// The selector, borrowed.
    pub fn borrow(&self) -> KeySelector<'_> {
        match self {
            Self::Id(id) => KeySelector::Id(id),
            Self::Digests(digests) => KeySelector::Digests(digests),
        }
    }
}

/// The result of a lookup: the key, or `None` if there is none.
pub(crate) type FindResult = Result<Option<Arc<KeyRecord>>, StoreError>;

/// The lookup of one key: completed or pending.
///
/// A store that has the answer returns it with [`ready`](Self::ready), which allocates nothing. A store that has to
/// wait returns a future with [`pending`](Self::pending). Both can be awaited.
#[must_use = "a lookup that is not awaited does nothing"]
pub struct Lookup(State);

enum State {
    Ready(Option<FindResult>),
    Pending(PendingLookup),
}

/// The future of a lookup that has to wait.
pub(crate) type PendingLookup = Pin<Box<dyn Future<Output = FindResult> + Send>>;

impl Lookup {
    /// The answer: the key, or `None` if there is none.
    #[inline]
    pub fn ready(found: Result<Option<Arc<KeyRecord>>, StoreError>) -> Self {
        Self(State::Ready(Some(found)))
    }

    /// A future that finds the answer. It must own its data, since it moves to the request that waits for it: clone
    /// the database handle, and convert the selector with [`to_owned`](KeySelector::to_owned).
    pub fn pending(
        find: impl Future<Output = Result<Option<Arc<KeyRecord>>, StoreError>> + Send + 'static,
    ) -> Self {
        Self(State::Pending(Box::pin(find)))
    }

    /// Restores a lookup that was [split](Self::split).
    pub(crate) fn of(split: Result<FindResult, PendingLookup>) -> Self {
        Self(match split {
            Ok(found) => State::Ready(Some(found)),
            Err(find) => State::Pending(find),
        })
    }

    /// The answer, or the future that finds it.
    #[inline]
    pub(crate) fn split(self) -> Result<FindResult, PendingLookup> {
        match self.0 {
            State::Ready(found) => Ok(found.expect("a lookup that was awaited has moved")),
            State::Pending(find) => Err(find),
        }
    }
}

impl Future for Lookup {
    type Output = FindResult;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<FindResult> {
        match &mut self.0 {
            State::Ready(found) => Poll::Ready(found.take().expect("`Lookup` polled after completion")),
            State::Pending(find) => find.as_mut().poll(context),
        }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Ready(_) => "Lookup::Ready",
            State::Pending(_) => "Lookup::Pending",
        })
    }
}
