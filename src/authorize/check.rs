use std::sync::Arc;

use super::Access;
use crate::credential::RequestView;
use crate::principal::Authentication;
use crate::rejection::{Reason, Rejection};
use crate::route::{RouteMatch, RouteTable};
use crate::scope::ScopeRequirement;

/// Who may pass.
#[derive(Clone, Debug)]
pub(super) enum Rules {
    One(Arc<ScopeRequirement>),
    ByRoute(Arc<RouteTable<Access>>),
}

impl Rules {
    /// Decides about a request.
    pub(super) fn check(&self, request: RequestView<'_>) -> Result<(), Box<Rejection>> {
        let Some(authentication) = Authentication::of(request.extensions) else {
            let reason = Reason::LayerMissing(
                "RequireScopeLayer needs AuthenticateLayer outside it: add that one later to an axum router, or \
                 earlier to a ServiceBuilder",
            );
            return Err(Box::new(Rejection::new(reason)));
        };
        let Some(principal) = &authentication.principal else {
            return Err(Box::new(Rejection::new(Reason::CredentialMissing)));
        };
        self.requirement(request)
            .and_then(|requirement| match requirement {
                Some(requirement) if !requirement.is_met_by(principal.scopes()) => {
                    Err(Reason::ScopeMissing(Arc::new(requirement.clone())))
                }
                _ => Ok(()),
            })
            .map_err(|reason| {
                let mut rejection = Box::new(Rejection::new(reason));
                rejection.set_key_id(Some(*principal.key_id()));
                rejection
            })
    }

    /// What the request needs; `None` if any key will do.
    fn requirement(&self, request: RequestView<'_>) -> Result<Option<&ScopeRequirement>, Reason> {
        match self {
            Self::One(requirement) => Ok(Some(requirement)),
            Self::ByRoute(table) => match table.find(request) {
                RouteMatch::Found(Access::Scope(requirement)) => Ok(Some(requirement)),
                RouteMatch::Found(Access::AnyKey) => Ok(None),
                RouteMatch::NotCovered => Err(Reason::RouteNotCovered),
                RouteMatch::PathNotCanonical => Err(Reason::PathNotCanonical),
            },
        }
    }
}
