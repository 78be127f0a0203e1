//! The payment-gateway.app preset in one process: tests that need a clock, a failing store, or an application that
//! makes a mistake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::routing::{any, get, post};
use http::header::AUTHORIZATION;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::ManualClock;
use tower_api_keys::credential::{
    self, BearerKey, Challenge, Companions, Credential, Extracted, HeaderKey, Parts,
};
use tower_api_keys::identity::{
    OrganizationPrincipal, OrganizationRule, Role, Session, SessionAuthenticator, SystemPrincipal,
};
use tower_api_keys::key::{Actor, Digest, KeyId, KeyRecord, Mode, Owner, Peppers, SecretString};
use tower_api_keys::manage::{AuditEvent, KeyAction, KeyManager, ManageError};
use tower_api_keys::presets::payment_gateway::{self, ADMIN, EDITOR, VIEWER, key_format, payment_gateway};
use tower_api_keys::rejection::{Reason, Rejection};
use tower_api_keys::route::{Access, RouteMatching};
use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
use tower_api_keys::store::{
    KeyAdministration, KeyQuery, KeySelector, KeyStore, Lookup, Page, StoreError, StoreErrorKind,
};
use tower_api_keys::{
    ApiKeys, ApiKeysBuilder, Authority, KeyFormat, MemoryStore, NewKey, Principal, Quota, RateLimit,
};

use crate::bodies;
use crate::support::{START, acme};

const KEY: &str = "sk_live_ours0000.abc123def456ghi789jkl012mno345pq";
const SYSTEM: &str = "sk_live_system00.abc123def456ghi789jkl012mno345pq";
const READ: ScopeRequirement = ScopeRequirement::from_static("invoice:read");

/// A key of acme and a system key, both with all scopes, including those of the system.
async fn store() -> MemoryStore {
    let store = MemoryStore::new();
    for (key, owner) in [(KEY, acme()), (SYSTEM, Owner::system(Mode::Live))] {
        let id = key_format().parse(key).unwrap().id.unwrap();
        let mut record = KeyRecord::new(id, owner, Peppers::none().digest(key), START);
        let scopes = ["invoice:*", "system:*", "organization:*", "api_key:*", "portal:*", "transaction:*"];
        record.scopes = ScopeSet::parse_list(scopes).unwrap();
        store.insert(record, None).await.unwrap();
    }
    store
}

/// Knows the tokens `ada`, an administrator of acme and viewer of globex, and `late`, whose session has expired. Any
/// other token makes it fail.
#[derive(Clone, Default)]
struct Sessions(Arc<AtomicUsize>);

#[async_trait]
impl SessionAuthenticator for Sessions {
    async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        assert!(token.expose_secret() != "panics", "a bug");
        let scopes = ScopeSet::parse_list(["invoice:read", "api_key:*"]).unwrap();
        let owner = |name: &str| Owner::organization(name.parse().unwrap(), Mode::Live);
        let ada = Session::new("ada").with_owner(owner("acme"), ADMIN, scopes.clone()).with_owner(
            owner("globex"),
            VIEWER,
            scopes,
        );
        match token.expose_secret() {
            "ada" => Ok(Some(ada.with_expiry(START.saturating_add(Duration::from_secs(60))))),
            "late" => Ok(Some(ada.with_expiry(START))),
            "fails" => Err(StoreError::new(StoreErrorKind::Unavailable)),
            _ => Ok(None),
        }
    }
}

/// Keys and sessions, with the organization selected by `rule`.
async fn keys(sessions: &Sessions, rule: OrganizationRule) -> ApiKeysBuilder {
    keys_alone().await.sessions(sessions.clone()).organization(rule)
}

/// Keys as bearer tokens. Rules are matched by the router's routes.
async fn keys_alone() -> ApiKeysBuilder {
    ApiKeys::builder(store().await, key_format())
        .bearer()
        .clock(ManualClock::starting_at(START))
        .attach_rejections()
        .match_routes(RouteMatching::MatchedPath)
}

/// The organization of the route.
fn of_route() -> OrganizationRule {
    OrganizationRule::context().route_parameter("orgId")
}

/// The faults, by setting.
fn faults<F>(keys: ApiKeysBuilder<F>) -> Vec<&'static str> {
    keys.build().err().unwrap().faults().map(|(setting, _)| setting).collect()
}

async fn send(app: &Router, token: &str, path: &str) -> Response<Body> {
    let request = Request::get(path)
        .header("authorization", format!("Bearer {token}"))
        .extension(PeerAddress([192, 0, 2, 1].into()));
    app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

fn reason(response: &Response<Body>) -> String {
    let rejection = response.extensions().get::<Rejection>();
    rejection.map_or("none".into(), |rejection| format!("{:?}", rejection.reason()))
}

async fn body(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn whoami(caller: OrganizationPrincipal) -> String {
    let principal = caller.principal();
    format!("{} {:?} {}", caller.organization(), principal.role(), principal.key_id())
}

#[tokio::test]
async fn a_session_is_valid_unknown_expired_or_unverifiable() {
    let sessions = Sessions::default();
    let keys = keys(&sessions, of_route()).await.without_route_table().build().unwrap();
    let app: Router = Router::new().route("/{orgId}", get(whoami)).layer(keys.layer());
    for (token, status, why) in [
        ("ada", 200, "none"),
        ("unknown", 401, "SessionUnknown"),
        ("late", 401, "SessionExpired"),
        ("fails", 503, "StoreFailed"),
        ("panics", 503, "StorePanicked"),
    ] {
        let response = send(&app, token, "/acme").await;
        assert_eq!(response.status(), status, "{token}");
        assert!(reason(&response).starts_with(why), "{token}: {}", reason(&response));
        assert_eq!(response.headers().contains_key("retry-after"), status == 503, "{token}");
    }
    // A token with the prefix of a key is never passed to the session authenticator.
    let asked = sessions.0.load(Ordering::SeqCst);
    for token in ["sk_", "sk_ada", KEY, &KEY.replace('q', "r")] {
        send(&app, token, "/acme").await;
    }
    assert_eq!(sessions.0.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn a_session_without_an_authenticator_is_the_applications_mistake() {
    let of_sessions = BearerKey::new(key_format()).or_session();
    let keys = ApiKeys::builder(store().await, key_format()).extractor(of_sessions).without_route_table();
    assert_eq!(faults(keys), ["sessions"]);
    // A session is not accepted from an extractor that has not declared sessions.
    let bearer = credential::from_fn(Challenge::new("Bearer").unwrap(), [AUTHORIZATION], |request| {
        let field = request.headers.get("authorization").and_then(|value| value.to_str().ok());
        field.map_or(Extracted::Absent, |token| Extracted::Found(Credential::session(token)))
    });
    let keys = ApiKeys::builder(store().await, key_format()).extractor(bearer).without_route_table();
    let keys = keys.attach_rejections().build().unwrap();
    let app: Router = Router::new().route("/", get(async || "")).layer(keys.layer());
    let response = send(&app, "ada", "/").await;
    assert_eq!(response.status(), 500);
    assert!(reason(&response).contains("ApiKeysBuilder::sessions"), "{}", reason(&response));
}

#[tokio::test]
async fn bad_sessions_count_against_their_address() {
    let keys = keys(&Sessions::default(), of_route())
        .await
        .client_address(ClientAddressSource::peer())
        .throttle_bad_credentials(Quota::per_minute(2).unwrap())
        .without_route_table();
    let layer = keys.build().unwrap().layer();
    let app: Router = Router::new().route("/", get(async || "")).layer(layer);
    let mut statuses = Vec::new();
    for token in ["fails", "panics", "unknown", "late", "unknown", "ada"] {
        statuses.push(send(&app, token, "/").await.status().as_u16());
    }
    assert_eq!(statuses, [503, 503, 401, 401, 429, 429], "and failed verifications do not count");
}

#[tokio::test]
async fn a_session_has_no_principal_before_its_organization_is_selected() {
    let authenticate = || async {
        let keys = keys(&Sessions::default(), of_route()).await.without_route_table();
        keys.build().unwrap().authenticate()
    };
    // An inner assembly without sessions.
    let inner =
        async |change: fn(ApiKeysBuilder) -> ApiKeysBuilder| change(keys_alone().await).build().unwrap();
    let quota = || Quota::per_minute(9).unwrap();
    let ruled =
        async |access: Access| keys_alone().await.route("GET", "/", access).build().unwrap().authorize();
    let limited =
        async |limit| keys_alone().await.limit(limit).without_route_table().build().unwrap().rate_limit();
    let scope = inner(ApiKeysBuilder::without_route_table).await.require("invoice:read");
    let header = inner(|keys| {
        keys.organization(OrganizationRule::named_in("x-organization-id").optional()).without_route_table()
    });
    let served = || Router::new().route("/", any(""));
    let routes: [(&str, Router, u16); 10] = [
        ("Principal", Router::new().route("/", get(async |_: Principal| "")), 500),
        ("Option<Principal>", Router::new().route("/", get(async |_: Option<Principal>| "")), 500),
        ("OrganizationPrincipal", Router::new().route("/", get(whoami)), 500),
        ("SystemPrincipal", Router::new().route("/", get(async |_: SystemPrincipal| "")), 403),
        ("a scope", served().layer(scope), 500),
        ("any key", served().layer(ruled(Access::AnyKey).await), 500),
        ("the system", served().layer(ruled(Access::from(READ).of_system()).await), 403),
        (
            "a limit by organization",
            served().layer(limited(RateLimit::per_organization("api", quota())).await),
            500,
        ),
        ("a limit by key", served().layer(limited(RateLimit::per_key("api", quota())).await), 200),
        ("a header", served().layer(header.await.authorize()), 200),
    ];
    for (name, router, status) in routes {
        let response = send(&router.layer(authenticate().await), "ada", "/").await;
        assert_eq!(response.status(), status, "{name}: {}", reason(&response));
    }
    // A role without an organization rule is an error, and so is a limit by an organization that is not selected yet.
    let role = keys_alone().await.route("GET", "/", Access::from(READ).with_role(VIEWER));
    assert_eq!(faults(role), ["organization"]);
    let limit = RateLimit::per_organization("api", quota());
    let limited = keys(&Sessions::default(), of_route()).await.limit(limit).without_route_table();
    assert_eq!(faults(limited), ["limit"]);
    let unruled = keys_alone().await.sessions(Sessions::default()).without_route_table();
    assert_eq!(faults(unruled), ["sessions"]);

    // `from_extensions` returns nothing, and a handler with an optional principal sees an anonymous request.
    let handler = async |request: Request<Body>| {
        let extensions = request.extensions();
        let has_principal = Principal::from_extensions(extensions).is_some()
            || OrganizationPrincipal::from_extensions(extensions).is_some()
            || SystemPrincipal::from_extensions(extensions).is_some();
        has_principal.to_string()
    };
    let app = Router::new().route("/", get(handler)).layer(authenticate().await);
    assert_eq!(body(send(&app, "ada", "/").await).await, "false");
}

#[tokio::test]
async fn a_missing_organization_rule_is_an_error_for_keys_too() {
    let keys = keys(&Sessions::default(), of_route()).await.without_route_table().build().unwrap();
    for (key, who) in [(KEY, "acme"), (SYSTEM, "the system")] {
        let app = Router::new().route("/", get(whoami)).layer(keys.authenticate());
        let response = send(&app, key, "/").await;
        assert_eq!(response.status(), 500, "{who}");
        assert!(reason(&response).contains("ApiKeysBuilder::organization"), "{who}: {}", reason(&response));
    }
    // A role is not just missing if no rule has looked for it.
    let role = keys_alone().await.route("GET", "/", Access::from(READ).with_role(ADMIN));
    assert_eq!(faults(role), ["organization"]);
    // And without the outermost layer.
    let app: Router = Router::new().route("/", get(whoami)).layer(keys.authorize());
    assert_eq!(send(&app, KEY, "/").await.status(), 500);
}

#[tokio::test]
async fn the_tier_depends_on_the_record_and_not_on_the_scopes() {
    let system = ScopeRequirement::from_static("system:read");
    let keys = keys(&Sessions::default(), of_route())
        .await
        .route("GET", "/system", Access::from(system).of_system())
        .route("GET", "/plain", Access::AnyKey.of_system())
        .build()
        .unwrap();
    let app: Router = Router::new()
        .route("/plain", get(async || ""))
        .route(
            "/system",
            get(async |caller: SystemPrincipal| {
                let principal = caller.principal();
                format!("{} {:?}", principal.is_of_system(), principal.organization())
            }),
        )
        .layer(keys.layer());
    let response = send(&app, KEY, "/system").await;
    assert_eq!((response.status(), &*reason(&response)), (StatusCode::FORBIDDEN, "TierMismatch"));
    let response = send(&app, KEY, "/plain").await;
    assert_eq!((response.status(), &*reason(&response)), (StatusCode::FORBIDDEN, "TierMismatch"));
    let response = send(&app, SYSTEM, "/system").await;
    assert_eq!(body(response).await, "true None", "no organization that was not named");

    // Without any rule the type alone rejects.
    let app = Router::new().route("/system", get(async |_: SystemPrincipal| "")).layer(keys.authenticate());
    assert_eq!(send(&app, KEY, "/system").await.status(), 403);
    assert_eq!(send(&app, SYSTEM, "/system").await.status(), 200);
}

#[tokio::test]
async fn an_application_can_give_roles_to_keys_too() {
    let app = async |role: Role, rule: OrganizationRule| -> Router {
        let keys = keys(&Sessions::default(), rule.route_parameter("orgId")).await;
        let keys = keys.route("GET", "/{orgId}", Access::from(READ).with_role(role)).build().unwrap();
        Router::new().route("/{orgId}", get(whoami)).layer(keys.layer())
    };
    let roles = |principal: &Principal| if principal.is_of_system() { ADMIN } else { EDITOR };
    for (needed, who, with_roles, without) in
        [(EDITOR, KEY, 200, 200), (ADMIN, KEY, 403, 200), (ADMIN, SYSTEM, 200, 200), (ADMIN, "ada", 200, 200)]
    {
        let context = OrganizationRule::context();
        let given = app(needed, context.clone().key_roles(roles)).await;
        assert_eq!(send(&given, who, "/acme").await.status(), with_roles, "{needed:?} {who}");
        assert_eq!(
            send(&app(needed, context).await, who, "/acme").await.status(),
            without,
            "{needed:?} {who}"
        );
    }
    // A session's role belongs to the organization it acts for, and no closure changes it.
    let context = OrganizationRule::context().key_roles(|_| ADMIN);
    let response = send(&app(EDITOR, context).await, "ada", "/globex").await;
    assert_eq!((response.status(), &*reason(&response)), (StatusCode::FORBIDDEN, "RoleTooLow"));
}

#[tokio::test]
async fn the_innermost_of_two_layers_decides() {
    let sessions = Sessions::default();
    let cookie = OrganizationRule::context().session_cookie("selected");
    let outer = keys(&sessions, cookie).await.without_route_table().build().unwrap();
    let inner = keys(&sessions, of_route()).await.without_route_table().build().unwrap();
    let app: Router =
        Router::new().route("/{orgId}", get(whoami)).layer(inner.authorize()).layer(outer.layer());
    for (path, status) in [("/acme", 200), ("/globex", 200), ("/other", 404)] {
        let request =
            Request::get(path).header("authorization", "Bearer ada").header("cookie", "selected=acme");
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        if status == 200 {
            assert!(body(response).await.starts_with(&path[1..]), "{path}");
        }
    }
}

#[tokio::test]
async fn a_key_may_have_no_mark() {
    let key = "sk_plain-id.abc123def456ghi789jkl012mno345pq";
    let gateway = payment_gateway(MemoryStore::new()).build().unwrap();
    let new = NewKey::new("Imported");
    gateway.manager().import(&Authority::operator(acme()), new, key.into()).await.unwrap();
    let app: Router = Router::new().route("/", get(async || "")).layer(gateway.authenticate());
    assert_eq!(send(&app, key, "/").await.status(), 200);
    for marked in [key.replace("sk_", "sk_live_"), key.replace("sk_", "sk_test_")] {
        assert_eq!(send(&app, &marked, "/").await.status(), 401, "{marked}");
    }
}

#[tokio::test]
async fn the_header_can_be_ignored_for_keys_of_organizations_alone() {
    let context = OrganizationRule::context().header("x-organization-id");
    let ask = async |context: OrganizationRule, key: &str| {
        let keys = keys_alone().await.organization(context).without_route_table().build().unwrap();
        let app: Router = Router::new().route("/", get(whoami)).layer(keys.layer());
        let request = Request::get("/").header("authorization", format!("Bearer {key}"));
        let request = request.header("x-organization-id", "globex").body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        (response.status().as_u16(), body(response).await)
    };
    assert_eq!(ask(context.clone(), KEY).await.0, 403);
    let (status, answer) = ask(context.clone().ignore_header_of_organization_keys(), KEY).await;
    assert_eq!((status, answer.starts_with("acme ")), (200, true), "its own all the same: {answer}");
    let (status, answer) = ask(context.ignore_header_of_organization_keys(), SYSTEM).await;
    assert_eq!((status, answer.starts_with("globex ")), (200, true), "it still selects: {answer}");
}

#[tokio::test]
async fn five_hundred_in_five_minutes_and_a_hundred_a_minute_both_apply() {
    let clock = ManualClock::starting_at(START);
    let gateway = payment_gateway(store().await).clock(clock.clone()).build().unwrap();
    let app: Router = Router::new()
        .route("/transactions", get(async || ""))
        .layer(gateway.rate_limit())
        .layer(gateway.authenticate());
    for minute in 1..=5 {
        for number in 1..=100 {
            assert_eq!(send(&app, KEY, "/transactions").await.status(), 200, "{number} of minute {minute}");
        }
        let over = send(&app, KEY, "/transactions").await;
        assert_eq!(over.status(), 429, "minute {minute}");
        let wait: u64 = over.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        clock.advance(Duration::from_secs(wait - 2));
        assert_eq!(send(&app, KEY, "/transactions").await.status(), 429, "minute {minute}, too early");
        // A client that waits as long as the response says may continue.
        clock.advance(Duration::from_secs(2));
    }
    assert_eq!(send(&app, SYSTEM, "/transactions").await.status(), 200, "each caller has its own");
}

#[tokio::test]
async fn a_portal_link_expires_and_needs_a_valid_key() {
    let clock = ManualClock::starting_at(START);
    let keys = store().await;
    let gateway = payment_gateway(keys.clone()).clock(clock.clone()).build().unwrap();
    let links_in = |store: MemoryStore| {
        KeyManager::new(store, KeyFormat::new("pl_").unwrap())
            .with_callers_in(keys.clone())
            .with_scope_for(KeyAction::Create, ScopeRequirement::from_static("portal:create"))
            .with_clock(clock.clone())
    };
    let links = links_in(MemoryStore::new());
    let operator = Authority::operator(acme());
    let make = async |seconds| {
        let mut link = NewKey::new("client_1");
        link.expires_at = Some(START.saturating_add(Duration::from_secs(seconds)));
        links.create(&operator, link).await.unwrap().secret
    };
    let redeem = async |secret: &SecretString| links.redeem(secret.expose_secret()).await;
    let (short, long) = (make(60).await, make(61).await);
    clock.advance(Duration::from_secs(60));
    assert!(matches!(redeem(&short).await, Err(ManageError::NotFound)));
    assert_eq!(redeem(&long).await.unwrap().owner, acme());
    assert!(matches!(redeem(&long).await, Err(ManageError::NotFound)));
    for wrong in ["", "pl_", "pl_00000000000000000000000000000000", KEY, SYSTEM] {
        assert!(matches!(links.redeem(wrong).await, Err(ManageError::NotFound)), "{wrong}");
    }
    // A caller whose key is revoked during its request creates no link.
    let manager = gateway.manager().clone();
    let maker = links.clone();
    let handler = async move |caller: OrganizationPrincipal| {
        let caller = caller.principal();
        let create = async || {
            let made = maker.create(&Authority::principal(caller), NewKey::new("client_1")).await;
            made.map_or_else(|error| error.to_string(), |_| "made".into())
        };
        let before = create().await;
        manager.revoke(&Authority::operator(acme()), caller.key_id()).await.unwrap();
        format!("{before}, {}", create().await)
    };
    let app: Router = Router::new().route("/transactions", get(handler)).layer(gateway.layer());
    assert_eq!(body(send(&app, KEY, "/transactions").await).await, "made, the caller's own key has ended");

    // A link is not a key, even in the store of the keys.
    let link = links_in(keys.clone()).create(&operator, NewKey::new("client_1")).await.unwrap();
    let app: Router = Router::new().route("/", get(async || "")).layer(gateway.authenticate());
    assert_eq!(send(&app, link.secret.expose_secret(), "/").await.status(), 401);
}

/// A store that runs other operations first, before and after it returns.
#[derive(Clone, Default)]
struct Slow(MemoryStore);

impl KeyStore for Slow {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        let (store, selector) = (self.0.clone(), selector.to_owned());
        Lookup::pending(async move {
            tokio::task::yield_now().await;
            let found = store.find(selector.borrow()).await;
            tokio::task::yield_now().await;
            found
        })
    }
}

#[async_trait]
impl KeyAdministration for Slow {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.0.insert(record, event).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        tokio::task::yield_now().await;
        let found = self.0.get(owner, id).await;
        tokio::task::yield_now().await;
        found
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.0.list(owner, query).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        let replaced = self.0.replace(record, event).await;
        tokio::task::yield_now().await;
        replaced
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.0.delete(owner, id, event).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.0.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.0.imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.0.forget_import(id, event).await
    }
}

#[tokio::test]
async fn one_of_many_concurrent_redeems_and_revocations_wins() {
    for _ in 0..50 {
        let links = KeyManager::new(Slow::default(), key_format());
        let operator = Authority::operator(acme());
        let link = links.create(&operator, NewKey::new("link")).await.unwrap();
        let secret = Arc::new(link.secret);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..9 {
            let (links, operator, secret) = (links.clone(), operator.clone(), secret.clone());
            tasks.spawn(async move {
                match number {
                    8 => links.revoke(&operator, &link.key.id).await.is_ok(),
                    _ => links.redeem(secret.expose_secret()).await.is_ok(),
                }
            });
        }
        let won = tasks.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn a_session_manages_keys_within_its_own_scopes() {
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = events.clone();
    let gateway = payment_gateway(store().await)
        .sessions(Sessions::default())
        .clock(ManualClock::starting_at(START))
        .audit(move |event: &AuditEvent| log.lock().unwrap().push(event.actor.clone()))
        .build()
        .unwrap();
    let manager = gateway.manager().clone();
    let create = async move |caller: OrganizationPrincipal| {
        let authority = Authority::principal(caller.principal());
        let mut statuses = Vec::new();
        for scopes in [&["invoice:read"][..], &["invoice:create"], &["invoice:*"], &[]] {
            let key = NewKey::new("n").scopes(ScopeSet::parse_list(scopes.iter().copied()).unwrap());
            let made = manager.create(&authority, key).await;
            statuses.push(made.map_or_else(|error| error.kind().status().as_u16(), |_| 200));
        }
        format!("{statuses:?}")
    };
    let app: Router =
        Router::new().route("/organizations/{orgId}/api-keys", post(create)).layer(gateway.layer());
    let request = Request::post("/organizations/acme/api-keys").header("authorization", "Bearer ada");
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(body(response).await, "[200, 403, 403, 200]");
    gateway.flush().await.unwrap();
    let events = events.lock().unwrap();
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|actor| matches!(actor, Actor::Session(_))), "{events:?}");
}

#[test]
fn reasons_of_the_new_checks_have_their_kind() {
    use tower_api_keys::rejection::{Check, ErrorKind as Kind};
    for (reason, kind, check) in [
        (Reason::SessionUnknown, Kind::Unauthenticated, Check::Lookup),
        (Reason::SessionExpired, Kind::Unauthenticated, Check::State),
        (Reason::OrganizationNotFound, Kind::OrganizationNotFound, Check::Organization),
        (Reason::TierMismatch, Kind::Forbidden, Check::Access),
        (Reason::RoleTooLow, Kind::Forbidden, Check::Access),
    ] {
        assert_eq!((reason.kind(), reason.check()), (kind, Some(check)), "{reason:?}");
    }
}

#[tokio::test]
async fn companions_and_sessions_exclude_each_other() {
    let secret = || HeaderKey::new(HeaderName::from_static("x-app-secret"), key_format());
    for parts in [Parts::KEY, Parts::SECRET] {
        let companions = Companions::new(secret()).with_otherwise(parts);
        let keys = keys(&Sessions::default(), of_route()).await.companions(companions);
        assert_eq!(faults(keys.without_route_table()), ["companions"], "{parts:?}");
    }
}

/// The published body of an error of the request `r-1`.
fn published(code: &str, text: &str) -> String {
    format!(r#"{{"error":"{text}","code":"{code}","requestId":"r-1"}}"#)
}

#[tokio::test]
async fn every_body_is_as_published() {
    let store = store().await;
    let preset = || payment_gateway(store.clone()).clock(ManualClock::starting_at(START));
    let get = |path: &str, token: &str, fields: &[(&str, &str)]| {
        let token = format!("Bearer {token}");
        let own = [("authorization", &*token), ("x-request-id", "r-1")];
        bodies::get(path, &[&own, fields].concat())
    };
    let unauthorized = published("unauthorized", "Invalid or missing API key");
    let anonymous = bodies::all(preset(), bodies::get("/invoices", &[("x-request-id", "r-1")])).await;
    anonymous.is_json(401, &unauthorized);
    assert_eq!(anonymous.challenges(), [r#"Bearer realm="payment-gateway.app""#]);
    assert_eq!(anonymous.headers["x-request-id"], "r-1");
    for bad in [KEY.replace('q', "r"), "sk_".to_owned(), "ada".to_owned()] {
        let rejected = bodies::all(preset(), get("/invoices", &bad, &[])).await;
        rejected.is_json(401, &unauthorized);
        assert_eq!(
            rejected.challenges(),
            [r#"Bearer realm="payment-gateway.app", error="invalid_token""#],
            "{bad}"
        );
    }
    for (path, key, fields, status, code, text) in [
        (
            "/invoices",
            KEY,
            &[("authorization", "Bearer sk_")][..],
            400,
            "invalid_request",
            "Send exactly one credential",
        ),
        ("/invoices", SYSTEM, &[], 400, "organization_required", "Name an organization"),
        (
            "/invoices",
            KEY,
            &[("x-organization-id", "globex")],
            403,
            "organization_mismatch",
            "X-Organization-ID is not the organization of the request",
        ),
        ("/dashboard/globex/overview", KEY, &[], 404, "not_found", "Not found"),
        ("/clients", KEY, &[], 403, "insufficient_scope", "The API key lacks a scope for this"),
        ("/system/health", KEY, &[], 403, "forbidden", "Not allowed"),
        ("/none", KEY, &[], 403, "forbidden", "Not allowed"),
    ] {
        let rejected = bodies::all(preset(), get(path, key, fields)).await;
        rejected.is_json(status, &published(code, text));
        assert_eq!(rejected.headers["x-request-id"], "r-1", "{path}");
        let of_scope: &[&str] = &[r#"Bearer error="insufficient_scope", scope="client:read""#];
        let challenges = if code == "insufficient_scope" { of_scope } else { &[] };
        assert_eq!(rejected.challenges(), challenges, "{path}");
    }
    let limit = RateLimit::per_key("api", Quota::per_minute(1).unwrap());
    let limited = bodies::second(preset().limits([limit]), || get("/invoices", KEY, &[])).await;
    limited.is_json(429, &published("rate_limited", "Too many requests"));
    let sessions = preset().sessions(Sessions::default());
    let unavailable = published("unavailable", "Service temporarily unavailable");
    bodies::all(sessions, get("/invoices", "fails", &[])).await.is_json(503, &unavailable);
    let misplaced = preset().build().unwrap().authorize();
    let misplaced = bodies::through(misplaced, get("/invoices", KEY, &[])).await;
    misplaced.is_json(500, &published("internal_error", "Internal server error"));

    // For handlers, and for an application without request identifiers.
    let body = payment_gateway::error_body("validation_error", "name is \"missing\"", None);
    assert_eq!(body, r#"{"error":"name is \"missing\"","code":"validation_error"}"#);
}

#[tokio::test]
async fn key_routes_answer_as_published() {
    let store = store().await;
    let key = "sk_live_lesser00.abc123def456ghi789jkl012mno345pq";
    let keys = payment_gateway(store).clock(ManualClock::starting_at(START)).build().unwrap();
    let lesser = NewKey::new("lesser").scope("invoice:read");
    keys.manager().import(&Authority::operator(acme()), lesser, key.into()).await.unwrap();
    let routes = bodies::key_routes(&keys, "/api-keys", false);
    let ask = async |method: &str, path: &str, key: &str, body: &str| {
        let request = Request::builder().method(method).uri(format!("/api-keys{path}"));
        let request = request.header("authorization", format!("Bearer {key}")).header("x-request-id", "r-1");
        let request = request.header("content-type", "application/json").body(Body::from(body.to_owned()));
        bodies::routed(routes.clone(), request.unwrap()).await
    };
    // Every success is 200.
    let made = ask("POST", "", KEY, r#"{"name":"CI","scopes":["invoice:read"]}"#).await;
    let shown: Value = serde_json::from_str(&made.body).unwrap();
    assert!(shown["key"].as_str().unwrap().starts_with("sk_live_"), "{shown}");
    made.is_json(200, &shown.to_string());
    let listed = ask("GET", "?limit=1", KEY, "").await;
    let shown: Value = serde_json::from_str(&listed.body).unwrap();
    assert!(shown["nextCursor"].is_string() && shown["data"].as_array().unwrap().len() == 1, "{shown}");
    listed.is_json(200, &shown.to_string());

    let not_found = ask("DELETE", "/none", KEY, "").await;
    not_found.is_json(404, &published("not_found", "Not found"));
    let lacking = "Not allowed: this needs the scope: api_key:read";
    let lesser = "sk_live_lesser00.abc123def456ghi789jkl012mno345pq";
    ask("GET", "", lesser, "").await.is_json(403, &published("forbidden", lacking));
    let faulty = ask("POST", "", KEY, r#"{"scopes":["system:read"],"id":"k1"}"#).await;
    let faults = "id is not a member of a new key; name is required";
    faulty.is_json(400, &published("validation_error", faults));
    // Outside of the layer there is no caller and no identifier.
    let outside = bodies::routed(keys.key_routes(), Request::new(Body::empty())).await;
    outside.is_json(401, r#"{"error":"Invalid or missing API key","code":"unauthorized"}"#);
}
