//! Usage over HTTP.

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_keys::clock::ManualClock;
use tower_api_keys::identity::{OrganizationRule, Role, Session, SessionAuthenticator};
use tower_api_keys::key::{Mode, Owner, SecretString};
use tower_api_keys::manage::Authority;
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{KeyAdministration, StoreError};
use tower_api_keys::usage::{UsageBatch, UsageBucket, UsageCounts, UsageEntry, UsageOutcome};
use tower_api_keys::{Access, ApiKeys, KeyFormat, MemoryStore, NewKey};

use crate::support::{START, acme};

struct Staff;

#[async_trait]
impl SessionAuthenticator for Staff {
    async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
        let scopes = ScopeSet::parse_list(["api-keys:read"]).unwrap();
        let ada = Session::new("ada").with_owner(Owner::system(Mode::Live), Role::of_rank(1), scopes);
        Ok((token.expose_secret() == "dash_ada").then_some(ada))
    }
}

struct App {
    router: Router,
    /// That may read keys, and that may not, both of acme.
    reader: String,
    other: String,
}

/// [`START`] is 2023-12-14T05:20:00Z.
async fn app() -> App {
    let store = MemoryStore::new();
    let globex = Owner::organization("=globex".parse().unwrap(), Mode::Live);
    let acme_test = Owner { mode: Mode::Test, ..acme() };
    let hour = UsageBucket::Hour.start_of(START);
    let entry = |owner: &Owner, key: &str, category: &str, counts: &[(UsageOutcome, u64)]| {
        let mut sums = UsageCounts::default();
        counts.iter().for_each(|(outcome, count)| sums.add(*outcome, *count));
        UsageEntry::new(owner.clone(), key.parse().unwrap(), category.to_owned(), hour, sums)
    };
    let entries = vec![
        entry(&acme(), "-a", "reads", &[(UsageOutcome::Ok, 40), (UsageOutcome::Limited, 2)]),
        entry(&acme(), "b", "writes, slow", &[(UsageOutcome::ServerError, 1)]),
        entry(&acme_test, "t", "reads", &[(UsageOutcome::Ok, 1_000)]),
        entry(&globex, "g", "reads", &[(UsageOutcome::Ok, 100)]),
    ];
    let batch = UsageBatch::new("p".parse().unwrap(), 1, START, entries);
    store.usage_log().unwrap().add(&batch).await.unwrap();
    let keys = ApiKeys::builder(store, KeyFormat::new("acme_").unwrap())
        .bearer()
        .sessions(Staff)
        .organization(OrganizationRule::context().mode_header("x-mode"))
        .clock(ManualClock::starting_at(START))
        .route("GET", "/usage", Access::AnyKey)
        .route("GET", "/admin/usage", Access::AnyKey.of_system())
        .route("GET", "/open/usage", Access::AnyKey)
        .build()
        .unwrap();
    let make = async |scope: &str| {
        let key = NewKey::new("key").scope(scope);
        let made = keys.manager().create(&Authority::operator(acme()), key).await.unwrap();
        made.secret.expose_secret().to_owned()
    };
    let (reader, other) = (make("api-keys:read").await, make("invoice:read").await);
    let router = Router::new()
        .route("/usage", keys.usage_route())
        .route("/admin/usage", keys.usage_route_for_staff())
        .route("/open/usage", keys.usage_route_for_staff())
        .layer(keys.layer());
    App { router, reader, other }
}

async fn ask(app: &App, path: &str, token: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::get(path).header("accept", accept).header("x-mode", "live");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = app.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    assert_eq!(head.headers["cache-control"], "no-store", "{path}");
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn json_of(app: &App, path: &str, token: &str) -> Value {
    let (status, _, body) = ask(app, path, token, "*/*").await;
    assert_eq!(status, 200, "{path} {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn a_caller_gets_the_usage_of_its_organization_without_gaps() {
    let app = app().await;
    let today = json_of(&app, "/usage?start=2023-12-14T00:00:00Z&groupBy=key", &app.reader).await;
    let zeros = json!({"ok":0,"client_error":0,"limited":0,"forbidden":0,"refused":0,"server_error":0});
    let calls = |changed: Value| {
        let mut calls = zeros.clone();
        changed.as_object().unwrap().iter().for_each(|(outcome, count)| calls[outcome] = count.clone());
        calls
    };
    let row = |key: &str, total: u64, changed: Value| {
        json!({"start": "2023-12-14T00:00:00Z", "keyId": key, "organization": "acme", "mode": "live", "category": null,
            "total": total, "calls": calls(changed)})
    };
    let rows = [row("-a", 42, json!({"ok": 40, "limited": 2})), row("b", 1, json!({"server_error": 1}))];
    assert_eq!(
        today,
        json!({"bucket": "day", "groupBy": "key", "asOf": "2023-12-14T05:20:00Z", "rows": rows})
    );

    let all = json_of(&app, "/usage", &app.reader).await;
    assert_eq!(
        (all["rows"].as_array().unwrap().len(), &all["groupBy"]),
        (31, &Value::Null),
        "30 days and today"
    );
    assert_eq!(all["rows"][30]["total"], 43);
    assert_eq!(all["rows"][0]["calls"], zeros);
    let hours = json_of(&app, "/usage?bucket=hour&key=b&key=g", &app.reader).await;
    assert_eq!(hours["rows"].as_array().unwrap().len(), 25);
    assert_eq!(
        (&hours["rows"][24]["total"], &hours["rows"][24]["start"]),
        (&json!(1), &json!("2023-12-14T05:00:00Z"))
    );
    let of_globex = json_of(&app, "/usage?organization=%3Dglobex", &app.reader).await;
    assert_eq!(of_globex["rows"][30]["total"], 43, "a caller can't choose the organization");
}

#[tokio::test]
async fn staff_gets_the_usage_of_all_organizations_in_its_mode() {
    let app = app().await;
    let rows = async |query: &str| {
        let path = format!("/admin/usage?start=2023-12-14T00:00:00Z{query}");
        let usage = json_of(&app, &path, "dash_ada").await;
        let row =
            |row: &Value| (row["organization"].as_str().map(str::to_owned), row["total"].as_u64().unwrap());
        usage["rows"].as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    let of = |organization: &str, total| (Some(organization.to_owned()), total);
    assert_eq!(rows("").await, [(None, 143)]);
    assert_eq!(rows("&groupBy=organization").await, [of("=globex", 100), of("acme", 43)]);
    assert_eq!(rows("&groupBy=organization&organization=acme").await, [of("acme", 43)]);
    assert_eq!(rows("&organization=none").await, [(None, 0)]);
}

#[tokio::test]
async fn usage_is_csv_for_those_who_ask_for_it() {
    let app = app().await;
    let path = "/usage?start=2023-12-14T00:00:00Z&groupBy=category";
    let expected = "start,keyId,organization,mode,category,total,ok,client_error,limited,forbidden,refused,server_error\r\n\
        2023-12-14T00:00:00Z,,,,reads,42,40,0,2,0,0,0\r\n\
        2023-12-14T00:00:00Z,,,,\"writes, slow\",1,0,0,0,0,0,1\r\n";
    for (path, accept) in [(path.to_owned(), "text/csv"), (format!("{path}&format=csv"), "application/json")]
    {
        let (status, headers, body) = ask(&app, &path, &app.reader, accept).await;
        assert_eq!((status, &*body), (StatusCode::OK, expected), "{path}");
        assert_eq!(headers["content-type"], "text/csv; charset=utf-8; header=present");
        assert_eq!(headers["content-disposition"], "attachment; filename=\"usage.csv\"");
    }
    let path = "/admin/usage?start=2023-12-14T00:00:00Z&groupBy=key&format=csv";
    let (_, _, body) = ask(&app, path, "dash_ada", "").await;
    let lines: Vec<_> = body.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "2023-12-14T00:00:00Z,g,\"'=globex\",live,,100,100,0,0,0,0,0",
            "2023-12-14T00:00:00Z,\"'-a\",acme,live,,42,40,0,2,0,0,0",
            "2023-12-14T00:00:00Z,b,acme,live,,1,0,0,0,0,0,1",
        ],
        "a text that begins like a formula is none"
    );
}

#[tokio::test]
async fn a_request_for_usage_that_is_not_valid_or_not_allowed_is_rejected() {
    let app = app().await;
    for (path, token, status, part) in [
        ("/usage", "", 401, "unauthenticated"),
        ("/usage", &*app.other, 403, "management_scope_missing"),
        ("/usage?bucket=week", &*app.other, 403, "management_scope_missing"),
        ("/admin/usage", &*app.reader, 403, "tier_mismatch"),
        ("/open/usage", &*app.reader, 403, "operator_only"),
        ("/usage?bucket=week", &*app.reader, 400, "must be hour or day"),
        ("/usage?start=yesterday", &*app.reader, 400, "must be a time"),
        ("/usage?end=1&end=2", &*app.reader, 400, "must not come twice"),
        ("/usage?groupBy=outcome", &*app.reader, 400, "must be key, organization or category"),
        ("/usage?key=..", &*app.reader, 400, "must be the identifier of a key"),
        ("/usage?format=xml", &*app.reader, 400, "must be json or csv"),
        ("/usage?start=2030-01-01T00:00:00Z", &*app.reader, 400, "must be after the start"),
        ("/usage?start=1970-01-01T00:00:00Z&bucket=hour", &*app.reader, 400, "more than 20000 rows"),
        ("/admin/usage?organization=a%20b", "dash_ada", 400, "must be the identifier of an organization"),
    ] {
        // Also where CSV is asked for, an error has the format of errors.
        let (found, headers, body) = ask(&app, path, token, "text/csv").await;
        assert_eq!(found, status, "{path} {body}");
        assert_eq!(headers["content-type"], "application/problem+json", "{path}");
        assert!(body.contains(part), "{path} {body}");
    }
    let many = "key=a&".repeat(101);
    let (status, _, body) = ask(&app, &format!("/usage?{many}"), &app.reader, "").await;
    assert_eq!(status, 400);
    assert!(body.contains("at most 100 times"), "{body}");
}
