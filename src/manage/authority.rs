use std::sync::Arc;

use crate::identity::{Principal, SystemPrincipal};
use crate::key::{Actor, Owner, Tenant};
#[cfg(feature = "console")]
use crate::scope::Scope;

/// The authority under which keys are managed; it determines whose keys.
///
/// It cannot be made without a caller: a request without a [`Principal`] has no authority.
#[derive(Clone, Debug)]
pub struct Authority {
    holder: Holder,
    reason: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
enum Holder {
    Principal(Principal),
    System(SystemPrincipal, Owner),
    Operator(Owner, Option<Arc<str>>),
}

impl Authority {
    /// The caller of a request. Every rule of the [module docs](crate::manage) applies.
    pub fn principal(principal: &Principal) -> Self {
        Holder::Principal(principal.clone()).into()
    }

    /// The application itself, acting for `owner`: to make the first key, from a command line, or from an
    /// administration page that has checked its user.
    ///
    /// Needs no scope and can grant every [grantable scope](super::KeyManager::with_grantable_scopes), but only to
    /// `owner`. Never make one from client input.
    pub fn operator(owner: Owner) -> Self {
        Holder::Operator(owner, None).into()
    }

    /// A caller of the system tier, such as a session of the application's staff, that manages the keys of `owner` as the
    /// [operator](Self::operator) does: what it grants is not bounded by what it holds.
    ///
    /// It needs the scopes for managing keys, as every caller does, and manages only keys of its own mode; of the other one
    /// there are none. Keys and audit events name it.
    ///
    /// ```
    /// use tower_api_keys::identity::SystemPrincipal;
    /// use tower_api_keys::manage::{Authority, KeyChange, KeyManager, KeyView, ManageError};
    ///
    /// async fn raise_limit(
    ///     staff: &SystemPrincipal,
    ///     keys: &KeyManager,
    ///     key: KeyView,
    /// ) -> Result<KeyView, ManageError> {
    ///     let authority = Authority::system(staff, key.owner);
    ///     keys.update(&authority, &key.id, KeyChange::new().limit("requests", 5_000)).await
    /// }
    /// ```
    pub fn system(caller: &SystemPrincipal, owner: Owner) -> Self {
        Holder::System(caller.clone(), owner).into()
    }

    /// Names the person on whose behalf the operator acts, for audit and for keys that are created: 1 to 100 characters, not
    /// all blank, no control characters. Nothing else depends on the name. Does nothing for the caller of a request.
    #[must_use]
    pub fn by(mut self, person: impl Into<Arc<str>>) -> Self {
        if let Holder::Operator(_, name) = &mut self.holder {
            *name = Some(person.into());
        }
        self
    }

    /// Says why, for the [audit](super::AuditEvent::reason): 1 to 500 characters, not all blank, no control characters, no key.
    /// Everyone who may read the key reads it, its owner as well. Nothing else depends on it.
    ///
    /// ```
    /// # use tower_api_keys::key::KeyId;
    /// # use tower_api_keys::manage::{Authority, KeyManager, ManageError};
    /// # async fn end(keys: &KeyManager, staff: Authority, leaked: &KeyId) -> Result<(), ManageError> {
    /// keys.revoke(&staff.because("ticket 4711: seen in a public log"), leaked).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn because(self, reason: impl Into<Arc<str>>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// The same for the keys of another owner that the caller's own reach. Staff do as an operator does with the keys of
    /// organizations; with those of the system they are bound by their own rights, so that none gains any.
    pub(crate) fn for_owner(&self, owner: &Owner) -> Self {
        let holder = match (&self.holder, &owner.tenant) {
            (Holder::Operator(_, person), _) => Holder::Operator(owner.clone(), person.clone()),
            (Holder::System(caller, _), Tenant::System) => Holder::Principal(caller.principal().clone()),
            (Holder::System(caller, _), _) => Holder::System(caller.clone(), owner.clone()),
            (Holder::Principal(principal), Tenant::Organization(organization))
                if principal.owner() != owner =>
            {
                Holder::Principal(principal.acting_for(organization.clone(), principal.role()))
            }
            (Holder::Principal(principal), _) => Holder::Principal(principal.clone()),
        };
        Self { holder, reason: self.reason.clone() }
    }

    /// The owner whose keys are managed.
    pub fn owner(&self) -> &Owner {
        match &self.holder {
            Holder::Principal(principal) => principal.owner(),
            Holder::System(_, owner) | Holder::Operator(owner, _) => owner,
        }
    }

    /// The caller that manages them.
    pub fn actor(&self) -> Actor {
        match &self.holder {
            Holder::Principal(caller) => actor(caller),
            Holder::System(caller, _) => actor(caller.principal()),
            Holder::Operator(_, person) => Actor::Operator(person.clone()),
        }
    }

    /// Whether the caller's own rights bound what it can grant.
    #[cfg(feature = "console")]
    pub(crate) fn is_bound(&self) -> bool {
        self.bound().is_some()
    }

    /// Whether it stands above all organizations.
    #[cfg(feature = "console")]
    pub(crate) fn is_of_system(&self) -> bool {
        !matches!(self.holder, Holder::Principal(_)) && self.owner().tenant == Tenant::System
    }

    /// Whether it can grant this scope, as far as its own scopes decide.
    #[cfg(feature = "console")]
    pub(crate) fn can_grant(&self, scope: &Scope) -> bool {
        self.bound().is_none_or(|own| own.has_scope(scope))
    }

    /// Why it is done.
    pub(super) fn reason(&self) -> Option<&Arc<str>> {
        self.reason.as_ref()
    }

    /// The kind of the actor, for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self.actor() {
            Actor::Key(_) => "key",
            Actor::Session(_) => "session",
            Actor::Operator(_) => "operator",
        }
    }

    /// The name of the person that the operator acts for.
    pub(super) fn person(&self) -> Option<&str> {
        match &self.holder {
            Holder::Operator(_, person) => person.as_deref(),
            Holder::Principal(_) | Holder::System(..) => None,
        }
    }

    /// The caller of a request, which needs scopes and has to be valid still; `None` for the operator.
    pub(super) fn caller(&self) -> Option<&Principal> {
        match &self.holder {
            Holder::Principal(principal) => Some(principal),
            Holder::System(caller, _) => Some(caller.principal()),
            Holder::Operator(..) => None,
        }
    }

    /// The caller whose rights limit what this authority can grant; `None` for the operator and those that act as one.
    pub(super) fn bound(&self) -> Option<&Principal> {
        match &self.holder {
            Holder::Principal(principal) => Some(principal),
            Holder::System(..) | Holder::Operator(..) => None,
        }
    }
}

impl From<Holder> for Authority {
    fn from(holder: Holder) -> Self {
        Self { holder, reason: None }
    }
}

fn actor(caller: &Principal) -> Actor {
    match caller.session() {
        Some(session) => Actor::Session(*session.id()),
        None => Actor::Key(*caller.key_id()),
    }
}
