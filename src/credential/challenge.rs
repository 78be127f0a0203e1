use http::HeaderValue;

use crate::InvalidValue;
use crate::scope::ScopeRequirement;

/// RFC 6750 section 3.
pub(super) const BEARER: &str = "Bearer";

/// One challenge of a `WWW-Authenticate` field (RFC 9110 section 11.6.1): a scheme and its parameters.
///
/// ```
/// use tower_api_keys::credential::Challenge;
///
/// let challenge = Challenge::new("ApiKey")?.with_parameter("realm", "workflows")?;
/// assert_eq!(challenge.to_header_value(), r#"ApiKey realm="workflows""#);
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    scheme: &'static str,
    parameters: Vec<(&'static str, String)>,
}

impl Challenge {
    /// A challenge of `scheme`, for example `Basic`, without parameters.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if `scheme` is not a token (RFC 9110 section 5.6.2).
    pub fn new(scheme: &'static str) -> Result<Self, InvalidValue> {
        Ok(Self { scheme: token(scheme)?, parameters: Vec::new() })
    }

    /// A challenge of a scheme of this crate's own extractors.
    pub(crate) fn of_scheme(scheme: &'static str) -> Self {
        Self { scheme, parameters: Vec::new() }
    }

    /// A challenge that names the `place` in which a key is expected: its `name` has visible ASCII and spaces only.
    pub(super) fn api_key(place: &'static str, name: &str) -> Self {
        Self { scheme: "ApiKey", parameters: vec![(place, name.to_owned())] }
    }

    /// Sets a parameter, which is written as a quoted string and replaces one of the same name.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if `name` is not a token, or `value` has characters other than visible ASCII and spaces.
    pub fn with_parameter(
        mut self,
        name: &'static str,
        value: impl Into<String>,
    ) -> Result<Self, InvalidValue> {
        let (name, value) = (token(name)?, value.into());
        if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(INVALID);
        }
        self.parameters.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.parameters.push((name, value));
        Ok(self)
    }

    /// The challenge after a bad credential: `error="invalid_token"` for bearer tokens.
    ///
    /// RFC 6750 section 3.1. Malformed tokens get it, too.
    pub(crate) fn after_refusal(self) -> Self {
        if self.scheme != BEARER {
            return self;
        }
        self.with_parameter("error", "invalid_token").expect("the parameter is well formed")
    }

    /// The challenge for missing scopes; `None` if the scheme has none.
    ///
    /// RFC 6750 section 3.1 defines `Bearer error="insufficient_scope", scope="invoice:read"`.
    pub(crate) fn insufficient_scope(scheme: &'static str, scopes: &ScopeRequirement) -> Option<HeaderValue> {
        if scheme != BEARER {
            return None;
        }
        let challenge = Self::of_scheme(scheme).with_parameter("error", "insufficient_scope");
        let challenge = challenge.and_then(|challenge| challenge.with_parameter("scope", scopes.to_string()));
        Some(challenge.ok()?.to_header_value())
    }

    /// The scheme's name.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The value of a parameter.
    #[cfg(feature = "openapi")]
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        parameters.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// The challenge as the field's value.
    pub fn to_header_value(&self) -> HeaderValue {
        let mut text = self.scheme.to_owned();
        for (position, (name, value)) in self.parameters.iter().enumerate() {
            text.push_str(if position == 0 { " " } else { ", " });
            text.push_str(name);
            text.push_str("=\"");
            for character in value.chars() {
                if matches!(character, '"' | '\\') {
                    text.push('\\');
                }
                text.push(character);
            }
            text.push('"');
        }
        HeaderValue::try_from(text).expect("the parts of a challenge were checked when it was made")
    }
}

fn token(text: &'static str) -> Result<&'static str, InvalidValue> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(INVALID);
    }
    Ok(text)
}

const INVALID: InvalidValue = InvalidValue::new(
    "challenge",
    "a challenge needs tokens as scheme and parameter names, and visible ASCII or spaces as values",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_quoted_strings() {
        let quoted = Challenge::new("Basic").unwrap().with_parameter("realm", r#"a "b" \c"#).unwrap();
        assert_eq!(quoted.to_header_value(), r#"Basic realm="a \"b\" \\c""#);
        let two = Challenge::api_key("header", "x-api-key");
        let two = two.with_parameter("realm", "r").unwrap();
        assert_eq!(two.to_header_value(), r#"ApiKey header="x-api-key", realm="r""#);
        let again = two.with_parameter("HEADER", "x-key").unwrap();
        assert_eq!(again.to_header_value(), r#"ApiKey realm="r", HEADER="x-key""#);
    }

    #[test]
    fn rejects_characters_that_would_break_the_field() {
        let basic = Challenge::new("Basic").unwrap();
        assert_eq!(Challenge::new(""), Err(INVALID));
        assert_eq!(Challenge::new("a b"), Err(INVALID));
        for (name, value) in
            [("realm", "a\r\nb"), ("realm", "é"), ("realm", "\u{7f}"), ("re alm", "a"), ("", "a")]
        {
            assert_eq!(basic.clone().with_parameter(name, value), Err(INVALID), "{name}: {value:?}");
        }
    }
}
