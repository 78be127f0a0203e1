use std::collections::HashSet;

use super::attempt::Change;
use super::{Authority, KeyAction, KeyManager, KeyView, ManageError};
use crate::key::{Actor, KeyId, KeyRecord, KeyState, Owner};
use crate::store::{KeyQuery, measured};

impl KeyManager {
    /// Revokes a key with all of its secrets for good. It stays in listings. A caller may revoke its own key.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), also for a key that is already revoked;
    /// [`Forbidden`](ManageError::Forbidden), [`Store`](ManageError::Store).
    pub async fn revoke(&self, authority: &Authority, id: &KeyId) -> Result<KeyView, ManageError> {
        self.ended(authority, KeyAction::Revoke, Some(id), self.try_revoke(authority, id).await)
    }

    pub(super) async fn try_revoke(&self, authority: &Authority, id: &KeyId) -> Result<KeyView, ManageError> {
        let attempt = self.begin(authority, KeyAction::Revoke, Some(*id))?;
        let at = attempt.now;
        attempt.change(|record| Ok(revoke(record, KeyState::Revoked { at }))).await
    }

    /// Revokes a key, and every key that was made with it, directly or with such a key, in whatever organization. The key may
    /// be revoked already. Returns those that this call has revoked, the key itself first.
    ///
    /// A creation that is in progress with one of these keys fails, or its key is revoked as well.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), [`Forbidden`](ManageError::Forbidden); [`Store`](ManageError::Store), and then
    /// some may be revoked: call it again.
    pub async fn revoke_with_descendants(
        &self,
        authority: &Authority,
        id: &KeyId,
    ) -> Result<Vec<KeyView>, ManageError> {
        let revoked = self.try_revoke_with_descendants(authority, id).await;
        self.ended(authority, KeyAction::Revoke, Some(id), revoked)
    }

    async fn try_revoke_with_descendants(
        &self,
        authority: &Authority,
        id: &KeyId,
    ) -> Result<Vec<KeyView>, ManageError> {
        let mut revoked = Vec::new();
        match self.try_revoke(authority, id).await {
            Ok(key) => revoked.push(key),
            // Not found, or revoked before; only of a key that the owner has are descendants revoked.
            Err(ManageError::NotFound) => {
                measured("get", self.settings().store.get(authority.owner(), id))
                    .await?
                    .ok_or(ManageError::NotFound)?;
            }
            Err(error) => return Err(error),
        }
        let mut seen = HashSet::from([*id]);
        let mut makers = vec![*id];
        while let Some(maker) = makers.pop() {
            for (owner, id) in self.made_with(maker).await? {
                if !seen.insert(id) {
                    continue;
                }
                makers.push(id);
                match self.try_revoke(&authority.for_owner(&owner), &id).await {
                    Ok(key) => revoked.push(key),
                    Err(ManageError::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(revoked)
    }

    /// The keys that were made with `key`.
    async fn made_with(&self, key: KeyId) -> Result<Vec<(Owner, KeyId)>, ManageError> {
        let mut query =
            KeyQuery { created_by: Some(Actor::Key(key)), limit: KeyQuery::MAX_LIMIT, ..KeyQuery::default() };
        let mut made = Vec::new();
        loop {
            let page = measured("list", self.settings().store.list(None, &query)).await?;
            made.extend(page.keys.iter().map(|record| (record.owner.clone(), record.id)));
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(made),
            }
        }
    }
}

fn revoke(record: &mut KeyRecord, state: KeyState) -> Change {
    (record.extras.previous, record.extras.next) = (None, None);
    record.state = state;
    Change::Store
}
