use std::borrow::Cow;

use super::settings::Settings;
use super::{AuditEvent, Authority, Forbidden, KeyAction, KeyView, ManageError, NewKey, rules};
use crate::clock::Timestamp;
use crate::identity::{Principal, SecretStatus};
use crate::key::{Digest, Extras, KeyId, KeyRecord, KeyState, KeyStatus, Metadata};
use crate::metrics;
use crate::scope::ScopeSet;
use crate::store::{StoreError, StoreErrorKind};

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
    /// Whether the caller has the scope for managing keys, with a secret that may.
    pub(super) fn permitted(&self) -> Result<(), ManageError> {
        let (settings, authority) = (self.settings, self.authority);
        let own = settings.scopes.iter().find(|(of, _)| *of == self.action).map(|(_, scope)| scope);
        let is_read = self.action == KeyAction::Read;
        let needed = own.unwrap_or(if is_read { &settings.read } else { &settings.write });
        if authority.person().is_some_and(|name| !rules::is_name(name)) {
            return Err(ManageError::invalid("operator", "must be a name of 1 to 100 characters"));
        }
        if let Some(fault) = authority.reason().and_then(|reason| self.reason_fault(reason)) {
            return Err(ManageError::invalid("reason", fault));
        }
        match authority.caller() {
            // A caller of the system reaches every organization, and no key of the other mode.
            Some(caller) if caller.mode() != authority.owner().mode => Err(ManageError::NotFound),
            Some(caller) if !needed.is_met_by(caller.scopes()) => {
                Err(Forbidden::ManagementScope(needed.clone()).into())
            }
            Some(caller) if !is_read && caller.secret_status() != SecretStatus::InUse => {
                Err(Forbidden::SecretRetired.into())
            }
            _ => Ok(()),
        }
    }

    /// Where a key was found may be the key itself, in a URL; an audit log keeps no secret.
    fn reason_fault(&self, reason: &str) -> Option<&'static str> {
        if !rules::is_reason(reason) {
            return Some(rules::field_faults::REASON_LENGTH);
        }
        (!self.settings.keys_in(reason).is_empty()).then_some(rules::field_faults::REASON_KEY)
    }

    /// Whether the caller's own key and its companion are still as they were when the request arrived. That may be
    /// long ago: a body can take any time to arrive. Otherwise a caller that expects a revocation or a removal of
    /// scopes could create its next key after it.
    pub(super) async fn caller_is_still_valid(&self) -> Result<(), ManageError> {
        let Some(caller) = self.authority.caller() else { return Ok(()) };
        let Some(own) = caller.record() else {
            // Of a session only the expiry is known.
            let is_over = caller.expires_at().is_some_and(|end| end <= self.now);
            return if is_over { Err(Forbidden::Ended.into()) } else { Ok(()) };
        };
        let companion = caller.companion().map(|companion| &companion.record);
        for own in [Some(own), companion].into_iter().flatten() {
            if !self.is_valid(own, caller.scopes()).await? {
                return Err(Forbidden::Ended.into());
            }
        }
        Ok(())
    }

    /// Whether the owner can have one more key.
    pub(super) async fn owner_has_room(&self) -> Result<(), ManageError> {
        match self.settings.store.count(self.authority.owner()).await? {
            count if count >= self.settings.max_keys => Err(Forbidden::TooManyKeys.into()),
            _ => Ok(()),
        }
    }

    /// Whether a record with the secret of `own` is stored and active, and still has all of `scopes`.
    async fn is_valid(&self, own: &KeyRecord, scopes: &ScopeSet) -> Result<bool, ManageError> {
        let stored = self.settings.get_own(own).await?;
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
        if key.is_disabled {
            record.state = KeyState::Disabled;
        }
        let extras = Extras {
            limits: rules::inherited_limits(self.authority, &key.limits),
            allowed_addresses: rules::inherited_addresses(self.authority, key.allowed_addresses),
            not_before: key.not_before,
            metadata: self.metadata_of_new(key.metadata)?,
            ..Extras::default()
        };
        record.extras = extras.into();
        record.set_created_by(Some(self.authority.actor()));
        rules::may_hand_out(self.authority, &record)?;
        Ok(record)
    }

    /// The metadata of a new key: those asked for, or those of the key that makes it.
    fn metadata_of_new(&self, requested: Option<Metadata>) -> Result<Option<Metadata>, ManageError> {
        match requested {
            Some(_) if !self.may_set_metadata() => Err(Forbidden::Metadata.into()),
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
            let stored = self.settings.get(self.authority.owner(), &id).await?;
            let stored = stored.ok_or(ManageError::NotFound)?;
            let mut record = KeyRecord::clone(&stored);
            if matches!(record.state, KeyState::Revoked { .. }) {
                return Err(ManageError::NotFound);
            }
            let change = change(&mut record)?;
            let mut view = KeyView::new(&record, self.now);
            if matches!(change, Change::Nothing) {
                return Ok(view);
            }
            view.version = record.version.wrapping_add(1);
            let event = AuditEvent { changed: changed_fields(&stored, &record), ..self.event() };
            match self.settings.store.replace(record, Some(&event)).await {
                Ok(()) => {
                    self.settings.changed(&id);
                    self.settings.done(&event);
                    return Ok(view);
                }
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// The event of the operation, if it is done.
    pub(super) fn event(&self) -> AuditEvent {
        let (owner, actor) = (self.authority.owner().clone(), self.authority.actor());
        let event = AuditEvent::new(self.action, owner, actor, self.now);
        AuditEvent { key_id: self.key_id, reason: self.authority.reason().cloned(), ..event }
    }

    /// Reports how the operation has ended.
    pub(super) async fn end<T>(&self, result: Result<T, ManageError>) -> Result<T, ManageError> {
        if result.is_ok() {
            metrics::managed(self.action.as_str(), self.authority.kind(), "done");
        }
        self.end_failed(result).await
    }

    /// Reports an operation that has failed. One that was forbidden, or that the store did not do, is audited; one that was not
    /// possible changes nothing, and is no event.
    pub(super) async fn end_failed<T>(&self, result: Result<T, ManageError>) -> Result<T, ManageError> {
        let Err(error) = &result else { return result };
        self.settings.failed(self.authority, self.action, self.key_id.as_ref(), error);
        let code = match error {
            ManageError::Forbidden(forbidden) => forbidden.code(),
            ManageError::Store(_) | ManageError::Randomness(_) => error.kind().code(),
            _ => return result,
        };
        let event = AuditEvent { outcome: Err(code.into()), ..self.event() };
        self.settings.refused(&event, error).await;
        result
    }
}

/// The names, as in JSON, of the fields that differ, of those that an update can change.
fn changed_fields(before: &KeyRecord, after: &KeyRecord) -> Vec<Cow<'static, str>> {
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
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.into()).collect()
}
