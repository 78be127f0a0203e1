//! What operators see of an assembly's parts.

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, NewKey, Quota, RateLimit};

#[tokio::test]
async fn the_route_shows_each_part_to_callers_that_may_see_it() {
    let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_").unwrap())
        .header("x-api-key")
        .limit(RateLimit::per_key("requests", Quota::per_minute(1000).unwrap()))
        .route("GET", "/health", "operations:read")
        .build()
        .unwrap();
    let app: Router = Router::new().route("/health", keys.health_route()).layer(keys.layer());
    let ask = async |scope: &str| {
        let key = keys.manager().create_for("acme", NewKey::new("one").scope(scope)).await.unwrap();
        let request = Request::get("/health").header("x-api-key", key.secret.expose_secret());
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let cached = response.headers()["cache-control"].clone();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, cached, serde_json::from_slice::<Value>(&body).unwrap())
    };
    assert_eq!(ask("workflows:read").await.0, StatusCode::FORBIDDEN);
    let (status, cached, body) = ask("operations:read").await;
    assert_eq!((status, cached.to_str().unwrap()), (StatusCode::OK, "no-store"));
    let limit = json!({ "category": "requests", "engine": "memory", "isDegraded": false, "subjects": 2 });
    assert_eq!(
        body,
        json!({
            "isGood": true,
            "store": { "guards": [], "cache": null },
            "limits": [limit],
            "usage": null,
            "backgroundRuns": false,
            "needsBackground": false,
        })
    );
}
