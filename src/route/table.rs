use std::fmt;

use http::Method;

use super::parameter::{UnreadablePath, parameter};
use super::pattern::{PatternSegment, parse};
use super::target::Target;
use super::tree::Node;
use super::{InvalidRoute, Route, RouteMatching};
use crate::request::RequestView;

/// What holds for each route: a method and a path pattern lead to a `T`.
///
/// See the [module docs](super) for the patterns and for what of a request is matched.
///
/// ```
/// use http::{Method, Request};
/// use tower_api_keys::request::RequestView;
/// use tower_api_keys::route::{RouteMatch, RouteTable};
///
/// let table = RouteTable::new()
///     .add(Method::GET, "/workflows", "list")?
///     .add(Method::GET, "/workflows/{id}", "read")?
///     .nest("/api/v1")?;
///
/// let request = Request::head("/api/v1/workflows/wf_1").body(()).unwrap();
/// assert_eq!(table.find(RequestView::of(&request)), RouteMatch::Found(&"read"));
///
/// let request = Request::post("/api/v1/workflows").body(()).unwrap();
/// assert_eq!(table.find(RequestView::of(&request)), RouteMatch::NotCovered);
///
/// let request = Request::get("/api/v1/../v1/workflows").body(()).unwrap();
/// assert_eq!(table.find(RequestView::of(&request)), RouteMatch::PathNotCanonical);
/// # Ok::<_, tower_api_keys::route::InvalidRoute>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RouteTable<T> {
    rules: Vec<Rule<T>>,
    tree: Node,
    matching: RouteMatching,
}

#[derive(Clone)]
struct Rule<T> {
    method: Method,
    pattern: String,
    value: T,
}

/// What a [`RouteTable`] says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteMatch<'t, T> {
    /// This is what holds.
    Found(&'t T),
    /// No rule covers the method and the route.
    NotCovered,
    /// The application's router has no such route. Only with [`RouteMatching`]`::MatchedPath`.
    NotFound,
    /// There is only the path to go by, and it could be read in two ways.
    PathNotCanonical,
}

impl<T> RouteTable<T> {
    /// A table that covers nothing.
    pub fn new() -> Self {
        Self { rules: Vec::new(), tree: Node::default(), matching: RouteMatching::default() }
    }

    /// Says what holds for a method and a pattern.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] if the pattern is malformed, the table has it with that method, or no rule can be for that
    /// method: `HEAD` follows `GET`, and `TRACE` and `CONNECT` are never covered.
    pub fn add(mut self, method: Method, pattern: &str, value: T) -> Result<Self, InvalidRoute> {
        match method {
            Method::HEAD => return Err(InvalidRoute::Head),
            Method::TRACE | Method::CONNECT => return Err(InvalidRoute::Method(method)),
            _ => {}
        }
        let rules = self.tree.rules_mut(&parse(pattern)?);
        if rules.iter().any(|(other, _)| *other == method) {
            return Err(InvalidRoute::Duplicate { method, pattern: pattern.to_owned() });
        }
        rules.push((method.clone(), self.rules.len()));
        self.rules.push(Rule { method, pattern: pattern.to_owned(), value });
        Ok(self)
    }

    /// Puts `prefix` before every pattern that is in the table so far; the pattern `/` becomes the prefix itself.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute::Pattern`] if it is malformed, [`InvalidRoute::Prefix`] if it ends in a slash or has a `{*rest}`.
    pub fn nest(self, prefix: &str) -> Result<Self, InvalidRoute> {
        let segments = parse(prefix)?;
        if let Some(PatternSegment::Rest | PatternSegment::Literal("")) = segments.last() {
            return Err(InvalidRoute::Prefix(prefix.to_owned()));
        }
        if segments.is_empty() {
            return Ok(self);
        }
        let nest = |rule: Rule<T>| Rule {
            pattern: if rule.pattern == "/" {
                prefix.to_owned()
            } else {
                format!("{prefix}{}", rule.pattern)
            },
            ..rule
        };
        let (tree, rules) = (self.tree.under(&segments), self.rules.into_iter().map(nest).collect());
        Ok(Self { tree, rules, ..self })
    }

    /// Says how the route of a request is found: by its path, unless set.
    pub fn with_matching(self, matching: RouteMatching) -> Self {
        Self { matching, ..self }
    }

    /// Whether there is no rule, so that nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether there is a rule for this method at all: takes less time than to look for one.
    pub(crate) fn has_method(&self, method: &Method) -> bool {
        self.rules.iter().any(|rule| rule.method == *followed(method))
    }

    /// What holds for a request.
    pub fn find(&self, request: RequestView<'_>) -> RouteMatch<'_, T> {
        match self.find_rule(request) {
            Ok(rule) => RouteMatch::Found(&rule.value),
            Err(nothing) => nothing,
        }
    }

    #[inline]
    fn find_rule(&self, request: RequestView<'_>) -> Result<&Rule<T>, RouteMatch<'_, T>> {
        let Some(target) = Target::of(request, self.matching) else {
            return Err(RouteMatch::PathNotCanonical);
        };
        match self.tree.find(target) {
            Some(rules) if !rules.is_empty() => {
                match rules.iter().find(|(method, _)| method == followed(request.method)) {
                    Some((_, rule)) => Ok(&self.rules[*rule]),
                    None => Err(RouteMatch::NotCovered),
                }
            }
            _ if target.is_ambiguous() => Err(RouteMatch::PathNotCanonical),
            _ if self.matching.is_by_router() && self.matching.matched_route(request).is_none() => {
                Err(RouteMatch::NotFound)
            }
            _ => Err(RouteMatch::NotCovered),
        }
    }

    /// What the path of a request has where its route has the parameter `{name}`; `None` if its route has no such
    /// parameter, or is not known.
    pub(crate) fn parameter<'r>(
        &self,
        request: RequestView<'r>,
        name: &str,
    ) -> Result<Option<&'r str>, UnreadablePath> {
        let pattern = match self.matching.matched_route(request) {
            Some(route) => route,
            None => match self.find_rule(request) {
                Ok(rule) => &rule.pattern,
                Err(_) => return Ok(None),
            },
        };
        parameter(pattern, self.matching.whole_path(request), name)
    }

    /// What holds for a request, going by its path as it is written where there is only a path: as routers do that
    /// neither decode nor clean it. For what may be looser than a rejection, and must not be escaped by a spelling.
    pub(crate) fn find_as_written(&self, request: RequestView<'_>) -> Option<&T> {
        let rules = self.tree.find(Target::as_written(request, self.matching))?;
        let (_, rule) = rules.iter().find(|(method, _)| method == followed(request.method))?;
        Some(&self.rules[*rule].value)
    }

    /// The route that the router chose, where that is what counts.
    pub(crate) fn matched_route<'r>(&self, request: RequestView<'r>) -> Option<&'r str> {
        self.matching.matched_route(request)
    }

    pub(crate) fn is_matched_by_router(&self) -> bool {
        self.matching.is_by_router()
    }

    /// Everything that is in the table.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.rules.iter().map(|rule| &rule.value)
    }

    /// Those of `routes` that no rule covers: forgotten ones. For a test of the application.
    ///
    /// A rule covers the route that is written alike, whatever the parameters are called. A route that answers any method is covered if there is a rule for one method or more.
    ///
    /// ```
    /// use http::Method;
    /// use tower_api_keys::route::{Route, RouteTable};
    ///
    /// let table = RouteTable::new().add(Method::GET, "/runs/{id}", ())?;
    /// let routes = [(Method::GET, "/runs/{run}"), (Method::POST, "/runs/{run}/cancel")];
    /// assert_eq!(table.uncovered(routes), [Route::from((Method::POST, "/runs/{run}/cancel"))]);
    /// # Ok::<_, tower_api_keys::route::InvalidRoute>(())
    /// ```
    pub fn uncovered<R: Into<Route>>(&self, routes: impl IntoIterator<Item = R>) -> Vec<Route> {
        routes.into_iter().map(Into::into).filter(|route| self.covering(route).is_empty()).collect()
    }

    /// The rules that cover none of the host's `routes`: usually a slip in a pattern. For a test of the host's.
    pub fn unused<R: Into<Route>>(&self, routes: impl IntoIterator<Item = R>) -> Vec<Route> {
        let mut is_used = vec![false; self.rules.len()];
        for route in routes {
            self.covering(&route.into()).into_iter().for_each(|rule| is_used[rule] = true);
        }
        let unused = self.rules.iter().zip(is_used).filter(|(_, is_used)| !is_used);
        unused.map(|(rule, _)| Route::from((rule.method.clone(), rule.pattern.clone()))).collect()
    }

    /// The numbers of the rules that cover a route.
    fn covering(&self, route: &Route) -> Vec<usize> {
        let pattern = Target::route(route.pattern());
        // A service below a prefix is matched by path.
        let target = if route.is_mount { Target::path(route.pattern()) } else { pattern };
        let covers = |method: &Method| route.method().is_none_or(|of| followed(of) == method);
        let rules = self.tree.find(target).into_iter().flatten();
        let mut covering: Vec<usize> =
            rules.filter(|(method, _)| covers(method)).map(|(_, rule)| *rule).collect();
        if let Some(below) = self.tree.descend(pattern).filter(|_| route.is_mount) {
            below.for_each(&mut |rule| covering.push(rule));
        }
        covering
    }
}

/// The method whose rule counts.
fn followed(method: &Method) -> &Method {
    if method == Method::HEAD { &Method::GET } else { method }
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for RouteTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.rules.iter().map(|rule| (format!("{} {}", rule.method, rule.pattern), &rule.value)))
            .finish()
    }
}
