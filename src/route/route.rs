use std::fmt;

use http::Method;

/// A route of the application, to compare a [`RouteTable`](super::RouteTable) with: a method and a path pattern.
///
/// ```
/// use http::Method;
/// use tower_api_keys::route::Route;
///
/// assert_eq!(Route::from((Method::GET, "/workflows/{id}")).to_string(), "GET /workflows/{id}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// `None` if the route answers every method.
    method: Option<Method>,
    pattern: String,
    /// Whether a service stands here and below whose own routes nobody knows.
    pub(crate) is_mount: bool,
}

impl Route {
    /// A route that leaves it to its handler which methods there are.
    pub fn any_method(pattern: impl Into<String>) -> Self {
        Self { method: None, pattern: pattern.into(), is_mount: false }
    }

    /// A service at `prefix` and whatever is below, such as one that a router nests, whose own routes are not known.
    pub fn mount(prefix: impl Into<String>) -> Self {
        Self { method: None, pattern: prefix.into(), is_mount: true }
    }

    /// The method; `None` if the route answers every method.
    pub fn method(&self) -> Option<&Method> {
        self.method.as_ref()
    }

    /// The path pattern, `/workflows/{id}`.
    pub fn pattern(&self) -> &str {
        &self.pattern
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
