//! What of a request is matched.

use super::RouteMatching;
use crate::request::RequestView;

/// The way to a route: at first as a router's patterns name it, then as the request's path does. Either may be empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'r> {
    pub(super) route: &'r str,
    pub(super) path: &'r str,
    /// Whether the path is taken as it is written, and its segments as they come, empty ones too.
    pub(super) is_lenient: bool,
}

/// A segment of a route as a router names it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Segment<'r> {
    /// Only the same literal matches.
    Literal(&'r str),
    /// Only a parameter matches.
    Parameter,
    /// Only a `{*rest}` matches.
    Rest,
}

impl<'r> Target<'r> {
    /// What is matched of a request; `None` if its target is no path.
    ///
    /// Whether the path is canonical is seen on the way: a literal segment is if it matches, so only what a parameter
    /// or a rest stands for has to be looked at.
    #[inline(always)]
    pub(super) fn of(request: RequestView<'r>, matching: RouteMatching) -> Option<Self> {
        if let Some(route) = matching.matched_route(request) {
            return Some(Self::route(route));
        }
        let path = request.uri.path();
        path.starts_with('/').then(|| Self {
            route: without_root(matching.stripped_prefix(request)),
            path: without_root(path),
            is_lenient: false,
        })
    }

    /// The same, where a path is taken as it is written, canonical or not.
    pub(super) fn as_written(request: RequestView<'r>, matching: RouteMatching) -> Self {
        match matching.matched_route(request) {
            Some(route) => Self::route(route),
            None => Self {
                route: without_root(matching.stripped_prefix(request)),
                path: without_root(request.uri.path()),
                is_lenient: true,
            },
        }
    }

    /// A route as a router names it.
    pub(super) fn route(pattern: &'r str) -> Self {
        Self { route: without_root(pattern), path: "", is_lenient: false }
    }

    /// A path known to be canonical.
    pub(super) fn path(path: &'r str) -> Self {
        Self { route: "", path: without_root(path), is_lenient: false }
    }

    /// Takes the next segment of the route; of the path there is none before the route has come to its end.
    pub(super) fn next_of_route(&mut self) -> Option<Segment<'r>> {
        let (text, further) = split_segment(self.route)?;
        self.route = further;
        Some(match text.strip_prefix('{') {
            Some(text) if text.starts_with('*') => Segment::Rest,
            // `{{` is how routers write a literal brace.
            Some(text) if !text.starts_with('{') => Segment::Parameter,
            _ => Segment::Literal(text),
        })
    }

    /// Whether there is only a path to go by, and it could be read in two ways.
    pub(super) fn is_ambiguous(&self) -> bool {
        // A slash at its end is one thing to some routers and another to others.
        self.path.ends_with('/') || !is_canonical(self.path)
    }
}

/// The segments of a path or pattern that starts with a slash; `/` has none.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = without_root(path);
    std::iter::from_fn(move || {
        let (segment, further) = split_segment(rest)?;
        rest = further;
        Some(segment)
    })
}

fn without_root(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// The segment that comes after the slash at the beginning, and what comes after that, from its slash on.
#[inline]
pub(super) fn split_segment(rest: &str) -> Option<(&str, &str)> {
    let text = rest.strip_prefix('/')?;
    let end = text.bytes().position(|byte| byte == b'/').unwrap_or(text.len());
    Some(text.split_at(end))
}

/// Whether every router reads the path in the same way, but for a slash at its end.
pub(super) fn is_canonical(path: &str) -> bool {
    path.strip_suffix('/').unwrap_or(path).split('/').skip(1).all(is_plain)
}

/// Whether every router reads the segment in the same way.
pub(super) fn is_plain(segment: &str) -> bool {
    // Without an early exit, so that the compiler makes vector instructions of it.
    let is_special = |found, byte| found | matches!(byte, b'%' | b';' | b'\\');
    !matches!(segment, "" | "." | "..") && !segment.bytes().fold(false, is_special)
}
