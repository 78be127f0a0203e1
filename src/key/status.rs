use std::fmt;
use std::str::FromStr;

use super::{KeyRecord, KeyState};
use crate::InvalidValue;
use crate::clock::Timestamp;

/// Whether a key works, and if not, why. Of several reasons, the one that lasts longest.
///
/// Written `active`, `not_yet_valid`, `disabled`, `expired` and `revoked`.
///
/// ```
/// use tower_api_keys::key::KeyStatus;
///
/// assert_eq!("not_yet_valid".parse(), Ok(KeyStatus::NotYetValid));
/// assert_eq!(KeyStatus::Active.to_string(), "active");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyStatus {
    /// It works.
    Active,
    /// It does not work yet.
    NotYetValid,
    /// It is disabled.
    Disabled,
    /// It has expired.
    Expired,
    /// It is revoked for good.
    Revoked,
}

impl KeyStatus {
    pub(crate) const ALL: [Self; 5] =
        [Self::Active, Self::NotYetValid, Self::Disabled, Self::Expired, Self::Revoked];

    /// The status of a key at this instant.
    pub(crate) fn of(record: &KeyRecord, instant: Timestamp) -> Self {
        match record.state {
            KeyState::Revoked { .. } => Self::Revoked,
            _ if record.expires_at.is_some_and(|end| end <= instant) => Self::Expired,
            KeyState::Disabled => Self::Disabled,
            KeyState::Active if record.extras.not_before.is_some_and(|start| instant < start) => {
                Self::NotYetValid
            }
            KeyState::Active => Self::Active,
        }
    }

    /// The text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NotYetValid => "not_yet_valid",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for KeyStatus {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(INVALID)
    }
}

impl serde::Serialize for KeyStatus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

const INVALID: InvalidValue =
    InvalidValue::new("key status", "a status is active, not_yet_valid, disabled, expired or revoked");
