//! Route tables and the scope layer, as a host sees them.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, StatusCode};
use proptest::prelude::*;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_api_keys::AuthenticateLayer;
use tower_api_keys::authorize::{Authorize, RequireScopeLayer, ResponseFuture};
use tower_api_keys::clock::Timestamp;
use tower_api_keys::credential::HeaderKey;
use tower_api_keys::key::{KeyFormat, KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::rejection::{Check, ProblemDetails, Reason, Rejection, ErrorKind};
use tower_api_keys::request::RequestView;
use tower_api_keys::route::{Access, EmptyRouteTable};
use tower_api_keys::route::{InvalidRoute, Route, RouteMatch, RouteTable};
use tower_api_keys::scope::{Scope, ScopeRequirement, ScopeSet};
use tower_api_keys::store::{KeyAdministration, MemoryStore};

const KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";

/// The layer that knows one key, which holds `scopes`.
async fn authenticate(scopes: &[&str]) -> AuthenticateLayer {
    let store = MemoryStore::new();
    let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
    let created = Timestamp::from_unix_seconds(0);
    let mut record = KeyRecord::new("k1".parse().unwrap(), owner, Peppers::none().digest(KEY), created);
    record.scopes = ScopeSet::parse_list(scopes.iter().copied()).unwrap();
    store.insert(record).await.unwrap();
    let format = KeyFormat::new("wfk_").unwrap();
    AuthenticateLayer::new(store, HeaderKey::new(HeaderName::from_static("x-api-key"), format))
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

/// The response of a handler under both layers.
async fn answer(scopes: &[&str], layer: &RequireScopeLayer, request: Request<()>) -> Response<Bytes> {
    let service = authenticate(scopes).await.layer(layer.layer(tower::service_fn(handler)));
    service.oneshot(request).await.unwrap()
}

fn reason(response: &Response<Bytes>) -> &Reason {
    response.extensions().get::<Rejection>().expect("a refusal").reason()
}

fn requires(scope: &'static str) -> ScopeRequirement {
    ScopeRequirement::from_static(scope)
}

/// Leads each pattern to itself.
fn table<'p>(rules: &[(Method, &'p str)]) -> RouteTable<&'p str> {
    rules.iter().fold(RouteTable::new(), |table, &(ref method, pattern)| {
        table.add(method.clone(), pattern, pattern).unwrap()
    })
}

fn outcome<'p>(table: &RouteTable<&'p str>, method: &str, uri: &str) -> &'p str {
    match table.find(RequestView::of(&request(method, uri))) {
        RouteMatch::Found(value) => value,
        RouteMatch::NotCovered => "not covered",
        RouteMatch::PathNotCanonical => "not canonical",
    }
}

#[test]
fn r40_paths_that_can_be_read_in_two_ways_match_nothing() {
    let table = table(&[
        (Method::GET, "/"),
        (Method::GET, "/admin"),
        (Method::GET, "/v1/workflows"),
        (Method::GET, "/v1/workflows/{id}"),
        (Method::GET, "/v1/slash/"),
        (Method::GET, "/files/{*rest}"),
        (Method::GET, "/files/secret"),
    ]);
    for (uri, want) in [
        ("/", "/"),
        ("/?a=/admin", "/"),
        ("/admin", "/admin"),
        ("/admin?x=%2e%2e;y", "/admin"),
        ("http://evil.example/admin", "/admin"),
        ("http://evil.example", "/"),
        ("http://evil.example/admin@x", "not covered"),
        ("//admin", "not canonical"),
        ("//", "not canonical"),
        ("///", "not canonical"),
        ("/admin//", "not canonical"),
        ("/./admin", "not canonical"),
        ("/a/../admin", "not canonical"),
        ("/admin/..", "not canonical"),
        ("/admin/../", "not canonical"),
        ("/admin/.", "not canonical"),
        ("/.", "not canonical"),
        ("/%61dmin", "not canonical"),
        ("/%2e/admin", "not canonical"),
        ("/files/a%2fb", "not canonical"),
        ("/files/a/..%2f../admin", "not canonical"),
        ("/files/a/../../admin", "not canonical"),
        ("/files//a", "not canonical"),
        ("/admin;x", "not canonical"),
        ("/admin;x=1/y", "not canonical"),
        ("/files/..\\admin", "not canonical"),
        ("/admin/", "not canonical"),
        ("/V1/workflows", "not covered"),
        ("/v1/Workflows", "not covered"),
        ("/v1/workflow", "not covered"),
        ("/v1/workflowss", "not covered"),
        ("/v1", "not covered"),
        ("/v1/workflows/7", "/v1/workflows/{id}"),
        ("/v1/workflows/...", "/v1/workflows/{id}"),
        ("/v1/workflows/{id}", "/v1/workflows/{id}"),
        ("/v1/workflows/", "not canonical"),
        ("/v1/workflows/7/", "not canonical"),
        ("/v1/workflows/7/run", "not covered"),
        ("/v1/slash/", "/v1/slash/"),
        ("/v1/slash", "not covered"),
        ("/files/a", "/files/{*rest}"),
        ("/files/a/b/c", "/files/{*rest}"),
        ("/files", "not covered"),
        ("/files/", "not canonical"),
        ("/files/secret", "/files/secret"),
        ("/files/secret/", "not canonical"),
        ("/files/secret/x", "/files/{*rest}"),
        ("*", "not canonical"),
    ] {
        assert_eq!(outcome(&table, "GET", uri), want, "GET {uri}");
    }
    assert_eq!(outcome(&table, "CONNECT", "evil.example:80"), "not canonical");
    assert_eq!(outcome(&table, "OPTIONS", "*"), "not canonical");
}

#[test]
fn r41_head_is_get_and_methods_without_a_rule_are_not_covered() {
    let table = table(&[(Method::GET, "/a"), (Method::POST, "/b"), (Method::OPTIONS, "/b")]);
    for (method, uri, want) in [
        ("GET", "/a", "/a"),
        ("HEAD", "/a", "/a"),
        ("HEAD", "/b", "not covered"),
        ("OPTIONS", "/b", "/b"),
        ("OPTIONS", "/a", "not covered"),
        ("POST", "/a", "not covered"),
        ("get", "/a", "not covered"),
        ("Get", "/a", "not covered"),
        ("head", "/a", "not covered"),
        ("PURGE", "/a", "not covered"),
        ("TRACE", "/a", "not covered"),
        ("CONNECT", "/a", "not covered"),
    ] {
        assert_eq!(outcome(&table, method, uri), want, "{method} {uri}");
    }
    let add = |method| RouteTable::new().add(method, "/a", ()).map(drop);
    assert_eq!(add(Method::HEAD), Err(InvalidRoute::Head));
    assert_eq!(add(Method::TRACE), Err(InvalidRoute::Method(Method::TRACE)));
    assert_eq!(add(Method::CONNECT), Err(InvalidRoute::Method(Method::CONNECT)));
}

#[test]
fn the_most_specific_pattern_wins() {
    let table = table(&[
        (Method::GET, "/users/me"),
        (Method::GET, "/users/:id"),
        (Method::POST, "/users/{id}"),
        (Method::GET, "/users/me/keys/{key}"),
        (Method::GET, "/users/{id}/files/list"),
        (Method::GET, "/{*rest}"),
    ]);
    for (method, uri, want) in [
        ("GET", "/users/me", "/users/me"),
        ("GET", "/users/you", "/users/:id"),
        ("POST", "/users/you", "/users/{id}"),
        ("POST", "/users/me", "not covered"),
        ("GET", "/users/me/keys/1", "/users/me/keys/{key}"),
        ("GET", "/users/me/files/list", "/users/{id}/files/list"),
        ("GET", "/users/me/files/other", "/{*rest}"),
        ("GET", "/users", "/{*rest}"),
        ("GET", "/", "not covered"),
        ("DELETE", "/users", "not covered"),
    ] {
        assert_eq!(outcome(&table, method, uri), want, "{method} {uri}");
    }
}

/// With few siblings a table looks for them in another way than with many.
#[test]
fn every_sibling_is_found_however_many_there_are() {
    for count in [1, 16, 17, 200] {
        let paths: Vec<String> = (0..count).map(|number| format!("/things/t{number}")).collect();
        let routes: Vec<_> = paths.iter().map(|path| (Method::GET, path.as_str())).collect();
        let table = table(&routes);
        for path in &paths {
            assert_eq!(outcome(&table, "GET", path), *path);
        }
        for other in [format!("/things/t{count}"), "/things/t".into(), "/things/u0".into(), "/things".into()]
        {
            assert_eq!(outcome(&table, "GET", &other), "not covered", "{other} of {count}");
        }
    }
}

#[test]
fn malformed_patterns_and_duplicates_are_refused() {
    for pattern in [
        "", "a", "*", "//", "/a//b", "//a", "/a//", "/.", "/a/../b", "/a/./b", "/%61", "/a;b", "/a?b",
        "/a#b", "/a b", "/ä", "/a\\b", "/{}", "/{*}", "/:", "/{a", "/a}", "/{a}b", "/a{b}", "/{{a}}",
        "/{a}{b}", "/{*a}/b", "/{*a}/", "/*", "/*a", "/a*", "/{a/b}", "/{a b}", "/{a*}", "/:a:b", "/{:a}",
    ] {
        let added = RouteTable::new().add(Method::GET, pattern, ()).map(drop);
        assert_eq!(added, Err(InvalidRoute::Pattern(pattern.into())), "{pattern}");
        assert_eq!(RouteTable::<()>::new().nest(pattern).map(drop), added, "{pattern}");
    }
    for (first, second, is_duplicate) in [
        ("/a/{id}", "/a/:key", true),
        ("/a/{*x}", "/a/{*y}", true),
        ("/", "/", true),
        ("/a", "/a/", false),
        ("/a/{id}", "/a/{*x}", false),
        ("/a/{id}", "/a/b", false),
    ] {
        let table = RouteTable::new().add(Method::GET, first, ()).unwrap();
        assert!(table.clone().add(Method::PUT, second, ()).is_ok(), "another method");
        let want = InvalidRoute::Duplicate { method: Method::GET, pattern: second.into() };
        assert_eq!(
            table.add(Method::GET, second, ()).err(),
            is_duplicate.then_some(want),
            "{first} {second}"
        );
    }
}

#[test]
fn a_prefix_goes_before_every_pattern() {
    let inner = || table(&[(Method::GET, "/"), (Method::GET, "/runs/{id}"), (Method::GET, "/x/{*rest}")]);
    let nested = inner().nest("/api").unwrap().nest("/{tenant}/v1").unwrap();
    for (uri, want) in [
        ("/t/v1/api", "/"),
        ("/t/v1/api/runs/7", "/runs/{id}"),
        ("/t/v1/api/x/y/z", "/x/{*rest}"),
        ("/api/runs/7", "not covered"),
        ("/runs/7", "not covered"),
        ("/t/v1/runs/7", "not covered"),
    ] {
        assert_eq!(outcome(&nested, "GET", uri), want, "{uri}");
    }
    let shown = format!("{nested:?}");
    assert!(shown.contains(r#""GET /{tenant}/v1/api": "/""#), "{shown}");
    assert!(shown.contains("GET /{tenant}/v1/api/runs/{id}"), "{shown}");
    assert_eq!(
        outcome(&inner().nest("/").unwrap(), "GET", "/runs/7"),
        "/runs/{id}",
        "the root changes nothing"
    );
    for prefix in ["/api/", "/{*rest}", "/a/{*rest}"] {
        assert_eq!(inner().nest(prefix).err(), Some(InvalidRoute::Prefix(prefix.into())), "{prefix}");
    }
}

#[test]
fn routes_that_no_rule_covers_and_rules_that_no_route_uses() {
    let table = table(&[
        (Method::GET, "/workflows/{id}"),
        (Method::POST, "/workflows"),
        (Method::GET, "/files/{*rest}"),
        (Method::PUT, "/wrokflows"),
    ]);
    let routes = || {
        [
            (Method::GET, "/workflows/{workflow}"),
            (Method::HEAD, "/workflows/{workflow}"),
            (Method::GET, "/workflows/latest"),
            (Method::POST, "/workflows"),
            (Method::DELETE, "/workflows"),
            (Method::GET, "/files/{*path}"),
            (Method::GET, "/files/{year}/{month}"),
            (Method::GET, "/files"),
            (Method::GET, "/{kind}/{id}"),
        ]
    };
    let named = |routes: Vec<Route>| routes.iter().map(ToString::to_string).collect::<Vec<_>>();
    let uncovered = [
        "GET /workflows/latest",
        "DELETE /workflows",
        "GET /files/{year}/{month}",
        "GET /files",
        "GET /{kind}/{id}",
    ];
    assert_eq!(named(table.uncovered(routes())), uncovered);
    assert_eq!(named(table.unused(routes())), ["PUT /wrokflows"]);

    let any = [Route::any_method("/workflows"), Route::any_method("/runs")];
    assert_eq!(named(table.uncovered(any)), ["any method /runs"]);
}

/// Patterns and paths of few letters, so that they often meet.
fn segments(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(of), 0..5)
}

fn joined(segments: &[&str]) -> String {
    if segments.is_empty() { "/".to_owned() } else { format!("/{}", segments.join("/")) }
}

/// How well a pattern matches, segment by segment: literal, parameter, rest; `None` if it does not.
fn naive_match(pattern: &[&str], path: &[&str]) -> Option<Vec<u8>> {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => Some(Vec::new()),
        (Some((&"{*r}", [])), Some(_)) => Some(vec![2]),
        (Some((first, others)), Some((text, further))) => {
            let rank = match *first {
                "{p}" => 1,
                literal if literal == *text => 0,
                _ => return None,
            };
            Some(std::iter::once(rank).chain(naive_match(others, further)?).collect())
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn a_table_finds_what_a_naive_matcher_finds(
        patterns in prop::collection::vec((segments(&["a", "b", "ab", "{p}"]), any::<bool>(), any::<bool>()), 0..12),
        path in segments(&["a", "b", "ab", "c"]),
        post in any::<bool>(),
    ) {
        let method = |post| if post { Method::POST } else { Method::GET };
        let mut table = RouteTable::new();
        let mut rules: Vec<(Method, Vec<&str>)> = Vec::new();
        for (mut pattern, has_rest, post) in patterns {
            if has_rest {
                pattern.push("{*r}");
            }
            let rule = (method(post), pattern);
            let added = table.clone().add(rule.0.clone(), &joined(&rule.1), rules.len());
            prop_assert_eq!(added.is_err(), rules.contains(&rule));
            if let Ok(added) = added {
                table = added;
                rules.push(rule);
            }
        }
        let best = rules.iter().filter_map(|(_, pattern)| naive_match(pattern, &path)).min();
        let want = rules.iter().position(|rule| {
            best.is_some() && rule.0 == method(post) && naive_match(&rule.1, &path) == best
        });
        let request = request(method(post).as_str(), &joined(&path));
        let found = match table.find(RequestView::of(&request)) {
            RouteMatch::Found(rule) => Some(*rule),
            _ => None,
        };
        prop_assert_eq!(found, want);
    }

    #[test]
    fn no_pattern_and_no_path_panics(pattern in "/?[/a{}*:.%;]{0,12}", path in "/[/a{}.;%]{0,12}") {
        if let Ok(table) = RouteTable::new().add(Method::GET, &pattern, "x") {
            let _ = outcome(&table.nest("/a").unwrap(), "GET", &path);
        }
    }
}

#[tokio::test]
async fn r36_what_the_table_does_not_list_is_refused() {
    let table = RouteTable::new()
        .add(Method::GET, "/workflows", requires("workflows:read").into())
        .unwrap()
        .add(Method::GET, "/whoami", Access::AnyKey)
        .unwrap();
    let layer = RequireScopeLayer::by_route(table).unwrap();
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
        let response = answer(&["workflows:*", "runs:*"], &layer, request(method, uri)).await;
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
fn r28_an_empty_table_refuses_to_build() {
    let error: EmptyRouteTable = RequireScopeLayer::by_route(RouteTable::new()).unwrap_err();
    assert_eq!(error.to_string(), "the route table has no rule, so every request would be refused");
}

#[tokio::test]
async fn r39_near_misses_of_a_scope_are_not_the_scope() {
    let layer = RequireScopeLayer::new(requires("workflows:read"));
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
        let response = answer(scopes, &layer, request("GET", "/")).await;
        if passes {
            assert_eq!(response.body(), "handled", "{scopes:?}");
        } else {
            let rejection = response.extensions().get::<Rejection>().unwrap();
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "R65: {scopes:?}");
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
    let all = RequireScopeLayer::new(ScopeRequirement::all_of(both.clone()).unwrap());
    let any = RequireScopeLayer::new(ScopeRequirement::any_of(both).unwrap());
    assert_eq!(answer(&["a:read"], &all, request("GET", "/")).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(answer(&["a:read"], &any, request("GET", "/")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn r42_r44_no_header_has_an_influence() {
    let table = RouteTable::new()
        .add(Method::GET, "/open", Access::AnyKey)
        .unwrap()
        .add(Method::POST, "/closed", requires("admin:write").into())
        .unwrap();
    let layer = RequireScopeLayer::by_route(table).unwrap();
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
            let status = answer(&[], &layer, request).await.status();
            assert_eq!(status, StatusCode::FORBIDDEN, "{name} on {method} {uri}");
        }
    }
}

#[tokio::test]
async fn r46_without_a_principal_nothing_passes() {
    let table = RouteTable::new().add(Method::GET, "/a", Access::AnyKey).unwrap();
    let layers = [RequireScopeLayer::new(requires("a:read")), RequireScopeLayer::by_route(table).unwrap()];
    for layer in layers {
        let response = layer.layer(tower::service_fn(handler)).oneshot(request("GET", "/a")).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(reason(&response).to_string().contains("AuthenticateLayer"), "{}", reason(&response));
        let body = str::from_utf8(response.body()).unwrap();
        assert!(!body.contains("AuthenticateLayer"), "not for the client: {body}");

        let anonymous = authenticate(&[]).await.allow_anonymous();
        for (uri, name) in [("/a", "listed"), ("/unknown", "not listed"), ("//a", "not canonical")] {
            let mut request = request("GET", uri);
            request.headers_mut().clear();
            let service = anonymous.layer(layer.layer(tower::service_fn(handler)));
            let response = service.oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
            assert_eq!(response.headers()["www-authenticate"], r#"ApiKey header="x-api-key""#, "R64: {name}");
            assert!(matches!(reason(&response), Reason::CredentialMissing), "{name}");
        }
    }
}

#[tokio::test]
async fn the_host_chooses_how_refusals_look() {
    let format = |rejection: &Rejection| {
        let mut response = Response::new(Bytes::from(format!("{:?}", rejection.kind())));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    };
    let layer = RequireScopeLayer::new(requires("a:read")).with_rejection_format(format);
    let service = authenticate(&[]).await.layer(layer.layer(tower::service_fn(handler)));
    let response = service.oneshot(request("GET", "/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(response.body(), &format!("{:?}", ErrorKind::Forbidden));
    assert_eq!(response.headers()["cache-control"], "no-store");
}

/// Each request in turn, passed and refused, through one service: a refusal must not keep what readiness reserved.
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
    let table = RouteTable::new().add(Method::GET, "/a", Access::AnyKey).unwrap();
    let layer = RequireScopeLayer::by_route(table).unwrap();
    let outside = ServiceBuilder::new().layer(authenticate(&[]).await).layer(layer);
    drive(outside.clone().concurrency_limit(1).service(tower::service_fn(handler))).await;
    drive(outside.clone().buffer(1).service(tower::service_fn(handler))).await;
    drive(outside.buffer(1).concurrency_limit(1).service(tower::service_fn(handler))).await;
}

#[test]
fn types_are_what_servers_need() {
    fn is_shareable<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn is_sendable<T: Send + Sync>() {}
    is_shareable::<RequireScopeLayer>();
    is_shareable::<Authorize<()>>();
    is_shareable::<Authorize<(), ProblemDetails>>();
    is_shareable::<RouteTable<Access>>();
    is_shareable::<Route>();
    is_shareable::<InvalidRoute>();
    is_shareable::<EmptyRouteTable>();
    is_sendable::<ResponseFuture<(), ()>>();
}

#[test]
fn r40_a_slash_at_the_end_leads_from_a_rest_to_no_other_rule() {
    let table = table(&[(Method::GET, "/admin/{*rest}"), (Method::GET, "/{x}/{y}/")]);
    assert_eq!(outcome(&table, "GET", "/admin/users"), "/admin/{*rest}");
    assert_eq!(outcome(&table, "GET", "/admin/users/"), "not canonical", "routers take it for the first");
    assert_eq!(outcome(&table, "GET", "/home/users/"), "/{x}/{y}/");
}
