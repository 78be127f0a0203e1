//! JustPaid Workflows: keys `wfk_…` in `x-api-key`, six scopes, limits by category.
//!
//! What it switches on:
//!
//! - Keys are `wfk_` and 32 of `A-Z a-z 0-9` (190 bits), in the header `x-api-key`.
//! - Limits for each key in any 60 seconds: 1000 reads, 100 writes, 500 executions (run, cancel, retry); webhooks 10000 for
//!   each client address. `X-RateLimit-Limit`, `-Remaining` and `-Reset` on every authenticated answer, `Retry-After` on
//!   429, and the IETF's `RateLimit` fields beside them.
//! - Scopes by route, as published, and `api-keys:read` and `api-keys:write` for managing keys. A route that is not in the
//!   table is refused.
//! - Every refusal in the published envelope. Two credentials are a 401 like any other bad credential: the published
//!   guide knows no 400 for it.
//!
//! | scope | routes |
//! |---|---|
//! | `workflows:read` | `GET /workflows`, `GET /workflows/:id` |
//! | `workflows:write` | `POST /workflows`, `PUT /workflows/:id`, `DELETE /workflows/:id` |
//! | `workflows:execute` | `POST /workflows/:id/run`, `POST /runs/:id/cancel`, `POST /runs/:id/retry` |
//! | `runs:read` | `GET /runs`, `GET /runs/:id` |
//! | `connections:read` | `GET /connections` |
//! | `connections:write` | `POST /connections`, `DELETE /connections/:id` |
//! | `api-keys:read` | `GET /auth/api-keys` |
//! | `api-keys:write` | `POST /auth/api-keys`, `DELETE /auth/api-keys/:id` |

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode};
use thiserror::Error;

use crate::address::ClientAddressSource;
use crate::authenticate::AuthenticateLayer;
use crate::route::Access;
use crate::authorize::RequireScopeLayer;
use crate::clock::{Clock, SystemClock};
use crate::credential::HeaderKey;
use crate::key::{KeyFormat, Peppers};
use crate::manage::KeyManager;
use crate::limit::{InvalidQuota, MemoryRateLimiter, Quota, RateLimitLayer, RateLimiter};
use crate::rejection::{Reason, Rejection, RejectionFormat, RejectionKind, response};
use crate::route::{InvalidRoute, RouteTable};
use crate::scope::{ScopeRequirement, ScopeSet};
use crate::store::KeyAdministration;

const ROUTES: [(Method, &str, &str); 16] = [
    (Method::GET, "/workflows", "workflows:read"),
    (Method::GET, "/workflows/:id", "workflows:read"),
    (Method::POST, "/workflows", "workflows:write"),
    (Method::PUT, "/workflows/:id", "workflows:write"),
    (Method::DELETE, "/workflows/:id", "workflows:write"),
    (Method::POST, "/workflows/:id/run", EXECUTE),
    (Method::POST, "/runs/:id/cancel", EXECUTE),
    (Method::POST, "/runs/:id/retry", EXECUTE),
    (Method::GET, "/runs", "runs:read"),
    (Method::GET, "/runs/:id", "runs:read"),
    (Method::GET, "/connections", "connections:read"),
    (Method::POST, "/connections", "connections:write"),
    (Method::DELETE, "/connections/:id", "connections:write"),
    (Method::GET, "/auth/api-keys", "api-keys:read"),
    (Method::POST, "/auth/api-keys", "api-keys:write"),
    (Method::DELETE, "/auth/api-keys/:id", "api-keys:write"),
];

/// Routes with this scope are the ones that count as executions.
const EXECUTE: &str = "workflows:execute";

/// The six published scopes and the two for managing keys.
///
/// ```
/// use tower_api_keys::presets::justpaid;
///
/// assert_eq!(justpaid::all_scopes().len(), 8);
/// ```
pub fn all_scopes() -> ScopeSet {
    let scopes = ScopeSet::parse_list(ROUTES.iter().map(|(_, _, scope)| *scope));
    scopes.expect("the scopes of the table are well formed")
}

/// Keys as published: `wfk_` and 32 of `A-Z a-z 0-9`.
pub fn key_format() -> KeyFormat {
    KeyFormat::new("wfk_").expect("a prefix and the default secret make a key format")
}

/// How many requests a window lets through, by category, and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `GET`; 1000.
    pub read: u32,
    /// `POST`, `PUT`, `PATCH`, `DELETE` and anything else that is not a read; 100.
    pub write: u32,
    /// Running, cancelling and retrying; 500.
    pub execute: u32,
    /// Webhooks, for each client address; 10000.
    pub webhooks: u32,
    /// 60 seconds.
    pub window: Duration,
}

impl Default for Limits {
    /// The published limits.
    fn default() -> Self {
        Self { read: 1000, write: 100, execute: 500, webhooks: 10_000, window: Duration::from_secs(60) }
    }
}

/// The parts of JustPaid Workflows, round a store of the host's choice.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_api_keys::presets::justpaid::JustPaid;
/// use tower_api_keys::store::MemoryStore;
///
/// let justpaid = JustPaid::new(MemoryStore::new()).with_prefix("/api/v1");
/// let layers = ServiceBuilder::new()
///     .layer(justpaid.authenticate())
///     .layer(justpaid.rate_limit()?)
///     .layer(justpaid.scopes()?);
/// # let _ = layers;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct JustPaid<S> {
    store: S,
    prefix: String,
    limits: Limits,
    make_limiter: Option<Arc<MakeLimiter>>,
    peppers: Peppers,
    clock: Arc<dyn Clock>,
}

type MakeLimiter = dyn Fn(&str, Quota) -> Arc<dyn RateLimiter> + Send + Sync;

impl<S: KeyAdministration + Clone> JustPaid<S> {
    /// As published, with the keys of `store`, for a host that serves `/workflows` at its root.
    pub fn new(store: S) -> Self {
        Self {
            store,
            prefix: String::new(),
            limits: Limits::default(),
            make_limiter: None,
            peppers: Peppers::none(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Says under which path the routes are served, such as `/api/v1`.
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Sets other limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Counts with limiters of the host's making, such as `RedisRateLimiter`s that several processes share. `make` gets the
    /// category, `read`, `write`, `execute` or `webhooks`, and its quota.
    pub fn with_limiters(
        self,
        make: impl Fn(&str, Quota) -> Arc<dyn RateLimiter> + Send + Sync + 'static,
    ) -> Self {
        Self { make_limiter: Some(Arc::new(make)), ..self }
    }

    /// Digests keys under these peppers.
    pub fn with_peppers(self, peppers: Peppers) -> Self {
        Self { peppers, ..self }
    }

    /// Reads the time from this clock.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// The outermost layer: who is calling.
    pub fn authenticate(&self) -> AuthenticateLayer<JustPaidFormat> {
        AuthenticateLayer::new(self.store.clone(), HeaderKey::new(X_API_KEY, key_format()))
            .with_peppers(self.peppers.clone())
            .with_clock(self.clock.clone())
            .with_rejection_format(JustPaidFormat)
    }

    /// The layer inside it: how often. The most specific category counts, and only that one.
    ///
    /// # Errors
    ///
    /// [`InvalidPreset`] if a limit is zero, the window is out of range, or the prefix is no path.
    pub fn rate_limit(&self) -> Result<RateLimitLayer<JustPaidFormat>, InvalidPreset> {
        let execute = self.limiter("execute", self.limits.execute)?;
        let read = self.limiter("read", self.limits.read)?;
        let write = self.limiter("write", self.limits.write)?;
        let mut layer = RateLimitLayer::by_key(write)
            .with_methods([Method::GET], read)
            .without_limit(Method::OPTIONS)
            .with_ietf_fields()
            .with_clock(self.clock.clone());
        for (method, pattern, _) in ROUTES.into_iter().filter(|(_, _, scope)| *scope == EXECUTE) {
            layer = layer.with_route(method, &format!("{}{pattern}", self.prefix), execute.clone())?;
        }
        Ok(layer.with_rejection_format(JustPaidFormat))
    }

    /// The layer round the routes: what the key may do.
    ///
    /// # Errors
    ///
    /// [`InvalidPreset`] if the prefix is no path.
    pub fn scopes(&self) -> Result<RequireScopeLayer<JustPaidFormat>, InvalidPreset> {
        let layer = RequireScopeLayer::by_route(self.route_scopes()?).expect("the table has routes");
        Ok(layer.with_rejection_format(JustPaidFormat))
    }

    /// The routes with their scopes: what [`scopes`](Self::scopes) goes by, for a test of the host's that no route of
    /// its router is forgotten.
    ///
    /// # Errors
    ///
    /// [`InvalidPreset`] if the prefix is no path.
    pub fn route_scopes(&self) -> Result<RouteTable<Access>, InvalidPreset> {
        ROUTES.into_iter().try_fold(RouteTable::new(), |table, (method, pattern, scope)| {
            let access = Access::Scope(ScopeRequirement::from_static(scope));
            Ok(table.add(method, &format!("{}{pattern}", self.prefix), access)?)
        })
    }

    /// The layer round the webhooks, which carry no key: how often, by client address.
    ///
    /// # Errors
    ///
    /// [`InvalidPreset`] if the limit is zero or the window out of range.
    pub fn webhook_limit(
        &self,
        source: ClientAddressSource,
    ) -> Result<RateLimitLayer<JustPaidFormat>, InvalidPreset> {
        let webhooks = self.limiter("webhooks", self.limits.webhooks)?;
        let layer = RateLimitLayer::by_client_address(source, webhooks).with_clock(self.clock.clone());
        Ok(layer.with_rejection_format(JustPaidFormat))
    }

    /// Makes, lists and revokes keys.
    pub fn key_manager(&self) -> KeyManager {
        KeyManager::new(self.store.clone(), key_format())
            .with_peppers(self.peppers.clone())
            .with_clock(self.clock.clone())
            .with_grantable_scopes(all_scopes())
    }

    fn limiter(&self, category: &str, limit: u32) -> Result<Arc<dyn RateLimiter>, InvalidQuota> {
        let limit = NonZeroU32::new(limit).ok_or(InvalidQuota::Limit { limit })?;
        let quota = Quota::new(limit, self.limits.window)?;
        Ok(match &self.make_limiter {
            Some(make) => make(category, quota),
            None => Arc::new(MemoryRateLimiter::builder(category, quota).build_at(self.clock.now())),
        })
    }
}

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A [`JustPaid`] was given something it can't work with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidPreset {
    /// A limit or the window.
    #[error(transparent)]
    Quota(#[from] InvalidQuota),
    /// The prefix.
    #[error(transparent)]
    Route(#[from] InvalidRoute),
}

/// Refusals in the published envelope: `{"success":false,"error":{"code":"…","message":"…"}}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct JustPaidFormat;

impl<B: From<Bytes>> RejectionFormat<B> for JustPaidFormat {
    fn response(&self, rejection: &Rejection) -> Response<B> {
        match rejection.kind() {
            RejectionKind::Unauthenticated | RejectionKind::AmbiguousCredentials => {
                json(StatusCode::UNAUTHORIZED, UNAUTHORIZED)
            }
            RejectionKind::RateLimited => json(StatusCode::TOO_MANY_REQUESTS, rate_limited(rejection)),
            // This API names organizations nowhere but in the key.
            RejectionKind::OrganizationMissing
            | RejectionKind::OrganizationMismatch
            | RejectionKind::OrganizationNotFound
            | RejectionKind::Forbidden => json(StatusCode::FORBIDDEN, FORBIDDEN),
            RejectionKind::Unavailable => json(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
            RejectionKind::Misconfigured => json(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR),
        }
    }
}

const UNAUTHORIZED: &str =
    r#"{"success":false,"error":{"code":"UNAUTHORIZED","message":"Invalid or missing API key"}}"#;
const FORBIDDEN: &str = r#"{"success":false,"error":{"code":"FORBIDDEN","message":"Insufficient permissions for this operation"}}"#;
const UNAVAILABLE: &str =
    r#"{"success":false,"error":{"code":"SERVICE_UNAVAILABLE","message":"Service temporarily unavailable"}}"#;
const INTERNAL_ERROR: &str =
    r#"{"success":false,"error":{"code":"INTERNAL_ERROR","message":"Internal server error"}}"#;

/// `Rate limit exceeded. Limit: 100 requests per minute.`
fn rate_limited(rejection: &Rejection) -> Bytes {
    let (Reason::RateLimited(limited) | Reason::Throttled(limited)) = rejection.reason() else {
        return Bytes::new();
    };
    let per: Cow<'_, str> = match limited.window.as_secs() {
        60 => "minute".into(),
        1 => "second".into(),
        seconds => format!("{seconds} seconds").into(),
    };
    let mut limit = itoa::Buffer::new();
    let body = [RATE_LIMITED, limit.format(limited.limit), " requests per ", &*per, r#"."}}"#].concat();
    Bytes::from(body)
}

const RATE_LIMITED: &str =
    r#"{"success":false,"error":{"code":"RATE_LIMITED","message":"Rate limit exceeded. Limit: "#;

/// Answers about keys in the published envelopes; the place of the next page, if there is one, in `nextCursor`.
#[cfg(feature = "axum")]
impl crate::manage::KeyRoutesFormat for JustPaidFormat {
    fn success(
        &self,
        status: StatusCode,
        data: serde_json::Value,
        next_cursor: Option<String>,
    ) -> axum::response::Response {
        let next = next_cursor.map(|cursor| format!(r#","nextCursor":"{cursor}""#)).unwrap_or_default();
        json(status, format!(r#"{{"success":true,"data":{data}{next}}}"#))
    }

    fn failure(&self, error: &crate::manage::ManageError) -> axum::response::Response {
        use crate::manage::ManageError;

        let body = match error {
            ManageError::Unauthenticated => UNAUTHORIZED.to_owned(),
            ManageError::Forbidden(_) => FORBIDDEN.to_owned(),
            ManageError::NotFound => KEY_NOT_FOUND.to_owned(),
            ManageError::Invalid(fields) => {
                let details = fields.iter().map(|error| {
                    serde_json::json!({ "field": error.field, "message": error.message }).to_string()
                });
                let details = details.collect::<Vec<_>>().join(",");
                format!(
                    r#"{{"success":false,"error":{{"code":"VALIDATION_ERROR","message":"Invalid request","details":[{details}]}}}}"#
                )
            }
            ManageError::AlreadyExists => KEY_EXISTS.to_owned(),
            ManageError::Store(_) | ManageError::Randomness(_) => UNAVAILABLE.to_owned(),
        };
        json(error.status(), body)
    }
}

#[cfg(feature = "axum")]
const KEY_NOT_FOUND: &str = r#"{"success":false,"error":{"code":"NOT_FOUND","message":"API key not found"}}"#;
#[cfg(feature = "axum")]
const KEY_EXISTS: &str =
    r#"{"success":false,"error":{"code":"CONFLICT","message":"API key already exists"}}"#;

fn json<B: From<Bytes>>(status: StatusCode, body: impl Into<Bytes>) -> Response<B> {
    response(status, "application/json", body)
}
