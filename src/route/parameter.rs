//! The part of a path at a parameter of its route's pattern.

use super::target::segments;

/// The path does not match the pattern of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnreadablePath;

/// The segment of `path` at the parameter `name` of `pattern`; `None` if there is no such parameter.
pub(super) fn parameter<'r>(
    pattern: &str,
    path: &'r str,
    name: &str,
) -> Result<Option<&'r str>, UnreadablePath> {
    let named = |segment: &str| parameter_name(segment).is_some_and(|found| found == name);
    if !segments(pattern).any(named) {
        return Ok(None);
    }
    let mut found = None;
    let mut path = segments(path);
    for expected in segments(pattern) {
        if expected.starts_with("{*") {
            return found.map(Some).ok_or(UnreadablePath);
        }
        let segment = path.next().ok_or(UnreadablePath)?;
        if named(expected) {
            // A repeated name, or an escape, is ambiguous.
            if found.replace(segment).is_some() || segment.is_empty() || segment.contains('%') {
                return Err(UnreadablePath);
            }
        } else if parameter_name(expected).is_none() && expected != segment {
            return Err(UnreadablePath);
        }
    }
    if path.next().is_some() { Err(UnreadablePath) } else { Ok(found) }
}

/// `id` of `{id}` or `:id`.
pub(super) fn parameter_name(segment: &str) -> Option<&str> {
    let braced = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    braced.or_else(|| segment.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_the_segment_at_its_place_in_the_pattern() {
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
            ("/:orgId/invoices/:id", "/acme/invoices/7", Ok(Some("acme"))),
            ("/orgId", "/orgId", Ok(None)),
            ("/", "/", Ok(None)),
        ] {
            assert_eq!(parameter(pattern, path, "orgId"), found, "{pattern} {path}");
        }
    }
}
