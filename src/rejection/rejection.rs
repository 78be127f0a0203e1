use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::{Check, ErrorKind, Reason};
use crate::key::{KeyId, KeyRecord};

/// A rejected request: the reason and the key.
///
/// An error format gets it [with the error](super::ApiError::rejection). An outer layer finds it in the extensions of
/// the response, if the assembly [attaches it](crate::ApiKeysBuilder::attach_rejections).
#[derive(Clone)]
pub struct Rejection {
    reason: Reason,
    key_id: Option<KeyId>,
    record: Option<Arc<KeyRecord>>,
    challenges: Option<Arc<[HeaderValue]>>,
}

impl Rejection {
    pub(crate) fn new(reason: Reason) -> Self {
        Self { reason, key_id: None, record: None, challenges: None }
    }

    pub(crate) fn set_key_id(&mut self, key_id: Option<KeyId>) {
        self.key_id = key_id;
    }

    /// Sets the key that was found.
    pub(crate) fn set_key(&mut self, record: Option<Arc<KeyRecord>>) {
        self.key_id = record.as_ref().map(|record| record.id);
        self.record = record;
    }

    /// The key, if its secret was right, and the key has ended or may not be used from there. A caller that only knows
    /// the identifier of a key is not its holder.
    pub(crate) fn refused_key(&self) -> Option<&KeyRecord> {
        let is_held = matches!(self.check(), Some(Check::State | Check::Address));
        self.record.as_deref().filter(|_| is_held)
    }

    pub(crate) fn with_challenges(self, challenges: Arc<[HeaderValue]>) -> Self {
        Self { challenges: Some(challenges), ..self }
    }

    pub(crate) fn challenges(&self) -> &[HeaderValue] {
        self.challenges.as_deref().unwrap_or_default()
    }

    /// The reason. For the application, not for clients.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The kind that clients see.
    pub fn kind(&self) -> ErrorKind {
        self.reason.kind()
    }

    /// The check that the request failed; `None` if the assembly is at fault.
    pub fn check(&self) -> Option<Check> {
        self.reason.check()
    }

    /// The key, if it was found before the rejection. For the application, not for clients.
    pub fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// How long the client should wait before it tries again, if waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.reason {
            Reason::RateLimited(limited) | Reason::Throttled(limited) => limited.retry_after,
            Reason::PepperMissing(_)
            | Reason::StoreFailed(_)
            | Reason::StorePanicked
            | Reason::VerifierBusy
            | Reason::VerifierPanicked
            | Reason::LimiterFailed(_) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

/// Without the record of the key.
impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("reason", &self.reason)
            .field("key_id", &self.key_id)
            .field("challenges", &self.challenges)
            .finish()
    }
}
