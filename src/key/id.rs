use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::InvalidValue;

/// Names a key in public: in listings, logs and management routes. Knowing one authenticates nothing.
///
/// 1 to 32 of `A-Z a-z 0-9 _ -`, compared byte for byte. Kept inline, so a copy costs no allocation.
///
/// ```
/// use tower_api_keys::key::KeyId;
///
/// let id: KeyId = "k7Jc0qWvTz4n8XsB".parse()?;
/// assert_eq!(id.as_str(), "k7Jc0qWvTz4n8XsB");
/// assert!("../../etc".parse::<KeyId>().is_err());
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
// Behind the tag of an enum, unaligned bytes are copied in odd pieces, and reading those back together stalls.
#[repr(align(8))]
pub struct KeyId {
    /// The identifier, then zero bytes, which no identifier contains.
    bytes: [u8; KeyId::MAX_LENGTH],
}

impl KeyId {
    /// The longest identifier, in bytes.
    pub const MAX_LENGTH: usize = 32;

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        // The bytes were checked to be ASCII when the identifier was made.
        std::str::from_utf8(self.text()).unwrap_or_default()
    }

    /// The identifier in the text of a key or a token, without an error to make and to drop.
    #[inline]
    pub(crate) fn read(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'_' | b'-');
        if text.is_empty()
            || text.len() > Self::MAX_LENGTH
            // Without an early exit the loop is compiled to vector instructions.
            || !text.bytes().fold(true, |ok, byte| ok & allowed(byte))
        {
            return None;
        }
        let mut bytes = [0; Self::MAX_LENGTH];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { bytes })
    }

    fn text(&self) -> &[u8] {
        let zeros = |half: Option<&[u8; 16]>| {
            half.map_or(0, |half| u128::from_le_bytes(*half).leading_zeros() as usize / 8)
        };
        let length = match zeros(self.bytes.last_chunk()) {
            16 => 16 - zeros(self.bytes.first_chunk()),
            zeros => Self::MAX_LENGTH - zeros,
        };
        &self.bytes[..length]
    }
}

impl FromStr for KeyId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::read(text).ok_or(INVALID)
    }
}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Includes the zero bytes: they separate adjacent fields, and no length has to be computed. Hashers take words
        // faster than bytes.
        for word in self.bytes.chunks_exact(8) {
            state.write_u64(word.try_into().map_or(0, u64::from_le_bytes));
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.as_str())
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}

const INVALID: InvalidValue = InvalidValue::new("key id", "a key id is 1 to 32 of A-Z a-z 0-9 _ -");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_its_grammar() {
        let longest = "x".repeat(KeyId::MAX_LENGTH);
        let too_long = "x".repeat(KeyId::MAX_LENGTH + 1);
        for (text, ok) in [
            ("a", true),
            ("A-z_09", true),
            (longest.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("a b", false),
            ("a/b", false),
            ("..", false),
            ("a\0", false),
            ("é", false),
            ("a.b", false),
        ] {
            assert_eq!(text.parse::<KeyId>().is_ok(), ok, "{text:?}");
        }
    }

    #[test]
    fn every_length_round_trips_and_orders_like_its_text() {
        let texts: Vec<String> = (1..=KeyId::MAX_LENGTH).map(|length| "-".repeat(length)).collect();
        for (index, text) in texts.iter().enumerate() {
            let id: KeyId = text.parse().unwrap();
            assert_eq!(id.as_str(), text);
            for (other, other_text) in texts.iter().enumerate() {
                assert_eq!(id.cmp(&other_text.parse().unwrap()), index.cmp(&other));
            }
        }
    }
}
