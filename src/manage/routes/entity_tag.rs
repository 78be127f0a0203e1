//! The version of a key as an entity tag (RFC 9110 section 8.8.3), and the condition for a change (section 13.1.1).

use http::header::IF_MATCH;
use http::{HeaderMap, HeaderValue};

use crate::manage::ManageError;

/// `"7"`.
pub(super) fn entity_tag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("digits in quotes are visible ASCII")
}

/// The version that `If-Match` names; `None` if any will do.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ManageError> {
    let mut lines = headers.get_all(IF_MATCH).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let text = line.to_str().unwrap_or_default().trim();
    if text == "*" && lines.next().is_none() {
        return Ok(None);
    }
    let is_weak = text.starts_with("W/");
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let opaque = opaque.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match opaque.filter(|opaque| !opaque.contains('"')) {
        Some(opaque) if lines.next().is_none() => match opaque.parse::<u64>() {
            Ok(version) if !is_weak && version.to_string() == opaque => Ok(Some(version)),
            // A tag, but none of this key: a weak one never matches.
            _ => Err(ManageError::Overtaken),
        },
        _ => Err(ManageError::invalid("If-Match", "must be one entity tag, or *")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_strong_tag_names_a_version() {
        #[derive(Debug, PartialEq)]
        enum Read {
            Any,
            Version(u64),
            Overtaken,
            Invalid,
        }

        let cases: &[(&[&str], Read)] = &[
            (&[], Read::Any),
            (&["*"], Read::Any),
            (&["\"7\""], Read::Version(7)),
            (&[" \"0\" "], Read::Version(0)),
            (&["\"18446744073709551615\""], Read::Version(u64::MAX)),
            (&["\"18446744073709551616\""], Read::Overtaken),
            (&["\"07\""], Read::Overtaken),
            (&["\"+7\""], Read::Overtaken),
            (&["\"\""], Read::Overtaken),
            (&["\"abc\""], Read::Overtaken),
            (&["W/\"7\""], Read::Overtaken),
            (&["\"7\", \"8\""], Read::Invalid),
            (&["\"7\"", "\"8\""], Read::Invalid),
            (&["*", "\"7\""], Read::Invalid),
            (&["7"], Read::Invalid),
            (&["\"7"], Read::Invalid),
            (&["\""], Read::Invalid),
            (&[""], Read::Invalid),
        ];
        for (lines, want) in cases {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(IF_MATCH, line.parse().unwrap());
            }
            let read = match if_match(&headers) {
                Ok(None) => Read::Any,
                Ok(Some(version)) => Read::Version(version),
                Err(ManageError::Overtaken) => Read::Overtaken,
                Err(_) => Read::Invalid,
            };
            assert_eq!(read, *want, "{lines:?}");
        }
        assert_eq!(entity_tag(7), "\"7\"");
    }
}
