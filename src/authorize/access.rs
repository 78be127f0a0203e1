use thiserror::Error;

use crate::scope::ScopeRequirement;

/// Who may use a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A key with these scopes.
    Scope(ScopeRequirement),
    /// Every key that is authenticated, whatever its scopes.
    AnyKey,
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
