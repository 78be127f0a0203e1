//! An API with its OpenAPI document: what the application writes, and what its keys add.
//!
//! ```text
//! cargo run --example openapi --features axum,openapi
//! ```
//!
//! It prints a key and `curl` lines to paste. Its test is one that every application with a document should have.
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one). `support/mod.rs` says what else it can do.

#![allow(clippy::print_stdout, reason = "an example writes to standard output")]
mod support;

use axum::{Json, Router, http::StatusCode, routing::get};
use serde_json::{Value, json};
use support::{Store, close, listen, log_to_stderr, open_store, stopped};
use tower_api_keys::openapi::{OpenApiError, OwnRoutes};
use tower_api_keys::{Access, ApiKeys, ConfigError, KeyFormat, NewKey, Principal, Quota, RateLimit};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    log_to_stderr()?;
    let keys = assembly(open_store().await?, KeyFormat::new("acme_")?, Quota::per_second(10_000)?)?;
    let document = document(&keys)?;
    // Everyone may read it, so it stands outside of the layer.
    let app = app(&keys).route("/openapi.json", get(async || Json(document)));
    let scopes = keys.scopes().iter().map(|known| known.scope.as_str());
    let key = keys.manager().create_for("org_1", NewKey::new("All scopes").scopes(scopes)).await?;
    let key = key.secret.expose_secret();
    let (listener, stopped, background) = (listen().await?, stopped()?, tokio::spawn(keys.background()));
    let base = format!("http://{}", listener.local_addr()?);
    println!("BASE_URL={base}\nAPI_KEY={key}\n\ncurl {base}/openapi.json");
    println!("curl -i {base}/workflows -H 'x-api-key: {key}'\n\nready");
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    close(&keys, background).await;
    Ok(())
}

fn assembly(store: Store, format: KeyFormat, quota: Quota) -> Result<ApiKeys, ConfigError> {
    ApiKeys::builder(store, format)
        .header("x-api-key")
        .limit(RateLimit::per_key("requests", quota))
        .routes([("GET", "/workflows", "workflows:read"), ("POST", "/workflows", "workflows:write")])
        .routes([("GET", "/whoami", Access::AnyKey), ("GET", "/limits", Access::AnyKey)])
        .routes([("GET", "/api-keys", "api-keys:read"), ("GET", "/api-keys/{id}", "api-keys:read")])
        .routes([("POST", "/api-keys", "api-keys:write"), ("PATCH", "/api-keys/{id}", "api-keys:write")])
        .routes([("DELETE", "/api-keys/{id}", "api-keys:write"), ("GET", "/usage", "api-keys:read")])
        .count_usage()
        .describe_scopes([
            ("workflows:read", "See workflows."),
            ("workflows:write", "Create workflows."),
            ("api-keys:read", "See API keys."),
            ("api-keys:write", "Create, change and revoke API keys."),
        ])
        .build()
}

fn app(keys: &ApiKeys) -> Router {
    let key_routes = keys.key_routes_of(keys.manager().clone()).delete_revokes();
    Router::new()
        .route("/workflows", get(list).post(create))
        .route("/whoami", keys.whoami_route())
        .route("/limits", keys.limits_route())
        .route("/usage", keys.usage_route())
        .nest("/api-keys", key_routes.into_router())
        .layer(keys.layer())
}

async fn list(caller: Principal) -> Json<Value> {
    Json(json!({ "workflows": [], "caller": caller.name() }))
}

async fn create() -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, Json(json!({ "id": "wf_1" })))
}

/// What the application knows of its own operations, and what the assembly adds.
fn document(keys: &ApiKeys) -> Result<Value, OpenApiError> {
    let answer = |description: &str, properties: Value| {
        let schema = json!({ "type": "object", "properties": properties });
        json!({ "description": description, "content": { "application/json": { "schema": schema } } })
    };
    let workflows = json!({ "workflows": { "type": "array" }, "caller": { "type": "string" } });
    let mut document = json!({
        "openapi": "3.1.1",
        "info": { "title": "Workflows", "version": "1.0.0" },
        "paths": {
            "/workflows": {
                "get": {
                    "summary": "List workflows",
                    "responses": { "200": answer("The workflows.", workflows) },
                },
                "post": {
                    "summary": "Create a workflow",
                    "responses": { "201": answer("It was created.", json!({ "id": { "type": "string" } })) },
                },
            },
        },
    });
    for (routes, path) in [
        (OwnRoutes::Keys, "/api-keys"),
        (OwnRoutes::Usage, "/usage"),
        (OwnRoutes::Whoami, "/whoami"),
        (OwnRoutes::Limits, "/limits"),
    ] {
        keys.openapi_routes(&mut document, routes, path)?;
    }
    keys.openapi(&mut document)?;
    Ok(document)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::HeaderMap;
    use tower_api_keys::MemoryStore;
    use tower_api_keys::scope::Scope;

    use super::*;

    #[tokio::test]
    async fn rules_document_and_router_agree() {
        let store: Store = std::sync::Arc::new(MemoryStore::new());
        let keys =
            assembly(store, KeyFormat::new("acme_").unwrap(), Quota::per_minute(1000).unwrap()).unwrap();
        let document = document(&keys).unwrap();
        assert_eq!(keys.openapi_drift(&document).unwrap(), []);

        let credential = async |access: &Access| {
            let scopes = match access {
                Access::Scope(needed) => needed.scopes(),
                _ => &[],
            };
            let key = NewKey::new("probe").scopes(scopes.iter().map(Scope::as_str));
            let key = keys.manager().create_for("org_1", key).await.unwrap();
            let mut fields = HeaderMap::new();
            fields.insert("x-api-key", key.secret.expose_secret().parse().unwrap());
            fields
        };
        let drift = keys.openapi_probe::<_, _, Body, _>(&document, app(&keys), credential).await;
        assert_eq!(drift.unwrap(), []);
    }
}
