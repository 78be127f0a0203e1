//! A node: an API over keys that the nodes of a pair share, with all that an application would switch on.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::routing::{get, put};
use axum::{Json, Router};
use futures_util::StreamExt;
use futures_util::stream;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic_health::server::health_reporter;
use tower_api_keys::console::Console;
use tower_api_keys::key::{KeyId, Mode, Owner};
use tower_api_keys::limit::RedisConnection;
use tower_api_keys::manage::{AuditEvent, KeyChange, ManageError};
use tower_api_keys::rejection::GrpcStatus;
use tower_api_keys::store::{
    CachedStore, CachedStoreBuilder, KeyAdministration, KeyStore, PostgresInvalidations, PostgresStore,
    RedisInvalidation, SqliteStore,
};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, Authority, Principal, Quota, RateLimit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::format;

/// So few that a run fills the cache soon.
const CACHED: usize = 200;

/// What a key has in a month on one route, and at a time on another.
pub(crate) const MONTH: u32 = 300;
pub(crate) const AT_A_TIME: u32 = 3;
const SLOW: Duration = Duration::from_millis(500);
/// A gRPC method.
const CALL: &str = "/grpc.health.v1.Health/Check";

/// For requests and for gRPC calls.
type Assemblies = (ApiKeysBuilder, ApiKeys<GrpcStatus>);

/// Runs until SIGTERM. The environment says where everything is; see [`Process`](crate::process::Process).
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let log = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(io::stderr);
    let log = log.with_filter(Targets::new().with_default(LevelFilter::INFO));
    tracing_subscriber::registry().with(log).init();
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    metrics::set_global_recorder(recorder)?;

    let (keys, calls) = match (env::var("DATABASE_URL")?, env::var("REDIS_URL")) {
        (url, Ok(redis)) => over_postgres(&url, &redis).await?,
        (url, Err(_)) => assemblies(CachedStore::builder(SqliteStore::open(url).await?))?,
    };
    let keys = keys
        .limit(RateLimit::per_key("requests", Quota::per_minute(1_000_000)?))
        .limit(RateLimit::per_key("month", Quota::per_month(MONTH)?).only_route("GET", "/counted"))
        .limit(RateLimit::per_key("at a time", Quota::concurrent(AT_A_TIME)?).only_route("GET", "/slow"))
        .routes(["/notes", "/counted", "/slow", "/events"].map(|path| ("GET", path, "notes:read")))
        .route("GET", "/health", "api-keys:read")
        .route("GET", "/api-keys", "api-keys:read")
        .route("POST", "/api-keys", "api-keys:write")
        .route("PATCH", "/api-keys/{id}", "api-keys:write")
        .route("DELETE", "/api-keys/{id}", "api-keys:write")
        .route("POST", "/api-keys/{id}/rotate", "api-keys:write")
        .route("POST", "/api-keys/{id}/revoke", "api-keys:write")
        .route("PUT", "/names/{id}", "api-keys:write")
        .record_last_use()
        .count_usage()
        .request_ids()
        .audit(write_to(File::options().create(true).append(true).open(env::var("EVENTS")?)?))
        .build()?;

    let listener = TcpListener::bind(env::var("LISTEN_ADDR")?.parse::<SocketAddr>()?).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let background = [tokio::spawn(keys.background()), tokio::spawn(calls.background())];
    let upkeep = scrape.clone();
    tokio::spawn(async move {
        loop {
            upkeep.run_upkeep();
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
    let (running, stops) = watch::channel(());
    let manager = keys.manager().clone();
    let events = async move |caller: Principal| {
        let (revoked, mut stops) = (manager.revoked(&caller), stops.clone());
        let end = async move {
            tokio::select! {
                () = revoked => {}
                _ = stops.changed() => {}
            }
        };
        let events = stream::unfold((), async |()| {
            sleep(Duration::from_millis(500)).await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b"event\n")), ()))
        });
        Body::from_stream(events.take_until(Box::pin(end)))
    };
    let manager = keys.manager().clone();
    let rename = async move |Path(id): Path<KeyId>, caller: Principal, name: String| {
        let authority = Authority::principal(&caller).because("it has another name now");
        Ok::<_, ManageError>(Json(manager.update(&authority, &id, KeyChange::new().name(name)).await?))
    };
    let (_, health) = health_reporter();
    let mut document = serde_json::json!({
        "openapi": "3.1.0",
        "info": { "title": "Soak", "version": "1" },
        "paths": { "/notes": { "get": { "responses": { "200": { "description": "The name of the key." } } } } },
    });
    keys.openapi(&mut document)?;
    // Every client is signed in.
    let page = Console::new(&keys, |_| {
        Some(Authority::operator(Owner::organization("acme".parse().ok()?, Mode::Live)).by("ada"))
    });
    let app = Router::new()
        .route("/notes", get(async |caller: Principal| caller.name().to_owned()))
        .route("/counted", get(async || "counted"))
        .route("/slow", get(async || sleep(SLOW).await))
        .route("/events", get(events))
        .route("/health", keys.health_route())
        .nest("/api-keys", keys.key_routes())
        .route("/names/{id}", put(rename))
        .layer(keys.layer())
        .merge(Router::new().route_service(CALL, health).layer(calls.layer()))
        .nest("/page", page.into_router())
        .route("/openapi.json", get(async move || Json(document)))
        .route("/metrics", get(async move || scrape.render()));
    let stopped = async move {
        terminate.recv().await;
        drop(running);
    };
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    background.iter().for_each(JoinHandle::abort);
    keys.flush().await?;
    Ok(calls.flush().await?)
}

/// Limits are counted by Redis. Changes of keys are reported by both servers; a node hears one of them.
async fn over_postgres(url: &str, redis: &str) -> Result<Assemblies, Box<dyn Error>> {
    let changes = RedisInvalidation::open(redis)?;
    let store = CachedStore::builder(PostgresStore::connect(url).await?).publish_to(changes.clone());
    let store = match &*env::var("FOLLOWS")? {
        "redis" => store.follow(changes.source()),
        _ => store.follow(PostgresInvalidations::connecting_with(url.parse()?)),
    };
    let connection = RedisConnection::open(redis)?
        .with_processes(const { NonZeroU32::new(2).expect("not 0") })
        // Redis should count even if the machine is busy.
        .with_deadline(Duration::from_millis(500));
    let (keys, calls) = assemblies(store)?;
    Ok((keys.shared_limits(connection, "soak"), calls))
}

fn assemblies<S>(store: CachedStoreBuilder<S>) -> Result<Assemblies, Box<dyn Error>>
where
    S: KeyStore + KeyAdministration,
{
    let store = Arc::new(store.capacity(CACHED).absent_capacity(CACHED).build());
    let keys = ApiKeys::builder(store.clone(), format()).header("x-api-key");
    let calls = ApiKeys::builder(store, format()).header("x-api-key").route("POST", CALL, "notes:read");
    Ok((keys, calls.record_last_use().count_usage().errors(GrpcStatus).build()?))
}

/// A line for each event that the store keeps: its number.
fn write_to(file: File) -> impl Fn(&AuditEvent) + Send + Sync {
    let file = Mutex::new(file);
    move |event| {
        // Attempts that failed because the store was away have none.
        let Some(number) = event.number else { return };
        let written = file.lock().expect("nothing panics").write_all(format!("{number}\n").as_bytes());
        written.expect("there is room for events");
    }
}
