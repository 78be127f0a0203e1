use std::time::Duration;

use super::{Digest, Extras, KeyId, Owner, ShortText};
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
    pub name: ShortText,
    /// What a listing shows so that people recognize the key, for example `wfk_…45pq`.
    pub hint: ShortText,
    /// The digest of the secret in use.
    pub digest: Digest,
    /// What the key may do.
    pub scopes: ScopeSet,
    /// Whether the key may be used at all.
    pub state: KeyState,
    /// When the key was made.
    pub created_at: Timestamp,
    /// When the secret in use was made: at the creation, or by a rotation. A key's age counts from here.
    pub secret_created_at: Timestamp,
    /// The first instant at which the key no longer verifies.
    pub expires_at: Option<Timestamp>,
    /// What few keys have: other secrets while the key is being rotated, limits of its own, where and from when on it may
    /// be used. Read and set through it, as in `record.extras.not_before = Some(start)`; see
    /// [`ExtraFields`](super::ExtraFields).
    pub extras: Extras,
    /// When the key was last used, as far as [`LastUse`](crate::outcome::LastUse) has written that yet. No change to the
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
            name: ShortText::default(),
            hint: ShortText::default(),
            digest,
            scopes: ScopeSet::empty(),
            state: KeyState::Active,
            created_at,
            secret_created_at: created_at,
            expires_at: None,
            extras: Extras::default(),
            last_used_at: None,
            version: 0,
        }
    }

    /// Every digest that a look-up has to find the key by.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Digest> {
        let previous = self.extras.previous.as_ref().map(|previous| previous.digest);
        let next = self.extras.next.as_ref().map(|next| next.digest);
        [Some(self.digest), previous, next].into_iter().flatten()
    }

    /// Puts a new secret in the place of the one in use, which verifies for `grace` more, if the key lasts that long.
    pub(crate) fn put_in_use(&mut self, secret: NextSecret, now: Timestamp) {
        let grace_end = now.saturating_add(secret.grace);
        let valid_until = self.expires_at.map_or(grace_end, |end| end.min(grace_end));
        let previous = PreviousSecret { digest: self.digest, valid_until };
        self.extras.previous = (valid_until > now).then_some(previous);
        self.extras.next = None;
        self.digest = secret.digest;
        self.hint = secret.hint.into();
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
