use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::Digest;
use crate::InvalidValue;

/// The hash that another system has stored of a key: bcrypt, argon2, SHA-256 with a salt. An [imported
/// key](crate::manage::KeyManager::import_hash) has it until its first use.
///
/// 1 to 512 visible ASCII characters and spaces. Opaque to the crate: the application
/// [verifies](crate::ApiKeysBuilder::verify_imported) it. `Debug` omits the text.
///
/// ```
/// use tower_api_keys::key::ImportedHash;
///
/// let hash: ImportedHash = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".parse()?;
/// assert!(hash.as_str().starts_with("$2b$"));
/// assert_eq!(format!("{hash:?}"), "ImportedHash(..)");
/// assert!("".parse::<ImportedHash>().is_err());
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ImportedHash(Box<str>);

impl ImportedHash {
    /// The longest hash, in bytes.
    pub const MAX_LENGTH: usize = 512;

    /// The text, as the other system wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a record has for the digest of its secret, which is not known yet. No key has it, as none contains a zero
    /// byte: who has read the hash can't present it.
    pub(crate) fn stand_in(&self) -> Digest {
        let bytes = Sha256::new().chain_update(b"imported hash\0").chain_update(self.0.as_bytes());
        Digest::from_parts(None, bytes.finalize().into())
    }
}

impl FromStr for ImportedHash {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let is_short = (1..=Self::MAX_LENGTH).contains(&text.len());
        if !is_short || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(INVALID);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for ImportedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportedHash(..)")
    }
}

const INVALID: InvalidValue =
    InvalidValue::new("imported hash", "a hash is 1 to 512 visible ASCII characters and spaces");
