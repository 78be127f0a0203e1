use std::fmt;

use http::Method;

#[cfg(feature = "openapi")]
use super::parameter::parameter_name;
#[cfg(feature = "openapi")]
use super::target::segments;

/// A route of the application, to compare with the rules of an assembly: a method and a path pattern.
///
/// The pattern is written as in axum's router, where a parameter is `{id}`: `:id` is a literal there.
///
/// ```
/// use http::Method;
/// use tower_api_keys::route::Route;
///
/// assert_eq!(Route::from((Method::GET, "/workflows/{id}")).to_string(), "GET /workflows/{id}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// `None` if the route accepts every method.
    method: Option<Method>,
    pattern: String,
    /// Whether a service is mounted here whose own routes are unknown.
    pub(crate) is_mount: bool,
}

impl Route {
    /// A route whose handler accepts every method.
    pub fn any_method(pattern: impl Into<String>) -> Self {
        Self { method: None, pattern: pattern.into(), is_mount: false }
    }

    /// A service mounted at `prefix`, such as a nested router, whose own routes are unknown.
    pub fn mount(prefix: impl Into<String>) -> Self {
        Self { method: None, pattern: prefix.into(), is_mount: true }
    }

    /// The method; `None` if the route accepts every method.
    pub fn method(&self) -> Option<&Method> {
        self.method.as_ref()
    }

    /// The path pattern, `/workflows/{id}`.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

#[cfg(feature = "openapi")]
impl Route {
    pub(crate) fn has_parameters(&self) -> bool {
        self.parameters().next().is_some()
    }

    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        self.parameters().any(|other| other == name)
    }

    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        segments(&self.pattern).filter_map(parameter_name)
    }
}

impl<P: Into<String>> From<(Method, P)> for Route {
    fn from((method, pattern): (Method, P)) -> Self {
        Self { method: Some(method), pattern: pattern.into(), is_mount: false }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.method {
            Some(method) => write!(f, "{method} {}", self.pattern),
            None if self.is_mount => write!(f, "any method {} and below", self.pattern),
            None => write!(f, "any method {}", self.pattern),
        }
    }
}
