//! PayMongo Workflow API: secret keys `sk_test_…` and `sk_live_…` by HTTP Basic, and `Organization-Id`.
//!
//! - Keys are `sk_test_` or `sk_live_` and 32 of `A-Z a-z 0-9` (190 bits); 22 to 64 are read. The key is the user
//!   name, the password is empty: `Authorization: Basic` and the Base64 of the key and a colon.
//! - The mode is the one stored with the key. A key whose prefix has the other mode is rejected.
//! - `Organization-Id` is required and must be the organization of the key.
//! - Every error in the published envelope, with the published codes. Two credentials are a 401 like any other bad
//!   credential: the published guide has no 400 for it.
//! - No scopes and no rate limit, because the guide has none: [`require`](crate::ApiKeys::require) and handlers
//!   decide what a key may do.
//!
//! | request | response |
//! |---|---|
//! | no credential, or a bad one, whatever the organization | 401 `authentication_failed` |
//! | a valid key, no `Organization-Id` | 400 `missing_organization_header` |
//! | a valid key, another `Organization-Id` | 403 `organization_mismatch` |
//! | a resource of another organization or mode | 404 `not_found`, as if it did not exist |
//! | the same, on a route that reports it | 403 `livemode_mismatch` |
//!
//! The last two are for handlers, with [`Owned`](crate::identity::Owned) and [`error`].

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use super::json;
use crate::credential::BasicKey;
use crate::identity::OrganizationRule;
use crate::key::KeyFormat;
use crate::rejection::{ErrorKind, ErrorTable, Message, TableError, json_response};
use crate::store::KeyAdministration;
use crate::{ApiKeys, ApiKeysBuilder};

/// The system as published, with the keys of `store`.
///
/// ```
/// use tower_api_keys::presets::paymongo::paymongo;
/// use tower_api_keys::store::MemoryStore;
///
/// let keys = paymongo(MemoryStore::new()).build()?;
/// # Ok::<_, tower_api_keys::ConfigError>(())
/// ```
pub fn paymongo(store: impl KeyAdministration) -> ApiKeysBuilder<ErrorTable> {
    paymongo_with(store, BasicKey::new(key_format()))
}

/// The same for clients whose HTTP Basic differs from the guide.
///
/// ```
/// use tower_api_keys::credential::BasicKey;
/// use tower_api_keys::presets::paymongo::{key_format, paymongo_with};
/// use tower_api_keys::store::MemoryStore;
///
/// let keys = paymongo_with(MemoryStore::new(), BasicKey::new(key_format()).accept_missing_colon()).build()?;
/// # Ok::<_, tower_api_keys::ConfigError>(())
/// ```
pub fn paymongo_with(store: impl KeyAdministration, basic: BasicKey) -> ApiKeysBuilder<ErrorTable> {
    ApiKeys::builder(store, key_format())
        .extractor(basic)
        .realm("PayMongo Workflow API")
        .organization(OrganizationRule::named_in("organization-id"))
        .without_route_table()
        .errors(ERRORS.clone())
}

/// Keys as published: `sk_test_` or `sk_live_` and a secret.
pub fn key_format() -> KeyFormat {
    let format = KeyFormat::builder("sk_").modes("test_", "live_").secret_lengths(22..=64);
    format.build().expect("prefix, marks and lengths make a key format")
}

/// The published errors, for handlers: [`ErrorTable::response`] with one of the codes.
pub static ERRORS: ErrorTable = ErrorTable::json(MESSAGES, body);

#[rustfmt::skip] // a table
const MESSAGES: &[Message] = &[
    Message::kind(ErrorKind::Unauthenticated, 401, "authentication_failed", INVALID),
    Message::kind(ErrorKind::AmbiguousCredentials, 401, "authentication_failed", INVALID),
    Message::kind(ErrorKind::OrganizationMissing, 400, "missing_organization_header", "The Organization-Id header is required."),
    Message::kind(ErrorKind::OrganizationMismatch, 403, "organization_mismatch", OTHER_ORGANIZATION),
    Message::for_handlers(403, "livemode_mismatch", "The resource belongs to the other mode than the API key."),
    Message::kind(ErrorKind::Forbidden, 403, "forbidden", "The API key is not allowed to perform this action."),
    Message::kind(ErrorKind::OrganizationNotFound, 404, "not_found", "The resource was not found."),
    Message::kind(ErrorKind::NotFound, 404, "not_found", "The resource was not found."),
    Message::kind(ErrorKind::RateLimited, 429, "rate_limit_exceeded", TOO_MANY),
    Message::kind(ErrorKind::Unavailable, 503, "service_unavailable", "The service is temporarily unavailable. Try again."),
    Message::kind(ErrorKind::Misconfigured, 500, "internal_error", "Something went wrong on our side."),
];

const INVALID: &str = "The Authorization header is missing or malformed, or the API key is invalid.";
const OTHER_ORGANIZATION: &str = "The Organization-Id header does not match the organization of the API key.";
const TOO_MANY: &str = "Too many requests. Try again after the time in the Retry-After header.";

/// An error of a handler in the published envelope, `{"errors":[{"code":"…","detail":"…"}]}`.
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode};
/// use tower_api_keys::presets::paymongo::error;
///
/// let response: Response<Bytes> = error(StatusCode::BAD_REQUEST, "parameter_invalid", "The \"name\" is missing.");
/// assert_eq!(response.body(), r#"{"errors":[{"code":"parameter_invalid","detail":"The \"name\" is missing."}]}"#);
/// ```
pub fn error<B: From<Bytes>>(status: StatusCode, code: &str, detail: &str) -> Response<B> {
    json_response(status, json(&Errors { errors: [Problem { code, detail }] }))
}

fn body(error: &TableError<'_>) -> String {
    json(&Errors { errors: [Problem { code: error.code, detail: error.text }] })
}

#[derive(Serialize)]
struct Errors<'a> {
    errors: [Problem<'a>; 1],
}

#[derive(Serialize)]
struct Problem<'a> {
    code: &'a str,
    detail: &'a str,
}
