use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::{Check, ErrorKind, Reason};
use crate::key::KeyId;

/// A rejected request: the reason and the key.
///
/// An error format gets it [with the error](super::ApiError::rejection). An outer layer finds it in the extensions of
/// the response, if the assembly [attaches it](crate::ApiKeysBuilder::attach_rejections).
#[derive(Clone, Debug)]
pub struct Rejection {
    reason: Reason,
    key_id: Option<KeyId>,
    challenges: Option<Arc<[HeaderValue]>>,
}

impl Rejection {
    pub(crate) fn new(reason: Reason) -> Self {
        Self { reason, key_id: None, challenges: None }
    }

    pub(crate) fn set_key_id(&mut self, key_id: Option<KeyId>) {
        self.key_id = key_id;
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
