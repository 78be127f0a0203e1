use std::num::NonZeroU32;
use std::time::Duration;

use super::{Digest, KeyId, Owner};
use crate::address::Network;
use crate::clock::Timestamp;
use crate::scope::ScopeSet;

/// What a store holds of a key: everything but the secret.
///
/// Fields are public so that a store can write them to columns and read them back; [`KeyRecord::new`] fills in
/// the rest. A record never contains the secret, only its [`Digest`].
///
/// ```
/// use tower_api_keys::clock::Timestamp;
/// use tower_api_keys::key::{KeyRecord, Mode, Owner, Peppers};
///
/// let owner = Owner::organization("acme".parse()?, Mode::Live);
/// let digest = Peppers::none().digest("wfk_abc123def456ghi789jkl012mno345pq");
/// let mut record =
///     KeyRecord::new("k7Jc0qWv".parse()?, owner, digest, Timestamp::from_unix_seconds(1_702_531_200));
/// record.name = "Production".into();
/// assert!(record.expires_at.is_none());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KeyRecord {
    /// The public identifier, unique in the store.
    pub id: KeyId,
    /// The organization or system, and the mode, in which the key lives. The stored mode is the truth; a mode
    /// mark in the key's text only has to agree with it.
    pub owner: Owner,
    /// What people call the key.
    pub name: String,
    /// What a listing shows so that people recognize the key, for example `wfk_…45pq`.
    pub hint: String,
    /// The digest of the secret in use.
    pub digest: Digest,
    /// The secret that the last rotation replaced, while it still verifies. While there is a [`next`](Self::next) one,
    /// this one does not: at most two secrets of a key verify at a time.
    pub previous: Option<PreviousSecret>,
    /// The secret that the last rotation made, as long as nobody has used it. Few keys have one, so it is boxed.
    pub next: Option<Box<NextSecret>>,
    /// What the key may do.
    pub scopes: ScopeSet,
    /// Whether the key may be used at all.
    pub state: KeyState,
    /// When the key was made.
    pub created_at: Timestamp,
    /// When the secret in use was made: at the creation, or by a rotation. A key's age counts from here.
    pub secret_created_at: Timestamp,
    /// The first instant at which the key verifies.
    pub not_before: Option<Timestamp>,
    /// The first instant at which the key no longer verifies.
    pub expires_at: Option<Timestamp>,
    /// Requests per window that this key gets instead of a rate limit category's own.
    pub limits: LimitOverrides,
    /// The networks that the key may be used from. Empty, as unless set: from anywhere.
    pub allowed_addresses: Vec<Network>,
    /// When the key was last used, as far as [`LastUse`](crate::store::LastUse) has written that yet. No change to the
    /// record: a [`replace`](crate::store::KeyAdministration::replace) leaves it as it is.
    pub last_used_at: Option<Timestamp>,
    /// Counts the changes; a store replaces a record only if this is still the number it holds.
    pub version: u64,
}

impl KeyRecord {
    /// An active key without a name, without scopes and without an end, to be used from anywhere.
    pub fn new(id: KeyId, owner: Owner, digest: Digest, created_at: Timestamp) -> Self {
        Self {
            id,
            owner,
            name: String::new(),
            hint: String::new(),
            digest,
            previous: None,
            next: None,
            scopes: ScopeSet::empty(),
            state: KeyState::Active,
            created_at,
            secret_created_at: created_at,
            not_before: None,
            expires_at: None,
            limits: LimitOverrides::default(),
            allowed_addresses: Vec::new(),
            last_used_at: None,
            version: 0,
        }
    }

    /// Every digest that a look-up has to find the key by.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Digest> {
        let previous = self.previous.map(|previous| previous.digest);
        let next = self.next.as_ref().map(|next| next.digest);
        [Some(self.digest), previous, next].into_iter().flatten()
    }

    /// Puts a new secret in the place of the one in use, which verifies for `grace` more, if the key lasts that long.
    pub(crate) fn put_in_use(&mut self, secret: NextSecret, now: Timestamp) {
        let grace_end = now.saturating_add(secret.grace);
        let valid_until = self.expires_at.map_or(grace_end, |end| end.min(grace_end));
        let previous = PreviousSecret { digest: self.digest, valid_until };
        self.previous = (valid_until > now).then_some(previous);
        self.next = None;
        self.digest = secret.digest;
        self.hint = secret.hint;
        self.secret_created_at = secret.created_at;
    }
}

/// A rotated-out secret that still verifies for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// The digest of the old secret.
    pub digest: Digest,
    /// The first instant at which the old secret no longer verifies.
    pub valid_until: Timestamp,
}

/// A secret that is put in use when it is first used; until then the one in use stays so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextSecret {
    /// The digest of the new secret.
    pub digest: Digest,
    /// What a listing will show of it.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How long the old secret still verifies from the first use of the new one on.
    pub grace: Duration,
}

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// It may.
    Active,
    /// Switched off, and can be switched on again.
    Disabled,
    /// Ended for good; nothing brings it back.
    Revoked {
        /// When it was revoked.
        at: Timestamp,
    },
}

/// Limits stored with a key: requests per window, by the name of the rate limit category they replace.
///
/// Only the count is replaced; the window stays the category's.
///
/// ```
/// use std::num::NonZeroU32;
/// use tower_api_keys::key::LimitOverrides;
///
/// let mut limits = LimitOverrides::default();
/// limits.set("read", NonZeroU32::new(5_000));
/// assert_eq!(limits.get("read"), NonZeroU32::new(5_000));
/// assert_eq!(limits.get("write"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitOverrides(Vec<(Box<str>, NonZeroU32)>);

impl LimitOverrides {
    /// The limit for `category`, if the key has one of its own.
    pub fn get(&self, category: &str) -> Option<NonZeroU32> {
        self.0.iter().find(|(name, _)| **name == *category).map(|&(_, limit)| limit)
    }

    /// Sets the limit for `category`, or with `None` takes it away.
    pub fn set(&mut self, category: &str, limit: Option<NonZeroU32>) {
        self.0.retain(|(name, _)| **name != *category);
        self.0.extend(limit.map(|limit| (category.into(), limit)));
    }

    /// Category names and limits, in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, NonZeroU32)> {
        self.0.iter().map(|(name, limit)| (&**name, *limit))
    }
}
