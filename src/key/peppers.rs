use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{Digest, DigestAlgorithm, PepperId, SecretString};

/// How keys are digested for the store: plain SHA-256, or HMAC-SHA-256 under a secret pepper kept outside of it.
///
/// With a pepper, someone who can write to the store still cannot make a key that verifies. To replace a pepper,
/// start with the new one as current and the old one [as previous](Self::with_previous), store a new digest of
/// each key that comes in under an old one ([`is_current`](Self::is_current) tells), and drop the old pepper once
/// no stored digest names it.
///
/// The digest covers the whole key as the client sends it, prefix and identifier included. A clone is cheap and
/// shares the peppers, which are wiped from memory with the last of them.
///
/// ```
/// use tower_api_keys::key::{PepperId, Peppers, SecretString};
///
/// # let [old_pepper, new_pepper] = ["old pepper of thirty-two bytes..", "new pepper of thirty-two bytes.."].map(SecretString::from);
/// let before = Peppers::none().digest("wfk_4f9a");
/// let peppers = Peppers::new(PepperId::new(2), new_pepper)?
///     .with_previous(PepperId::new(1), old_pepper)?
///     .accept_unpeppered();
///
/// assert!(peppers.digest("wfk_4f9a").to_string().starts_with("hmac-sha256:2:"));
/// assert!(peppers.candidates("wfk_4f9a").contains(&before));
/// assert!(!peppers.is_current(&before));
/// # Ok::<_, tower_api_keys::key::InvalidPepper>(())
/// ```
#[derive(Clone)]
pub struct Peppers {
    methods: Arc<Methods>,
}

#[derive(Clone)]
struct Methods {
    current: Method,
    /// At most [`MAX_METHODS`] with the current one.
    accepted: Vec<Method>,
}

const MAX_METHODS: usize = 4;

/// One slot is kept for [`Peppers::accept_unpeppered`].
const MAX_PEPPERS: usize = MAX_METHODS - 1;

#[derive(Clone)]
enum Method {
    Plain,
    /// HMAC with the pepper already taken in, to be cloned for each digest.
    Peppered(PepperId, Hmac<Sha256>),
}

/// A pepper that [`Peppers`] does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidPepper {
    /// The pepper is under 32 bytes, the size of the digest: RFC 2104, section 3 advises against less. An empty
    /// one usually means that a variable of the environment is not set.
    #[error("a pepper has at least 32 bytes")]
    TooShort,
    /// Another pepper already has this id.
    #[error("two peppers have the id {0}")]
    DuplicateId(PepperId),
    /// There are more than three peppers. Each makes a look-up by digest dearer.
    #[error("more than three peppers")]
    TooMany,
}

impl Peppers {
    /// The fewest bytes of a pepper.
    pub const MIN_PEPPER_LENGTH: usize = 32;

    /// No pepper: keys are digested with SHA-256.
    pub fn none() -> Self {
        Self::with_current(Method::Plain)
    }

    /// Digests keys under `pepper`: a text of at least 32 bytes, each from a random source, such as the base64 of
    /// 32 random bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidPepper::TooShort`].
    pub fn new(id: PepperId, pepper: SecretString) -> Result<Self, InvalidPepper> {
        Method::peppered(id, &pepper).map(Self::with_current)
    }

    /// Adds a pepper under which stored keys still verify and no new digest is made. At most three peppers live
    /// at once.
    ///
    /// # Errors
    ///
    /// Any [`InvalidPepper`].
    pub fn with_previous(mut self, id: PepperId, pepper: SecretString) -> Result<Self, InvalidPepper> {
        let method = Method::peppered(id, &pepper)?;
        if self.method(method.algorithm()).is_some() {
            return Err(InvalidPepper::DuplicateId(id));
        }
        if self.methods().filter(|method| matches!(method, Method::Peppered(..))).count() == MAX_PEPPERS {
            return Err(InvalidPepper::TooMany);
        }
        Arc::make_mut(&mut self.methods).accepted.push(method);
        Ok(self)
    }

    /// Lets keys that were stored without a pepper verify.
    #[must_use]
    pub fn accept_unpeppered(mut self) -> Self {
        if self.method(DigestAlgorithm::Sha256).is_none() {
            Arc::make_mut(&mut self.methods).accepted.push(Method::Plain);
        }
        self
    }

    /// The digest to store for `key`, the whole key as the client sends it.
    pub fn digest(&self, key: &str) -> Digest {
        self.methods.current.digest(key)
    }

    /// The digest of `key` made like a stored one, to compare the two; `None` if that pepper is not here or plain
    /// digests are not accepted.
    pub fn digest_with(&self, key: &str, algorithm: DigestAlgorithm) -> Option<Digest> {
        self.method(algorithm).map(|method| method.digest(key))
    }

    /// Every digest under which `key` may be stored, the current one first.
    #[inline]
    pub fn candidates(&self, key: &str) -> Candidates {
        let current = self.methods.current.digest(key);
        if self.methods.accepted.is_empty() {
            return Candidates(Digests::One(current));
        }
        let accepted = self.methods.accepted.iter().map(|method| method.digest(key));
        Candidates(Digests::Several(std::iter::once(current).chain(accepted).collect()))
    }

    /// Whether `digest` was made as new ones are, so that it need not be stored anew.
    pub fn is_current(&self, digest: &Digest) -> bool {
        self.methods.current.algorithm() == digest.algorithm()
    }

    fn with_current(current: Method) -> Self {
        Self { methods: Arc::new(Methods { current, accepted: Vec::new() }) }
    }

    fn methods(&self) -> impl Iterator<Item = &Method> {
        std::iter::once(&self.methods.current).chain(&self.methods.accepted)
    }

    fn method(&self, algorithm: DigestAlgorithm) -> Option<&Method> {
        self.methods().find(|method| method.algorithm() == algorithm)
    }
}

impl Method {
    fn peppered(id: PepperId, pepper: &SecretString) -> Result<Self, InvalidPepper> {
        let pepper = pepper.expose_secret().as_bytes();
        if pepper.len() < Peppers::MIN_PEPPER_LENGTH {
            return Err(InvalidPepper::TooShort);
        }
        // HMAC takes keys of any length.
        let hmac = Hmac::new_from_slice(pepper).map_err(|_| InvalidPepper::TooShort)?;
        Ok(Self::Peppered(id, hmac))
    }

    fn algorithm(&self) -> DigestAlgorithm {
        match self {
            Self::Plain => DigestAlgorithm::Sha256,
            Self::Peppered(id, _) => DigestAlgorithm::HmacSha256(*id),
        }
    }

    #[inline(always)]
    fn digest(&self, key: &str) -> Digest {
        let bytes = match self {
            Self::Plain => sha256(key.as_bytes()),
            Self::Peppered(_, hmac) => hmac.clone().chain_update(key).finalize().into_bytes().into(),
        };
        Digest::from_parts(self.algorithm(), bytes)
    }
}

/// SHA-256, with a way of its own for what fits into one block with its padding, as most keys do: it needs no buffer, which the
/// hasher takes its time to wipe. The key stands in the request's header all the while, so a copy of it on
/// the stack gives nothing away.
fn sha256(key: &[u8]) -> [u8; 32] {
    const LONGEST: usize = 64 - 1 - size_of::<u64>();
    if key.len() > LONGEST {
        return Sha256::digest(key).into();
    }
    let mut blocks = [[0; 64]];
    let [block] = &mut blocks;
    block[..key.len()].copy_from_slice(key);
    block[key.len()] = 0x80;
    block[56..].copy_from_slice(&(8 * key.len() as u64).to_be_bytes());
    let mut state = SHA256_INITIAL_STATE;
    compress256(&mut state, &blocks);
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    bytes
}

/// FIPS 180-4, section 5.3.3.
const SHA256_INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peppers")?;
        f.debug_list().entries(self.methods()).finish()
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.algorithm(), f)
    }
}

/// The digests under which a key may be stored, at least one and at most four, the current one first.
#[derive(Clone)]
pub struct Candidates(Digests);

/// One, but for the time in which peppers are changed.
#[derive(Clone)]
enum Digests {
    One(Digest),
    Several(Box<[Digest]>),
}

impl Deref for Candidates {
    type Target = [Digest];

    fn deref(&self) -> &[Digest] {
        match &self.0 {
            Digests::One(digest) => std::slice::from_ref(digest),
            Digests::Several(digests) => digests,
        }
    }
}

impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_digest_is_sha_256_whatever_the_length() {
        let text = "wfk_".repeat(64);
        for length in 0..text.len() {
            let key = &text[..length];
            assert_eq!(sha256(key.as_bytes()), <[u8; 32]>::from(Sha256::digest(key)), "{length} bytes");
        }
    }

    #[test]
    fn rfc_4231_test_cases() {
        // Cases 1, 2, 6 and 7. Their keys are no text, or too short for a pepper.
        for (key, data, hex) in [
            (&[0x0b; 20][..], "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &[0xaa; 131],
                "This is a test using a larger than block-size key and a larger than block-size data. The key \
                 needs to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ] {
            let method = Method::Peppered(PepperId::new(1), Hmac::new_from_slice(key).unwrap());
            assert_eq!(method.digest(data).to_string(), format!("hmac-sha256:1:{hex}"), "{data}");
        }
    }

    #[test]
    fn a_pepper_is_the_key_of_hmac() {
        // Computed with the hmac module of Python.
        let peppers = Peppers::new(PepperId::new(9), "0123456789abcdef0123456789abcdef".into()).unwrap();
        let text = "hmac-sha256:9:454b8b8cb82dbd745c2c1f83e59baaf7c205e38868ca94d65db3883c244b9a65";
        assert_eq!(peppers.digest("wfk_4f9a").to_string(), text);
    }

    #[test]
    fn r82_the_keyed_state_is_wiped_on_drop() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        // `Hmac` bears no such mark itself; all it consists of are two states of this and a buffer of it.
        wiped::<Sha256>();
    }
}
