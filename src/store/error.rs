use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::BrokenKey;

/// A store operation failed.
///
/// Never means "no such key": a lookup that finds nothing succeeds with `None`. The message is for the application's
/// log; a client only learns that the service is unavailable. Clones share their cause, so that all requests that
/// wait for one lookup can report it.
#[derive(Clone)]
pub struct StoreError(
    // One pointer, so that the result of a lookup fits into two registers.
    Arc<Inner>,
);

struct Inner {
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kind of a [`StoreError`], by what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached, or did not answer in time. Trying again later may help.
    Unavailable,
    /// The key to insert already exists, or the record to replace was changed or deleted meanwhile. Read it again
    /// before trying again.
    Conflict,
    /// The stored data cannot be parsed. It needs manual repair. Where a single record is damaged,
    /// [`broken_key`](StoreError::broken_key) names it; other keys are not affected.
    Corrupt,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// A stable text for metrics: `unavailable`, `conflict`, `corrupt` or `other`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Other => "other",
        }
    }
}

impl StoreError {
    /// An error of this kind, without a cause.
    pub fn new(kind: StoreErrorKind) -> Self {
        Self(Arc::new(Inner { kind, source: None }))
    }

    /// Adds the cause of the error, which must not contain a secret.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::new(Inner { kind: self.kind(), source: Some(source.into()) }))
    }

    /// The kind of failure.
    pub fn kind(&self) -> StoreErrorKind {
        self.0.kind
    }

    /// The key whose record cannot be read, if that is what failed.
    pub fn broken_key(&self) -> Option<&BrokenKey> {
        self.0.source.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, source } = &*self.0;
        f.debug_struct("StoreError").field("kind", kind).field("source", source).finish()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind() {
            StoreErrorKind::Unavailable => "the key store is unavailable",
            StoreErrorKind::Conflict => "the key already exists, or was changed meanwhile",
            StoreErrorKind::Corrupt => "the key store holds data that cannot be parsed",
            StoreErrorKind::Other => "the key store failed",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
