//! The layer around a plain hyper service, without axum.
//!
//! ```text
//! cargo run --example hyper_service
//! ```
//!
//! It prints the new key and `curl` lines to paste. Speaks HTTP/1.1 and HTTP/2 on one port. Keys are kept in memory
//! or, with the required features (`--features full`), in the database that `DATABASE_URL` names (`sqlite:keys.db`,
//! `postgres://…`; see `support/mod.rs`).
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one).

// An example writes to standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use support::{close, listen, log_to_stderr, open_store, stopped};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::{Access, ApiKeys, KeyFormat, NewKey, Principal, Quota, RateLimit};

type Answer = Response<Full<Bytes>>;

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hyper_service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    log_to_stderr()?;
    let keys = ApiKeys::builder(open_store().await?, KeyFormat::new("demo_")?)
        .header("x-api-key")
        .client_address(ClientAddressSource::peer())
        .limit(RateLimit::per_address("addresses", Quota::per_minute(1000)?))
        .limit(RateLimit::per_key("requests", Quota::per_minute(100)?))
        .routes([("GET", "/notes", "notes:read"), ("POST", "/notes", "notes:write")])
        .route("GET", "/whoami", Access::AnyKey)
        .record_last_use()
        .build()?;
    let key = keys.manager().create_for("company_demo", NewKey::new("Reader").scope("notes:read")).await?;
    let service = ServiceBuilder::new().layer(keys.layer()).service(service_fn(answer));

    let listener = listen().await?;
    let mut stopped = pin!(stopped()?);
    introduce(listener.local_addr()?, key.secret.expose_secret());
    let background = tokio::spawn(keys.background());

    let mut server = auto::Builder::new(TokioExecutor::new());
    // The timers let hyper give up on clients that never finish a request's head.
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new());
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => break,
        };
        let Ok((stream, peer)) = accepted else {
            // For instance out of file descriptors: closed connections release some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = service.clone();
        let service = service_fn(move |request| call(service.clone(), peer, request));
        let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            // Clients may disconnect at any time.
            let _ = connection.await;
        });
    }
    connections.shutdown().await;
    close(&keys, background).await;
    Ok(())
}

/// Adds what hyper leaves to its services: the address of the peer, and `HEAD` responses without a body, which hyper
/// would send over HTTP/2.
async fn call<S>(service: S, peer: SocketAddr, mut request: Request<Incoming>) -> Result<Answer, Infallible>
where
    S: Service<Request<Incoming>, Response = Answer, Error = Infallible>,
{
    request.extensions_mut().insert(PeerAddress(peer.ip()));
    let is_head = request.method() == Method::HEAD;
    let mut response = service.oneshot(request).await?;
    if is_head {
        *response.body_mut() = Full::default();
    }
    Ok(response)
}

/// Inside the layer. Requests without a rule never arrive here.
async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let caller = Principal::from_extensions(request.extensions());
    let (status, text) = match (request.method(), request.uri().path(), caller) {
        (&Method::GET | &Method::HEAD, "/notes", Some(_)) => (StatusCode::OK, "no notes yet\n".to_owned()),
        (&Method::POST, "/notes", Some(_)) => (StatusCode::CREATED, "noted\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/whoami", Some(caller)) => {
            (StatusCode::OK, format!("{}\n", caller.name()))
        }
        _ => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

fn introduce(address: SocketAddr, key: &str) {
    let base = format!("http://{address}");
    println!("BASE_URL={base}");
    println!("API_KEY={key}");
    println!();
    println!("# The same over HTTP/1.1 and HTTP/2:");
    println!(r#"curl -i {base}/whoami -H "x-api-key: {key}""#);
    println!(r#"curl -i --http2-prior-knowledge {base}/notes -H "x-api-key: {key}""#);
    println!("# 401 without a key, 403 because this one may only read:");
    println!("curl -i {base}/notes");
    println!(r#"curl -i -X POST {base}/notes -H "x-api-key: {key}""#);
    println!();
    println!("ready");
}
