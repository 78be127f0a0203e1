use http::HeaderName;
use http::header::AUTHORIZATION;

use super::authorization::credential;
use super::challenge::BEARER;
use super::formats::Formats;
use super::{Challenge, Credential, CredentialExtractor, Extracted, MalformedCredential, RequestView};
use crate::key::KeyFormat;

/// Reads a key from `Authorization: Bearer sk_live_4f9a….7Yc2…` (RFC 6750 section 2.1).
///
/// The scheme is matched case-insensitively. `Authorization` with another scheme is absent; a bearer token that is
/// not of the format is malformed.
///
/// ```
/// use http::Request;
/// use tower_api_keys::credential::{BearerKey, CredentialExtractor, Extracted};
/// use tower_api_keys::request::RequestView;
/// use tower_api_keys::key::{KeyFormat, Mode};
///
/// let format = KeyFormat::builder("sk_").optional_modes("test_", "live_").public_id(16, '.').build()?;
/// let key = format.generate(Mode::Live)?;
///
/// let value = format!("Bearer {}", key.secret.expose_secret());
/// let request = Request::builder().header("authorization", value).body(())?;
/// assert!(matches!(BearerKey::new(format).extract(RequestView::of(&request)), Extracted::Found(_)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BearerKey {
    formats: Formats,
    or_session: bool,
    max_length: usize,
}

impl BearerKey {
    /// Accepts keys of `format`.
    pub fn new(format: KeyFormat) -> Self {
        Self { formats: Formats::one(format), or_session: false, max_length: Credential::MAX_LENGTH }
    }

    /// Treats every bearer token without a key prefix as a [session](crate::identity) token.
    ///
    /// Only the prefix decides: a token with the prefix of a key is never passed to the session authenticator. So no
    /// session token may start with the prefix of keys.
    #[must_use]
    pub fn or_session(self) -> Self {
        Self { or_session: true, ..self }
    }

    /// Accepts session tokens of so many bytes, with the scheme before them, in place of [4096](Credential::MAX_LENGTH): those
    /// of identity providers have up to some 10 000. The server has to accept such fields, too.
    #[must_use]
    pub fn with_max_length(self, bytes: usize) -> Self {
        Self { max_length: bytes, ..self }
    }

    /// Also accepts keys of this format, such as a previous one. No text may be a key of both formats.
    #[must_use]
    pub fn or_format(mut self, format: KeyFormat) -> Self {
        self.formats.add(format);
        self
    }

    /// `formats` has at least one.
    pub(crate) fn accepting(formats: Vec<KeyFormat>) -> Self {
        Self { formats: Formats::several(formats), or_session: false, max_length: Credential::MAX_LENGTH }
    }

    fn read<'r>(&self, token: &'r str) -> Result<Credential<'r>, MalformedCredential> {
        if self.or_session && !self.formats.have_prefix(token) {
            return if is_token(token) {
                Ok(Credential::session(token))
            } else {
                Err(MalformedCredential::Token)
            };
        }
        Ok(Credential::from(self.formats.parse(token)?))
    }
}

impl CredentialExtractor for BearerKey {
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r> {
        match credential(request.headers, "Bearer", self.max_length) {
            Ok(None) => Extracted::Absent,
            Ok(Some(token)) => match self.read(token) {
                Ok(credential) => Extracted::Found(credential),
                Err(malformed) => Extracted::Malformed(malformed),
            },
            Err(malformed) => Extracted::Malformed(malformed),
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::of_scheme(BEARER)
    }

    fn finds_sessions(&self) -> bool {
        self.or_session
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        vec![AUTHORIZATION]
    }
}

/// `1*(ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/") *"="`
fn is_token(text: &str) -> bool {
    let token = text.trim_end_matches('=');
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !token.is_empty() && token.bytes().all(belongs)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &str = "sk_live_4f9a7Yc2.abc123def456ghi789jkl012mno345pq";

    fn read(extractor: &BearerKey, token: &str) -> String {
        let request = Request::builder().header(AUTHORIZATION, format!("Bearer {token}")).body(()).unwrap();
        match extractor.extract(RequestView::of(&request)) {
            Extracted::Found(credential) => match credential.session_token() {
                Some(token) => format!("session {}", token.expose_secret()),
                None => format!("key {}", credential.expose_secret()),
            },
            Extracted::Malformed(reason) => format!("{reason:?}"),
            Extracted::Absent => "absent".into(),
        }
    }

    #[test]
    fn the_prefix_alone_tells_keys_from_sessions() {
        let format = KeyFormat::builder("sk_").optional_modes("test_", "live_").public_id(8, '.');
        let keys = BearerKey::new(format.build().unwrap());
        let both = keys.clone().or_session();
        let jwt = format!("{0}.{0}.{0}", "eyJhbGciOiJIUzI1NiJ9".repeat(20));
        let (key, session) = (format!("key {KEY}"), format!("session {jwt}"));
        for (token, of_keys, of_both) in [
            (KEY, &*key, &*key),
            ("sk_live_short", "Key(PublicId)", "Key(PublicId)"),
            ("sk_", "Key(PublicId)", "Key(PublicId)"),
            (&jwt, "Key(Length)", &*session),
            ("SK_LIVE_x", "Key(Prefix)", "session SK_LIVE_x"),
            ("a-b._~+/9==", "Key(Prefix)", "session a-b._~+/9=="),
            ("a=b", "Key(Prefix)", "Token"),
            ("==", "Key(Prefix)", "Token"),
            ("a,b", "Key(Prefix)", "Token"),
            ("a%20b", "Key(Prefix)", "Token"),
            ("a|b", "Key(Prefix)", "Token"),
            ("", "Empty", "Empty"),
        ] {
            assert_eq!(read(&keys, token), of_keys, "{token}");
            assert_eq!(read(&both, token), of_both, "{token}");
        }
    }

    #[test]
    fn only_sessions_can_be_longer_where_that_is_set() {
        let usual = BearerKey::new(KeyFormat::new("sk_").unwrap()).or_session();
        let long = usual.clone().with_max_length(10_000);
        for (length, of_usual, of_long) in [
            (4_089, "session", "session"),
            (4_090, "TooLong", "session"),
            (9_993, "TooLong", "session"),
            (9_994, "TooLong", "TooLong"),
        ] {
            let token = "x".repeat(length);
            for (extractor, want) in [(&usual, of_usual), (&long, of_long)] {
                assert!(read(extractor, &token).starts_with(want), "{length}");
            }
            assert_ne!(&read(&long, &format!("sk_{token}"))[..3], "key", "{length}");
        }
    }
}
