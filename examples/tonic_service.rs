//! A gRPC service behind the layers: the standard health service, for callers with a key.
//!
//! ```text
//! cargo run --example tonic_service --features full
//! ```
//!
//! It prints the key it made and `curl` lines to paste. Keys are held in memory or in the database that `DATABASE_URL`
//! names (`sqlite:keys.db`, `postgres://…`; see `support/mod.rs`).
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 takes a free one)
//! and `LIMIT` (calls a minute, 100).

// An example talks to its reader on standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use http::{HeaderName, Method};
use support::{Keys, stopped};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceBuilder;
use tower_api_keys::credential::HeaderKey;
use tower_api_keys::key::{KeyFormat, Mode, Owner};
use tower_api_keys::limit::{MemoryRateLimiter, Quota};
use tower_api_keys::manage::{Authority, KeyManager, NewKey};
use tower_api_keys::rejection::GrpcStatus;
use tower_api_keys::route::Access;
use tower_api_keys::route::RouteTable;
use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
use tower_api_keys::{AuthenticateLayer, RateLimitLayer, RequireScopeLayer};

const CHECK: ScopeRequirement = ScopeRequirement::from_static("health:check");
const WATCH: ScopeRequirement = ScopeRequirement::from_static("health:watch");

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tonic_service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let limit = variable("LIMIT", "100");
    let limit: u32 = limit.parse().map_err(|error| format!("LIMIT={limit}: {error}"))?;
    let format = KeyFormat::new("demo_")?;
    // A gRPC client sends the key as metadata, which is a header field.
    let header = HeaderKey::new(HeaderName::from_static("x-api-key"), format.clone());
    let keys = Keys::open().await?;

    let manager = KeyManager::new(keys.store.clone(), format);
    let company = Authority::operator(Owner::organization("company_demo".parse()?, Mode::Live));
    let scopes = ScopeSet::parse_list(["health:check"])?;
    let key = manager.create(&company, NewKey::new("Checker").scopes(scopes)).await?;

    let access = RouteTable::new()
        .add(Method::POST, "/grpc.health.v1.Health/Check", Access::Scope(CHECK))?
        .add(Method::POST, "/grpc.health.v1.Health/Watch", Access::Scope(WATCH))?;
    let limiter = MemoryRateLimiter::builder("calls", Quota::per_minute(limit)?).build();
    let authenticate = AuthenticateLayer::new(keys.store.clone(), header)
        .with_last_use(keys.last_use.clone())
        .with_rejection_format(GrpcStatus);
    let layers = ServiceBuilder::new()
        .layer(authenticate)
        .layer(RateLimitLayer::by_key(limiter).with_rejection_format(GrpcStatus))
        .layer(RequireScopeLayer::by_route(access)?.with_rejection_format(GrpcStatus));

    let address = variable("LISTEN_ADDR", "127.0.0.1:3000");
    let listener = TcpListener::bind(&address).await.map_err(|error| format!("{address}: {error}"))?;
    let stopped = stopped()?;
    introduce(listener.local_addr()?, key.secret.expose_secret());
    Server::builder()
        .layer(layers)
        .add_service(HealthServer::new(AlwaysWell))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stopped)
        .await?;
    keys.close().await;
    Ok(())
}

struct AlwaysWell;

#[tonic::async_trait]
impl Health for AlwaysWell {
    /// Also says who asked, in the metadata of the answer.
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let principal = tower_api_keys::tonic::principal(&request)?;
        let caller = principal.key_id().to_string();
        let mut response = Response::new(serving());
        let value = caller.parse().map_err(|_| Status::internal("a key's identifier is no metadata"))?;
        response.metadata_mut().insert("caller", value);
        Ok(response)
    }

    type WatchStream = tokio_stream::Once<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(tokio_stream::once(Ok(serving()))))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn introduce(address: SocketAddr, key: &str) {
    let base = format!("http://{address}");
    println!("BASE_URL={base}");
    println!("API_KEY={key}");
    println!();
    // An empty message: not compressed (one byte), of length 0 (four bytes).
    let call = r#"printf '\0\0\0\0\0' | curl -i --http2-prior-knowledge --output - -H "content-type: application/grpc" -H "te: trailers" --data-binary @-"#;
    println!("# The answer to a call ends in the trailer `grpc-status: 0`:");
    println!(r#"{call} -H "x-api-key: {key}" {base}/grpc.health.v1.Health/Check"#);
    println!("# `grpc-status: 16` without a key, `grpc-status: 7` because this one may only check:");
    println!(r#"{call} {base}/grpc.health.v1.Health/Check"#);
    println!(r#"{call} -H "x-api-key: {key}" {base}/grpc.health.v1.Health/Watch"#);
    println!();
    println!("ready");
}
