use super::settings::Settings;
use super::{AuditEvent, Authority, Forbidden, KeyAction, KeyView, ManageError, NewKey, rules};
use crate::clock::Timestamp;
use crate::identity::Principal;
use crate::key::{Digest, Extras, KeyId, KeyRecord, KeyState, KeyStatus, Metadata};
use crate::scope::ScopeSet;
use crate::store::{StoreError, StoreErrorKind, measured};

/// How often a change is retried after losing a race. Each lost race means that another change was made.
pub(super) const MAX_ATTEMPTS: usize = 16;

/// One operation in progress: the caller, the key and the time.
pub(super) struct Attempt<'a> {
    pub(super) settings: &'a Settings,
    pub(super) authority: &'a Authority,
    pub(super) action: KeyAction,
    pub(super) key_id: Option<KeyId>,
    pub(super) now: Timestamp,
}

/// What to do with a record that was read.
pub(super) enum Change {
    Store,
    Nothing,
}

impl Attempt<'_> {
    /// Whether the caller's own key and its companion are still as they were when the request arrived. That may be
    /// long ago: a body can take any time to arrive. Otherwise a caller that expects a revocation or a removal of
    /// scopes could create its next key after it.
    pub(super) async fn caller_is_still_valid(&self) -> Result<(), ManageError> {
        let Some(caller) = self.authority.caller() else { return Ok(()) };
        let Some(own) = caller.record() else {
            // Of a session only the expiry is known.
            let is_over = caller.expires_at().is_some_and(|end| end <= self.now);
            return if is_over { Err(self.forbidden(Forbidden::Ended)) } else { Ok(()) };
        };
        let companion = caller.companion().map(|companion| &companion.record);
        for own in [Some(own), companion].into_iter().flatten() {
            if !self.is_valid(own, caller.scopes()).await? {
                return Err(self.forbidden(Forbidden::Ended));
            }
        }
        Ok(())
    }

    /// Whether the owner can have one more key.
    pub(super) async fn owner_has_room(&self) -> Result<(), ManageError> {
        match measured("count", self.settings.store.count(self.authority.owner())).await? {
            count if count >= self.settings.max_keys => Err(self.forbidden(Forbidden::TooManyKeys)),
            _ => Ok(()),
        }
    }

    /// Whether a record with the secret of `own` is stored and active, and still has all of `scopes`.
    async fn is_valid(&self, own: &KeyRecord, scopes: &ScopeSet) -> Result<bool, ManageError> {
        let callers = self.settings.callers.as_ref().unwrap_or(&self.settings.store);
        let stored = measured("get", callers.get(&own.owner, &own.id)).await?;
        Ok(stored.is_some_and(|stored| self.is_unchanged(own, &stored, scopes)))
    }

    fn is_unchanged(&self, own: &KeyRecord, stored: &KeyRecord, scopes: &ScopeSet) -> bool {
        KeyStatus::of(stored, self.now) == KeyStatus::Active
            && stored.secret_created_at == own.secret_created_at
            && scopes.is_subset_of(&stored.scopes)
    }

    /// Whether `stored` is the caller's own key, changed since
    /// [`caller_is_still_valid`](Self::caller_is_still_valid). When an owner replaces a leaked secret, the holder of
    /// the leaked one must not win the race.
    pub(super) fn is_own_and_ended(&self, stored: &KeyRecord) -> bool {
        let Some((caller, own)) = self.authority.caller().and_then(|caller| Some((caller, caller.record()?)))
        else {
            return false;
        };
        self.settings.callers.is_none()
            && own.id == stored.id
            && !self.is_unchanged(own, stored, caller.scopes())
    }

    /// The record of a new key, if the caller may make it.
    pub(super) fn new_record(
        &self,
        key: NewKey,
        id: KeyId,
        digest: Digest,
    ) -> Result<KeyRecord, ManageError> {
        let latest_expiry = self.settings.max_lifetime.map(|lifetime| self.now.saturating_add(lifetime));
        let faults = rules::faults(&key, self.settings.grantable.as_ref(), latest_expiry, self.now);
        if !faults.is_empty() {
            return Err(ManageError::Invalid(faults));
        }
        let own_expiry = rules::latest_expiry(self.authority);
        let mut record = KeyRecord::new(id, self.authority.owner().clone(), digest, self.now);
        record.expires_at = key.expires_at.or_else(|| rules::earlier(own_expiry, latest_expiry));
        record.name = key.name.into();
        record.scopes = key.scopes;
        let extras = Extras {
            limits: rules::inherited_limits(self.authority, &key.limits),
            allowed_addresses: rules::inherited_addresses(self.authority, key.allowed_addresses),
            not_before: key.not_before,
            metadata: self.metadata_of_new(key.metadata)?,
            ..Extras::default()
        };
        record.extras = extras.into();
        record.set_created_by(Some(self.authority.actor()));
        rules::may_hand_out(self.authority, &record).map_err(|forbidden| self.forbidden(forbidden))?;
        Ok(record)
    }

    /// The metadata of a new key: those asked for, or those of the key that makes it.
    fn metadata_of_new(&self, requested: Option<Metadata>) -> Result<Option<Metadata>, ManageError> {
        match requested {
            Some(_) if !self.may_set_metadata() => Err(self.forbidden(Forbidden::Metadata)),
            Some(requested) => Ok(Some(requested)),
            None => {
                let own = self.authority.bound().and_then(Principal::record);
                Ok(own.and_then(|own| own.extras.metadata.clone()))
            }
        }
    }

    pub(super) fn may_set_metadata(&self) -> bool {
        self.authority.bound().is_none() || self.settings.takes_metadata_of_callers
    }

    /// Changes a key that is not revoked, by compare-and-swap.
    pub(super) async fn change(
        &self,
        mut change: impl FnMut(&mut KeyRecord) -> Result<Change, ManageError>,
    ) -> Result<KeyView, ManageError> {
        let id = self.key_id.ok_or(ManageError::NotFound)?;
        for _ in 0..MAX_ATTEMPTS {
            let stored = measured("get", self.settings.store.get(self.authority.owner(), &id)).await?;
            let stored = stored.ok_or(ManageError::NotFound)?;
            let mut record = KeyRecord::clone(&stored);
            if matches!(record.state, KeyState::Revoked { .. }) {
                return Err(ManageError::NotFound);
            }
            let change = change(&mut record).map_err(|error| match error {
                ManageError::Forbidden(forbidden) => self.forbidden(forbidden),
                error => error,
            })?;
            let mut view = KeyView::new(&record, self.now);
            if matches!(change, Change::Nothing) {
                return Ok(view);
            }
            view.version = record.version.wrapping_add(1);
            let changed = changed_fields(&stored, &record);
            match measured("replace", self.settings.store.replace(record)).await {
                Ok(()) => {
                    self.settings.changed(&id);
                    self.audit(Ok(()), changed);
                    return Ok(view);
                }
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    pub(super) fn done(&self) {
        self.audit(Ok(()), Vec::new());
    }

    pub(super) fn forbidden(&self, forbidden: Forbidden) -> ManageError {
        self.audit(Err(forbidden.clone()), Vec::new());
        forbidden.into()
    }

    fn audit(&self, outcome: Result<(), Forbidden>, changed: Vec<&'static str>) {
        let event = AuditEvent {
            action: self.action,
            outcome,
            changed,
            key_id: self.key_id,
            owner: self.authority.owner().clone(),
            actor: self.authority.actor(),
            at: self.now,
        };
        self.settings.audit(&event);
    }
}

/// The names, as in JSON, of the fields that differ, of those that an update can change.
fn changed_fields(before: &KeyRecord, after: &KeyRecord) -> Vec<&'static str> {
    let (old, new) = (&before.extras, &after.extras);
    let fields = [
        ("name", before.name != after.name),
        ("scopes", before.scopes != after.scopes),
        ("notBefore", old.not_before != new.not_before),
        ("expiresAt", before.expires_at != after.expires_at),
        ("limits", old.limits != new.limits),
        ("allowedAddresses", old.allowed_addresses != new.allowed_addresses),
        ("metadata", old.metadata != new.metadata),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
