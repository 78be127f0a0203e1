use http::HeaderName;
use http::header::AUTHORIZATION;

use super::authorization::credential;
use super::{Challenge, Credential, CredentialExtractor, Extracted, RequestView};
use crate::key::KeyFormat;

/// Reads a key from `Authorization: Bearer sk_live_4f9a….7Yc2…` (RFC 6750 section 2.1).
///
/// The scheme is matched in any ASCII case. `Authorization` with another scheme is absent; a bearer token that is not
/// of the format is malformed.
///
/// ```
/// use http::Request;
/// use tower_api_keys::credential::{BearerKey, CredentialExtractor, Extracted, RequestView};
/// use tower_api_keys::key::{KeyFormat, Mode};
///
/// let format = KeyFormat::new("sk_").with_optional_modes("test_", "live_").with_public_id(16, '.').build()?;
/// let key = format.generate(Mode::Live)?;
///
/// let value = format!("Bearer {}", key.secret.expose_secret());
/// let request = Request::builder().header("authorization", value).body(())?;
/// assert!(matches!(BearerKey::new(format).extract(RequestView::of(&request)), Extracted::Found(_)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BearerKey {
    format: KeyFormat,
}

impl BearerKey {
    /// Reads keys of `format`.
    pub fn new(format: KeyFormat) -> Self {
        Self { format }
    }
}

impl CredentialExtractor for BearerKey {
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r> {
        match credential(request.headers, "Bearer") {
            Ok(None) => Extracted::Absent,
            Ok(Some(token)) => match self.format.parse(token) {
                Ok(key) => Extracted::Found(Credential::from(key)),
                Err(malformed) => Extracted::Malformed(malformed.into()),
            },
            Err(malformed) => Extracted::Malformed(malformed),
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::of_scheme("Bearer")
    }

    fn credential_headers(&self) -> &[HeaderName] {
        &[AUTHORIZATION]
    }
}
