//! payment-gateway.app: keys of organizations and of the system as bearer tokens, and dashboard sessions beside them.
//!
//! What it switches on:
//!
//! - Keys are `sk_<id>.<secret>`, `sk_live_<id>.<secret>` or `sk_test_<id>.<secret>` in `Authorization: Bearer`; made with a
//!   mark, an identifier of 16 and a secret of 32 of `A-Z a-z 0-9` (190 bits). A bearer token that does not start with
//!   `sk_` is a dashboard session, for [whom the host names](PaymentGateway::with_sessions) to judge.
//! - Two tiers. A key of an organization acts for it; `X-Organization-ID` need not be sent and has to agree. A key of the
//!   system acts for the organization of the route or of that header, and alone gets to the system's routes. A session
//!   acts for the organization of the route, or else of the cookie `selectedOrganization`.
//! - Scopes `resource:action` by route, and for who has one a role: a session has, a key has not. A route that is not in
//!   the table is refused.
//! - For each caller 500 requests in any 5 minutes and 100 in any minute, both at once.
//! - One-time portal links, `pl_` and 32 of `A-Z a-z 0-9`, in a store of their own: never a key, in no list of keys.
//! - Refusals as `{"error":"…","code":"…","requestId":"…"}`, with the challenges of RFC 6750. `X-Request-ID` on every
//!   answer.
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
//! | `api_key:read` | admin | `GET /organizations/:orgId/api-keys` |
//! | `api_key:create` | admin | `POST /organizations/:orgId/api-keys` |
//! | `api_key:update` | admin | `POST /organizations/:orgId/api-keys/:id/rotate` |
//! | `api_key:delete` | admin | `POST …/:id/revoke`, `DELETE …/:id` |
//! | the same four | the system | the same below `/system/api-keys` |
//! | `organization:create`, `organization:read` | the system | `POST`, `GET /organizations` |
//! | `system:read`, `system:update` | the system | `GET`, `PUT /system/settings` |
//! | `system:read` | the system | `GET /system/health` |

mod format;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

pub use self::format::{GatewayFormat, error, not_found};
use crate::authenticate::AuthenticateLayer;
use crate::route::Access;
use crate::authorize::RequireScopeLayer;
use crate::identity::Role;
use crate::clock::{Clock, SystemClock};
use crate::credential::BearerKey;
use crate::key::{KeyFormat, Peppers};
use crate::manage::{KeyAction, KeyManager};
use crate::limit::{MemoryRateLimiter, Quota, RateLimitLayer, RateLimiter};
use crate::request_id::RequestIdLayer;
use crate::route::{InvalidRoute, RouteTable};
use crate::scope::{ScopeRequirement, ScopeSet};
use crate::store::KeyAdministration;
use crate::identity::SessionAuthenticator;

/// May look.
pub const VIEWER: Role = Role::of_rank(1);
/// May look and change.
pub const EDITOR: Role = Role::of_rank(2);
/// May do everything in an organization.
pub const ADMIN: Role = Role::of_rank(3);

const ROUTES: [(Method, &str, &str, Who); 27] = [
    (Method::POST, "/checkouts/:site/create", "checkout:create", Who::AtLeast(EDITOR)),
    (Method::GET, "/transactions", "transaction:read", Who::AtLeast(VIEWER)),
    (Method::GET, "/clients", "client:read", Who::AtLeast(VIEWER)),
    (Method::POST, "/clients", "client:create", Who::AtLeast(EDITOR)),
    (Method::GET, "/invoices", "invoice:read", Who::AtLeast(VIEWER)),
    (Method::POST, "/invoices", "invoice:create", Who::AtLeast(EDITOR)),
    (Method::PUT, "/invoices/:id", "invoice:update", Who::AtLeast(EDITOR)),
    (Method::POST, "/invoices/:id/schedule", "invoice:execute", Who::AtLeast(EDITOR)),
    (Method::POST, "/portal/links", "portal:create", Who::AtLeast(EDITOR)),
    (Method::POST, "/data-io", "data_io:execute", Who::AtLeast(ADMIN)),
    (Method::GET, "/dashboard/overview", "organization:read", Who::AtLeast(VIEWER)),
    (Method::GET, "/dashboard/:orgId/overview", "organization:read", Who::AtLeast(VIEWER)),
    (Method::GET, "/organizations/:orgId/api-keys", "api_key:read", Who::AtLeast(ADMIN)),
    (Method::POST, "/organizations/:orgId/api-keys", "api_key:create", Who::AtLeast(ADMIN)),
    (Method::POST, "/organizations/:orgId/api-keys/:id/rotate", "api_key:update", Who::AtLeast(ADMIN)),
    (Method::POST, "/organizations/:orgId/api-keys/:id/revoke", "api_key:delete", Who::AtLeast(ADMIN)),
    (Method::DELETE, "/organizations/:orgId/api-keys/:id", "api_key:delete", Who::AtLeast(ADMIN)),
    (Method::POST, "/organizations", "organization:create", Who::System),
    (Method::GET, "/organizations", "organization:read", Who::System),
    (Method::GET, "/system/settings", "system:read", Who::System),
    (Method::PUT, "/system/settings", "system:update", Who::System),
    (Method::GET, "/system/health", "system:read", Who::System),
    (Method::GET, "/system/api-keys", "api_key:read", Who::System),
    (Method::POST, "/system/api-keys", "api_key:create", Who::System),
    (Method::POST, "/system/api-keys/:id/rotate", "api_key:update", Who::System),
    (Method::POST, "/system/api-keys/:id/revoke", "api_key:delete", Who::System),
    (Method::DELETE, "/system/api-keys/:id", "api_key:delete", Who::System),
];

/// Beside the scope.
#[derive(Clone, Copy)]
enum Who {
    AtLeast(Role),
    System,
}

const ORGANIZATION_SCOPES: [&str; 8] = [
    "api_key:*",
    "checkout:*",
    "client:*",
    "data_io:*",
    "invoice:*",
    "organization:*",
    "portal:*",
    "transaction:*",
];

/// Every scope that a key of an organization can have: each action of the resources in the table but `system`.
pub fn organization_scopes() -> ScopeSet {
    ScopeSet::parse_list(ORGANIZATION_SCOPES).expect("the scopes are well formed")
}

/// Every scope that a key of the system can have: those of organizations, and `system:*`.
pub fn system_scopes() -> ScopeSet {
    let scopes = ORGANIZATION_SCOPES.into_iter().chain(["system:*"]);
    ScopeSet::parse_list(scopes).expect("the scopes are well formed")
}

/// Keys as published: `sk_`, perhaps `live_` or `test_`, an identifier, a dot, a secret.
pub fn key_format() -> KeyFormat {
    let format = KeyFormat::builder("sk_").optional_modes("test_", "live_").public_id(16, '.');
    format.build().expect("prefix, marks and identifier make a key format")
}

/// Portal links: `pl_` and 32 of `A-Z a-z 0-9`.
pub fn portal_link_format() -> KeyFormat {
    KeyFormat::new("pl_").expect("a prefix and the default secret make a key format")
}

/// The parts of payment-gateway.app, round a store of the host's choice.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use tower::ServiceBuilder;
/// use tower_api_keys::presets::payment_gateway::PaymentGateway;
/// use tower_api_keys::store::MemoryStore;
///
/// let gateway = PaymentGateway::new(MemoryStore::new()).with_prefix("/api/v1");
/// let layers = ServiceBuilder::new()
///     .layer(gateway.request_id())
///     .layer(gateway.authenticate())
///     .layer(gateway.rate_limit())
///     .layer(gateway.organization()?)
///     .layer(gateway.scopes()?);
/// # let _ = layers;
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct PaymentGateway<S> {
    store: S,
    prefix: String,
    sessions: Option<Arc<dyn SessionAuthenticator>>,
    peppers: Peppers,
    clock: Arc<dyn Clock>,
    /// In memory.
    limiter: Arc<MemoryRateLimiter>,
    shared_limiter: Option<Arc<dyn RateLimiter>>,
}

impl<S: KeyAdministration + Clone> PaymentGateway<S> {
    /// As published, with the keys of `store`, for a host that serves `/transactions` at its root and has no dashboard.
    pub fn new(store: S) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limiter = limiter(&*clock);
        Self {
            store,
            prefix: String::new(),
            sessions: None,
            peppers: Peppers::none(),
            clock,
            limiter,
            shared_limiter: None,
        }
    }

    /// Says under which path the routes are served, such as `/api/v1`.
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Lets dashboard sessions in. Without it every bearer token that is no key is a bad one.
    pub fn with_sessions(self, sessions: impl SessionAuthenticator) -> Self {
        Self { sessions: Some(Arc::new(sessions)), ..self }
    }

    /// Digests keys under these peppers.
    pub fn with_peppers(self, peppers: Peppers) -> Self {
        Self { peppers, ..self }
    }

    /// Reads the time from this clock.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { limiter: limiter(&clock), clock: Arc::new(clock), ..self }
    }

    /// Counts callers with a limiter of the host's making, such as a `RedisRateLimiter` that several processes share, with
    /// the [published quotas](quotas) or others.
    pub fn with_limiter(self, limiter: impl RateLimiter) -> Self {
        Self { shared_limiter: Some(Arc::new(limiter)), ..self }
    }

    /// The outermost layer: an identifier for each request.
    pub fn request_id(&self) -> RequestIdLayer<GatewayFormat> {
        RequestIdLayer::new().with_body(GatewayFormat)
    }

    /// The layer inside it: who is calling.
    pub fn authenticate(&self) -> AuthenticateLayer<GatewayFormat> {
        let bearer = BearerKey::new(key_format());
        let layer = match &self.sessions {
            Some(sessions) => AuthenticateLayer::new(self.store.clone(), bearer.or_session())
                .with_sessions(sessions.clone()),
            None => AuthenticateLayer::new(self.store.clone(), bearer),
        };
        layer
            .with_realm("payment-gateway.app")
            .expect("the realm is visible ASCII")
            .with_peppers(self.peppers.clone())
            .with_clock(self.clock.clone())
            .with_rejection_format(GatewayFormat)
    }

    /// The layer inside it: how often. Shares its counts with every other that this preset makes.
    pub fn rate_limit(&self) -> RateLimitLayer<GatewayFormat> {
        let limiter = self.shared_limiter.clone().unwrap_or_else(|| self.limiter.clone());
        RateLimitLayer::by_key(limiter).with_clock(self.clock.clone()).with_rejection_format(GatewayFormat)
    }

    /// The layer inside it: for which organization.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] if the prefix is no path.
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn organization(
        &self,
    ) -> Result<crate::authorize::OrganizationContextLayer<GatewayFormat>, InvalidRoute> {
        Ok(crate::authorize::OrganizationContextLayer::new()
            .with_header(X_ORGANIZATION_ID)
            .with_route_parameter("orgId")
            .with_session_cookie("selectedOrganization")
            .with_routes(self.route_access()?)
            .with_rejection_format(GatewayFormat))
    }

    /// The layer round the routes: what the caller may do.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] if the prefix is no path.
    pub fn scopes(&self) -> Result<RequireScopeLayer<GatewayFormat>, InvalidRoute> {
        let layer = RequireScopeLayer::by_route(self.route_access()?).expect("the table has routes");
        Ok(layer.with_rejection_format(GatewayFormat))
    }

    /// The routes with what they ask for: what the two layers go by, for a test of the host's that no route of its router
    /// is forgotten.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] if the prefix is no path.
    pub fn route_access(&self) -> Result<RouteTable<Access>, InvalidRoute> {
        ROUTES.into_iter().try_fold(RouteTable::new(), |table, (method, pattern, scope, who)| {
            let scope = Access::Scope(ScopeRequirement::from_static(scope));
            let access = match who {
                Who::AtLeast(role) => scope.with_role(role),
                Who::System => scope.of_system(),
            };
            table.add(method, &format!("{}{pattern}", self.prefix), access)
        })
    }

    /// Looks after the keys of organizations.
    pub fn key_manager(&self) -> KeyManager {
        self.manager().with_grantable_scopes(organization_scopes())
    }

    /// Looks after the keys of the system.
    pub fn system_key_manager(&self) -> KeyManager {
        self.manager().with_grantable_scopes(system_scopes())
    }

    fn manager(&self) -> KeyManager {
        let scope = ScopeRequirement::from_static;
        KeyManager::new(self.store.clone(), key_format())
            .with_management_scopes(scope("api_key:read"), scope("api_key:update"))
            .with_scope_for(KeyAction::Create, scope("api_key:create"))
            .with_scope_for(KeyAction::Revoke, scope("api_key:delete"))
            .with_scope_for(KeyAction::Delete, scope("api_key:delete"))
            .with_peppers(self.peppers.clone())
            .with_clock(self.clock.clone())
    }

    /// Makes one-time portal links, and [redeems](KeyManager::redeem) them. They are kept in `links`, which must be another
    /// store than that of the keys.
    ///
    /// A link's own end is what its maker asks for; that this is no later than the system's policy has it is for the host
    /// to see to.
    pub fn portal_links(&self, links: impl KeyAdministration) -> KeyManager {
        KeyManager::new(links, portal_link_format())
            .with_callers_in(self.store.clone())
            .with_scope_for(KeyAction::Create, ScopeRequirement::from_static("portal:create"))
            .with_peppers(self.peppers.clone())
            .with_clock(self.clock.clone())
    }
}

#[cfg(feature = "axum")]
const X_ORGANIZATION_ID: http::HeaderName = http::HeaderName::from_static("x-organization-id");

/// What each caller may do: 500 requests in any 5 minutes, and 100 in any minute.
pub fn quotas() -> [Quota; 2] {
    let quota = |limit, seconds| {
        let limit = NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        Quota::new(limit, Duration::from_secs(seconds)).expect("the published quotas are within bounds")
    };
    [quota(500, 5 * 60), quota(100, 60)]
}

fn limiter(clock: &dyn Clock) -> Arc<MemoryRateLimiter> {
    let [five_minutes, minute] = quotas();
    let limiter = MemoryRateLimiter::builder("api", five_minutes).quota(minute);
    Arc::new(limiter.expect("two quotas are not too many").build_at(clock.now()))
}
