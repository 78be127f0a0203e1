//! payment-gateway.app: keys of organizations and of the system as bearer tokens, and dashboard sessions.
//!
//! - Keys are `sk_<id>.<secret>`, `sk_live_<id>.<secret>` or `sk_test_<id>.<secret>` in `Authorization: Bearer`; made
//!   with a mark, an identifier of 16 and a secret of 32 of `A-Z a-z 0-9` (190 bits). A bearer token that does not
//!   start with `sk_` is a dashboard session, verified by the application's own
//!   [authenticator](crate::ApiKeysBuilder::sessions).
//! - Two tiers. A key of an organization acts for it; `X-Organization-ID` is optional and has to match. A system key
//!   acts for the organization of the route or of that header, and only it can use the system's routes. A session
//!   acts for the organization of the route, otherwise of the cookie `selectedOrganization`, otherwise for the only one
//!   that it has. A session of [staff](crate::identity::Session::with_owner) is as a system key.
//! - Scopes `resource:action` by route, and a role for sessions; keys have none. A route without a rule is rejected.
//! - For each caller 500 requests in any 5 minutes and 100 in any minute, both together.
//! - One-time portal links have their own [`KeyManager`](crate::manage::KeyManager) with its own format and store,
//!   and [`redeem`](crate::manage::KeyManager::redeem): they are never keys, and in no list of keys.
//! - Errors as `{"error":"…","code":"…","requestId":"…"}`, with the challenges of RFC 6750. `X-Request-ID` on every
//!   response.
//!
//! | scope | role | routes |
//! |---|---|---|
//! | `checkout:create` | editor | `POST /checkouts/:site/create` |
//! | `transaction:read` | viewer | `GET /transactions` |
//! | `client:read`, `client:create` | viewer, editor | `GET`, `POST /clients` |
//! | `invoice:read`, `invoice:create` | viewer, editor | `GET`, `POST /invoices` |
//! | `invoice:update`, `invoice:execute` | editor | `PUT /invoices/:id`, `POST /invoices/:id/schedule` |
//! | `portal:create` | editor | `POST /portal/links` |
//! | `data_io:execute` | admin | `POST /data-io` |
//! | `organization:read` | viewer | `GET /dashboard/overview`, `GET /dashboard/:orgId/overview` |
//! | `api_key:read` | admin | `GET /organizations/:orgId/api-keys`, `GET …/:id`, `GET …/:id/history` |
//! | `api_key:create` | admin | `POST /organizations/:orgId/api-keys` |
//! | `api_key:update` | admin | `PATCH /organizations/:orgId/api-keys/:id`, `POST …/:id/rotate` |
//! | `api_key:delete` | admin | `POST …/:id/revoke`, `DELETE …/:id` |
//! | the same four | the system | the same below `/system/api-keys` |
//! | `organization:create`, `organization:read` | the system | `POST`, `GET /organizations` |
//! | `system:read`, `system:update` | the system | `GET`, `PUT /system/settings` |
//! | `system:read` | the system | `GET /system/health` |

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use super::json;
use crate::identity::{OrganizationRule, Role};
use crate::key::KeyFormat;
use crate::limit::{Quota, RateLimit};
use crate::manage::KeyAction;
use crate::rejection::{ErrorKind, ErrorTable, Message, TableError};
use crate::request::RequestId;
use crate::route::Access;
use crate::scope::{ScopeRequirement, ScopeSet};
use crate::store::KeyAdministration;
use crate::{ApiKeys, ApiKeysBuilder};

/// May read.
pub const VIEWER: Role = Role::of_rank(1);
/// May change resources.
pub const EDITOR: Role = Role::of_rank(2);
/// May manage keys and data.
pub const ADMIN: Role = Role::of_rank(3);

/// The system as published, with the keys of `store`. Add [`sessions`](ApiKeysBuilder::sessions) for the dashboard.
///
/// ```
/// use tower_api_keys::presets::payment_gateway::payment_gateway;
/// use tower_api_keys::store::MemoryStore;
///
/// let keys = payment_gateway(MemoryStore::new()).routes_below("/api/v1").build()?;
/// # Ok::<_, tower_api_keys::ConfigError>(())
/// ```
pub fn payment_gateway(store: impl KeyAdministration) -> ApiKeysBuilder<ErrorTable> {
    let context = OrganizationRule::context().header("x-organization-id").route_parameter("orgId");
    let quotas = [Quota::new(500, Duration::from_secs(5 * 60)), Quota::per_minute(100)];
    let (quotas, scope) = (quotas.map(|quota| quota.expect("as published")), ScopeRequirement::from_static);
    ApiKeys::builder(store, key_format())
        .bearer()
        .realm("payment-gateway.app")
        .organization(context.session_cookie("selectedOrganization"))
        .routes(ROUTES.map(|(method, pattern, scope, role)| (method, pattern, access(scope, role))))
        .key_routes("/organizations/:orgId/api-keys", |action| access(scope_for(action), Some(ADMIN)))
        .key_routes("/system/api-keys", |action| access(scope_for(action), None))
        .limit(RateLimit::per_key("api", quotas))
        .request_ids()
        .manage_with(move |manager| {
            manager
                .with_grantable_scopes(organization_scopes())
                .with_management_scopes(scope("api_key:read"), scope("api_key:update"))
                .with_scope_for(KeyAction::Create, scope("api_key:create"))
                .with_scope_for(KeyAction::Revoke, scope("api_key:delete"))
                .with_scope_for(KeyAction::Delete, scope("api_key:delete"))
        })
        .errors(ERRORS.clone())
}

fn scope_for(action: KeyAction) -> &'static str {
    match action {
        KeyAction::Read => "api_key:read",
        KeyAction::Create => "api_key:create",
        KeyAction::Revoke | KeyAction::Delete => "api_key:delete",
        _ => "api_key:update",
    }
}

fn access(scope: &'static str, role: Option<Role>) -> Access {
    let access = Access::Scope(ScopeRequirement::from_static(scope));
    if let Some(role) = role { access.with_role(role) } else { access.of_system() }
}

/// Route, scope, and the role that a session needs; without a role, for the system only.
const ROUTES: [(&str, &str, &str, Option<Role>); 17] = [
    ("POST", "/checkouts/:site/create", "checkout:create", Some(EDITOR)),
    ("GET", "/transactions", "transaction:read", Some(VIEWER)),
    ("GET", "/clients", "client:read", Some(VIEWER)),
    ("POST", "/clients", "client:create", Some(EDITOR)),
    ("GET", "/invoices", "invoice:read", Some(VIEWER)),
    ("POST", "/invoices", "invoice:create", Some(EDITOR)),
    ("PUT", "/invoices/:id", "invoice:update", Some(EDITOR)),
    ("POST", "/invoices/:id/schedule", "invoice:execute", Some(EDITOR)),
    ("POST", "/portal/links", "portal:create", Some(EDITOR)),
    ("POST", "/data-io", "data_io:execute", Some(ADMIN)),
    ("GET", "/dashboard/overview", "organization:read", Some(VIEWER)),
    ("GET", "/dashboard/:orgId/overview", "organization:read", Some(VIEWER)),
    ("POST", "/organizations", "organization:create", None),
    ("GET", "/organizations", "organization:read", None),
    ("GET", "/system/settings", "system:read", None),
    ("PUT", "/system/settings", "system:update", None),
    ("GET", "/system/health", "system:read", None),
];

/// The scopes that a key of an organization can have. A system key can also have `system:*`.
pub fn organization_scopes() -> ScopeSet {
    let scopes = "api_key:* checkout:* client:* data_io:* invoice:* organization:* portal:* transaction:*";
    ScopeSet::parse_list(scopes.split(' ')).expect("the scopes are well formed")
}

/// Keys as published; the mode mark is optional in accepted keys.
pub fn key_format() -> KeyFormat {
    let format = KeyFormat::builder("sk_").optional_modes("test_", "live_").public_id(16, '.');
    format.build().expect("prefix, marks and identifier make a key format")
}

/// The published errors. Every success is 200, since the vendor's plugins take anything else for a failure.
static ERRORS: ErrorTable =
    ErrorTable::json(MESSAGES, body).with_success(|success| (StatusCode::OK, success.to_json().to_string()));

fn body(row: &TableError<'_>) -> String {
    let fields: Vec<String> = row.fields.iter().map(ToString::to_string).collect();
    let text = match row.message {
        Some(_) if !fields.is_empty() => &fields.join("; "),
        // Of a call that managed keys the message says what the caller lacks.
        Some(message) if row.status == StatusCode::FORBIDDEN => message.trim_end_matches('.'),
        _ => row.text,
    };
    error_body(row.code, text, row.request_id)
}

#[rustfmt::skip] // a table
const MESSAGES: &[Message] = &[
    Message::kind(ErrorKind::Unauthenticated, 401, "unauthorized", "Invalid or missing API key"),
    Message::kind(ErrorKind::AmbiguousCredentials, 400, "invalid_request", "Send exactly one credential"),
    Message::kind(ErrorKind::RateLimited, 429, "rate_limited", "Too many requests"),
    Message::kind(ErrorKind::OrganizationMissing, 400, "organization_required", "Name an organization"),
    Message::kind(ErrorKind::OrganizationMismatch, 403, "organization_mismatch", "X-Organization-ID is not the organization of the request"),
    Message::kind(ErrorKind::OrganizationNotFound, 404, "not_found", "Not found"),
    Message::kind(ErrorKind::NotFound, 404, "not_found", "Not found"),
    Message::reason("scope_missing", 403, "insufficient_scope", "The API key lacks a scope for this"),
    Message::kind(ErrorKind::Forbidden, 403, "forbidden", "Not allowed"),
    Message::kind(ErrorKind::Invalid, 400, "validation_error", ""),
    Message::kind(ErrorKind::AlreadyExists, 409, "conflict", "The API key exists already"),
    Message::kind(ErrorKind::Unavailable, 503, "unavailable", "Service temporarily unavailable"),
    Message::kind(ErrorKind::Misconfigured, 500, "internal_error", "Internal server error"),
];

/// The body of an error, for handlers: `{"error":"…","code":"…","requestId":"…"}`.
pub fn error_body(code: &str, text: &str, id: Option<&RequestId>) -> String {
    json(&Problem { error: text, code, request_id: id.map(RequestId::as_str) })
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
    code: &'a str,
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}
