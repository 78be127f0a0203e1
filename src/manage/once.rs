use super::{AuditEvent, Authority, CreatedKey, KeyAction, KeyManager, KeyView, ManageError, NewKey};
use crate::key::{HmacSha256, KeyId};
use crate::store::{HistoryQuery, StoreErrorKind};

impl KeyManager {
    /// [Creates](Self::create) a key whose identifier follows from `seed`. The store takes one key with an identifier, so a
    /// seed makes one key, however often and in whichever process it is used.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create). [`AlreadyExists`](ManageError::AlreadyExists) if the seed has made a key before, also one
    /// that was deleted since, as far as the audit log has it.
    pub(crate) async fn create_once(
        &self,
        authority: &Authority,
        key: NewKey,
        seed: &HmacSha256,
    ) -> Result<CreatedKey, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Create, None);
        let result = async {
            attempt.permitted()?;
            attempt.caller_is_still_valid().await?;
            attempt.owner_has_room().await?;
            let settings = self.settings();
            let id = self.id_of(seed);
            if self.has_history(authority, &id).await? {
                return Err(ManageError::AlreadyExists);
            }
            let made = settings.format().generate_with_id(authority.owner().mode, &id);
            let secret = made.map_err(ManageError::Randomness)?.secret;
            let record = self.record_of(&attempt, key, id, &secret)?;
            let view = KeyView::new(&record, attempt.now);
            let event = AuditEvent { key_id: Some(id), ..attempt.event() };
            match settings.store.insert(record, Some(&event)).await {
                Ok(()) => self.made(&attempt, &event, view, secret).await,
                Err(error) if error.kind() == StoreErrorKind::Conflict => Err(ManageError::AlreadyExists),
                Err(error) => Err(error.into()),
            }
        };
        attempt.end(result.await).await
    }

    /// The identifier of the key that [`create_once`](Self::create_once) makes of `seed`.
    pub(crate) fn id_of(&self, seed: &HmacSha256) -> KeyId {
        let settings = self.settings();
        match settings.format().id_length() {
            Some(length) => KeyId::derived("", length, seed),
            None => KeyId::derived(settings.id_prefix, 16, seed),
        }
    }

    async fn has_history(&self, authority: &Authority, id: &KeyId) -> Result<bool, ManageError> {
        let Some(log) = self.store().audit_log() else { return Ok(false) };
        let query = HistoryQuery { limit: 1, ..HistoryQuery::default() };
        Ok(!log.history(Some((authority.owner(), id)), &query).await?.events.is_empty())
    }
}
