//! What an assembly adds to an OpenAPI document, and where the two differ.

use http::{HeaderMap, HeaderName, Method};
use serde_json::{Value, json};
use tower_api_keys::credential::{
    self, Challenge, Companions, Extracted, HeaderKey, Parts, QueryKey, SessionTokens, WebSocketKey,
};
use tower_api_keys::identity::{OrganizationRule, Role};
use tower_api_keys::openapi::{Drift, OpenApiError};
use tower_api_keys::presets::justpaid::justpaid;
use tower_api_keys::presets::pasby::pasby;
use tower_api_keys::presets::payment_gateway::payment_gateway;
use tower_api_keys::presets::paymongo::paymongo;
use tower_api_keys::rejection::ErrorTable;
use tower_api_keys::route::{Route, RouteMatching};
use tower_api_keys::scope::{Scope, ScopeRequirement};
use tower_api_keys::{Access, ApiKeys, ApiKeysBuilder, KeyFormat, MemoryStore, NewKey, Quota, RateLimit};

use crate::support::{X_API_KEY, assembly, format};

/// A document with these operations, which say nothing of keys.
pub(crate) fn document<'a>(operations: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let mut paths = json!({});
    for (method, path) in operations {
        let mut operation = json!({ "responses": { "200": { "description": "Good." } } });
        let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        let parameter =
            |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
        let parameters: Vec<_> = names.map(parameter).collect();
        if !parameters.is_empty() {
            operation["parameters"] = json!(parameters);
        }
        paths[path][method.to_ascii_lowercase()] = operation;
    }
    json!({ "openapi": "3.1.1", "info": { "title": "Workflows", "version": "1.0.0" }, "paths": paths })
}

/// For tests/openapi/run, which has others validate the document.
pub(crate) fn keep(document: &Value, name: &str) {
    if let Some(directory) = std::env::var_os("OPENAPI_DOCUMENTS") {
        let path = std::path::Path::new(&directory).join(format!("{name}.json"));
        std::fs::write(path, document.to_string()).unwrap();
    }
}

/// For a probe: a new key with the scopes of a rule.
pub(crate) async fn credential(keys: &ApiKeys, access: &Access) -> HeaderMap {
    let scopes = match access {
        Access::Scope(needed) => needed.scopes(),
        _ => &[],
    };
    let key = NewKey::new("probe").scopes(scopes.iter().map(Scope::as_str));
    let key = keys.manager().create_for("acme", key).await.unwrap();
    HeaderMap::from_iter([(X_API_KEY, key.secret.expose_secret().parse().unwrap())])
}

/// The document of an assembly: with an operation for each of its rules.
pub(crate) fn document_of<F>(keys: &ApiKeys<F>) -> Value {
    let rules = keys.unused::<Route>([]);
    let operations: Vec<_> = rules
        .iter()
        .map(|rule| {
            let segments = rule.pattern().split('/');
            let named = |segment: &str| match segment.strip_prefix(':') {
                Some(name) => format!("{{{name}}}"),
                None => segment.to_owned(),
            };
            let path = segments.map(named).collect::<Vec<_>>().join("/");
            (rule.method().unwrap().to_string(), path)
        })
        .collect();
    document(operations.iter().map(|(method, path)| (&**method, &**path)))
}

fn tokens() -> SessionTokens {
    SessionTokens::new("signing secret of 32 bytes or more".into()).unwrap()
}

pub(crate) fn presets(store: impl Fn() -> MemoryStore) -> Vec<(&'static str, ApiKeysBuilder<ErrorTable>)> {
    vec![
        ("justpaid", justpaid(store())),
        ("paymongo", paymongo(store())),
        ("pasby", pasby(store(), tokens())),
        ("payment gateway", payment_gateway(store())),
    ]
}

/// The only operation of a document that the assembly has completed.
fn completed<F>(keys: ApiKeysBuilder<F>) -> Value
where
    F: tower_api_keys::ErrorFormat<bytes::Bytes>,
{
    let keys = keys.build().unwrap();
    let mut document = document([("GET", "/runs")]);
    keys.openapi(&mut document).unwrap();
    document["paths"]["/runs"]["get"].take()
}

#[test]
fn an_operation_names_what_its_rule_needs() {
    let scopes = |scopes: [&'static str; 2]| scopes.map(Scope::from_static);
    let all = ScopeRequirement::all_of(scopes(["runs:read", "runs:list"])).unwrap();
    let any = ScopeRequirement::any_of(scopes(["runs:read", "runs:list"])).unwrap();
    let one = ScopeRequirement::from_static("runs:read");
    let key = |scopes: Value| json!([{ "x-api-key": scopes }]);
    for (access, security, extensions, sentence) in [
        (Access::AnyKey, key(json!([])), json!({}), None),
        (Access::Public, json!([{}, { "x-api-key": [] }]), json!({}), None),
        (
            one.clone().into(),
            key(json!(["runs:read"])),
            json!({ "x-required-scopes": ["runs:read"] }),
            Some("Needs the scope `runs:read`."),
        ),
        (
            all.into(),
            key(json!(["runs:read", "runs:list"])),
            json!({ "x-required-scopes": ["runs:read", "runs:list"] }),
            Some("Needs the scopes `runs:read`, `runs:list`."),
        ),
        (
            any.into(),
            json!([{ "x-api-key": ["runs:read"] }, { "x-api-key": ["runs:list"] }]),
            json!({ "x-required-scopes": [{ "anyOf": ["runs:read", "runs:list"] }] }),
            Some("Needs one of the scopes `runs:read`, `runs:list`."),
        ),
        (
            Access::from(one).with_role(Role::of_rank(2)).of_system(),
            key(json!(["runs:read"])),
            json!({ "x-required-scopes": ["runs:read"], "x-required-role": 2, "x-required-tier": "system" }),
            Some("Needs the scope `runs:read`."),
        ),
    ] {
        let case = format!("{access:?}");
        let rule = OrganizationRule::context();
        let operation =
            completed(assembly(MemoryStore::new()).organization(rule).route("GET", "/runs", access));
        assert_eq!(operation["security"], security, "{case}");
        for name in ["x-required-scopes", "x-required-role", "x-required-tier"] {
            assert_eq!(operation[name], extensions[name], "{case} {name}");
        }
        assert_eq!(operation["description"].as_str(), sentence, "{case}");
    }
}

#[test]
fn every_place_of_a_credential_is_a_scheme() {
    let builder = || ApiKeys::builder(MemoryStore::new(), format());
    let own = |name| Challenge::new(name).unwrap();
    let x_token = HeaderName::from_static("x-token");
    let secret = HeaderKey::new(HeaderName::from_static("x-app-secret"), KeyFormat::new("app_").unwrap());
    let companions = || {
        Companions::new(secret.clone())
            .with_session_tokens(HeaderName::from_static("x-session"), tokens())
            .with_otherwise(Parts::ALL)
    };
    let header = |name: &str| json!({ "type": "apiKey", "in": "header", "name": name });
    for (keys, schemes, security) in [
        (
            builder().header("X-API-Key"),
            vec![("x-api-key", header("x-api-key"))],
            json!([{ "x-api-key": [] }]),
        ),
        (
            builder().bearer().basic(),
            vec![
                ("bearer", json!({ "type": "http", "scheme": "bearer", "bearerFormat": "wfk_…" })),
                ("basic", json!({ "type": "http", "scheme": "basic" })),
            ],
            json!([{ "bearer": [] }, { "basic": [] }]),
        ),
        (
            builder().extractor(QueryKey::new("api key", format())).extractor(WebSocketKey::new(format())),
            vec![
                ("api_key", json!({ "type": "apiKey", "in": "query", "name": "api key" })),
                ("sec-websocket-protocol", header("sec-websocket-protocol")),
            ],
            json!([{ "api_key": [] }, { "sec-websocket-protocol": [] }]),
        ),
        (
            builder().extractor(credential::from_fn(own("Token"), [x_token], |_| Extracted::Absent)),
            vec![("x-token", header("x-token"))],
            json!([{ "x-token": [] }]),
        ),
        (
            builder().extractor(credential::from_fn(own("Hawk"), [http::header::AUTHORIZATION], |_| {
                Extracted::Absent
            })),
            vec![("hawk", json!({ "type": "http", "scheme": "hawk" }))],
            json!([{ "hawk": [] }]),
        ),
        (
            builder().header("x-api-key").companions(companions()),
            vec![
                ("x-api-key", header("x-api-key")),
                ("x-app-secret", header("x-app-secret")),
                ("x-session", header("x-session")),
            ],
            json!([{ "x-api-key": [], "x-app-secret": [], "x-session": [] }]),
        ),
    ] {
        let keys = keys.without_route_table().build().unwrap();
        let mut document = document([("GET", "/runs")]);
        keys.openapi(&mut document).unwrap();
        let found = document["components"]["securitySchemes"].as_object().unwrap();
        assert_eq!(found.len(), schemes.len(), "{found:?}");
        for (name, scheme) in schemes {
            for member in ["type", "in", "name", "scheme", "bearerFormat"] {
                assert_eq!(found[name].get(member), scheme.get(member), "{name}: {member}");
            }
        }
        assert_eq!(document["paths"]["/runs"]["get"]["security"], security);
    }
}

#[test]
fn scopes_have_their_sentences() {
    let keys = assembly(MemoryStore::new())
        .routes([("GET", "/runs", "runs:read"), ("POST", "/runs", "runs:write")])
        .describe_scopes([("runs:read", "See runs.")])
        .build()
        .unwrap();
    let mut document = document_of(&keys);
    keys.openapi(&mut document).unwrap();
    assert_eq!(document["x-scopes"], json!({ "runs:read": "See runs.", "runs:write": null }));
    let scheme = document["components"]["securitySchemes"]["x-api-key"]["description"].as_str().unwrap();
    assert!(scheme.starts_with("An API key, which begins with `wfk_`."), "{scheme}");
    assert!(scheme.ends_with("\n- `runs:read`: See runs."), "{scheme}");
}

#[test]
fn the_fields_that_name_an_organization_are_parameters() {
    let named = || OrganizationRule::named_in("Organization-Id");
    let context = || OrganizationRule::context().header("x-org").mode_header("x-mode");
    let of_system = || Access::from(ScopeRequirement::from_static("runs:read")).of_system();
    let scope = || Access::from(ScopeRequirement::from_static("runs:read"));
    for (rule, access, expected) in [
        (named(), scope(), vec![("organization-id", true)]),
        (named(), Access::Public, vec![("organization-id", false)]),
        (named().optional(), scope(), vec![("organization-id", false)]),
        (context(), scope(), vec![("x-org", false), ("x-mode", false)]),
        (context(), of_system(), vec![("x-mode", false)]),
        (OrganizationRule::context(), scope(), vec![]),
    ] {
        let case = format!("{rule:?} {access:?}");
        let operation =
            completed(assembly(MemoryStore::new()).organization(rule).route("GET", "/runs", access));
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let found: Vec<_> = parameters
            .iter()
            .map(|one| (one["name"].as_str().unwrap(), one["required"].as_bool().unwrap()))
            .collect();
        assert_eq!(found, expected, "{case}");
        assert!(parameters.iter().all(|one| one["in"] == "header"), "{case}");
    }
}

#[test]
fn what_only_a_parameter_can_cause_is_documented_where_there_is_one() {
    let rule = OrganizationRule::context().route_parameter("organization").header("x-org");
    let routes = ["/runs", "/runs/{id}", "/{organization}/runs"];
    for (matching, expected) in [
        (RouteMatching::Path, [(true, false), (true, true), (false, true)]),
        (RouteMatching::MatchedPath, [(true, false), (true, false), (false, false)]),
    ] {
        let keys = assembly(MemoryStore::new())
            .organization(rule.clone())
            .match_routes(matching)
            .routes(routes.map(|route| ("GET", route, Access::AnyKey)));
        let mut document = document(routes.map(|route| ("GET", route)));
        keys.build().unwrap().openapi(&mut document).unwrap();
        for (route, expected) in routes.into_iter().zip(expected) {
            let responses = document["paths"][route]["get"]["responses"].to_string();
            let components: Vec<_> = document["components"]["responses"]
                .as_object()
                .unwrap()
                .iter()
                .filter(|(name, _)| responses.contains(&format!("/{name}\"")))
                .map(|(_, response)| response.to_string())
                .collect();
            let has =
                |code: &str| components.iter().any(|response| response.contains(&format!("\"{code}\"")));
            let found = (has("organization_missing"), has("path_not_canonical"));
            assert_eq!(found, expected, "{matching:?} {route}");
        }
    }
}

#[test]
fn limit_fields_are_those_of_limits_that_count_the_operation() {
    let quota = || Quota::per_minute(5).unwrap();
    let keys = || assembly(MemoryStore::new()).route("GET", "/runs", Access::AnyKey);
    let three = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];
    let five = [&["RateLimit", "RateLimit-Policy"][..], &three].concat();
    let shadow = RateLimit::per_key("all", quota()).shadow();
    let not_here = RateLimit::per_key("all", quota()).without_route("GET", "/runs");
    let credits = RateLimit::per_key("all", Quota::credits(5).unwrap());
    for (keys, fields, is_limited) in [
        (keys(), &[][..], false),
        (keys().limit(RateLimit::per_key("all", quota())), &three, true),
        (keys().limit(RateLimit::per_key("all", quota())).ietf_rate_limit_fields(), &five, true),
        (keys().limit(shadow), &[], false),
        (keys().limit(not_here), &[], false),
        (keys().limit(credits), &three[..2], true),
        (keys().request_ids(), &["X-Request-ID"], false),
    ] {
        let operation = completed(keys);
        let good = &operation["responses"]["200"]["headers"];
        let found: Vec<_> = good.as_object().into_iter().flatten().map(|(name, _)| &**name).collect();
        assert_eq!(found, fields);
        assert_eq!(operation["responses"].get("429").is_some(), is_limited, "{fields:?}");
    }
}

#[test]
fn what_the_application_has_written_is_kept() {
    let keys = assembly(MemoryStore::new())
        .organization(OrganizationRule::named_in("organization-id"))
        .limit(RateLimit::per_key("all", Quota::per_minute(5).unwrap()))
        .routes([("GET", "/runs/{id}", "runs:read"), ("POST", "/runs/{id}", "runs:write")])
        .build()
        .unwrap();
    let own = json!({
        "openapi": "3.2.0",
        "info": { "title": "Runs", "version": "1" },
        "security": [{ "Mine": [] }],
        "paths": {
            "/runs/{id}": {
                "summary": "A run",
                "parameters": [{ "name": "Organization-ID", "in": "header", "schema": { "enum": ["acme"] } }],
                "get": {
                    "security": [{ "Mine": [] }],
                    "description": "Shows a run.",
                    "responses": {
                        "200": { "description": "It.", "headers": { "x-ratelimit-limit": { "description": "Mine." } } },
                        "403": { "description": "Not yours." },
                    },
                },
            },
            "/elsewhere": { "get": { "responses": { "200": { "description": "Outside of the layer." } } } },
            "x-note": 7,
        },
        "components": { "securitySchemes": { "Mine": { "type": "apiKey", "in": "header", "name": "X-API-KEY" } } },
    });
    let mut document = own.clone();
    keys.openapi(&mut document).unwrap();
    let (run, before) = (&document["paths"]["/runs/{id}"], &own["paths"]["/runs/{id}"]);
    assert_eq!(document["components"]["securitySchemes"], own["components"]["securitySchemes"]);
    assert_eq!(document["paths"]["/elsewhere"], own["paths"]["/elsewhere"]);
    assert_eq!((&document["security"], &document["paths"]["x-note"]), (&own["security"], &json!(7)));
    assert_eq!(run["parameters"], before["parameters"]);
    assert_eq!(run["get"]["security"], before["get"]["security"]);
    assert_eq!(run["get"]["description"], "Shows a run.\n\nNeeds the scope `runs:read`.");
    let (responses, own_responses) = (&run["get"]["responses"], &before["get"]["responses"]);
    assert_eq!(responses["403"]["description"], own_responses["403"]["description"]);
    let fields = responses["200"]["headers"].as_object().unwrap();
    assert_eq!(fields["x-ratelimit-limit"]["description"], "Mine.");
    assert_eq!(fields.len(), 3, "{fields:?}");
    assert_eq!(responses["429"]["$ref"], "#/components/responses/TooManyRequests");
    assert_eq!(run["get"]["parameters"], Value::Null);
}

#[test]
fn components_of_the_application_keep_their_names() {
    let keys = assembly(MemoryStore::new()).route("GET", "/runs", "runs:read").build().unwrap();
    let mut document = document_of(&keys);
    document["components"] = json!({
        "securitySchemes": { "x-api-key": { "type": "http", "scheme": "bearer" } },
        "responses": { "Unauthorized": { "description": "Mine." } },
    });
    keys.openapi(&mut document).unwrap();
    let operation = &document["paths"]["/runs"]["get"];
    assert_eq!(operation["security"], json!([{ "x-api-key2": ["runs:read"] }]));
    assert_eq!(operation["responses"]["401"]["$ref"], "#/components/responses/Unauthorized2");
    assert_eq!(document["components"]["responses"]["Unauthorized"]["description"], "Mine.");
}

#[test]
fn adding_twice_is_adding_once_and_leaves_no_difference() {
    for (name, keys) in presets(MemoryStore::new) {
        let keys = keys.build().unwrap();
        let mut document = document_of(&keys);
        keys.openapi(&mut document).unwrap();
        let once = document.clone();
        keys.openapi(&mut document).unwrap();
        assert_eq!(document, once, "{name}");
        assert_eq!(keys.openapi_drift(&document).unwrap(), [], "{name}");
        keep(&document, name);
    }
}

#[test]
fn an_operation_is_found_below_the_path_of_a_server() {
    let keys = justpaid(MemoryStore::new()).routes_below("/api/v1").build().unwrap();
    let server = |url: &str| json!([{ "url": url }]);
    for (of_document, of_path, of_operation, is_found) in [
        (server("https://api.example.com/api/v1"), None, None, true),
        (server("https://api.example.com/api/v1/"), None, None, true),
        (json!([{ "url": "https://a.example" }, { "url": "/api/v1" }]), None, None, true),
        (server("/elsewhere"), Some(server("/api/v1")), None, true),
        (server("/elsewhere"), Some(server("/wrong")), Some(server("/api/v1")), true),
        (server("/api/v1"), None, Some(server("/elsewhere")), false),
        (json!([{ "url": "/api/{v}", "variables": { "v": { "default": "v1" } } }]), None, None, true),
        (server("/"), None, None, false),
    ] {
        let mut document = document([("GET", "/workflows")]);
        document["servers"] = of_document;
        let mut set = |at: &str, servers: Option<Value>| {
            if let Some(servers) = servers {
                document.pointer_mut(at).unwrap()["servers"] = servers;
            }
        };
        set("/paths/~1workflows", of_path);
        set("/paths/~1workflows/get", of_operation);
        keys.openapi(&mut document).unwrap();
        let security = document["paths"]["/workflows"]["get"].get("security");
        assert_eq!(security.is_some(), is_found, "{document}");
    }
    // Or where the document has the whole path.
    let mut document = document([("GET", "/api/v1/workflows")]);
    document["servers"] = server("https://api.example.com");
    keys.openapi(&mut document).unwrap();
    assert!(document["paths"]["/api/v1/workflows"]["get"].get("security").is_some());
}

#[test]
fn methods_of_openapi_3_2_are_operations_too() {
    let keys = assembly(MemoryStore::new())
        .routes([("QUERY", "/runs", "runs:read"), ("PURGE", "/runs", "runs:purge")])
        .build()
        .unwrap();
    let mut document = json!({
        "openapi": "3.2.0",
        "paths": { "/runs": { "query": {}, "additionalOperations": { "PURGE": {} } } },
    });
    assert_eq!(keys.openapi_drift(&document).unwrap().len(), 2, "both need a key");
    keys.openapi(&mut document).unwrap();
    let runs = &document["paths"]["/runs"];
    assert_eq!(runs["query"]["x-required-scopes"], json!(["runs:read"]));
    assert_eq!(runs["additionalOperations"]["PURGE"]["x-required-scopes"], json!(["runs:purge"]));
    assert_eq!(keys.openapi_drift(&document).unwrap(), []);
}

#[test]
fn another_version_and_no_document_are_refused_and_left_as_they_are() {
    let keys = assembly(MemoryStore::new()).route("GET", "/runs", "runs:read").build().unwrap();
    for (document, message) in [
        (
            json!({ "openapi": "3.0.3", "paths": {} }),
            "the document is of OpenAPI 3.0.3; 3.1 and 3.2 are known",
        ),
        (json!({ "swagger": "2.0" }), "the document is of OpenAPI 2.0; 3.1 and 3.2 are known"),
        (json!({ "openapi": "3.1" }), "the document is of OpenAPI 3.1; 3.1 and 3.2 are known"),
        (json!({}), "in the document, `openapi` is not there"),
        (json!([]), "in the document, the root is no object"),
        (
            json!({ "openapi": "3.1.0", "paths": { "/runs": 7 } }),
            "in the document, the path /runs is no object",
        ),
        (
            json!({ "openapi": "3.1.0", "paths": { "/runs": { "get": [] } } }),
            "in the document, GET /runs is no object",
        ),
    ] {
        let mut changed = document.clone();
        let error: OpenApiError = keys.openapi(&mut changed).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(changed, document);
        assert_eq!(keys.openapi_drift(&document).unwrap_err().to_string(), message);
    }
    let mut without_paths = json!({ "openapi": "3.1.0", "webhooks": {} });
    keys.openapi(&mut without_paths).unwrap();
    assert_eq!(without_paths.get("paths"), None);
}

#[test]
fn rules_and_documents_are_compared_in_both_directions() {
    let keys = || {
        assembly(MemoryStore::new())
            .public("GET", "/health")
            .routes([("GET", "/runs/:id", "runs:read"), ("POST", "/runs", "runs:write")])
    };
    let all = [("GET", "/health"), ("GET", "/runs/{run}"), ("POST", "/runs")];
    let completed = |operations: &[(&'static str, &'static str)]| {
        let mut document = document(operations.iter().copied());
        keys().build().unwrap().openapi(&mut document).unwrap();
        document
    };
    let changed = |at: &str, value: Value| {
        let mut document = completed(&all);
        let (parent, member) = at.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[member] = value;
        document
    };
    let run = "/paths/~1runs~1{run}/get/";
    for (document, drift) in [
        (completed(&all), vec![]),
        (completed(&all[..2]), vec!["POST /runs has a rule, and is not in the document"]),
        (
            completed(&[&all[..], &[("DELETE", "/runs/{run}")]].concat()),
            vec!["DELETE /runs/{run} is in the document, and no rule covers it"],
        ),
        // The same alternatives and scopes in another order.
        (changed("/paths/~1health/get/security", json!([{ "x-api-key": [] }, {}])), vec![]),
        (
            changed("/paths/~1health/get/security", json!([])),
            vec![r#"GET /health: `security` is [] in the document, and [{},{"x-api-key":[]}] by the rule"#],
        ),
        (
            changed(&format!("{run}security"), json!([{}])),
            vec![
                r#"GET /runs/{run}: `security` is [{}] in the document, and [{"x-api-key":["runs:read"]}] by the rule"#,
            ],
        ),
        (
            changed(&format!("{run}x-required-scopes"), json!(["runs:list"])),
            vec![
                r#"GET /runs/{run}: `x-required-scopes` is ["runs:list"] in the document, and ["runs:read"] by the rule"#,
            ],
        ),
        (
            changed(&format!("{run}x-required-tier"), json!("system")),
            vec![r#"GET /runs/{run}: `x-required-tier` is "system" in the document, and null by the rule"#],
        ),
    ] {
        let found = keys().build().unwrap().openapi_drift(&document).unwrap();
        let found: Vec<_> = found.iter().map(Drift::to_string).collect();
        assert_eq!(found, drift);
    }
    // A document that says nothing of keys says that none is needed, unless its root does.
    let mut silent = document([("POST", "/runs")]);
    let keys = assembly(MemoryStore::new()).route("POST", "/runs", "runs:write").build().unwrap();
    let drift = keys.openapi_drift(&silent).unwrap();
    assert!(matches!(&*drift, [Drift::Contradiction { member: "security", .. }]), "{drift:?}");
    silent["security"] = json!([{ "key": ["runs:write"] }]);
    silent["components"] =
        json!({ "securitySchemes": { "key": { "type": "apiKey", "in": "header", "name": "x-api-key" } } });
    assert_eq!(keys.openapi_drift(&silent).unwrap(), []);
    let missing = Drift::NoOperation(Route::from((Method::POST, "/runs")));
    assert_eq!(keys.openapi_drift(&document([])).unwrap(), [missing]);
}
