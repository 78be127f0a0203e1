//! The two tiers of callers, and types that prove a caller's tier.

use http::Extensions;

use super::Principal;
use crate::key::OrganizationId;

/// A caller that acts for one organization: with its own key, in a session, or as a caller of the system that names the
/// organization.
///
/// Only an [`OrganizationRule`](super::OrganizationRule) makes one, so a handler that takes it cannot run if the rule
/// was forgotten: with the feature `axum` it is an argument of handlers, and the response is 500 then.
///
/// ```
/// use tower_api_keys::identity::OrganizationPrincipal;
/// use tower_api_keys::identity::Owned;
///
/// struct Invoice;
///
/// fn invoices<'i>(caller: &OrganizationPrincipal, everybody: &'i [Owned<Invoice>]) -> Vec<&'i Invoice> {
///     everybody.iter().filter_map(|invoice| invoice.get(caller.principal())).collect()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct OrganizationPrincipal {
    principal: Principal,
    organization: OrganizationId,
}

/// A caller of the system: with a system key, or in a session of the application's staff. Others never are, whatever
/// their scopes.
///
/// With the feature `axum` it is an argument of handlers; all other callers are rejected with 403.
///
/// ```
/// use tower_api_keys::identity::SystemPrincipal;
///
/// fn provision(caller: &SystemPrincipal, name: &str) -> String {
///     format!("{name}, provisioned by {}", caller.principal().key_id())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct SystemPrincipal(Principal);

impl OrganizationPrincipal {
    /// The caller of the request; `None` if no organization was selected.
    pub fn from_extensions(extensions: &Extensions) -> Option<Self> {
        let principal = Principal::from_extensions(extensions).filter(|caller| caller.is_in_context())?;
        Some(Self { organization: principal.organization()?.clone(), principal: principal.clone() })
    }

    /// The caller.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The organization for which the caller acts.
    pub fn organization(&self) -> &OrganizationId {
        &self.organization
    }
}

impl SystemPrincipal {
    /// The caller of the request; `None` if it is not one of the system.
    pub fn from_extensions(extensions: &Extensions) -> Option<Self> {
        let principal = Principal::from_extensions(extensions)?;
        principal.is_of_system().then(|| Self(principal.clone()))
    }

    /// The caller.
    pub fn principal(&self) -> &Principal {
        &self.0
    }
}

impl AsRef<Principal> for OrganizationPrincipal {
    fn as_ref(&self) -> &Principal {
        &self.principal
    }
}

impl AsRef<Principal> for SystemPrincipal {
    fn as_ref(&self) -> &Principal {
        &self.0
    }
}
