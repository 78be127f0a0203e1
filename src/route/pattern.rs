use http::Method;
use thiserror::Error;

use super::target::segments;

/// A method and a pattern that cannot be a rule of a [`RouteTable`](super::RouteTable).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRoute {
    /// The pattern cannot match any canonical path. Usually a missing leading slash, or a parameter that is only part
    /// of a segment.
    #[error(
        "the path pattern {0:?} is malformed: its segments are literal, {{parameter}} or a last {{*rest}}"
    )]
    Pattern(String),
    /// The prefix has a `{*rest}`, or ends in a slash.
    #[error("{0:?} is not a prefix of path patterns: it ends in a slash or in {{*rest}}")]
    Prefix(String),
    /// The table already has a rule for this method and pattern, perhaps with other parameter names.
    #[error("there is a rule for {method} {pattern} already")]
    Duplicate {
        /// The method.
        method: Method,
        /// The pattern that was added.
        pattern: String,
    },
    /// `HEAD` is treated as `GET`. Write the rule for `GET`.
    #[error("HEAD is treated as GET: write the rule for GET")]
    Head,
    /// `TRACE` or `CONNECT`: these are always rejected.
    #[error("{0} cannot have a rule: it is always rejected")]
    Method(Method),
}

/// A segment of a rule's pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternSegment<'p> {
    Literal(&'p str),
    Parameter,
    Rest,
}

/// The segments of a rule's pattern; `/` has none.
pub(super) fn parse(pattern: &str) -> Result<Vec<PatternSegment<'_>>, InvalidRoute> {
    let malformed = || InvalidRoute::Pattern(pattern.to_owned());
    if !pattern.starts_with('/') {
        return Err(malformed());
    }
    let mut parsed = Vec::new();
    let mut texts = segments(pattern).peekable();
    while let Some(text) = texts.next() {
        let is_last = texts.peek().is_none();
        parsed.push(parse_segment(text, is_last).ok_or_else(malformed)?);
    }
    Ok(parsed)
}

fn parse_segment(text: &str, is_last: bool) -> Option<PatternSegment<'_>> {
    if let Some(name) = text.strip_prefix("{*").and_then(|text| text.strip_suffix('}')) {
        return (is_name(name) && is_last).then_some(PatternSegment::Rest);
    }
    let braced = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    if let Some(name) = braced.or_else(|| text.strip_prefix(':')) {
        return is_name(name).then_some(PatternSegment::Parameter);
    }
    let is_trailing_slash = text.is_empty() && is_last;
    (is_literal(text) || is_trailing_slash).then_some(PatternSegment::Literal(text))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Whether a canonical path can have this segment (`pchar` of RFC 3986, section 3.3, without `%` and `;`). Without
/// `*`, which is probably meant as a wildcard.
fn is_literal(text: &str) -> bool {
    let is_character = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@".contains(&byte);
    !matches!(text, "" | "." | "..") && text.bytes().all(is_character)
}
