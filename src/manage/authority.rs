use std::fmt;

use crate::identity::Principal;
use crate::key::{KeyId, Owner};

/// The authority under which keys are managed; it determines whose keys.
///
/// It cannot be made without a caller: a request without a [`Principal`] has no authority.
#[derive(Clone, Debug)]
pub struct Authority(Holder);

#[derive(Clone, Debug)]
enum Holder {
    Principal(Principal),
    Operator(Owner),
}

/// The actor of an operation, for the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The caller with this key.
    Key(KeyId),
    /// A person in a session, by the [identifier of the session](crate::identity::Session::id).
    Session(KeyId),
    /// The application's own code or command line.
    Operator,
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
        Self(Holder::Operator(owner))
    }

    /// The owner whose keys are managed.
    pub fn owner(&self) -> &Owner {
        match &self.0 {
            Holder::Principal(principal) => principal.owner(),
            Holder::Operator(owner) => owner,
        }
    }

    /// The caller that manages them.
    pub fn actor(&self) -> Actor {
        match &self.0 {
            Holder::Principal(principal) if principal.session().is_some() => {
                Actor::Session(*principal.key_id())
            }
            Holder::Principal(principal) => Actor::Key(*principal.key_id()),
            Holder::Operator(_) => Actor::Operator,
        }
    }

    /// The caller whose rights limit what this authority can grant; `None` for the operator.
    pub(super) fn bound(&self) -> Option<&Principal> {
        match &self.0 {
            Holder::Principal(principal) => Some(principal),
            Holder::Operator(_) => None,
        }
    }
}

impl fmt::Display for Actor {
    /// `key` or `session` and the identifier, or `operator`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key {id}"),
            Self::Session(id) => write!(f, "session {id}"),
            Self::Operator => f.write_str("operator"),
        }
    }
}
