use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::address::Network;
use crate::clock::Timestamp;
use crate::key::Metadata;
use crate::scope::{Scope, ScopeSet};

/// The properties of a key to create. Owner and mode come from the [`Authority`](super::Authority).
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use tower_api_keys::clock::Timestamp;
/// use tower_api_keys::key::Metadata;
/// use tower_api_keys::NewKey;
///
/// let in_ninety_days = SystemTime::now() + Duration::from_secs(90 * 24 * 60 * 60);
/// let key = NewKey::new("Nightly export")
///     .scopes(["runs:read", "runs:list"])
///     .expires_at(Timestamp::from(in_ninety_days))
///     .metadata(Metadata::from_json(r#"{"plan":"pro"}"#)?);
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewKey {
    /// The name people give the key: 1 to 100 characters, not all blank, no control characters.
    pub name: String,
    /// Its scopes. With the empty set it may do nothing.
    pub scopes: ScopeSet,
    /// The first instant at which it verifies; immediately if `None`.
    pub not_before: Option<Timestamp>,
    /// The first instant at which it no longer verifies. If `None`, it expires with the key that creates it.
    pub expires_at: Option<Timestamp>,
    /// Requests per window in place of a rate limit category's own. Other categories have the limit of the key that
    /// creates this one.
    pub limits: BTreeMap<String, NonZeroU32>,
    /// The networks that it may be used from, at most 100. If empty, those of the key that creates this one; any
    /// address, if that key is not restricted.
    pub allowed_addresses: Vec<Network>,
    /// Data of the application's own; if `None`, those of the key that creates this one. A caller needs
    /// [leave](super::KeyManager::with_metadata_of_callers) to set them.
    pub metadata: Option<Metadata>,
    /// Whether it is stored disabled, as an import of a disabled key.
    pub(crate) is_disabled: bool,
    /// Whether an invalid scope was added.
    pub(super) has_invalid_scope: bool,
}

impl NewKey {
    /// A key with this name and without scopes. Valid immediately, from all addresses of its creator.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scopes: ScopeSet::empty(),
            not_before: None,
            expires_at: None,
            limits: BTreeMap::new(),
            allowed_addresses: Vec::new(),
            metadata: None,
            is_disabled: false,
            has_invalid_scope: false,
        }
    }

    /// Adds a scope, `resource:action` or `resource:*`. With an invalid scope the creation fails with
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

    /// Sets the first instant at which the key no longer verifies.
    #[must_use]
    pub fn expires_at(self, end: Timestamp) -> Self {
        Self { expires_at: Some(end), ..self }
    }

    /// Sets the key's own limit in one rate limit category.
    #[must_use]
    pub fn limit(mut self, category: impl Into<String>, requests: NonZeroU32) -> Self {
        self.limits.insert(category.into(), requests);
        self
    }

    /// Sets the metadata.
    #[must_use]
    pub fn metadata(self, metadata: Metadata) -> Self {
        Self { metadata: Some(metadata), ..self }
    }
}
