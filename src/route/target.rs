//! The part of a request that is matched.

use super::RouteMatching;
use crate::request::RequestView;

/// The way to a route: first segments as in a router's pattern, then those of the request's path. Both may be empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'r> {
    pub(super) route: &'r str,
    pub(super) path: &'r str,
    /// Whether the path is taken as written, with its empty segments.
    pub(super) is_lenient: bool,
}

/// A segment of a route in a router's pattern.
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
    /// The path or route of a request; `None` if its target is not a path.
    ///
    /// Whether the path is canonical is checked while matching: a literal segment is canonical if it matches, so only
    /// the segments of a parameter or a rest have to be checked.
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

    /// Like `of`, but takes a path as written, canonical or not.
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

    /// A route in a router's pattern.
    pub(super) fn route(pattern: &'r str) -> Self {
        Self { route: without_root(pattern), path: "", is_lenient: false }
    }

    /// A path known to be canonical.
    pub(super) fn path(path: &'r str) -> Self {
        Self { route: "", path: without_root(path), is_lenient: false }
    }

    /// Takes the next segment of the route. The path has segments only after the end of the route.
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

    /// Whether only a path is left, and it is ambiguous.
    pub(super) fn is_ambiguous(&self) -> bool {
        // Routers disagree on a trailing slash.
        self.path.ends_with('/') || !is_canonical(self.path.as_bytes())
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

/// The segment after the leading slash, and the rest, which starts with its slash.
pub(super) fn split_segment(rest: &str) -> Option<(&str, &str)> {
    let text = rest.strip_prefix('/')?;
    let end = text.bytes().position(|byte| byte == b'/').unwrap_or(text.len());
    Some(text.split_at(end))
}

/// The segment that a text begins with, the rest, which starts with its slash, and whether every router reads the segment
/// in the same way.
#[inline]
pub(super) fn split(text: &[u8]) -> (&[u8], &[u8], bool) {
    let (mut end, mut is_special) = (0, false);
    for byte in text {
        match byte {
            b'/' => break,
            b'%' | b';' | b'\\' => is_special = true,
            _ => {}
        }
        end += 1;
    }
    let (segment, further) = text.split_at(end);
    (segment, further, !is_special && !matches!(segment, b"" | b"." | b".."))
}

/// Whether every router reads the path in the same way, except for a trailing slash.
pub(super) fn is_canonical(path: &[u8]) -> bool {
    let mut rest = path.strip_suffix(b"/").unwrap_or(path);
    while let Some(text) = rest.strip_prefix(b"/") {
        let (_, further, is_plain) = split(text);
        if !is_plain {
            return false;
        }
        rest = further;
    }
    true
}
