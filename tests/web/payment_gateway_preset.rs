//! The parts of the payment-gateway.app preset, in one process: what takes a clock, a store that fails, or a host that
//! makes a mistake.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::routing::{any, get, post};
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::authorize::{OrganizationContextLayer, RequireScopeLayer};
use tower_api_keys::clock::{ManualClock, Timestamp};
use tower_api_keys::credential::{BearerKey, HeaderKey};
use tower_api_keys::credential::{Companions, Parts};
use tower_api_keys::identity::{Membership, Session, SessionAuthenticator};
use tower_api_keys::identity::{OrganizationPrincipal, Role, SystemPrincipal, Tier};
use tower_api_keys::key::{KeyId, KeyRecord, Mode, Owner, Peppers, SecretString};
use tower_api_keys::limit::{MemoryRateLimiter, Quota};
use tower_api_keys::manage::{Actor, AuditEvent, Authority, ExistingKey, KeyManager, ManageError, NewKey};
use tower_api_keys::presets::payment_gateway::{ADMIN, EDITOR, PaymentGateway, VIEWER, key_format};
use tower_api_keys::rejection::{Reason, Rejection};
use tower_api_keys::route::Access;
use tower_api_keys::route::RouteTable;
use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
use tower_api_keys::store::{
    FindResult, KeyAdministration, KeyPage, KeyQuery, KeySelector, KeyStore, MemoryStore, StoreError,
    StoreErrorKind,
};
use tower_api_keys::{AuthenticateLayer, OrganizationLayer, Principal, RateLimitLayer};

const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);
const KEY: &str = "sk_live_ours0000.abc123def456ghi789jkl012mno345pq";
const SYSTEM: &str = "sk_live_system00.abc123def456ghi789jkl012mno345pq";
const READ: ScopeRequirement = ScopeRequirement::from_static("invoice:read");

fn acme() -> Owner {
    Owner::organization("acme".parse().unwrap(), Mode::Live)
}

/// A key of acme's and one of the system, both with all scopes that there can be, those of the system included.
async fn store() -> MemoryStore {
    let store = MemoryStore::new();
    for (key, owner) in [(KEY, acme()), (SYSTEM, Owner::system(Mode::Live))] {
        let id = key_format().parse(key).unwrap().id.unwrap();
        let mut record = KeyRecord::new(id, owner, Peppers::none().digest(key), START);
        let scopes = ["invoice:*", "system:*", "organization:*", "api_key:*", "portal:*", "transaction:*"];
        record.scopes = ScopeSet::parse_list(scopes).unwrap();
        store.insert(record).await.unwrap();
    }
    store
}

/// Knows the tokens `ada`, an administrator of acme's and viewer of globex's, and `late`, whose session is over. Others
/// make it fail.
#[derive(Clone, Default)]
struct Sessions(Arc<AtomicUsize>);

#[async_trait]
impl SessionAuthenticator for Sessions {
    async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        assert!(token.expose_secret() != "panics", "a bug");
        let scopes = ScopeSet::parse_list(["invoice:read", "api_key:*"]).unwrap();
        let member =
            |organization: &str, role| Membership::new(organization.parse().unwrap(), role, scopes.clone());
        let ada = Session::new("ada", Mode::Live, [member("acme", ADMIN), member("globex", VIEWER)]);
        match token.expose_secret() {
            "ada" => Ok(Some(ada.with_expiry(START.saturating_add(Duration::from_secs(60))))),
            "late" => Ok(Some(ada.with_expiry(START))),
            "fails" => Err(StoreError::new(StoreErrorKind::Unavailable)),
            _ => Ok(None),
        }
    }
}

async fn authenticate(sessions: &Sessions) -> AuthenticateLayer {
    AuthenticateLayer::new(store().await, BearerKey::new(key_format()).or_session())
        .with_clock(ManualClock::starting_at(START))
        .with_sessions(sessions.clone())
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
    format!("{} {:?} {}", caller.organization(), caller.role(), caller.key_id())
}

#[tokio::test]
async fn r26_r27_a_session_is_good_unknown_over_or_can_t_be_told() {
    let sessions = Sessions::default();
    let app: Router = Router::new()
        .route("/{orgId}", get(whoami))
        .layer(OrganizationContextLayer::new().with_route_parameter("orgId"))
        .layer(authenticate(&sessions).await);
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
    // What starts like a key is never shown to who knows sessions.
    let asked = sessions.0.load(Ordering::SeqCst);
    for token in ["sk_", "sk_ada", KEY, &KEY.replace('q', "r")] {
        send(&app, token, "/acme").await;
    }
    assert_eq!(sessions.0.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn a_session_without_an_authenticator_is_the_host_s_mistake() {
    let layer = AuthenticateLayer::new(store().await, BearerKey::new(key_format()).or_session());
    let app: Router = Router::new().route("/", get(async || "")).layer(layer);
    let response = send(&app, "ada", "/").await;
    assert_eq!(response.status(), 500);
    assert!(reason(&response).contains("with_sessions"), "{}", reason(&response));
}

#[tokio::test]
async fn bad_sessions_count_against_their_address() {
    let limiter = MemoryRateLimiter::builder("bad", Quota::per_minute(2).unwrap()).build();
    let layer = authenticate(&Sessions::default()).await;
    let layer = layer.with_client_address(ClientAddressSource::peer()).with_bad_credential_limit(limiter);
    let app: Router = Router::new().route("/", get(async || "")).layer(layer);
    let mut statuses = Vec::new();
    for token in ["fails", "panics", "unknown", "late", "unknown", "ada"] {
        statuses.push(send(&app, token, "/").await.status().as_u16());
    }
    assert_eq!(statuses, [503, 503, 401, 401, 429, 429], "and what can't be told counts nothing");
}

#[tokio::test]
async fn nothing_can_be_had_of_a_session_before_its_organization_is_found() {
    let authenticate = authenticate(&Sessions::default()).await;
    let limiter = || MemoryRateLimiter::builder("api", Quota::per_minute(9).unwrap()).build();
    let table = |access| RouteTable::new().add(Method::GET, "/", access).unwrap();
    let by_route = |access| RequireScopeLayer::by_route(table(access)).unwrap();
    let header = HeaderName::from_static("x-organization-id");
    let routes: [(&str, Router, u16); 11] = [
        ("Principal", Router::new().route("/", get(async |_: Principal| "")), 500),
        ("Option<Principal>", Router::new().route("/", get(async |_: Option<Principal>| "")), 500),
        ("OrganizationPrincipal", Router::new().route("/", get(whoami)), 500),
        ("SystemPrincipal", Router::new().route("/", get(async |_: SystemPrincipal| "")), 403),
        ("a scope", Router::new().route("/", any("")).layer(RequireScopeLayer::new(READ)), 500),
        ("any key", Router::new().route("/", any("")).layer(by_route(Access::AnyKey)), 500),
        (
            "the system",
            Router::new().route("/", any("")).layer(by_route(Access::from(READ).of_system())),
            403,
        ),
        (
            "a role",
            Router::new().route("/", any("")).layer(by_route(Access::from(READ).with_role(VIEWER))),
            500,
        ),
        (
            "a limit by organization",
            Router::new().route("/", any("")).layer(RateLimitLayer::by_organization(limiter())),
            500,
        ),
        ("a limit by key", Router::new().route("/", any("")).layer(RateLimitLayer::by_key(limiter())), 200),
        ("a header", Router::new().route("/", any("")).layer(OrganizationLayer::optional(header)), 200),
    ];
    for (name, router, status) in routes {
        let response = send(&router.layer(authenticate.clone()), "ada", "/").await;
        assert_eq!(response.status(), status, "{name}: {}", reason(&response));
    }
    // from_extensions has nobody, and a handler that tells nobody from somebody has nobody.
    let handler = async |request: Request<Body>| {
        let extensions = request.extensions();
        let somebody = Principal::from_extensions(extensions).is_some()
            || OrganizationPrincipal::from_extensions(extensions).is_some()
            || SystemPrincipal::from_extensions(extensions).is_some();
        somebody.to_string()
    };
    let app = Router::new().route("/", get(handler)).layer(authenticate);
    assert_eq!(body(send(&app, "ada", "/").await).await, "false");
}

#[tokio::test]
async fn the_layer_can_t_be_forgotten_for_keys_either() {
    let authenticate = authenticate(&Sessions::default()).await;
    for (key, who) in [(KEY, "acme"), (SYSTEM, "the system")] {
        let app = Router::new().route("/", get(whoami)).layer(authenticate.clone());
        let response = send(&app, key, "/").await;
        assert_eq!(response.status(), 500, "{who}");
        assert!(body(response).await.contains("OrganizationContextLayer"), "{who}");
        // A role is not simply missing where nobody has looked for it.
        let table = RouteTable::new().add(Method::GET, "/", Access::from(READ).with_role(ADMIN)).unwrap();
        let scopes = RequireScopeLayer::by_route(table).unwrap();
        let app = Router::new().route("/", get(async || "")).layer(scopes).layer(authenticate.clone());
        assert_eq!(send(&app, key, "/").await.status(), 500, "{who}");
    }
    // And without the outermost of all.
    let app: Router = Router::new().route("/", get(whoami)).layer(OrganizationContextLayer::new());
    assert_eq!(send(&app, KEY, "/").await.status(), 500);
}

#[tokio::test]
async fn the_tier_is_what_is_stored_and_never_the_scopes() {
    let table = RouteTable::new()
        .add(Method::GET, "/system", Access::from(ScopeRequirement::from_static("system:read")).of_system())
        .and_then(|table| table.add(Method::GET, "/plain", Access::AnyKey.of_system()))
        .unwrap();
    let app: Router = Router::new()
        .route("/plain", get(async || ""))
        .route(
            "/system",
            get(async |caller: SystemPrincipal| format!("{:?} {:?}", caller.tier(), caller.organization())),
        )
        .layer(RequireScopeLayer::by_route(table.clone()).unwrap())
        .layer(OrganizationContextLayer::new().with_routes(table))
        .layer(authenticate(&Sessions::default()).await);
    let response = send(&app, KEY, "/system").await;
    assert_eq!((response.status(), &*reason(&response)), (StatusCode::FORBIDDEN, "TierMismatch"));
    let response = send(&app, KEY, "/plain").await;
    assert_eq!((response.status(), &*reason(&response)), (StatusCode::FORBIDDEN, "TierMismatch"));
    let response = send(&app, SYSTEM, "/system").await;
    assert_eq!(body(response).await, format!("{:?} None", Tier::System), "no organization that nobody named");

    // Without any table the type alone refuses.
    let app = Router::new()
        .route("/system", get(async |_: SystemPrincipal| ""))
        .layer(authenticate(&Sessions::default()).await);
    assert_eq!(send(&app, KEY, "/system").await.status(), 403);
    assert_eq!(send(&app, SYSTEM, "/system").await.status(), 200);
}

#[tokio::test]
async fn a_host_can_give_roles_to_keys_too() {
    let table =
        |role| RouteTable::new().add(Method::GET, "/{orgId}", Access::from(READ).with_role(role)).unwrap();
    let app = async |role: Role, context: OrganizationContextLayer| -> Router {
        Router::new()
            .route("/{orgId}", get(whoami))
            .layer(RequireScopeLayer::by_route(table(role)).unwrap())
            .layer(context.with_route_parameter("orgId"))
            .layer(authenticate(&Sessions::default()).await)
    };
    let roles = |principal: &Principal| match principal.tier() {
        Tier::System => ADMIN,
        Tier::Organization => EDITOR,
    };
    for (needed, who, with_roles, without) in
        [(EDITOR, KEY, 200, 200), (ADMIN, KEY, 403, 200), (ADMIN, SYSTEM, 200, 200), (ADMIN, "ada", 200, 200)]
    {
        let context = OrganizationContextLayer::new();
        let given = app(needed, context.clone().with_key_roles(roles)).await;
        assert_eq!(send(&given, who, "/acme").await.status(), with_roles, "{needed:?} {who}");
        assert_eq!(
            send(&app(needed, context).await, who, "/acme").await.status(),
            without,
            "{needed:?} {who}"
        );
    }
    // A session's role is that of the organization it acts for, and no closure changes it.
    let context = OrganizationContextLayer::new().with_key_roles(|_| ADMIN);
    let response = send(&app(EDITOR, context).await, "ada", "/globex").await;
    assert_eq!((response.status(), &*reason(&response)), (StatusCode::FORBIDDEN, "RoleTooLow"));
}

#[tokio::test]
async fn the_innermost_of_two_layers_counts() {
    let cookie = OrganizationContextLayer::new().with_session_cookie("selected");
    let app: Router = Router::new()
        .route("/{orgId}", get(whoami))
        .layer(OrganizationContextLayer::new().with_route_parameter("orgId"))
        .layer(cookie)
        .layer(authenticate(&Sessions::default()).await);
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
    let gateway = PaymentGateway::new(MemoryStore::new());
    let import = ExistingKey::Plaintext(key.into());
    let new = NewKey::new("Imported");
    gateway.key_manager().import(&Authority::operator(acme()), new, import).await.unwrap();
    let app: Router = Router::new().route("/", get(async || "")).layer(gateway.authenticate());
    assert_eq!(send(&app, key, "/").await.status(), 200);
    for marked in [key.replace("sk_", "sk_live_"), key.replace("sk_", "sk_test_")] {
        assert_eq!(send(&app, &marked, "/").await.status(), 401, "{marked}");
    }
}

#[tokio::test]
async fn the_header_can_be_ignored_for_keys_of_organizations_alone() {
    let header = HeaderName::from_static("x-organization-id");
    let context = OrganizationContextLayer::new().with_header(header);
    let ask = async |context: OrganizationContextLayer, key: &str| {
        let app: Router = Router::new()
            .route("/", get(whoami))
            .layer(context)
            .layer(authenticate(&Sessions::default()).await);
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
async fn five_hundred_in_five_minutes_and_a_hundred_a_minute_at_once() {
    let clock = ManualClock::starting_at(START);
    let gateway = PaymentGateway::new(store().await).with_clock(clock.clone());
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
        // A client that waits as it was told may go on.
        clock.advance(Duration::from_secs(2));
    }
    assert_eq!(send(&app, SYSTEM, "/transactions").await.status(), 200, "each caller has its own");
}

#[tokio::test]
async fn r27_r57_a_portal_link_ends_with_its_time_and_only_for_who_still_has_a_key() {
    let clock = ManualClock::starting_at(START);
    let keys = store().await;
    let gateway = PaymentGateway::new(keys.clone()).with_clock(clock.clone());
    let links = gateway.portal_links(MemoryStore::new());
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
    // Who loses the key while the request is on its way makes no link any more.
    let manager = gateway.key_manager();
    let maker = links.clone();
    let handler = async move |caller: OrganizationPrincipal| {
        let create = async || {
            let made = maker.create(&Authority::principal(&caller), NewKey::new("client_1")).await;
            made.map_or_else(|error| error.to_string(), |_| "made".into())
        };
        let before = create().await;
        manager.revoke(&Authority::operator(acme()), caller.key_id()).await.unwrap();
        format!("{before}, {}", create().await)
    };
    let app: Router = Router::new()
        .route("/", get(handler))
        .layer(OrganizationContextLayer::new())
        .layer(gateway.authenticate());
    assert_eq!(body(send(&app, KEY, "/").await).await, "made, the caller's own key has ended");

    // A link is no key even in the keys' own store.
    let mistake = gateway.portal_links(keys.clone());
    let link = mistake.create(&operator, NewKey::new("client_1")).await.unwrap();
    let app: Router = Router::new().route("/", get(async || "")).layer(gateway.authenticate());
    assert_eq!(send(&app, link.secret.expose_secret(), "/").await.status(), 401);
}

/// A store that lets others go first, before and after it answers.
#[derive(Clone, Default)]
struct Slow(MemoryStore);

#[async_trait]
impl KeyStore for Slow {
    async fn find(&self, selector: KeySelector<'_>) -> FindResult {
        tokio::task::yield_now().await;
        let found = self.0.find(selector).await;
        tokio::task::yield_now().await;
        found
    }
}

#[async_trait]
impl KeyAdministration for Slow {
    async fn insert(&self, record: KeyRecord) -> Result<(), StoreError> {
        self.0.insert(record).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> FindResult {
        tokio::task::yield_now().await;
        let found = self.0.get(owner, id).await;
        tokio::task::yield_now().await;
        found
    }

    async fn list(&self, owner: &Owner, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.0.list(owner, query).await
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), StoreError> {
        let replaced = self.0.replace(record).await;
        tokio::task::yield_now().await;
        replaced
    }

    async fn delete(&self, owner: &Owner, id: &KeyId) -> Result<bool, StoreError> {
        self.0.delete(owner, id).await
    }
}

#[tokio::test]
async fn r60_of_many_who_redeem_or_revoke_one_wins() {
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
async fn a_session_manages_keys_as_far_as_its_own_scopes_go() {
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = events.clone();
    let gateway = PaymentGateway::new(store().await).with_sessions(Sessions::default());
    let gateway = gateway.with_clock(ManualClock::starting_at(START));
    let manager =
        gateway.key_manager().with_audit(move |event: &AuditEvent| log.lock().unwrap().push(event.actor));
    let create = async move |caller: OrganizationPrincipal| {
        let authority = Authority::principal(&caller);
        let mut statuses = Vec::new();
        for scopes in [&["invoice:read"][..], &["invoice:create"], &["invoice:*"], &[]] {
            let key = NewKey::new("n").scopes(ScopeSet::parse_list(scopes.iter().copied()).unwrap());
            let made = manager.create(&authority, key).await;
            statuses.push(made.map_or_else(|error| error.status().as_u16(), |_| 200));
        }
        format!("{statuses:?}")
    };
    let app: Router = Router::new()
        .route("/organizations/{orgId}/api-keys", post(create))
        .layer(gateway.scopes().unwrap())
        .layer(gateway.organization().unwrap())
        .layer(gateway.authenticate());
    let request = Request::post("/organizations/acme/api-keys").header("authorization", "Bearer ada");
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(body(response).await, "[200, 403, 403, 200]");
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
async fn a_layer_that_asks_for_companions_takes_no_session() {
    let secret = || HeaderKey::new(HeaderName::from_static("x-app-secret"), key_format());
    for (parts, status) in [(Parts::KEY, 500), (Parts::SECRET, 401)] {
        let companions = Companions::new(secret()).with_otherwise(parts);
        let layer = authenticate(&Sessions::default()).await.with_companions(companions);
        let app: Router = Router::new().route("/", get(async || "")).layer(layer);
        let response = send(&app, "ada", "/").await;
        assert_eq!(response.status(), status, "{}", reason(&response));
    }
}
