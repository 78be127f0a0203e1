use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A store could not do what it was asked.
///
/// Never means "no such key": a lookup that finds nothing is a success with nothing in it. The message is for
/// the host's log; a client only ever learns that the service is unavailable. Clones share their cause, so that all who
/// wait for one lookup can be told why it failed.
#[derive(Clone)]
pub struct StoreError(
    // One pointer, so that what a lookup answers fits into two registers.
    Arc<Inner>,
);

struct Inner {
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What kind of failure a [`StoreError`] is, by what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store can't be reached, or did not answer in time. Trying again later may help.
    Unavailable,
    /// An insert found the key there already, or a replace found that the record had changed or gone. Read again
    /// before trying again.
    Conflict,
    /// What is stored can't be understood. Somebody has to look at it.
    Corrupt,
    /// Anything else.
    Other,
}

impl StoreError {
    /// An error of this kind, without a cause.
    pub fn new(kind: StoreErrorKind) -> Self {
        Self(Arc::new(Inner { kind, source: None }))
    }

    /// Adds what caused the error, which must not contain a secret.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::new(Inner { kind: self.kind(), source: Some(source.into()) }))
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.0.kind
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
            StoreErrorKind::Conflict => "the key is already there, or has changed meanwhile",
            StoreErrorKind::Corrupt => "the key store holds something that can't be read",
            StoreErrorKind::Other => "the key store failed",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
