use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::InvalidValue;
use crate::address::Network;
use crate::clock::Timestamp;
use crate::key::{KeyRecord, Metadata};
use crate::scope::{Scope, ScopeSet};

/// What [`KeyManager::update`](super::KeyManager::update) changes of a key; everything else stays.
///
/// ```
/// use tower_api_keys::manage::KeyChange;
///
/// let change = KeyChange::new().name("Nightly export").scopes(["runs:read"]).limit("read", 5_000).expires_at(None);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct KeyChange {
    pub(super) version: Option<u64>,
    pub(super) name: Option<String>,
    pub(super) scopes: Option<ScopeSet>,
    pub(super) has_invalid_scope: bool,
    pub(super) not_before: Option<Option<Timestamp>>,
    pub(super) expires_at: Option<Option<Timestamp>>,
    pub(super) removes_limits: bool,
    /// By category; `None` removes the limit, zero is a fault.
    pub(super) limits: BTreeMap<String, Option<u32>>,
    pub(super) allowed_addresses: Option<Vec<Network>>,
    pub(super) metadata: Option<Option<Metadata>>,
    /// An object to merge into the metadata (RFC 7396).
    #[cfg(feature = "axum")]
    pub(super) metadata_patch: Option<serde_json::Value>,
}

impl KeyChange {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name: 1 to 100 characters, not all blank, no control characters.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Replaces all scopes: texts, `resource:action` or `resource:*`, or a [`ScopeSet`]. With an invalid one the update
    /// fails with [`Invalid`](super::ManageError::Invalid).
    pub fn scopes<S: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        let scopes = scopes.into_iter().map(|scope| scope.as_ref().parse::<Scope>());
        match scopes.collect::<Result<_, _>>() {
            Ok(scopes) => self.scopes = Some(scopes),
            Err(_) => self.has_invalid_scope = true,
        }
        self
    }

    /// Sets the first instant at which the key verifies; `None`: it does from now on.
    pub fn not_before(self, start: impl Into<Option<Timestamp>>) -> Self {
        Self { not_before: Some(start.into()), ..self }
    }

    /// Sets the first instant, in the future, at which the key no longer verifies; `None`: it does not expire.
    pub fn expires_at(self, end: impl Into<Option<Timestamp>>) -> Self {
        Self { expires_at: Some(end.into()), ..self }
    }

    /// Sets the key's own limit in one rate limit category, at least 1 request in a window; `None` removes it. A category that
    /// counts no single keys, or that there is none of, is stored and has no effect.
    pub fn limit(mut self, category: impl Into<String>, requests: impl Into<Option<u32>>) -> Self {
        self.limits.insert(category.into(), requests.into());
        self
    }

    /// Removes all of the key's own limits, but for those set with [`limit`](Self::limit).
    pub fn without_limits(self) -> Self {
        Self { removes_limits: true, ..self }
    }

    /// Replaces the networks that the key may be used from, at most 100; any address if there is none.
    pub fn allowed_addresses(self, networks: impl IntoIterator<Item = Network>) -> Self {
        Self { allowed_addresses: Some(networks.into_iter().collect()), ..self }
    }

    /// Replaces the metadata; `None` removes it.
    pub fn metadata(self, metadata: impl Into<Option<Metadata>>) -> Self {
        Self { metadata: Some(metadata.into()), ..self }
    }

    /// Changes the key only if this is still its [version](super::KeyView::version); otherwise the update fails with
    /// [`Overtaken`](super::ManageError::Overtaken).
    pub fn if_version(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Changes `record`. The metadata is not valid if it would become too long.
    pub(super) fn apply(&self, record: &mut KeyRecord) -> Result<(), InvalidValue> {
        if let Some(name) = &self.name {
            record.name = name.as_str().into();
        }
        if let Some(scopes) = &self.scopes {
            record.scopes = scopes.clone();
        }
        if let Some(end) = self.expires_at {
            record.expires_at = end;
        }
        if let Some(start) = self.not_before {
            record.extras.not_before = start;
        }
        if let Some(networks) = &self.allowed_addresses {
            record.extras.allowed_addresses.clone_from(networks);
        }
        if let Some(metadata) = &self.metadata {
            record.extras.metadata.clone_from(metadata);
        }
        if self.removes_limits {
            record.extras.limits.clear();
        }
        for (category, limit) in &self.limits {
            match limit.and_then(NonZeroU32::new) {
                Some(limit) => _ = record.extras.limits.insert(category.clone(), limit),
                None => _ = record.extras.limits.remove(category),
            }
        }
        #[cfg(feature = "axum")]
        if let Some(patch) = &self.metadata_patch {
            let metadata = record.extras.metadata.as_ref();
            let mut merged = metadata.map_or_else(|| Ok(serde_json::Value::Null), Metadata::read)?;
            merge(&mut merged, patch);
            record.extras.metadata = Some(Metadata::new(&merged)?);
        }
        record.extras.shrink();
        Ok(())
    }
}

/// A merge patch: RFC 7396 section 2.
#[cfg(feature = "axum")]
fn merge(target: &mut serde_json::Value, patch: &serde_json::Value) {
    let serde_json::Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = serde_json::json!({});
    }
    for (name, value) in patch {
        match value {
            serde_json::Value::Null => _ = target.as_object_mut().and_then(|target| target.remove(name)),
            value => merge(&mut target[name.as_str()], value),
        }
    }
}

#[cfg(all(test, feature = "axum"))]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The examples of RFC 7396, appendix A, whose results are objects.
    #[test]
    fn objects_are_merged_as_in_the_rfc() {
        for (target, patch, want) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
            (Value::Null, json!({"a":1}), json!({"a":1})),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, want, "{target} {patch}");
        }
    }
}
