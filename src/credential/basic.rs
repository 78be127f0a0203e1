use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};
use http::HeaderName;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::authorization::credential;
use super::formats::Formats;
use super::{Challenge, Credential, CredentialExtractor, Extracted, MalformedCredential, RequestView};
use crate::key::{KeyFormat, SecretString};

/// Reads a key as the user name of `Authorization: Basic …` (RFC 7617), with an empty password.
///
/// The key and a colon are encoded: `sk_test_abc123:` is `c2tfdGVzdF9hYmMxMjM6`. HTTP clients send this when the key
/// is the user name and the password is left empty.
///
/// A credential that breaks one of these rules is rejected: Base64 has the standard alphabet and padding; the text is
/// UTF-8 without control characters; it has a colon, and the first colon splits it; the password is empty; the user
/// name has the format of a key.
///
/// ```
/// use http::Request;
/// use tower_api_keys::credential::{BasicKey, CredentialExtractor, Extracted};
/// use tower_api_keys::request::RequestView;
/// use tower_api_keys::key::KeyFormat;
///
/// let basic = BasicKey::new(KeyFormat::builder("sk_").modes("test_", "live_").build()?);
/// // sk_test_abc123def456ghi789jkl012mno345pq:
/// let value = "Basic c2tfdGVzdF9hYmMxMjNkZWY0NTZnaGk3ODlqa2wwMTJtbm8zNDVwcTo=";
/// let request = Request::builder().header("authorization", value).body(())?;
/// assert!(matches!(basic.extract(RequestView::of(&request)), Extracted::Found(_)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BasicKey {
    formats: Formats,
    colon_may_be_missing: bool,
    padding_may_be_missing: bool,
    ignores_password: bool,
}

/// The standard alphabet, with its padding or without.
const PERHAPS_PADDED: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl BasicKey {
    /// Accepts keys of `format`.
    pub fn new(format: KeyFormat) -> Self {
        Self {
            formats: Formats::one(format),
            colon_may_be_missing: false,
            padding_may_be_missing: false,
            ignores_password: false,
        }
    }

    /// Also accepts a key without a colon, as some client libraries send it, contrary to RFC 7617.
    #[must_use]
    pub fn accept_missing_colon(self) -> Self {
        Self { colon_may_be_missing: true, ..self }
    }

    /// Also accepts Base64 without padding, contrary to RFC 7617.
    #[must_use]
    pub fn accept_missing_padding(self) -> Self {
        Self { padding_may_be_missing: true, ..self }
    }

    /// Accepts a key with any password. A client that puts its key into the password by mistake is still rejected, as
    /// the user name is missing.
    #[must_use]
    pub fn ignore_password(self) -> Self {
        Self { ignores_password: true, ..self }
    }

    /// Also accepts keys of this format, such as a previous one. No text may be a key of both formats.
    #[must_use]
    pub fn or_format(mut self, format: KeyFormat) -> Self {
        self.formats.add(format);
        self
    }

    /// `formats` has at least one.
    pub(crate) fn accepting(formats: Vec<KeyFormat>) -> Self {
        Self {
            formats: Formats::several(formats),
            colon_may_be_missing: false,
            padding_may_be_missing: false,
            ignores_password: false,
        }
    }

    fn read(&self, encoded: &str) -> Result<Credential<'static>, MalformedCredential> {
        let base64 = if self.padding_may_be_missing { &PERHAPS_PADDED } else { &STANDARD };
        let decoded = base64.decode(encoded).map_err(|_| MalformedCredential::Base64)?;
        let decoded = Zeroizing::new(decoded);
        let text = std::str::from_utf8(&decoded).map_err(|_| MalformedCredential::ControlCharacter)?;
        if text.chars().any(char::is_control) {
            return Err(MalformedCredential::ControlCharacter);
        }
        let key = match text.split_once(':') {
            Some((key, "")) => key,
            Some((key, _)) if self.ignores_password => key,
            Some(_) => return Err(MalformedCredential::Password),
            None if self.colon_may_be_missing => text,
            None => return Err(MalformedCredential::Colon),
        };
        if key.is_empty() {
            return Err(MalformedCredential::Empty);
        }
        let parsed = self.formats.parse(key)?;
        let mut credential = Credential::owned(SecretString::from(parsed.secret));
        (credential.id, credential.mode) = (parsed.id, parsed.mode);
        Ok(credential)
    }
}

impl CredentialExtractor for BasicKey {
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r> {
        match credential(request.headers, "Basic", Credential::MAX_LENGTH) {
            Ok(None) => Extracted::Absent,
            Ok(Some(encoded)) => match self.read(encoded) {
                Ok(credential) => Extracted::Found(credential),
                Err(malformed) => Extracted::Malformed(malformed),
            },
            Err(malformed) => Extracted::Malformed(malformed),
        }
    }

    fn challenge(&self) -> Challenge {
        // RFC 7617 section 2 requires a realm; the layer's replaces this one.
        Challenge::of_scheme("Basic").with_parameter("realm", "api").expect("the parameter is well formed")
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        vec![AUTHORIZATION]
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &str = "sk_test_abc123def456ghi789jkl012mno345pq";

    fn extract(extractor: &BasicKey, encoded: &str) -> Result<String, MalformedCredential> {
        let request = Request::builder().header(AUTHORIZATION, format!("Basic {encoded}")).body(()).unwrap();
        match extractor.extract(RequestView::of(&request)) {
            Extracted::Found(credential) => Ok(credential.expose_secret().to_owned()),
            Extracted::Malformed(reason) => Err(reason),
            Extracted::Absent => panic!("there is a credential"),
        }
    }

    #[test]
    fn the_user_name_is_the_key_and_the_password_is_empty() {
        use MalformedCredential as M;
        let strict = BasicKey::new(KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap());
        let of = |text: &str| extract(&strict, &STANDARD.encode(text));
        assert_eq!(of(&format!("{KEY}:")), Ok(KEY.into()));
        assert_eq!(of(KEY), Err(M::Colon));
        assert_eq!(of(&format!("{KEY}:password")), Err(M::Password));
        assert_eq!(of(&format!("{KEY}::")), Err(M::Password), "split at the first colon");
        assert_eq!(of(&format!(":{KEY}")), Err(M::Password));
        assert_eq!(of(":"), Err(M::Empty), "Basic Og==");
        assert_eq!(of(&format!("{KEY}\r\n:")), Err(M::ControlCharacter));
        assert_eq!(of(&format!("{KEY}\0:")), Err(M::ControlCharacter));
        assert_eq!(extract(&strict, &STANDARD.encode(b"\xff:")), Err(M::ControlCharacter));
        for (name, encoded) in [
            ("no padding", STANDARD.encode(format!("{KEY}:")).trim_end_matches('=').to_owned()),
            ("the other alphabet", "____".into()),
            ("too much padding", "YTo==".into()),
            ("trailing bits", "YTp=".into()),
        ] {
            assert_eq!(extract(&strict, &encoded), Err(M::Base64), "{name}: {encoded}");
        }
        assert!(matches!(of("pk_test_abc123def456ghi789jkl012mno345pq:"), Err(M::Key(_))));
        assert!(matches!(of("sk_foo_abc123def456ghi789jkl012mno345pq:"), Err(M::Key(_))));

        let lenient = strict.clone().accept_missing_colon();
        assert_eq!(extract(&lenient, &STANDARD.encode(KEY)), Ok(KEY.into()));
        assert_eq!(extract(&lenient, &STANDARD.encode(format!("{KEY}:x"))), Err(M::Password));

        let unpadded = STANDARD.encode(format!("{KEY}:")).trim_end_matches('=').to_owned();
        let lenient = strict.clone().accept_missing_padding();
        assert_eq!(extract(&lenient, &unpadded), Ok(KEY.into()));
        assert_eq!(extract(&lenient, &STANDARD.encode(format!("{KEY}:"))), Ok(KEY.into()));
        for (name, encoded) in
            [("the other alphabet", "____"), ("trailing bits", "YTp"), ("too much", "YTo==")]
        {
            assert_eq!(extract(&lenient, encoded), Err(M::Base64), "{name}");
        }

        let lenient = strict.clone().ignore_password();
        assert_eq!(extract(&lenient, &STANDARD.encode(format!("{KEY}:password"))), Ok(KEY.into()));
        assert_eq!(
            extract(&lenient, &STANDARD.encode(format!(":{KEY}"))),
            Err(M::Empty),
            "in the wrong place"
        );
        assert_eq!(extract(&lenient, &STANDARD.encode(KEY)), Err(M::Colon));
    }
}
