use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::InvalidValue;

/// A permission, `resource:action`, such as `workflows:read`.
///
/// Exactly two parts, each 1 to 64 of `a-z 0-9 _ -`. The action may be `*`, which stands for every action of exactly
/// that resource; the resource may not. Scopes are compared as a whole and byte for byte: no prefixes, no case
/// folding. They are ordered by their text.
///
/// A scope is a valid scope token of [RFC 6749, section 3.3](https://www.rfc-editor.org/rfc/rfc6749#section-3.3), so
/// a list of scopes may be sent in the `scope` attribute of a challenge.
///
/// ```
/// use tower_api_keys::scope::Scope;
///
/// const READ: Scope = Scope::from_static("workflows:read");
///
/// let scope: Scope = "workflows:*".parse()?;
/// assert!(scope.is_wildcard());
/// assert_eq!(scope.resource(), READ.resource());
/// assert!("Workflows:read".parse::<Scope>().is_err());
/// assert!("*:read".parse::<Scope>().is_err());
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone)]
pub struct Scope {
    text: Text,
    /// The position of the colon, at most [`Scope::MAX_PART_LENGTH`].
    colon: u8,
}

/// Cheap to clone, as every rejection for a missing scope names it.
#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Scope {
    /// The longest resource and the longest action, in bytes.
    pub const MAX_PART_LENGTH: usize = 64;

    /// A scope from a literal.
    ///
    /// # Panics
    ///
    /// If `text` is not a scope; at compile time in a constant. Text that is not a literal is parsed with [`FromStr`]
    /// instead.
    ///
    /// ```compile_fail
    /// use tower_api_keys::scope::Scope;
    ///
    /// const READ: Scope = Scope::from_static("workflows.read");
    /// ```
    #[track_caller]
    pub const fn from_static(text: &'static str) -> Self {
        match colon(text.as_bytes()) {
            Some(colon) => Self { text: Text::Static(text), colon },
            None => panic!("a scope is resource:action, each 1 to 64 of a-z 0-9 _ -"),
        }
    }

    /// The whole scope as text.
    pub fn as_str(&self) -> &str {
        match &self.text {
            Text::Static(text) => text,
            Text::Shared(text) => text,
        }
    }

    /// The part before the colon.
    pub fn resource(&self) -> &str {
        &self.as_str()[..usize::from(self.colon)]
    }

    /// The part after the colon, possibly `*`.
    pub fn action(&self) -> &str {
        &self.as_str()[usize::from(self.colon) + 1..]
    }

    /// Whether the action is `*`.
    pub fn is_wildcard(&self) -> bool {
        is_wildcard(self.as_str())
    }
}

pub(super) const fn is_wildcard(scope: &str) -> bool {
    // Only a wildcard scope ends in `*`, which no other part may contain.
    matches!(scope.as_bytes(), [.., b'*'])
}

/// Checks the grammar; returns the position of the colon.
const fn colon(text: &[u8]) -> Option<u8> {
    let colon = part(text, 0);
    if colon == 0 || colon > Scope::MAX_PART_LENGTH || colon == text.len() || text[colon] != b':' {
        return None;
    }
    let start = colon + 1;
    let end = part(text, start);
    let named = end > start && end - start <= Scope::MAX_PART_LENGTH && end == text.len();
    let wildcard = text.len() == start + 1 && text[start] == b'*';
    if named || wildcard { Some(colon as u8) } else { None }
}

/// The end of the part that starts at `start`.
const fn part(text: &[u8], start: usize) -> usize {
    let mut end = start;
    while end < text.len() && matches!(text[end], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
        end += 1;
    }
    end
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Scope {}

impl PartialOrd for Scope {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scope {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Scope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl FromStr for Scope {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Ok(Self { colon: colon(text.as_bytes()).ok_or(INVALID)?, text: Text::Shared(text.into()) })
    }
}

impl AsRef<str> for Scope {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({self})")
    }
}

impl serde::Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}

const INVALID: InvalidValue = InvalidValue::new(
    "scope",
    "a scope is resource:action, each 1 to 64 of a-z 0-9 _ -, and the action may be *",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_exactly_two_parts_of_the_small_alphabet() {
        let longest = format!("{0}:{0}", "x".repeat(64));
        for text in ["a:b", "data_io:execute", "api-keys:read", "r2:0", "-:_", &longest] {
            let scope: Scope = text.parse().unwrap();
            assert_eq!(scope.as_str(), text);
            assert_eq!(format!("{}:{}", scope.resource(), scope.action()), text);
            assert!(!scope.is_wildcard());
        }
        let long_resource = format!("{}:read", "x".repeat(65));
        let long_action = format!("read:{}", "x".repeat(65));
        for text in [
            "",
            ":",
            "a",
            "a:",
            ":b",
            "a:b:c",
            "a::b",
            "a:b:",
            ":a:b",
            "a.b",
            "a b:c",
            " a:b",
            "a:b ",
            "a:b\n",
            "a:\0",
            "A:b",
            "a:B",
            "\u{e4}:b",
            "a:\u{e4}",
            "\u{ff41}:b",
            "\u{430}:b",
            "a\u{ff1a}b",
            "a/b:c",
            "a:b,c:d",
            &long_resource,
            &long_action,
        ] {
            assert_eq!(text.parse::<Scope>(), Err(INVALID), "{text:?}");
        }
    }

    #[test]
    fn the_wildcard_is_only_an_action() {
        let scope: Scope = "invoice:*".parse().unwrap();
        assert!(scope.is_wildcard());
        assert_eq!((scope.resource(), scope.action()), ("invoice", "*"));
        for text in ["*", "*:*", "*:read", ":*", "a:**", "a:r*", "a:*r", "a*:b", "a:*:*", "a:b:*", "a:*:b"] {
            assert_eq!(text.parse::<Scope>(), Err(INVALID), "{text:?}");
        }
    }

    #[test]
    fn text_and_literal_are_the_same_scope() {
        const READ: Scope = Scope::from_static("runs:read");
        let read: Scope = "runs:read".parse().unwrap();
        assert_eq!(read, READ);
        assert_eq!(READ.cmp(&read), std::cmp::Ordering::Equal);
        assert_eq!(std::collections::HashSet::from([READ, read]).len(), 1);
    }

    #[test]
    fn json_is_the_text_and_errors_do_not_repeat_it() {
        let scope = Scope::from_static("invoice:*");
        assert_eq!(serde_json::to_string(&scope).unwrap(), r#""invoice:*""#);
        assert_eq!(serde_json::from_str::<Scope>(r#""invoice:*""#).unwrap(), scope);
        let error = serde_json::from_str::<Scope>(r#""bad scope""#).unwrap_err().to_string();
        assert!(error.starts_with("a scope is resource:action") && !error.contains("bad"), "{error}");
        assert!(serde_json::from_str::<Scope>("7").is_err());
    }

    #[test]
    fn debug_names_the_scope() {
        assert_eq!(format!("{:?}", Scope::from_static("runs:read")), "Scope(runs:read)");
    }
}
