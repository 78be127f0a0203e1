//! What of a request is matched.

use crate::credential::RequestView;

/// The way to a route: at first as a router's patterns name it, then as the request's path does. Either may be empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'r> {
    route: &'r str,
    path: &'r str,
    /// Whether an empty segment is one like others, and not a reason to match nothing.
    is_lenient: bool,
}

/// A segment of the way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Segment<'r> {
    /// Of a path: whatever matches.
    Text(&'r str),
    /// Of a route: only the same literal matches.
    Literal(&'r str),
    /// Of a route: only a parameter matches.
    Parameter,
    /// Of a route: only a `{*rest}` matches.
    Rest,
}

impl<'r> Target<'r> {
    /// The router's pattern where it left one, else the path; `None` if that is not canonical.
    pub(super) fn of(request: RequestView<'r>) -> Option<Self> {
        if let Some(route) = router::matched_route(request) {
            return Some(Self::route(route));
        }
        let path = request.uri.path();
        is_canonical(path).then(|| Self {
            route: without_root(router::stripped_prefix(request)),
            path: without_root(path),
            is_lenient: false,
        })
    }

    /// The router's pattern where it left one, else the path as it is written, canonical or not.
    pub(super) fn as_written(request: RequestView<'r>) -> Self {
        match router::matched_route(request) {
            Some(route) => Self::route(route),
            None => Self {
                route: without_root(router::stripped_prefix(request)),
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

    /// Whether this is a path with a slash at its end, which is one thing to some routers and another to others.
    pub(super) fn ends_in_slash(&self) -> bool {
        self.path.ends_with('/')
    }

    /// Whether nothing is left of a path but a slash: no parameter and no rest matches that, though axum lets a parameter
    /// match an empty segment further up.
    pub(super) fn is_root(&self) -> bool {
        self.path == "/"
    }

    pub(super) fn is_lenient(&self) -> bool {
        self.is_lenient
    }
}

impl<'r> Iterator for Target<'r> {
    type Item = Segment<'r>;

    fn next(&mut self) -> Option<Segment<'r>> {
        if let Some(text) = next_segment(&mut self.route) {
            return Some(match text.strip_prefix('{') {
                Some(text) if text.starts_with('*') => Segment::Rest,
                // `{{` is how routers write a literal brace.
                Some(text) if !text.starts_with('{') => Segment::Parameter,
                _ => Segment::Literal(text),
            });
        }
        next_segment(&mut self.path).map(Segment::Text)
    }
}

/// The segments of a path or pattern that starts with a slash; `/` has none.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = without_root(path);
    std::iter::from_fn(move || next_segment(&mut rest))
}

fn without_root(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// Takes the slash and the segment that `rest` starts with.
fn next_segment<'p>(rest: &mut &'p str) -> Option<&'p str> {
    let text = rest.strip_prefix('/')?;
    let end = text.bytes().position(|byte| byte == b'/').unwrap_or(text.len());
    let (segment, after) = text.split_at(end);
    *rest = after;
    Some(segment)
}

/// Whether every router reads the path in the same way, but for a slash at its end.
fn is_canonical(path: &str) -> bool {
    let bytes = path.as_bytes();
    // Without an early exit, so that the compiler makes vector instructions of the two loops.
    let is_ambiguous = bytes.iter().fold(false, |found, byte| found | matches!(byte, b'%' | b';' | b'\\'));
    let is_suspect = bytes
        .iter()
        .zip(bytes.iter().skip(1))
        .fold(false, |found, (byte, next)| found | ((*byte == b'/') & matches!(next, b'/' | b'.')));
    let is_dots = |segment| matches!(segment, "" | "." | "..");
    path.starts_with('/')
        && !is_ambiguous
        && !(is_suspect && without_last_slash(path).split('/').skip(1).any(is_dots))
}

fn without_last_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// What an axum router leaves in a request's extensions.
#[cfg(feature = "axum")]
mod router {
    use axum::extract::{MatchedPath, NestedPath};

    use crate::credential::RequestView;

    /// The full pattern of the route that was chosen.
    pub(super) fn matched_route(request: RequestView<'_>) -> Option<&str> {
        request.extensions.get::<MatchedPath>().map(MatchedPath::as_str)
    }

    /// The pattern at which this service is nested, which the path lacks.
    pub(super) fn stripped_prefix(request: RequestView<'_>) -> &str {
        let nested = request.extensions.get::<NestedPath>().map_or("", NestedPath::as_str);
        nested.strip_suffix('/').unwrap_or(nested)
    }
}

#[cfg(not(feature = "axum"))]
mod router {
    use crate::credential::RequestView;

    pub(super) fn matched_route(_: RequestView<'_>) -> Option<&str> {
        None
    }

    pub(super) fn stripped_prefix(_: RequestView<'_>) -> &str {
        ""
    }
}
