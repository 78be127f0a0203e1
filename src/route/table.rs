use std::fmt;

use http::Method;

use super::parameter::{UnreadablePath, parameter};
use super::pattern::{PatternSegment, invalid, parse};
use super::target::Target;
use super::tree::Node;
use super::{Route, RouteMatching};
use crate::InvalidValue;
use crate::request::RequestView;

/// A table of routes: a method and a path pattern lead to a `T`.
///
/// See the [module docs](super) for the patterns and for how requests are matched.
#[derive(Clone)]
#[must_use]
pub(crate) struct RouteTable<T> {
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

/// The result of looking a request up in a [`RouteTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteMatch<'t, T> {
    /// The value of the rule.
    Found(&'t T),
    /// No rule covers the method and the route.
    NotCovered,
    /// The application's router has no such route. Only with [`RouteMatching`]`::MatchedPath`.
    NotFound,
    /// Routes are matched by path, and this path is ambiguous.
    PathNotCanonical,
}

impl<T> RouteTable<T> {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self { rules: Vec::new(), tree: Node::default(), matching: RouteMatching::default() }
    }

    /// Adds the value for a method and a pattern.
    ///
    /// An error if the pattern is malformed, the table already has it with that method, or the method cannot
    /// have a rule: `HEAD` is treated as `GET`, and `TRACE` and `CONNECT` are never covered.
    pub(crate) fn add(mut self, method: Method, pattern: &str, value: T) -> Result<Self, InvalidValue> {
        match method {
            Method::HEAD => return Err(invalid("HEAD is treated as GET: write the rule for GET".to_owned())),
            Method::TRACE | Method::CONNECT => {
                return Err(invalid(format!("{method} cannot have a rule: it is always rejected")));
            }
            _ => {}
        }
        let rules = self.tree.rules_mut(&parse(pattern)?);
        if rules.iter().any(|(other, _)| *other == method) {
            return Err(invalid(format!("there is a rule for {method} {pattern} already")));
        }
        rules.push((method.clone(), self.rules.len()));
        self.rules.push(Rule { method, pattern: pattern.to_owned(), value });
        Ok(self)
    }

    /// Puts `prefix` before every pattern that is already in the table; the pattern `/` becomes the prefix itself.
    ///
    /// An error if it is malformed, ends in a slash or has a `{*rest}`.
    pub(crate) fn nest(self, prefix: &str) -> Result<Self, InvalidValue> {
        let segments = parse(prefix)?;
        if let Some(PatternSegment::Rest | PatternSegment::Literal("")) = segments.last() {
            return Err(invalid(format!(
                "{prefix:?} is not a prefix of path patterns: it ends in a slash or in {{*rest}}"
            )));
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

    /// Sets how the route of a request is found; by default by its path.
    pub(crate) fn with_matching(self, matching: RouteMatching) -> Self {
        Self { matching, ..self }
    }

    /// Whether any rule has this method; faster than looking for a rule.
    pub(crate) fn has_method(&self, method: &Method) -> bool {
        self.rules.iter().any(|rule| rule.method == *followed(method))
    }

    /// The value for a request.
    pub(crate) fn find(&self, request: RequestView<'_>) -> RouteMatch<'_, T> {
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
        match self.tree.find(&target) {
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

    /// The segment of the request's path at the parameter `{name}` of its route; `None` if the route has no such
    /// parameter, or is unknown.
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

    /// The value for a request, matched by its path as written if there is no route: as in routers that neither
    /// decode nor normalize paths. For rules that cause no rejection, but must not be evaded by a different spelling.
    pub(crate) fn find_as_written(&self, request: RequestView<'_>) -> Option<&T> {
        let rules = self.tree.find(&Target::as_written(request, self.matching))?;
        let (_, rule) = rules.iter().find(|(method, _)| method == followed(request.method))?;
        Some(&self.rules[*rule].value)
    }

    /// The route that the router chose, if routes are matched by it.
    pub(crate) fn matched_route<'r>(&self, request: RequestView<'r>) -> Option<&'r str> {
        self.matching.matched_route(request)
    }

    pub(crate) fn is_matched_by_router(&self) -> bool {
        self.matching.is_by_router()
    }

    /// All values in the table.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.rules.iter().map(|rule| &rule.value)
    }

    /// The `routes` that no rule covers, for a test of the application.
    ///
    /// A rule covers a route with the same pattern, whatever the parameter names. A route that accepts any method is
    /// covered if there is a rule for at least one method.
    pub(crate) fn uncovered<R: Into<Route>>(&self, routes: impl IntoIterator<Item = R>) -> Vec<Route> {
        routes.into_iter().map(Into::into).filter(|route| self.covering(route).is_empty()).collect()
    }

    /// The rules that cover none of the application's `routes`, usually a typo in a pattern. For a test of the
    /// application.
    pub(crate) fn unused<R: Into<Route>>(&self, routes: impl IntoIterator<Item = R>) -> Vec<Route> {
        let mut is_used = vec![false; self.rules.len()];
        for route in routes {
            self.covering(&route.into()).into_iter().for_each(|rule| is_used[rule] = true);
        }
        let unused = self.rules.iter().zip(is_used).filter(|(_, is_used)| !is_used);
        unused.map(|(rule, _)| Route::from((rule.method.clone(), rule.pattern.clone()))).collect()
    }

    /// The value of the rule that covers a route of one method.
    #[cfg(feature = "openapi")]
    pub(crate) fn value_of(&self, route: &Route) -> Option<&T> {
        self.covering(route).first().map(|rule| &self.rules[*rule].value)
    }

    /// The indexes of the rules that cover a route.
    fn covering(&self, route: &Route) -> Vec<usize> {
        let pattern = Target::route(route.pattern());
        // A mounted service is matched by path.
        let target = if route.is_mount { Target::path(route.pattern()) } else { pattern };
        let covers = |method: &Method| route.method().is_none_or(|of| followed(of) == method);
        let rules = self.tree.find(&target).into_iter().flatten();
        let mut covering: Vec<usize> =
            rules.filter(|(method, _)| covers(method)).map(|(_, rule)| *rule).collect();
        if let Some(below) = self.tree.descend(pattern).filter(|_| route.is_mount) {
            below.for_each(&mut |rule| covering.push(rule));
        }
        covering
    }
}

/// The method whose rule applies.
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
