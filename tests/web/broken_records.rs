//! The key routes for keys whose records can't be read.
#![cfg(feature = "sqlite")]

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use tower::ServiceExt;
use tower_api_keys::key::{Mode, Owner};
use tower_api_keys::store::SqliteStore;
use tower_api_keys::{ApiKeys, Authority, KeyFormat, NewKey};

struct World {
    keys: ApiKeys,
    app: Router,
    pool: SqlitePool,
}

impl World {
    /// The routes of organizations, and those of staff.
    async fn new() -> Self {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        let store = SqliteStore::new(pool.clone());
        store.migrate().await.unwrap();
        let format = KeyFormat::new("acme_").unwrap();
        let keys = ApiKeys::builder(store, format).bearer().without_route_table().build().unwrap();
        let routes = || keys.key_routes_of(keys.manager().clone());
        let app = Router::new()
            .nest("/keys", routes().into_router())
            .nest("/staff", routes().for_staff().into_router())
            .layer(keys.layer());
        Self { keys, app, pool }
    }

    async fn key(&self, owner: Owner) -> (String, String) {
        let new = NewKey::new("key").scopes(["api-keys:read", "api-keys:write"]);
        let made = self.keys.manager().create(&Authority::operator(owner), new).await.unwrap();
        (made.key.id.to_string(), made.secret.expose_secret().to_owned())
    }

    async fn damage(&self, id: &str, damage: &str) {
        let sql = format!("UPDATE api_keys SET {damage} WHERE id = '{id}'");
        sqlx::query(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }

    async fn send(&self, secret: &str, call: &str) -> (StatusCode, Value) {
        let (method, path) = call.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {secret}"));
        let response = self.app.clone().oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn code(&self, secret: &str, call: &str) -> (u16, String) {
        let (status, body) = self.send(secret, call).await;
        (status.as_u16(), body["code"].as_str().unwrap_or_default().to_owned())
    }
}

fn of(organization: &str) -> Owner {
    Owner::organization(organization.parse().unwrap(), Mode::Live)
}

#[tokio::test]
async fn a_listing_names_broken_keys_beside_whole_ones_and_both_can_be_revoked_and_deleted() {
    let world = World::new().await;
    let (own, acme) = world.key(of("acme")).await;
    let (_, globex) = world.key(of("globex")).await;
    let (system, staff) = world.key(Owner::system(Mode::Live)).await;
    let corrupt = (503, "record_corrupt".to_owned());
    for (caller, path) in [(&acme, "/keys"), (&staff, "/staff")] {
        let listed = world.send(caller, &format!("GET {path}")).await.1;
        assert_eq!(listed.as_object().unwrap().len(), 2, "what is not broken is listed as ever: {listed}");
        let (id, _) = world.key(of("acme")).await;
        world.damage(&id, "scopes = 'none'").await;

        let (status, listed) = world.send(caller, &format!("GET {path}?limit=100")).await;
        assert_eq!((status, &listed["broken"]), (StatusCode::OK, &json!([id])), "{listed}");
        let names: Vec<_> = listed["data"].as_array().unwrap().iter().map(|key| &key["id"]).collect();
        assert!(names.contains(&&json!(own)) && !names.contains(&&json!(id)), "{listed}");
        for call in ["GET", "PATCH"] {
            assert_eq!(world.code(caller, &format!("{call} {path}/{id}")).await, corrupt, "{call} {path}");
        }
        for call in
            [format!("GET /keys/{id}"), format!("POST /keys/{id}/revoke"), format!("DELETE /keys/{id}")]
        {
            assert_eq!(world.code(&globex, &call).await.0, 404, "{call}");
        }

        let (status, revoked) = world.send(caller, &format!("POST {path}/{id}/revoke")).await;
        assert_eq!((status, revoked), (StatusCode::OK, json!({"id": id, "revoked": true})));
        assert_eq!(world.code(caller, &format!("POST {path}/{id}/revoke")).await.0, 404);
        let (status, deleted) = world.send(caller, &format!("DELETE {path}/{id}")).await;
        assert_eq!((status, deleted), (StatusCode::OK, json!({"id": id, "deleted": true})));
    }

    // One whose owner can't be read is for staff alone.
    let (id, _) = world.key(of("acme")).await;
    world.damage(&id, "organization = 'a b'").await;
    assert!(world.send(&acme, "GET /keys").await.1.get("broken").is_none());
    assert_eq!(world.code(&acme, &format!("DELETE /keys/{id}")).await.0, 404);
    assert_eq!(world.send(&staff, "GET /staff").await.1["broken"], json!([id]));
    assert_eq!(world.code(&staff, &format!("DELETE /staff/{id}")).await.0, 200);
    let left = world.send(&staff, "GET /staff").await.1;
    assert!(left.get("broken").is_none() && left["data"].as_array().unwrap().len() == 3, "{system}: {left}");
}

#[tokio::test]
async fn what_a_key_has_made_is_revoked_with_it_also_where_it_can_t_be_read() {
    let world = World::new().await;
    let (own, acme) = world.key(of("acme")).await;
    let principal = Authority::operator(of("acme"));
    for (damages_own, damages_made) in [(false, true), (true, false), (true, true)] {
        let (id, secret) = world.key(of("acme")).await;
        let new = Request::post("/keys")
            .header("authorization", format!("Bearer {secret}"))
            .header("content-type", "application/json")
            .body(Body::from(r#"{"name":"made","scopes":[]}"#))
            .unwrap();
        let made = world.app.clone().oneshot(new).await.unwrap();
        let made = to_bytes(made.into_body(), usize::MAX).await.unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        let (made, made_secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
        for (id, damages) in [(&*id, damages_own), (made, damages_made)] {
            if damages {
                world.damage(id, "expires_at = -1").await;
            }
        }
        let manager = world.keys.manager();
        for _ in 0..2 {
            let revoked = manager.revoke_with_descendants(&principal, &id.parse().unwrap()).await.unwrap();
            assert!(revoked.len() <= 1, "{revoked:?}");
        }
        for id in [&*id, made] {
            world.damage(id, "expires_at = NULL").await;
            assert_eq!(
                manager.find_by_id(&id.parse().unwrap()).await.unwrap().unwrap().status.as_str(),
                "revoked"
            );
        }
        assert_eq!(world.code(made_secret, "GET /keys").await.0, 401);
        let shown = world.send(&acme, &format!("GET /keys/{own}")).await;
        assert_eq!(shown.0, StatusCode::OK, "{shown:?}");
    }
}
