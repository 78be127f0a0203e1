//! The quick start: one route behind keys, a scope and a rate limit.
//!
//! ```text
//! cargo run --example hello --features axum
//! ```

// An example writes to standard output.
#![allow(clippy::print_stdout)]

use axum::{Router, routing::get};
use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, NewKey, Principal, Quota, RateLimit};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
        .header("x-api-key")
        .limit(RateLimit::per_key("requests", Quota::per_minute(1000)?))
        .route("GET", "/workflows", "workflows:read")
        .build()?;

    // The first key is created in code. Its secret is shown once; the store holds only its digest.
    let key = keys.manager().create_for("org_1", NewKey::new("First key").scope("workflows:read")).await?;

    let workflows = async |caller: Principal| format!("The workflows of {}\n", caller.name());
    let app = Router::new().route("/workflows", get(workflows)).layer(keys.layer());

    let address = "127.0.0.1:3000";
    let listener =
        tokio::net::TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
    println!(r#"curl -i http://{address}/workflows -H "x-api-key: {}""#, key.secret.expose_secret());
    axum::serve(listener, app).await?;
    Ok(())
}
