//! Access by route and by scope, through the public API.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, StatusCode};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_api_keys::identity::{OrganizationRule, Role, Session};
use tower_api_keys::key::{Mode, Owner, SecretString};
use tower_api_keys::middleware::{ApiKeysLayer, ApiKeysService, ResponseFuture};
use tower_api_keys::rejection::{ApiError, Check, ErrorKind, ProblemDetails, Reason};
use tower_api_keys::route::Route;
use tower_api_keys::scope::{Scope, ScopeRequirement, ScopeSet};
use tower_api_keys::{Access, ApiKeys, ApiKeysBuilder, ConfigError, InvalidValue, MemoryStore};

use crate::support::{KEY, assembly, record, rejection, store};

/// An assembly with one key, which holds `scopes`.
async fn keys(scopes: &[&str]) -> ApiKeysBuilder {
    let key = record(KEY, |record| {
        record.id = "k1".parse().unwrap();
        record.scopes = ScopeSet::parse_list(scopes.iter().copied()).unwrap();
    });
    assembly(store([key]).await)
}

fn request(method: &str, uri: &str) -> Request<()> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = Request::builder().method(method).header("x-api-key", KEY).body(()).unwrap();
    *request.uri_mut() = uri.parse().unwrap();
    request
}

async fn handler(_: Request<()>) -> Result<Response<Bytes>, Infallible> {
    Ok(Response::new(Bytes::from_static(b"handled")))
}

/// The response of a handler under authentication and, inside of it, `layer`.
async fn inside_of(keys: &ApiKeys, layer: ApiKeysLayer, request: Request<()>) -> Response<Bytes> {
    let service = keys.authenticate().layer(layer.layer(tower::service_fn(handler)));
    service.oneshot(request).await.unwrap()
}

/// The response to a key with `scopes`, where the routes of `add` decide access.
async fn by_route(
    scopes: &[&str],
    add: impl Fn(ApiKeysBuilder) -> ApiKeysBuilder,
    request: Request<()>,
) -> Response<Bytes> {
    let keys = add(keys(scopes).await).build().unwrap();
    inside_of(&keys, keys.authorize(), request).await
}

/// The response to a key with `scopes`, where every request needs `requirement`.
async fn required(scopes: &[&str], requirement: &ScopeRequirement, request: Request<()>) -> Response<Bytes> {
    let keys = keys(scopes).await.without_route_table().build().unwrap();
    inside_of(&keys, keys.require(requirement.clone()), request).await
}

fn reason(response: &Response<Bytes>) -> &Reason {
    rejection(response).reason()
}

/// The settings that `build` rejects.
fn settings(builder: ApiKeysBuilder) -> Vec<&'static str> {
    let error = builder.build().err();
    error.iter().flat_map(ConfigError::faults).map(|(setting, _)| setting).collect()
}

#[test]
fn faults_of_routes_are_faults_of_the_assembly() {
    for pattern in ["", "a", "/a//b", "/{a}b", "/{*a}/b", "/*"] {
        let route = assembly(MemoryStore::new()).route("GET", pattern, Access::AnyKey);
        assert_eq!(settings(route), ["route"], "{pattern}");
    }
    for (first, second, is_duplicate) in [("/a/{id}", "/a/:key", true), ("/a", "/a/", false)] {
        let routes = [("GET", first, Access::AnyKey), ("GET", second, Access::AnyKey)];
        let faults: &[&str] = if is_duplicate { &["route"] } else { &[] };
        assert_eq!(settings(assembly(MemoryStore::new()).routes(routes)), faults, "{first} {second}");
    }
    for method in ["HEAD", "TRACE", "CONNECT"] {
        let route = assembly(MemoryStore::new()).route(method, "/a", Access::AnyKey);
        assert_eq!(settings(route), ["route"], "{method}");
    }
    for prefix in ["/api/", "/{*rest}", "/a/{*rest}"] {
        let below = assembly(MemoryStore::new()).route("GET", "/", Access::AnyKey).routes_below(prefix);
        assert_eq!(settings(below), ["routes_below"], "{prefix}");
    }
}

#[test]
fn an_assembly_lists_uncovered_routes_and_unused_rules() {
    let rules = [("GET", "/workflows/{id}", Access::AnyKey), ("PUT", "/wrokflows", Access::AnyKey)];
    let keys = assembly(MemoryStore::new()).routes(rules).build().unwrap();
    let routes = || [(Method::GET, "/workflows/{workflow}"), (Method::GET, "/workflows/latest")];
    assert_eq!(keys.uncovered(routes()), [Route::from((Method::GET, "/workflows/latest"))]);
    assert_eq!(keys.unused(routes()), [Route::from((Method::PUT, "/wrokflows"))]);
}

#[tokio::test]
async fn routes_missing_in_the_table_are_rejected() {
    let table = |keys: ApiKeysBuilder| {
        keys.route("GET", "/workflows", "workflows:read").route("GET", "/whoami", Access::AnyKey)
    };
    for (method, uri, want) in [
        ("GET", "/workflows", None),
        ("HEAD", "/workflows", None),
        ("GET", "/whoami", None),
        ("POST", "/workflows", Some("RouteNotCovered")),
        ("get", "/workflows", Some("RouteNotCovered")),
        ("TRACE", "/workflows", Some("RouteNotCovered")),
        ("OPTIONS", "/workflows", Some("RouteNotCovered")),
        ("GET", "/runs", Some("RouteNotCovered")),
        ("GET", "//workflows", Some("PathNotCanonical")),
        ("OPTIONS", "*", Some("PathNotCanonical")),
    ] {
        let response = by_route(&["workflows:*", "runs:*"], table, request(method, uri)).await;
        match want {
            None => assert_eq!(response.body(), "handled", "{method} {uri}"),
            Some(want) => {
                assert_eq!(response.status(), StatusCode::FORBIDDEN, "{method} {uri}");
                assert_eq!(format!("{:?}", reason(&response)), want, "{method} {uri}");
            }
        }
    }
}

#[test]
fn without_a_rule_nothing_is_built() {
    let error = assembly(MemoryStore::new()).build().unwrap_err();
    let [(setting, message)] = error.faults().collect::<Vec<_>>()[..] else { panic!("{error}") };
    assert_eq!(setting, "route");
    assert!(message.starts_with("there is no rule, so every request would be rejected"), "{error}");
}

#[tokio::test]
async fn near_misses_of_a_scope_are_not_the_scope() {
    let requirement = ScopeRequirement::from_static("workflows:read");
    for (scopes, passes) in [
        (&["workflows:read"][..], true),
        (&["workflows:*"], true),
        (&["runs:read", "workflows:read"], true),
        (&[], false),
        (&["workflows:write"], false),
        (&["workflow:read"], false),
        (&["workflowss:read"], false),
        (&["workflows:rea"], false),
        (&["workflows:reads"], false),
        (&["workflow:*"], false),
        (&["runs:*"], false),
    ] {
        let response = required(scopes, &requirement, request("GET", "/")).await;
        if passes {
            assert_eq!(response.body(), "handled", "{scopes:?}");
        } else {
            let rejection = rejection(&response);
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{scopes:?}");
            assert_eq!(rejection.check(), Some(Check::Access), "{scopes:?}");
            assert_eq!(rejection.key_id().unwrap().as_str(), "k1", "{scopes:?}");
            assert_eq!(
                reason(&response).to_string(),
                "the key lacks the scope: workflows:read",
                "{scopes:?}"
            );
        }
    }
    let both = [Scope::from_static("a:read"), Scope::from_static("b:read")];
    let all = ScopeRequirement::all_of(both.clone()).unwrap();
    let any = ScopeRequirement::any_of(both).unwrap();
    assert_eq!(required(&["a:read"], &all, request("GET", "/")).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(required(&["a:read"], &any, request("GET", "/")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_key_of_an_organization_is_of_the_wrong_tier_whatever_else_a_rule_needs() {
    let editor = Role::of_rank(2);
    let rule = || Access::from(ScopeRequirement::from_static("runs:read"));
    for access in [
        rule().of_system(),
        rule().with_role(editor).of_system(),
        rule().of_system().with_role(editor),
        rule().of_system().with_role(editor).with_role(editor),
    ] {
        let add = |keys: ApiKeysBuilder| {
            keys.organization(OrganizationRule::context()).route("GET", "/runs", access.clone())
        };
        let response = by_route(&["runs:read"], add, request("GET", "/runs")).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{access:?}");
        assert_eq!(reason(&response).code(), "tier_mismatch", "{access:?}");
    }
}

/// A route of the system acts for no organization, in which a key could have a role.
#[tokio::test]
async fn on_a_route_of_the_system_a_session_of_staff_has_its_role_and_a_key_has_none() {
    let (editor, admin) = (Role::of_rank(2), Role::of_rank(3));
    let rule = || Access::from(ScopeRequirement::from_static("runs:read"));
    let scopes = || ScopeSet::parse_list(["runs:read"]).unwrap();
    let key = record(KEY, |record| {
        record.owner = Owner::system(Mode::Live);
        record.scopes = scopes();
    });
    let store = store([key]).await;
    let no_roles = OrganizationRule::context;
    let all_are_admins = || OrganizationRule::context().key_roles(move |_| admin);
    for organizations in [no_roles(), all_are_admins()] {
        for (access, of_key, of_staff) in [
            (rule().of_system(), None, None),
            (rule().with_role(editor).of_system(), Some("role_too_low"), None),
            (rule().of_system().with_role(editor), Some("role_too_low"), None),
            (rule().of_system().with_role(admin), Some("role_too_low"), Some("role_too_low")),
        ] {
            let keys = assembly(store.clone())
                .bearer()
                .sessions(move |_: &SecretString| {
                    Some(Session::new("eve").with_owner(Owner::system(Mode::Live), editor, scopes()))
                })
                .organization(organizations.clone())
                .route("GET", "/runs", access.clone())
                .build()
                .unwrap();
            let of_session = Request::get("/runs").header("authorization", "Bearer token").body(()).unwrap();
            for (request, code) in [(request("GET", "/runs"), of_key), (of_session, of_staff)] {
                let response = keys.layer().layer(tower::service_fn(handler)).oneshot(request).await.unwrap();
                let status = if code.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
                assert_eq!(response.status(), status, "{access:?}");
                let found = code.map(|_| reason(&response).code());
                assert_eq!(found, code, "{access:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_header_has_an_influence() {
    let table = |keys: ApiKeysBuilder| {
        keys.route("GET", "/open", Access::AnyKey).route("POST", "/closed", "admin:write")
    };
    let headers = [
        ("x-http-method-override", "GET"),
        ("x-http-method", "GET"),
        ("x-method-override", "GET"),
        ("x-original-url", "/open"),
        ("x-rewrite-url", "/open"),
        ("x-forwarded-uri", "/open"),
        ("x-forwarded-path", "/open"),
        ("x-forwarded-prefix", "/open"),
        ("x-original-method", "GET"),
        ("x-middleware-subrequest", "middleware"),
        ("auth-key", "1"),
        ("x-scopes", "admin:write"),
        ("host", "a/open?"),
        ("origin", "https://a.example"),
        ("access-control-request-method", "GET"),
    ];
    for (method, uri) in [("POST", "/closed"), ("GET", "/closed"), ("OPTIONS", "/closed"), ("POST", "/open")]
    {
        for (name, value) in headers {
            let mut request = request(method, uri);
            request.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
            let status = by_route(&[], table, request).await.status();
            assert_eq!(status, StatusCode::FORBIDDEN, "{name} on {method} {uri}");
        }
    }
}

#[tokio::test]
async fn who_sends_no_key_to_a_route_of_the_system_is_asked_for_one() {
    let keys = keys(&[]).await.allow_anonymous().route("GET", "/a", Access::AnyKey.of_system());
    let keys = keys.build().unwrap();
    let mut request = request("GET", "/a");
    request.headers_mut().clear();
    let response = keys.layer().layer(tower::service_fn(handler)).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{}", reason(&response));
}

#[tokio::test]
async fn requests_without_a_principal_are_rejected() {
    let keys = keys(&[]).await.allow_anonymous().route("GET", "/a", Access::AnyKey).build().unwrap();
    for layer in [keys.require("a:read"), keys.authorize()] {
        let response = layer.layer(tower::service_fn(handler)).oneshot(request("GET", "/a")).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(matches!(reason(&response), Reason::Misconfigured(_)));
        assert!(reason(&response).to_string().contains("`authenticate` outside"), "{}", reason(&response));
        let body = str::from_utf8(response.body()).unwrap();
        assert!(!body.contains("authenticate"), "not for the client: {body}");

        for (uri, name) in [("/a", "listed"), ("/unknown", "not listed"), ("//a", "not canonical")] {
            let mut request = request("GET", uri);
            request.headers_mut().clear();
            let response = inside_of(&keys, layer.clone(), request).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
            assert_eq!(response.headers()["www-authenticate"], r#"ApiKey header="x-api-key""#, "{name}");
            assert!(matches!(reason(&response), Reason::CredentialMissing), "{name}");
        }
    }
}

#[tokio::test]
async fn the_application_sets_the_format_of_rejections() {
    let format = |error: &ApiError<'_>| {
        let mut response = Response::new(Bytes::from(format!("{:?}", error.kind())));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    };
    let keys = keys(&[]).await.without_route_table().errors(format).build().unwrap();
    let service = keys.authenticate().layer(keys.require("a:read").layer(tower::service_fn(handler)));
    let response = service.oneshot(request("GET", "/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(response.body(), &format!("{:?}", ErrorKind::Forbidden));
    assert_eq!(response.headers()["cache-control"], "no-store");
}

/// Accepts and rejects requests in turn through one service: a rejection must release what readiness reserved.
async fn drive<S>(mut service: S)
where
    S: Service<Request<()>, Response = Response<Bytes>, Error: Into<BoxError>>,
{
    for (uri, want) in [("/a", 200), ("/b", 403), ("/b", 403), ("/a", 200), ("/b", 403), ("/a", 200)] {
        let answer = async {
            let response = service.ready().await.map_err(Into::into)?.call(request("GET", uri));
            response.await.map_err(Into::into)
        };
        let response: Result<_, BoxError> =
            tokio::time::timeout(Duration::from_secs(5), answer).await.expect("no deadlock");
        assert_eq!(response.unwrap().status(), want, "{uri}");
    }
}

#[tokio::test]
async fn readiness_passes_through() {
    let keys = keys(&[]).await.route("GET", "/a", Access::AnyKey).build().unwrap();
    let outside = ServiceBuilder::new().layer(keys.authenticate()).layer(keys.authorize());
    drive(outside.clone().concurrency_limit(1).service(tower::service_fn(handler))).await;
    drive(outside.clone().buffer(1).service(tower::service_fn(handler))).await;
    drive(outside.buffer(1).concurrency_limit(1).service(tower::service_fn(handler))).await;
}

#[test]
fn types_meet_the_bounds_of_servers() {
    fn is_shareable<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn is_sendable<T: Send>() {}
    type Handler = tower::util::BoxCloneSyncService<Request<()>, Response<Bytes>, Infallible>;
    is_shareable::<ApiKeys>();
    is_shareable::<ApiKeysLayer>();
    is_shareable::<ApiKeysService<()>>();
    is_shareable::<ApiKeysService<(), ProblemDetails>>();
    is_shareable::<Route>();
    is_shareable::<InvalidValue>();
    is_shareable::<ConfigError>();
    is_sendable::<ResponseFuture<Handler, (), ProblemDetails>>();
}
