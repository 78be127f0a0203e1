//! How operations end: each is counted, and each failure is logged.

use super::{Authority, KeyAction, KeyManager, ManageError};
use crate::key::KeyId;
use crate::log;
use crate::metrics;
use crate::rejection::ErrorKind;

impl KeyManager {
    /// Reports an operation that has ended.
    pub(super) fn ended<T>(
        &self,
        authority: &Authority,
        action: KeyAction,
        key_id: Option<&KeyId>,
        result: Result<T, ManageError>,
    ) -> Result<T, ManageError> {
        match &result {
            Ok(_) => metrics::managed(action.as_str(), authority.kind(), "done"),
            Err(error) => self.failed(authority, action, key_id, error),
        }
        result
    }

    /// The same for one without an authority: whoever has a one-time key redeems it, and only the operator searches all keys.
    pub(super) fn ended_unasked<T>(
        &self,
        action: KeyAction,
        key_id: Option<&KeyId>,
        result: Result<T, ManageError>,
    ) -> Result<T, ManageError> {
        let actor = if action == KeyAction::Redeem { "key" } else { "operator" };
        let outcome = result.as_ref().map_or_else(|error| error.kind().code(), |_| "done");
        metrics::managed(action.as_str(), actor, outcome);
        if let Err(error) = &result {
            self.log_failure(None, action, key_id, error);
        }
        result
    }

    /// Reports an operation that has failed.
    pub(super) fn failed(
        &self,
        authority: &Authority,
        action: KeyAction,
        key_id: Option<&KeyId>,
        error: &ManageError,
    ) {
        metrics::managed(action.as_str(), authority.kind(), error.kind().code());
        self.log_failure(Some(authority), action, key_id, error);
    }

    fn log_failure(
        &self,
        authority: Option<&Authority>,
        action: KeyAction,
        key_id: Option<&KeyId>,
        error: &ManageError,
    ) {
        let code = error.kind().code();
        match error.kind() {
            // Logged with its audit event.
            ErrorKind::Forbidden => {}
            ErrorKind::Unavailable => {
                let now = self.settings().clock.now().monotonic_nanos();
                let suppressed = self.settings().line.admit(now);
                log::management_unavailable(action.as_str(), key_id, error, suppressed);
            }
            // Not the text of the error, which may name what the client sent.
            _ => {
                let (owner, actor) = (authority.map(Authority::owner), authority.map(Authority::actor));
                log::management_failed(action.as_str(), code, key_id, owner, actor);
            }
        }
    }
}
