use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;

use super::audit::AuditEvent;
use super::{AuditLog, BrokenKey, KeyStore, QuotaChange, QuotaRow, StoreError, StoreErrorKind, UsageLog};
use crate::InvalidValue;
use crate::clock::Timestamp;
use crate::key::{Actor, Digest, KeyId, KeyRecord, KeyState, KeyStatus, Mode, Owner};
use crate::scope::Scope;

/// The store operations that key management needs, in addition to the lookup.
///
/// Every method is atomic: it takes effect completely or not at all. Once it has returned, a following
/// [`find`](KeyStore::find) on this store sees the effect. No method reads a clock; the instants come with the
/// records.
///
/// A change comes with its event, or with none if it is made past the [`KeyManager`](crate::manage::KeyManager). A store
/// that keeps an [audit log](Self::audit_log) writes both in one transaction, and no event of a change that it has not made.
/// Others ignore events.
#[async_trait]
pub trait KeyAdministration: KeyStore {
    /// Stores a new key.
    ///
    /// # Errors
    ///
    /// [`Conflict`](super::StoreErrorKind::Conflict) if the identifier or a digest is already stored, in any
    /// organization; nothing is changed then.
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError>;

    /// The key `id` of `owner`, or `None` if `owner` has no such key.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot answer.
    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError>;

    /// One page of `owner`'s keys, or of the keys of all owners, that the query [matches](KeyQuery::matches): oldest first
    /// (by creation, then identifier), or in the [reverse order](KeyQuery::newest_first). A record that can't be read is named in the page, and does not keep the others from
    /// it; whether it matches the query may not be known.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot answer.
    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError>;

    /// How many keys `owner` has, in whatever state. By default they are listed.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot answer.
    async fn count(&self, owner: &Owner) -> Result<u64, StoreError> {
        let mut query = KeyQuery { limit: KeyQuery::MAX_LIMIT, ..KeyQuery::default() };
        let mut count = 0;
        loop {
            let page = self.list(Some(owner), &query).await?;
            count += (page.keys.len() + page.broken.len()) as u64;
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(count),
            }
        }
    }

    /// How many keys need each pepper, by its identifier; `None` is for digests without one. A key is counted for each pepper
    /// that a secret of it was digested with, the one in use, the next one, and the previous one if its grace ends after `at`;
    /// not if the key is revoked. What was [imported as a hash](crate::manage::KeyManager::import_hash), and not used since, has
    /// no digest. By default the keys are listed; those that can't be read are not counted.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot answer.
    async fn peppers_in_use(&self, at: Timestamp) -> Result<BTreeMap<Option<u32>, u64>, StoreError> {
        let mut query = KeyQuery { limit: KeyQuery::MAX_LIMIT, ..KeyQuery::default() };
        let mut counts = BTreeMap::new();
        loop {
            let page = self.list(None, &query).await?;
            for pepper in page.keys.iter().flat_map(|record| record.peppers_needed(at)) {
                *counts.entry(pepper).or_default() += 1;
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(counts),
            }
        }
    }

    /// How many keys there are of each mode and status at this instant. By default the keys are listed; those that can't be
    /// read are not counted.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot answer.
    async fn count_by_status(&self, at: Timestamp) -> Result<BTreeMap<(Mode, KeyStatus), u64>, StoreError> {
        let mut query = KeyQuery { limit: KeyQuery::MAX_LIMIT, ..KeyQuery::default() };
        let mut counts = BTreeMap::new();
        loop {
            let page = self.list(None, &query).await?;
            for record in &page.keys {
                *counts.entry((record.owner.mode, KeyStatus::of(record, at))).or_default() += 1;
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(counts),
            }
        }
    }

    /// Replaces the stored record of the same identifier and owner, if its version is still `record.version`.
    ///
    /// The stored record gets the next version. A record's identifier, owner, creation time and creator never change.
    ///
    /// # Errors
    ///
    /// [`Conflict`](super::StoreErrorKind::Conflict) if the owner has no such key, its version is different, or a
    /// digest belongs to another key; nothing is changed then.
    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError>;

    /// Revokes the key `id` of `owner` at this instant whatever else is stored of it, for a record that can't be read: state
    /// and version change, and of its secrets the previous and the next one are dropped. A key whose owner can't be read
    /// becomes one of `owner`. `false` if there is no such key, or it is revoked already.
    ///
    /// By default the record is read, which is enough for stores whose records are always readable.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not be revoked.
    async fn revoke_unread(
        &self,
        owner: &Owner,
        id: &KeyId,
        at: Timestamp,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        let Some(stored) = self.get(owner, id).await? else { return Ok(false) };
        if matches!(stored.state, KeyState::Revoked { .. }) {
            return Ok(false);
        }
        let mut record = KeyRecord::clone(&stored);
        record.revoke(at);
        self.replace(record, event).await.map(|()| true)
    }

    /// Deletes the key `id` of `owner` for good, also one whose record can't be read. `false` if `owner` has no such key.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not be deleted.
    async fn delete(&self, owner: &Owner, id: &KeyId, event: Option<&AuditEvent>)
    -> Result<bool, StoreError>;

    /// Where the store keeps the events of changes. By default it keeps none, and the application learns of them through
    /// [its own sink](crate::ApiKeysBuilder::audit) alone.
    fn audit_log(&self) -> Option<&dyn AuditLog> {
        None
    }

    /// Where the store keeps how often keys are [used](crate::usage). By default it does not, and an assembly that
    /// [counts](crate::ApiKeysBuilder::count_usage) is refused.
    fn usage_log(&self) -> Option<&dyn UsageLog> {
        None
    }

    /// Whether the store keeps [stored quotas](crate::limit#stored-quotas). By default it does not, and an assembly with such
    /// a quota is refused.
    fn keeps_quotas(&self) -> bool {
        false
    }

    /// Changes what is counted for `subject` in the stored quota `category`, as [`QuotaChange::apply`] says; returns what
    /// that returns. Both names are any texts.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it was not changed, or may not have been.
    async fn change_quota(
        &self,
        category: &str,
        subject: &str,
        change: &QuotaChange,
    ) -> Result<(QuotaRow, u64), StoreError> {
        let _ = (category, subject, change);
        Err(StoreError::new(StoreErrorKind::Other).with_source("this store keeps no quotas"))
    }

    /// Remembers that the key `id` was imported with `digest`, also when the key has another one or is deleted. Changes
    /// nothing if the digest is remembered already.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not be stored.
    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError>;

    /// The key that is [remembered](Self::remember_import) to have been imported with one of `digests`, whether or not it is
    /// still stored.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot answer.
    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError>;

    /// Forgets all digests with which the key `id` was imported. `false` if there are none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they could not be removed.
    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError>;
}

#[async_trait]
impl<S: KeyAdministration + ?Sized> KeyAdministration for Arc<S> {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        (**self).insert(record, event).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        (**self).get(owner, id).await
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        (**self).list(owner, query).await
    }

    async fn count(&self, owner: &Owner) -> Result<u64, StoreError> {
        (**self).count(owner).await
    }

    async fn peppers_in_use(&self, at: Timestamp) -> Result<BTreeMap<Option<u32>, u64>, StoreError> {
        (**self).peppers_in_use(at).await
    }

    async fn count_by_status(&self, at: Timestamp) -> Result<BTreeMap<(Mode, KeyStatus), u64>, StoreError> {
        (**self).count_by_status(at).await
    }

    async fn revoke_unread(
        &self,
        owner: &Owner,
        id: &KeyId,
        at: Timestamp,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        (**self).revoke_unread(owner, id, at, event).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        (**self).replace(record, event).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        (**self).delete(owner, id, event).await
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        (**self).audit_log()
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        (**self).usage_log()
    }

    fn keeps_quotas(&self) -> bool {
        (**self).keeps_quotas()
    }

    async fn change_quota(
        &self,
        category: &str,
        subject: &str,
        change: &QuotaChange,
    ) -> Result<(QuotaRow, u64), StoreError> {
        (**self).change_quota(category, subject, change).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        (**self).remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        (**self).imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        (**self).forget_import(id, event).await
    }
}

/// Which keys to list, and where to start.
///
/// ```
/// use tower_api_keys::clock::Timestamp;
/// use tower_api_keys::store::KeyQuery;
///
/// let first_page = KeyQuery::default();
/// assert_eq!(first_page.limit, 100);
///
/// let mut to_rotate = KeyQuery::default();
/// to_rotate.secret_created_before = Some(Timestamp::from_unix_seconds(1_702_531_200));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyQuery {
    /// Start after this place, the [`Page::next`] of the previous page.
    pub after: Option<Cursor>,
    /// Only keys whose secret in use was made before this instant.
    pub secret_created_before: Option<Timestamp>,
    /// Only keys that end before this instant, also those that have ended.
    pub expires_before: Option<Timestamp>,
    /// Only keys that were neither made nor used at or after this instant, as far as uses are
    /// [recorded](crate::ApiKeysBuilder::record_last_use).
    pub unused_since: Option<Timestamp>,
    /// Only keys that have this status at this instant.
    pub status_at: Option<(KeyStatus, Timestamp)>,
    /// Only keys that this actor has made.
    pub created_by: Option<Actor>,
    /// Only keys of this mode, where those of all owners are listed.
    pub mode: Option<Mode>,
    /// Only keys that have this scope, [itself or through `resource:*`](crate::scope::ScopeSet::contains).
    pub scope: Option<Scope>,
    /// Only keys whose name begins with this text, byte for byte: upper and lower case differ, and no character stands for
    /// others.
    pub name_prefix: Option<String>,
    /// The newest keys first, and not the oldest.
    pub newest_first: bool,
    /// The maximum number of keys, clamped to 1..=1000.
    pub limit: usize,
}

impl Default for KeyQuery {
    /// The first hundred of all keys.
    fn default() -> Self {
        Self {
            after: None,
            secret_created_before: None,
            expires_before: None,
            unused_since: None,
            status_at: None,
            created_by: None,
            mode: None,
            scope: None,
            name_prefix: None,
            newest_first: false,
            limit: 100,
        }
    }
}

impl KeyQuery {
    /// The largest page.
    pub const MAX_LIMIT: usize = 1000;

    /// Whether `record` is one of the keys that are asked for, wherever the page starts. For stores that can't filter
    /// otherwise.
    pub fn matches(&self, record: &KeyRecord) -> bool {
        self.secret_created_before.is_none_or(|instant| record.secret_created_at < instant)
            && self.expires_before.is_none_or(|instant| record.expires_at.is_some_and(|end| end < instant))
            && self
                .unused_since
                .is_none_or(|instant| record.last_used_at.unwrap_or(record.created_at) < instant)
            && self.status_at.is_none_or(|(status, instant)| KeyStatus::of(record, instant) == status)
            && self.created_by.as_ref().is_none_or(|actor| record.created_by() == Some(actor))
            && self.mode.is_none_or(|mode| record.owner.mode == mode)
            && self.scope.as_ref().is_none_or(|scope| record.scopes.contains(scope))
            && self.name_prefix.as_ref().is_none_or(|prefix| record.name.starts_with(&**prefix))
    }
}

/// One page of keys: of a store's records, or of a manager's [views](crate::manage::KeyView).
#[derive(Clone, Debug)]
pub struct Page<K = Arc<KeyRecord>> {
    /// The keys, oldest first.
    pub keys: Vec<K>,
    /// Keys in this part of the listing whose records can't be read. They count neither as `keys` nor towards the limit.
    pub broken: Vec<BrokenKey>,
    /// Where the next page starts; `None` on the last page.
    pub next: Option<Cursor>,
}

/// A place in a listing, after the key with a given creation time and identifier.
///
/// Its text, `<milliseconds>.<key id>`, is sent back by the client to get the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// When the last key of the page was created.
    pub created_at: Timestamp,
    /// Its identifier.
    pub id: KeyId,
}

impl Cursor {
    /// The place after `record`.
    pub fn behind(record: &KeyRecord) -> Self {
        Self { created_at: record.created_at, id: record.id }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created_at.as_unix_millis(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (millis, id) = text.split_once('.').ok_or(INVALID)?;
        let cursor = Self {
            created_at: Timestamp::from_unix_millis(millis.parse().map_err(|_| INVALID)?),
            id: id.parse().map_err(|_| INVALID)?,
        };
        // Integers can be written in other ways, with a sign or with zeros in front.
        if cursor.to_string() == text { Ok(cursor) } else { Err(INVALID) }
    }
}

impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}

const INVALID: InvalidValue =
    InvalidValue::new("cursor", "a cursor is the text that a listing gave as its next page");
