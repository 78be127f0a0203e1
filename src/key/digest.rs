use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

use crate::InvalidValue;

/// What a store holds instead of a key: 32 bytes of SHA-256 (FIPS 180-4), or of HMAC-SHA-256 (RFC 2104) under a pepper.
///
/// A fast digest is enough: keys are random and have at least 128 bits, so they cannot be guessed. Passwords would
/// need a slow digest.
///
/// Written `sha256:` or `hmac-sha256:<pepper id>:`, then 64 lower-case hexadecimal digits. Nothing else parses, so
/// one digest has one text. `Debug` shows the algorithm and no bytes.
///
/// Authentication compares with [`ct_eq`](Self::ct_eq). `==` and `Hash` exist for maps keyed by digest. What they
/// leak by timing is useless to a caller, who chooses keys and not their digests. `Hash` writes only the first 8
/// bytes. They are evenly spread, so a map may use them as the hash.
///
/// ```
/// use tower_api_keys::key::{Digest, Peppers};
///
/// let digest = Peppers::none().digest("abc");
/// let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// assert_eq!(digest.to_string(), text);
/// assert_eq!(format!("{digest:?}"), "Digest(sha256)");
///
/// let stored: Digest = text.parse()?;
/// assert_eq!(stored.pepper_id(), None);
/// assert!(stored.ct_eq(&digest));
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Copy)]
pub struct Digest {
    pepper_id: Option<u32>,
    bytes: [u8; 32],
}

impl Digest {
    /// Combines the [id of the pepper](Self::pepper_id) and the bytes, for a store that keeps them in two columns.
    pub const fn from_parts(pepper_id: Option<u32>, bytes: [u8; 32]) -> Self {
        Self { pepper_id, bytes }
    }

    /// Reads the SHA-256 of a whole key as another system wrote it, without a salt or a pepper: 64 hexadecimal digits in
    /// either case, base64, or base64url, padded or not.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if it is anything else.
    ///
    /// ```
    /// use tower_api_keys::key::{Digest, Peppers};
    ///
    /// let digest = Peppers::none().digest("abc");
    /// for text in [
    ///     "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
    ///     "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
    ///     "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0",
    /// ] {
    ///     assert!(Digest::from_sha256(text)?.ct_eq(&digest));
    /// }
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    pub fn from_sha256(text: &str) -> Result<Self, InvalidValue> {
        if text.len() == 64 {
            return decode_hex(&text.to_ascii_lowercase())
                .map_err(|_| SHA256)
                .map(|bytes| Self::from_parts(None, bytes));
        }
        let text = match text.len() {
            44 => text.strip_suffix('=').ok_or(SHA256)?,
            _ => text,
        };
        let bytes =
            STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).map_err(|_| SHA256)?;
        Ok(Self::from_parts(None, bytes.try_into().map_err(|_| SHA256)?))
    }

    /// The id of the [pepper](super::Peppers) that the digest was made under; `None` for plain SHA-256.
    pub const fn pepper_id(&self) -> Option<u32> {
        self.pepper_id
    }

    /// The bytes alone.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Whether both digests are equal, in a time that does not depend on where they differ.
    pub fn ct_eq(&self, other: &Self) -> bool {
        // One comparison of all differences combined: `subtle` on 32 bytes takes 52 ns, this takes 2 ns.
        self.differences(other).ct_eq(&0).into()
    }

    /// Zero if the digests are equal.
    fn differences(&self, other: &Self) -> u64 {
        let tags = self.tag() ^ other.tag();
        self.words().zip(other.words()).fold(tags, |sum, (a, b)| sum | (a ^ b))
    }

    /// A number that is different for each pepper, and for none.
    fn tag(&self) -> u64 {
        self.pepper_id.map_or(0, |id| 1 << 32 | u64::from(id))
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes))
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.differences(other) == 0
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.words().next().unwrap_or_default());
    }
}

impl FromStr for Digest {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Some(hex) = text.strip_prefix("sha256:") {
            return Ok(Self::from_parts(None, decode_hex(hex)?));
        }
        let rest = text.strip_prefix("hmac-sha256:").ok_or(ALGORITHM)?;
        let (id, hex) = rest.split_once(':').ok_or(PEPPER_ID)?;
        let id = pepper_id(id).ok_or(PEPPER_ID)?;
        Ok(Self::from_parts(Some(id), decode_hex(hex)?))
    }
}

fn pepper_id(text: &str) -> Option<u32> {
    // `u32::from_str` also takes a plus sign and leading zeros.
    let canonical = text == "0" || text.starts_with(|first| matches!(first, '1'..='9'));
    if canonical { text.parse().ok() } else { None }
}

fn decode_hex(hex: &str) -> Result<[u8; 32], InvalidValue> {
    let digits: &[u8; 64] = hex.as_bytes().try_into().map_err(|_| BYTES)?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Ok(bytes)
}

fn hex_digit(digit: u8) -> Result<u8, InvalidValue> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(BYTES),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", Algorithm(self.pepper_id))?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", Algorithm(self.pepper_id))
    }
}

/// Written `sha256`, or `hmac-sha256:` and the id of the pepper.
pub(super) struct Algorithm(pub(super) Option<u32>);

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("sha256"),
            Some(id) => write!(f, "hmac-sha256:{id}"),
        }
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}

/// Also for a text that a later version of this crate wrote.
const ALGORITHM: InvalidValue = invalid("a digest starts with sha256: or hmac-sha256:");
const PEPPER_ID: InvalidValue = invalid("the pepper id of a digest is a number from 0 to 4294967295");
const SHA256: InvalidValue =
    invalid("a SHA-256 is 64 hexadecimal digits, or 32 bytes in base64 or base64url");
const BYTES: InvalidValue = invalid("a digest ends in 64 lower-case hexadecimal digits");

const fn invalid(reason: &'static str) -> InvalidValue {
    InvalidValue::new("digest", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_given_the_first_eight_bytes_to_hash() {
        struct Words(Vec<u64>);

        impl Hasher for Words {
            fn finish(&self) -> u64 {
                0
            }

            fn write(&mut self, _: &[u8]) {
                self.0.push(0);
            }

            fn write_u64(&mut self, word: u64) {
                self.0.push(word);
            }
        }

        let mut bytes = [9; 32];
        bytes[..8].copy_from_slice(&7_u64.to_ne_bytes());
        let mut words = Words(Vec::new());
        Digest::from_parts(None, bytes).hash(&mut words);
        assert_eq!(words.0, [7]);
    }
}
