use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "axum")]
use super::Authority;
use super::{KeyAction, KeyManager, KeyView, ManageError};
use crate::key::{Digest, KeyId, KeyRecord, KeyStatus, Mode};
use crate::log;
use crate::store::{KeySelector, StoreError, StoreErrorKind};
use crate::timer::sleep;

/// The time before a store that is not available is asked again.
const RETRY: Duration = Duration::from_secs(10);

impl KeyManager {
    /// The key with this identifier, whatever its owner and state: for the operator, who has it from a log. Never expose it
    /// to callers.
    ///
    /// # Errors
    ///
    /// [`Store`](ManageError::Store).
    pub async fn find_by_id(&self, id: &KeyId) -> Result<Option<KeyView>, ManageError> {
        let now = self.settings().clock.now().timestamp();
        let found = self.settings().find(KeySelector::Id(id)).await.map_err(ManageError::from);
        let found = self.settings().ended(KeyAction::Read, Some(id), found)?;
        Ok(found.map(|record| KeyView::new(&record, now)))
    }

    /// The authority of `staff` over the key with this identifier, whatever its owner, in its own mode: that over the keys of
    /// its owner. A key whose owner can't be read counts as one of the system.
    #[cfg(feature = "axum")]
    pub(crate) async fn reach(
        &self,
        staff: &Authority,
        action: KeyAction,
        id: &KeyId,
    ) -> Result<Authority, ManageError> {
        let owner = match self.find_by_id(id).await {
            Ok(found) => found.map(|key| key.owner),
            Err(ManageError::Store(error)) => match error.broken_key() {
                Some(broken) if broken.owner.is_none() => return Ok(staff.clone()),
                Some(broken) => broken.owner.clone(),
                None => return Err(error.into()),
            },
            Err(error) => return Err(error),
        };
        match owner.filter(|owner| owner.mode == staff.owner().mode) {
            Some(owner) => Ok(staff.for_owner(&owner)),
            None => {
                let error = ManageError::NotFound;
                self.settings().failed(staff, action, Some(id), &error);
                Err(error)
            }
        }
    }

    /// The key that this text is or was a secret of, whatever its owner and state: for the operator, to find a key that has
    /// leaked. Other text may be around it, such as the name of a variable; of several keys one that is known is found. Never
    /// expose it to callers.
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
        self.settings().ended(KeyAction::Read, None, self.look_for_text(text).await)
    }

    async fn look_for_text(&self, text: &str) -> Result<Option<KeyView>, ManageError> {
        let (whole, now) = (text.trim(), self.settings().clock.now().timestamp());
        // The whole text first: it may be a key without a prefix, which is not found in other text.
        let inside = self.settings().keys_in(text).into_iter().filter(|key| *key != whole);
        for text in std::iter::once(whole).chain(inside) {
            if let Some(record) = self.find_secret(text).await? {
                return Ok(Some(KeyView::new(&record, now)));
            }
        }
        Ok(None)
    }

    /// The keys in a text, for [`find_by_text`](Self::find_by_text) one by one; the whole text if there is none in it.
    #[cfg(any(feature = "cli", feature = "console"))]
    pub(crate) fn keys_in<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let keys = self.settings().keys_in(text);
        if keys.is_empty() { vec![text.trim()] } else { keys }
    }

    async fn find_secret(&self, text: &str) -> Result<Option<Arc<KeyRecord>>, ManageError> {
        let digests = self.settings().peppers.digests(text);
        match self.settings().find(KeySelector::Digests(&digests)).await? {
            None => self.find_imported(text, digests[0]).await,
            found => Ok(found),
        }
    }

    /// How many keys need each of the [peppers](crate::key::Peppers), by its identifier, to verify now or later; `None` is
    /// for keys without one: which peppers can be [retired](crate::key::Peppers#replacing-a-pepper), and which must not be
    /// missing. A key whose secrets have different peppers is counted for each. Revoked keys are not counted.
    ///
    /// ```
    /// use tower_api_keys::key::{KeyFormat, Peppers, SecretString};
    /// use tower_api_keys::manage::{KeyManager, NewKey};
    /// use tower_api_keys::store::MemoryStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pepper = SecretString::from("a pepper of thirty-two bytes, or more");
    /// let manager = KeyManager::new(MemoryStore::new(), KeyFormat::new("wfk_")?);
    /// manager.create_for("acme", NewKey::new("Older")).await?;
    /// let manager = manager.with_peppers(Peppers::new(1, pepper)?.accept_unpeppered());
    /// manager.create_for("acme", NewKey::new("Newer")).await?;
    /// assert_eq!(manager.peppers_in_use().await?, [(None, 1), (Some(1), 1)].into());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Store`](ManageError::Store).
    pub async fn peppers_in_use(&self) -> Result<BTreeMap<Option<u32>, u64>, ManageError> {
        let now = self.settings().clock.now().timestamp();
        Ok(self.settings().store.peppers_in_use(now).await?)
    }

    /// How many keys there are of each mode and [status](KeyStatus). Those that can't be read are not counted. A database looks
    /// at every key for it.
    ///
    /// # Errors
    ///
    /// [`Store`](ManageError::Store).
    pub async fn count_by_status(&self) -> Result<BTreeMap<(Mode, KeyStatus), u64>, ManageError> {
        let now = self.settings().clock.now().timestamp();
        Ok(self.settings().store.count_by_status(now).await?)
    }

    /// Says once, for a process that starts, which peppers keys need and are missing. Waits for a store that is not
    /// available yet.
    pub(crate) async fn report_missing_peppers(self) {
        loop {
            match self.peppers_in_use().await {
                Ok(counts) => {
                    let is_missing =
                        |(pepper, _): &(Option<u32>, u64)| !self.settings().peppers.accepts(*pepper);
                    let missing = counts.into_iter().filter(is_missing);
                    return missing.for_each(|(pepper, keys)| log::pepper_missing(pepper, keys));
                }
                Err(ManageError::Store(error)) if error.kind() == StoreErrorKind::Unavailable => {
                    sleep(RETRY).await;
                }
                Err(_) => return,
            }
        }
    }

    /// The key that was imported as a hash of this text.
    async fn find_imported(&self, text: &str, digest: Digest) -> Result<Option<Arc<KeyRecord>>, ManageError> {
        let settings = self.settings();
        let id = settings.parse(text).ok().and_then(|(_, parsed)| parsed.id);
        let (Some(id), Some(hashes)) = (id, &settings.imported_hashes) else { return Ok(None) };
        let Some(record) = settings.find(KeySelector::Id(&id)).await? else { return Ok(None) };
        let Some(hash) = &record.extras.imported_hash else { return Ok(None) };
        match hashes.verify(hash, text, digest).await {
            Ok(is_right) => Ok(Some(record).filter(|_| is_right)),
            Err(error) => Err(StoreError::new(StoreErrorKind::Unavailable).with_source(error).into()),
        }
    }
}
