use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::assembly::Assembly;
use super::facts::Stages;
use super::service::ApiKeysService;
use crate::rejection::ProblemDetails;

/// A layer of an [`ApiKeys`](crate::ApiKeys): all of its checks, or some of them.
///
/// Made by [`layer`](crate::ApiKeys::layer), [`limit_addresses`](crate::ApiKeys::limit_addresses),
/// [`authenticate`](crate::ApiKeys::authenticate), [`rate_limit`](crate::ApiKeys::rate_limit),
/// [`authorize`](crate::ApiKeys::authorize) and [`require`](crate::ApiKeys::require). Cheap to clone.
#[must_use]
pub struct ApiKeysLayer<F = ProblemDetails> {
    assembly: Arc<Assembly<F>>,
    stages: Stages,
}

impl<F> ApiKeysLayer<F> {
    pub(super) fn new(assembly: Arc<Assembly<F>>, stages: Stages) -> Self {
        Self { assembly, stages }
    }
}

impl<S, F> Layer<S> for ApiKeysLayer<F> {
    type Service = ApiKeysService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        ApiKeysService::new(inner, self.assembly.clone(), self.stages.clone())
    }
}

impl<F> Clone for ApiKeysLayer<F> {
    fn clone(&self) -> Self {
        Self { assembly: self.assembly.clone(), stages: self.stages.clone() }
    }
}

impl<F> fmt::Debug for ApiKeysLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeysLayer")
            .field("stages", &self.stages)
            .field("checks", &self.assembly.checks)
            .finish_non_exhaustive()
    }
}
