use std::time::Duration;

use super::attempt::Change;
use super::{Authority, CreatedKey, Forbidden, KeyAction, KeyManager, ManageError, rules};
use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord, KeyStatus, NextSecret};

impl KeyManager {
    /// Gives a key a new secret. The identifier stays. The old secret verifies for `grace` more, at most
    /// [`MAX_GRACE`](Self::MAX_GRACE), and never after the key expires. With zero it is rejected immediately.
    ///
    /// A previous secret still in its grace period stops working, and so does a [next
    /// secret](Self::rotate_on_first_use) that was never used: at most two secrets verify at a time. To replace a
    /// leaked key, use a grace of zero.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), also for an expired or revoked key; [`Invalid`](ManageError::Invalid) if
    /// `grace` is too long; [`Forbidden`](ManageError::Forbidden) also if the key may do more than the caller, who
    /// would otherwise get its secret; [`Store`](ManageError::Store), [`Randomness`](ManageError::Randomness).
    pub async fn rotate(
        &self,
        authority: &Authority,
        id: &KeyId,
        grace: Duration,
    ) -> Result<CreatedKey, ManageError> {
        self.rotate_with(authority, id, grace, |record, secret, now| record.put_in_use(secret, now)).await
    }

    /// Gives a key a new secret that comes into use when it is first used. Until then the old secret stays in use
    /// without a time limit; afterwards it verifies for `grace` more.
    ///
    /// For clients that cannot say when the new secret is deployed everywhere. A previous secret still in its grace
    /// period stops working, and so does a next secret that was never used: at most two verify at a time.
    ///
    /// # Errors
    ///
    /// Those of [`rotate`](Self::rotate).
    pub async fn rotate_on_first_use(
        &self,
        authority: &Authority,
        id: &KeyId,
        grace: Duration,
    ) -> Result<CreatedKey, ManageError> {
        let wait = |record: &mut KeyRecord, secret, _| {
            record.extras.previous = None;
            record.extras.next = Some(Box::new(secret));
            record.forget_imported();
        };
        self.rotate_with(authority, id, grace, wait).await
    }

    async fn rotate_with(
        &self,
        authority: &Authority,
        id: &KeyId,
        grace: Duration,
        rotate: impl Fn(&mut KeyRecord, NextSecret, Timestamp),
    ) -> Result<CreatedKey, ManageError> {
        let rotated = self.try_rotate(authority, id, grace, rotate).await;
        self.ended(authority, KeyAction::Rotate, Some(id), rotated)
    }

    async fn try_rotate(
        &self,
        authority: &Authority,
        id: &KeyId,
        grace: Duration,
        rotate: impl Fn(&mut KeyRecord, NextSecret, Timestamp),
    ) -> Result<CreatedKey, ManageError> {
        let attempt = self.begin(authority, KeyAction::Rotate, Some(*id))?;
        if grace > Self::MAX_GRACE {
            return Err(ManageError::invalid("grace", "must be at most 7 days"));
        }
        attempt.caller_is_still_valid().await?;
        let now = attempt.now;
        let made = self
            .settings()
            .format()
            .generate_with_id(authority.owner().mode, id)
            .map_err(ManageError::Randomness)?;
        let text = made.secret.expose_secret();
        let (digest, hint) = (self.settings().peppers.digest(text), self.settings().format().hint(text));
        let secret = NextSecret { digest, hint, created_at: now, grace };
        let key = attempt
            .change(|record| {
                if KeyStatus::of(record, now) == KeyStatus::Expired {
                    return Err(ManageError::NotFound);
                }
                if attempt.is_own_and_ended(record) {
                    return Err(Forbidden::Ended.into());
                }
                rules::may_hand_out(authority, record)?;
                rotate(record, secret.clone(), now);
                Ok(Change::Store)
            })
            .await?;
        Ok(CreatedKey { key, secret: made.secret })
    }
}
