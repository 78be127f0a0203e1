//! Errors of management calls that handlers return.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_keys::manage::{Authority, KeyChange, KeyManager, ManageError};
use tower_api_keys::rejection::ApiError;
use tower_api_keys::{JsonErrors, NewKey, Principal};

use crate::support::*;

async fn call(app: Router, path: &str) -> (StatusCode, http::HeaderMap, Value) {
    let request = Request::get(path).header(X_API_KEY, KEY).header("x-request-id", "r-1");
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_handler_returns_them_in_the_assemblys_format() {
    let errors = JsonErrors::new(|error: &ApiError<'_>| {
        let fields: Vec<_> = error.fields().iter().map(|fault| &*fault.field).collect();
        let id = error.request_id().map(|id| id.as_str());
        json!({ "code": error.code(), "fields": fields, "request": id })
    });
    let stored = record(KEY, |key| {
        key.scopes = ["api-keys:write"].into_iter().map(|scope| scope.parse().unwrap()).collect()
    });
    let keys =
        assembly(store([stored]).await).without_route_table().request_ids().errors(errors).build().unwrap();
    let missing = async |State(keys): State<KeyManager>, caller: Principal| {
        keys.revoke(&Authority::principal(&caller), &"k_none".parse().unwrap()).await.map(drop)
    };
    let invalid = async |State(keys): State<KeyManager>, caller: Principal| {
        let change = KeyChange::new().name("");
        keys.update(&Authority::principal(&caller), caller.key_id(), change).await.map(drop)
    };
    let forbidden = async |State(keys): State<KeyManager>, caller: Principal| {
        keys.create(&Authority::principal(&caller), NewKey::new("more").scope("a:b")).await.map(drop)
    };
    let routes: Router = Router::new()
        .route("/missing", get(missing))
        .route("/invalid", get(invalid))
        .route("/forbidden", get(forbidden))
        .with_state(keys.manager().clone());
    for (path, status, code, fields) in [
        ("/missing", 404, "not_found", json!([])),
        ("/invalid", 400, "invalid", json!(["name"])),
        ("/forbidden", 403, "scopes_exceed_own", json!([])),
    ] {
        let (found, headers, body) = call(routes.clone().layer(keys.layer()), path).await;
        assert_eq!(
            (found.as_u16(), &body),
            (status, &json!({ "code": code, "fields": fields, "request": "r-1" }))
        );
        assert_eq!(headers["cache-control"], "no-store");
    }
}

#[tokio::test]
async fn without_a_layer_they_are_problem_details() {
    let app = Router::new().route("/", get(async || Err::<(), _>(ManageError::NotFound)));
    let (status, headers, body) = call(app, "/").await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::NOT_FOUND, &"application/problem+json".parse().unwrap())
    );
    assert_eq!(body["status"], 404);
}
