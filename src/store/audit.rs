//! What is recorded of operations on keys. Its public home is [`manage`](crate::manage).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::InvalidValue;
use crate::clock::Timestamp;
use crate::key::{Actor, KeyId, Owner, Tenant};

/// An operation on a key that was done, forbidden, or has failed.
///
/// Contains no secret, and no text of a client but the names and reasons that the application gives. It serializes as
///
/// ```json
/// {"number":17,"at":"2023-12-14T05:20:00Z","action":"update","outcome":"done","changed":["name","expiresAt"],
///  "keyId":"k7Jc0qWvTz4n8XsB","organization":"acme","mode":"live","actor":"operator ada","reason":"ticket 4711"}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent {
    /// Its place in the [audit log](crate::store::AuditLog), where no two events have the same; `None` until it is there. The
    /// events of one key are numbered in the order of its changes.
    pub number: Option<u64>,
    /// When the operation began.
    pub at: Timestamp,
    /// The operation.
    pub action: KeyAction,
    /// `Ok` if it was done. Otherwise the [code](crate::manage::Forbidden::code) of what the caller lacks, or `unavailable`
    /// if the operation failed: it may have been done for all that, and then there is an event of that as well.
    pub outcome: Result<(), Cow<'static, str>>,
    /// The fields that an update has changed, by their names in JSON, such as `expiresAt`; without their values. Empty for
    /// other operations.
    pub changed: Vec<Cow<'static, str>>,
    /// The key; `None` if there is none yet, or all keys were listed.
    pub key_id: Option<KeyId>,
    /// The owner of the key.
    pub owner: Owner,
    /// The caller that did it.
    pub actor: Actor,
    /// Why, if the caller [said so](crate::Authority::because). Of a [reported leak](KeyAction::ReportLeak) it says where the key
    /// was found.
    pub reason: Option<Arc<str>>,
}

impl AuditEvent {
    /// An operation that was done, of no key yet. For a store that reads events; set the other fields.
    pub fn new(action: KeyAction, owner: Owner, actor: Actor, at: Timestamp) -> Self {
        let (changed, key_id, reason) = (Vec::new(), None, None);
        Self { number: None, at, action, outcome: Ok(()), changed, key_id, owner, actor, reason }
    }

    /// `done`, or the code of what went wrong.
    pub(crate) fn outcome_text(&self) -> &str {
        match &self.outcome {
            Ok(()) => DONE,
            Err(code) => code,
        }
    }
}

pub(crate) const DONE: &str = "done";

impl Serialize for AuditEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let organization = match &self.owner.tenant {
            Tenant::Organization(organization) => Some(organization.as_str()),
            Tenant::System => None,
        };
        let mut event = serializer.serialize_struct("AuditEvent", 10)?;
        event.serialize_field("number", &self.number)?;
        event.serialize_field("at", &self.at)?;
        event.serialize_field("action", &self.action)?;
        event.serialize_field("outcome", self.outcome_text())?;
        event.serialize_field("changed", &self.changed)?;
        event.serialize_field("keyId", &self.key_id)?;
        event.serialize_field("organization", &organization)?;
        event.serialize_field("mode", &self.owner.mode)?;
        event.serialize_field("actor", &self.actor.to_string())?;
        event.serialize_field("reason", &self.reason.as_deref())?;
        event.end()
    }
}

/// The operations on keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyAction {
    /// List keys, or read one. Audited only if it was forbidden or has failed.
    Read,
    /// Make a key.
    Create,
    /// Store a key that was made elsewhere.
    Import,
    /// Change a key in place.
    Update,
    /// Give a key a new secret.
    Rotate,
    /// Use the new secret of a key for the first time, which [puts it in
    /// use](crate::manage::KeyManager::rotate_on_first_use).
    Activate,
    /// Disable a key.
    Disable,
    /// Enable a key again.
    Enable,
    /// Revoke a key for good.
    Revoke,
    /// Remove a key from the store.
    Delete,
    /// Use a one-time key, which removes it.
    Redeem,
    /// Forget that a key was imported, so that it can be imported again.
    ForgetImport,
    /// Note that a key was found where others can read it. Changes nothing of the key.
    ReportLeak,
}

impl KeyAction {
    const ALL: [Self; 13] = [
        Self::Read,
        Self::Create,
        Self::Import,
        Self::Update,
        Self::Rotate,
        Self::Activate,
        Self::Disable,
        Self::Enable,
        Self::Revoke,
        Self::Delete,
        Self::Redeem,
        Self::ForgetImport,
        Self::ReportLeak,
    ];

    /// `read`, `create`, `import`, `update`, `rotate`, `activate`, `disable`, `enable`, `revoke`, `delete`, `redeem`,
    /// `forget_import` or `report_leak`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Import => "import",
            Self::Update => "update",
            Self::Rotate => "rotate",
            Self::Activate => "activate",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Revoke => "revoke",
            Self::Delete => "delete",
            Self::Redeem => "redeem",
            Self::ForgetImport => "forget_import",
            Self::ReportLeak => "report_leak",
        }
    }
}

impl fmt::Display for KeyAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for KeyAction {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let action = Self::ALL.into_iter().find(|action| action.as_str() == text);
        action.ok_or(InvalidValue::new("key action", "an action is `create`, `rotate`, `revoke` or the like"))
    }
}

impl Serialize for KeyAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_action_is_read_back() {
        for action in KeyAction::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert!("Create".parse::<KeyAction>().is_err());
    }
}
