mod overlap;
mod pattern;

use std::fmt;
use std::io;
use std::ops::RangeInclusive;

use thiserror::Error;

use super::generate::push_random;
use super::{GeneratedKey, KeyId, Mode, SecretString, checksum};
use crate::InvalidValue;

/// The shape of one family of keys: generates keys, and rejects malformed ones without a store lookup.
///
/// The parts of a key, written without the spaces:
///
/// ```text
/// sk_ test_ k7Jc0qWvTz4n . 8fXsB3vQm0LrT5yNcE2hKpWz9aGdJu4i 0Zb1Qx
/// |   |     |            | |                                |
/// |   |     |            | secret: letters and digits       checksum: CRC-32 of all before it, in base 62
/// |   |     |            separator
/// |   |     public id
/// |   mode mark
/// prefix
/// ```
///
/// Prefix and secret are always present; [`KeyFormatBuilder`] chooses the rest. The secret consists of `A-Z a-z 0-9`,
/// 5.95 bits per character. Keys of other systems may have [no prefix](KeyFormat::unprefixed) and [other
/// characters](KeyFormatBuilder::other_characters).
///
/// ```
/// use tower_api_keys::key::{KeyFormat, MalformedKey, Mode};
///
/// let format = KeyFormat::builder("sk_").modes("test_", "live_").public_id(16, '.').build()?;
///
/// let key = format.generate(Mode::Test)?;
/// let parsed = format.parse(key.secret.expose_secret())?;
/// assert_eq!(parsed.mode, Some(Mode::Test));
/// assert_eq!(parsed.id, key.id);
///
/// assert_eq!(format.parse("pk_live_4f9a").unwrap_err(), MalformedKey::Prefix);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFormat {
    prefix: String,
    modes: Option<Modes>,
    public_id: Option<PublicId>,
    /// Length of generated secrets, without the checksum.
    secret: usize,
    /// Lengths of accepted secrets, without the checksum.
    accepted: RangeInclusive<usize>,
    checksum: bool,
    /// What accepted secrets have besides letters and digits.
    characters: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Modes {
    test: String,
    live: String,
    required: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PublicId {
    /// Length of generated identifiers, and of all if there is no separator.
    length: usize,
    separator: Option<char>,
}

/// Builds a [`KeyFormat`]; returned by [`KeyFormat::builder`].
#[derive(Clone, Debug)]
#[must_use = "a description is checked by `build`"]
pub struct KeyFormatBuilder {
    prefix: String,
    modes: Option<Modes>,
    public_id: Option<PublicId>,
    secret: usize,
    accepted: Option<RangeInclusive<usize>>,
    checksum: bool,
    characters: String,
    is_unprefixed: bool,
}

/// Why a text is not a key of a [`KeyFormat`]. For logs and metrics: the client sees no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum MalformedKey {
    /// Does not start with the prefix.
    #[error("the key lacks its prefix")]
    Prefix,
    /// The required mode mark does not follow the prefix.
    #[error("the key lacks its mode mark")]
    ModeMark,
    /// There is no separator, or the text before it is not a [`KeyId`].
    #[error("the key lacks a public id")]
    PublicId,
    /// The secret is too short or too long, or the whole text is.
    #[error("the key has a wrong length")]
    Length,
    /// The secret has characters other than letters, digits and those that the format names.
    #[error("the key has characters that are not allowed")]
    Alphabet,
    /// The last six characters do not match the rest: a typing or copying mistake, or an invented key.
    #[error("the checksum of the key is wrong")]
    Checksum,
}

/// A text that has the shape of a key, which may never have been issued. `Debug` omits the secret.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct ParsedKey<'k> {
    /// The public identifier, if the format has one.
    pub id: Option<KeyId>,
    /// The mode the key claims, if it has a mark. The stored record decides; both must agree.
    pub mode: Option<Mode>,
    /// The whole key, prefix included: the text that is digested.
    pub secret: &'k str,
}

impl KeyFormat {
    /// The longest key, in bytes. Keys of at most 55 bytes fit one block of SHA-256, which costs two thirds of two
    /// blocks.
    pub const MAX_LENGTH: usize = 255;

    /// The shortest secret: 22 characters of 62 have 130.9 bits, 21 have 125.
    ///
    /// OWASP ASVS 5.0 asks for 128 bits in values that must not be guessed (11.5.1), and for a slow digest of secrets
    /// under 112 bits (6.5.2).
    pub const MIN_SECRET_LENGTH: usize = 22;

    /// Keys of `prefix` (`A-Z a-z 0-9 _ -`) and a secret of 32 characters (190 bits).
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if the prefix is empty, too long, or has other characters.
    pub fn new(prefix: &str) -> Result<Self, InvalidValue> {
        Self::builder(prefix).build()
    }

    /// Starts a format whose keys have a mode, an identifier or a checksum.
    ///
    /// The prefix may be empty if a [mode mark](KeyFormatBuilder::modes) takes its place.
    pub fn builder(prefix: &str) -> KeyFormatBuilder {
        KeyFormatBuilder {
            prefix: prefix.to_owned(),
            modes: None,
            public_id: None,
            secret: 32,
            accepted: None,
            checksum: false,
            characters: String::new(),
            is_unprefixed: false,
        }
    }

    /// Starts a format for keys of another system that have no prefix, such as plain UUIDs.
    ///
    /// Give new keys a prefix: secret scanners, logs and people recognize a key by it. So accept such keys
    /// [beside](crate::ApiKeysBuilder::also_accept) those of a format with one, and
    /// [import](crate::manage::KeyManager::import) those that exist.
    ///
    /// ```
    /// use tower_api_keys::key::KeyFormat;
    ///
    /// let uuids = KeyFormat::unprefixed().secret_length(36).other_characters("-").build()?;
    /// assert!(uuids.parse("3f2504e0-4f89-11d3-9a0c-0305e82c3301").is_ok());
    ///
    /// // `prefix.secret`, as djangorestframework-api-key makes them.
    /// let django = KeyFormat::unprefixed().public_id(8, '.').build()?;
    /// let key = django.parse("tN8qJz0b.1a2b3c4d5e6f7g8h9i0jklmnopqrstuv")?;
    /// assert_eq!(key.id, Some("tN8qJz0b".parse()?));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn unprefixed() -> KeyFormatBuilder {
        KeyFormatBuilder { is_unprefixed: true, ..Self::builder("") }
    }

    /// Generates a key, with a new identifier if the format has one. `mode` is written if the format has marks.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if the operating system provides no random bytes.
    pub fn generate(&self, mode: Mode) -> io::Result<GeneratedKey> {
        let Some(public_id) = &self.public_id else { return self.write(mode, None) };
        let mut id = String::with_capacity(public_id.length);
        push_random(&mut id, public_id.length)?;
        let id = id.parse().expect("8 to 32 letters and digits are a key id");
        self.write(mode, Some(id))
    }

    /// Generates a key with a new secret for an existing identifier.
    ///
    /// In a format without identifiers this equals [`generate`](Self::generate).
    ///
    /// # Errors
    ///
    /// [`io::Error`] if the operating system provides no random bytes, or `id` is not as long as a [leading
    /// identifier](KeyFormatBuilder::leading_id) has to be.
    pub fn generate_with_id(&self, mode: Mode, id: &KeyId) -> io::Result<GeneratedKey> {
        self.write(mode, Some(*id))
    }

    /// What every key begins with; empty if the format has no prefix.
    #[cfg(any(feature = "console", feature = "openapi"))]
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether the text of a key has its identifier.
    pub(crate) fn has_ids(&self) -> bool {
        self.public_id.is_some()
    }

    /// The length of the identifiers of new keys, if their text has one.
    #[cfg(feature = "console")]
    pub(crate) fn id_length(&self) -> Option<usize> {
        self.public_id.as_ref().map(|id| id.length)
    }

    fn write(&self, mode: Mode, id: Option<KeyId>) -> io::Result<GeneratedKey> {
        // The buffer never grows: growing would leave an unwiped copy behind.
        let mut key = SecretString::new(String::with_capacity(Self::MAX_LENGTH));
        let id = id.filter(|_| self.public_id.is_some());
        if let (Some(PublicId { length, separator: None }), Some(id)) = (&self.public_id, &id) {
            if id.as_str().len() != *length {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the identifier has another length"));
            }
        }
        let text = key.as_mut_string();
        text.push_str(&self.prefix);
        if let Some(modes) = &self.modes {
            text.push_str(modes.mark(mode));
        }
        if let (Some(public_id), Some(id)) = (&self.public_id, &id) {
            text.push_str(id.as_str());
            text.extend(public_id.separator);
        }
        push_random(text, self.secret)?;
        if self.checksum {
            let checksum = checksum::checksum(text.as_bytes());
            text.extend(checksum.map(char::from));
        }
        Ok(GeneratedKey { id, secret: key })
    }

    /// Parses a key by position. Neither digests nor allocates.
    ///
    /// The mode mark is read before the identifier. The identifier ends at the first separator.
    ///
    /// # Errors
    ///
    /// [`MalformedKey`] if this format cannot have made `text`. The error does not contain the bytes of `text`.
    pub fn parse<'k>(&self, text: &'k str) -> Result<ParsedKey<'k>, MalformedKey> {
        if text.len() > Self::MAX_LENGTH {
            return Err(MalformedKey::Length);
        }
        let rest = text.strip_prefix(&*self.prefix).ok_or(MalformedKey::Prefix)?;
        let (mode, rest) = self.split_mode(rest)?;
        let (id, rest) = self.split_id(rest)?;
        let length = match self.checksum {
            true => rest.len().checked_sub(checksum::LENGTH).ok_or(MalformedKey::Length)?,
            false => rest.len(),
        };
        if !self.accepted.contains(&length) {
            return Err(MalformedKey::Length);
        }
        // Without an early exit the loop is compiled to vector instructions.
        if !rest.bytes().fold(true, |ok, byte| ok & byte.is_ascii_alphanumeric()) && !self.is_spelled(rest) {
            return Err(MalformedKey::Alphabet);
        }
        if self.checksum {
            let (body, sum) = text.as_bytes().split_at(text.len() - checksum::LENGTH);
            if checksum::checksum(body) != sum {
                return Err(MalformedKey::Checksum);
            }
        }
        Ok(ParsedKey { id, mode, secret: text })
    }

    fn split_mode<'k>(&self, rest: &'k str) -> Result<(Option<Mode>, &'k str), MalformedKey> {
        let Some(modes) = &self.modes else { return Ok((None, rest)) };
        for mode in [Mode::Live, Mode::Test] {
            if let Some(rest) = rest.strip_prefix(modes.mark(mode)) {
                return Ok((Some(mode), rest));
            }
        }
        if modes.required { Err(MalformedKey::ModeMark) } else { Ok((None, rest)) }
    }

    fn split_id<'k>(&self, rest: &'k str) -> Result<(Option<KeyId>, &'k str), MalformedKey> {
        let Some(public_id) = &self.public_id else { return Ok((None, rest)) };
        let split = match public_id.separator {
            Some(separator) => rest.split_once(separator),
            None => rest.split_at_checked(public_id.length),
        };
        let (id, rest) = split.ok_or(MalformedKey::PublicId)?;
        Ok((Some(KeyId::read(id).ok_or(MalformedKey::PublicId)?), rest))
    }

    /// Whether a secret has only characters of this format, where it has other than letters and digits.
    #[cold]
    fn is_spelled(&self, secret: &str) -> bool {
        !self.characters.is_empty()
            && secret.chars().all(|char| char.is_ascii_alphanumeric() || self.characters.contains(char))
    }

    /// What a listing may show of `key`: prefix, mode mark and the last four characters, `sk_test_…x9Qz`. Only `…`
    /// for a text that is not a key of this format.
    pub fn hint(&self, key: &str) -> String {
        let Ok(parsed) = self.parse(key) else { return "…".to_owned() };
        let mark = match (&self.modes, parsed.mode) {
            (Some(modes), Some(mode)) => modes.mark(mode),
            _ => "",
        };
        // A key that parsed ends in ASCII.
        let last = key.get(key.len() - 4..).unwrap_or_default();
        format!("{}{mark}…{last}", self.prefix)
    }
}

impl Modes {
    /// Whether the text of a key, whose secret also has `characters`, always shows its mode, or that it has none.
    fn are_distinct(&self, characters: &str) -> bool {
        let Self { test, live, required } = self;
        let are_words =
            is_word(test) && is_word(live) && !test.starts_with(&**live) && !live.starts_with(&**test);
        // The secret of a key without a mark could start with a mark that has only characters of secrets.
        let can_be_imitated = |mark: &String| {
            mark.chars().all(|char| char.is_ascii_alphanumeric() || characters.contains(char))
        };
        are_words && (*required || ![test, live].into_iter().any(can_be_imitated))
    }

    fn mark(&self, mode: Mode) -> &str {
        match mode {
            Mode::Live => &self.live,
            Mode::Test => &self.test,
        }
    }
}

impl KeyFormatBuilder {
    /// Requires a mode mark after the prefix, such as `test_` or `live_`, of `A-Z a-z 0-9 _ -`.
    pub fn modes(mut self, test: &str, live: &str) -> Self {
        self.modes = Some(Modes { test: test.to_owned(), live: live.to_owned(), required: true });
        self
    }

    /// Writes a mode mark after the prefix, and accepts keys without one, whose mode is then `None`.
    pub fn optional_modes(mut self, test: &str, live: &str) -> Self {
        self.modes = Some(Modes { test: test.to_owned(), live: live.to_owned(), required: false });
        self
    }

    /// Puts a public identifier before the secret, by which the key is looked up: `length` letters and digits, 8 to
    /// 32, then `separator`, one of `. ~ + /`.
    ///
    /// Any [`KeyId`] is accepted as the identifier of a key.
    pub fn public_id(mut self, length: usize, separator: char) -> Self {
        self.public_id = Some(PublicId { length, separator: Some(separator) });
        self
    }

    /// Takes the first `length` characters behind prefix and mark for the public identifier, 8 to 32, without a separator:
    /// for keys of systems that look keys up by their first characters, and show these. The secret is what follows.
    ///
    /// ```
    /// use tower_api_keys::key::KeyFormat;
    ///
    /// let format = KeyFormat::builder("acme_").leading_id(8).secret_length(24).build()?;
    /// let key = format.parse("acme_4f9aQ2zX0123456789abcdefghijklmn")?;
    /// assert_eq!(key.id, Some("4f9aQ2zX".parse()?));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn leading_id(mut self, length: usize) -> Self {
        self.public_id = Some(PublicId { length, separator: None });
        self
    }

    /// Sets the length of secrets, at least [`KeyFormat::MIN_SECRET_LENGTH`]; default 32.
    pub fn secret_length(mut self, length: usize) -> Self {
        self.secret = length;
        self
    }

    /// Accepts secrets of all these lengths, for families whose keys differ in length. Generated secrets keep their
    /// one length, which must be in the range.
    pub fn secret_lengths(mut self, accepted: RangeInclusive<usize>) -> Self {
        self.accepted = Some(accepted);
        self
    }

    /// Also accepts these characters in secrets, any of `- . _ ~ + / =`: for keys that other systems have made. Generated
    /// secrets still have letters and digits only.
    ///
    /// | secrets | setting |
    /// |---|---|
    /// | hexadecimal | none: digits and letters |
    /// | UUIDs with hyphens | `"-"`, length 36 |
    /// | base64url of 32 bytes | `"-_"`, length 43 |
    /// | base64 of 32 bytes | `"+/="`, length 44 |
    ///
    /// The strength of such keys is that of their system: 22 hexadecimal digits have 88 bits.
    pub fn other_characters(mut self, characters: &str) -> Self {
        self.characters = characters.to_owned();
        self
    }

    /// Ends each key with six characters computed from everything before them. A mistyped or invented key is rejected
    /// before any lookup; one in 4 294 967 296 such texts passes.
    pub fn checksum(mut self) -> Self {
        self.checksum = true;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if a setting is out of its range, or two contradict each other.
    pub fn build(self) -> Result<KeyFormat, InvalidValue> {
        let Self { prefix, modes, public_id, secret, accepted, checksum, characters, is_unprefixed } = self;
        let accepted = accepted.unwrap_or(secret..=secret);

        let marks = modes.as_ref().filter(|modes| modes.required && prefix.is_empty());
        let beginnings = match marks {
            Some(Modes { test, live, .. }) => [test, live],
            None => [&prefix; 2],
        };
        let is_beginning = |text: &str| is_word(text) && !text.starts_with(['_', '-']);
        if !is_unprefixed && !beginnings.iter().all(|text| is_beginning(text)) {
            return Err(invalid(
                "a prefix is letters, digits, _ and -, and a key starts with a letter or digit",
            ));
        }
        if !characters.bytes().all(|byte| b"-._~+/=".contains(&byte)) {
            // Others are not allowed in a bearer token (RFC 6750, section 2.1).
            return Err(invalid("a secret has letters, digits, and others of - . _ ~ + / = only"));
        }
        if modes.as_ref().is_some_and(|modes| !modes.are_distinct(&characters)) {
            return Err(invalid("mode marks are letters, digits, _ and -, and none starts with the other"));
        }
        if let Some(PublicId { length, separator }) = public_id {
            if !(8..=KeyId::MAX_LENGTH).contains(&length) {
                // At 8 characters, a million keys contain a collision with a probability of 1 in 440.
                return Err(invalid("the length of a public id is 8 to 32"));
            }
            if separator.is_some_and(|separator| !matches!(separator, '.' | '~' | '+' | '/')) {
                // Others occur in identifiers, or are not allowed in a bearer token (RFC 6750, section 2.1).
                return Err(invalid("the separator is one of . ~ + /"));
            }
            if separator.is_some_and(|separator| characters.contains(separator)) {
                return Err(invalid("the separator is not one of the characters of secrets"));
            }
        }
        if secret < KeyFormat::MIN_SECRET_LENGTH || *accepted.start() < KeyFormat::MIN_SECRET_LENGTH {
            return Err(invalid("a secret has at least 22 letters and digits"));
        }
        if !accepted.contains(&secret) {
            return Err(invalid("the length of generated secrets is not among the accepted ones"));
        }
        let longest = [
            prefix.len(),
            modes.as_ref().map_or(0, |modes| modes.test.len().max(modes.live.len())),
            public_id.as_ref().map_or(0, |_| KeyId::MAX_LENGTH + 1),
            *accepted.end(),
            if checksum { checksum::LENGTH } else { 0 },
        ];
        if longest.into_iter().fold(0, usize::saturating_add) > KeyFormat::MAX_LENGTH {
            return Err(invalid("a key has at most 255 bytes"));
        }
        Ok(KeyFormat { prefix, modes, public_id, secret, accepted, checksum, characters })
    }
}

const fn invalid(reason: &'static str) -> InvalidValue {
    InvalidValue::new("key format", reason)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

impl fmt::Debug for ParsedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedKey").field("id", &self.id).field("mode", &self.mode).finish_non_exhaustive()
    }
}
