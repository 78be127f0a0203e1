use std::sync::Arc;

use super::{KeyAction, KeyManager, KeyView, ManageError};
use crate::key::{Digest, KeyId, KeyRecord};
use crate::store::{KeySelector, StoreError, StoreErrorKind, measured};

impl KeyManager {
    /// The key with this identifier, whatever its owner and state: for the operator, who has it from a log. Never expose it
    /// to callers.
    ///
    /// # Errors
    ///
    /// [`Store`](ManageError::Store).
    pub async fn find_by_id(&self, id: &KeyId) -> Result<Option<KeyView>, ManageError> {
        let now = self.settings().clock.now().timestamp();
        let found = measured("find", self.settings().store.find(KeySelector::Id(id))).await;
        let found = self.ended_unasked(KeyAction::Read, Some(id), found.map_err(ManageError::from))?;
        Ok(found.map(|record| KeyView::new(&record, now)))
    }

    /// The key that this text is or was a secret of, whatever its owner and state: for the operator, to find a key that has
    /// leaked. White space around it is ignored. Never expose it to callers.
    ///
    /// ```
    /// # use tower_api_keys::manage::{Authority, KeyManager, ManageError};
    /// # async fn leaked(manager: KeyManager, pasted: &str) -> Result<(), ManageError> {
    /// if let Some(key) = manager.find_by_text(pasted).await? {
    ///     manager.revoke_with_descendants(&Authority::operator(key.owner).by("ada"), &key.id).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Of old secrets only the one before is stored, until the next rotation or revocation; one that was replaced without a
    /// grace period is not. What is not stored is not found.
    ///
    /// # Errors
    ///
    /// [`Store`](ManageError::Store), also if a key that was [imported as a hash](Self::import_hash) could not be verified.
    pub async fn find_by_text(&self, text: &str) -> Result<Option<KeyView>, ManageError> {
        self.ended_unasked(KeyAction::Read, None, self.try_find_by_text(text).await)
    }

    async fn try_find_by_text(&self, text: &str) -> Result<Option<KeyView>, ManageError> {
        let settings = self.settings();
        let (text, now) = (text.trim(), settings.clock.now().timestamp());
        let digests = settings.peppers.digests(text);
        let found = match measured("find", settings.store.find(KeySelector::Digests(&digests))).await? {
            None => self.find_imported(text, digests[0]).await?,
            found => found,
        };
        Ok(found.map(|record| KeyView::new(&record, now)))
    }

    /// The key that was imported as a hash of this text.
    async fn find_imported(&self, text: &str, digest: Digest) -> Result<Option<Arc<KeyRecord>>, ManageError> {
        let settings = self.settings();
        let id = settings.parse(text).ok().and_then(|(_, parsed)| parsed.id);
        let (Some(id), Some(hashes)) = (id, &settings.imported_hashes) else { return Ok(None) };
        let Some(record) = measured("find", settings.store.find(KeySelector::Id(&id))).await? else {
            return Ok(None);
        };
        let Some(hash) = &record.extras.imported_hash else { return Ok(None) };
        match hashes.verify(hash, text, digest).await {
            Ok(is_right) => Ok(Some(record).filter(|_| is_right)),
            Err(error) => Err(StoreError::new(StoreErrorKind::Unavailable).with_source(error).into()),
        }
    }
}
