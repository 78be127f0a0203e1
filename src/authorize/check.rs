use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::Access;
use crate::credential::RequestView;
use crate::principal::{Authentication, Principal};
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
}

impl Rule {
    /// Decides about a request.
    pub(super) fn check(&self, request: RequestView<'_>) -> Result<(), Box<Rejection>> {
        let Some(authentication) = Authentication::of(request.extensions) else {
            return Err(Box::new(Rejection::new(Reason::LayerMissing(self.needs_authentication()))));
        };
        let Some(principal) = &authentication.principal else {
            return Err(Box::new(Rejection::new(Reason::CredentialMissing)));
        };
        self.check_principal(principal, request).map_err(|reason| {
            let mut rejection = Box::new(Rejection::new(reason));
            rejection.set_key_id(Some(*principal.key_id()));
            rejection
        })
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
        }
    }

    fn check_principal(&self, principal: &Principal, request: RequestView<'_>) -> Result<(), Reason> {
        match self {
            Self::Scope(requirement) => check_scope(principal, requirement),
            Self::Route(table) => match table.find(request) {
                RouteMatch::Found(Access::Scope(requirement)) => check_scope(principal, requirement),
                RouteMatch::Found(Access::AnyKey) => Ok(()),
                RouteMatch::NotCovered => Err(Reason::RouteNotCovered),
                RouteMatch::PathNotCanonical => Err(Reason::PathNotCanonical),
            },
            Self::Organization { header, required } => match named_organization(request.headers, header)? {
                Some(named) => check_organization(principal, named),
                None if *required => Err(Reason::OrganizationMissing),
                None => Ok(()),
            },
        }
    }
}

fn check_scope(principal: &Principal, requirement: &ScopeRequirement) -> Result<(), Reason> {
    match requirement.is_met_by(principal.scopes()) {
        true => Ok(()),
        false => Err(Reason::ScopeMissing(Arc::new(requirement.clone()))),
    }
}

/// What the field says; `None` if it is missing or has nothing in it.
fn named_organization<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r [u8]>, Reason> {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    // Equal lines as well: whatever stands behind may read another line than this does.
    if lines.next().is_some() {
        return Err(Reason::OrganizationMismatch);
    }
    // HTTP/1 leaves white space around a value out, HTTP/2 does not.
    Ok(Some(line.as_bytes().trim_ascii()).filter(|named| !named.is_empty()))
}

/// Compares with the caller's own organization only, so that nobody learns which others there are.
fn check_organization(principal: &Principal, named: &[u8]) -> Result<(), Reason> {
    match principal.organization() {
        Some(own) if own.as_str().as_bytes() == named => Ok(()),
        _ => Err(Reason::OrganizationMismatch),
    }
}
