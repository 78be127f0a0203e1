use crate::address::Network;
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, LimitOverrides, SecretString};
use crate::scope::{Scope, ScopeSet};

/// What a key to be made is to be like. Owner and mode are not in it: they are those of the
/// [`Authority`](super::Authority).
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use tower_api_keys::clock::Timestamp;
/// use tower_api_keys::NewKey;
///
/// let ninety_days = Duration::from_secs(90 * 24 * 60 * 60);
/// let mut key = NewKey::new("Nightly export").scopes(["runs:read", "runs:list"]);
/// key.expires_at = Some(Timestamp::from(SystemTime::now()).saturating_add(ninety_days));
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
    /// Whether a scope was named that is none.
    pub(super) has_invalid_scope: bool,
}

impl NewKey {
    /// A key with this name, which may do nothing yet. Valid at once, for all addresses that its creator may use.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scopes: ScopeSet::empty(),
            not_before: None,
            expires_at: None,
            limits: LimitOverrides::default(),
            allowed_addresses: Vec::new(),
            has_invalid_scope: false,
        }
    }

    /// Adds a scope, `resource:action` or `resource:*`. A text that is no scope makes the creation fail with
    /// [`Invalid`](super::ManageError::Invalid).
    #[must_use]
    pub fn scope(self, scope: impl AsRef<str>) -> Self {
        self.scopes([scope])
    }

    /// Adds several scopes: texts, or a [`ScopeSet`].
    #[must_use]
    pub fn scopes<S: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        let mut all: Vec<Scope> = self.scopes.iter().cloned().collect();
        for scope in scopes {
            match scope.as_ref().parse() {
                Ok(scope) => all.push(scope),
                Err(_) => self.has_invalid_scope = true,
            }
        }
        self.scopes = all.into_iter().collect();
        self
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
