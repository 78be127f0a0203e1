use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Mode;
use crate::InvalidValue;

/// Names an organization (a company, a tenant, an account) that owns keys and resources.
///
/// 1 to 128 visible ASCII characters, compared byte for byte. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganizationId(Arc<str>);

impl OrganizationId {
    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OrganizationId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text.is_empty() || text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(INVALID);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for OrganizationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for OrganizationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrganizationId({})", self.0)
    }
}

impl serde::Serialize for OrganizationId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for OrganizationId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}

/// The tenant a key acts for: one organization, or the system above all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tenant {
    /// One organization. The key cannot see any other organization.
    Organization(OrganizationId),
    /// The application itself. Such a key belongs to no organization, and none is implied.
    System,
}

/// The space in which a key lives: a tenant, in one mode.
///
/// Every administrative store method takes the owner it acts for, so a key of another organization or of the other
/// mode cannot be addressed.
///
/// ```
/// use tower_api_keys::key::{Mode, Owner, Tenant};
///
/// let acme = Owner::organization("acme".parse()?, Mode::Live);
/// assert_eq!(acme.mode, Mode::Live);
/// assert!(matches!(acme.tenant, Tenant::Organization(ref id) if id.as_str() == "acme"));
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The tenant the key acts for.
    pub tenant: Tenant,
    /// Live data or test data. An application without modes uses [`Mode::Live`] for everything.
    pub mode: Mode,
}

impl Owner {
    /// An organization, in one mode.
    pub fn organization(organization: OrganizationId, mode: Mode) -> Self {
        Self { tenant: Tenant::Organization(organization), mode }
    }

    /// The system, in one mode.
    pub fn system(mode: Mode) -> Self {
        Self { tenant: Tenant::System, mode }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(organization) => organization.fmt(f),
            Self::System => f.write_str("system"),
        }
    }
}

impl fmt::Display for Owner {
    /// `acme (live)`, `system (test)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.tenant, self.mode)
    }
}

const INVALID: InvalidValue =
    InvalidValue::new("organization id", "an organization id is 1 to 128 visible ASCII characters");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organization_ids_are_visible_ascii() {
        let longest = "o".repeat(128);
        let too_long = "o".repeat(129);
        for (text, ok) in [
            ("acme", true),
            ("org_9f/…", false),
            ("org:1", true),
            (longest.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("a b", false),
            ("a\u{1b}[31m", false),
        ] {
            assert_eq!(text.parse::<OrganizationId>().is_ok(), ok, "{text:?}");
        }
    }
}
