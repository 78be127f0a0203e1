//! How a key is shown in JSON.

use serde_json::{Value, json};

use crate::address::Network;
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::manage::{CreatedKey, KeyView};
use crate::scope::Scope;

pub(super) fn key(key: &KeyView) -> Value {
    json!({
        "id": key.id.as_str(),
        "name": key.name,
        "hint": key.hint,
        "scopes": key.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
        "status": key.status.as_str(),
        "createdAt": rfc3339(key.created_at),
        "secretCreatedAt": rfc3339(key.secret_created_at),
        "ageDays": key.age.as_secs() / (24 * 60 * 60),
        "expiresAt": key.expires_at.map(rfc3339),
        "allowedAddresses": networks(&key.allowed_addresses),
    })
}

/// With the secret, which is shown this once.
pub(super) fn created(created: &CreatedKey) -> Value {
    let mut data = key(&created.key);
    data["key"] = created.secret.expose_secret().into();
    data
}

pub(super) fn deleted(id: &KeyId) -> Value {
    json!({ "id": id.as_str(), "deleted": true })
}

/// `null` for a key that may be used from anywhere: an empty array would read as from nowhere.
fn networks(networks: &[Network]) -> Option<Vec<String>> {
    (!networks.is_empty()).then(|| networks.iter().map(Network::to_string).collect())
}

/// An instant beyond the year 9999, which RFC 3339 can't write, is shown as the last one it can.
fn rfc3339(timestamp: Timestamp) -> String {
    let millis = i64::try_from(timestamp.as_unix_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX).to_string()
}
