//! The error of values that do not parse.

use std::borrow::Cow;

use thiserror::Error;

/// A value that the application wrote or read is malformed or out of range: a scope, a quota, a stored digest.
///
/// `Display` says what such a value looks like. It repeats names, numbers and patterns of the application, and never a secret.
///
/// ```
/// use tower_api_keys::Quota;
/// use tower_api_keys::scope::Scope;
///
/// let error = "workflows.read".parse::<Scope>().unwrap_err();
/// assert_eq!(error.kind(), "scope");
/// assert!(error.to_string().starts_with("a scope is resource:action"));
///
/// assert_eq!(Quota::per_minute(0).unwrap_err().to_string(), "a limit is 1 to 1048575, not 0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct InvalidValue {
    kind: &'static str,
    reason: Cow<'static, str>,
}

impl InvalidValue {
    pub(crate) const fn new(kind: &'static str, reason: &'static str) -> Self {
        Self { kind, reason: Cow::Borrowed(reason) }
    }

    /// For a reason that names a value, which must not be a secret.
    pub(crate) fn naming(kind: &'static str, reason: String) -> Self {
        Self { kind, reason: Cow::Owned(reason) }
    }

    /// What the value should be, in lower case: `scope`, `key format`, `quota`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }
}
