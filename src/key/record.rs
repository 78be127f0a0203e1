use std::sync::Arc;
use std::time::Duration;

use super::{Actor, Digest, Extras, ImportedHash, KeyId, Owner, ShortText, Sparse};
use crate::clock::Timestamp;
use crate::scope::ScopeSet;

/// What a store holds of a key: everything except the secret.
///
/// Fields are public so that a store can write them to columns and read them back; [`KeyRecord::new`] fills in
/// defaults. A record contains only the [`Digest`] of the secret.
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
    /// The organization or system, and the mode, in which the key lives. The stored mode is authoritative; a mode
    /// mark in the key's text must agree with it.
    pub owner: Owner,
    /// The name people give the key.
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
    /// When the secret in use was made: at creation, or by a rotation. A key's age counts from here.
    pub secret_created_at: Timestamp,
    /// The first instant at which the key no longer verifies.
    pub expires_at: Option<Timestamp>,
    /// Read with [`extras`](Self::extras), changed with [`extras_mut`](Self::extras_mut).
    pub(crate) extras: Sparse,
    /// Read with [`created_by`](Self::created_by). Few are different, so stores in memory share them.
    pub(crate) creator: Option<Arc<Actor>>,
    /// When the key was last used, as last written by the assembly that [records it](crate::ApiKeysBuilder::record_last_use). Not part of the record's
    /// version: [`replace`](crate::store::KeyAdministration::replace) leaves it unchanged.
    pub last_used_at: Option<Timestamp>,
    /// Counts the changes; a store replaces a record only if this is still the stored number.
    pub version: u64,
}

impl KeyRecord {
    /// An active key without name, scopes, expiry or address restrictions.
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
            extras: Sparse::default(),
            creator: None,
            last_used_at: None,
            version: 0,
        }
    }

    /// Who made the key; `None` if that is not known, as for keys of a version that did not record it.
    pub fn created_by(&self) -> Option<&Actor> {
        self.creator.as_deref()
    }

    /// Sets who made the key, for a store that reads it back. Like the identifier, it never changes.
    pub fn set_created_by(&mut self, creator: Option<Actor>) {
        self.creator = creator.map(Arc::new);
    }

    /// The rarely used fields: rotation secrets, own limits, allowed networks and others.
    #[inline]
    pub fn extras(&self) -> &Extras {
        &self.extras
    }

    /// Changes rarely used fields, as in `record.extras_mut().not_before = Some(start)`. Allocates memory for them.
    pub fn extras_mut(&mut self) -> &mut Extras {
        &mut self.extras
    }

    /// Every digest that a lookup must find the key by.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Digest> {
        let previous = self.extras.previous.as_ref().map(|previous| previous.digest);
        let next = self.extras.next.as_ref().map(|next| next.digest);
        [Some(self.digest), previous, next].into_iter().flatten()
    }

    /// The peppers that secrets of the key need to verify, at this instant or later, each once; `None` for digests without
    /// one. What stands for a secret that was imported as a hash needs none.
    pub(crate) fn peppers_needed(&self, instant: Timestamp) -> Vec<Option<u32>> {
        if matches!(self.state, KeyState::Revoked { .. }) {
            return Vec::new();
        }
        let previous = self.extras.previous.as_ref().filter(|previous| instant < previous.valid_until);
        let previous = previous.map(|previous| previous.digest);
        let next = self.extras.next.as_ref().map(|next| next.digest);
        let digests = [Some(self.digest), previous, next].into_iter().flatten();
        let mut peppers: Vec<_> = digests.map(|digest| digest.pepper_id()).collect();
        peppers.retain(|pepper| pepper.is_some() || self.extras.imported_hash.is_none());
        peppers.sort_unstable();
        peppers.dedup();
        peppers
    }

    /// Replaces what stands for a secret that was imported as a hash by its digest, which its first use has shown.
    pub(crate) fn learn_imported(&mut self, digest: Digest) {
        let Some(hash) = self.extras.imported_hash.take() else { return };
        let stand_in = hash.stand_in();
        let previous = self.extras.previous.as_mut().map(|previous| &mut previous.digest);
        let holders = [Some(&mut self.digest), previous].into_iter().flatten();
        holders.filter(|held| **held == stand_in).for_each(|held| *held = digest);
    }

    /// Drops the hash of an imported secret that does not verify any more.
    pub(crate) fn forget_imported(&mut self) {
        let stand_in = self.extras.imported_hash.as_ref().map(ImportedHash::stand_in);
        if stand_in.is_some_and(|stand_in| self.digests().all(|digest| digest != stand_in)) {
            self.extras.imported_hash = None;
        }
    }

    /// The digest of the secret beside the one in use that verifies at this instant. There is one at most, of which the
    /// next one comes first.
    #[inline]
    pub(crate) fn other_secret(&self, instant: Timestamp) -> Option<&Digest> {
        match (&self.extras.next, &self.extras.previous) {
            (Some(next), _) => Some(&next.digest),
            (None, Some(previous)) if instant < previous.valid_until => Some(&previous.digest),
            _ => None,
        }
    }

    /// Revokes every secret.
    pub(crate) fn revoke(&mut self, at: Timestamp) {
        (self.extras.previous, self.extras.next) = (None, None);
        self.state = KeyState::Revoked { at };
    }

    /// Makes `secret` the one in use. The old one verifies for its `grace` more, or until the key expires.
    pub(crate) fn put_in_use(&mut self, secret: NextSecret, now: Timestamp) {
        let grace_end = now.saturating_add(secret.grace);
        let valid_until = self.expires_at.map_or(grace_end, |end| end.min(grace_end));
        let previous = PreviousSecret { digest: self.digest, valid_until };
        self.extras.previous = (valid_until > now).then_some(previous);
        self.extras.next = None;
        self.digest = secret.digest;
        self.hint = secret.hint.into();
        self.secret_created_at = secret.created_at;
        self.forget_imported();
    }
}

/// A replaced secret that still verifies for a limited time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// The digest of the old secret.
    pub digest: Digest,
    /// The first instant at which the old secret no longer verifies.
    pub valid_until: Timestamp,
}

/// A new secret that comes into use when it is first used. Until then the old one stays in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextSecret {
    /// The digest of the new secret.
    pub digest: Digest,
    /// The hint that a listing will show for it.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// How long the old secret still verifies after the first use of the new one.
    pub grace: Duration,
}

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// It may.
    Active,
    /// Disabled, and can be enabled again.
    Disabled,
    /// Revoked for good; it cannot be undone.
    Revoked {
        /// When it was revoked.
        at: Timestamp,
    },
}
