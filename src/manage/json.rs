//! The JSON of a key and of its history.

use serde_json::{Value, json};

use crate::key::KeyId;
use crate::manage::{CreatedKey, KeyView};
use crate::store::History;

pub(super) fn key(key: &KeyView) -> Value {
    json!(key)
}

/// With the secret, which is shown only now.
pub(super) fn created(created: &CreatedKey) -> Value {
    let mut data = key(&created.key);
    data["key"] = created.secret.expose_secret().into();
    data
}

/// A key that was revoked though its record can't be read.
pub(super) fn revoked(id: &KeyId) -> Value {
    json!({ "id": id.as_str(), "revoked": true })
}

pub(super) fn deleted(id: &KeyId) -> Value {
    json!({ "id": id.as_str(), "deleted": true })
}

pub(super) fn history(page: &History) -> Value {
    json!(page.events)
}
