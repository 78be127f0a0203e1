use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use tower_layer::Layer;

use super::check::Rule;
use super::context::Context;
use super::{Access, Authorize, Role};
use crate::Principal;
use crate::rejection::ProblemDetails;
use crate::route::RouteTable;

/// Finds for which organization a request acts, whoever calls.
///
/// Behind it the [`Principal`] acts for that organization: its [owner](Principal::owner), and so
/// [`isolation`](crate::isolation) and [`manage`](crate::manage), are the organization's, and
/// [`OrganizationPrincipal`](super::OrganizationPrincipal) can be had.
///
/// | | a key of an organization | a key of the system | a [session](crate::user_session) |
/// |---|---|---|---|
/// | acts for | its own | the one of the route, or else of the header; in neither: 400 | the one of the route, or else of the cookie; in neither: 400 |
/// | route parameter of another | 404 | - | 404 if it is no member |
/// | cookie | not looked at | not looked at | without a route parameter: 404 if it is no member |
/// | header that says another | 403, unless [ignored](Self::ignore_header_of_organization_keys) | with a route parameter: 403 | 403 |
///
/// An organization that does not exist is one that no organization's key and no session can act for: the same 404. Whether
/// the one that a system key selects exists is not known here; that is for the host to look up. A header or cookie that
/// comes twice is 403 where it is looked at, even if both say the same; an empty one is none.
///
/// Goes inside [`AuthenticateLayer`](crate::AuthenticateLayer) and [`RateLimitLayer`](crate::RateLimitLayer), outside
/// [`RequireScopeLayer`](super::RequireScopeLayer): a session has its scopes in an organization only.
///
/// ```
/// use http::{HeaderName, Method};
/// use tower_api_keys::authorize::{Access, OrganizationContextLayer};
/// use tower_api_keys::route::RouteTable;
/// use tower_api_keys::scope::ScopeRequirement;
///
/// const READ: ScopeRequirement = ScopeRequirement::from_static("invoice:read");
/// const HEALTH: ScopeRequirement = ScopeRequirement::from_static("system:read");
///
/// let routes = RouteTable::new()
///     .add(Method::GET, "/organizations/{orgId}/invoices", READ.into())?
///     .add(Method::GET, "/system/health", Access::from(HEALTH).of_system())?;
/// let layer = OrganizationContextLayer::new()
///     .with_header(HeaderName::from_static("x-organization-id"))
///     .with_session_cookie("selectedOrganization")
///     .with_routes(routes);
/// # #[cfg(feature = "axum")]
/// let layer = layer.with_route_parameter("orgId"); // with the feature `axum`
/// # let _: OrganizationContextLayer = layer;
/// # Ok::<_, tower_api_keys::route::InvalidRoute>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct OrganizationContextLayer<R = ProblemDetails> {
    context: Arc<Context>,
    format: R,
}

impl OrganizationContextLayer {
    /// Knows of a key's own organization, and of nothing else that could select one.
    pub fn new() -> Self {
        Self { context: Arc::default(), format: ProblemDetails }
    }
}

impl Default for OrganizationContextLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> OrganizationContextLayer<R> {
    fn change(mut self, change: impl FnOnce(&mut Context)) -> Self {
        change(Arc::make_mut(&mut self.context));
        self
    }

    /// The header field that selects the organization of a system key, and has to agree for everybody else.
    pub fn with_header(self, name: HeaderName) -> Self {
        self.change(|to| to.header = Some(name))
    }

    /// Lets keys of an organization say in the header what they will.
    pub fn ignore_header_of_organization_keys(self) -> Self {
        self.change(|to| to.header_is_ignored = true)
    }

    /// The parameter that names the organization in routes that have it, `orgId` for `/organizations/{orgId}/invoices`.
    ///
    /// Read from the route that an axum router chose, so this needs the feature `axum`, and the layer a place inside that
    /// router. A value with a `%` in it is no organization.
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn with_route_parameter(self, name: impl Into<String>) -> Self {
        self.change(|to| to.parameter = Some(name.into()))
    }

    /// The cookie that selects the organization of a session where the route does not.
    ///
    /// It selects and proves nothing: the session has to be a member. So it needs no protection from forgery as long as
    /// the session itself comes in a header field that no browser sends by itself.
    pub fn with_session_cookie(self, name: impl Into<String>) -> Self {
        self.change(|to| to.cookie = Some(name.into()))
    }

    /// Gives each key a role in the organization it acts for, so that routes can ask for
    /// [one](Access::Role). Sessions have theirs already.
    pub fn with_key_roles(self, role: impl Fn(&Principal) -> Role + Send + Sync + 'static) -> Self {
        self.change(|to| to.roles = Some(Arc::new(role)))
    }

    /// Leaves routes alone that are [for the system](Access::System), so that one layer can stand round them and the
    /// organizations' routes. Also leaves alone what the table does not list: nothing is let through by that, as behind
    /// the layer nobody acts for any organization there.
    pub fn with_routes(self, routes: RouteTable<Access>) -> Self {
        self.change(|to| to.routes = Some(routes))
    }

    /// Makes the responses to refused requests with `format`.
    pub fn with_rejection_format<F>(self, format: F) -> OrganizationContextLayer<F> {
        OrganizationContextLayer { context: self.context, format }
    }
}

impl<S, R: Clone> Layer<S> for OrganizationContextLayer<R> {
    type Service = Authorize<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorize::new(inner, Rule::Context(self.context.clone()), self.format.clone())
    }
}

impl<R> fmt::Debug for OrganizationContextLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrganizationContextLayer").field("context", &self.context).finish_non_exhaustive()
    }
}
