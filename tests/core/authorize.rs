//! Route tables and access by route and by scope, through the public API.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, StatusCode};
use proptest::prelude::*;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_api_keys::middleware::{ApiKeysLayer, ApiKeysService, ResponseFuture};
use tower_api_keys::rejection::{ApiError, Check, ErrorKind, ProblemDetails, Reason};
use tower_api_keys::request::RequestView;
use tower_api_keys::route::{Route, RouteMatch, RouteTable};
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

/// A table that maps each pattern to itself.
fn table<'p>(rules: &[(Method, &'p str)]) -> RouteTable<&'p str> {
    rules.iter().fold(RouteTable::new(), |table, &(ref method, pattern)| {
        table.add(method.clone(), pattern, pattern).unwrap()
    })
}

fn outcome<'p>(table: &RouteTable<&'p str>, method: &str, uri: &str) -> &'p str {
    match table.find(RequestView::of(&request(method, uri))) {
        RouteMatch::Found(value) => value,
        RouteMatch::NotCovered => "not covered",
        RouteMatch::NotFound => "not found",
        RouteMatch::PathNotCanonical => "not canonical",
    }
}

#[test]
fn ambiguous_paths_match_nothing() {
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
fn head_is_treated_as_get_and_methods_without_a_rule_are_not_covered() {
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
    let add = |method| RouteTable::new().add(method, "/a", ()).map(drop).unwrap_err().to_string();
    assert_eq!(add(Method::HEAD), "HEAD is treated as GET: write the rule for GET");
    assert_eq!(add(Method::TRACE), "TRACE cannot have a rule: it is always rejected");
    assert_eq!(add(Method::CONNECT), "CONNECT cannot have a rule: it is always rejected");
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

/// A table with few siblings searches them differently from one with many.
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

/// The settings that `build` rejects.
fn settings(builder: ApiKeysBuilder) -> Vec<&'static str> {
    let error = builder.build().err();
    error.iter().flat_map(ConfigError::faults).map(|(setting, _)| setting).collect()
}

#[test]
fn malformed_patterns_and_duplicates_are_errors() {
    for pattern in [
        "", "a", "*", "//", "/a//b", "//a", "/a//", "/.", "/a/../b", "/a/./b", "/%61", "/a;b", "/a?b",
        "/a#b", "/a b", "/ä", "/a\\b", "/{}", "/{*}", "/:", "/{a", "/a}", "/{a}b", "/a{b}", "/{{a}}",
        "/{a}{b}", "/{*a}/b", "/{*a}/", "/*", "/*a", "/a*", "/{a/b}", "/{a b}", "/{a*}", "/:a:b", "/{:a}",
    ] {
        let added = RouteTable::new().add(Method::GET, pattern, ()).map(drop);
        let error = added.clone().unwrap_err().to_string();
        assert!(error.starts_with(&format!("the path pattern {pattern:?} is malformed")), "{error}");
        assert_eq!(RouteTable::<()>::new().nest(pattern).map(drop), added, "{pattern}");
        let route = assembly(MemoryStore::new()).route("GET", pattern, Access::AnyKey);
        assert_eq!(settings(route), ["route"], "{pattern}");
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
        let want = format!("there is a rule for GET {second} already");
        assert_eq!(
            table.add(Method::GET, second, ()).err().map(|error| error.to_string()),
            is_duplicate.then_some(want),
            "{first} {second}"
        );
        let routes = [("GET", first, Access::AnyKey), ("GET", second, Access::AnyKey)];
        let faults: &[&str] = if is_duplicate { &["route"] } else { &[] };
        assert_eq!(settings(assembly(MemoryStore::new()).routes(routes)), faults, "{first} {second}");
    }
}

#[test]
fn a_prefix_is_added_to_every_pattern() {
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
        let error = inner().nest(prefix).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{prefix:?} is not a prefix of path patterns")), "{error}");
        let below = assembly(MemoryStore::new()).route("GET", "/", Access::AnyKey).routes_below(prefix);
        assert_eq!(settings(below), ["routes_below"], "{prefix}");
    }
}

#[test]
fn uncovered_routes_and_unused_rules_are_reported() {
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
    let rules = [
        ("GET", "/workflows/{id}"),
        ("POST", "/workflows"),
        ("GET", "/files/{*rest}"),
        ("PUT", "/wrokflows"),
    ];
    let rules = rules.map(|(method, pattern)| (method, pattern, Access::AnyKey));
    let keys = assembly(MemoryStore::new()).routes(rules).build().unwrap();
    assert_eq!(named(keys.uncovered(routes())), uncovered);
    assert_eq!(named(keys.unused(routes())), ["PUT /wrokflows"]);

    let any = [Route::any_method("/workflows"), Route::any_method("/runs")];
    assert_eq!(named(table.uncovered(any)), ["any method /runs"]);
}

/// Patterns and paths of few letters, so that they often match.
fn segments(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(of), 0..5)
}

fn joined(segments: &[&str]) -> String {
    if segments.is_empty() { "/".to_owned() } else { format!("/{}", segments.join("/")) }
}

/// How specifically a pattern matches, by segment: literal, parameter, rest; `None` if it does not.
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
    is_shareable::<RouteTable<Access>>();
    is_shareable::<Route>();
    is_shareable::<InvalidValue>();
    is_shareable::<ConfigError>();
    is_sendable::<ResponseFuture<Handler, (), ProblemDetails>>();
}

#[test]
fn a_trailing_slash_never_selects_a_less_specific_rule() {
    let table = table(&[(Method::GET, "/admin/{*rest}"), (Method::GET, "/{x}/{y}/")]);
    assert_eq!(outcome(&table, "GET", "/admin/users"), "/admin/{*rest}");
    assert_eq!(outcome(&table, "GET", "/admin/users/"), "not canonical", "routers take it for the first");
    assert_eq!(outcome(&table, "GET", "/home/users/"), "/{x}/{y}/");
}
