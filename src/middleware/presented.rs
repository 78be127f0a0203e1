//! The credential of a request on its way to the store, and the keys that it has turned out to be.

use std::sync::Arc;

use crate::address::ClientAddress;
use crate::clock::Timestamp;
use crate::credential::{Credential, SessionToken};
use crate::identity::Principal;
use crate::key::{Candidates, KeyId, KeyRecord, Mode, SecretString};
use crate::store::KeySelector;

/// What a request is authenticated by.
#[derive(Clone, Copy)]
pub(super) enum Proof<'c> {
    Credential(&'c Credential<'c>),
    /// No credential: the request is explained as if it had the secret of this key.
    Record(&'c KeyRecord),
}

/// A credential as it goes to the store: there is no secret in it any more.
pub(super) struct PresentedKey {
    pub(super) id: Option<KeyId>,
    pub(super) mode: Option<Mode>,
    pub(super) digests: Candidates,
    pub(super) scheme: &'static str,
    /// The address that is counted if it is bad; `None` if none is.
    pub(super) counted: Option<ClientAddress>,
}

/// A key whose secret was right.
#[derive(Clone)]
pub(super) struct Verified {
    pub(super) record: Arc<KeyRecord>,
    /// By which of the digests that it may be stored under; the first is the one that new ones are made by.
    pub(super) candidate: usize,
    /// Whether it was the next secret, so far unused.
    pub(super) is_next: bool,
    /// The end of the secret, if it was the one before.
    pub(super) retired_until: Option<Timestamp>,
}

impl Verified {
    /// The caller, by `record` as this use leaves it.
    #[inline]
    pub(super) fn principal(
        record: Arc<KeyRecord>,
        scheme: &'static str,
        retired_until: Option<Timestamp>,
    ) -> Principal {
        let principal = Principal::new(record, scheme);
        match retired_until {
            None => principal,
            Some(end) => principal.with_retired_secret(end),
        }
    }

    /// Whether this use of the key changes what is stored of it.
    pub(super) fn is_outdated(&self) -> bool {
        self.candidate > 0 || self.is_next
    }
}

impl From<Arc<KeyRecord>> for Verified {
    /// A key that is stored as it should be.
    fn from(record: Arc<KeyRecord>) -> Self {
        Self { record, candidate: 0, is_next: false, retired_until: None }
    }
}

impl PresentedKey {
    pub(super) fn selector(&self) -> KeySelector<'_> {
        match &self.id {
            Some(id) => KeySelector::Id(id),
            None => KeySelector::Digests(&self.digests),
        }
    }
}

/// What came with the key, one of the two at least. Boxed on its way, as room for it would be moved in every request.
pub(super) struct AccompanyingParts<'r> {
    pub(super) secret: Option<Credential<'r>>,
    pub(super) token: Option<SessionToken>,
}

/// The same as it goes to the store: no secret in it any more.
pub(super) struct PresentedCompanion {
    pub(super) secret: Option<PresentedKey>,
    pub(super) token: Option<SessionToken>,
}

/// A companion that may be used.
pub(super) enum VerifiedCompanion {
    BySecret(Verified),
    /// Its secret was not presented, a token was.
    Named(Arc<KeyRecord>),
}

/// A key and a companion that belong together.
pub(super) struct Pair {
    pub(super) key: Verified,
    pub(super) companion: VerifiedCompanion,
}

/// A session token on its way to the authenticator.
pub(super) struct PresentedSession {
    pub(super) token: SecretString,
    pub(super) scheme: &'static str,
    pub(super) counted: Option<ClientAddress>,
}

impl PresentedCompanion {
    /// One lookup finds the companion of the secret and of the token, as it has to be the same.
    pub(super) fn selector(&self) -> KeySelector<'_> {
        match (&self.secret, &self.token) {
            (None, Some(token)) => KeySelector::Id(&token.companion),
            (None, None) => KeySelector::Digests(&[]),
            (Some(secret), _) => secret.selector(),
        }
    }
}

impl VerifiedCompanion {
    pub(super) fn record(&self) -> &Arc<KeyRecord> {
        match self {
            Self::BySecret(verified) => &verified.record,
            Self::Named(record) => record,
        }
    }
}

impl Pair {
    /// Whether this use changes what is stored of either.
    pub(super) fn is_outdated(&self) -> bool {
        self.key.is_outdated()
            || matches!(&self.companion, VerifiedCompanion::BySecret(secret) if secret.is_outdated())
    }
}
