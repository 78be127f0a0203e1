use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::address::ClientAddress;
use crate::key::{KeyId, Mode, OrganizationId};

/// Identifies the requests that are counted together.
///
/// Make one from verified data: the identifier of an authenticated key, never the credential text that a caller sent,
/// since each spelling of it would get its own limit.
///
/// ```
/// use tower_api_keys::limit::Subject;
///
/// let organization = Subject::other("org_42");
/// assert_ne!(organization, Subject::other("org_43"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// An authenticated key.
    Key(KeyId),
    /// An address, before or without authentication.
    Address(ClientAddress),
    /// Another group that the application counts, such as an organization.
    Other(Arc<str>),
}

impl Subject {
    /// An organization in one mode, as [`RateLimit::per_organization`](crate::RateLimit::per_organization) counts it.
    pub fn organization(organization: &OrganizationId, mode: Mode) -> Self {
        Self::other(format!("{mode}:{organization}"))
    }

    /// A subject named by the application.
    pub fn other(name: impl Into<Arc<str>>) -> Self {
        Self::Other(name.into())
    }
}

impl Hash for Subject {
    // Without the variant, which would take as long to hash as the rest: two subjects of different kinds may share a
    // hash.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Key(id) => id.hash(state),
            Self::Address(address) => address.hash(state),
            Self::Other(name) => name.hash(state),
        }
    }
}

impl fmt::Display for Subject {
    /// `key:k7Jc0qWvTz4n8XsB`, `address:192.0.2.1`, `other:live:acme`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Address(address) => write!(f, "address:{}", address.ip()),
            Self::Other(name) => write!(f, "other:{name}"),
        }
    }
}

impl From<KeyId> for Subject {
    fn from(id: KeyId) -> Self {
        Self::Key(id)
    }
}

impl From<ClientAddress> for Subject {
    fn from(address: ClientAddress) -> Self {
        Self::Address(address)
    }
}
