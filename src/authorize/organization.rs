use std::fmt;

use http::HeaderName;
use tower_layer::Layer;

use super::Authorize;
use super::check::Rule;
use crate::rejection::ProblemDetails;

/// Lets a caller through who names its own organization in a header field.
///
/// The field never selects the organization: the key does. It only has to agree, so that a client that works for several
/// organizations finds out when it has taken the wrong key.
///
/// | the field | [`required`](Self::required) | [`optional`](Self::optional) |
/// |---|---|---|
/// | is the caller's organization, byte for byte | passes | passes |
/// | is missing, empty or blank | 400 | passes |
/// | is anything else | 403 | 403 |
/// | has several lines, even equal ones | 403 | 403 |
///
/// What is named is compared with the caller's organization and never looked up: an organization that exists and one that
/// does not are refused alike. A system key has no organization, so whatever it names is refused; put the routes that
/// system keys use outside this layer.
///
/// Goes inside [`AuthenticateLayer`](crate::AuthenticateLayer) and [`RateLimitLayer`](crate::RateLimitLayer), outside
/// [`RequireScopeLayer`](super::RequireScopeLayer). See the [module docs](crate::authorize).
///
/// ```
/// use http::HeaderName;
/// use tower_api_keys::OrganizationLayer;
///
/// let layer = OrganizationLayer::required(HeaderName::from_static("organization-id"));
/// ```
#[derive(Clone)]
#[must_use]
pub struct OrganizationLayer<R = ProblemDetails> {
    rule: Rule,
    format: R,
}

impl OrganizationLayer {
    /// Requires that every request names the caller's organization.
    pub fn required(header: HeaderName) -> Self {
        Self { rule: Rule::Organization { header, required: true }, format: ProblemDetails }
    }

    /// Refuses requests that name another organization than the caller's.
    pub fn optional(header: HeaderName) -> Self {
        Self { rule: Rule::Organization { header, required: false }, format: ProblemDetails }
    }
}

impl<R> OrganizationLayer<R> {
    /// Makes the responses to refused requests with `format`.
    pub fn with_rejection_format<F>(self, format: F) -> OrganizationLayer<F> {
        OrganizationLayer { rule: self.rule, format }
    }
}

impl<S, R: Clone> Layer<S> for OrganizationLayer<R> {
    type Service = Authorize<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorize::new(inner, self.rule.clone(), self.format.clone())
    }
}

impl<R> fmt::Debug for OrganizationLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrganizationLayer").field("rule", &self.rule).finish_non_exhaustive()
    }
}
