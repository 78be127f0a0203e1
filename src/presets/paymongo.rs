//! PayMongo Workflow API: secret keys `sk_test_…` and `sk_live_…` by HTTP Basic, and `Organization-Id`.
//!
//! What it switches on:
//!
//! - Keys are `sk_test_` or `sk_live_` and 32 of `A-Z a-z 0-9` (190 bits); 22 to 64 are read. The key is the user name, the
//!   password is empty: `Authorization: Basic` and the Base64 of the key and a colon.
//! - The mode is the one stored with the key. A key whose prefix says the other one is refused.
//! - `Organization-Id` is required and has to be the organization of the key.
//! - Every refusal in the published envelope, with the published codes. Two credentials are a 401 like any other bad
//!   credential: the published guide knows no 400 for it.
//! - No scopes and no rate limit, because the guide has none. A [`RateLimitLayer`](crate::RateLimitLayer) goes between the
//!   two layers, with [`PayMongo::rejection_format`].
//!
//! | request | answer |
//! |---|---|
//! | no credential, or a bad one, whatever the organization | 401 `authentication_failed` |
//! | a good key, no `Organization-Id` | 400 `missing_organization_header` |
//! | a good key, another `Organization-Id` | 403 `organization_mismatch` |
//! | a resource of another organization or mode | 404 `not_found`, as if it were not there |
//! | the same, on a route that tells | 403 `livemode_mismatch` |
//!
//! The last two are for the handlers to give, with [`isolation`](crate::identity) and [`ErrorCode`].

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Response, StatusCode};

use super::json::push_json_string;
use crate::authenticate::AuthenticateLayer;
use crate::authorize::OrganizationLayer;
use crate::clock::{Clock, SystemClock};
use crate::credential::BasicKey;
use crate::key::{KeyFormat, Peppers};
use crate::manage::KeyManager;
use crate::rejection::{Rejection, RejectionFormat, RejectionKind, response};
use crate::store::KeyAdministration;

/// Keys as published: `sk_test_` or `sk_live_`, and 22 to 64 of `A-Z a-z 0-9`; 32 where a key is made.
pub fn key_format() -> KeyFormat {
    let format = KeyFormat::builder("sk_").modes("test_", "live_").secret_lengths(22..=64);
    format.build().expect("prefix, marks and lengths make a key format")
}

/// The parts of the PayMongo Workflow API, round a store of the host's choice.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_api_keys::presets::paymongo::PayMongo;
/// use tower_api_keys::store::MemoryStore;
///
/// let paymongo = PayMongo::new(MemoryStore::new());
/// let layers = ServiceBuilder::new().layer(paymongo.authenticate()).layer(paymongo.organization());
/// # let _ = layers;
/// ```
#[derive(Clone)]
#[must_use]
pub struct PayMongo<S> {
    store: S,
    basic: BasicKey,
    format: PayMongoFormat,
    peppers: Peppers,
    clock: Arc<dyn Clock>,
}

impl<S: KeyAdministration + Clone> PayMongo<S> {
    /// As published, with the keys of `store`.
    pub fn new(store: S) -> Self {
        Self {
            store,
            basic: BasicKey::new(key_format()),
            format: PayMongoFormat::default(),
            peppers: Peppers::none(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Also takes a key without the colon behind it. The guide calls the colon mandatory; some of the vendor's own client
    /// libraries leave it out.
    pub fn accept_missing_colon(self) -> Self {
        Self { basic: self.basic.accept_missing_colon(), ..self }
    }

    /// Also takes Base64 without its padding.
    pub fn accept_missing_padding(self) -> Self {
        Self { basic: self.basic.accept_missing_padding(), ..self }
    }

    /// Takes a key whatever password comes with it. The guide has the password empty.
    pub fn ignore_password(self) -> Self {
        Self { basic: self.basic.ignore_password(), ..self }
    }

    /// Says why in other words; see [`PayMongoFormat::with_details`].
    pub fn with_details(self, detail: fn(ErrorCode) -> &'static str) -> Self {
        Self { format: PayMongoFormat::with_details(detail), ..self }
    }

    /// Digests keys under these peppers.
    pub fn with_peppers(self, peppers: Peppers) -> Self {
        Self { peppers, ..self }
    }

    /// Reads the time from this clock.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// The outermost layer: who is calling. For pages in a browser, add
    /// [`without_challenge`](AuthenticateLayer::without_challenge).
    pub fn authenticate(&self) -> AuthenticateLayer<PayMongoFormat> {
        AuthenticateLayer::new(self.store.clone(), self.basic.clone())
            .with_realm("PayMongo Workflow API")
            .expect("the realm is visible ASCII and spaces")
            .with_peppers(self.peppers.clone())
            .with_clock(self.clock.clone())
            .with_rejection_format(self.format)
    }

    /// The layer inside it: for which organization.
    pub fn organization(&self) -> OrganizationLayer<PayMongoFormat> {
        OrganizationLayer::required(ORGANIZATION_ID).with_rejection_format(self.format)
    }

    /// The format of refusals, for further layers.
    pub fn rejection_format(&self) -> PayMongoFormat {
        self.format
    }

    /// Makes, lists and revokes keys.
    pub fn key_manager(&self) -> KeyManager {
        KeyManager::new(self.store.clone(), key_format())
            .with_peppers(self.peppers.clone())
            .with_clock(self.clock.clone())
    }
}

const ORGANIZATION_ID: HeaderName = HeaderName::from_static("organization-id");

/// What went wrong, as the envelope names it.
///
/// The first four are published; the rest are named in their manner.
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use tower_api_keys::presets::paymongo::ErrorCode;
///
/// let response: Response<Bytes> = ErrorCode::LivemodeMismatch.response();
/// assert_eq!(response.status(), 403);
/// # assert!(std::str::from_utf8(response.body())?.starts_with(r#"{"errors":[{"code":"livemode_mismatch","detail":""#));
/// # Ok::<_, std::str::Utf8Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// 401 `authentication_failed`.
    AuthenticationFailed,
    /// 400 `missing_organization_header`.
    MissingOrganizationHeader,
    /// 403 `organization_mismatch`.
    OrganizationMismatch,
    /// 403 `livemode_mismatch`. For handlers of routes that tell a resource of the other mode from one that is not there.
    LivemodeMismatch,
    /// 403 `forbidden`.
    Forbidden,
    /// 404 `not_found`. For handlers.
    NotFound,
    /// 429 `rate_limit_exceeded`.
    RateLimitExceeded,
    /// 500 `internal_error`.
    InternalError,
    /// 503 `service_unavailable`.
    ServiceUnavailable,
}

impl ErrorCode {
    /// The code as it is written.
    pub fn as_str(self) -> &'static str {
        self.parts().1
    }

    /// The status that goes with it.
    pub fn status(self) -> StatusCode {
        self.parts().0
    }

    /// What it says in so many words, unless the host says otherwise.
    pub fn detail(self) -> &'static str {
        self.parts().2
    }

    /// The answer, for a handler to give.
    pub fn response<B: From<Bytes>>(self) -> Response<B> {
        error(self.status(), self.as_str(), self.detail())
    }

    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::AuthenticationFailed => (
                StatusCode::UNAUTHORIZED,
                "authentication_failed",
                "The Authorization header is missing or malformed, or the API key is invalid.",
            ),
            Self::MissingOrganizationHeader => (
                StatusCode::BAD_REQUEST,
                "missing_organization_header",
                "The Organization-Id header is required.",
            ),
            Self::OrganizationMismatch => (
                StatusCode::FORBIDDEN,
                "organization_mismatch",
                "The Organization-Id header does not match the organization of the API key.",
            ),
            Self::LivemodeMismatch => (
                StatusCode::FORBIDDEN,
                "livemode_mismatch",
                "The resource belongs to the other mode than the API key.",
            ),
            Self::Forbidden => {
                (StatusCode::FORBIDDEN, "forbidden", "The API key is not allowed to perform this action.")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "The resource was not found."),
            Self::RateLimitExceeded => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_exceeded",
                "Too many requests. Try again after the time in the Retry-After header.",
            ),
            Self::InternalError => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong on our side.")
            }
            Self::ServiceUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable",
                "The service is temporarily unavailable. Try again.",
            ),
        }
    }
}

/// Refusals in the published envelope: `{"errors":[{"code":"…","detail":"…"}]}`.
#[derive(Clone, Copy, Debug)]
pub struct PayMongoFormat {
    detail: fn(ErrorCode) -> &'static str,
}

impl PayMongoFormat {
    /// Takes the texts from `detail`. The guide publishes the codes only, so the texts are the host's.
    ///
    /// ```
    /// use tower_api_keys::presets::paymongo::{ErrorCode, PayMongoFormat};
    ///
    /// let format = PayMongoFormat::with_details(|code| match code {
    ///     ErrorCode::AuthenticationFailed => "Check your secret key.",
    ///     code => code.detail(),
    /// });
    /// ```
    pub fn with_details(detail: fn(ErrorCode) -> &'static str) -> Self {
        Self { detail }
    }
}

impl Default for PayMongoFormat {
    /// With [`ErrorCode::detail`].
    fn default() -> Self {
        Self::with_details(ErrorCode::detail)
    }
}

impl<B: From<Bytes>> RejectionFormat<B> for PayMongoFormat {
    fn response(&self, rejection: &Rejection) -> Response<B> {
        let code = match rejection.kind() {
            RejectionKind::Unauthenticated | RejectionKind::AmbiguousCredentials => {
                ErrorCode::AuthenticationFailed
            }
            RejectionKind::OrganizationMissing => ErrorCode::MissingOrganizationHeader,
            RejectionKind::OrganizationMismatch => ErrorCode::OrganizationMismatch,
            RejectionKind::OrganizationNotFound => ErrorCode::NotFound,
            RejectionKind::Forbidden => ErrorCode::Forbidden,
            RejectionKind::RateLimited => ErrorCode::RateLimitExceeded,
            RejectionKind::Unavailable => ErrorCode::ServiceUnavailable,
            RejectionKind::Misconfigured => ErrorCode::InternalError,
        };
        error(code.status(), code.as_str(), (self.detail)(code))
    }
}

/// An answer in the published envelope, for what has no [`ErrorCode`].
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode};
/// use tower_api_keys::presets::paymongo;
///
/// let response: Response<Bytes> = paymongo::error(StatusCode::BAD_REQUEST, "validation_error", "name is missing");
/// assert_eq!(response.body(), r#"{"errors":[{"code":"validation_error","detail":"name is missing"}]}"#);
/// ```
pub fn error<B: From<Bytes>>(status: StatusCode, code: &str, detail: &str) -> Response<B> {
    let mut body = String::from(r#"{"errors":[{"code":"#);
    push_json_string(&mut body, code);
    body.push_str(r#","detail":"#);
    push_json_string(&mut body, detail);
    body.push_str("}]}");
    response(status, "application/json", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_makes_well_formed_json() {
        for text in ["", "plain", "\"", "\\", "a\"b\\c", "\r\n\t\0\u{1f}\u{7f}", "ñ – 日本", "</script>"]
        {
            let response: Response<Bytes> = error(StatusCode::BAD_REQUEST, text, text);
            let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(json, serde_json::json!({ "errors": [{ "code": text, "detail": text }] }), "{text:?}");
        }
    }

    #[test]
    fn keys_are_of_22_to_64_letters_and_digits() {
        let format = key_format();
        for (length, ok) in [(21, false), (22, true), (24, true), (32, true), (64, true), (65, false)] {
            let key = format!("sk_live_{}", "a".repeat(length));
            assert_eq!(format.parse(&key).is_ok(), ok, "{length}");
        }
        let made = format.generate(crate::key::Mode::Test).unwrap();
        assert_eq!(made.secret.expose_secret().len(), "sk_test_".len() + 32);
    }
}
