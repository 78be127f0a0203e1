use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::{Principal, Role};

/// For which organization a request acts.
///
/// Without a rule, a key of an organization acts for its owner, and a key of the system for none.
///
/// [`named_in`](Self::named_in) asks clients to name their own organization in a header field as well.
/// [`context`](Self::context) finds the organization for keys of the system and for [sessions](super::Session), too:
///
/// | | a key of an organization | a key of the system | a session |
/// |---|---|---|---|
/// | acts for | its own | the one of the route, or else of the header; in neither: 400 | the one of the route, or else of the cookie; in neither: 400 |
/// | route parameter of another | 404 | - | 404 if it is no member |
/// | cookie | not looked at | not looked at | without a route parameter: 404 if it is no member |
/// | header that says another | 403, unless [ignored](Self::ignore_header_of_organization_keys) | with a route parameter: 403 | 403 |
///
/// An organization that does not exist is answered like one that the caller can't act for: the same 404. Whether the one
/// that a system key selects exists is not known here; the application looks it up. A header or cookie that comes twice is
/// 403 where it is looked at, even if both say the same; an empty one counts as absent.
///
/// Routes [of the system](crate::route::Access::System), and routes without a rule, act for no organization.
///
/// ```
/// use tower_api_keys::identity::OrganizationRule;
///
/// // PayMongo's: every request repeats its key's organization.
/// let named = OrganizationRule::named_in("organization-id");
/// // A dashboard beside keys.
/// let context = OrganizationRule::context()
///     .header("x-organization-id")
///     .route_parameter("orgId")
///     .session_cookie("selectedOrganization");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct OrganizationRule {
    pub(crate) selection: Selection,
    /// A header name that is none.
    pub(crate) fault: Option<String>,
}

/// How the organization is found.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    /// The caller has to name its own.
    Named { header: HeaderName, required: bool },
    /// By key, route, header or cookie.
    Context(Context),
}

#[derive(Clone, Default)]
pub(crate) struct Context {
    pub(crate) header: Option<HeaderName>,
    pub(crate) header_is_ignored: bool,
    pub(crate) parameter: Option<String>,
    pub(crate) cookie: Option<String>,
    pub(crate) roles: Option<Arc<RoleFn>>,
}

type RoleFn = dyn Fn(&Principal) -> Role + Send + Sync;

impl OrganizationRule {
    /// Every request has to name its caller's own organization in this header field: 400 if it is absent, 403 if it names
    /// another. A key of the system has no organization of its own and is rejected.
    pub fn named_in(header: impl AsRef<str>) -> Self {
        let (header, fault) = name(header.as_ref());
        Self { selection: Selection::Named { header, required: true }, fault }
    }

    /// Accepts requests in which the field of [`named_in`](Self::named_in) is absent. Where it is there, it has to agree.
    pub fn optional(mut self) -> Self {
        if let Selection::Named { required, .. } = &mut self.selection {
            *required = false;
        }
        self
    }

    /// Finds the organization of every kind of caller. Knows of a key's own organization, until told what else selects one.
    pub fn context() -> Self {
        Self { selection: Selection::Context(Context::default()), fault: None }
    }

    /// The header field that selects the organization of a system key, and has to agree for every other caller.
    pub fn header(mut self, header: impl AsRef<str>) -> Self {
        let (header, fault) = name(header.as_ref());
        self.fault = self.fault.or(fault);
        self.change(|to| to.header = Some(header))
    }

    /// Does not look at the header of requests with a key of an organization.
    pub fn ignore_header_of_organization_keys(self) -> Self {
        self.change(|to| to.header_is_ignored = true)
    }

    /// The parameter that names the organization in routes that have it, `orgId` for `/organizations/{orgId}/invoices`.
    ///
    /// Read from the route that was [matched](crate::route::RouteMatching). A value with a `%` in it is no organization.
    pub fn route_parameter(self, name: impl Into<String>) -> Self {
        self.change(|to| to.parameter = Some(name.into()))
    }

    /// The cookie that selects the organization of a session where the route does not.
    ///
    /// It selects and proves nothing: the session has to be a member. So it needs no protection from forgery as long as
    /// the session itself comes in a header field that no browser sends by itself.
    pub fn session_cookie(self, name: impl Into<String>) -> Self {
        self.change(|to| to.cookie = Some(name.into()))
    }

    /// Gives each key a role in the organization it acts for, so that routes can require
    /// [one](crate::route::Access::Role). Sessions have theirs already.
    pub fn key_roles(self, role: impl Fn(&Principal) -> Role + Send + Sync + 'static) -> Self {
        self.change(|to| to.roles = Some(Arc::new(role)))
    }

    fn change(mut self, change: impl FnOnce(&mut Context)) -> Self {
        match &mut self.selection {
            Selection::Context(context) => change(context),
            Selection::Named { .. } => {
                self.fault.get_or_insert("the settings of a context do not go with `named_in`".to_owned());
            }
        }
        self
    }
}

fn name(header: &str) -> (HeaderName, Option<String>) {
    match HeaderName::try_from(header) {
        Ok(name) => (name, None),
        // Never looked at: the assembly is refused.
        Err(_) => (HeaderName::from_static("x"), Some(format!("{header:?} is no name of a header field"))),
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("header", &self.header)
            .field("parameter", &self.parameter)
            .field("cookie", &self.cookie)
            .finish_non_exhaustive()
    }
}
