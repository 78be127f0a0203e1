use std::collections::HashSet;

use super::attempt::{Attempt, Change};
use super::{Authority, KeyAction, KeyManager, KeyView, ManageError};
use crate::key::{Actor, KeyId, KeyRecord, Owner, Tenant};
use crate::store::{KeyQuery, KeySelector};

impl KeyManager {
    /// Revokes a key with all of its secrets for good. It stays in listings. A caller may revoke its own key.
    ///
    /// A [key whose record can't be read](crate::store::BrokenKey) is revoked as well; `None` is returned, as there is
    /// nothing to show. If not even its owner can be read, it is revoked by the [operator](Authority::operator) or
    /// [staff](Authority::system) acting for the system, and becomes a key of the system.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), also for a key that is already revoked;
    /// [`Forbidden`](ManageError::Forbidden), [`Store`](ManageError::Store).
    pub async fn revoke(&self, authority: &Authority, id: &KeyId) -> Result<Option<KeyView>, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Revoke, Some(*id));
        attempt.end(attempt.revoke(None).await).await
    }

    /// Revokes a key, and every key that was made with it, directly or with such a key: for an organization its own keys, for
    /// the system those of whatever organization. The key may be revoked already. Returns those that this call has revoked and that can be read, the key itself first.
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
        let attempt = self.attempt(authority, KeyAction::Revoke, Some(*id));
        let result = async {
            let mut revoked = Vec::new();
            match attempt.revoke(None).await {
                Ok(key) => revoked.extend(key),
                // Not found, or revoked before; only of a key that the owner has are descendants revoked.
                Err(ManageError::NotFound) => match self.settings().get(authority.owner(), id).await {
                    Err(error) if error.broken_key().is_some() => {}
                    stored => drop(stored?.ok_or(ManageError::NotFound)?),
                },
                Err(error) => return Err(error),
            }
            let mut seen = HashSet::from([*id]);
            let mut makers = vec![*id];
            while let Some(maker) = makers.pop() {
                for (owner, id) in self.made_with(maker).await? {
                    if authority.owner().tenant != Tenant::System && owner.as_ref() != Some(authority.owner())
                    {
                        continue;
                    }
                    if !seen.insert(id) {
                        continue;
                    }
                    makers.push(id);
                    let authority = owner.map_or(authority.clone(), |owner| authority.for_owner(&owner));
                    match self.attempt(&authority, KeyAction::Revoke, Some(id)).revoke(None).await {
                        Ok(key) => revoked.extend(key),
                        Err(ManageError::NotFound) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(revoked)
        };
        attempt.end(result.await).await
    }

    /// The keys that were made with `key`. Without the owner of one whose owner can't be read.
    async fn made_with(&self, key: KeyId) -> Result<Vec<(Option<Owner>, KeyId)>, ManageError> {
        let mut query =
            KeyQuery { created_by: Some(Actor::Key(key)), limit: KeyQuery::MAX_LIMIT, ..KeyQuery::default() };
        let mut made = Vec::new();
        loop {
            let page = self.settings().list(None, &query).await?;
            made.extend(page.keys.iter().map(|record| (Some(record.owner.clone()), record.id)));
            made.extend(page.broken.into_iter().filter_map(|key| Some((key.owner, key.id?))));
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(made),
            }
        }
    }
}

impl Attempt<'_> {
    /// Revokes the key, if the caller may: of this version alone, if one is given. `None` for one whose record can't be read.
    pub(super) async fn revoke(&self, version: Option<u64>) -> Result<Option<KeyView>, ManageError> {
        self.permitted()?;
        let (settings, Some(id)) = (self.settings, self.key_id) else { return Err(ManageError::NotFound) };
        let (owner, at) = (self.authority.owner(), self.now);
        let revoke = |record: &mut KeyRecord| {
            if version.is_some_and(|version| version != record.version) {
                return Err(ManageError::Overtaken);
            }
            record.revoke(at);
            Ok(Change::Store)
        };
        match self.change(revoke).await {
            Err(ManageError::Store(error)) if error.broken_key().is_some() => {}
            Err(ManageError::NotFound) if self.has_no_owner(&id).await? => {}
            revoked => return revoked.map(Some),
        }
        let event = self.event();
        if !settings.store.revoke_unread(owner, &id, at, Some(&event)).await? {
            return Err(ManageError::NotFound);
        }
        settings.changed(&id);
        settings.done(&event);
        Ok(None)
    }

    /// Whether the owner of the key can't be read, and this is for the authority to mend.
    async fn has_no_owner(&self, id: &KeyId) -> Result<bool, ManageError> {
        if self.authority.bound().is_some() || self.authority.owner().tenant != Tenant::System {
            return Ok(false);
        }
        match self.settings.find(KeySelector::Id(id)).await {
            Ok(_) => Ok(false),
            Err(error) => match error.broken_key() {
                Some(broken) => Ok(broken.owner.is_none()),
                None => Err(error.into()),
            },
        }
    }
}
