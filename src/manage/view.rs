use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::address::Network;
use crate::clock::Timestamp;
use crate::key::{Actor, KeyId, KeyRecord, KeyState, Metadata, Owner, SecretString};
use crate::scope::ScopeSet;

/// The properties of a key that may be shown: neither secret nor digest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyView {
    /// The public identifier.
    pub id: KeyId,
    /// The organization or system, and the mode, that it belongs to.
    pub owner: Owner,
    /// The name people give the key.
    pub name: String,
    /// Prefix and last four characters, `wfk_…45pq`.
    pub hint: String,
    /// The hint of a new secret that [has not been used yet](crate::manage::KeyManager::rotate_on_first_use).
    pub next_hint: Option<String>,
    /// Its scopes.
    pub scopes: ScopeSet,
    /// Whether it works now.
    pub status: KeyStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its secret was made: at creation or by the last rotation.
    pub secret_created_at: Timestamp,
    /// How old the secret is.
    pub age: Duration,
    /// When it was last used, if the layer [records that](crate::ApiKeysBuilder::record_last_use), which it writes with a delay.
    pub last_used_at: Option<Timestamp>,
    /// The first instant at which it verifies.
    pub not_before: Option<Timestamp>,
    /// The first instant at which it no longer verifies.
    pub expires_at: Option<Timestamp>,
    /// Its own rate limits.
    pub limits: BTreeMap<String, NonZeroU32>,
    /// The networks that it may be used from; empty if any.
    pub allowed_addresses: Vec<Network>,
    /// Data of the application's own.
    pub metadata: Option<Metadata>,
    /// Who made it, if known.
    pub created_by: Option<Actor>,
    /// Counts the changes of the key, also those that use makes: a [next
    /// secret](crate::manage::KeyManager::rotate_on_first_use) that came into use, a move to another pepper. See
    /// [`KeyChange::if_version`](crate::manage::KeyChange::if_version).
    pub version: u64,
}

/// Whether a key works, and if not, why. Of several reasons, the one that lasts longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyStatus {
    /// It works.
    Active,
    /// It does not work yet.
    NotYetValid,
    /// It is disabled.
    Disabled,
    /// It has expired.
    Expired,
    /// It is revoked for good.
    Revoked,
}

/// A key with its secret, which is shown only now.
#[derive(Debug)]
#[non_exhaustive]
pub struct CreatedKey {
    /// The key.
    pub key: KeyView,
    /// The whole key, as the client sends it. The store has only its digest.
    pub secret: SecretString,
}

impl KeyView {
    pub(super) fn new(record: &KeyRecord, now: Timestamp) -> Self {
        Self {
            id: record.id,
            owner: record.owner.clone(),
            name: record.name.to_string(),
            hint: record.hint.to_string(),
            next_hint: record.extras.next.as_ref().map(|next| next.hint.clone()),
            scopes: record.scopes.clone(),
            status: KeyStatus::of(record, now),
            created_at: record.created_at,
            secret_created_at: record.secret_created_at,
            age: now.saturating_since(record.secret_created_at),
            last_used_at: record.last_used_at,
            not_before: record.extras.not_before,
            expires_at: record.expires_at,
            limits: record.extras.limits.clone(),
            allowed_addresses: record.extras.allowed_addresses.clone(),
            metadata: record.extras.metadata.clone(),
            created_by: record.created_by().cloned(),
            version: record.version,
        }
    }
}

impl KeyStatus {
    pub(super) fn of(record: &KeyRecord, now: Timestamp) -> Self {
        match record.state {
            KeyState::Revoked { .. } => Self::Revoked,
            _ if record.expires_at.is_some_and(|end| end <= now) => Self::Expired,
            KeyState::Disabled => Self::Disabled,
            KeyState::Active if record.extras.not_before.is_some_and(|start| now < start) => {
                Self::NotYetValid
            }
            KeyState::Active => Self::Active,
        }
    }

    /// `active`, `not_yet_valid`, `disabled`, `expired` or `revoked`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NotYetValid => "not_yet_valid",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
