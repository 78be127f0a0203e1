use super::target::segments;
use crate::InvalidValue;

/// A segment of a rule's pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternSegment<'p> {
    Literal(&'p str),
    Parameter,
    Rest,
}

/// The segments of a rule's pattern; `/` has none.
pub(super) fn parse(pattern: &str) -> Result<Vec<PatternSegment<'_>>, InvalidValue> {
    let malformed = || {
        invalid(format!(
            "the path pattern {pattern:?} is malformed: its segments are literal, {{parameter}} or a last {{*rest}}"
        ))
    };
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

pub(super) fn invalid(reason: String) -> InvalidValue {
    InvalidValue::naming("route", reason)
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
