//! A gRPC service behind the layer: the standard health service, for callers with a key.
//!
//! ```text
//! cargo run --example tonic_service --features full
//! ```
//!
//! It prints the new key and `curl` lines to paste. Keys are kept in memory or in the database that `DATABASE_URL`
//! names (`sqlite:keys.db`, `postgres://…`; see `support/mod.rs`).
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one) and `LIMIT` (calls a minute, 100).

// An example writes to standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use support::{close, listen, log_to_stderr, open_store, stopped};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_api_keys::rejection::GrpcStatus;
use tower_api_keys::{ApiKeys, KeyFormat, NewKey, Principal, Quota, RateLimit};

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
    log_to_stderr()?;
    let limit = variable("LIMIT", "100");
    let limit: u32 = limit.parse().map_err(|error| format!("LIMIT={limit}: {error}"))?;
    // A gRPC client sends the key as metadata, which is a header field.
    let keys = ApiKeys::builder(open_store().await?, KeyFormat::new("demo_")?)
        .header("x-api-key")
        .limit(RateLimit::per_key("calls", Quota::per_minute(limit)?))
        .route("POST", "/grpc.health.v1.Health/Check", "health:check")
        .route("POST", "/grpc.health.v1.Health/Watch", "health:watch")
        .record_last_use()
        .errors(GrpcStatus)
        .build()?;
    let key = keys.manager().create_for("company_demo", NewKey::new("Checker").scope("health:check")).await?;

    let (listener, stopped) = (listen().await?, stopped()?);
    introduce(listener.local_addr()?, key.secret.expose_secret());
    let background = tokio::spawn(keys.background());
    Server::builder()
        .layer(keys.layer())
        .add_service(HealthServer::new(AlwaysWell))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stopped)
        .await?;
    close(&keys, background).await;
    Ok(())
}

struct AlwaysWell;

#[tonic::async_trait]
impl Health for AlwaysWell {
    /// Also returns the caller, in the metadata of the response.
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let principal = Principal::from_tonic(&request)?;
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
