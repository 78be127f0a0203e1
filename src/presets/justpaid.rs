//! JustPaid Workflows: keys `wfk_…` in `x-api-key`, six scopes, limits by category.
//!
//! - Keys are `wfk_` and 32 of `A-Z a-z 0-9` (190 bits), in the header `x-api-key`.
//! - Limits for each key in any 60 seconds: 1000 reads, 100 writes, 500 executions (run, cancel, retry); webhooks 10000 for
//!   each client address, with [`limit_addresses`](crate::ApiKeys::limit_addresses). `X-RateLimit-Limit`, `-Remaining`
//!   and `-Reset` on every authenticated response, `Retry-After` on 429, and also the IETF's `RateLimit` fields.
//! - Scopes by route, as published, and `api-keys:read` and `api-keys:write` for managing keys. A route without a rule is
//!   rejected.
//! - Every error in the published envelope. Two credentials are a 401 like any other bad credential: the published
//!   guide has no 400 for it.
//!
//! | scope | routes |
//! |---|---|
//! | `workflows:read` | `GET /workflows`, `GET /workflows/:id` |
//! | `workflows:write` | `POST /workflows`, `PUT /workflows/:id`, `DELETE /workflows/:id` |
//! | `workflows:execute` | `POST /workflows/:id/run`, `POST /runs/:id/cancel`, `POST /runs/:id/retry` |
//! | `runs:read` | `GET /runs`, `GET /runs/:id` |
//! | `connections:read` | `GET /connections` |
//! | `connections:write` | `POST /connections`, `DELETE /connections/:id` |
//! | `api-keys:read` | `GET /auth/api-keys`, `GET /auth/api-keys/:id` |
//! | `api-keys:write` | `POST /auth/api-keys`, `PATCH /auth/api-keys/:id`, `DELETE /auth/api-keys/:id` |

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::json;
use crate::InvalidValue;
use crate::address::ClientAddressSource;
use crate::key::KeyFormat;
use crate::limit::{Quota, RateLimit};
use crate::rejection::{ErrorKind, ErrorTable, Message, TableError};
use crate::scope::ScopeSet;
use crate::store::KeyAdministration;
use crate::{ApiKeys, ApiKeysBuilder};

/// The system as published, with the keys of `store`, for an application that serves `/workflows` at its root.
///
/// ```
/// use tower_api_keys::presets::justpaid::justpaid;
/// use tower_api_keys::store::MemoryStore;
///
/// let keys = justpaid(MemoryStore::new()).routes_below("/api/v1").build()?;
/// # Ok::<_, tower_api_keys::ConfigError>(())
/// ```
pub fn justpaid(store: impl KeyAdministration) -> ApiKeysBuilder<ErrorTable> {
    let limits = limits(1000, 100, 500, 10_000, Duration::from_secs(60));
    ApiKeys::builder(store, key_format())
        .header("x-api-key")
        .routes(ROUTES)
        .limits(limits.expect("the published limits are quotas"))
        .ietf_rate_limit_fields()
        .client_address(ClientAddressSource::peer())
        .manage_with(|manager| manager.with_grantable_scopes(all_scopes()))
        .errors(ERRORS.clone())
}

const ROUTES: [(&str, &str, &str); 18] = [
    ("GET", "/workflows", "workflows:read"),
    ("GET", "/workflows/:id", "workflows:read"),
    ("POST", "/workflows", "workflows:write"),
    ("PUT", "/workflows/:id", "workflows:write"),
    ("DELETE", "/workflows/:id", "workflows:write"),
    ("POST", "/workflows/:id/run", EXECUTE),
    ("POST", "/runs/:id/cancel", EXECUTE),
    ("POST", "/runs/:id/retry", EXECUTE),
    ("GET", "/runs", "runs:read"),
    ("GET", "/runs/:id", "runs:read"),
    ("GET", "/connections", "connections:read"),
    ("POST", "/connections", "connections:write"),
    ("DELETE", "/connections/:id", "connections:write"),
    ("GET", "/auth/api-keys", "api-keys:read"),
    ("POST", "/auth/api-keys", "api-keys:write"),
    ("GET", "/auth/api-keys/:id", "api-keys:read"),
    ("PATCH", "/auth/api-keys/:id", "api-keys:write"),
    ("DELETE", "/auth/api-keys/:id", "api-keys:write"),
];

/// Routes with this scope count as executions.
const EXECUTE: &str = "workflows:execute";

/// The six published scopes and the two for managing keys.
pub fn all_scopes() -> ScopeSet {
    let scopes = ScopeSet::parse_list(ROUTES.iter().map(|(_, _, scope)| *scope));
    scopes.expect("the scopes of the table are well formed")
}

/// Keys as published: `wfk_` and 32 of `A-Z a-z 0-9`.
pub fn key_format() -> KeyFormat {
    KeyFormat::new("wfk_").expect("a prefix makes a key format")
}

/// The limits as rules, by category: only the most specific category counts a request. Published are 1000 reads, 100
/// writes, 500 executions, 10000 webhooks, and 60 seconds.
///
/// ```
/// use std::time::Duration;
/// use tower_api_keys::presets::justpaid::{justpaid, limits};
/// use tower_api_keys::store::MemoryStore;
///
/// let more = limits(5_000, 500, 500, 10_000, Duration::from_secs(60))?;
/// let keys = justpaid(MemoryStore::new()).limits(more).build()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`InvalidValue`] if a limit is zero or the window is out of range.
pub fn limits(
    read: u32,
    write: u32,
    execute: u32,
    webhooks: u32,
    window: Duration,
) -> Result<[RateLimit; 2], InvalidValue> {
    let quota = |limit| Quota::new(limit, window);
    let execute = quota(execute)?;
    let by_key = RateLimit::per_key("write", quota(write)?)
        .methods(["GET"], "read", quota(read)?)
        .without_method("OPTIONS");
    let runs = ROUTES.iter().filter(|(_, _, scope)| *scope == EXECUTE);
    let by_key = runs.fold(by_key, |rule, (method, path, _)| rule.route(*method, *path, "execute", execute));
    let webhooks = RateLimit::per_address("webhooks", quota(webhooks)?);
    Ok([by_key, webhooks.only_route("POST", "/webhooks/:source")])
}

static ERRORS: ErrorTable = ErrorTable::json(MESSAGES, body).with_success(|success| {
    let next_cursor = success.next_cursor.as_deref();
    (success.status, json(&Success { success: true, data: &success.data, next_cursor }))
});

#[rustfmt::skip] // a table
const MESSAGES: &[Message] = &[
    Message::kind(ErrorKind::Unauthenticated, 401, "UNAUTHORIZED", "Invalid or missing API key"),
    Message::kind(ErrorKind::AmbiguousCredentials, 401, "UNAUTHORIZED", "Invalid or missing API key"),
    Message::kind(ErrorKind::RateLimited, 429, "RATE_LIMITED", ""),
    Message::kind(ErrorKind::Forbidden, 403, "FORBIDDEN", "Insufficient permissions for this operation"),
    Message::kind(ErrorKind::OrganizationMissing, 403, "FORBIDDEN", "Insufficient permissions for this operation"),
    Message::kind(ErrorKind::OrganizationMismatch, 403, "FORBIDDEN", "Insufficient permissions for this operation"),
    Message::kind(ErrorKind::OrganizationNotFound, 403, "FORBIDDEN", "Insufficient permissions for this operation"),
    Message::reason("route_not_found", 404, "NOT_FOUND", "Resource not found"),
    Message::kind(ErrorKind::NotFound, 404, "NOT_FOUND", "API key not found"),
    Message::kind(ErrorKind::Invalid, 400, "VALIDATION_ERROR", "Invalid request"),
    Message::kind(ErrorKind::AlreadyExists, 409, "CONFLICT", "API key already exists"),
    Message::kind(ErrorKind::Overtaken, 412, "PRECONDITION_FAILED", "API key was changed meanwhile"),
    Message::kind(ErrorKind::Unavailable, 503, "SERVICE_UNAVAILABLE", "Service temporarily unavailable"),
    Message::kind(ErrorKind::Misconfigured, 500, "INTERNAL_ERROR", "Internal server error"),
];

/// `{"success":false,"error":{"code":"…","message":"…"}}`.
fn body(row: &TableError<'_>) -> String {
    let message = match row.quota {
        None => row.text.to_owned(),
        Some(quota) => format!("Rate limit exceeded. Limit: {quota}."),
    };
    let details = row.fields.iter();
    let details = details.map(|fault| json!({ "field": fault.field, "message": fault.message })).collect();
    json(&Failure { success: false, error: Problem { code: row.code, message, details } })
}

#[derive(Serialize)]
struct Success<'a> {
    success: bool,
    data: &'a Value,
    #[serde(rename = "nextCursor", skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
}

#[derive(Serialize)]
struct Failure {
    success: bool,
    error: Problem,
}

#[derive(Serialize)]
struct Problem {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Value>,
}
