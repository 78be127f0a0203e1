//! What a request presents to say who is calling, and how it is found.
//!
//! A [`CredentialExtractor`] reads the head of a request and gives one of three answers ([`Extracted`]):
//!
//! - *absent*: there is nothing of this kind; another extractor may look.
//! - *malformed*: there is something, and it can't be right. The request is refused; no other extractor is asked to
//!   make up for it.
//! - *found*: a [`Credential`], well formed as far as can be told without a store.
//!
//! Every configured extractor looks at every request. If two of them find something (well formed or not), the request
//! is ambiguous and is refused: nobody has to know which of two callers the host would have believed.
//!
//! | extractor | reads |
//! |---|---|
//! | [`HeaderKey`] | a key from a header of its own: `x-api-key: wfk_…` |
//! | [`BearerKey`] | a key, or else a session, from `Authorization: Bearer sk_…` (RFC 6750) |
//! | [`BasicKey`] | a key as the user name of `Authorization: Basic …` (RFC 7617), with an empty password |
//! | [`from_fn`] | what a closure finds |
//!
//! The trait can be implemented by any type.

mod authorization;
mod basic;
mod bearer;
mod challenge;
mod companions;
mod formats;
mod function;
mod header;
mod session_token;

use std::fmt;
use std::sync::Arc;

pub use basic::BasicKey;
pub use bearer::BearerKey;
pub use challenge::{Challenge, InvalidChallenge};
pub use companions::{Companions, Parts};
pub use function::{FromFn, from_fn};
pub use header::HeaderKey;
pub(crate) use header::single_value;
use http::HeaderName;
pub(crate) use session_token::{Bound, SessionToken};
pub use session_token::{InvalidSigningSecret, SessionTokens};
use thiserror::Error;

use crate::key::{KeyId, MalformedKey, Mode, ParsedKey, SecretString};
use crate::request::RequestView;

/// The longest credential that is looked at, in bytes. A longer one is malformed, before anything is decoded,
/// hashed or logged.
///
/// hyper passes HTTP/1 field values of several hundred kilobytes, so the bound has to stand here.
pub const MAX_CREDENTIAL_LENGTH: usize = 4096;

/// Finds one kind of credential in a request.
///
/// An example, keys as bearer tokens (RFC 6750, section 2.1): `Authorization: Bearer acme_7f3kQ…`.
///
/// ```
/// use http::header::AUTHORIZATION;
/// use http::{HeaderName, Request};
/// use tower_api_keys::credential::{Challenge, CredentialExtractor, Extracted, InvalidChallenge, MalformedCredential};
/// use tower_api_keys::request::RequestView;
/// use tower_api_keys::key::KeyFormat;
///
/// #[derive(Clone, Debug)]
/// struct BearerKey {
///     format: KeyFormat,
///     challenge: Challenge,
/// }
///
/// impl BearerKey {
///     fn new(format: KeyFormat) -> Result<Self, InvalidChallenge> {
///         Ok(Self { format, challenge: Challenge::new("Bearer")? })
///     }
/// }
///
/// impl CredentialExtractor for BearerKey {
///     fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r> {
///         let mut values = request.headers.get_all(AUTHORIZATION).iter();
///         let value = match (values.next(), values.next()) {
///             (None, _) => return Extracted::Absent,
///             (Some(value), None) => value,
///             (Some(_), Some(_)) => return Extracted::Malformed(MalformedCredential::Repeated),
///         };
///         let Ok(text) = value.to_str() else {
///             return Extracted::Malformed(MalformedCredential::NotVisibleAscii);
///         };
///         // Another scheme, such as Basic, may be meant for another extractor.
///         let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
///         if !scheme.eq_ignore_ascii_case("Bearer") {
///             return Extracted::Absent;
///         }
///         match self.format.parse(key.trim_matches(' ')) {
///             Ok(key) => Extracted::Found(key.into()),
///             Err(malformed) => Extracted::Malformed(malformed.into()),
///         }
///     }
///
///     fn challenge(&self) -> Challenge {
///         self.challenge.clone()
///     }
///
///     fn credential_headers(&self) -> Vec<HeaderName> {
///         vec![AUTHORIZATION]
///     }
/// }
///
/// let extractor = BearerKey::new(KeyFormat::new("acme_")?)?;
/// for (value, is_found) in [
///     ("Bearer acme_abc123def456ghi789jkl012mno345pq", true),
///     ("bearer  acme_abc123def456ghi789jkl012mno345pq", true),
///     ("Bearer", false),
///     ("Basic dXNlcjpwYXNz", false),
/// ] {
///     let request = Request::builder().header(AUTHORIZATION, value).body(())?;
///     let extracted = extractor.extract(RequestView::of(&request));
///     assert_eq!(matches!(extracted, Extracted::Found(_)), is_found, "{value}");
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub trait CredentialExtractor: Send + Sync + 'static {
    /// Looks for the credential. Must not block.
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r>;

    /// What a `WWW-Authenticate` field says about this kind of credential.
    fn challenge(&self) -> Challenge;

    /// Whether it may find [sessions](Credential::session), which the assembly then has to verify. Asked once.
    fn finds_sessions(&self) -> bool {
        false
    }

    /// The header fields that carry the credential, asked for once, when the assembly is built. They are marked sensitive
    /// before anything else happens, so that their values show neither in `Debug` output nor in HPACK's tables. Unless
    /// `Authorization` is the only one, responses are marked `Cache-Control: private` (RFC 9111 section 3.5).
    fn credential_headers(&self) -> Vec<HeaderName> {
        Vec::new()
    }
}

impl<E: CredentialExtractor + ?Sized> CredentialExtractor for Arc<E> {
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r> {
        (**self).extract(request)
    }

    fn challenge(&self) -> Challenge {
        (**self).challenge()
    }

    fn finds_sessions(&self) -> bool {
        (**self).finds_sessions()
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        (**self).credential_headers()
    }
}

/// What an extractor found.
#[derive(Debug)]
pub enum Extracted<'r> {
    /// Nothing of this kind.
    Absent,
    /// Something that can't be a credential of this kind.
    Malformed(MalformedCredential),
    /// A well-formed credential.
    Found(Credential<'r>),
}

/// A well-formed credential, not yet verified. `Debug` shows nothing of the secret.
#[derive(Debug)]
pub struct Credential<'r> {
    pub(crate) id: Option<KeyId>,
    pub(crate) mode: Option<Mode>,
    is_session: bool,
    secret: Secret<'r>,
}

enum Secret<'r> {
    Borrowed(&'r str),
    Owned(SecretString),
}

impl<'r> Credential<'r> {
    /// A credential that stands in the request as it is. `secret` is the whole key.
    pub fn borrowed(secret: &'r str) -> Self {
        Self { id: None, mode: None, is_session: false, secret: Secret::Borrowed(secret) }
    }

    /// A credential that had to be decoded first.
    pub fn owned(secret: SecretString) -> Self {
        Self { id: None, mode: None, is_session: false, secret: Secret::Owned(secret) }
    }

    /// A token that stands for a [session](crate::identity), and is no key whatever the store holds.
    pub fn session(token: &'r str) -> Self {
        Self { is_session: true, ..Self::borrowed(token) }
    }

    /// Says under which public identifier to look the key up. Without one it is found by its digest.
    #[must_use]
    pub fn with_id(self, id: KeyId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Says which mode the credential claims. The stored key must be of that mode.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode: Some(mode), ..self }
    }

    /// The token of a session; `None` for a key.
    pub(crate) fn session_token(&self) -> Option<SecretString> {
        self.is_session.then(|| self.expose_secret().into())
    }

    pub(crate) fn expose_secret(&self) -> &str {
        match &self.secret {
            Secret::Borrowed(secret) => secret,
            Secret::Owned(secret) => secret.expose_secret(),
        }
    }
}

impl<'r> From<ParsedKey<'r>> for Credential<'r> {
    fn from(key: ParsedKey<'r>) -> Self {
        Self { id: key.id, mode: key.mode, is_session: false, secret: Secret::Borrowed(key.secret) }
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why something can't be a credential. Never holds any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MalformedCredential {
    /// The field came more than once (RFC 9110 section 5.3), so there is no telling which line counts.
    #[error("the credential's header field came more than once")]
    Repeated,
    /// The field is there and has nothing in it.
    #[error("the credential is empty")]
    Empty,
    /// It is longer than [`MAX_CREDENTIAL_LENGTH`].
    #[error("the credential is longer than 4096 bytes")]
    TooLong,
    /// It has characters other than visible ASCII.
    #[error("the credential has characters other than visible ASCII")]
    NotVisibleAscii,
    /// It does not have the shape of the host's keys.
    #[error("the credential is no key of this host: {0}")]
    Key(#[from] MalformedKey),
    /// The scheme is followed by something else than spaces and a credential (RFC 9110 section 11.4).
    #[error("the scheme is not followed by spaces and a credential")]
    Scheme,
    /// It is not Base64 with the standard alphabet and padding (RFC 7617 section 2).
    #[error("the credential is not Base64")]
    Base64,
    /// User name or password have control characters, or are not UTF-8 (RFC 7617 section 2).
    #[error("user name or password have control characters, or are not UTF-8")]
    ControlCharacter,
    /// There is no colon between user name and password.
    #[error("there is no colon after the user name")]
    Colon,
    /// A bearer token has characters that none can have (RFC 6750 section 2.1).
    #[error("the bearer token has characters that do not belong there")]
    Token,
    /// The password is not empty. Somebody has put the key into the wrong field.
    #[error("the password is not empty")]
    Password,
    /// What an extractor of the host's own says.
    #[error("the credential is malformed: {0}")]
    Other(&'static str),
}
