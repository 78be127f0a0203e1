use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::address::ClientAddress;
use crate::key::KeyId;

/// Whose requests are counted together.
///
/// Make one from what was verified: the identifier of an authenticated key, never the text a caller sent, since
/// spellings of a credential would each get a limit of their own.
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
    /// Whatever else the host counts by, such as an organization.
    Other(Arc<str>),
}

impl Subject {
    /// A subject named by the host.
    pub fn other(name: impl Into<Arc<str>>) -> Self {
        Self::Other(name.into())
    }
}

impl Hash for Subject {
    // Without the variant, which would take as long to hash as the rest: one of each kind may well share a hash.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Key(id) => id.hash(state),
            Self::Address(address) => address.hash(state),
            Self::Other(name) => name.hash(state),
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
