use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::check::Rule;
use super::{Access, Authorize, EmptyRouteTable};
use crate::rejection::ProblemDetails;
use crate::route::RouteTable;
use crate::scope::ScopeRequirement;

/// Lets a caller through who holds the scope that is needed.
///
/// See the [module docs](crate::authorize).
#[derive(Clone)]
#[must_use]
pub struct RequireScopeLayer<R = ProblemDetails> {
    rule: Rule,
    format: R,
}

impl RequireScopeLayer {
    /// Requires the same of every request.
    ///
    /// ```
    /// use tower_api_keys::authorize::RequireScopeLayer;
    /// use tower_api_keys::scope::ScopeRequirement;
    ///
    /// let layer = RequireScopeLayer::new(ScopeRequirement::from_static("workflows:read"));
    /// ```
    pub fn new(requirement: ScopeRequirement) -> Self {
        Self { rule: Rule::Scope(Arc::new(requirement)), format: ProblemDetails }
    }

    /// Requires of each request what the table says of its method and route, and refuses what the table does not
    /// list.
    ///
    /// # Errors
    ///
    /// [`EmptyRouteTable`].
    pub fn by_route(table: RouteTable<Access>) -> Result<Self, EmptyRouteTable> {
        if table.is_empty() {
            return Err(EmptyRouteTable);
        }
        Ok(Self { rule: Rule::Route(Arc::new(table)), format: ProblemDetails })
    }
}

impl<R> RequireScopeLayer<R> {
    /// Makes the responses to refused requests with `format`.
    pub fn with_rejection_format<F>(self, format: F) -> RequireScopeLayer<F> {
        RequireScopeLayer { rule: self.rule, format }
    }
}

impl<S, R: Clone> Layer<S> for RequireScopeLayer<R> {
    type Service = Authorize<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorize::new(inner, self.rule.clone(), self.format.clone())
    }
}

impl<R> fmt::Debug for RequireScopeLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireScopeLayer").field("rule", &self.rule).finish_non_exhaustive()
    }
}
