use std::fmt;

use super::Forbidden;
use crate::clock::Timestamp;
use crate::key::{Actor, KeyId, Owner};
#[cfg(feature = "tracing")]
use crate::log::TARGET;

/// An operation on a key that was done or forbidden.
///
/// Contains no secret and no text of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent {
    /// The operation.
    pub action: KeyAction,
    /// `Ok` if it was done; otherwise why the caller was not allowed to do it.
    pub outcome: Result<(), Forbidden>,
    /// The fields that an update has changed, by their names in JSON, such as `expiresAt`; without their values. Empty for
    /// other operations.
    pub changed: Vec<&'static str>,
    /// The key; `None` if there is none yet, or all keys were listed.
    pub key_id: Option<KeyId>,
    /// The owner of the key.
    pub owner: Owner,
    /// The caller that did it.
    pub actor: Actor,
    /// When it was done.
    pub at: Timestamp,
}

/// The operations on keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyAction {
    /// List keys, or read one. Audited only if it was forbidden.
    Read,
    /// Make a key.
    Create,
    /// Store a key that was made elsewhere.
    Import,
    /// Change a key in place.
    Update,
    /// Give a key a new secret.
    Rotate,
    /// Disable a key.
    Disable,
    /// Enable a key again.
    Enable,
    /// Revoke a key for good.
    Revoke,
    /// Remove a key from the store.
    Delete,
    /// Use a one-time key.
    Redeem,
    /// Forget that a key was imported, so that it can be imported again.
    ForgetImport,
}

/// Records events.
pub(crate) type AuditSink = dyn Fn(&AuditEvent) + Send + Sync;

impl AuditEvent {
    pub(super) fn log(&self) {
        #[cfg(feature = "tracing")]
        {
            let Self { action, outcome, changed, key_id, owner, actor, at } = self;
            let (key_id, at) = (key_id.map(tracing::field::display), tracing::field::display(at));
            match outcome {
                Ok(()) => {
                    let changed = (!changed.is_empty()).then(|| changed.join(" "));
                    tracing::info!(target: TARGET, %action, changed, key_id, %owner, %actor, at, "key managed");
                }
                Err(reason) => {
                    let code = reason.code();
                    tracing::warn!(target: TARGET, %action, key_id, %owner, %actor, at, code, %reason, "key not managed");
                }
            }
        }
    }
}

impl KeyAction {
    /// `read`, `create`, `import`, `update`, `rotate`, `disable`, `enable`, `revoke`, `delete`, `redeem` or
    /// `forget_import`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Import => "import",
            Self::Update => "update",
            Self::Rotate => "rotate",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Revoke => "revoke",
            Self::Delete => "delete",
            Self::Redeem => "redeem",
            Self::ForgetImport => "forget_import",
        }
    }
}

impl fmt::Display for KeyAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
