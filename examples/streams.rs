//! Streams that end with their key: server-sent events, and a WebSocket for browsers.
//!
//! ```text
//! cargo run --example streams --features axum
//! ```
//!
//! It prints a new key for events, one that manages keys, and `curl` lines to paste. Keys are kept in memory or, with the
//! required features (`--features full`), in the database that `DATABASE_URL` names (`sqlite:keys.db`, `postgres://…`; see
//! `support/mod.rs`).
//!
//! | route | needs | answers with |
//! |---|---|---|
//! | `GET /events` | `events:read` | a server-sent event each second, until the key ends |
//! | `GET /socket` | `events:read` | the same as messages of a WebSocket, which then closes with code 1008 |
//! | `DELETE /api-keys/{id}` | `api-keys:write` | revokes a key and deletes it |
//!
//! A browser can't set header fields for a WebSocket, so the key is also accepted as a subprotocol:
//! `new WebSocket("ws://127.0.0.1:3000/socket", ["events", "key." + key])`. The response selects `events`.
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one).

// An example writes to standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::stream::{self, Stream, StreamExt};
use support::{close, listen, log_to_stderr, open_store, stopped};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tower_api_keys::credential::WebSocketKey;
use tower_api_keys::manage::{CreatedKey, KeyManager};
use tower_api_keys::stream::Revoked;
use tower_api_keys::{ApiKeys, KeyFormat, NewKey, Principal};

/// What handlers need.
#[derive(Clone)]
struct App {
    keys: KeyManager,
    /// Closed when the server stops, as it waits for the bodies of responses.
    running: watch::Receiver<()>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("streams: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    log_to_stderr()?;
    let format = KeyFormat::new("demo_")?;
    let keys = ApiKeys::builder(open_store().await?, format.clone())
        .header("x-api-key")
        .extractor(WebSocketKey::new(format))
        .routes([("GET", "/events", "events:read"), ("GET", "/socket", "events:read")])
        .route("DELETE", "/api-keys/{id}", "api-keys:write")
        .build()?;
    let reader = NewKey::new("Reader").scope("events:read");
    let reader = keys.manager().create_for("company_demo", reader).await?;
    let manager = NewKey::new("Manager").scope("api-keys:write").scope("events:read");
    let manager = keys.manager().create_for("company_demo", manager).await?;

    let (running, stops) = watch::channel(());
    let app = Router::new()
        .route("/events", get(events))
        .route("/socket", get(socket))
        .nest("/api-keys", keys.key_routes())
        .layer(keys.layer())
        .with_state(App { keys: keys.manager().clone(), running: stops });

    let listener = listen().await?;
    let stopped = stopped()?;
    introduce(listener.local_addr()?, &reader, &manager);
    let background = tokio::spawn(keys.background());
    let stop = async move {
        stopped.await;
        drop(running);
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    close(&keys, background).await;
    Ok(())
}

/// An event each second, from now on.
fn news() -> impl Stream<Item = String> + Send {
    stream::unfold((interval(Duration::from_secs(1)), 1), async |(mut clock, number)| {
        clock.tick().await;
        Some((format!("event {number}"), (clock, number + 1)))
    })
}

async fn events(
    State(mut app): State<App>,
    principal: Principal,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let revoked = app.keys.revoked(&principal);
    let end = async move {
        tokio::select! {
            () = revoked => {}
            _ = app.running.changed() => {}
        }
    };
    let events = news().map(|text| Ok(Event::default().data(text)));
    Sse::new(events.take_until(Box::pin(end)))
}

async fn socket(State(app): State<App>, principal: Principal, upgrade: WebSocketUpgrade) -> Response {
    let revoked = app.keys.revoked(&principal);
    // Of what the client offers only this is ever selected; the key is not repeated.
    upgrade.protocols(["events"]).on_upgrade(|socket| talk(socket, revoked))
}

async fn talk(mut socket: WebSocket, revoked: Revoked) {
    let talk = async {
        let mut news = std::pin::pin!(news());
        loop {
            tokio::select! {
                Some(text) = news.next() => {
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                message = socket.recv() => match message {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
            }
        }
    };
    // Around sending, too: a client that does not read is closed as well.
    tokio::select! {
        () = talk => return,
        () = revoked => {}
    }
    let frame = CloseFrame { code: close_code::POLICY, reason: "the key has ended".into() };
    // The client may be gone, or may not read.
    let _ = timeout(Duration::from_secs(1), socket.send(Message::Close(Some(frame)))).await;
}

fn introduce(address: SocketAddr, reader: &CreatedKey, manager: &CreatedKey) {
    let base = format!("http://{address}");
    let (key, manager) = (reader.secret.expose_secret(), manager.secret.expose_secret());
    println!("BASE_URL={base}");
    println!("API_KEY={key}");
    println!("KEY_ID={}", reader.key.id);
    println!("MANAGER_API_KEY={manager}");
    println!();
    println!("# Events for three seconds, and 401 without a key:");
    println!(r#"curl -i --no-buffer --max-time 3 {base}/events -H "x-api-key: {key}""#);
    println!("curl -i {base}/events");
    println!("# In another terminal, while this follows the events: the stream ends.");
    println!(r#"# curl -i --no-buffer {base}/events -H "x-api-key: {key}""#);
    println!(r#"curl -i -X DELETE {base}/api-keys/{} -H "x-api-key: {manager}""#, reader.key.id);
    println!();
    println!("ready");
}
