use super::{Authority, KeyAction, KeyManager, ManageError};
use crate::key::KeyId;
use crate::store::{AuditLog, History, HistoryQuery, StoreError, StoreErrorKind};

impl KeyManager {
    /// One page of what was done to a key, of what was forbidden and of what has failed, the newest first; also of a key that
    /// was deleted. Who may read the key may read it.
    ///
    /// ```
    /// # use tower_api_keys::key::KeyId;
    /// # use tower_api_keys::manage::{Authority, KeyManager, ManageError};
    /// use tower_api_keys::store::HistoryQuery;
    ///
    /// # async fn print(manager: KeyManager, authority: Authority, id: KeyId) -> Result<(), ManageError> {
    /// for event in manager.history(&authority, &id, &HistoryQuery::default()).await?.events {
    ///     println!("{} {} by {}", event.at, event.action, event.actor);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound) if the owner has no such key and never had; [`Forbidden`](ManageError::Forbidden);
    /// [`Store`](ManageError::Store), also if the store keeps [no audit log](crate::store::KeyAdministration::audit_log).
    pub async fn history(
        &self,
        authority: &Authority,
        id: &KeyId,
        query: &HistoryQuery,
    ) -> Result<History, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Read, Some(*id));
        let result = async {
            attempt.permitted()?;
            let page = self.audit_log()?.history(Some((authority.owner(), id)), query).await?;
            if page.events.is_empty() && query.before.is_none() {
                self.store().get(authority.owner(), id).await?.ok_or(ManageError::NotFound)?;
            }
            Ok(page)
        };
        attempt.end(result.await).await
    }

    /// One page of the events of all keys of all owners, the newest first: for the operator. Never expose it to callers.
    ///
    /// # Errors
    ///
    /// [`Store`](ManageError::Store), also if the store keeps no audit log.
    pub async fn history_of_all(&self, query: &HistoryQuery) -> Result<History, ManageError> {
        Ok(self.audit_log()?.history(None, query).await?)
    }

    fn audit_log(&self) -> Result<&dyn AuditLog, StoreError> {
        let missing = || StoreError::new(StoreErrorKind::Other).with_source("this store keeps no audit log");
        self.store().audit_log().ok_or_else(missing)
    }
}
