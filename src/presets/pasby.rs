//! pasby v1 and v2: an organization's key `bk-test_…` or `bk-live_…`, an app's secret `snb_…` or `prd_…`, and session
//! tokens.
//!
//! - The key is in `x-api-key`, the app's secret in `x-access-secret`, the session token in `x-access-token`. The
//!   table below says which of them a route needs. A part that is sent is verified, needed or not.
//! - The secret belongs to an app of the key's organization and mode; the token was issued to this key and app. Any
//!   mismatch gets the same 401.
//! - An app is a key record whose identifier, `app_…`, is the app's.
//! - v1 gets its token from [`SessionTokens::issue`], in the header field `x-access-token` of the response. It is
//!   valid for 15 minutes, and no longer than the key and the secret it was issued under.
//! - 100 requests a minute for each client address, before all other checks. The address is the peer's, or behind
//!   configured proxies the one in `cf-connecting-ip`, `x-real-ip` or `X-Forwarded-For`, in this order.
//! - With [`usage`](crate::ApiKeysBuilder::usage), every call with a key and a status below 500 is metered.
//!
//! | | v2 | v1 |
//! |---|---|---|
//! | `/`, `/api/health/check`, and `/` and `/health/check` of each version | key | key |
//! | `/identification/same-device` | key, secret | key, secret |
//! | `/identification/different-device` | key, secret | key, token |
//! | `/identification/wildcard` | key | key |
//! | `/signing/same-device` | key, secret | key, secret, token |
//! | `/signing/different-device` | key, secret | key, token |
//! | `/signing/wildcard` | key, secret | |
//! | `/flow/authorize` | | key, secret |
//! | `/flow/ping`, `/flow/cancel` | key, secret | key, token |
//! | `/flow/sse` | key | |
//! | `/flow/polling` | key, token | key, token |
//! | `/document/signing`, `/document/review`, `/document/refresh` | key, secret | key, token |
//! | anything else | key, secret | key, secret |
//!
//! The guide gives the paths of flows and identifications; the paths of signing, streams and documents follow their
//! pattern. Versions are below `/api/v2` and `/api/v1`.
//!
//! | error | response |
//! |---|---|
//! | over the limit | 429, text |
//! | no key | 401, text: `An api key is needed to access our services.` |
//! | no secret | 400, text: `App secret missing in headers.`; at authorize 401, text: `App secret missing` |
//! | no token | 401 `authorization_error` |
//! | any of them not valid | 401 `authorization_error`, one text for all |
//! | the token has expired | 401 `session_expiry` |
//! | at authorize, no `sub` | 403, text: `Forbidden request. No consumer provided.` |
//! | at authorize, no `app` | 400, text: `Authorization grants are only given to apps not organizations.` |
//!
//! In this order: a missing part is reported before a wrong one, the key before the secret before the token. An empty
//! field counts as missing.

use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode};
use serde::Serialize;

use super::json;
use crate::address::ClientAddressSource;
use crate::credential::{Companions, HeaderKey, Parts, SessionTokens};
use crate::key::KeyFormat;
use crate::limit::{Quota, RateLimit};
use crate::manage::KeyManager;
use crate::rejection::{ErrorKind, ErrorTable, Message, json_response};
use crate::store::KeyAdministration;
use crate::{ApiKeys, ApiKeysBuilder};

/// The system as published, with the keys and apps of `store`, and session tokens of `tokens`.
///
/// ```
/// use tower_api_keys::credential::SessionTokens;
/// use tower_api_keys::presets::pasby::pasby;
/// use tower_api_keys::store::MemoryStore;
/// # let signing_secret = "signing secret of 32 bytes or more";
///
/// let tokens = SessionTokens::new(signing_secret.into())?;
/// let keys = pasby(MemoryStore::new(), tokens).build()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn pasby(store: impl KeyAdministration, tokens: SessionTokens) -> ApiKeysBuilder<ErrorTable> {
    let companions =
        Companions::new(HeaderKey::new(HeaderName::from_static("x-access-secret"), secret_format()))
            .with_session_tokens(X_ACCESS_TOKEN, tokens)
            .with_routes(header_matrix());
    let quota = Quota::per_minute(100).expect("100 a minute is a quota");
    ApiKeys::builder(store, key_format())
        .header("x-api-key")
        .companions(companions)
        .client_address(ClientAddressSource::peer())
        .limit(RateLimit::per_address("address", quota))
        .without_route_table()
        .errors(ERRORS.clone())
}

/// The field of session tokens, in requests and in the response of authorize.
pub const X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

const K: Option<Parts> = Some(Parts::KEY);
const KS: Option<Parts> = Some(Parts::SECRET);
const KT: Option<Parts> = Some(Parts::TOKEN);
const KST: Option<Parts> = Some(Parts::ALL);
/// The one route with another text for a missing secret.
const AUTHORIZE: &str = "authorize";

/// The guide's header matrix: the parts a path needs in v2 and in v1, for `GET` and for `POST`.
const MATRIX: [(&str, Option<Parts>, Option<Parts>); 16] = [
    ("/", K, K),
    ("/health/check", K, K),
    ("/identification/same-device", KS, KS),
    ("/identification/different-device", KS, KT),
    ("/identification/wildcard", K, K),
    ("/signing/same-device", KS, KST),
    ("/signing/different-device", KS, KT),
    ("/signing/wildcard", KS, None),
    ("/flow/authorize", None, Some(Parts::SECRET.named(AUTHORIZE))),
    ("/flow/ping", KS, KT),
    ("/flow/cancel", KS, KT),
    ("/flow/sse", K, None),
    ("/flow/polling", KT, KT),
    ("/document/signing", KS, KT),
    ("/document/review", KS, KT),
    ("/document/refresh", KS, KT),
];

/// The unversioned paths, which need only the key.
const UNVERSIONED: [&str; 2] = ["/", "/api/health/check"];

/// Keys of organizations, `bk-test_…` and `bk-live_…`.
pub fn key_format() -> KeyFormat {
    let format = KeyFormat::builder("bk-").modes("test_", "live_");
    format.build().expect("prefix and marks make a key format")
}

/// Secrets of apps, `snb_…` for test and `prd_…` for live.
pub fn secret_format() -> KeyFormat {
    KeyFormat::builder("").modes("snb_", "prd_").build().expect("marks make a key format")
}

/// Manages apps, in the store of the keys: an app's identifier is that of its record.
pub fn app_manager(store: impl KeyAdministration) -> KeyManager {
    let manager = KeyManager::new(store, secret_format());
    manager.with_id_prefix("app_").expect("the prefix is one of key ids")
}

/// The parts each route needs.
fn header_matrix() -> impl Iterator<Item = (Method, String, Parts)> {
    let versioned = MATRIX.into_iter().flat_map(|(path, v2, v1)| {
        let path = if path == "/" { "" } else { path };
        [("/api/v2", v2), ("/api/v1", v1)].map(|(version, parts)| (format!("{version}{path}"), parts))
    });
    let rules = UNVERSIONED.map(|path| (path.to_owned(), K)).into_iter().chain(versioned);
    let rules = rules.filter_map(|(path, parts)| Some((path, parts?)));
    rules.flat_map(|(path, parts)| [Method::GET, Method::POST].map(|method| (method, path.clone(), parts)))
}

/// The published errors, for handlers: [`ErrorTable::response`] with one of the codes.
pub static ERRORS: ErrorTable =
    ErrorTable::json(MESSAGES, |error| envelope(error.status, error.code, error.text));

#[rustfmt::skip] // a table
const MESSAGES: &[Message] = &[
    Message::reason("credential_missing", 401, "key_missing", "An api key is needed to access our services.").plain(),
    Message::companion(AUTHORIZE, 401, "secret_missing", "App secret missing").plain(),
    Message::reason("companion_missing", 400, "app_secret_missing", "App secret missing in headers.").plain(),
    Message::for_handlers(403, "consumer_missing", "Forbidden request. No consumer provided.").plain(),
    Message::for_handlers(400, "app_missing", "Authorization grants are only given to apps not organizations.").plain(),
    Message::reason("session_token_missing", 401, "authorization_error", "A session token is needed in x-access-token."),
    Message::reason("session_token_expired", 401, "session_expiry", "The session has expired. Authorize again."),
    Message::kind(ErrorKind::Unauthenticated, 401, "authorization_error", INVALID),
    Message::kind(ErrorKind::AmbiguousCredentials, 401, "authorization_error", INVALID),
    Message::kind(ErrorKind::RateLimited, 429, "rate_limited", "Too many requests. Try again later.").plain(),
    Message::kind(ErrorKind::Forbidden, 403, "authorization_error", "The key may not do this."),
    Message::kind(ErrorKind::OrganizationMissing, 403, "authorization_error", "The key may not do this."),
    Message::kind(ErrorKind::OrganizationMismatch, 403, "authorization_error", "The key may not do this."),
    Message::kind(ErrorKind::OrganizationNotFound, 403, "authorization_error", "The key may not do this."),
    Message::kind(ErrorKind::Unavailable, 503, "server_error", "Something went wrong on our side. Try again."),
    Message::kind(ErrorKind::Misconfigured, 500, "server_error", "Something went wrong on our side. Try again."),
];

/// The one response to a bad key, secret or token.
pub const INVALID: &str = "The credentials are not valid.";

/// An error of a handler in the published envelope. Published types are `authorization_error`, `param_error`,
/// `session_cancel` and `session_expiry`.
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode};
/// use tower_api_keys::presets::pasby;
///
/// let response: Response<Bytes> = pasby::error(StatusCode::NOT_FOUND, "param_error", "No such flow.");
/// # let body = std::str::from_utf8(response.body())?;
/// # assert!(body.starts_with(r#"{"status":"handled","reason":"No such flow.","type":"param_error","code":404,"#));
/// # Ok::<_, std::str::Utf8Error>(())
/// ```
pub fn error<B: From<Bytes>>(status: StatusCode, kind: &str, reason: &str) -> Response<B> {
    json_response(status, envelope(status, kind, reason))
}

/// The guide shows a `code` without an explanation; it is the status here.
fn envelope(status: StatusCode, kind: &str, reason: &str) -> String {
    json(&Envelope {
        status: "handled",
        reason,
        kind,
        code: status.as_u16(),
        helper_url: "https://docs.pasby.africa/docs/reference/errors",
        body: (),
    })
}

#[derive(Serialize)]
struct Envelope<'a> {
    status: &'a str,
    reason: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    code: u16,
    helper_url: &'a str,
    body: (),
}
