//! What a host that uses axum sees: extractors, tables in nested routers, and the lists for its own tests.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::num::NonZeroUsize;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, post};
use axum::{Extension, Router};
use http::{HeaderName, Method, Request, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};
use tower::{Layer, ServiceExt};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::authorize::RequireScopeLayer;
use tower_api_keys::axum::{LayerMissing, PrincipalRejection, routes, unguarded};
use tower_api_keys::clock::Timestamp;
use tower_api_keys::credential::HeaderKey;
use tower_api_keys::key::{KeyFormat, KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::limit::{MemoryRateLimiter, Quota, RateLimitLayer};
use tower_api_keys::rejection::{Reason, Rejection};
use tower_api_keys::request::RequestView;
use tower_api_keys::route::Access;
use tower_api_keys::route::{Route, RouteMatch, RouteTable};
use tower_api_keys::store::{KeyAdministration, MemoryStore};
use tower_api_keys::{AuthenticateLayer, Principal};

const KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";

async fn authenticate() -> AuthenticateLayer {
    let store = MemoryStore::new();
    let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
    let created = Timestamp::from_unix_seconds(0);
    let record = KeyRecord::new("k1".parse().unwrap(), owner, Peppers::none().digest(KEY), created);
    store.insert(record).await.unwrap();
    let format = KeyFormat::new("wfk_").unwrap();
    AuthenticateLayer::new(store, HeaderKey::new(HeaderName::from_static("x-api-key"), format))
}

async fn send(app: &Router, method: &str, uri: &str, key: Option<&str>) -> Response {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = uri.parse().unwrap();
    if let Some(key) = key {
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
    }
    app.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn table(rules: &[(Method, &str)]) -> RouteTable<Access> {
    rules.iter().fold(RouteTable::new(), |table, &(ref method, pattern)| {
        table.add(method.clone(), pattern, Access::AnyKey).unwrap()
    })
}

fn layer(rules: &[(Method, &str)]) -> RequireScopeLayer {
    RequireScopeLayer::by_route(table(rules)).unwrap()
}

fn named(routes: Vec<Route>) -> Vec<String> {
    routes.iter().map(ToString::to_string).collect()
}

async fn whoami(principal: Principal) -> String {
    principal.key_id().to_string()
}

async fn greet(principal: Option<Principal>) -> String {
    principal.map_or("nobody".to_owned(), |principal| principal.key_id().to_string())
}

fn handlers() -> Router {
    Router::new().route("/whoami", get(whoami)).route("/greet", get(greet))
}

#[tokio::test]
async fn a_principal_is_an_argument() {
    let app = handlers().layer(authenticate().await.allow_anonymous());
    for (uri, key, status, body) in
        [("/whoami", Some(KEY), 200, "k1"), ("/greet", Some(KEY), 200, "k1"), ("/greet", None, 200, "nobody")]
    {
        let response = send(&app, "GET", uri, key).await;
        assert_eq!(response.status(), status, "{uri} {key:?}");
        assert_eq!(text(response).await, body, "{uri} {key:?}");
    }
    for uri in ["/whoami", "/greet"] {
        let response = send(&app, "GET", uri, Some("wfk_000000000000000000000000000000000")).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "a bad key is not nobody: {uri}");
    }
}

#[tokio::test]
async fn nobody_is_refused_as_the_layer_would() {
    let app = handlers().layer(authenticate().await.allow_anonymous());
    let response = send(&app, "GET", "/whoami", None).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["www-authenticate"], r#"ApiKey header="x-api-key""#, "R64");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert!(matches!(rejection.reason(), Reason::CredentialMissing));
}

#[tokio::test]
async fn without_the_layer_the_answer_names_it() {
    for uri in ["/whoami", "/greet"] {
        let response = send(&handlers(), "GET", uri, Some(KEY)).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{uri}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{uri}");
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert!(rejection.reason().to_string().contains("AuthenticateLayer"), "{uri}");
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["status"], 500, "{uri}");
        assert_eq!(body["detail"], "Principal needs AuthenticateLayer outside this route", "{uri}");
    }
}

#[tokio::test]
async fn rejections_can_be_taken_apart() {
    async fn status(principal: Result<Principal, PrincipalRejection>) -> String {
        match principal {
            Err(rejection @ PrincipalRejection::Misconfigured(_)) => {
                format!("{} {rejection}", rejection.status())
            }
            Err(rejection) => format!("{} {rejection}", rejection.status().as_u16()),
            Ok(_) => "ok".to_owned(),
        }
    }
    async fn optional(principal: Result<Option<Principal>, LayerMissing>) -> String {
        principal.map_or_else(|missing| missing.status().to_string(), |_| "ok".to_owned())
    }
    let bare: Router = Router::new().route("/", get(status)).route("/optional", get(optional));
    let missing = "500 Internal Server Error Principal needs AuthenticateLayer outside this route";
    assert_eq!(text(send(&bare, "GET", "/", None).await).await, missing);
    assert_eq!(text(send(&bare, "GET", "/optional", None).await).await, "500 Internal Server Error");
    let app = bare.layer(authenticate().await.allow_anonymous());
    assert_eq!(text(send(&app, "GET", "/", None).await).await, "401 no credential was presented");
    assert_eq!(text(send(&app, "GET", "/optional", None).await).await, "ok");
}

#[tokio::test]
async fn r46_what_a_host_puts_into_the_extensions_is_no_principal() {
    // A principal taken from one request can't be given to another: what is read is a private type.
    let app = Router::new()
        .route(
            "/stolen",
            get(async |Extension(principal): Extension<Option<Principal>>| {
                let mut request = Request::new(Body::empty());
                *request.uri_mut() = "/whoami".parse().unwrap();
                request.extensions_mut().insert(principal.clone());
                request.extensions_mut().insert(principal.unwrap());
                handlers().oneshot(request).await.unwrap().status().to_string()
            }),
        )
        .layer(axum::middleware::map_request(async |mut request: Request<Body>| {
            let principal = Principal::from_extensions(request.extensions()).cloned();
            request.extensions_mut().insert(principal);
            request
        }))
        .layer(authenticate().await);
    assert_eq!(text(send(&app, "GET", "/stolen", Some(KEY)).await).await, "500 Internal Server Error");
}

async fn ok() -> &'static str {
    "ok"
}

/// A service of which axum knows no routes.
fn service() -> MethodRouter {
    any(ok)
}

/// What the table says about a request to `app`: let through, refused, or another answer.
async fn verdict(app: &Router, method: &str, uri: &str) -> String {
    let response = send(app, method, uri, Some(KEY)).await;
    match response.extensions().get::<Rejection>() {
        Some(rejection) => format!("{:?}", rejection.reason()),
        None => response.status().as_str().to_owned(),
    }
}

#[tokio::test]
async fn r40_rules_bind_to_the_route_that_the_router_chose() {
    let rules = layer(&[
        (Method::GET, "/workflows/{id}"),
        (Method::GET, "/api/v1/runs/:run"),
        (Method::GET, "/assets/{*path}"),
        (Method::GET, "/api/{*rest}"),
        (Method::GET, "/mounted/keys"),
        (Method::GET, "/service"),
        (Method::GET, "/all"),
    ]);
    let runs =
        || Router::new().route("/runs/{id}", get(ok)).route("/runs/latest", get(ok)).route("/runs", get(ok));
    let app = Router::new()
        .route("/workflows/{workflow_id}", get(ok).post(ok))
        .route("/workflows/literal", get(ok))
        .route("/{a}/{b}", get(ok))
        .nest("/api", Router::new().nest("/v1", runs()))
        .nest("/other", runs())
        .nest_service("/mounted", service())
        .route_service("/assets/{*rest}", service())
        .route_service("/service", service())
        .route("/all", any(ok))
        .merge(Router::new().route("/merged", get(ok)))
        .fallback(ok);
    let guarded = app.layer(rules).layer(authenticate().await);
    for (method, uri, want) in [
        ("GET", "/workflows/7", "200"),
        ("HEAD", "/workflows/7", "200"),
        ("GET", "/workflows/a%2fb", "200"),
        ("GET", "/workflows/;x", "200"),
        ("POST", "/workflows/7", "RouteNotCovered"),
        ("DELETE", "/workflows/7", "RouteNotCovered"),
        ("get", "/workflows/7", "RouteNotCovered"),
        ("CONNECT", "/all", "RouteNotCovered"),
        ("GET", "/workflows/literal", "RouteNotCovered"),
        ("GET", "/workflow/7", "RouteNotCovered"),
        ("GET", "/api/v1/runs/7", "200"),
        ("GET", "/api/v1/runs/latest", "RouteNotCovered"),
        ("GET", "/api/v1/runs", "RouteNotCovered"),
        ("GET", "/other/runs/7", "RouteNotCovered"),
        ("GET", "/runs/7", "RouteNotCovered"),
        ("GET", "/assets/a/b", "200"),
        ("GET", "/assets/..%2fb", "200"),
        ("POST", "/assets/a", "RouteNotCovered"),
        ("GET", "/service", "200"),
        ("POST", "/service", "RouteNotCovered"),
        ("GET", "/all", "200"),
        ("PUT", "/all", "RouteNotCovered"),
        ("GET", "/merged", "RouteNotCovered"),
        ("GET", "/mounted/keys", "200"),
        ("GET", "/mounted", "RouteNotCovered"),
        ("GET", "/mounted/other", "RouteNotCovered"),
        ("GET", "/mounted//keys", "PathNotCanonical"),
        ("GET", "/mounted/%6beys", "PathNotCanonical"),
        ("GET", "/mounted/x/../keys", "PathNotCanonical"),
        ("GET", "//mounted/keys", "PathNotCanonical"),
        ("GET", "/nothing/like/that", "RouteNotCovered"),
        ("GET", "http://evil.example/workflows/7", "200"),
    ] {
        assert_eq!(verdict(&guarded, method, uri).await, want, "{method} {uri}");
    }
}

#[tokio::test]
async fn a_table_inside_a_nested_router_has_full_patterns() {
    // Where the prefix is cut off the path, a rule for `/keys` must not be taken for one for `/admin/keys`.
    let rules = layer(&[
        (Method::GET, "/keys"),
        (Method::GET, "/admin/open"),
        (Method::GET, "/{tenant}/service/open"),
        (Method::GET, "/{tenant}/service"),
    ]);
    let inner =
        Router::new().route("/open", get(ok)).route("/keys", get(ok)).fallback(ok).layer(rules.clone());
    let app: Router = Router::new()
        .nest("/admin", inner)
        .nest_service("/{tenant}/service", rules.layer(service()))
        .nest("/outer/", Router::new().nest_service("/{x}/service", service()).layer(rules))
        .layer(authenticate().await);
    for (uri, want) in [
        ("/admin/open", "200"),
        ("/admin/keys", "RouteNotCovered"),
        ("/admin/none", "RouteNotCovered"),
        ("/t/service/open", "200"),
        ("/t/service", "200"),
        ("/t/service/keys", "RouteNotCovered"),
        // The router cuts both slashes off, so the service sees what it sees of `/t/service/open`.
        ("/t/service//open", "200"),
        ("/t/service///open", "PathNotCanonical"),
        ("/outer/t/service/open", "RouteNotCovered"),
    ] {
        assert_eq!(verdict(&app, "GET", uri).await, want, "{uri}");
    }
}

#[tokio::test]
async fn r36_every_route_of_a_router_is_listed() {
    let app: Router<u8> = Router::new()
        .route("/", get(ok))
        .route("/a/{id}", get(ok).post(ok))
        .route("/head", axum::routing::head(ok))
        .route("/any", any(ok))
        .route("/both", get(ok).merge(any(ok)))
        .route("/fallback", get(ok).fallback(ok))
        .route("/only-fallback", MethodRouter::new().fallback(ok))
        .route(r#"/odd/"quoted"/{{braces}}"#, get(ok))
        .route_service("/service", service())
        .route_service("/rest/{*path}", service())
        .nest(
            "/nested",
            Router::new().route("/", get(ok)).nest("/twice", Router::new().route("/{id}", post(ok))),
        )
        .nest("/inner", Router::new().nest_service("/mount", service()))
        .nest_service("/mount", service())
        .merge(Router::new().route("/merged", get(ok)).layer(tower::layer::util::Identity::new()))
        .fallback(ok);
    let want = [
        "GET /",
        "GET /a/{id}",
        "POST /a/{id}",
        "any method /any",
        "any method /both",
        "GET /fallback",
        "HEAD /head",
        "any method /inner/mount and below",
        "GET /merged",
        "any method /mount and below",
        "GET /nested",
        "POST /nested/twice/{id}",
        r#"GET /odd/"quoted"/{{braces}}"#,
        "any method /only-fallback",
        "any method /rest/{*path}",
        "any method /service",
    ];
    assert_eq!(named(routes(&app).unwrap()), want);
    let app: Router = app.with_state(7).layer(tower::layer::util::Identity::new());
    assert_eq!(named(routes(&app).unwrap()), want, "with state and a layer");
    assert_eq!(named(routes(&Router::<()>::new()).unwrap()), [""; 0]);
}

#[tokio::test]
async fn r36_a_forgotten_route_and_a_dead_rule_are_named() {
    let app: Router = Router::new()
        .route("/runs", get(ok).post(ok))
        .route("/runs/{id}", get(ok))
        .route("/any", any(ok))
        .route("/any-forgotten", any(ok))
        .nest_service("/mount", service())
        .nest_service("/rest/mount", service())
        .nest_service("/mount-forgotten", service())
        .fallback(ok);
    let table = table(&[
        (Method::GET, "/runs"),
        (Method::GET, "/runs/{run}"),
        (Method::DELETE, "/runs/{run}"),
        (Method::POST, "/any"),
        (Method::GET, "/mount/keys"),
        (Method::GET, "/rest/{*rest}"),
        (Method::POST, "/rnus"),
    ]);
    let uncovered = ["any method /any-forgotten", "any method /mount-forgotten and below", "POST /runs"];
    assert_eq!(named(table.uncovered(routes(&app).unwrap())), uncovered);
    assert_eq!(named(table.unused(routes(&app).unwrap())), ["DELETE /runs/{run}", "POST /rnus"]);
}

#[tokio::test]
async fn routes_added_after_the_layer_are_named() {
    let rules = layer(&[(Method::GET, "/a/{id}")]);
    let guarded: Router = Router::new()
        .route("/a/{id}", get(ok).post(ok))
        .route("/{{b}}/x{c}", get(ok))
        .nest_service("/mount", service())
        .fallback(ok)
        .layer(rules)
        .layer(authenticate().await);
    assert_eq!(named(unguarded(&guarded).await.unwrap()), [""; 0]);

    let anonymous: Router = handlers().layer(authenticate().await.allow_anonymous());
    assert_eq!(named(unguarded(&anonymous).await.unwrap()), ["GET /greet"]);

    let with_uploads = guarded
        .merge(Router::new().route("/uploads/{id}", post(ok)))
        .nest("/late", Router::new().route("/{*rest}", any(ok)).fallback(ok))
        .nest_service("/late-mount", service());
    let want = [
        "any method /late-mount and below",
        "any method /late/{*rest}",
        "POST /uploads/{id}",
        "any method /late/{*__private__axum_fallback}",
    ];
    assert_eq!(named(unguarded(&with_uploads).await.unwrap()), want);

    let route_layer: Router =
        Router::new().route("/a", get(ok)).fallback(ok).route_layer(authenticate().await);
    assert_eq!(named(unguarded(&route_layer).await.unwrap()), ["any method /{*__private__axum_fallback}"]);

    let limited = |limit| {
        let limiter = MemoryRateLimiter::builder("address", Quota::per_minute(limit).unwrap()).build();
        let by_address = RateLimitLayer::by_client_address(ClientAddressSource::peer(), limiter);
        Router::new().route("/a", get(ok)).route("/b", get(ok)).layer(by_address)
    };
    assert_eq!(named(unguarded(&limited(1)).await.unwrap()), ["GET /a", "GET /b"]);
    let nothing_left = limited(1).layer(axum::middleware::map_request(|mut request: Request<Body>| async {
        request.extensions_mut().insert(PeerAddress([192, 0, 2, 1].into()));
        request
    }));
    assert_eq!(named(unguarded(&nothing_left).await.unwrap()), ["GET /a", "GET /b"]);

    let no_path: Router = Router::new().route("/a b", get(ok));
    assert!(unguarded(&no_path).await.unwrap_err().to_string().contains("/a b"));
}

#[tokio::test]
async fn the_matched_path_is_what_axum_says_it_is() {
    // The tests above rest on this: nested services leave none.
    let app: Router = Router::new().nest(
        "/a/{x}",
        Router::new().route("/b/{y}", get(async |path: MatchedPath| path.as_str().to_owned())),
    );
    assert_eq!(text(send(&app, "GET", "/a/1/b/2", None).await).await, "/a/{x}/b/{y}");
}

#[tokio::test]
async fn r71_refusals_tell_strangers_no_methods_of_a_route() {
    let app = handlers().fallback(ok).layer(authenticate().await);
    let other = KEY.replace('1', "2");
    for method in ["GET", "POST", "OPTIONS", "TRACE", "PURGE"] {
        for (kind, keys) in [("none", vec![]), ("unknown", vec![other.as_str()]), ("two", vec![KEY, KEY])] {
            let mut answers = Vec::new();
            for path in ["/whoami", "/no/such/path"] {
                let mut request = Request::builder().method(method).uri(path);
                for key in &keys {
                    request = request.header("x-api-key", *key);
                }
                let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
                answers.push((response.status(), response.headers().clone()));
            }
            assert!(answers[0].0.is_client_error(), "{method}, {kind}");
            assert_eq!(answers[0], answers[1], "{method}, {kind}: a route is told from none");
        }
    }
    let response = send(&app, "POST", "/whoami", Some(KEY)).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"GET,HEAD".parse().unwrap())
    );
}

const PATTERNS: [&str; 12] = [
    "/",
    "/a",
    "/a/",
    "/b",
    "/{x}",
    "/a/b",
    "/a/{x}",
    "/{x}/b",
    "/{x}/{y}/",
    "/a/b/{*rest}",
    "/b/{*rest}",
    "/{x}/{y}/{*rest}",
];

proptest! {
    /// Whatever handler a router chooses, the table judges by the rule of that handler's route, or not at all; inside
    /// of the router by the route it chose, outside by the path. And its rate limit is the one of that route.
    #[test]
    fn r40_router_and_table_never_choose_different_routes(
        chosen in prop::collection::vec(prop::bool::ANY, PATTERNS.len()),
        paths in prop::collection::vec("(/(a|b|c|%61|a;b|\\.|\\.\\.|)){1,4}/?", 20),
    ) {
        let patterns = PATTERNS.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(pattern, _)| pattern);
        let (mut app, mut table) = (Router::<()>::new(), RouteTable::new());
        // Each route has a category of its own, told by its limit.
        let limiter = |limit: usize| {
            let quota = Quota::per_minute(limit as u32).unwrap();
            MemoryRateLimiter::builder("route", quota).capacity(NonZeroUsize::MIN).build()
        };
        let mut limits = RateLimitLayer::by_client_address(ClientAddressSource::peer(), limiter(999));
        for pattern in patterns {
            let says = move || async move { pattern };
            app = app.route(pattern, get(says));
            table = table.add(Method::GET, pattern, pattern).unwrap();
            let index = PATTERNS.iter().position(|other| *other == pattern).unwrap();
            limits = limits.with_route(Method::GET, pattern, limiter(100 + index)).unwrap();
        }
        let inner = table.clone();
        let judge = axum::middleware::from_fn(move |request: axum::extract::Request, next: axum::middleware::Next| {
            let rule = match inner.find(RequestView::of(&request)) {
                RouteMatch::Found(rule) => *rule,
                _ => "none",
            };
            async move {
                let mut response = next.run(request).await;
                response.extensions_mut().insert(rule);
                response
            }
        });
        let app = limits.layer(app.layer(judge));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for path in paths {
            let mut request = Request::get(path.as_str()).body(Body::empty()).unwrap();
            request.extensions_mut().insert(PeerAddress([203, 0, 113, 9].into()));
            let outside = table.find(RequestView::of(&request));
            let response = runtime.block_on(app.clone().oneshot(request)).unwrap();
            let inside = response.extensions().get::<&'static str>().copied();
            let limit: usize = response.headers()["x-ratelimit-limit"].to_str().unwrap().parse().unwrap();
            let is_served = response.status() == StatusCode::OK;
            let served = runtime.block_on(text(response));
            if is_served {
                prop_assert_eq!(inside, Some(served.as_str()), "{}", &path);
                let category = limit.checked_sub(100).and_then(|index| PATTERNS.get(index).copied());
                prop_assert_eq!(category, Some(served.as_str()), "{}: the limit", &path);
            }
            if let RouteMatch::Found(rule) = outside {
                prop_assert!(!is_served || *rule == served, "{}: {} is judged by {}", path, served, rule);
            }
        }
    }
}
