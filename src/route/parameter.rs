//! What a path has where the pattern of its route has a parameter.

use super::target::segments;
use crate::credential::RequestView;

/// The path does not go with the route that the router chose for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnreadablePath;

/// What stands in the path where the route that the router chose has `{name}`; `None` if it has no such parameter, or
/// there is no router that says.
pub(crate) fn parameter<'r>(request: RequestView<'r>, name: &str) -> Result<Option<&'r str>, UnreadablePath> {
    match chosen(request) {
        Some((pattern, path)) => find(pattern, path, name),
        None => Ok(None),
    }
}

fn find<'r>(pattern: &str, path: &'r str, name: &str) -> Result<Option<&'r str>, UnreadablePath> {
    let is_named = |segment: &str| {
        segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(|found| found == name)
    };
    if !segments(pattern).any(is_named) {
        return Ok(None);
    }
    let mut found = None;
    let mut path = segments(path);
    for expected in segments(pattern) {
        if expected.starts_with("{*") {
            return found.map(Some).ok_or(UnreadablePath);
        }
        let segment = path.next().ok_or(UnreadablePath)?;
        if is_named(expected) {
            // A name that comes twice, or an escape, could be read in two ways.
            if found.replace(segment).is_some() || segment.is_empty() || segment.contains('%') {
                return Err(UnreadablePath);
            }
        } else if !expected.starts_with('{') && expected != segment {
            return Err(UnreadablePath);
        }
    }
    if path.next().is_some() { Err(UnreadablePath) } else { Ok(found) }
}

/// The full pattern of the route, and the path before anything was taken off it.
#[cfg(feature = "axum")]
fn chosen(request: RequestView<'_>) -> Option<(&str, &str)> {
    use axum::extract::{MatchedPath, OriginalUri};

    let pattern = request.extensions.get::<MatchedPath>()?.as_str();
    let path = request.extensions.get::<OriginalUri>().map_or(request.uri.path(), |uri| uri.path());
    Some((pattern, path))
}

#[cfg(not(feature = "axum"))]
fn chosen(_: RequestView<'_>) -> Option<(&str, &str)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r40_r62_a_parameter_is_the_segment_where_the_pattern_has_it() {
        let keys = "/api/v1/organizations/{orgId}/api-keys/{key_id}";
        for (pattern, path, found) in [
            (keys, "/api/v1/organizations/acme/api-keys/k1", Ok(Some("acme"))),
            (keys, "/api/v1/organizations//api-keys/k1", Err(UnreadablePath)),
            (keys, "/api/v1/organizations/ac%6De/api-keys/k1", Err(UnreadablePath)),
            (keys, "/organizations/acme/api-keys/k1", Err(UnreadablePath)),
            (keys, "/api/v1/organizations/acme/api-keys", Err(UnreadablePath)),
            (keys, "/api/v1/organizations/acme/api-keys/k1/", Err(UnreadablePath)),
            ("/{orgId}/{*rest}", "/acme/a/b", Ok(Some("acme"))),
            ("/{*rest}", "/acme/a/b", Ok(None)),
            ("/{orgId}/{orgId}", "/acme/other", Err(UnreadablePath)),
            ("/{organization}", "/acme", Ok(None)),
            ("/orgId", "/orgId", Ok(None)),
            ("/", "/", Ok(None)),
        ] {
            assert_eq!(find(pattern, path, "orgId"), found, "{pattern} {path}");
        }
    }
}
