use thiserror::Error;

use super::Role;
use crate::scope::ScopeRequirement;

/// Who may use a route.
///
/// ```
/// use tower_api_keys::authorize::{Access, Role};
/// use tower_api_keys::scope::ScopeRequirement;
///
/// const EDITOR: Role = Role::of_rank(2);
/// const CREATE: ScopeRequirement = ScopeRequirement::from_static("invoice:create");
/// const SETTINGS: ScopeRequirement = ScopeRequirement::from_static("system:update");
///
/// // A role and a scope.
/// let invoices = Access::from(CREATE).with_role(EDITOR);
/// // A key of the system, and a scope.
/// let settings = Access::from(SETTINGS).of_system();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A key with these scopes.
    Scope(ScopeRequirement),
    /// Every key that is authenticated, whatever its scopes.
    AnyKey,
    /// A caller of the [system's tier](super::Tier), whom the other rule lets through as well. A key of an organization
    /// is refused whatever its scopes, and so is a session.
    System(Box<Access>),
    /// A caller with this role or a higher one, whom the other rule lets through as well.
    ///
    /// A session has a role in each of its organizations. A key has one only where the host
    /// [gives roles to keys](super::OrganizationContextLayer::with_key_roles); without, its scopes are all that counts. An
    /// [`OrganizationContextLayer`](super::OrganizationContextLayer) has to stand outside.
    Role(Role, Box<Access>),
}

impl Access {
    /// For a caller of the system's tier only.
    #[must_use]
    pub fn of_system(self) -> Self {
        Self::System(Box::new(self))
    }

    /// For a caller with `role` or a higher one only.
    #[must_use]
    pub fn with_role(self, role: Role) -> Self {
        Self::Role(role, Box::new(self))
    }

    /// Whether an organization's caller is refused in any case.
    pub(super) fn is_of_system(&self) -> bool {
        match self {
            Self::System(_) => true,
            Self::Role(_, inner) => inner.is_of_system(),
            Self::Scope(_) | Self::AnyKey => false,
        }
    }
}

impl From<ScopeRequirement> for Access {
    fn from(requirement: ScopeRequirement) -> Self {
        Self::Scope(requirement)
    }
}

/// A route table has no rule, so every request would be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the route table has no rule, so every request would be refused")]
#[non_exhaustive]
pub struct EmptyRouteTable;
