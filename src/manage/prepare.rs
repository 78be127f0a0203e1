use super::attempt::Attempt;
use super::{AuditEvent, Authority, CreatedKey, KeyAction, KeyManager, KeyView, ManageError, NewKey};
use crate::key::{KeyId, KeyRecord, SecretString};

/// A key that the application stores itself, in a transaction of its own: from [`KeyManager::prepare`].
///
/// Dropped before [`committed`](Self::committed) it is no key, and its secret is lost.
#[derive(Debug)]
#[must_use = "a prepared key is stored by the application, and its secret returned by `committed`"]
pub struct PreparedKey {
    manager: KeyManager,
    authority: Authority,
    record: KeyRecord,
    event: AuditEvent,
    secret: SecretString,
}

impl KeyManager {
    /// Prepares a key as [`create`](Self::create) makes it, for the application to store in a transaction of its own: so that
    /// an organization and its first key are there both or neither.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```no_run")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```text")]
    /// # use tower_api_keys::store::SqliteStore;
    /// # use tower_api_keys::manage::{Authority, CreatedKey, KeyManager, NewKey};
    /// # async fn sign_up(manager: &KeyManager, pool: &sqlx::SqlitePool, operator: &Authority)
    /// #     -> Result<CreatedKey, Box<dyn std::error::Error>> {
    /// let prepared = manager.prepare(operator, NewKey::new("First key").scope("invoice:read")).await?;
    /// let mut transaction = pool.begin().await?;
    /// sqlx::query("INSERT INTO organizations (name) VALUES ('acme')").execute(&mut *transaction).await?;
    /// SqliteStore::insert_in(&mut transaction, prepared.record(), Some(prepared.event())).await?;
    /// transaction.commit().await?;
    /// let key = prepared.committed().await?;
    /// # Ok(key)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn prepare(&self, authority: &Authority, key: NewKey) -> Result<PreparedKey, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Create, None);
        let result = async {
            attempt.permitted()?;
            attempt.caller_is_still_valid().await?;
            attempt.owner_has_room().await?;
            let (record, secret) = self.make(&attempt, key)?;
            let event = AuditEvent { key_id: Some(record.id), ..attempt.event() };
            Ok(PreparedKey { manager: self.clone(), authority: authority.clone(), record, event, secret })
        };
        attempt.end_failed(result.await).await
    }

    /// A new key that is not stored yet.
    pub(super) fn make(
        &self,
        attempt: &Attempt<'_>,
        key: NewKey,
    ) -> Result<(KeyRecord, SecretString), ManageError> {
        let settings = self.settings();
        let made =
            settings.format().generate(attempt.authority.owner().mode).map_err(ManageError::Randomness)?;
        let id = made.id.map_or_else(|| KeyId::random(settings.id_prefix), Ok);
        let id = id.map_err(ManageError::Randomness)?;
        Ok((self.record_of(attempt, key, id, &made.secret)?, made.secret))
    }

    pub(super) fn record_of(
        &self,
        attempt: &Attempt<'_>,
        key: NewKey,
        id: KeyId,
        secret: &SecretString,
    ) -> Result<KeyRecord, ManageError> {
        let (settings, text) = (self.settings(), secret.expose_secret());
        let mut record = attempt.new_record(key, id, settings.peppers.digest(text))?;
        record.hint = settings.format().hint(text).into();
        Ok(record)
    }

    /// Ends the creation of a key that is stored.
    pub(super) async fn made(
        &self,
        attempt: &Attempt<'_>,
        event: &AuditEvent,
        key: KeyView,
        secret: SecretString,
    ) -> Result<CreatedKey, ManageError> {
        self.settings().done(event);
        // A revocation of the caller's key with its descendants may have looked for them before this one was stored. Its
        // secret was not returned to anyone.
        if let Err(error) = attempt.caller_is_still_valid().await {
            let event = AuditEvent { action: KeyAction::Delete, ..event.clone() };
            if self.settings().store.delete(attempt.authority.owner(), &key.id, Some(&event)).await? {
                self.settings().done(&event);
            }
            return Err(error);
        }
        Ok(CreatedKey { key, secret })
    }
}

impl PreparedKey {
    /// What to store, with `insert_in` of a store.
    pub fn record(&self) -> &KeyRecord {
        &self.record
    }

    /// What to store with it: the event of its creation.
    pub fn event(&self) -> &AuditEvent {
        &self.event
    }

    /// The key with its secret, once the transaction that stores it is committed.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound) if it is not stored; [`Forbidden`](ManageError::Forbidden) if the caller's own key
    /// has ended meanwhile, in which case the new one is deleted; [`Store`](ManageError::Store).
    pub async fn committed(self) -> Result<CreatedKey, ManageError> {
        let Self { manager, authority, record, event, secret } = self;
        let attempt = manager.attempt(&authority, KeyAction::Create, None);
        let result = async {
            attempt.permitted()?;
            let stored = manager.settings().get(&record.owner, &record.id).await?;
            let stored =
                stored.filter(|stored| stored.digest == record.digest).ok_or(ManageError::NotFound)?;
            let view = KeyView::new(&stored, attempt.now);
            manager.made(&attempt, &event, view, secret).await
        };
        attempt.end(result.await).await
    }
}
