use super::{Authority, KeyAction, KeyManager, ManageError};
use crate::key::KeyId;

impl KeyManager {
    /// Notes in the history of a key that it was found where others can read it, such as in a public repository. [Say
    /// where](Authority::because). Nothing of the key is changed: [revoke](Self::revoke) it or [rotate](Self::rotate) it.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), [`Forbidden`](ManageError::Forbidden); [`Invalid`](ManageError::Invalid) for a reason
    /// that is none; [`Store`](ManageError::Store).
    pub async fn report_leak(&self, authority: &Authority, id: &KeyId) -> Result<(), ManageError> {
        let attempt = self.attempt(authority, KeyAction::ReportLeak, Some(*id));
        let result = async {
            attempt.permitted()?;
            match self.settings().get(authority.owner(), id).await {
                Err(error) if error.broken_key().is_some() => {}
                stored => drop(stored?.ok_or(ManageError::NotFound)?),
            }
            let event = attempt.event();
            if let Some(log) = self.store().audit_log() {
                log.record(&event).await?;
            }
            self.settings().done(&event);
            Ok(())
        };
        attempt.end(result.await).await
    }
}
