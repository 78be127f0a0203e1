//! One API in several processes: keys in PostgreSQL, cached in each process until a change is reported, and one limit
//! for all processes, counted by Redis.
//!
//! # The two-minute tour
//!
//! It needs a PostgreSQL and a Redis (or Valkey). Two temporary ones:
//!
//! ```sh
//! docker run --rm --detach --publish 127.0.0.1:5432:5432 --env POSTGRES_USER=demo --env POSTGRES_PASSWORD=demo postgres:15
//! docker run --rm --detach --publish 127.0.0.1:6379:6379 redis:7
//! ```
//!
//! or, on Debian and Ubuntu, without Docker:
//!
//! ```sh
//! sudo apt-get install postgresql redis-server
//! sudo -u postgres psql -c "CREATE ROLE demo LOGIN PASSWORD 'demo'" -c "CREATE DATABASE demo OWNER demo"
//! ```
//!
//! Start the program in two terminals:
//!
//! ```sh
//! export DATABASE_URL=postgres://demo:demo@127.0.0.1/demo REDIS_URL=redis://127.0.0.1
//! LISTEN_ADDR=127.0.0.1:3000 cargo run --example distributed --features full
//! ```
//!
//! ```sh
//! export DATABASE_URL=postgres://demo:demo@127.0.0.1/demo REDIS_URL=redis://127.0.0.1
//! LISTEN_ADDR=127.0.0.1:3001 cargo run --example distributed --features full
//! ```
//!
//! In a third terminal, paste the line `API_KEY=…` that one of them printed, and then these lines. Each `curl` shows
//! the status that the line above it announces:
//!
//! ```sh
//! A=http://127.0.0.1:3000
//! B=http://127.0.0.1:3001
//!
//! # Make a key on A:
//! NEW=$(curl -sS $A/api-keys -H "x-api-key: $API_KEY" -H "Content-Type: application/json" -d '{"name": "Tour", "scopes": ["notes:read"]}')
//! KEY=$(echo "$NEW" | grep -o '"key":"[^"]*"' | cut -d '"' -f 4)
//! ID=$(echo "$NEW" | grep -o '"id":"[^"]*"' | cut -d '"' -f 4)
//!
//! # Use it on B, on A, and on B again. They count together:
//! # 200, x-ratelimit-remaining: 2
//! curl -i $B/notes -H "x-api-key: $KEY"
//! # 200, x-ratelimit-remaining: 1
//! curl -i $A/notes -H "x-api-key: $KEY"
//! # 200, x-ratelimit-remaining: 0
//! curl -i $B/notes -H "x-api-key: $KEY"
//! # 429, x-ratelimit-remaining: 0
//! curl -i $A/notes -H "x-api-key: $KEY"
//! # 429, x-ratelimit-remaining: 0
//! curl -i $B/notes -H "x-api-key: $KEY"
//!
//! # Revoke it on A, and B rejects it:
//! # 200
//! curl -i -X DELETE $A/api-keys/$ID -H "x-api-key: $API_KEY"
//! # 401
//! curl -i $B/notes -H "x-api-key: $KEY"
//! # 401
//! curl -i $A/notes -H "x-api-key: $KEY"
//! ```
//!
//! Stop either program, in any way, and start it again: valid keys are still valid, and revoked ones stay revoked.
//!
//! # Variables
//!
//! Reads `DATABASE_URL` and `REDIS_URL`, which must be set; `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one),
//! `LIMIT` (requests a minute for each key, 3), and `REDIS_DEADLINE_MS` (how long to wait for Redis before this
//! process counts by itself, 50 milliseconds).

// An example writes to standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use support::{close, listen, log_to_stderr, open_store, stopped};
use tower_api_keys::limit::RedisConnection;
use tower_api_keys::route::RouteMatching;
use tower_api_keys::{ApiKeys, KeyFormat, NewKey, Principal, Quota, RateLimit};

/// The number of programs. While Redis is unavailable, each admits its part of the limit.
const PROCESSES: NonZeroU32 = NonZeroU32::new(2).expect("2 is not 0");

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("distributed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    log_to_stderr()?;
    needed("DATABASE_URL")?;
    let redis =
        RedisConnection::open(&needed("REDIS_URL")?).map_err(|error| format!("REDIS_URL: {error}"))?;
    let limit = env::var("LIMIT").unwrap_or_else(|_| "3".to_owned());
    let limit = limit.parse().map_err(|error| format!("LIMIT={limit}: {error}"))?;
    let deadline = env::var("REDIS_DEADLINE_MS").unwrap_or_else(|_| "50".to_owned());
    let deadline = deadline.parse().map_err(|error| format!("REDIS_DEADLINE_MS={deadline}: {error}"))?;
    let redis = redis.with_processes(PROCESSES).with_deadline(Duration::from_millis(deadline));

    // `open_store` shows how to combine PostgreSQL, the cache and the reports of changes.
    let keys = ApiKeys::builder(open_store().await?, KeyFormat::new("demo_")?)
        .header("x-api-key")
        .limit(RateLimit::per_key("notes", Quota::per_minute(limit)?))
        .shared_limits(redis, "rate_limit")
        .without_route_table()
        .match_routes(RouteMatching::MatchedPath)
        .record_last_use()
        .build()?;
    let key = NewKey::new("First key").scopes(["notes:read", "api-keys:read", "api-keys:write"]);
    let key = keys.manager().create_for("company_demo", key).await?;

    let (listener, stopped) = (listen().await?, stopped()?);
    let address = listener.local_addr()?;
    let notes = Router::new()
        .route("/notes", get(async move |caller: Principal| notes(&caller, address)))
        .layer(keys.require("notes:read"))
        .layer(keys.rate_limit());
    // The key routes have their own scopes, and are not limited.
    let key_routes = keys.key_routes_of(keys.manager().clone()).delete_revokes().into_router();
    let app = Router::new().nest("/api-keys", key_routes).merge(notes).layer(keys.authenticate());
    introduce(address, key.secret.expose_secret());
    let background = tokio::spawn(keys.background());
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    close(&keys, background).await;
    Ok(())
}

fn needed(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{name} must be set; see the top of examples/distributed.rs"))
}

fn notes(caller: &Principal, address: SocketAddr) -> String {
    format!("{address} has no notes for {} yet\n", caller.name())
}

fn introduce(address: SocketAddr, key: &str) {
    let base = format!("http://{address}");
    println!("BASE_URL={base}");
    println!("API_KEY={key}");
    println!();
    println!("# The notes, here or on any other of these programs, and the keys of all of them:");
    println!(r#"curl -i {base}/notes -H "x-api-key: {key}""#);
    println!(r#"curl -i {base}/api-keys -H "x-api-key: {key}""#);
    println!("# 401 without a key:");
    println!("curl -i {base}/notes");
    println!();
    println!("ready");
}
