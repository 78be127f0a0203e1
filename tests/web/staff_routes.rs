//! The key routes for an application's own staff: keys of every organization, and of one mode.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_api_keys::identity::{OrganizationRule, Role, Session};
use tower_api_keys::key::{Actor, KeyFormat, Mode, Owner, SecretString};
use tower_api_keys::manage::AuditEvent;
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::{Access, ApiKeys, Authority, MemoryStore, NewKey};

/// The tokens `writer` and `reader`, of staff that may act in both modes.
fn staff(token: &SecretString) -> Option<Session> {
    let scopes = match token.expose_secret() {
        "writer" => ["api-keys:read", "api-keys:write"].as_slice(),
        "reader" => &["api-keys:read"],
        _ => return None,
    };
    let scopes = ScopeSet::parse_list(scopes.iter().copied()).unwrap();
    let add =
        |session: Session, mode| session.with_owner(Owner::system(mode), Role::of_rank(1), scopes.clone());
    Some(add(add(Session::new(token.expose_secret()), Mode::Live), Mode::Test))
}

struct World {
    keys: ApiKeys,
    app: Router,
    events: Arc<Mutex<Vec<AuditEvent>>>,
}

impl World {
    /// The routes behind rules that accept this access.
    fn new(access: Access) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        let one = "/staff/{id}";
        let routes = [("GET", "/staff"), ("POST", "/staff"), ("GET", one), ("PATCH", one), ("DELETE", one)];
        let below =
            [("POST", "/staff/{id}/revoke"), ("POST", "/staff/{id}/rotate"), ("GET", "/staff/{id}/history")];
        let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_").unwrap())
            .bearer()
            .sessions(staff)
            .organization(OrganizationRule::context().mode_header("x-mode"))
            .routes(routes.into_iter().chain(below).map(|(method, path)| (method, path, access.clone())))
            .audit(move |event: &AuditEvent| sink.lock().unwrap().push(event.clone()))
            .build()
            .unwrap();
        let routes: Router = keys.key_routes_of(keys.manager().clone()).for_staff().into_router();
        let app = Router::new().nest("/staff", routes).layer(keys.layer());
        Self { keys, app, events }
    }

    async fn key(&self, owner: Owner, scopes: &[&str]) -> (String, String) {
        let new = NewKey::new(owner.to_string()).scopes(scopes.iter().copied());
        let made = self.keys.manager().create(&Authority::operator(owner), new).await.unwrap();
        (made.key.id.to_string(), made.secret.expose_secret().to_owned())
    }

    async fn send(&self, token: &str, mode: &str, call: &str, body: Value) -> (StatusCode, Value) {
        let (method, path) = call.split_once(' ').unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("x-mode", mode);
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

fn organization(name: &str, mode: Mode) -> Owner {
    Owner::organization(name.parse().unwrap(), mode)
}

#[tokio::test]
async fn staff_see_and_change_the_keys_of_every_owner_in_one_mode() {
    let world = World::new(Access::AnyKey.of_system());
    let mut live = Vec::new();
    for owner in [organization("acme", Mode::Live), organization("globex", Mode::Live)] {
        live.push(world.key(owner, &["invoice:read"]).await.0);
    }
    live.push(world.key(Owner::system(Mode::Live), &[]).await.0);
    let test = world.key(organization("acme", Mode::Test), &[]).await.0;

    let (status, page) = world.send("reader", "live", "GET /staff?limit=2", json!(null)).await;
    assert_eq!((status, page["data"].as_array().unwrap().len()), (StatusCode::OK, 2));
    let next = format!("GET /staff?cursor={}", page["nextCursor"].as_str().unwrap());
    let (_, rest) = world.send("reader", "live", &next, json!(null)).await;
    let both = [page["data"].as_array().unwrap().clone(), rest["data"].as_array().unwrap().clone()].concat();
    let mut listed: Vec<_> = both.iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect();
    listed.sort();
    let mut want = live.clone();
    want.sort();
    assert_eq!(listed, want);
    let (_, page) = world.send("reader", "test", "GET /staff", json!(null)).await;
    assert_eq!(page["data"][0]["id"], test);

    let session = staff(&SecretString::from("writer".to_owned())).unwrap();
    let patch = json!({ "limits": { "requests": 5000 }, "scopes": ["invoice:read", "invoice:create"] });
    let (of_system, of_organizations) = live.split_last().unwrap();
    let path = format!("/staff/{of_system}");
    let (status, error) = world.send("writer", "live", &format!("PATCH {path}"), patch.clone()).await;
    let told = (status, &error["code"]);
    assert_eq!(
        told,
        (StatusCode::FORBIDDEN, &json!("scopes_exceed_own")),
        "no key of the system gains what they lack"
    );
    let (status, _) = world.send("writer", "live", &format!("POST {path}/revoke"), json!(null)).await;
    assert_eq!(status, StatusCode::OK);
    for id in of_organizations {
        let path = format!("/staff/{id}");
        let (status, _) = world.send("reader", "live", &format!("PATCH {path}"), patch.clone()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "the scope for managing keys is needed");
        let (status, _) = world.send("writer", "test", &format!("PATCH {path}"), patch.clone()).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "in the other mode there is no such key");
        world.keys.flush().await.unwrap();
        world.events.lock().unwrap().clear();
        let (status, key) = world.send("writer", "live", &format!("PATCH {path}"), patch.clone()).await;
        assert_eq!((status, &key["limits"]), (StatusCode::OK, &json!({ "requests": 5000 })), "{key}");
        world.keys.flush().await.unwrap();
        let event = world.events.lock().unwrap().pop().unwrap();
        assert_eq!(event.actor, Actor::Session(*session.id()));
        assert_eq!(event.owner.tenant.to_string(), key["organization"].as_str().unwrap_or("system"));
        let (status, _) = world.send("writer", "live", &format!("POST {path}/revoke"), json!(null)).await;
        assert_eq!(status, StatusCode::OK);
        let (_, key) = world.send("reader", "live", &format!("GET {path}"), json!(null)).await;
        assert_eq!(key["status"], "revoked");
        let history = format!("GET {path}/history?limit=2");
        let (_, events) = world.send("reader", "live", &history, json!(null)).await;
        let [revoke, update] = &events["data"].as_array().unwrap()[..] else { panic!("{events}") };
        assert_eq!((&revoke["action"], &update["changed"]), (&json!("revoke"), &json!(["scopes", "limits"])));
        assert_eq!(update["actor"], Actor::Session(*session.id()).to_string());
        let next = events["nextCursor"].as_str().unwrap_or_else(|| panic!("{events}"));
        let rest = format!("GET {path}/history?limit=1000&cursor={next}");
        let (_, rest) = world.send("reader", "live", &rest, json!(null)).await;
        let rest: Vec<_> =
            rest["data"].as_array().unwrap().iter().map(|event| &event["action"]).cloned().collect();
        assert_eq!(rest.last(), Some(&json!("create")));
        for (query, token, mode, status) in [
            ("?limit=0", "reader", "live", StatusCode::BAD_REQUEST),
            ("?cursor=x", "reader", "live", StatusCode::BAD_REQUEST),
            ("?limit=1&limit=2", "reader", "live", StatusCode::BAD_REQUEST),
            ("", "reader", "test", StatusCode::NOT_FOUND),
            ("", "nobody", "live", StatusCode::UNAUTHORIZED),
        ] {
            let (found, _) =
                world.send(token, mode, &format!("GET {path}/history{query}"), json!(null)).await;
            assert_eq!(found, status, "{query} {token} {mode}");
        }
    }
    for id in ["none", "%2e"] {
        let (status, _) = world.send("writer", "live", &format!("DELETE /staff/{id}"), json!(null)).await;
        assert_ne!(status, StatusCode::OK, "{id}");
    }
    let (status, _) = world.send("writer", "live", &format!("DELETE /staff/{}", live[0]), json!(null)).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn staff_get_no_secrets() {
    let world = World::new(Access::AnyKey.of_system());
    let (id, _) = world.key(organization("acme", Mode::Live), &[]).await;
    let new = json!({ "name": "mine", "scopes": [] });
    let (status, _) = world.send("writer", "live", "POST /staff", new).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let (status, _) = world.send("writer", "live", &format!("POST /staff/{id}/rotate"), json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

/// Also where the application has forgotten to ask for callers of the system.
#[tokio::test]
async fn nobody_else_is_let_in() {
    let world = World::new(Access::AnyKey);
    let all = &["api-keys:read", "api-keys:write"];
    let (id, customer) = world.key(organization("acme", Mode::Live), all).await;
    for call in ["GET /staff", "GET /staff/{id}", "PATCH /staff/{id}", "DELETE /staff/{id}"] {
        let call = call.replace("{id}", &id);
        let (status, error) = world.send(&customer, "", &call, json!({})).await;
        assert_eq!((status, &error["code"]), (StatusCode::FORBIDDEN, &json!("operator_only")), "{call}");
        assert_eq!(world.send("guess", "", &call, json!({})).await.0, StatusCode::UNAUTHORIZED, "{call}");
    }
}

#[tokio::test]
async fn a_key_of_the_system_is_let_in_as_staff_are() {
    let world = World::new(Access::AnyKey.of_system());
    let (_, system) = world.key(Owner::system(Mode::Live), &["api-keys:read", "api-keys:write"]).await;
    let (id, _) = world.key(organization("acme", Mode::Live), &["invoice:read"]).await;
    let patch = json!({ "limits": { "requests": 5000 } });
    let (status, key) = world.send(&system, "", &format!("PATCH /staff/{id}"), patch).await;
    assert_eq!((status, &key["limits"]["requests"]), (StatusCode::OK, &json!(5000)));
}
