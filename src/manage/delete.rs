use super::attempt::Attempt;
use super::{Authority, KeyAction, KeyManager, ManageError};
use crate::key::KeyId;
#[cfg(feature = "cli")]
use crate::key::{KeyRecord, KeyState};

impl KeyManager {
    /// Removes a key from the store and from listings. If it is not revoked, it is revoked first. Its record need not be
    /// readable: see [`revoke`](Self::revoke).
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), [`Forbidden`](ManageError::Forbidden), [`Store`](ManageError::Store).
    pub async fn delete(&self, authority: &Authority, id: &KeyId) -> Result<(), ManageError> {
        let attempt = self.attempt(authority, KeyAction::Delete, Some(*id));
        let result = async {
            attempt.permitted()?;
            match self.attempt(authority, KeyAction::Revoke, Some(*id)).revoke(None).await {
                // Already revoked, or not found; the store's own result decides.
                Ok(_) | Err(ManageError::NotFound) => {}
                Err(error) => return Err(error),
            }
            attempt.remove(id).await
        };
        attempt.end(result.await).await
    }

    /// The same, unless the key was changed since `read` was read: [`Overtaken`](ManageError::Overtaken).
    #[cfg(feature = "cli")]
    pub(crate) async fn delete_unchanged(
        &self,
        authority: &Authority,
        read: &KeyRecord,
    ) -> Result<(), ManageError> {
        // Nothing changes a key that is revoked.
        if matches!(read.state, KeyState::Revoked { .. }) {
            return self.delete(authority, &read.id).await;
        }
        let attempt = self.attempt(authority, KeyAction::Delete, Some(read.id));
        let result = async {
            attempt.permitted()?;
            let revoke = self.attempt(authority, KeyAction::Revoke, Some(read.id));
            revoke.revoke(Some(read.version)).await?;
            attempt.remove(&read.id).await
        };
        attempt.end(result.await).await
    }
}

impl Attempt<'_> {
    async fn remove(&self, id: &KeyId) -> Result<(), ManageError> {
        let event = self.event();
        if !self.settings.store.delete(self.authority.owner(), id, Some(&event)).await? {
            return Err(ManageError::NotFound);
        }
        self.settings.changed(id);
        self.settings.done(&event);
        Ok(())
    }
}
