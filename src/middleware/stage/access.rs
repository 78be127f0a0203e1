//! 9, access: whether the caller may use the route.

use crate::credential::Challenge;
use crate::identity::{Caller, Principal, Role};
use crate::middleware::checks::Checks;
use crate::rejection::{Reason, Rejection};
use crate::request::RequestView;
use crate::route::{Access, RouteMatch};
use crate::scope::ScopeRequirement;

impl Checks {
    /// Whether the table lets the caller use the route.
    #[inline]
    pub(in super::super) fn check_route(
        &self,
        caller: &Caller,
        request: RequestView<'_>,
    ) -> Result<(), Reason> {
        let Some(table) = &self.access else { return Ok(()) };
        match table.find(request) {
            RouteMatch::Found(access) => {
                let is_of_system = access.is_of_system();
                // Callers of organizations have no role there, so the tier is checked first.
                if is_of_system {
                    check_tier(caller)?;
                }
                check_access(caller, access, is_of_system)
            }
            _ if matches!(caller, Caller::Anonymous) => Err(Reason::CredentialMissing),
            RouteMatch::NotCovered => Err(Reason::RouteNotCovered),
            RouteMatch::NotFound => Err(Reason::RouteNotFound),
            RouteMatch::PathNotCanonical => Err(Reason::PathNotCanonical),
        }
    }

    /// Whether the table has the route for requests without a credential.
    #[inline]
    pub(super) fn is_public(&self, request: RequestView<'_>) -> bool {
        let table = self.access.as_ref().filter(|_| self.has_public_routes);
        table.is_some_and(|table| table.find(request) == RouteMatch::Found(&Access::Public))
    }
}

fn principal(caller: &Caller) -> Result<&Principal, Reason> {
    match caller {
        Caller::Anonymous => Err(Reason::CredentialMissing),
        Caller::Principal(principal) => Ok(principal),
        Caller::Session { .. } => Err(Reason::Misconfigured(
            "a session of several owners needs an organization rule: `ApiKeysBuilder::organization`, and `authorize` outside \
             of what asks for a principal",
        )),
    }
}

fn check_access(caller: &Caller, access: &Access, is_of_system: bool) -> Result<(), Reason> {
    match access {
        Access::Public => Ok(()),
        Access::AnyKey => principal(caller).map(|_| ()),
        Access::Scope(requirement) => check_scope(caller, requirement),
        Access::System(inner) => check_access(caller, inner, is_of_system),
        Access::Role(needed, inner) => {
            check_role(principal(caller)?, *needed, is_of_system)?;
            check_access(caller, inner, is_of_system)
        }
    }
}

/// A route of the system acts for no organization: a session of staff has its own role there, and a key has none.
fn check_role(principal: &Principal, needed: Role, is_of_system: bool) -> Result<(), Reason> {
    if !is_of_system && !principal.is_in_context() {
        return Err(Reason::Misconfigured(
            "a route that needs a role needs `ApiKeysBuilder::organization` with a context",
        ));
    }
    match principal.role() {
        Some(role) if role >= needed => Ok(()),
        None if !is_of_system => Ok(()),
        _ => Err(Reason::RoleTooLow),
    }
}

fn check_tier(caller: &Caller) -> Result<(), Reason> {
    match caller {
        Caller::Principal(principal) if principal.is_of_system() => Ok(()),
        Caller::Anonymous => Err(Reason::CredentialMissing),
        _ => Err(Reason::TierMismatch),
    }
}

pub(in super::super) fn check_scope(caller: &Caller, requirement: &ScopeRequirement) -> Result<(), Reason> {
    match requirement.is_met_by(principal(caller)?.scopes()) {
        true => Ok(()),
        false => Err(Reason::ScopeMissing(requirement.clone())),
    }
}

/// The rejection of a known caller, or of an anonymous request.
#[cold]
pub(in super::super) fn rejection(reason: Reason, caller: &Caller) -> Rejection {
    let challenge = match (&reason, caller) {
        (Reason::ScopeMissing(scopes), Caller::Principal(principal)) => {
            Challenge::insufficient_scope(principal.scheme(), scopes)
        }
        _ => None,
    };
    let mut rejection = Rejection::new(reason);
    if let Some(challenge) = challenge {
        rejection = rejection.with_challenges([challenge].into());
    }
    rejection.set_key_id(caller.id().copied());
    rejection
}
