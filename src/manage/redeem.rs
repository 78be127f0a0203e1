use super::attempt::MAX_ATTEMPTS;
use super::{AuditEvent, KeyAction, KeyManager, KeyView, ManageError};
use crate::key::{Actor, KeyRecord, KeyState, KeyStatus};
use crate::store::{KeySelector, StoreError, StoreErrorKind};

impl KeyManager {
    /// Uses a one-time key: revokes and removes it, and returns its properties. Of any number of concurrent calls
    /// with the same key exactly one succeeds.
    ///
    /// For links that open once. Their secret is all a caller needs, so such keys should have their own format and
    /// their own store, and expire soon:
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use tower_api_keys::clock::Timestamp;
    /// use tower_api_keys::key::{KeyFormat, Mode, Owner};
    /// use tower_api_keys::manage::{Authority, KeyManager, ManageError, NewKey};
    /// use tower_api_keys::scope::ScopeSet;
    /// use tower_api_keys::store::MemoryStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let links = KeyManager::new(MemoryStore::new(), KeyFormat::new("link_")?);
    /// let acme = Authority::operator(Owner::organization("acme".parse()?, Mode::Live));
    /// let mut link = NewKey::new("client_7");
    /// link.expires_at = Some(Timestamp::from(SystemTime::now()).saturating_add(Duration::from_secs(900)));
    /// let link = links.create(&acme, link).await?;
    ///
    /// let opened = links.redeem(link.secret.expose_secret()).await?;
    /// assert_eq!(opened.name, "client_7");
    /// let again = links.redeem(link.secret.expose_secret()).await;
    /// assert!(matches!(again, Err(ManageError::NotFound)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound) if the key is malformed, unknown, used, revoked, disabled, expired or not
    /// valid yet, which is not exposed to callers; [`Store`](ManageError::Store).
    pub async fn redeem(&self, secret: &str) -> Result<KeyView, ManageError> {
        self.settings().ended(KeyAction::Redeem, None, self.try_redeem(secret).await)
    }

    async fn try_redeem(&self, secret: &str) -> Result<KeyView, ManageError> {
        let settings = self.settings();
        let now = settings.clock.now().timestamp();
        let (_, parsed) = settings.parse(secret).map_err(|_| ManageError::NotFound)?;
        let digests = settings.peppers.candidates(secret);
        let selector = match &parsed.id {
            Some(id) => KeySelector::Id(id),
            None => KeySelector::Digests(&digests),
        };
        for _ in 0..MAX_ATTEMPTS {
            let found = settings.store.find(selector).await?.ok_or(ManageError::NotFound)?;
            let is_right = digests.iter().fold(false, |right, digest| right | digest.ct_eq(&found.digest));
            let is_of_mode = parsed.mode.is_none_or(|mode| mode == found.owner.mode);
            if !is_right || !is_of_mode || KeyStatus::of(&found, now) != KeyStatus::Active {
                return Err(ManageError::NotFound);
            }
            let mut ended = KeyRecord::clone(&found);
            ended.state = KeyState::Revoked { at: now };
            let actor = Actor::Key(found.id);
            let event = AuditEvent {
                key_id: Some(found.id),
                ..AuditEvent::new(KeyAction::Redeem, found.owner.clone(), actor, now)
            };
            match settings.store.replace(ended, Some(&event)).await {
                Ok(()) => {}
                // Another call was faster; read the record again.
                Err(error) if error.kind() == StoreErrorKind::Conflict => continue,
                Err(error) => return Err(error.into()),
            }
            // The key is already revoked. If the store fails now, it keeps a record that can no longer be used. That it is
            // removed is part of the event above.
            let _ = settings.store.delete(&found.owner, &found.id, None).await;
            settings.changed(&found.id);
            settings.done(&event);
            return Ok(KeyView::new(&found, now));
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }
}
