//! The JSON of a key.

use serde_json::{Value, json};

use crate::address::Network;
use crate::key::{Actor, KeyId, Metadata};
use crate::manage::{CreatedKey, KeyView};
use crate::scope::Scope;

pub(super) fn key(key: &KeyView) -> Value {
    json!({
        "id": key.id.as_str(),
        "name": key.name,
        "hint": key.hint,
        "scopes": key.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
        "status": key.status.as_str(),
        "createdAt": key.created_at,
        "secretCreatedAt": key.secret_created_at,
        "ageDays": key.age.as_secs() / (24 * 60 * 60),
        "lastUsedAt": key.last_used_at,
        "notBefore": key.not_before,
        "expiresAt": key.expires_at,
        "limits": key.limits,
        "allowedAddresses": networks(&key.allowed_addresses),
        "metadata": metadata(key.metadata.as_ref()),
        "createdBy": key.created_by.as_ref().map(Actor::to_string),
    })
}

/// With the secret, which is shown only now.
pub(super) fn created(created: &CreatedKey) -> Value {
    let mut data = key(&created.key);
    data["key"] = created.secret.expose_secret().into();
    data
}

pub(super) fn deleted(id: &KeyId) -> Value {
    json!({ "id": id.as_str(), "deleted": true })
}

/// The object, or `null`.
fn metadata(metadata: Option<&Metadata>) -> Value {
    metadata.and_then(|metadata| metadata.read().ok()).unwrap_or(Value::Null)
}

/// `null` for a key without restriction: an empty array would read as from nowhere.
fn networks(networks: &[Network]) -> Option<Vec<String>> {
    (!networks.is_empty()).then(|| networks.iter().map(Network::to_string).collect())
}
