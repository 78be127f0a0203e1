use std::fmt;
use std::sync::Arc;
#[cfg(feature = "console")]
use std::time::Duration;

use http::Response;
#[cfg(feature = "axum")]
use http::header::CACHE_CONTROL;
#[cfg(feature = "axum")]
use http::{HeaderValue, StatusCode};

#[cfg(feature = "axum")]
use super::Health;
use super::assembly::Assembly;
use super::checks::Checks;
#[cfg(feature = "console")]
use super::credentials::CurlCredential;
use super::facts::Stages;
use super::{ApiKeysBuilder, ApiKeysLayer};
use crate::key::KeyFormat;
use crate::limit::StoredLimiter;
use crate::manage::KeyManager;
#[cfg(feature = "console")]
use crate::outcome::LastUse;
use crate::outcome::{keep_writing_usage, write_usage};
#[cfg(feature = "axum")]
use crate::rejection::json_response;
use crate::rejection::{ApiError, ErrorFormat, ProblemDetails};
use crate::route::Route;
use crate::scope::{KnownScope, ScopeRequirement};
use crate::store::{KeyAdministration, KeyStore, StoreError, background};

/// The API keys of an application, configured once: where they are stored, what they look like, where requests carry them,
/// what they may do. Layers, key manager and key routes are views of it.
///
/// ```
/// use tower_api_keys::store::MemoryStore;
/// use tower_api_keys::{ApiKeys, KeyFormat, NewKey, Quota, RateLimit};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
///     .header("x-api-key")
///     .limit(RateLimit::per_key("requests", Quota::per_minute(1000)?))
///     .route("GET", "/workflows", "workflows:read")
///     .build()?;
///
/// // The first key comes from code. Its secret is shown once; the store holds a digest of it.
/// let key = keys.manager().create_for("org_1", NewKey::new("First key").scope("workflows:read")).await?;
///
/// // Any tower service can stand behind the layer.
/// let service = tower::ServiceBuilder::new().layer(keys.layer()).service_fn(async |_: http::Request<()>| {
///     Ok::<_, std::convert::Infallible>(http::Response::new(bytes::Bytes::from("workflows")))
/// });
/// # use tower::ServiceExt;
/// let request = http::Request::get("/workflows").header("x-api-key", key.secret.expose_secret()).body(())?;
/// assert_eq!(service.oneshot(request).await?.status(), 200);
/// # Ok(())
/// # }
/// ```
///
/// Cheap to clone: clones share the assembly, its limits and what it caches. `F` is the [format of
/// errors](ApiKeysBuilder::errors).
pub struct ApiKeys<F = ProblemDetails>(Arc<Assembly<F>>);

impl ApiKeys {
    /// Starts an assembly with the keys of `store`, which look as `format` says.
    ///
    /// Unless set otherwise: digests are plain SHA-256, the clock is the system's, a request without a credential is
    /// rejected, routes are matched by path, and errors are [`ProblemDetails`]. A service that only looks keys up wraps
    /// its store in [`ReadOnly`](crate::store::ReadOnly).
    pub fn builder(store: impl KeyAdministration, format: KeyFormat) -> ApiKeysBuilder {
        ApiKeysBuilder::new(store, format)
    }
}

impl<F> ApiKeys<F> {
    pub(super) fn new(assembly: Assembly<F>) -> Self {
        Self(Arc::new(assembly))
    }

    pub(super) fn checks(&self) -> &Arc<Checks> {
        &self.0.checks
    }

    #[cfg(feature = "openapi")]
    pub(crate) fn gives_request_ids(&self) -> bool {
        self.0.gives_request_ids
    }

    fn with_stages(&self, stages: Stages) -> ApiKeysLayer<F> {
        ApiKeysLayer::new(self.0.clone(), stages)
    }

    /// All checks, in one layer.
    pub fn layer(&self) -> ApiKeysLayer<F> {
        self.with_stages(Stages::All)
    }

    /// The limits by client address alone: for routes without keys, or outside of [`authenticate`](Self::authenticate).
    pub fn limit_addresses(&self) -> ApiKeysLayer<F> {
        self.with_stages(Stages::AddressLimits)
    }

    /// Authentication alone: everything up to the addresses that a key may be used from.
    pub fn authenticate(&self) -> ApiKeysLayer<F> {
        self.with_stages(Stages::Authenticate)
    }

    /// The limits of callers alone. Goes inside [`authenticate`](Self::authenticate).
    pub fn rate_limit(&self) -> ApiKeysLayer<F> {
        self.with_stages(Stages::Limits)
    }

    /// Organization and access by route alone. Goes inside [`authenticate`](Self::authenticate).
    pub fn authorize(&self) -> ApiKeysLayer<F> {
        self.with_stages(Stages::Authorize)
    }

    /// Requires a scope of every request, for a single route or a group of them. Goes inside [`layer`](Self::layer) or
    /// [`authenticate`](Self::authenticate).
    ///
    #[cfg_attr(feature = "axum", doc = "```")]
    #[cfg_attr(not(feature = "axum"), doc = "```text")]
    /// use axum::{Router, routing::delete};
    /// # use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .without_route_table()
    ///     .build()?;
    /// let remove = async || "removed";
    /// let app: Router = Router::new()
    ///     .route("/invoices/{id}", delete(remove).route_layer(keys.require("invoice:delete")))
    ///     .layer(keys.layer());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `scope` is no scope, `resource:action`: a mistake in the code that is seen when the application starts.
    #[track_caller]
    pub fn require(&self, scope: impl TryInto<ScopeRequirement, Error: fmt::Display>) -> ApiKeysLayer<F> {
        match scope.try_into() {
            Ok(requirement) => self.with_stages(Stages::Require(Arc::new(requirement))),
            Err(error) => panic!("`require` needs a scope: {error}"),
        }
    }

    /// Makes keys and looks after them.
    pub fn manager(&self) -> &KeyManager {
        &self.0.manager
    }

    /// The scopes that routes need, that keys can be given, and that are
    /// [described](ApiKeysBuilder::describe_scopes), in the order of their text: for a form that makes keys.
    pub fn scopes(&self) -> &[KnownScope] {
        &self.0.scopes
    }

    /// How `curl` presents a key; `None` if no header field carries one.
    #[cfg(feature = "console")]
    pub(crate) fn curl_credential(&self) -> Option<CurlCredential> {
        self.0.checks.credentials.curl()
    }

    /// How late [last uses](ApiKeysBuilder::record_last_use) are stored; `None` if they are not.
    #[cfg(feature = "console")]
    pub(crate) fn last_use_lag(&self) -> Option<Duration> {
        self.0.checks.last_use.as_ref().map(|_| LastUse::INTERVAL)
    }

    /// Whether [usage](ApiKeysBuilder::count_usage) is counted.
    #[cfg(feature = "console")]
    pub(crate) fn counts_usage(&self) -> bool {
        self.0.checks.usage.is_some()
    }

    /// Everything that runs beside requests: to follow what other nodes change, to write when keys were last used and [how often](crate::usage), to give back
    /// what is leased of stored quotas and not used, to deliver [audit events](ApiKeysBuilder::audit), and to end
    /// [streams](crate::stream) with their keys. First it looks whether keys need a [pepper that is
    /// missing](crate::key::Peppers#replacing-a-pepper), and logs that.
    ///
    /// The application spawns it, in any runtime that its store works in. It does not end.
    ///
    /// ```
    /// # use tower_api_keys::ApiKeys;
    /// # async fn example(keys: ApiKeys) -> Result<(), tower_api_keys::store::StoreError> {
    /// let background = tokio::spawn(keys.background());
    /// // … serve; and once the server has stopped:
    /// background.abort();
    /// keys.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn background(&self) -> impl Future<Output = ()> + Send + use<F> {
        let store = self.0.manager.store().clone();
        let mut tasks: Vec<_> = store.background().into_iter().collect();
        tasks.push(Box::pin(self.0.manager.clone().report_missing_peppers()));
        tasks.push(Box::pin(self.0.manager.watch_streams()));
        if let Some(delivery) = self.0.manager.keep_delivering_audit() {
            tasks.push(Box::pin(delivery));
        }
        let checks = &self.0.checks;
        if let Some(last_use) = &checks.last_use {
            tasks.push(Box::pin(last_use.clone().keep_writing_to(store.clone())));
        }
        if let Some((usage, retention)) = &checks.usage {
            tasks.push(Box::pin(keep_writing_usage(usage.clone(), store, checks.clock.clone(), *retention)));
        }
        for stored in self.stored_limiters() {
            tasks.push(Box::pin(stored.keep_giving_back(self.0.checks.clock.clone())));
        }
        #[cfg(feature = "metrics")]
        tasks.push(Box::pin(super::gauges::keep_setting(self.0.checks.clone())));
        #[cfg(feature = "metrics")]
        tasks.push(Box::pin(super::gauges::keep_counting_keys(self.0.manager.clone())));
        self.0.background.counted(background::run(tasks))
    }

    /// Whether the background task is needed, and whether it runs.
    pub(super) fn background_state(&self) -> (bool, bool) {
        (self.0.background.is_needed(), self.0.background.runs())
    }

    /// Writes and delivers what [`background`](Self::background) has not yet, and gives back what is leased. For the end of a
    /// process. Waits for the audit sink.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let checks = &self.0.checks;
        // Tried in any case.
        let usage = match &checks.usage {
            Some((usage, _)) => write_usage(usage, self.0.manager.store(), &*checks.clock).await,
            None => Ok(()),
        };
        self.0.manager.deliver_audit().await?;
        for stored in self.stored_limiters() {
            stored.give_back_all(checks.clock.now()).await?;
        }
        if let Some(last_use) = &checks.last_use {
            last_use.write_to(self.0.manager.store()).await?;
        }
        usage
    }

    fn stored_limiters(&self) -> Vec<StoredLimiter> {
        self.0.checks.limiters().filter_map(|limiter| limiter.stored.clone()).collect()
    }

    /// Those of the application's `routes` that no rule covers: forgotten ones. Without
    /// [rules for access](crate::ApiKeysBuilder::without_route_table), the rules are those of
    /// [companions](crate::credential::Companions::with_routes). For a test:
    ///
    /// ```
    /// # use tower_api_keys::store::MemoryStore;
    /// # use tower_api_keys::{ApiKeys, KeyFormat};
    /// use http::Method;
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("GET", "/runs/{id}", "runs:read")
    ///     .build()?;
    /// let routes = [(Method::GET, "/runs/{run}"), (Method::POST, "/runs/{run}/cancel")];
    /// assert_eq!(keys.uncovered(routes), [(Method::POST, "/runs/{run}/cancel").into()]);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn uncovered<R: Into<Route>>(&self, routes: impl IntoIterator<Item = R>) -> Vec<Route> {
        let checks = &self.0.checks;
        match (&checks.access, &checks.credentials.companions) {
            (None, Some(companions)) => companions.routes().uncovered(routes),
            (access, _) => access.as_ref().unwrap_or(&checks.no_routes).uncovered(routes),
        }
    }

    /// The rules that cover none of the application's `routes`: of routes that are gone, or mistyped. For a test.
    pub fn unused<R: Into<Route>>(&self, routes: impl IntoIterator<Item = R>) -> Vec<Route> {
        let checks = &self.0.checks;
        match (&checks.access, &checks.credentials.companions) {
            (None, Some(companions)) => companions.routes().unused(routes),
            (access, _) => access.as_ref().unwrap_or(&checks.no_routes).unused(routes),
        }
    }
}

#[cfg(feature = "axum")]
impl<F: ErrorFormat<axum::body::Body>> ApiKeys<F> {
    /// Routes that list, make, rotate, revoke and delete keys, as [`KeyRoutes`](crate::manage::KeyRoutes) says. To be nested
    /// where the application wants them, inside of [`layer`](Self::layer), with [rules for them](crate::ApiKeysBuilder::key_routes) in the assembly.
    ///
    /// ```
    /// use axum::Router;
    /// use tower_api_keys::manage::KeyAction;
    /// use tower_api_keys::store::MemoryStore;
    /// use tower_api_keys::{ApiKeys, KeyFormat};
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .key_routes("/api-keys", |action| match action {
    ///         KeyAction::Read => "api-keys:read",
    ///         _ => "api-keys:write",
    ///     })
    ///     .build()?;
    /// let app: Router = Router::new().nest("/api-keys", keys.key_routes()).layer(keys.layer());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn key_routes<S>(&self) -> axum::Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.key_routes_of(self.manager().clone()).into_router()
    }

    /// The same for another manager, such as one whose grantable scopes differ, or with other routes.
    pub fn key_routes_of(&self, manager: KeyManager) -> crate::manage::KeyRoutes<Self> {
        crate::manage::KeyRoutes::new(manager, self.clone())
    }

    /// Tells a caller who it is: a client that its key works, what for and until when. Goes where the application wants it,
    /// inside of [`layer`](Self::layer), with a rule that every caller meets.
    ///
    /// ```
    /// use axum::Router;
    /// use tower_api_keys::store::MemoryStore;
    /// use tower_api_keys::{Access, ApiKeys, KeyFormat};
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("GET", "/whoami", Access::AnyKey)
    ///     .build()?;
    /// let app: Router = Router::new().route("/whoami", keys.whoami_route()).layer(keys.layer());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// ```json
    /// {"id":"k7Jc0qWvTz4n8XsB","name":"Production","organization":"acme","mode":"live","scopes":["workflows:read"],
    ///  "createdAt":"2023-12-14T05:20:00Z","expiresAt":null,"secretRetiredUntil":null}
    /// ```
    ///
    /// `organization` is the one for which the caller acts, `null` for none. `createdAt` is `null` for a session.
    /// `secretRetiredUntil` is `null` for the secret in use, and the end of its grace period for one that a rotation has
    /// replaced: the client has to change to the new one. [Metadata](crate::key::Metadata) are not shown: they are the
    /// application's notes about a key, which [`key_routes`](Self::key_routes) show to callers that may read keys.
    ///
    /// It is no part of the key routes, where every name is that of a key, and a caller needs a scope to read keys.
    pub fn whoami_route<S>(&self) -> axum::routing::MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        crate::manage::whoami(self.clone())
    }

    /// Shows operators the [`health`](Self::health) of the assembly. Goes where the application wants it, inside of
    /// [`layer`](Self::layer), with a rule that only operators meet: it tells which servers do not answer.
    ///
    /// ```
    /// use axum::Router;
    /// use tower_api_keys::store::MemoryStore;
    /// use tower_api_keys::{ApiKeys, KeyFormat};
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("GET", "/internal/health", "operations:read")
    ///     .build()?;
    /// let app: Router = Router::new().route("/internal/health", keys.health_route()).layer(keys.layer());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// ```json
    /// {"isGood":true,
    ///  "store":{"guards":[{"store":"PostgresStore","calls":"lookups","isOpen":false,"inFlight":2,"refused":0}],
    ///           "cache":{"records":812,"absent":3,"channelIsConnected":true,"confirmedSecondsAgo":0.4}},
    ///  "limits":[{"category":"requests","engine":"redis","isDegraded":false,"subjects":790}],
    ///  "usage":{"writtenSecondsAgo":4.1,"waitingRows":17,"lostRequests":0,"isFailing":false},
    ///  "backgroundRuns":true,"needsBackground":true}
    /// ```
    ///
    /// The status is 200, whatever is wrong: the process itself works, and restarting it would not help.
    pub fn health_route<S>(&self) -> axum::routing::MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let keys = self.clone();
        axum::routing::get(move || std::future::ready(shown(&keys.health())))
    }
}

#[cfg(feature = "axum")]
fn shown(health: &Health) -> Response<axum::body::Body> {
    let body = serde_json::to_vec(health).unwrap_or_default();
    let mut response = json_response(StatusCode::OK, body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The format of the assembly's own errors.
impl<F: ErrorFormat<B>, B> ErrorFormat<B> for ApiKeys<F> {
    fn error(&self, error: &ApiError<'_>) -> Response<B> {
        self.0.errors.error(error)
    }

    #[cfg(feature = "json")]
    fn success(&self, success: &crate::rejection::Success) -> Response<B>
    where
        B: From<bytes::Bytes>,
    {
        self.0.errors.success(success)
    }
}

impl<F> Clone for ApiKeys<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F> fmt::Debug for ApiKeys<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApiKeys").field(&self.0.checks).finish()
    }
}
