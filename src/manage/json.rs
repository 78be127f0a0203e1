//! The JSON of a key, of its history and of usage.

use serde_json::{Value, json};

use crate::key::KeyId;
use crate::manage::{CreatedKey, KeyView};
#[cfg(feature = "axum")]
use crate::store::History;
use crate::usage::{Usage, UsageQuery};

pub(crate) fn key(key: &KeyView) -> Value {
    json!(key)
}

/// With the secret, which is shown only now.
pub(crate) fn created(created: &CreatedKey) -> Value {
    let mut data = key(&created.key);
    data["key"] = created.secret.expose_secret().into();
    data
}

/// A key that was revoked though its record can't be read.
pub(crate) fn revoked(id: &KeyId) -> Value {
    json!({ "id": id.as_str(), "revoked": true })
}

pub(crate) fn deleted(id: &KeyId) -> Value {
    json!({ "id": id.as_str(), "deleted": true })
}

#[cfg(feature = "axum")]
pub(crate) fn history(page: &History) -> Value {
    json!(page.events)
}

pub(crate) fn usage(query: &UsageQuery, usage: &Usage) -> Value {
    json!({
        "bucket": query.bucket.as_str(),
        "groupBy": query.group_by.map(|group| group.as_str()),
        "asOf": usage.as_of,
        "rows": usage.rows,
    })
}
