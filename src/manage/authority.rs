use std::sync::Arc;

use crate::identity::Principal;
use crate::key::{Actor, Owner, Tenant};

/// The authority under which keys are managed; it determines whose keys.
///
/// It cannot be made without a caller: a request without a [`Principal`] has no authority.
#[derive(Clone, Debug)]
pub struct Authority(Holder);

#[derive(Clone, Debug)]
enum Holder {
    Principal(Principal),
    Operator(Owner, Option<Arc<str>>),
}

impl Authority {
    /// The caller of a request. Every rule of the [module docs](crate::manage) applies.
    pub fn principal(principal: &Principal) -> Self {
        Self(Holder::Principal(principal.clone()))
    }

    /// The application itself, acting for `owner`: to make the first key, from a command line, or from an
    /// administration page that has checked its user.
    ///
    /// Needs no scope and can grant every [grantable scope](super::KeyManager::with_grantable_scopes), but only to
    /// `owner`. Never make one from client input.
    pub fn operator(owner: Owner) -> Self {
        Self(Holder::Operator(owner, None))
    }

    /// Names the person on whose behalf the operator acts, for audit and for keys that are created: 1 to 100 characters, not
    /// all blank, no control characters. Nothing else depends on the name. Does nothing for the caller of a request.
    #[must_use]
    pub fn by(self, person: impl Into<Arc<str>>) -> Self {
        match self.0 {
            Holder::Operator(owner, _) => Self(Holder::Operator(owner, Some(person.into()))),
            holder => Self(holder),
        }
    }

    /// The same for the keys of another owner that the caller's own reach.
    pub(super) fn for_owner(&self, owner: &Owner) -> Self {
        Self(match (&self.0, &owner.tenant) {
            (Holder::Operator(_, person), _) => Holder::Operator(owner.clone(), person.clone()),
            (Holder::Principal(principal), Tenant::Organization(organization))
                if principal.owner() != owner =>
            {
                Holder::Principal(principal.acting_for(organization.clone(), principal.role()))
            }
            (Holder::Principal(principal), _) => Holder::Principal(principal.clone()),
        })
    }

    /// The owner whose keys are managed.
    pub fn owner(&self) -> &Owner {
        match &self.0 {
            Holder::Principal(principal) => principal.owner(),
            Holder::Operator(owner, _) => owner,
        }
    }

    /// The caller that manages them.
    pub fn actor(&self) -> Actor {
        match &self.0 {
            Holder::Principal(principal) if principal.session().is_some() => {
                Actor::Session(*principal.key_id())
            }
            Holder::Principal(principal) => Actor::Key(*principal.key_id()),
            Holder::Operator(_, person) => Actor::Operator(person.clone()),
        }
    }

    /// The name of the person that the operator acts for.
    pub(super) fn person(&self) -> Option<&str> {
        match &self.0 {
            Holder::Operator(_, person) => person.as_deref(),
            Holder::Principal(_) => None,
        }
    }

    /// The caller whose rights limit what this authority can grant; `None` for the operator.
    pub(super) fn bound(&self) -> Option<&Principal> {
        match &self.0 {
            Holder::Principal(principal) => Some(principal),
            Holder::Operator(..) => None,
        }
    }
}
