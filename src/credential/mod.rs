//! The credentials of a request, and the extractors that find them.
//!
//! A [`CredentialExtractor`] reads the head of a request and returns one of three results ([`Extracted`]):
//!
//! - *absent*: there is no credential of this kind; other extractors may find one.
//! - *malformed*: there is one, and it cannot be valid. The request is rejected; no other extractor makes up for it.
//! - *found*: a [`Credential`], well formed as far as can be checked without a store.
//!
//! Every configured extractor reads every request. If two of them find something, well formed or not, the credentials
//! are ambiguous and the request is rejected.
//!
//! | extractor | reads |
//! |---|---|
//! | [`HeaderKey`] | a key from its own header: `x-api-key: wfk_…` |
//! | [`BearerKey`] | a key, or else a session, from `Authorization: Bearer sk_…` (RFC 6750) |
//! | [`BasicKey`] | a key as the user name of `Authorization: Basic …` (RFC 7617), with an empty password |
//! | [`WebSocketKey`] | a key from the subprotocols that a WebSocket client offers, for browsers |
//! | [`QueryKey`] | a key from a parameter of the query, for clients that can do nothing else |
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
mod imported_hashes;
mod query;
mod session_token;
mod web_socket;

use std::fmt;
use std::sync::Arc;

pub use basic::BasicKey;
pub use bearer::BearerKey;
pub use challenge::Challenge;
pub use companions::{Companions, Parts};
pub use function::from_fn;
pub use header::HeaderKey;
pub(crate) use header::single_value;
use http::HeaderName;
pub(crate) use imported_hashes::{ImportedHashes, Unverifiable};
pub use query::QueryKey;
pub use session_token::SessionTokens;
pub(crate) use session_token::{Bound, SessionToken};
use thiserror::Error;
pub use web_socket::WebSocketKey;

use crate::key::{KeyId, MalformedKey, Mode, ParsedKey, SecretString};
use crate::request::RequestView;

/// Finds one kind of credential in a request.
///
/// An example: keys as bearer tokens (RFC 6750, section 2.1), `Authorization: Bearer acme_7f3kQ…`.
///
/// ```
/// use http::header::AUTHORIZATION;
/// use http::{HeaderName, Request};
/// use tower_api_keys::InvalidValue;
/// use tower_api_keys::credential::{Challenge, CredentialExtractor, Extracted, MalformedCredential};
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
///     fn new(format: KeyFormat) -> Result<Self, InvalidValue> {
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
    /// Reads the credential. Must not block.
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r>;

    /// The challenge of this kind of credential in the `WWW-Authenticate` field.
    fn challenge(&self) -> Challenge;

    /// Whether it may find [sessions](Credential::session), which the assembly then has to verify. Called once.
    fn finds_sessions(&self) -> bool {
        false
    }

    /// Whether its [header fields](Self::credential_headers) also carry what is no credential. If not, one in which it finds
    /// nothing holds a credential of another scheme. Called once.
    fn shares_headers(&self) -> bool {
        false
    }

    /// The header fields that carry the credential.
    ///
    /// Called once, when the assembly is built. The fields are marked sensitive before anything else happens, so that
    /// their values appear neither in `Debug` output nor in HPACK's tables. Unless `Authorization` is the only one,
    /// responses are marked `Cache-Control: private` (RFC 9111 section 3.5).
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

    fn shares_headers(&self) -> bool {
        (**self).shares_headers()
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        (**self).credential_headers()
    }
}

/// The result of an extractor.
#[derive(Debug)]
pub enum Extracted<'r> {
    /// No credential of this kind.
    Absent,
    /// Something that cannot be a credential of this kind.
    Malformed(MalformedCredential),
    /// A well-formed credential.
    Found(Credential<'r>),
}

/// A well-formed credential that is not verified yet. `Debug` does not show the secret.
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
    /// The longest accepted credential, in bytes. A longer one is malformed, before it is decoded, hashed or logged.
    ///
    /// hyper accepts HTTP/1 field values of several hundred kilobytes, so the limit is enforced here.
    pub const MAX_LENGTH: usize = 4096;

    /// A credential that is borrowed from the request. `secret` is the whole key.
    pub fn borrowed(secret: &'r str) -> Self {
        Self { id: None, mode: None, is_session: false, secret: Secret::Borrowed(secret) }
    }

    /// A credential that was decoded first.
    pub fn owned(secret: SecretString) -> Self {
        Self { id: None, mode: None, is_session: false, secret: Secret::Owned(secret) }
    }

    /// A token of a [session](crate::identity). It is never looked up as a key.
    pub fn session(token: &'r str) -> Self {
        Self { is_session: true, ..Self::borrowed(token) }
    }

    /// Sets the public identifier to look the key up by. Without one it is found by its digest.
    #[must_use]
    pub fn with_id(self, id: KeyId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Sets the mode that the credential claims. The stored key must have that mode.
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

/// Why a credential is malformed. Contains no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MalformedCredential {
    /// The field was sent more than once (RFC 9110 section 5.3), or the parameter, so it is unclear which one counts.
    #[error("the credential was sent more than once")]
    Repeated,
    /// The field is empty.
    #[error("the credential is empty")]
    Empty,
    /// It is longer than [`Credential::MAX_LENGTH`].
    #[error("the credential is longer than 4096 bytes")]
    TooLong,
    /// It has characters other than visible ASCII.
    #[error("the credential has characters other than visible ASCII")]
    NotVisibleAscii,
    /// It does not have the format of the application's keys.
    #[error("the credential is not a key of this application: {0}")]
    Key(#[from] MalformedKey),
    /// The scheme is not followed by spaces and a credential (RFC 9110 section 11.4).
    #[error("the scheme is not followed by spaces and a credential")]
    Scheme,
    /// It is not Base64 with the standard alphabet and padding (RFC 7617 section 2).
    #[error("the credential is not Base64")]
    Base64,
    /// User name or password contain control characters, or are not UTF-8 (RFC 7617 section 2).
    #[error("user name or password have control characters, or are not UTF-8")]
    ControlCharacter,
    /// There is no colon between user name and password.
    #[error("there is no colon after the user name")]
    Colon,
    /// A bearer token has characters that are not allowed (RFC 6750 section 2.1).
    #[error("the bearer token has characters that are not allowed")]
    Token,
    /// The password is not empty. The key may be in the wrong field.
    #[error("the password is not empty")]
    Password,
    /// The message of a custom extractor.
    #[error("the credential is malformed: {0}")]
    Other(&'static str),
}
