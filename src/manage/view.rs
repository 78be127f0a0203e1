use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

#[cfg(feature = "json")]
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::address::Network;
use crate::clock::Timestamp;
#[cfg(feature = "json")]
use crate::key::Tenant;
use crate::key::{Actor, KeyId, KeyRecord, KeyStatus, Metadata, Owner, SecretString};
use crate::scope::ScopeSet;

/// The properties of a key that may be shown: neither secret nor digest.
///
/// With the feature `json` it serializes, as the [key routes](crate::ApiKeys) show it.
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
    /// Until when the secret before this one still verifies, if a [rotation](crate::manage::KeyManager::rotate) has left it a
    /// grace period that is not over.
    pub previous_valid_until: Option<Timestamp>,
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
    pub(crate) fn new(record: &KeyRecord, now: Timestamp) -> Self {
        let previous = record.extras.previous.as_ref();
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
            previous_valid_until: previous.map(|previous| previous.valid_until).filter(|end| *end > now),
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

#[cfg(feature = "json")]
impl Serialize for KeyView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = |networks: &[Network]| networks.iter().map(Network::to_string).collect::<Vec<_>>();
        let networks = (!self.allowed_addresses.is_empty()).then(|| texts(&self.allowed_addresses));
        let metadata = self.metadata.as_ref().and_then(|metadata| metadata.read::<serde_json::Value>().ok());
        let organization = match &self.owner.tenant {
            Tenant::Organization(organization) => Some(organization.as_str()),
            Tenant::System => None,
        };
        let mut key = serializer.serialize_struct("KeyView", 19)?;
        key.serialize_field("id", &self.id)?;
        key.serialize_field("organization", &organization)?;
        key.serialize_field("mode", &self.owner.mode)?;
        key.serialize_field("name", &self.name)?;
        key.serialize_field("hint", &self.hint)?;
        key.serialize_field("nextHint", &self.next_hint)?;
        key.serialize_field("scopes", &self.scopes)?;
        key.serialize_field("status", &self.status)?;
        key.serialize_field("createdAt", &self.created_at)?;
        key.serialize_field("createdBy", &self.created_by.as_ref().map(Actor::to_string))?;
        key.serialize_field("secretCreatedAt", &self.secret_created_at)?;
        key.serialize_field("ageDays", &(self.age.as_secs() / (24 * 60 * 60)))?;
        key.serialize_field("previousValidUntil", &self.previous_valid_until)?;
        key.serialize_field("lastUsedAt", &self.last_used_at)?;
        key.serialize_field("notBefore", &self.not_before)?;
        key.serialize_field("expiresAt", &self.expires_at)?;
        key.serialize_field("limits", &self.limits)?;
        // `null` for a key without restriction: an empty array would read as from nowhere.
        key.serialize_field("allowedAddresses", &networks)?;
        key.serialize_field("metadata", &metadata)?;
        key.end()
    }
}
