use std::sync::Arc;

use http::HeaderName;

use super::context::Context;
use super::selected::in_header;
use super::{Access, Tier};
use crate::credential::{Challenge, RequestView};
use crate::principal::{Authentication, Caller, Principal};
use crate::rejection::{Reason, Rejection};
use crate::route::{RouteMatch, RouteTable};
use crate::scope::ScopeRequirement;

/// Who may pass.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// Who holds these scopes.
    Scope(Arc<ScopeRequirement>),
    /// Who may do what the route does.
    Route(Arc<RouteTable<Access>>),
    /// Who names its own organization.
    Organization { header: HeaderName, required: bool },
    /// Who can act for the organization that the request is for.
    Context(Arc<Context>),
}

impl Rule {
    /// Decides about a request: who it is that calls, if that is not what the layers outside have said.
    pub(super) fn check(&self, request: RequestView<'_>) -> Result<Option<Box<Principal>>, Box<Rejection>> {
        let Some(authentication) = Authentication::of(request.extensions) else {
            return Err(Box::new(Rejection::new(Reason::LayerMissing(self.needs_authentication()))));
        };
        if let Caller::Nobody = authentication.caller {
            return Err(Box::new(Rejection::new(Reason::CredentialMissing)));
        }
        match self.check_caller(authentication, request) {
            Ok(found) => Ok(found),
            Err(reason) => Err(refused(reason, &authentication.caller)),
        }
    }

    fn needs_authentication(&self) -> &'static str {
        match self {
            Self::Scope(_) | Self::Route(_) => {
                "RequireScopeLayer needs AuthenticateLayer outside it: add that one later to an axum router, or earlier to a \
                 ServiceBuilder"
            }
            Self::Organization { .. } => {
                "OrganizationLayer needs AuthenticateLayer outside it: add that one later to an axum router, or earlier to a \
                 ServiceBuilder"
            }
            Self::Context(_) => {
                "OrganizationContextLayer needs AuthenticateLayer outside it: add that one later to an axum router, or \
                 earlier to a ServiceBuilder"
            }
        }
    }

    fn check_caller(
        &self,
        authentication: &Authentication,
        request: RequestView<'_>,
    ) -> Result<Option<Box<Principal>>, Reason> {
        match self {
            Self::Scope(requirement) => check_scope(authentication, requirement)?,
            Self::Route(table) => match table.find(request) {
                RouteMatch::Found(access) => check_access(authentication, access)?,
                RouteMatch::NotCovered => return Err(Reason::RouteNotCovered),
                RouteMatch::PathNotCanonical => return Err(Reason::PathNotCanonical),
            },
            Self::Organization { header, required } => match in_header(request.headers, header)? {
                Some(named) => check_organization(principal(authentication)?, named)?,
                None if *required => return Err(Reason::OrganizationMissing),
                None => {}
            },
            Self::Context(context) => return context.find(&authentication.caller, request),
        }
        Ok(None)
    }
}

#[cold]
fn refused(reason: Reason, caller: &Caller) -> Box<Rejection> {
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
    Box::new(rejection)
}

fn principal(authentication: &Authentication) -> Result<&Principal, Reason> {
    authentication.principal()?.ok_or(Reason::CredentialMissing)
}

fn check_access(authentication: &Authentication, access: &Access) -> Result<(), Reason> {
    match access {
        Access::AnyKey => principal(authentication).map(|_| ()),
        Access::Scope(requirement) => check_scope(authentication, requirement),
        Access::System(inner) => match &authentication.caller {
            Caller::Principal(principal) if principal.tier() == Tier::System => {
                check_access(authentication, inner)
            }
            _ => Err(Reason::TierMismatch),
        },
        Access::Role(needed, inner) => {
            let principal = principal(authentication)?;
            if !principal.is_in_context() {
                return Err(Reason::LayerMissing(
                    "a route that needs a role needs OrganizationContextLayer outside of RequireScopeLayer",
                ));
            }
            match principal.role() {
                Some(role) if role < *needed => Err(Reason::RoleTooLow),
                _ => check_access(authentication, inner),
            }
        }
    }
}

fn check_scope(authentication: &Authentication, requirement: &ScopeRequirement) -> Result<(), Reason> {
    match requirement.is_met_by(principal(authentication)?.scopes()) {
        true => Ok(()),
        false => Err(Reason::ScopeMissing(Arc::new(requirement.clone()))),
    }
}

/// Compares with the caller's own organization only, so that nobody learns which others there are.
fn check_organization(principal: &Principal, named: &[u8]) -> Result<(), Reason> {
    match principal.organization() {
        Some(own) if own.as_str().as_bytes() == named => Ok(()),
        _ => Err(Reason::OrganizationMismatch),
    }
}
