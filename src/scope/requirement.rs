use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::scope::is_wildcard;
use super::{Scope, ScopeSet};
use crate::InvalidValue;

/// The scopes a caller must hold: one, all of several, or any of several.
///
/// A requirement names concrete actions, never `*`. `Display` writes the scopes separated by spaces, the `scope`
/// attribute of [RFC 6750, section 3](https://www.rfc-editor.org/rfc/rfc6750#section-3).
///
/// ```
/// use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
///
/// const READ: ScopeRequirement = ScopeRequirement::from_static("workflows:read");
///
/// assert!(READ.is_met_by(&ScopeSet::parse_list(["workflows:*"])?));
/// assert!(!READ.is_met_by(&ScopeSet::parse_list(["workflows:write"])?));
/// assert_eq!(READ.to_string(), "workflows:read");
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopeRequirement(Requirement);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Requirement {
    One(Scope),
    All(Arc<[Scope]>),
    Any(Arc<[Scope]>),
}

impl ScopeRequirement {
    /// Requires one scope, given as a literal.
    ///
    /// # Panics
    ///
    /// If `scope` is malformed or a wildcard; at compile time in a constant.
    ///
    /// ```compile_fail
    /// use tower_api_keys::scope::ScopeRequirement;
    ///
    /// const ANY: ScopeRequirement = ScopeRequirement::from_static("workflows:*");
    /// ```
    #[track_caller]
    pub const fn from_static(scope: &'static str) -> Self {
        assert!(!is_wildcard(scope), "a required scope names its action, not *");
        Self(Requirement::One(Scope::from_static(scope)))
    }

    /// Requires `scope`.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if it ends in `:*`: name the action that the route performs.
    pub fn scope(scope: Scope) -> Result<Self, InvalidValue> {
        if scope.is_wildcard() {
            return Err(WILDCARD);
        }
        Ok(Self(Requirement::One(scope)))
    }

    /// Requires every one of `scopes`.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if there is none, or one ends in `:*`.
    pub fn all_of(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, InvalidValue> {
        Ok(Self(Requirement::All(concrete(scopes)?)))
    }

    /// Requires at least one of `scopes`.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if there is none, or one ends in `:*`.
    pub fn any_of(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, InvalidValue> {
        Ok(Self(Requirement::Any(concrete(scopes)?)))
    }

    /// Whether a caller with the scopes `held` meets it.
    pub fn is_met_by(&self, held: &ScopeSet) -> bool {
        match &self.0 {
            Requirement::One(scope) => held.contains(scope),
            Requirement::All(scopes) => scopes.iter().all(|scope| held.contains(scope)),
            Requirement::Any(scopes) => scopes.iter().any(|scope| held.contains(scope)),
        }
    }

    /// Whether one of the scopes is enough.
    #[cfg(feature = "openapi")]
    pub(crate) fn is_any(&self) -> bool {
        matches!(self.0, Requirement::Any(_))
    }

    /// The required scopes, in the order given; at least one.
    pub fn scopes(&self) -> &[Scope] {
        match &self.0 {
            Requirement::One(scope) => std::slice::from_ref(scope),
            Requirement::All(scopes) | Requirement::Any(scopes) => scopes,
        }
    }
}

fn concrete(scopes: impl IntoIterator<Item = Scope>) -> Result<Arc<[Scope]>, InvalidValue> {
    let scopes: Arc<[Scope]> = scopes.into_iter().collect();
    if scopes.is_empty() {
        return Err(EMPTY);
    }
    if scopes.iter().any(Scope::is_wildcard) {
        return Err(WILDCARD);
    }
    Ok(scopes)
}

impl FromStr for ScopeRequirement {
    type Err = InvalidValue;

    /// One scope, `resource:action`.
    fn from_str(scope: &str) -> Result<Self, InvalidValue> {
        Self::scope(scope.parse()?)
    }
}

impl TryFrom<&str> for ScopeRequirement {
    type Error = InvalidValue;

    fn try_from(scope: &str) -> Result<Self, InvalidValue> {
        scope.parse()
    }
}

impl fmt::Display for ScopeRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.scopes().iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

const WILDCARD: InvalidValue = invalid("a required scope names its action, not *");
/// All of none would accept every caller, any of none would reject every caller.
const EMPTY: InvalidValue = invalid("a requirement has at least one scope");

const fn invalid(reason: &'static str) -> InvalidValue {
    InvalidValue::new("scope requirement", reason)
}
