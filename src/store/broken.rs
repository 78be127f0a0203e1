use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::{FindResult, KeySelector, Page, StoreError, StoreErrorKind};
use crate::key::{KeyId, KeyRecord, Owner};

/// A key whose record cannot be read, or is not the one that was asked for: damaged, or edited by hand.
///
/// It does not authenticate, and can be [revoked](crate::manage::KeyManager::revoke) and
/// [deleted](crate::manage::KeyManager::delete). As an error it is the [source](std::error::Error::source) of a
/// [`StoreError`] of the kind [`Corrupt`](StoreErrorKind::Corrupt).
///
/// ```
/// use tower_api_keys::key::KeyId;
/// use tower_api_keys::store::{BrokenKey, StoreError, StoreErrorKind};
///
/// let id: KeyId = "k1".parse()?;
/// let error = StoreError::from(BrokenKey::new(Some(id), "scopes: a scope is resource:action"));
/// assert_eq!(error.kind(), StoreErrorKind::Corrupt);
/// assert_eq!(error.broken_key().and_then(|key| key.id), Some(id));
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq, Error)]
#[error("the record of key {}: {fault}", Name(self.id))]
#[non_exhaustive]
pub struct BrokenKey {
    /// The identifier; `None` if that cannot be read either.
    pub id: Option<KeyId>,
    /// The owner; `None` if that cannot be read either.
    pub owner: Option<Owner>,
    /// What is wrong, for the log of the application.
    pub fault: Cow<'static, str>,
}

impl BrokenKey {
    /// A key of an unknown owner. `fault` says what is wrong, such as `scopes: a scope is resource:action`, and contains no
    /// secret and no digest.
    pub fn new(id: Option<KeyId>, fault: impl Into<Cow<'static, str>>) -> Self {
        Self { id, owner: None, fault: fault.into() }
    }

    /// The same key of this owner.
    #[must_use]
    pub fn of(self, owner: Option<Owner>) -> Self {
        Self { owner, ..self }
    }
}

impl From<BrokenKey> for StoreError {
    fn from(broken: BrokenKey) -> Self {
        Self::new(StoreErrorKind::Corrupt).with_source(broken)
    }
}

impl fmt::Debug for BrokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Name(Option<KeyId>);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(id) => id.fmt(f),
            None => f.write_str("(unreadable)"),
        }
    }
}

/// What stores answer, compared with what they were asked for. A store may be the application's own, and its rows may be
/// edited by hand: a record of another key must not stand in for the one that was asked for.
impl KeySelector<'_> {
    /// Whether `record` is one that was asked for.
    pub(crate) fn selects(&self, record: &KeyRecord) -> bool {
        match self {
            Self::Id(id) => record.id == **id,
            Self::Digests(digests) => record.digests().any(|digest| digests.contains(&digest)),
        }
    }

    /// The store's answer, unless it is another record than was asked for.
    pub(crate) fn checked(&self, found: FindResult) -> FindResult {
        match found {
            Ok(Some(record)) if !self.selects(&record) => Err(self.mismatch(&record)),
            found => found,
        }
    }

    #[cold]
    pub(crate) fn mismatch(&self, record: &KeyRecord) -> StoreError {
        let broken = match self {
            Self::Id(id) => BrokenKey::new(
                Some(**id),
                format!("the store has the record of key {} in its place", record.id),
            ),
            Self::Digests(_) => {
                BrokenKey::new(Some(record.id), "the store finds it by a digest that it does not have")
                    .of(Some(record.owner.clone()))
            }
        };
        broken.into()
    }
}

/// The answer to [`get`](super::KeyAdministration::get), unless it is another record than was asked for.
pub(crate) fn checked_get(owner: &Owner, id: &KeyId, found: FindResult) -> FindResult {
    let found = KeySelector::Id(id).checked(found)?;
    match found {
        Some(record) if record.owner != *owner => Err(of_another_owner(&record).into()),
        found => Ok(found),
    }
}

/// A listed page, without the records of other owners than the one asked for, of which the first is returned as well.
pub(crate) fn checked_page(owner: Option<&Owner>, page: &mut Page) -> Option<BrokenKey> {
    let is_of = |record: &Arc<KeyRecord>| owner.is_none_or(|owner| record.owner == *owner);
    let alien = page.keys.iter().find(|record| !is_of(record)).map(|record| of_another_owner(record));
    page.keys.retain(is_of);
    alien
}

fn of_another_owner(record: &KeyRecord) -> BrokenKey {
    let fault = format!("it is one of {}, and the store has it as one of another owner", record.owner);
    BrokenKey::new(Some(record.id), fault).of(Some(record.owner.clone()))
}
