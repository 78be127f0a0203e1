use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

use super::digest::Algorithm;
use super::hmac::HmacSha256;
use super::{Digest, SecretString};
use crate::InvalidValue;

/// How keys are digested for the store: plain SHA-256, or HMAC-SHA-256 with a secret pepper kept elsewhere.
///
/// With a pepper, an attacker who can write to the store still cannot make a key that verifies.
///
/// The digest covers the whole key as the client sends it, prefix and identifier included. A clone is cheap and
/// shares the peppers. They are wiped from memory when the last clone is dropped.
///
/// ```
/// use tower_api_keys::key::{Peppers, SecretString};
///
/// # let [old_pepper, new_pepper] = ["old pepper of thirty-two bytes..", "new pepper of thirty-two bytes.."].map(SecretString::from);
/// let before = Peppers::none().digest("wfk_4f9a");
/// let peppers = Peppers::new(2, new_pepper)?
///     .with_previous(1, old_pepper)?
///     .accept_unpeppered();
///
/// assert!(peppers.digest("wfk_4f9a").to_string().starts_with("hmac-sha256:2:"));
/// assert!(peppers.candidates("wfk_4f9a").contains(&before));
/// assert!(!peppers.is_current(&before));
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
///
/// # Replacing a pepper
///
/// 1. Deploy the new pepper, with an identifier of its own, as [previous](Self::with_previous) beside the old one, which
///    stays current: every process must be able to verify what another one digests.
/// 2. Deploy again with the new one current and the old one previous. Keys that are made or rotated have the new one from now on,
///    and so has each key from its next use.
/// 3. Watch how many keys still need the old one: [`KeyManager::peppers_in_use`](crate::manage::KeyManager::peppers_in_use).
///    Keys that are not used stay with it. [List](crate::manage::KeyManager::unused_for) them, and revoke or rotate them.
///    Revoked keys are not counted.
/// 4. Remove the old pepper once none needs it.
///
/// The same way leads from no pepper to one: [`accept_unpeppered`](Self::accept_unpeppered) stands for the old one.
///
/// If a pepper is missing that keys need, the log says so at `ERROR`, with the code `pepper_missing`, when the
/// [`background`](crate::ApiKeys::background) task starts. A request with such a key is answered with 503 and logged the same way
/// if keys are found by their [public identifier](super::KeyFormatBuilder::public_id). Without one, a key is found by its
/// digest. The digest of a missing pepper can't be made, so the key is unknown, and its request is answered with 401.
#[derive(Clone)]
pub struct Peppers {
    methods: Arc<Methods>,
}

#[derive(Clone)]
struct Methods {
    current: Method,
    /// At most [`MAX_METHODS`] including the current one.
    accepted: Vec<Method>,
}

const MAX_METHODS: usize = 4;

/// One slot is reserved for [`Peppers::accept_unpeppered`].
const MAX_PEPPERS: usize = MAX_METHODS - 1;

#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "there are few, and requests read them where they lie")]
enum Method {
    Plain,
    /// HMAC with the pepper already processed, cloned for each digest.
    Peppered(u32, HmacSha256),
}

impl Peppers {
    /// The minimum length of a pepper, in bytes.
    pub const MIN_PEPPER_LENGTH: usize = 32;

    /// No pepper: keys are digested with SHA-256.
    pub fn none() -> Self {
        Self::with_current(Method::Plain)
    }

    /// Digests keys with `pepper`, a text of at least 32 random bytes, such as the base64 of 32 random bytes. `id` names it
    /// in stored digests, so that it can be replaced: any number that no other pepper has.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if it has under 32 bytes, the size of the digest: RFC 2104, section 3 advises against less. An
    /// empty pepper usually means that an environment variable is not set.
    pub fn new(id: u32, pepper: SecretString) -> Result<Self, InvalidValue> {
        Method::peppered(id, &pepper).map(Self::with_current)
    }

    /// Reads peppers from an environment variable: `ID:PEPPER`, the current one first, separated by spaces.
    ///
    /// `2:kE3s… 1:9fQa…` digests new keys with pepper 2, and still verifies those of pepper 1.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if the variable is not set or empty, or a pepper is malformed or too short. No error contains
    /// the variable's value.
    pub fn from_env(variable: &str) -> Result<Self, InvalidValue> {
        Self::read(&SecretString::new(std::env::var(variable).map_err(|_| MISSING)?))
    }

    /// Those of a text as in [`from_env`](Self::from_env).
    pub(crate) fn read(text: &SecretString) -> Result<Self, InvalidValue> {
        let mut peppers = text.expose_secret().split_ascii_whitespace().map(|pepper| {
            let (id, pepper) = pepper.split_once(':').ok_or(FORMAT)?;
            let id = id.parse().map_err(|_| FORMAT)?;
            Ok((id, SecretString::from(pepper)))
        });
        let (id, pepper) = peppers.next().ok_or(MISSING)??;
        peppers.try_fold(Self::new(id, pepper)?, |all, pepper| {
            let (id, pepper) = pepper?;
            all.with_previous(id, pepper)
        })
    }

    /// Adds a pepper that still verifies stored keys but makes no new digests. At most three peppers are accepted at
    /// once.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if it is too short, its id is taken, or there are three already: each adds cost per lookup by
    /// digest.
    pub fn with_previous(mut self, id: u32, pepper: SecretString) -> Result<Self, InvalidValue> {
        let method = Method::peppered(id, &pepper)?;
        if self.method(method.pepper_id()).is_some() {
            return Err(InvalidValue::naming("pepper", format!("two peppers have the id {id}")));
        }
        if self.methods().filter(|method| matches!(method, Method::Peppered(..))).count() == MAX_PEPPERS {
            return Err(TOO_MANY);
        }
        Arc::make_mut(&mut self.methods).accepted.push(method);
        Ok(self)
    }

    /// Accepts keys that were stored without a pepper.
    #[must_use]
    pub fn accept_unpeppered(mut self) -> Self {
        if self.method(None).is_none() {
            Arc::make_mut(&mut self.methods).accepted.push(Method::Plain);
        }
        self
    }

    /// The digest to store for `key`, the whole key as the client sends it.
    pub fn digest(&self, key: &str) -> Digest {
        self.methods.current.digest(key)
    }

    /// The digest of `key` made under the [pepper](Digest::pepper_id) of a stored digest, to compare the two. `None` if
    /// that pepper is not configured or plain digests are not accepted.
    pub fn digest_with(&self, key: &str, pepper_id: Option<u32>) -> Option<Digest> {
        self.method(pepper_id).map(|method| method.digest(key))
    }

    /// Every digest under which `key` may be stored, one to four of them, the current one first.
    pub fn candidates(&self, key: &str) -> impl Deref<Target = [Digest]> + Clone + fmt::Debug + use<> {
        self.digests(key)
    }

    #[inline]
    pub(crate) fn digests(&self, key: &str) -> Candidates {
        let current = self.methods.current.digest(key);
        if self.methods.accepted.is_empty() {
            return Candidates(Digests::One(current));
        }
        let accepted = self.methods.accepted.iter().map(|method| method.digest(key));
        Candidates(Digests::Several(std::iter::once(current).chain(accepted).collect()))
    }

    /// Whether `digest` was made with the current method, so that it need not be stored again.
    pub fn is_current(&self, digest: &Digest) -> bool {
        self.methods.current.pepper_id() == digest.pepper_id()
    }

    /// Whether digests of this pepper, or of none, can be verified.
    pub(crate) fn accepts(&self, pepper_id: Option<u32>) -> bool {
        self.method(pepper_id).is_some()
    }

    /// Whether new digests are made without a pepper.
    pub(crate) fn are_none(&self) -> bool {
        self.methods.current.pepper_id().is_none()
    }

    fn with_current(current: Method) -> Self {
        Self { methods: Arc::new(Methods { current, accepted: Vec::new() }) }
    }

    fn methods(&self) -> impl Iterator<Item = &Method> {
        std::iter::once(&self.methods.current).chain(&self.methods.accepted)
    }

    fn method(&self, pepper_id: Option<u32>) -> Option<&Method> {
        self.methods().find(|method| method.pepper_id() == pepper_id)
    }
}

impl Method {
    fn peppered(id: u32, pepper: &SecretString) -> Result<Self, InvalidValue> {
        let pepper = pepper.expose_secret().as_bytes();
        if pepper.len() < Peppers::MIN_PEPPER_LENGTH {
            return Err(TOO_SHORT);
        }
        Ok(Self::Peppered(id, HmacSha256::new(pepper)))
    }

    fn pepper_id(&self) -> Option<u32> {
        match self {
            Self::Plain => None,
            Self::Peppered(id, _) => Some(*id),
        }
    }

    #[inline(always)]
    fn digest(&self, key: &str) -> Digest {
        let bytes = match self {
            Self::Plain => sha256(key.as_bytes()),
            Self::Peppered(_, hmac) => {
                let mut hmac = hmac.clone();
                hmac.update(key.as_bytes());
                hmac.finalize()
            }
        };
        Digest::from_parts(self.pepper_id(), bytes)
    }
}

/// SHA-256, with a fast path for keys that fit into one block with its padding, as most do. It needs no buffer, which
/// the hasher would have to wipe. The key is in the request's header all the while, so a copy of it on the stack
/// leaks nothing more.
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
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
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
        fmt::Display::fmt(&Algorithm(self.pepper_id()), f)
    }
}

/// The digests under which a key may be stored, at least one and at most four, the current one first.
#[derive(Clone)]
pub(crate) struct Candidates(Digests);

/// One digest, except while peppers are being replaced.
#[derive(Clone)]
enum Digests {
    One(Digest),
    Several(Box<[Digest]>),
}

impl From<Digest> for Candidates {
    fn from(digest: Digest) -> Self {
        Self(Digests::One(digest))
    }
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

const TOO_SHORT: InvalidValue = invalid("a pepper has at least 32 bytes");
const TOO_MANY: InvalidValue = invalid("more than three peppers");
const MISSING: InvalidValue = invalid("the variable is not set or empty");
const FORMAT: InvalidValue = invalid("a pepper is written ID:PEPPER, with a number as its id");

const fn invalid(reason: &'static str) -> InvalidValue {
    InvalidValue::new("pepper", reason)
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
    fn a_pepper_is_the_key_of_hmac() {
        // Computed with the hmac module of Python.
        let peppers = Peppers::new(9, "0123456789abcdef0123456789abcdef".into()).unwrap();
        let text = "hmac-sha256:9:454b8b8cb82dbd745c2c1f83e59baaf7c205e38868ca94d65db3883c244b9a65";
        assert_eq!(peppers.digest("wfk_4f9a").to_string(), text);
    }

    #[test]
    fn a_variable_names_the_current_pepper_first() {
        let [one, two] = ["1", "2"].map(|digit| digit.repeat(32));
        let read = |text: String| Peppers::read(&SecretString::new(text));
        let peppers = read(format!("2:{two} 1:{one}")).unwrap();
        assert_eq!(peppers.digest("key").pepper_id(), Some(2));
        assert!(peppers.digest_with("key", Some(1)).is_some());
        for (text, fault) in [
            (String::new(), MISSING),
            (" \n".to_owned(), MISSING),
            (two.clone(), FORMAT),
            (format!("two:{two}"), FORMAT),
            ("2:short".to_owned(), TOO_SHORT),
            (format!("2:{two} 2:{one}"), InvalidValue::naming("pepper", "two peppers have the id 2".into())),
        ] {
            assert_eq!(read(text.clone()).err(), Some(fault), "{text}");
        }
        assert_eq!(Peppers::from_env("A_VARIABLE_THAT_NO_TEST_SETS").err(), Some(MISSING));
    }
}
