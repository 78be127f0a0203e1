//! How operations end: each is counted, and each failure is logged.

use super::settings::Settings;
use super::{Authority, KeyAction, ManageError};
use crate::key::KeyId;
use crate::log;
use crate::metrics;
use crate::rejection::ErrorKind;

impl Settings {
    /// Reports an operation without an authority: a one-time key is redeemed with its text alone, and only the operator searches all
    /// keys.
    pub(super) fn ended<T>(
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
        match error.kind() {
            // Logged with its audit event.
            ErrorKind::Forbidden => {}
            ErrorKind::Unavailable => {
                let suppressed = self.line.admit(self.clock.now().monotonic_nanos());
                log::management_unavailable(action.as_str(), key_id, error, suppressed);
            }
            // Not the text of the error, which may name what the client sent.
            kind => {
                let (owner, actor) = (authority.map(Authority::owner), authority.map(Authority::actor));
                log::management_failed(action.as_str(), kind.code(), key_id, owner, actor);
            }
        }
    }
}
