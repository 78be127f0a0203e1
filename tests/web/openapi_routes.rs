//! The operations of the crate's own routes in a document, compared with real answers; and probes of applications.

use std::collections::BTreeSet;
use std::path::Path;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::routing::get;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_keys::address::PeerAddress;
use tower_api_keys::key::{Mode, Owner};
use tower_api_keys::manage::KeyAction;
use tower_api_keys::openapi::{Drift, OwnRoutes, Probe};
use tower_api_keys::presets::justpaid::justpaid;
use tower_api_keys::{Access, ApiKeys, Authority, ErrorFormat, MemoryStore, NewKey, Quota, RateLimit};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::{InfoBuilder, OpenApiBuilder, PathsBuilder, ResponseBuilder};

use crate::openapi::{credential, document, document_of, keep};
use crate::openapi_responses::is_valid;
use crate::support::assembly;

fn plain() -> ApiKeys {
    assembly(MemoryStore::new())
        .limit(RateLimit::per_key("all", Quota::per_minute(1000).unwrap()))
        .key_routes("/api-keys", |action| match action {
            KeyAction::Read => "api-keys:read",
            _ => "api-keys:write",
        })
        .route("GET", "/whoami", Access::AnyKey)
        .route("GET", "/limits", Access::AnyKey)
        .route("GET", "/health", "operations:read")
        .route("GET", "/usage", "api-keys:read")
        .count_usage()
        .build()
        .unwrap()
}

/// A document of routes of ours, and an application that serves them.
struct Served {
    document: Value,
    app: Router,
    key: String,
}

impl Served {
    async fn new<F: ErrorFormat<Body> + ErrorFormat<bytes::Bytes>>(
        keys: &ApiKeys<F>,
        app: Router,
        routes: &[(OwnRoutes, &str)],
    ) -> Self {
        let mut document = document([]);
        for (routes, path) in routes {
            keys.openapi_routes(&mut document, *routes, path).unwrap();
        }
        keys.openapi(&mut document).unwrap();
        let scopes = keys.scopes().iter().map(|known| known.scope.as_str());
        let made = keys.manager().create_for("acme", NewKey::new("Administrator").scopes(scopes)).await;
        let key = made.unwrap().secret.expose_secret().to_owned();
        Self { document, app: app.layer(keys.layer()), key }
    }

    /// Sends a request, and checks its answer by what the document says of `path`.
    async fn call(&self, method: &str, path: &str, uri: &str, body: Value, status: u16) -> Value {
        self.call_with(method, path, uri, body, status, &[]).await
    }

    async fn call_with(
        &self,
        method: &str,
        path: &str,
        uri: &str,
        body: Value,
        status: u16,
        fields: &[(&str, &str)],
    ) -> Value {
        let mut request = Request::builder().method(method).uri(uri).header("x-api-key", &self.key);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.header("content-type", "application/json").body(Body::from(text)).unwrap();
        let case = format!("{method} {uri} {body}");
        let response = self.app.clone().oneshot(with_peer(request)).await.unwrap();
        let (found, fields) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(found, status, "{case}: {body}");
        let escaped = path.replace('/', "~1");
        let mut at = format!("/paths/{escaped}/{}/responses/{status}", method.to_lowercase());
        let documented = self.document.pointer(&at).unwrap_or_else(|| panic!("{case}: {status}"));
        if let Some(reference) = documented["$ref"].as_str() {
            at = reference[1..].to_owned();
        }
        let documented = self.document.pointer(&at).unwrap();
        for name in fields.keys().filter(|name| name.as_str().starts_with("x-rate") || *name == "etag") {
            let headers = documented["headers"].as_object().unwrap();
            assert!(headers.keys().any(|other| other.eq_ignore_ascii_case(name.as_str())), "{case}: {name}");
        }
        let content_type = fields["content-type"].to_str().unwrap().replace('/', "~1");
        let schema = format!("{at}/content/{content_type}/schema").replace('{', "%7B").replace('}', "%7D");
        is_valid(&self.document, &schema, &body).unwrap_or_else(|error| panic!("{case}: {error}: {body}"));
        body
    }
}

fn with_peer(mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(PeerAddress("192.0.2.7".parse().unwrap()));
    request
}

#[tokio::test]
async fn the_key_routes_answer_as_their_document_says() {
    let keys = plain();
    let app = Router::new()
        .nest("/api-keys", keys.key_routes())
        .route("/whoami", keys.whoami_route())
        .route("/limits", keys.limits_route())
        .route("/health", keys.health_route())
        .route("/usage", keys.usage_route());
    let routes = [
        (OwnRoutes::Keys, "/api-keys"),
        (OwnRoutes::Whoami, "/whoami"),
        (OwnRoutes::Limits, "/limits"),
        (OwnRoutes::Health, "/health"),
        (OwnRoutes::Usage, "/usage"),
    ];
    let served = Served::new(&keys, app, &routes).await;
    assert_eq!(keys.openapi_drift(&served.document).unwrap(), []);

    let (all, one) = ("/api-keys", "/api-keys/{key_id}");
    let new = json!({ "name": "CI", "scopes": ["api-keys:read"],
        "allowedAddresses": ["192.0.2.0/24"], "expiresAt": "2099-01-01T00:00:00Z" });
    let none = Value::Null;
    let made = served.call("POST", all, all, new.clone(), 201).await;
    served.call("POST", all, all, new.clone(), 201).await;
    served.call("POST", all, all, json!({ "name": "", "scopes": 7 }), 400).await;
    served.call("POST", all, all, json!({ "name": "x", "scopes": ["other:read"] }), 403).await;
    served.call("GET", all, all, none.clone(), 200).await;
    let page = served.call("GET", all, "/api-keys?limit=1", none.clone(), 200).await;
    assert!(page["nextCursor"].is_string(), "{page}");
    served.call("GET", all, "/api-keys?status=best", none.clone(), 400).await;
    let id = made["id"].as_str().unwrap();
    let uri = format!("/api-keys/{id}");
    served.call("GET", one, &uri, none.clone(), 200).await;
    served.call("GET", one, "/api-keys/unknown1", none.clone(), 404).await;
    served.call("PATCH", one, &uri, json!({ "name": "Nightly" }), 200).await;
    served.call("PATCH", one, &uri, json!({ "secret": 7 }), 400).await;
    let tag = [("if-match", "\"0\"")];
    served.call_with("PATCH", one, &uri, json!({ "name": "Late" }), 412, &tag).await;
    let at = |verb: &str| format!("{one}/{verb}");
    served.call("POST", &at("rotate"), &format!("{uri}/rotate"), none.clone(), 200).await;
    let long = json!({ "graceHours": 1000 });
    served.call("POST", &at("rotate"), &format!("{uri}/rotate"), long, 400).await;
    served.call("GET", &at("history"), &format!("{uri}/history"), none.clone(), 200).await;
    served.call("GET", &at("history"), &format!("{uri}/history?limit=1"), none.clone(), 200).await;
    served.call("POST", &at("revoke"), &format!("{uri}/revoke?descendants=true"), none.clone(), 200).await;
    served.call("POST", &at("revoke"), &format!("{uri}/revoke"), none.clone(), 404).await;
    served.call("DELETE", one, &uri, none.clone(), 200).await;
    for path in ["/whoami", "/limits", "/health"] {
        served.call("GET", path, path, none.clone(), 200).await;
    }
    keys.flush().await.unwrap();
    let usage = "/usage";
    for group in ["key", "organization", "category"] {
        let uri = format!("/usage?bucket=hour&groupBy={group}");
        let hours = served.call("GET", usage, &uri, none.clone(), 200).await;
        assert!(!hours["rows"].as_array().unwrap().is_empty(), "{uri}");
    }
    served.call("GET", usage, usage, none.clone(), 200).await;
    served.call("GET", usage, "/usage?bucket=week", none.clone(), 400).await;
    let content = "/paths/~1usage/get/responses/200/content";
    assert_eq!(served.document.pointer(content).unwrap()["text/csv"]["schema"]["type"], "string");
}

/// What makes routes of ours, and their operations; the page is no API.
const MAKERS: [(&str, Option<OwnRoutes>); 8] = [
    ("key_routes", Some(OwnRoutes::Keys)),
    ("for_staff", Some(OwnRoutes::KeysForStaff)),
    ("whoami_route", Some(OwnRoutes::Whoami)),
    ("limits_route", Some(OwnRoutes::Limits)),
    ("health_route", Some(OwnRoutes::Health)),
    ("usage_route", Some(OwnRoutes::Usage)),
    ("usage_route_for_staff", Some(OwnRoutes::UsageForStaff)),
    ("console", None),
];

#[tokio::test]
async fn every_route_is_in_the_document_and_every_operation_is_served() {
    // Every route is covered, so every operation is documented.
    let keys = assembly(MemoryStore::new()).without_route_table().count_usage().build().unwrap();
    let staff = Authority::operator(Owner::system(Mode::Live));
    let key = keys.manager().create(&staff, NewKey::new("one")).await.unwrap();
    let key = key.secret.expose_secret();
    let mut all = document([]);
    for (maker, own) in MAKERS {
        let Some(own) = own else { continue };
        let at = format!("/{maker}");
        let router: Router = match own {
            OwnRoutes::Keys => Router::new().nest(&at, keys.key_routes()),
            OwnRoutes::KeysForStaff => {
                let staff = keys.key_routes_of(keys.manager().clone()).for_staff();
                Router::new().nest(&at, staff.into_router())
            }
            OwnRoutes::Whoami => Router::new().route(&at, keys.whoami_route()),
            OwnRoutes::Limits => Router::new().route(&at, keys.limits_route()),
            OwnRoutes::Health => Router::new().route(&at, keys.health_route()),
            OwnRoutes::Usage => Router::new().route(&at, keys.usage_route()),
            OwnRoutes::UsageForStaff => Router::new().route(&at, keys.usage_route_for_staff()),
            _ => panic!("{own:?} has no router here"),
        };
        let mut documented = document([]);
        keys.openapi_routes(&mut documented, own, &at).unwrap();
        assert_eq!(operations(&documented), served(router.layer(keys.layer()), &at, key).await, "{maker}");
        keys.openapi_routes(&mut all, own, &at).unwrap();
    }
    keys.openapi(&mut all).unwrap();
    let identifiers: Vec<_> = values(&all, "operationId").collect();
    let distinct: BTreeSet<_> = identifiers.iter().collect();
    assert_eq!((identifiers.len(), distinct.len()), (8 + 6 + 5, 8 + 6 + 5), "{identifiers:?}");
    keep(&all, "own routes");
}

/// Method and path of each operation.
fn operations(document: &Value) -> BTreeSet<String> {
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    document["paths"].as_object().unwrap().iter().flat_map(of_path).collect()
}

fn values<'d>(document: &'d Value, member: &'d str) -> impl Iterator<Item = &'d str> {
    let items = document["paths"].as_object().unwrap().values().filter_map(Value::as_object);
    items.flat_map(|item| item.values()).filter_map(move |operation| operation[member].as_str())
}

/// Method and path of each route: paths as axum shows them for debugging, methods as `Allow` has them.
async fn served(router: Router, below: &str, key: &str) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    let paths: BTreeSet<_> = shown.split('"').filter(|part| part.starts_with(below)).collect();
    assert!(!paths.is_empty(), "{shown}");
    let mut routes = BTreeSet::new();
    for path in paths {
        let request = Request::builder().method("PROBE").uri(path.replace("{key_id}", "k1"));
        let request = request.header("x-api-key", key).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = response.headers()["allow"].to_str().unwrap().to_owned();
        // A `GET` has its `HEAD`.
        let methods = allowed.split(',').filter(|method| *method != "HEAD");
        routes.extend(methods.map(|method| format!("{method} {path}")));
    }
    routes
}

#[test]
fn every_router_of_the_crate_is_known_to_the_documents() {
    let mut makers = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for function in text.split("pub fn ").skip(1) {
                let signature = function.split('{').next().unwrap();
                let name = function.split(['(', '<']).next().unwrap();
                // Or what a type makes of itself, which is in the table by what made the type.
                if signature.contains("Router<") && name != "into_router" {
                    makers.insert(name.to_owned());
                }
            }
        }
    }
    let known = MAKERS.map(|(maker, _)| maker.to_owned()).into_iter().filter(|maker| maker != "for_staff");
    assert_eq!(makers, known.chain(["console_for".to_owned()]).collect());
}

#[tokio::test]
async fn the_envelope_of_a_preset_is_in_the_document() {
    let keys = justpaid(MemoryStore::new()).build().unwrap();
    let routes = keys.key_routes_of(keys.manager().clone()).delete_revokes().into_router();
    let app = Router::new().nest("/auth/api-keys", routes);
    let served = Served::new(&keys, app, &[(OwnRoutes::Keys, "/auth/api-keys")]).await;
    let (all, one) = ("/auth/api-keys", "/auth/api-keys/{key_id}");
    assert_eq!(served.document["paths"].as_object().unwrap().len(), 2, "those that have a rule");
    let new = json!({ "name": "CI", "scopes": ["workflows:read"] });
    let made = served.call("POST", all, all, new, 201).await;
    served.call("GET", all, "/auth/api-keys?limit=1", Value::Null, 200).await;
    let uri = format!("{all}/{}", made["data"]["id"].as_str().unwrap());
    served.call("PATCH", one, &uri, json!({ "name": "" }), 400).await;
    served.call("DELETE", one, &uri, Value::Null, 200).await;
    served.call("GET", one, "/auth/api-keys/unknown1", Value::Null, 404).await;
    let data =
        &served.document["paths"][all]["post"]["responses"]["201"]["content"]["application/json"]["schema"];
    assert_eq!(data["properties"]["data"]["$ref"], "#/components/schemas/ApiKeyWithSecret");
}

#[tokio::test]
async fn a_probe_finds_what_is_served_otherwise() {
    let keys = assembly(MemoryStore::new())
        .public("GET", "/health")
        .routes([
            ("GET", "/runs/{id}", "runs:read"),
            ("POST", "/runs", "runs:write"),
            ("GET", "/runs", "runs:read"),
        ])
        .build()
        .unwrap();
    let mut document = document_of(&keys);
    keys.openapi(&mut document).unwrap();
    let credential = async |access: &Access| credential(&keys, access).await;
    let good = async || "good";
    let served = || Router::new().route("/health", get(good)).route("/runs/{id}", get(good));
    let all = served().route("/runs", get(good).post(good)).layer(keys.layer());
    let drift = keys.openapi_probe::<_, _, Body, _>(&document, all, credential).await.unwrap();
    assert_eq!(drift, []);

    // One route is outside of the layer, and another has lost a method.
    let wrong = Router::new().route("/health", get(good)).route("/runs", get(good));
    let wrong = wrong.layer(keys.layer()).route("/runs/{id}", get(good));
    let drift = keys.openapi_probe::<_, _, Body, _>(&document, wrong, credential).await.unwrap();
    let route = |method, path: &'static str| (method, path).into();
    let answer = |route, probe, status| Drift::Answer { route, probe, status };
    assert_eq!(
        drift,
        [
            answer(route(http::Method::POST, "/runs"), Probe::Accepted, StatusCode::METHOD_NOT_ALLOWED),
            answer(route(http::Method::GET, "/runs/{id}"), Probe::Anonymous, StatusCode::OK),
            answer(route(http::Method::GET, "/runs/{id}"), Probe::WithoutScope, StatusCode::OK),
        ]
    );
    assert_eq!(
        drift[0].to_string(),
        "POST /runs: a key with what the rule needs is answered with 405 Method Not Allowed"
    );
}

#[test]
fn a_document_of_utoipa_is_completed_like_json() {
    let keys = plain();
    let operation = || {
        OperationBuilder::new()
            .response("200", ResponseBuilder::new().description("The caller.").build())
            .build()
    };
    let document = || {
        let info = InfoBuilder::new().title("Workflows").version("1.0.0").build();
        let paths = PathsBuilder::new().path("/whoami", PathItem::new(HttpMethod::Get, operation()));
        OpenApiBuilder::new().info(info).paths(paths.build()).build()
    };
    let mut typed = document();
    keys.openapi_routes(&mut typed, OwnRoutes::Keys, "/api-keys").unwrap();
    keys.openapi(&mut typed).unwrap();
    let mut json = serde_json::to_value(document()).unwrap();
    keys.openapi_routes(&mut json, OwnRoutes::Keys, "/api-keys").unwrap();
    keys.openapi(&mut json).unwrap();
    let typed_as_json = serde_json::to_value(&typed).unwrap();
    assert_eq!(typed_as_json, json);
    assert_eq!(keys.openapi_drift(&typed).unwrap(), keys.openapi_drift(&json).unwrap());
    let once = typed_as_json;
    keys.openapi(&mut typed).unwrap();
    assert_eq!(serde_json::to_value(&typed).unwrap(), once);
}
