use super::attempt::Change;
use super::{Authority, Forbidden, KeyAction, KeyChange, KeyManager, KeyView, ManageError, rules};
use crate::key::KeyId;
use crate::rejection::FieldError;

impl KeyManager {
    /// Changes a key in place; its secret stays. The next request with the key is decided by the changed one.
    ///
    /// A caller may always narrow a key: take scopes, end it sooner, lower a limit, restrict its addresses. A limit where the key
    /// had none of its own counts as a higher one, whatever that of the category. To widen it, the caller must hold every scope
    /// that the key gains, or all of the key's if it lasts longer, is valid sooner, has a higher limit or more addresses; and
    /// the changed key must not have a later end, higher limits or more addresses than the caller's own. A
    /// [maximum lifetime](Self::with_max_lifetime) counts from the creation of the key. Metadata are the operator's, unless
    /// [callers set them](Self::with_metadata_of_callers).
    ///
    /// ```
    /// # use tower_api_keys::key::KeyId;
    /// # use tower_api_keys::manage::{Authority, KeyChange, KeyManager, KeyView, ManageError};
    /// # async fn narrow(manager: KeyManager, operator: Authority, id: KeyId) -> Result<KeyView, ManageError> {
    /// manager.update(&operator, &id, KeyChange::new().scopes(["invoice:read"]).limit("read", 5_000)).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), also for a revoked key; [`Invalid`](ManageError::Invalid) if a new value is not
    /// valid; [`Overtaken`](ManageError::Overtaken) if the key has another version than the change is for;
    /// [`Forbidden`](ManageError::Forbidden) if the caller may not widen the key like this; [`Store`](ManageError::Store).
    pub async fn update(
        &self,
        authority: &Authority,
        id: &KeyId,
        change: KeyChange,
    ) -> Result<KeyView, ManageError> {
        self.ended(authority, KeyAction::Update, Some(id), self.try_update(authority, id, change).await)
    }

    async fn try_update(
        &self,
        authority: &Authority,
        id: &KeyId,
        change: KeyChange,
    ) -> Result<KeyView, ManageError> {
        let attempt = self.begin(authority, KeyAction::Update, Some(*id))?;
        attempt.caller_is_still_valid().await?;
        attempt
            .change(|record| {
                if change.version.is_some_and(|version| version != record.version) {
                    return Err(ManageError::Overtaken);
                }
                if attempt.is_own_and_ended(record) {
                    return Err(Forbidden::Ended.into());
                }
                let before = record.clone();
                let applied = change.apply(record);
                let lifetime = self.settings().max_lifetime;
                let latest_expiry = lifetime.map(|lifetime| before.created_at.saturating_add(lifetime));
                let grantable = self.settings().grantable.as_ref();
                let mut faults =
                    rules::change_faults(&change, &before, record, grantable, latest_expiry, attempt.now);
                faults.extend(applied.err().map(|_| FieldError::new("metadata", TOO_LONG)));
                if !faults.is_empty() {
                    return Err(ManageError::Invalid(faults));
                }
                rules::may_change(authority, &before, record)?;
                if record.extras.metadata != before.extras.metadata && !attempt.may_set_metadata() {
                    return Err(Forbidden::Metadata.into());
                }
                Ok(if *record == before { Change::Nothing } else { Change::Store })
            })
            .await
    }
}

const TOO_LONG: &str = "must be an object of at most 4096 bytes";
