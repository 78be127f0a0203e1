//! Documents and probes of applications that are put together in every way that axum has.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::routing::{any, delete, get, post};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tower::service_fn;
use tower_api_keys::route::RouteMatching;
use tower_api_keys::{Access, ApiKeys, MemoryStore};

use crate::openapi::{credential, document};
use crate::support::assembly;

const BOTH: [RouteMatching; 2] = [RouteMatching::Path, RouteMatching::MatchedPath];

fn keys(rules: &[(&'static str, &'static str)], matching: RouteMatching) -> ApiKeys {
    let rules = rules.iter().map(|(method, path)| (*method, *path, "runs:read"));
    assembly(MemoryStore::new()).routes(rules).match_routes(matching).build().unwrap()
}

/// Where rules, document and application differ: each way, as text.
async fn differences(keys: &ApiKeys, document: &Value, app: Router) -> Vec<String> {
    let mut completed = document.clone();
    keys.openapi(&mut completed).unwrap();
    let credential = async |access: &Access| credential(keys, access).await;
    let drift = keys.openapi_drift(&completed).unwrap();
    let answers = keys.openapi_probe::<_, _, Body, _>(&completed, app, credential).await.unwrap();
    drift.iter().chain(&answers).map(ToString::to_string).collect()
}

async fn good() -> &'static str {
    "good"
}

#[tokio::test]
async fn applications_of_every_shape_agree_with_their_documents() {
    let mounted = || service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let runs = || Router::new().route("/", get(good)).route("/{id}", get(good).delete(good));
    let of_runs = [("GET", "/api/runs"), ("GET", "/api/runs/{id}"), ("DELETE", "/api/runs/{id}")];
    let all = [("GET", "/files/{*path}")];
    for matching in BOTH {
        for (name, rules, operations, app) in [
            ("nested", &of_runs[..], &of_runs[..], Router::new().nest("/api/runs", runs())),
            (
                "nested twice, below a parameter",
                &[("GET", "/orgs/{org}/runs/{id}"), ("DELETE", "/orgs/{org}/runs/{id}")],
                &[("GET", "/orgs/{org}/runs/{id}"), ("DELETE", "/orgs/{org}/runs/{id}")],
                Router::new().nest("/orgs/{o}", Router::new().nest("/runs", runs())),
            ),
            (
                "merged",
                &[("GET", "/a"), ("GET", "/b")],
                &[("GET", "/a"), ("GET", "/b")],
                Router::new().route("/a", get(good)).merge(Router::new().route("/b", get(good))),
            ),
            (
                "parameters by other names",
                &[("GET", "/runs/{id}"), ("DELETE", "/runs/{id}")],
                &[("GET", "/runs/{run_id}"), ("DELETE", "/runs/{runId}")],
                Router::new().route("/runs/{run}", get(good).delete(good)),
            ),
            (
                "a parameter beside a literal",
                &[("GET", "/runs/{id}"), ("POST", "/runs/latest")],
                &[("GET", "/runs/{id}"), ("POST", "/runs/latest")],
                Router::new().route("/runs/{id}", get(good)).route("/runs/latest", post(good)),
            ),
            (
                "a catch-all",
                &all,
                &[("GET", "/files/{path}")],
                Router::new().route("/files/{*rest}", get(good)),
            ),
            ("a catch-all as axum writes it", &all, &all, Router::new().route("/files/{*rest}", get(good))),
            (
                "a mounted service",
                &all,
                &[("GET", "/files/{path}")],
                Router::new().nest_service("/files", mounted()),
            ),
            (
                "several methods in several calls",
                &[("GET", "/runs"), ("POST", "/runs"), ("PUT", "/runs")],
                &[("GET", "/runs"), ("POST", "/runs"), ("PUT", "/runs")],
                Router::new().route("/runs", get(good).post(good)).route("/runs", axum::routing::put(good)),
            ),
            (
                "any method",
                &[("PATCH", "/runs")],
                &[("PATCH", "/runs")],
                Router::new().route("/runs", any(good)),
            ),
            (
                "HEAD beside its GET",
                &[("GET", "/runs")],
                &[("GET", "/runs"), ("HEAD", "/runs")],
                Router::new().route("/runs", get(good)),
            ),
            (
                "OPTIONS of the application's own",
                &[("OPTIONS", "/runs")],
                &[("OPTIONS", "/runs")],
                Router::new().route("/runs", axum::routing::options(good)),
            ),
        ] {
            let keys = keys(rules, matching);
            let app = app.layer(keys.layer());
            let found = differences(&keys, &document(operations.iter().copied()), app).await;
            assert_eq!(found, Vec::<String>::new(), "{name} {matching:?}");
        }
    }
}

#[tokio::test]
async fn what_an_application_does_otherwise_is_found() {
    let forbidden = async || StatusCode::FORBIDDEN;
    let accepted = "a key with what the rule needs is answered with";
    let rules = [("GET", "/runs/{id}"), ("DELETE", "/runs/{id}")];
    for matching in BOTH {
        for (name, rules, operations, app, differences) in [
            (
                "a trailing slash",
                &[("GET", "/runs")][..],
                &[("GET", "/runs/")][..],
                Router::new().route("/runs/", get(good)),
                vec![
                    "GET /runs/ is in the document, and no rule covers it".to_owned(),
                    "GET /runs has a rule, and is not in the document".to_owned(),
                ],
            ),
            (
                "a route that is gone",
                &[("GET", "/runs")],
                &[("GET", "/runs")],
                Router::new().route("/other", get(good)),
                vec![format!("GET /runs: {accepted} 404 Not Found")],
            ),
            (
                "a method that is gone",
                &rules,
                &rules,
                Router::new().route("/runs/{id}", delete(good)),
                vec![format!("GET /runs/{{id}}: {accepted} 405 Method Not Allowed")],
            ),
            (
                "nested one deeper than documented",
                &[("GET", "/runs")],
                &[("GET", "/runs")],
                Router::new().nest("/api", Router::new().route("/runs", get(good))),
                vec![format!("GET /runs: {accepted} 404 Not Found")],
            ),
            (
                "a handler that rejects what the rule accepts",
                &[("GET", "/runs")],
                &[("GET", "/runs")],
                Router::new().route("/runs", get(forbidden)),
                vec![format!("GET /runs: {accepted} 403 Forbidden")],
            ),
            (
                "OPTIONS without a rule",
                &[("GET", "/runs")],
                &[("GET", "/runs"), ("OPTIONS", "/runs")],
                Router::new().route("/runs", get(good)),
                vec!["OPTIONS /runs is in the document, and no rule covers it".to_owned()],
            ),
        ] {
            let keys = keys(rules, matching);
            let app = app.layer(keys.layer());
            let found = self::differences(&keys, &document(operations.iter().copied()), app).await;
            assert_eq!(found, differences, "{name} {matching:?}");
        }
    }
}

/// An example may have what a path can't, and a catch-all more than one segment.
#[tokio::test]
async fn probes_send_examples_as_a_path_can_have_them() {
    let keys = keys(&[("GET", "/runs/{id}"), ("GET", "/files/{*path}")], RouteMatching::MatchedPath);
    let mut document = document([("GET", "/runs/{id}"), ("GET", "/files/{path}")]);
    document["paths"]["/runs/{id}"]["get"]["parameters"][0]["example"] = json!("ein Lauf?");
    document["paths"]["/files/{path}"]["get"]["parameters"][0]["example"] = json!("a/b.txt");
    let only = |wanted: &'static str| {
        get(
            async move |axum::extract::Path(found): axum::extract::Path<String>| {
                if found == wanted { StatusCode::OK } else { StatusCode::FORBIDDEN }
            },
        )
    };
    let app = Router::new().route("/runs/{id}", only("ein Lauf?")).route("/files/{*path}", only("a/b.txt"));
    assert_eq!(differences(&keys, &document, app.layer(keys.layer())).await, Vec::<String>::new());
}
