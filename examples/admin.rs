//! Keys of all customers, for the application's own staff: list them, find a leaked one, revoke it, change a limit.
//!
//! ```text
//! cargo run --example admin --features axum
//! ```
//!
//! It prints a session of a member of staff, a customer's key, and `curl` lines to paste. Keys are kept in memory or, with
//! the required features (`--features full`), in the database that `DATABASE_URL` names (`sqlite:keys.db`, `postgres://…`; see
//! `support/mod.rs`).
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one).

#![allow(clippy::print_stdout, reason = "an example writes to standard output")]
mod support;

use axum::{Json, Router, extract::State, routing::post};
use support::{close, listen, log_to_stderr, open_store, stopped};
use tower_api_keys::identity::{OrganizationRule, Role, Session, SystemPrincipal};
use tower_api_keys::key::{Mode, Owner, Peppers, SecretString};
use tower_api_keys::manage::{KeyManager, KeyView, ManageError};
use tower_api_keys::{Access, ApiKeys, Authority, KeyFormat, NewKey, scope::ScopeSet};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    log_to_stderr()?;
    // A real application verifies the tokens that its login has issued. Here there is one.
    let token = KeyFormat::new("staff_")?.generate(Mode::Live)?.secret;
    let known = Peppers::none().digest(token.expose_secret());
    let scopes = ScopeSet::parse_list(["api-keys:read", "api-keys:write"])?;
    let ada = Session::new("ada").with_owner(Owner::system(Mode::Live), Role::of_rank(1), scopes);
    let is_ada = move |token: &SecretString| Peppers::none().digest(token.expose_secret()).ct_eq(&known);
    let (read, write) =
        (Access::try_from("api-keys:read")?.of_system(), Access::try_from("api-keys:write")?.of_system());
    let keys = ApiKeys::builder(open_store().await?, KeyFormat::new("acme_")?)
        .bearer()
        .sessions(move |token: &SecretString| is_ada(token).then(|| ada.clone()))
        .organization(OrganizationRule::context())
        .route("GET", "/whoami", Access::AnyKey)
        .routes([("GET", "/admin/keys", read.clone()), ("GET", "/admin/keys/{id}", read)])
        .routes([("PATCH", "/admin/keys/{id}", write.clone()), ("POST", "/admin/leaks", write)])
        .record_last_use()
        .build()?;
    let app = Router::new()
        .nest("/admin/keys", keys.key_routes_of(keys.manager().clone()).for_staff().into_router())
        .route("/admin/leaks", post(leaked).with_state(keys.manager().clone()))
        .route("/whoami", keys.whoami_route())
        .layer(keys.layer());
    let key = keys.manager().create_for("org_1", NewKey::new("Production").scope("invoices:read")).await?;
    let (id, key, ada) = (key.key.id, key.secret.expose_secret(), token.expose_secret());
    let (listener, stopped, background) = (listen().await?, stopped()?, tokio::spawn(keys.background()));
    let base = format!("http://{}", listener.local_addr()?);
    let curl = format!("curl -i -H 'authorization: Bearer {ada}' {base}/admin");
    println!("BASE_URL={base}\nSTAFF_SESSION={ada}\nAPI_KEY={key}\nKEY_ID={id}\n");
    println!("curl -i -H 'authorization: Bearer {key}' {base}/whoami\n{curl}/keys?scope=invoices:read");
    println!("{curl}/keys/{id} -X PATCH --json '{{\"limits\":{{\"requests\":5000}}}}'");
    println!("{curl}/leaks -d {key}\n\nready");
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    close(&keys, background).await;
    Ok(())
}

/// Revokes the key that has leaked, and what was made with it. Its text is the body, as paths go into logs.
async fn leaked(
    ada: SystemPrincipal,
    State(keys): State<KeyManager>,
    text: String,
) -> Result<Json<Vec<KeyView>>, ManageError> {
    let key = keys.find_by_text(&text).await?.ok_or(ManageError::NotFound)?;
    keys.revoke_with_descendants(&Authority::system(&ada, key.owner), &key.id).await.map(Json)
}
