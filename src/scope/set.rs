use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeSeq;

use super::Scope;
use crate::InvalidValue;

/// The scopes a key holds: sorted, without duplicates, cheap to clone.
///
/// A held `invoice:*` grants every action of exactly `invoice`, including future ones. The reverse does not hold: no
/// list of actions of `invoice` equals `invoice:*`.
///
/// ```
/// use tower_api_keys::scope::{Scope, ScopeSet};
///
/// let held = ScopeSet::parse_list(["invoice:*", "checkout:create"])?;
/// assert!(held.contains(&Scope::from_static("invoice:read")));
/// assert!(!held.contains(&Scope::from_static("invoice_item:read")));
///
/// let wanted = ScopeSet::parse_list(["invoice:read", "invoice:update"])?;
/// assert!(wanted.is_subset_of(&held));
/// assert!(!held.is_subset_of(&wanted));
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Option<Arc<Scopes>>);

/// At least one.
#[derive(PartialEq, Eq, Hash)]
struct Scopes {
    sorted: Box<[Scope]>,
    has_wildcard: bool,
}

impl ScopeSet {
    /// No scopes: grants nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A set of scopes given as text.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if any of them is malformed.
    pub fn parse_list<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidValue> {
        scopes.into_iter().map(str::parse::<Scope>).collect()
    }

    /// Whether `scope` is held, itself or through `resource:*`. `resource:*` is held only as itself.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.as_ref().is_some_and(|held| held.contains(scope))
    }

    /// Whether no other set shares the memory of this one.
    pub(crate) fn is_unshared(&self) -> bool {
        self.0.as_ref().is_none_or(|scopes| Arc::strong_count(scopes) == 1)
    }

    /// Whether `other` [contains](Self::contains) every scope of this set. The empty set is a subset of every set.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.iter().all(|scope| other.contains(scope))
    }

    /// The scopes that both sets grant.
    ///
    /// ```
    /// use tower_api_keys::scope::ScopeSet;
    ///
    /// let one = ScopeSet::parse_list(["invoice:*", "checkout:create", "runs:read"])?;
    /// let other = ScopeSet::parse_list(["invoice:read", "checkout:*", "client:read"])?;
    /// assert_eq!(one.intersection(&other), ScopeSet::parse_list(["invoice:read", "checkout:create"])?);
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        if self == other {
            return self.clone();
        }
        let of_both = |one: &Self, other: &Self| {
            let granted = one.iter().filter(|scope| other.contains(scope)).cloned();
            granted.collect::<Vec<_>>()
        };
        of_both(self, other).into_iter().chain(of_both(other, self)).collect()
    }

    /// The scopes in the order of their text.
    pub fn iter(&self) -> std::slice::Iter<'_, Scope> {
        self.0.as_ref().map_or(&[][..], |scopes| &scopes.sorted).iter()
    }

    /// The number of scopes; a wildcard counts as one.
    pub fn len(&self) -> usize {
        self.iter().len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Scopes {
    fn contains(&self, scope: &Scope) -> bool {
        // Most keys have few scopes, and most scopes differ in length, so a linear search is fast.
        let holds = match self.sorted.len() {
            0..=16 => self.sorted.contains(scope),
            _ => self.sorted.binary_search(scope).is_ok(),
        };
        holds || self.has_wildcard && self.holds_wildcard(scope.resource())
    }

    fn holds_wildcard(&self, resource: &str) -> bool {
        // Compares with `resource:*` without building it.
        let compare = |held: &Scope| {
            let (head, tail) = held.as_str().split_at_checked(resource.len()).unwrap_or((held.as_str(), ""));
            head.cmp(resource).then_with(|| tail.cmp(":*"))
        };
        self.sorted.binary_search_by(compare).is_ok()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        let has_wildcard = scopes.iter().any(Scope::is_wildcard);
        Self((!scopes.is_empty()).then(|| Arc::new(Scopes { sorted: scopes.into(), has_wildcard })))
    }
}

impl IntoIterator for ScopeSet {
    type Item = Scope;
    type IntoIter = std::vec::IntoIter<Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter().cloned().collect::<Vec<_>>().into_iter()
    }
}

impl<'a> IntoIterator for &'a ScopeSet {
    type Item = &'a Scope;
    type IntoIter = std::slice::Iter<'a, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Scope::as_str)).finish()
    }
}

impl serde::Serialize for ScopeSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        for scope in self {
            list.serialize_element(scope)?;
        }
        list.end()
    }
}

impl<'de> serde::Deserialize<'de> for ScopeSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(<Vec<Scope> as serde::Deserialize>::deserialize(deserializer)?.into_iter().collect())
    }
}
