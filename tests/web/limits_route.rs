//! Where a caller sees what is left of its limits.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_keys::clock::ManualClock;
use tower_api_keys::{Access, Quota, RateLimit};

use crate::support::*;

#[tokio::test]
async fn a_caller_sees_what_is_left() {
    let clock = ManualClock::starting_at(START);
    let keys = assembly(store([record(KEY, |_| {})]).await)
        .clock(clock)
        .limit(RateLimit::per_key("requests", Quota::per_minute(2).unwrap()).without_route("GET", "/limits"))
        .limit(RateLimit::per_organization("month", Quota::per_month(100).unwrap()))
        .route("GET", "/limits", Access::AnyKey)
        .route("GET", "/work", Access::AnyKey)
        .build()
        .unwrap();
    let app: Router = Router::new()
        .route("/limits", keys.limits_route())
        .route("/work", get(async || "done"))
        .layer(keys.layer());
    let call = async |path: &str, key: Option<&str>| {
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header(X_API_KEY, key);
        }
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, serde_json::from_slice::<Value>(&body).unwrap_or_default())
    };
    assert_eq!(call("/limits", None).await.0, StatusCode::UNAUTHORIZED);
    for (work, left) in [(200, 1), (200, 0), (429, 0)] {
        assert_eq!(call("/work", Some(KEY)).await.0, work);
        let (status, headers, limits) = call("/limits", Some(KEY)).await;
        assert_eq!((status, &headers["cache-control"]), (StatusCode::OK, &"no-store".parse().unwrap()));
        assert_eq!(
            limits["data"][0],
            json!({"category": "requests", "limit": 2, "remaining": left, "window": 60, "resetAfter": 61})
        );
        assert_eq!(limits["data"][1]["category"], "month");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_503_and_says_when_to_try_again() {
    let keys = store([record(KEY, |_| {})]).await;
    let keys = TestStore { quotas: Some(Answers::WithAnError), ..TestStore::new(keys, Answers::AtOnce) };
    let keys = assembly(keys)
        .limit(
            RateLimit::per_organization("month", Quota::per_month(100).unwrap())
                .without_route("GET", "/limits"),
        )
        .route("GET", "/limits", Access::AnyKey)
        .build()
        .unwrap();
    let app: Router = Router::new().route("/limits", keys.limits_route()).layer(keys.layer());
    let request = Request::get("/limits").header(X_API_KEY, KEY).body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["cache-control"], "no-store");
}
