use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::{Principal, Role};

/// Selects the organization a request acts for.
///
/// Without a rule, a key of an organization acts for its owner, and a system key for none.
///
/// [`named_in`](Self::named_in) requires clients to name their own organization in a header field as well.
/// [`context`](Self::context) also selects the organization for callers of the system and for [sessions](super::Session):
///
/// | | a key of an organization | a key of the system, a session of staff | another session |
/// |---|---|---|---|
/// | acts for | its own | that of the route, otherwise of the header; 400 if neither names one | that of the route, otherwise of the cookie, otherwise the only one that it has; 400 if it has several |
/// | route parameter of another | 404 | - | 404 if it is not a member |
/// | cookie | ignored | ignored | without a route parameter: 404 if it is not a member |
/// | header of another | 403, unless [ignored](Self::ignore_header_of_organization_keys) | with a route parameter: 403 | 403 |
/// | [mode field](Self::mode_header) of another mode | 403 | 403 | 403, or 404 if the organization is selected |
///
/// An organization that does not exist gets the same 404 as one that the caller cannot act for. The rule does not
/// know whether the organization that a caller of the system selects exists; the application looks it up. A repeated header or
/// cookie is rejected with 403 where it is read, even if both values are equal; an empty one counts as absent.
///
/// [System routes](crate::route::Access::System), and routes without a rule, act for no organization.
///
/// The mode is that of the key. A session that has several modes where it acts needs the [mode
/// field](Self::mode_header): 400 without it.
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
///     .session_cookie("selectedOrganization")
///     .mode_header("x-mode");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct OrganizationRule {
    pub(crate) selection: Selection,
    /// An invalid header name, reported when the layer is built.
    pub(crate) fault: Option<String>,
}

/// How the organization is selected.
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
    pub(crate) mode: Option<HeaderName>,
    pub(crate) roles: Option<Arc<RoleFn>>,
}

type RoleFn = dyn Fn(&Principal) -> Role + Send + Sync;

impl OrganizationRule {
    /// Requires every request to name its caller's own organization in this header field.
    ///
    /// 400 if it is absent, 403 if it names another. A system key has no organization and is rejected.
    pub fn named_in(header: impl AsRef<str>) -> Self {
        let (header, fault) = name(header.as_ref());
        Self { selection: Selection::Named { header, required: true }, fault }
    }

    /// Accepts requests without the field of [`named_in`](Self::named_in). If it is sent, it has to match.
    pub fn optional(mut self) -> Self {
        if let Selection::Named { required, .. } = &mut self.selection {
            *required = false;
        }
        self
    }

    /// Selects the organization of every kind of caller. A key acts for its own organization until another source is
    /// added.
    pub fn context() -> Self {
        Self { selection: Selection::Context(Context::default()), fault: None }
    }

    /// Sets the header field that selects the organization of a caller of the system, and must match for every other caller.
    pub fn header(mut self, header: impl AsRef<str>) -> Self {
        let (header, fault) = name(header.as_ref());
        self.fault = self.fault.or(fault);
        self.change(|to| to.header = Some(header))
    }

    /// Ignores the header in requests with a key of an organization.
    pub fn ignore_header_of_organization_keys(self) -> Self {
        self.change(|to| to.header_is_ignored = true)
    }

    /// Sets the route parameter that names the organization: `orgId` for `/organizations/{orgId}/invoices`.
    ///
    /// Read from the route that was [matched](crate::route::RouteMatching). A value that contains `%` is not an
    /// organization.
    pub fn route_parameter(self, name: impl Into<String>) -> Self {
        self.change(|to| to.parameter = Some(name.into()))
    }

    /// Sets the cookie that selects the organization of a session if the route does not.
    ///
    /// It only selects, and proves nothing: the session has to be a member. So it needs no CSRF protection as long as
    /// the session itself is sent in a header field that no browser sends automatically.
    pub fn session_cookie(self, name: impl Into<String>) -> Self {
        self.change(|to| to.cookie = Some(name.into()))
    }

    /// Sets the header field that selects the mode of a session that has several: `live` or `test`. Where it is sent, it
    /// must match for every other caller. A repeated field is rejected with 403; an empty one counts as absent.
    pub fn mode_header(mut self, header: impl AsRef<str>) -> Self {
        let (header, fault) = name(header.as_ref());
        self.fault = self.fault.or(fault);
        self.change(|to| to.mode = Some(header))
    }

    /// Gives each key a role in the organization it acts for, so that routes can require
    /// [one](crate::route::Access::Role). Sessions already have roles.
    pub fn key_roles(self, role: impl Fn(&Principal) -> Role + Send + Sync + 'static) -> Self {
        self.change(|to| to.roles = Some(Arc::new(role)))
    }

    fn change(mut self, change: impl FnOnce(&mut Context)) -> Self {
        match &mut self.selection {
            Selection::Context(context) => change(context),
            Selection::Named { .. } => {
                self.fault
                    .get_or_insert("the settings of a context cannot be combined with `named_in`".to_owned());
            }
        }
        self
    }
}

fn name(header: &str) -> (HeaderName, Option<String>) {
    match HeaderName::try_from(header) {
        Ok(name) => (name, None),
        // Never used: the layer is not built.
        Err(_) => {
            (HeaderName::from_static("x"), Some(format!("{header:?} is not the name of a header field")))
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("header", &self.header)
            .field("parameter", &self.parameter)
            .field("cookie", &self.cookie)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
