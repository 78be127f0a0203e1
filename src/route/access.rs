use crate::InvalidValue;
use crate::identity::Role;
use crate::scope::ScopeRequirement;

/// The callers that may use a route.
///
/// ```
/// use tower_api_keys::identity::Role;
/// use tower_api_keys::route::Access;
/// use tower_api_keys::scope::ScopeRequirement;
///
/// const EDITOR: Role = Role::of_rank(2);
/// const CREATE: ScopeRequirement = ScopeRequirement::from_static("invoice:create");
/// const SETTINGS: ScopeRequirement = ScopeRequirement::from_static("system:update");
///
/// // A role and a scope.
/// let invoices = Access::from(CREATE).with_role(EDITOR);
/// // A caller of the system, and a scope.
/// let settings = Access::from(SETTINGS).of_system();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A key with these scopes.
    Scope(ScopeRequirement),
    /// Every authenticated key, whatever its scopes.
    AnyKey,
    /// Requests without a credential, and every authenticated key. A bad credential is still rejected.
    Public,
    /// A caller of the [system tier](crate::Principal::is_of_system) that the inner rule accepts as well. Others are
    /// rejected, whatever their scopes.
    System(Box<Access>),
    /// A caller with at least this role that the inner rule accepts as well.
    ///
    /// A session has a role in each of its organizations. A key has one only if the [organization
    /// rule](crate::identity::OrganizationRule::key_roles) assigns roles to keys; otherwise only its scopes count.
    /// The assembly needs an organization rule.
    ///
    /// A route of the [system](Self::System) acts for no organization. A session of staff has the role there that it was
    /// [given](crate::identity::Session::with_owner). A key has none, and is rejected.
    Role(Role, Box<Access>),
}

impl Access {
    /// Accepts only callers of the system tier.
    #[must_use]
    pub fn of_system(self) -> Self {
        Self::System(Box::new(self))
    }

    /// Accepts only callers with at least `role`.
    #[must_use]
    pub fn with_role(self, role: Role) -> Self {
        Self::Role(role, Box::new(self))
    }

    /// Whether all callers of organizations are rejected.
    pub(crate) fn is_of_system(&self) -> bool {
        match self {
            Self::System(_) => true,
            Self::Role(_, inner) => inner.is_of_system(),
            Self::Scope(_) | Self::AnyKey | Self::Public => false,
        }
    }

    /// The scopes that it needs, if any.
    pub(crate) fn requirement(&self) -> Option<&ScopeRequirement> {
        match self {
            Self::Scope(requirement) => Some(requirement),
            Self::System(inner) | Self::Role(_, inner) => inner.requirement(),
            Self::AnyKey | Self::Public => None,
        }
    }

    /// The same for a caller that has no scopes.
    #[cfg(feature = "openapi")]
    pub(crate) fn without_scope(&self) -> Self {
        match self {
            Self::Scope(_) | Self::AnyKey => Self::AnyKey,
            Self::Public => Self::Public,
            Self::System(inner) => inner.without_scope().of_system(),
            Self::Role(role, inner) => inner.without_scope().with_role(*role),
        }
    }

    /// The role that the caller needs, if any.
    pub(crate) fn role(&self) -> Option<Role> {
        match self {
            Self::Role(role, _) => Some(*role),
            Self::System(inner) => inner.role(),
            Self::Scope(_) | Self::AnyKey | Self::Public => None,
        }
    }

    /// Whether `Public` is nested in another rule, where it has no meaning.
    pub(crate) fn has_public_inside(&self) -> bool {
        match self {
            Self::System(inner) | Self::Role(_, inner) => {
                **inner == Self::Public || inner.has_public_inside()
            }
            Self::Scope(_) | Self::AnyKey | Self::Public => false,
        }
    }
}

impl From<ScopeRequirement> for Access {
    fn from(requirement: ScopeRequirement) -> Self {
        Self::Scope(requirement)
    }
}

impl TryFrom<&str> for Access {
    type Error = InvalidValue;

    /// A key with this one scope, `resource:action`.
    fn try_from(scope: &str) -> Result<Self, InvalidValue> {
        scope.parse().map(Self::Scope)
    }
}
