use std::time::Duration;

use super::attempt::{Attempt, Change};
use super::{Authority, CreatedKey, Forbidden, KeyAction, KeyManager, ManageError, rules};
use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord, KeyStatus, NextSecret};
use crate::rejection::Reason;
use crate::store::{StoreError, StoreErrorKind};

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
    /// would otherwise get its secret; [`Store`](ManageError::Store), also where the manager has no [`Peppers`](crate::key::Peppers) and
    /// the key has one, so that the new secret would be worth less, and unknown to the application;
    /// [`Randomness`](ManageError::Randomness).
    pub async fn rotate(
        &self,
        authority: &Authority,
        id: &KeyId,
        grace: Duration,
    ) -> Result<CreatedKey, ManageError> {
        self.rotate_with(authority, id, grace, None, at_once).await
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
        self.rotate_with(authority, id, grace, None, on_first_use).await
    }

    /// One of both, if this is still the [version](super::KeyView::version) of the key; otherwise
    /// [`Overtaken`](ManageError::Overtaken). A form that is sent twice rotates once.
    #[cfg(feature = "console")]
    pub(crate) async fn rotate_version(
        &self,
        authority: &Authority,
        id: &KeyId,
        version: u64,
        grace: Duration,
        waits_for_first_use: bool,
    ) -> Result<CreatedKey, ManageError> {
        let rotate = if waits_for_first_use { on_first_use } else { at_once };
        self.rotate_with(authority, id, grace, Some(version), rotate).await
    }

    async fn rotate_with(
        &self,
        authority: &Authority,
        id: &KeyId,
        grace: Duration,
        version: Option<u64>,
        rotate: impl Fn(&mut KeyRecord, NextSecret, Timestamp),
    ) -> Result<CreatedKey, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Rotate, Some(*id));
        attempt.end(self.rotate_in(&attempt, grace, version, rotate).await).await
    }

    async fn rotate_in(
        &self,
        attempt: &Attempt<'_>,
        grace: Duration,
        version: Option<u64>,
        rotate: impl Fn(&mut KeyRecord, NextSecret, Timestamp),
    ) -> Result<CreatedKey, ManageError> {
        attempt.permitted()?;
        let (authority, id) = (attempt.authority, attempt.key_id.ok_or(ManageError::NotFound)?);
        if grace > Self::MAX_GRACE {
            return Err(ManageError::invalid("grace", "must be at most 7 days"));
        }
        attempt.caller_is_still_valid().await?;
        let now = attempt.now;
        let made = self
            .settings()
            .format()
            .generate_with_id(authority.owner().mode, &id)
            .map_err(ManageError::Randomness)?;
        let text = made.secret.expose_secret();
        let (digest, hint) = (self.settings().peppers.digest(text), self.settings().format().hint(text));
        let secret = NextSecret { digest, hint, created_at: now, grace };
        let key = attempt
            .change(|record| {
                if version.is_some_and(|version| version != record.version) {
                    return Err(ManageError::Overtaken);
                }
                if KeyStatus::of(record, now) == KeyStatus::Expired {
                    return Err(ManageError::NotFound);
                }
                if attempt.is_own_and_ended(record) {
                    return Err(Forbidden::Ended.into());
                }
                rules::may_hand_out(authority, record)?;
                if self.settings().peppers.are_none() && record.digest.pepper_id().is_some() {
                    let missing = Reason::PepperMissing(record.digest.pepper_id());
                    return Err(StoreError::new(StoreErrorKind::Other).with_source(missing).into());
                }
                rotate(record, secret.clone(), now);
                Ok(Change::Store)
            })
            .await?;
        Ok(CreatedKey { key, secret: made.secret })
    }
}

fn at_once(record: &mut KeyRecord, secret: NextSecret, now: Timestamp) {
    record.put_in_use(secret, now);
}

fn on_first_use(record: &mut KeyRecord, secret: NextSecret, _: Timestamp) {
    record.extras.previous = None;
    record.extras.next = Some(Box::new(secret));
    record.forget_imported();
}
