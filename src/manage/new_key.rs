use crate::address::Network;
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, LimitOverrides, SecretString};
use crate::scope::ScopeSet;

/// What a key to be made is to be like. Owner and mode are not in it: they are those of the
/// [`Authority`](super::Authority).
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use tower_api_keys::clock::Timestamp;
/// use tower_api_keys::manage::NewKey;
/// use tower_api_keys::scope::ScopeSet;
///
/// let mut key = NewKey::new("Nightly export", ScopeSet::parse_list(["runs:read"])?);
/// let ninety_days = Duration::from_secs(90 * 24 * 60 * 60);
/// key.expires_at = Some(Timestamp::from(SystemTime::now()).saturating_add(ninety_days));
/// # Ok::<_, tower_api_keys::scope::InvalidScope>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewKey {
    /// What people call the key: 1 to 100 characters, not all of them blank, none of them a control character.
    pub name: String,
    /// What it may do. The empty set lets it do nothing.
    pub scopes: ScopeSet,
    /// The first instant at which it verifies; at once if `None`.
    pub not_before: Option<Timestamp>,
    /// The first instant at which it no longer verifies. If `None`, it ends with the key that creates it, and never
    /// if that one does not end.
    pub expires_at: Option<Timestamp>,
    /// Requests per window instead of a rate limit category's own. A category that is not named has the limit of the
    /// key that creates this one.
    pub limits: LimitOverrides,
    /// The networks that it may be used from, at most 100. Empty: those of the key that creates this one; anywhere, if
    /// that one is for everywhere.
    pub allowed_addresses: Vec<Network>,
}

impl NewKey {
    /// A key with this name and these scopes, valid at once, for everywhere that the key is for that creates it.
    pub fn new(name: impl Into<String>, scopes: ScopeSet) -> Self {
        Self {
            name: name.into(),
            scopes,
            not_before: None,
            expires_at: None,
            limits: LimitOverrides::default(),
            allowed_addresses: Vec::new(),
        }
    }
}

/// A key that was made elsewhere, to be [imported](super::KeyManager::import).
#[derive(Debug)]
#[non_exhaustive]
pub enum ExistingKey {
    /// The whole key, as clients send it. It must be one of the manager's [`KeyFormat`](crate::key::KeyFormat).
    Plaintext(SecretString),
    /// A digest taken over from another system, where only that was kept.
    Digest {
        /// The public identifier: the one in the key's text, if the format has it there, otherwise any.
        id: KeyId,
        /// The digest of the whole key, plain or under one of the manager's [`Peppers`](crate::key::Peppers).
        digest: Digest,
        /// What a listing shows, such as `wfk_…45pq`: at most 64 characters, none of them a control character.
        hint: String,
    },
}
