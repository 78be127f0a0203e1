#[cfg(feature = "console")]
use std::convert::Infallible;
use std::io;

use zeroize::Zeroizing;

#[cfg(feature = "console")]
use super::HmacSha256;
use super::checksum::BASE62;
use super::{KeyId, SecretString};

/// A new key from [`KeyFormat::generate`](super::KeyFormat::generate). Hand the secret to its owner and store only
/// its digest.
#[derive(Debug)]
#[non_exhaustive]
pub struct GeneratedKey {
    /// The public identifier written in the key, if the format has one.
    pub id: Option<KeyId>,
    /// The whole key, as the client sends it.
    pub secret: SecretString,
}

impl KeyId {
    /// An identifier for a key whose format has none: the prefix, then 16 letters and digits, 95 bits.
    pub(crate) fn random(prefix: &str) -> io::Result<Self> {
        let mut id = String::with_capacity(Self::MAX_LENGTH);
        id.push_str(prefix);
        push_random(&mut id, 16)?;
        Ok(id
            .parse()
            .expect("the prefix was checked when it was set, and 16 letters and digits fit behind it"))
    }

    /// The identifier that follows from `seed`: the prefix, then `count` letters and digits that look random.
    #[cfg(feature = "console")]
    pub(crate) fn derived(prefix: &str, count: usize, seed: &HmacSha256) -> Self {
        let (mut id, mut block) = (String::from(prefix), 0_u64);
        let from_seed = |bytes: &mut [u8]| {
            for bytes in bytes.chunks_mut(32) {
                let mut mac = seed.clone();
                mac.update(&block.to_be_bytes());
                bytes.copy_from_slice(&mac.finalize()[..bytes.len()]);
                block += 1;
            }
            Ok::<_, Infallible>(())
        };
        let Ok(()) = push_from(&mut id, count, from_seed);
        id.parse().expect("the prefix and the number of letters were checked when they were set")
    }

    /// Whether identifiers can start with `prefix`.
    pub(crate) fn is_prefix(prefix: &str) -> bool {
        prefix.is_empty() || prefix.len() <= Self::MAX_LENGTH - 16 && prefix.parse::<Self>().is_ok()
    }
}

/// Appends `count` random letters and digits, each equally likely.
pub(super) fn push_random(text: &mut String, count: usize) -> io::Result<()> {
    push_from(text, count, |bytes| {
        getrandom::fill(bytes)
            .map_err(|error| io::Error::other(format!("the operating system gave no random bytes: {error}")))
    })
}

fn push_from<E>(
    text: &mut String,
    mut count: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    // Bytes from 248 on are dropped, since 256 is not a multiple of 62: `% 62` alone would favour the first 8 digits.
    const FAIR: u8 = 62 * 4;
    let mut random = Zeroizing::new([0; 64]);
    while count > 0 {
        fill(&mut *random)?;
        for byte in random.iter().filter(|byte| **byte < FAIR).take(count) {
            text.push(char::from(BASE62[usize::from(byte % 62)]));
            count -= 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_comes_from_equally_many_bytes() {
        let mut next = 0;
        let mut text = String::new();
        // 248 characters use up one run of all 256 bytes.
        push_from(&mut text, 2 * 248, |bytes| {
            bytes.fill_with(|| {
                let byte = next;
                next = u8::wrapping_add(next, 1);
                byte
            });
            Ok::<_, ()>(())
        })
        .unwrap();
        for character in BASE62 {
            let count = text.bytes().filter(|byte| byte == character).count();
            assert_eq!(count, 2 * 4, "{}", char::from(*character));
        }
    }

    #[cfg(feature = "console")]
    #[test]
    fn a_derived_identifier_depends_on_its_seed_alone() {
        let derived = |seed: &[u8], count| KeyId::derived("k_", count, &HmacSha256::new(seed));
        assert_eq!(derived(b"one", 16), derived(b"one", 16));
        assert_ne!(derived(b"one", 16), derived(b"two", 16));
        assert_eq!(derived(b"one", 30).as_str().len(), 32);
        for seed in 0..64_u8 {
            let long = KeyId::derived("", KeyId::MAX_LENGTH, &HmacSha256::new(&[seed]));
            let (first, last) = (&long.as_str()[..3], &long.as_str()[KeyId::MAX_LENGTH - 3..]);
            assert_ne!(first, last, "it does not begin again: {long}");
        }
    }

    #[test]
    fn a_failing_source_makes_no_key() {
        assert_eq!(push_from(&mut String::new(), 1, |_| Err("no entropy")), Err("no entropy"));
    }
}
