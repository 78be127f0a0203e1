//! An axum application: extractors, rules in nested routers, and the lists for its own tests.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, post};
use axum::{Extension, Router};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};
use tower_api_keys::ArgumentRejection;
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::identity::{OrganizationRule, Role, Session, SessionAuthenticator};
use tower_api_keys::key::{Mode, Owner, SecretString};
use tower_api_keys::rejection::{ErrorKind, Reason, Rejection};
use tower_api_keys::route::{Access, Route, RouteMatching};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::StoreError;
use tower_api_keys::{ApiKeys, ApiKeysBuilder, MemoryStore, Principal, Quota, RateLimit};

use crate::support::{KEY, acme, assembly, format, in_own_process, record, rejection, store};

/// Has [`KEY`], as `k1`. Rules are matched by the router's routes.
async fn keys() -> ApiKeysBuilder {
    let record = record(KEY, |key| key.id = "k1".parse().unwrap());
    assembly(store([record]).await).match_routes(RouteMatching::MatchedPath)
}

/// The same for requests with and without a key.
async fn anonymous() -> ApiKeys {
    keys().await.without_route_table().allow_anonymous().build().unwrap()
}

/// The same with rules that accept any key.
async fn ruled(rules: &[(&str, &str)]) -> ApiKeys {
    let add =
        |keys: ApiKeysBuilder, &(method, pattern): &(&str, &str)| keys.route(method, pattern, Access::AnyKey);
    rules.iter().fold(keys().await, add).build().unwrap()
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

fn named(routes: Vec<Route>) -> Vec<String> {
    routes.iter().map(ToString::to_string).collect()
}

async fn whoami(principal: Principal) -> String {
    principal.key_id().to_string()
}

async fn greet(principal: Option<Principal>) -> String {
    principal.map_or("anonymous".to_owned(), |principal| principal.key_id().to_string())
}

fn handlers() -> Router {
    Router::new().route("/whoami", get(whoami)).route("/greet", get(greet))
}

#[tokio::test]
async fn a_principal_is_an_argument() {
    let app = handlers().layer(anonymous().await.authenticate());
    for (uri, key, status, body) in [
        ("/whoami", Some(KEY), 200, "k1"),
        ("/greet", Some(KEY), 200, "k1"),
        ("/greet", None, 200, "anonymous"),
    ] {
        let response = send(&app, "GET", uri, key).await;
        assert_eq!(response.status(), status, "{uri} {key:?}");
        assert_eq!(text(response).await, body, "{uri} {key:?}");
    }
    for uri in ["/whoami", "/greet"] {
        let response = send(&app, "GET", uri, Some("wfk_000000000000000000000000000000000")).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "a bad key is not none: {uri}");
    }
}

#[tokio::test]
async fn an_anonymous_request_is_rejected_as_the_layer_would() {
    let app = handlers().layer(anonymous().await.authenticate());
    let response = send(&app, "GET", "/whoami", None).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["www-authenticate"], r#"ApiKey header="x-api-key""#);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(matches!(rejection(&response).reason(), Reason::CredentialMissing));
}

/// The log output.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Collects the log of this thread from now on.
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

/// The client learns that the server is to blame, and the log names what is missing.
#[test]
fn without_the_layer_the_log_names_it() {
    in_own_process(|| {
        let (log, _guard) = Log::start();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (uri, is_first) in [("/whoami", true), ("/greet", false)] {
            let response = runtime.block_on(send(&handlers(), "GET", uri, Some(KEY)));
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{uri}");
            assert_eq!(response.headers()["content-type"], "application/problem+json", "{uri}");
            assert_eq!(response.headers()["cache-control"], "no-store", "{uri}");
            let body: serde_json::Value = serde_json::from_str(&runtime.block_on(text(response))).unwrap();
            assert_eq!((&body["status"], &body["code"]), (&500.into(), &"misconfigured".into()), "{uri}");
            let log = log.take();
            // Once a second: the other request may come in the next one.
            let is_logged = log.contains("ERROR") && log.contains("`Principal` needs `ApiKeys::layer`");
            assert!(is_logged || !is_first, "{uri}: {log}");
        }
    });
}

/// A session that acts for nobody yet is authenticated: another layer is missing.
#[test]
fn a_session_without_an_organization_is_told_from_a_request_without_a_layer() {
    struct Ada;

    #[async_trait::async_trait]
    impl SessionAuthenticator for Ada {
        async fn authenticate(&self, _: &SecretString) -> Result<Option<Session>, StoreError> {
            let globex = Owner::organization("globex".parse().unwrap(), Mode::Live);
            let ada = Session::new("ada").with_owner(acme(), Role::of_rank(1), ScopeSet::empty());
            Ok(Some(ada.with_owner(globex, Role::of_rank(1), ScopeSet::empty())))
        }
    }

    in_own_process(|| {
        let (log, _guard) = Log::start();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let keys = ApiKeys::builder(MemoryStore::new(), format())
            .bearer()
            .sessions(Ada)
            .organization(OrganizationRule::context().session_cookie("organization"))
            .without_route_table()
            .build()
            .unwrap();
        let app = handlers().nest("/api-keys", keys.key_routes()).layer(keys.authenticate());
        for (uri, status) in [("/whoami", 500), ("/api-keys", 401)] {
            let request =
                Request::get(uri).header("authorization", "Bearer token").body(Body::empty()).unwrap();
            let response = runtime.block_on(app.clone().oneshot(request)).unwrap();
            assert_eq!(response.status(), status, "{uri}");
            let log = log.take();
            assert!(log.contains("ERROR") && log.contains("a session of several owners"), "{uri}: {log}");
            assert!(!log.contains("`authenticate` outside"), "{uri}: {log}");
        }
    });
}

/// Where the router has matched the route, the application forgot its rule. By the path alone, the client may be wrong.
#[test]
fn a_route_without_a_rule_is_an_error_in_the_log_where_the_router_matched_it() {
    in_own_process(|| {
        let (log, _guard) = Log::start();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (matching, level) in [(RouteMatching::Path, " INFO "), (RouteMatching::MatchedPath, "ERROR ")] {
            let stored = runtime.block_on(store([record(KEY, |_| {})]));
            let keys = assembly(stored).match_routes(matching).route("GET", "/other", "a:b").build().unwrap();
            let app = Router::new().route("/forgotten", get(async || "")).layer(keys.layer());
            let response = runtime.block_on(send(&app, "GET", "/forgotten", Some(KEY)));
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{matching:?}");
            let log = log.take();
            assert!(log.contains(level) && log.contains("route_not_covered"), "{matching:?}: {log}");
        }
    });
}

#[tokio::test]
async fn rejections_can_be_inspected() {
    async fn status(principal: Result<Principal, ArgumentRejection>) -> String {
        match principal {
            Err(rejection) if rejection.kind() == ErrorKind::Misconfigured => {
                format!("{} {rejection}", rejection.status())
            }
            Err(rejection) => format!("{} {rejection}", rejection.status().as_u16()),
            Ok(_) => "ok".to_owned(),
        }
    }
    async fn optional(principal: Result<Option<Principal>, ArgumentRejection>) -> String {
        principal.map_or_else(|missing| missing.status().to_string(), |_| "ok".to_owned())
    }
    let bare: Router = Router::new().route("/", get(status)).route("/optional", get(optional));
    let missing =
        "500 Internal Server Error `Principal` needs `ApiKeys::layer` or `authenticate` outside this route";
    assert_eq!(text(send(&bare, "GET", "/", None).await).await, missing);
    assert_eq!(text(send(&bare, "GET", "/optional", None).await).await, "500 Internal Server Error");
    let app = bare.layer(anonymous().await.authenticate());
    assert_eq!(text(send(&app, "GET", "/", None).await).await, "401 no credential was presented");
    assert_eq!(text(send(&app, "GET", "/optional", None).await).await, "ok");
}

#[tokio::test]
async fn extensions_of_an_application_are_not_a_principal() {
    // A principal taken from one request cannot be given to another: the checks read a private type.
    let keys = keys().await.without_route_table().build().unwrap();
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
        .layer(keys.layer());
    assert_eq!(text(send(&app, "GET", "/stolen", Some(KEY)).await).await, "500 Internal Server Error");
}

async fn ok() -> &'static str {
    "ok"
}

/// A service whose routes axum does not know.
fn service() -> MethodRouter {
    any(ok)
}

/// The outcome of a request to `app` under the rules: accepted, rejected, or another response.
async fn verdict(app: &Router, method: &str, uri: &str) -> String {
    let response = send(app, method, uri, Some(KEY)).await;
    match response.extensions().get::<Rejection>() {
        Some(rejection) => format!("{:?}", rejection.reason()),
        None => response.status().as_str().to_owned(),
    }
}

#[tokio::test]
async fn rules_apply_to_the_route_that_the_router_chose() {
    let keys = ruled(&[
        ("GET", "/workflows/{id}"),
        ("GET", "/api/v1/runs/:run"),
        ("GET", "/assets/{*path}"),
        ("GET", "/api/{*rest}"),
        ("GET", "/mounted/keys"),
        ("GET", "/service"),
        ("GET", "/all"),
    ])
    .await;
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
    let guarded = app.layer(keys.layer());
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
        ("GET", "/mounted/other", "RouteNotFound"),
        ("GET", "/mounted//keys", "PathNotCanonical"),
        ("GET", "/mounted/%6beys", "PathNotCanonical"),
        ("GET", "/mounted/x/../keys", "PathNotCanonical"),
        ("GET", "//mounted/keys", "PathNotCanonical"),
        ("GET", "/nothing/like/that", "RouteNotFound"),
        ("GET", "http://evil.example/workflows/7", "200"),
    ] {
        assert_eq!(verdict(&guarded, method, uri).await, want, "{method} {uri}");
    }
}

#[tokio::test]
async fn a_table_inside_a_nested_router_has_full_patterns() {
    // If the prefix is cut off the path, a rule for `/keys` must not be used for `/admin/keys`.
    let keys = ruled(&[
        ("GET", "/keys"),
        ("GET", "/admin/open"),
        ("GET", "/{tenant}/service/open"),
        ("GET", "/{tenant}/service"),
    ])
    .await;
    let rules = keys.authorize();
    let inner =
        Router::new().route("/open", get(ok)).route("/keys", get(ok)).fallback(ok).layer(rules.clone());
    let app: Router = Router::new()
        .nest("/admin", inner)
        .nest_service("/{tenant}/service", rules.layer(service()))
        .nest("/outer/", Router::new().nest_service("/{x}/service", service()).layer(rules))
        .layer(keys.authenticate());
    for (uri, want) in [
        ("/admin/open", "200"),
        ("/admin/keys", "RouteNotCovered"),
        ("/admin/none", "RouteNotFound"),
        ("/t/service/open", "200"),
        ("/t/service", "200"),
        ("/t/service/keys", "RouteNotFound"),
        // The router removes both slashes, so the service sees the same as for `/t/service/open`.
        ("/t/service//open", "200"),
        ("/t/service///open", "PathNotCanonical"),
        ("/outer/t/service/open", "RouteNotFound"),
    ] {
        assert_eq!(verdict(&app, "GET", uri).await, want, "{uri}");
    }
}

#[test]
fn routes_of_all_kinds_have_a_text() {
    for (route, want) in [
        ((Method::GET, "/").into(), "GET /"),
        ((Method::POST, "/nested/twice/{id}").into(), "POST /nested/twice/{id}"),
        ((Method::GET, r#"/odd/"quoted"/{{braces}}"#).into(), r#"GET /odd/"quoted"/{{braces}}"#),
        (Route::any_method("/rest/{*path}"), "any method /rest/{*path}"),
        (Route::mount("/inner/mount"), "any method /inner/mount and below"),
    ] {
        assert_eq!(route.to_string(), want);
    }
}

#[tokio::test]
async fn a_forgotten_route_and_an_unused_rule_are_listed() {
    let routes = || {
        let mut routes: Vec<Route> = vec![
            (Method::GET, "/runs").into(),
            (Method::POST, "/runs").into(),
            (Method::GET, "/runs/{id}").into(),
        ];
        routes.extend(["/any", "/any-forgotten"].map(Route::any_method));
        routes.extend(["/mount", "/rest/mount", "/mount-forgotten"].map(Route::mount));
        routes
    };
    let keys = ruled(&[
        ("GET", "/runs"),
        ("GET", "/runs/{run}"),
        ("DELETE", "/runs/{run}"),
        ("POST", "/any"),
        ("GET", "/mount/keys"),
        ("GET", "/rest/{*rest}"),
        ("POST", "/rnus"),
    ])
    .await;
    let uncovered = ["POST /runs", "any method /any-forgotten", "any method /mount-forgotten and below"];
    assert_eq!(named(keys.uncovered(routes())), uncovered);
    assert_eq!(named(keys.unused(routes())), ["DELETE /runs/{run}", "POST /rnus"]);
}

/// The requests that pass the layer without a key.
async fn unguarded<'p>(app: &Router, requests: &[(&str, &'p str)]) -> Vec<&'p str> {
    let mut unguarded = Vec::new();
    for (method, path) in requests {
        let response = send(app, method, path, None).await;
        if response.extensions().get::<Rejection>().is_none() {
            unguarded.push(*path);
        } else {
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        }
    }
    unguarded
}

#[tokio::test]
async fn a_rule_with_a_parameter_does_not_cover_a_literal_brace() {
    let keys = keys().await.match_routes(RouteMatching::MatchedPath).route("GET", "/{id}", Access::AnyKey);
    let keys = keys.build().unwrap();
    let app: Router = Router::new().route("/{id}", get(ok)).route("/{{b}}", get(ok)).layer(keys.layer());
    for (uri, status) in [("/1", StatusCode::OK), ("/{b}", StatusCode::FORBIDDEN)] {
        assert_eq!(send(&app, "GET", uri, Some(KEY)).await.status(), status, "{uri}");
    }
}

#[tokio::test]
async fn routes_added_after_the_layer_are_outside_of_it() {
    let keys = ruled(&[("GET", "/a/{id}")]).await;
    let guarded: Router = Router::new()
        .route("/a/{id}", get(ok).post(ok))
        .route("/{{b}}/x{c}", get(ok))
        .nest_service("/mount", service())
        .fallback(ok)
        .layer(keys.layer());
    let requests =
        [("GET", "/a/1"), ("POST", "/a/1"), ("GET", "/%7Bb%7D/xc"), ("GET", "/mount/x"), ("GET", "/none")];
    assert_eq!(unguarded(&guarded, &requests).await, [""; 0]);

    let accepting: Router = handlers().layer(anonymous().await.authenticate());
    assert_eq!(unguarded(&accepting, &[("GET", "/greet"), ("GET", "/whoami")]).await, ["/greet"]);

    let with_uploads = guarded
        .merge(Router::new().route("/uploads/{id}", post(ok)))
        .nest("/late", Router::new().route("/{*rest}", any(ok)).fallback(ok))
        .nest_service("/late-mount", service());
    let late = [("GET", "/late-mount/x"), ("GET", "/late/x"), ("POST", "/uploads/1"), ("GET", "/late")];
    let all: Vec<_> = requests.into_iter().chain(late).collect();
    assert_eq!(unguarded(&with_uploads, &all).await, late.map(|(_, path)| path));

    let route_layer: Router = Router::new().route("/a/{id}", get(ok)).fallback(ok).route_layer(keys.layer());
    assert_eq!(unguarded(&route_layer, &[("GET", "/a/1"), ("GET", "/none")]).await, ["/none"]);

    // A limit by address is no authentication, whether or not it is used up.
    for (limit, want) in [(9, [200, 200]), (1, [200, 429])] {
        let quota = Quota::per_minute(limit).unwrap();
        let keys = assembly(MemoryStore::new())
            .client_address(ClientAddressSource::peer())
            .limit(RateLimit::per_address("address", quota))
            .without_route_table();
        let limits = keys.build().unwrap().limit_addresses();
        let app = Router::new().route("/a", get(ok)).route("/b", get(ok)).layer(limits).layer(
            axum::middleware::map_request(|mut request: Request<Body>| async {
                request.extensions_mut().insert(PeerAddress([192, 0, 2, 1].into()));
                request
            }),
        );
        let mut statuses = Vec::new();
        for path in ["/a", "/b"] {
            statuses.push(send(&app, "GET", path, None).await.status().as_u16());
        }
        assert_eq!(statuses, want, "{limit}");
    }
}

#[tokio::test]
async fn the_matched_path_is_the_one_of_axum() {
    // The tests above rely on this: nested services have no matched path.
    let app: Router = Router::new().nest(
        "/a/{x}",
        Router::new().route("/b/{y}", get(async |path: MatchedPath| path.as_str().to_owned())),
    );
    assert_eq!(text(send(&app, "GET", "/a/1/b/2", None).await).await, "/a/{x}/b/{y}");
}

#[tokio::test]
async fn rejections_reveal_no_methods_to_unauthenticated_clients() {
    let keys = keys().await.without_route_table().build().unwrap();
    let app = handlers().fallback(ok).layer(keys.layer());
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
            assert_eq!(answers[0], answers[1], "{method}, {kind}: an existing route is distinguishable");
        }
    }
    let response = send(&app, "POST", "/whoami", Some(KEY)).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"GET,HEAD".parse().unwrap())
    );
}
