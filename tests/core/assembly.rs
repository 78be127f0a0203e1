//! An invalid assembly fails to build, with every fault listed.

use http::StatusCode;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::ClientAddressSource;
use tower_api_keys::credential::{BasicKey, BearerKey, Companions, HeaderKey, Parts, SessionTokens};
use tower_api_keys::identity::{OrganizationRule, Role, Session, SessionAuthenticator};
use tower_api_keys::key::SecretString;
use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
use tower_api_keys::store::StoreError;
use tower_api_keys::{
    Access, ApiKeys, ApiKeysBuilder, ConfigError, KeyFormat, MemoryStore, Quota, RateLimit,
};

use crate::support::*;

/// A valid assembly.
fn good() -> ApiKeysBuilder {
    ApiKeys::builder(MemoryStore::new(), format()).header("x-api-key").route("GET", "/", "a:b")
}

fn quota() -> Quota {
    Quota::per_minute(5).unwrap()
}

struct NoSessions;

#[async_trait::async_trait]
impl SessionAuthenticator for NoSessions {
    async fn authenticate(&self, _: &SecretString) -> Result<Option<Session>, StoreError> {
        Ok(None)
    }
}

fn companions(parts: Parts) -> Companions {
    let secret = HeaderKey::new("x-secret".parse().unwrap(), KeyFormat::new("app_").unwrap());
    Companions::new(secret).with_routes([("GET", "/", parts)])
}

#[test]
fn every_fault_is_found_and_names_its_setting() {
    let context = OrganizationRule::context;
    let with_table = |access: Access| {
        ApiKeys::builder(MemoryStore::new(), format()).header("x-api-key").route("GET", "/", access)
    };
    let scope = || Access::Scope(ScopeRequirement::from_static("a:b"));
    let cases: Vec<(&str, ApiKeysBuilder, &str, &str)> = vec![
        (
            "no credential is looked for",
            ApiKeys::builder(MemoryStore::new(), format()).route("GET", "/", "a:b"),
            "header",
            "no credential is looked for",
        ),
        (
            "a header name that is none",
            good().header("x api key"),
            "header",
            "not the name of a header field",
        ),
        ("a header twice", good().header("X-Api-Key"), "extractor", "twice"),
        ("bearer twice", good().bearer().extractor(BearerKey::new(format())), "extractor", "authorization"),
        ("two formats alike", good().also_accept(format()), "also_accept", "two formats"),
        (
            "a format inside another",
            ApiKeys::builder(MemoryStore::new(), KeyFormat::builder("ab").secret_length(31).build().unwrap())
                .header("x-api-key")
                .also_accept(KeyFormat::new("a").unwrap())
                .route("GET", "/", "a:b"),
            "also_accept",
            "two formats",
        ),
        ("a realm that no field can carry", good().realm("caf\u{e9}"), "realm", "visible ASCII"),
        (
            "a realm that no response has",
            good().without_challenge().realm("here"),
            "realm",
            "without_challenge",
        ),
        (
            "no route",
            ApiKeys::builder(MemoryStore::new(), format()).header("x-api-key"),
            "route",
            "every request would be rejected",
        ),
        ("routes and none", good().without_route_table(), "without_route_table", "there are rules"),
        ("a method that is none", good().route("GE T", "/x", "a:b"), "route", "method of /x"),
        ("a scope that is none", good().route("GET", "/x", "a"), "route", "/x: "),
        ("a scope with a wildcard", good().route("GET", "/x", "a:*"), "route", "/x: "),
        ("a pattern that matches nothing", good().route("GET", "x", "a:b"), "route", "malformed"),
        ("a rule twice", good().route("GET", "/", "a:c"), "route", "already"),
        ("a rule for HEAD", good().route("HEAD", "/", "a:b"), "route", "HEAD is treated as GET"),
        ("a rule for TRACE", good().route("TRACE", "/", "a:b"), "route", "always rejected"),
        ("public within a role", with_table(Access::Public.of_system()), "route", "can't stand inside"),
        ("a prefix that is none", good().routes_below("api/"), "routes_below", "malformed"),
        (
            "an organization header that is none",
            good().organization(OrganizationRule::named_in("a b")),
            "organization",
            "not the name",
        ),
        (
            "a context's setting on a name",
            good().organization(OrganizationRule::named_in("a").session_cookie("b")),
            "organization",
            "named_in",
        ),
        (
            "a role without a context",
            with_table(scope().with_role(Role::of_rank(1))),
            "organization",
            "needs a role",
        ),
        (
            "a route parameter without routes",
            ApiKeys::builder(MemoryStore::new(), format())
                .header("x-api-key")
                .without_route_table()
                .organization(context().route_parameter("orgId")),
            "organization",
            "parameter of a route",
        ),
        (
            "sessions without a rule",
            good().bearer().sessions(NoSessions),
            "sessions",
            "for whom a session acts",
        ),
        (
            "sessions with a name",
            good().bearer().sessions(NoSessions).organization(OrganizationRule::named_in("a")),
            "sessions",
            "OrganizationRule::context",
        ),
        (
            "a mode field that is none",
            good().organization(context().mode_header("a b")),
            "organization",
            "not the name",
        ),
        (
            "sessions that no extractor finds",
            good().sessions(NoSessions).organization(context().session_cookie("org")),
            "sessions",
            "no extractor finds sessions",
        ),
        (
            "sessions without an authenticator",
            good().extractor(BearerKey::new(format()).or_session()),
            "sessions",
            "say who verifies them",
        ),
        (
            "sessions beside companions",
            good()
                .bearer()
                .sessions(NoSessions)
                .organization(context().session_cookie("org"))
                .companions(companions(Parts::SECRET)),
            "companions",
            "exclude each other",
        ),
        (
            "tokens that are needed and not taken",
            good().companions(companions(Parts::TOKEN)),
            "companions",
            "session token",
        ),
        (
            "a throttle without addresses",
            good().throttle_bad_credentials(quota()),
            "throttle_bad_credentials",
            "client_address",
        ),
        (
            "a proxy that is not a network",
            good().client_address(ClientAddressSource::forwarded_for(["10.0.0.0/40"])),
            "client_address",
            "10.0.0.0/40",
        ),
        (
            "a field with an underscore",
            good().client_address(ClientAddressSource::single_field("x_real_ip", ["10.0.0.1"])),
            "client_address",
            "underscore",
        ),
        (
            "a limit by address without addresses",
            good().limit(RateLimit::per_address("a", quota())),
            "limit",
            "client_address",
        ),
        (
            "a limit by organization with sessions",
            good()
                .bearer()
                .sessions(NoSessions)
                .organization(context().session_cookie("org"))
                .limit(RateLimit::per_organization("a", quota())),
            "limit",
            "found after the limits",
        ),
        (
            "two categories of one name",
            good().limit(RateLimit::per_key("a", quota())).limit(RateLimit::per_organization("a", quota())),
            "limit",
            "two limits have a category",
        ),
        (
            "one category with two quotas",
            good().limit(RateLimit::per_key("a", quota()).methods(
                ["GET"],
                "a",
                Quota::per_minute(6).unwrap(),
            )),
            "limit",
            "two different quotas",
        ),
        (
            "a category without a quota",
            good().limit(RateLimit::per_key("a", vec![])),
            "limit",
            "1 to 4 quotas",
        ),
        (
            "a category with five",
            good().limit(RateLimit::per_key("a", vec![quota(); 5])),
            "limit",
            "1 to 4 quotas",
        ),
        (
            "a method in two categories",
            good().limit(RateLimit::per_key("a", quota()).methods(["GET"], "b", quota()).methods(
                ["GET"],
                "c",
                quota(),
            )),
            "limit",
            "GET has two categories",
        ),
        (
            "a category for HEAD",
            good().limit(RateLimit::per_key("a", quota()).methods(["HEAD"], "b", quota())),
            "limit",
            "HEAD is counted as GET",
        ),
        (
            "a category for a method that no route has",
            good().limit(RateLimit::per_key("a", quota()).methods(["PUT"], "b", quota())),
            "limit",
            "PUT never counts",
        ),
        (
            "a category for a route that is none",
            good().limit(RateLimit::per_key("a", quota()).route("GET", "x", "b", quota())),
            "limit",
            "malformed",
        ),
        (
            "a category for a method that is none",
            good().limit(RateLimit::per_key("a", quota()).route("", "/x", "b", quota())),
            "limit",
            "not valid",
        ),
    ];
    for (name, builder, setting, message) in cases {
        let error = builder.build().expect_err(name);
        let found: Vec<_> = error.faults().collect();
        let is_named = found.iter().any(|(named, said)| *named == setting && said.contains(message));
        assert!(is_named, "{name}: {found:?}");
        assert_eq!(found.len(), 1, "{name}: {found:?}");
    }
    good().build().unwrap();
}

#[cfg(feature = "redis")]
#[test]
fn shared_limits_need_a_prefix() {
    let connection = tower_api_keys::limit::RedisConnection::open("redis://127.0.0.1:1").unwrap();
    let error = good().shared_limits(connection, "").build().unwrap_err();
    assert_eq!(error.faults().next().unwrap().0, "shared_limits");
}

#[test]
fn all_faults_are_listed_in_one_line() {
    let builder = ApiKeys::builder(MemoryStore::new(), format())
        .header("x api key")
        .route("GET", "workflows", "workflows:read")
        .throttle_bad_credentials(quota());
    let error: ConfigError = builder.build().unwrap_err();
    let settings: Vec<_> = error.faults().map(|(setting, _)| setting).collect();
    assert_eq!(settings, ["header", "route", "throttle_bad_credentials"]);
    let text = error.to_string();
    assert!(text.starts_with("the assembly of API keys is not valid; header: "), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

#[tokio::test]
async fn clones_share_the_limits_and_what_is_stored() {
    let keys = good().limit(RateLimit::per_key("requests", Quota::per_minute(1).unwrap())).build().unwrap();
    let other = keys.clone();
    let key =
        keys.manager().create_for("org_1", tower_api_keys::NewKey::new("Key").scope("a:b")).await.unwrap();
    let ask = async |keys: &ApiKeys| {
        let service = ServiceBuilder::new().layer(keys.layer()).service(service_fn(whoami));
        let request =
            http::Request::get("/").header("x-api-key", key.secret.expose_secret()).body(()).unwrap();
        service.oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask(&keys).await, StatusCode::OK);
    assert_eq!(ask(&other).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn several_formats_are_accepted_in_one_field_and_new_keys_have_the_first() {
    let store = MemoryStore::new();
    let keys = ApiKeys::builder(store.clone(), KeyFormat::new("new_").unwrap())
        .header("x-api-key")
        .also_accept(KeyFormat::new("old_").unwrap())
        .route("GET", "/", "a:b")
        .build()
        .unwrap();
    let new =
        keys.manager().create_for("org_1", tower_api_keys::NewKey::new("New").scope("a:b")).await.unwrap();
    assert!(new.secret.expose_secret().starts_with("new_"));
    let old = format!("old_{}", "0".repeat(32));
    let before = tower_api_keys::manage::KeyManager::new(store, KeyFormat::new("old_").unwrap());
    let owner =
        tower_api_keys::key::Owner::organization("org_1".parse().unwrap(), tower_api_keys::key::Mode::Live);
    let authority = tower_api_keys::Authority::operator(owner);
    before
        .import(&authority, tower_api_keys::NewKey::new("Old").scope("a:b"), old.as_str().into())
        .await
        .unwrap();
    for key in [new.secret.expose_secret(), &old] {
        let service = ServiceBuilder::new().layer(keys.layer()).service(service_fn(whoami));
        let request = http::Request::get("/").header("x-api-key", key).body(()).unwrap();
        assert_eq!(service.oneshot(request).await.unwrap().status(), StatusCode::OK, "{key}");
    }
}

#[tokio::test]
async fn keys_in_every_accepted_format_are_imported_and_found_by_their_text() {
    let uuid = "3f2504e0-4f89-11d3-9a0c-0305e82c3301";
    let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("new_").unwrap())
        .header("x-api-key")
        .also_accept(KeyFormat::unprefixed().secret_length(36).other_characters("-").build().unwrap())
        .also_accept(KeyFormat::builder("old_").public_id(8, '.').build().unwrap())
        .route("GET", "/", "a:b")
        .build()
        .unwrap();
    let owner =
        tower_api_keys::key::Owner::organization("org_1".parse().unwrap(), tower_api_keys::key::Mode::Live);
    let operator = tower_api_keys::Authority::operator(owner);
    let (new, old) = (format!("new_{}", "0".repeat(32)), format!("old_someone1.{}", "0".repeat(32)));
    for (key, hint) in [(uuid, "…3301"), (&*new, "new_…0000"), (&old, "old_…0000")] {
        let imported = keys
            .manager()
            .import(&operator, tower_api_keys::NewKey::new("Old").scope("a:b"), key.into())
            .await
            .unwrap();
        assert_eq!(imported.hint, hint);
        assert_eq!(keys.manager().find_by_text(&format!(" {key}\n")).await.unwrap().unwrap().id, imported.id);
        let service = ServiceBuilder::new().layer(keys.layer()).service(service_fn(whoami));
        let request = http::Request::get("/").header("x-api-key", key).body(()).unwrap();
        assert_eq!(service.oneshot(request).await.unwrap().status(), StatusCode::OK, "{key}");
    }
    let of_no_format =
        keys.manager().import(&operator, tower_api_keys::NewKey::new("Old"), uuid[1..].into()).await;
    assert!(of_no_format.is_err());
}

#[test]
fn formats_that_read_the_same_text_do_not_build() {
    let uuid = || KeyFormat::unprefixed().secret_length(36).other_characters("-");
    let django = || KeyFormat::unprefixed().public_id(8, '.');
    for (name, first, second, is_fit) in [
        ("UUIDs beside a prefix with an underscore", KeyFormat::builder("acme_"), uuid(), true),
        ("UUIDs beside a prefix that they may have", KeyFormat::builder("acm-"), uuid(), false),
        ("of different lengths", KeyFormat::builder("acme-"), uuid(), true),
        (
            "base64url may have any prefix",
            KeyFormat::builder("a_").secret_length(41),
            KeyFormat::unprefixed().secret_length(43).other_characters("-_"),
            false,
        ),
        (
            "an identifier may be of any length",
            django(),
            KeyFormat::unprefixed().secret_length(40).other_characters("."),
            false,
        ),
        ("a dot tells them apart", django(), uuid(), true),
        (
            "a leading identifier may be a prefix",
            KeyFormat::builder("acme_key"),
            KeyFormat::unprefixed().leading_id(8),
            false,
        ),
        ("two of one shape", uuid(), uuid(), false),
    ] {
        let built = ApiKeys::builder(MemoryStore::new(), first.build().unwrap())
            .header("x-api-key")
            .also_accept(second.build().unwrap())
            .without_route_table()
            .build();
        assert_eq!(built.is_ok(), is_fit, "{name}");
    }
}

#[test]
fn a_valid_assembly_can_have_every_setting() {
    let tokens = SessionTokens::new("0123456789abcdef0123456789abcdef".into()).unwrap();
    let with_companions = good()
        .basic()
        .extractor(BasicKey::new(KeyFormat::new("other_").unwrap()))
        .companions(companions(Parts::ALL).with_session_tokens("x-token".parse().unwrap(), tokens));
    // Two extractors read the same field, so `build` rejects this.
    assert_eq!(with_companions.build().unwrap_err().faults().len(), 1);
    let everything = good()
        .bearer()
        .sessions(NoSessions)
        .organization(
            OrganizationRule::context().session_cookie("org").header("x-org").route_parameter("org"),
        )
        .route("GET", "/{org}/x", Access::AnyKey)
        .public("GET", "/health")
        .client_address(ClientAddressSource::peer())
        .throttle_bad_credentials(quota())
        .limit(RateLimit::per_address("address", quota()))
        .limit(RateLimit::per_key("key", [quota(), Quota::per_hour(9).unwrap()]))
        .realm("here")
        .record_last_use()
        .request_ids()
        .usage(|_: &tower_api_keys::outcome::Call<'_>| {})
        .audit(|_: &tower_api_keys::manage::AuditEvent| {})
        .allow_anonymous()
        .pass_cors_preflight()
        .ignore_other_schemes()
        .routes_below("/api/v1");
    let keys = everything.build().unwrap();
    assert!(format!("{keys:?}").contains("/api/v1/health"));
}

#[test]
fn an_assembly_lists_the_scopes_of_its_routes_of_its_manager_and_those_that_are_described() {
    let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_").unwrap())
        .header("x-api-key")
        .routes([("GET", "/runs", "runs:read"), ("POST", "/runs", "runs:start")])
        .route("GET", "/audit", Access::Scope(ScopeRequirement::from_static("audit:read")).of_system())
        .public("GET", "/health")
        .describe_scopes([("runs:read", "See runs."), ("files:read", "See files.")])
        .manage_with(|manager| {
            manager.with_grantable_scopes(ScopeSet::parse_list(["runs:*", "mail:send"]).unwrap())
        })
        .build()
        .unwrap();
    let known = keys.scopes().iter();
    let known: Vec<_> =
        known.map(|one| (one.scope.as_str(), one.description.as_deref(), one.is_grantable)).collect();
    assert_eq!(
        known,
        [
            ("audit:read", None, false),
            ("files:read", Some("See files."), false),
            ("mail:send", None, true),
            ("runs:*", None, true),
            ("runs:read", Some("See runs."), true),
            ("runs:start", None, true),
        ]
    );
}
