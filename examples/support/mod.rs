//! Shared by the examples: the log, the key store, the listener, and the shutdown.
//!
//! `DATABASE_URL` sets where keys are kept:
//!
//! | `DATABASE_URL` | keys are kept | needs the features |
//! |---|---|---|
//! | not set | in memory, until the program ends | |
//! | `sqlite:keys.db`, `sqlite:///srv/keys.db` | in an SQLite file, created if missing | `sqlite` |
//! | `postgres://user:password@host/database` | in PostgreSQL, for any number of programs | `postgres`, `cache` |
//!
//! Each start creates its first keys again. In a database, those of earlier starts stay valid until they are revoked.
//!
//! The log goes to standard error. `RUST_LOG` sets what it has: a level for all, or for a target, as in
//! `RUST_LOG=warn,tower_api_keys=debug`; by default `info`. Events of tower-api-keys itself need the feature `tracing`.

use std::env;
use std::error::Error;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tower_api_keys::ApiKeys;
use tower_api_keys::store::{KeyAdministration, MemoryStore};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// Any store whose keys can be managed.
pub(crate) type Store = Arc<dyn KeyAdministration>;

/// Writes the log to standard error, as `RUST_LOG` says.
pub(crate) fn log_to_stderr() -> Result<(), String> {
    let wanted = env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let targets: Targets = wanted.parse().map_err(|error| format!("RUST_LOG={wanted}: {error}"))?;
    let log = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    // Colours, if they are built in, are for people.
    let log = if io::stderr().is_terminal() { log } else { log.with_ansi(false) };
    tracing_subscriber::registry().with(log.with_filter(targets)).init();
    Ok(())
}

/// Opens the store that `DATABASE_URL` names, and reports it on standard error.
pub(crate) async fn open_store() -> Result<Store, Box<dyn Error>> {
    let url = match env::var("DATABASE_URL") {
        Ok(url) => Some(url),
        Err(env::VarError::NotPresent) => None,
        Err(error) => return Err(format!("DATABASE_URL: {error}").into()),
    };
    let (store, place) = open(url.as_deref()).await.map_err(|error| format!("DATABASE_URL: {error}"))?;
    eprintln!("Keys are kept {place}.");
    Ok(store)
}

/// Listens on `LISTEN_ADDR`, by default 127.0.0.1:3000.
pub(crate) async fn listen() -> Result<TcpListener, String> {
    let address = env::var("LISTEN_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    TcpListener::bind(&address).await.map_err(|error| format!("LISTEN_ADDR={address}: {error}"))
}

/// Stops `background`, and writes what it has not written yet. Call it when the server has stopped.
pub(crate) async fn close<F>(keys: &ApiKeys<F>, background: JoinHandle<()>) {
    background.abort();
    if let Err(error) = keys.flush().await {
        eprintln!("the last use of keys was not written: {}", with_causes(&error));
    }
}

type Opened = Result<(Store, &'static str), Box<dyn Error>>;

async fn open(url: Option<&str>) -> Opened {
    let Some(url) = url else {
        let place = "in memory and end with this program; DATABASE_URL can name a database";
        return Ok((Arc::new(MemoryStore::new()), place));
    };
    // The URL is not repeated, as it may contain a password.
    match url.split_once(':') {
        Some(("sqlite", _)) => in_sqlite(url).await,
        Some(("postgres" | "postgresql", _)) => in_postgres(url).await,
        _ => Err("it begins with sqlite: or postgres:, or is not set".into()),
    }
}

#[cfg(feature = "sqlite")]
async fn in_sqlite(url: &str) -> Opened {
    use tower_api_keys::store::SqliteStore;

    let store = SqliteStore::open(url).await.map_err(|error| with_causes(&error))?;
    Ok((Arc::new(store), "in an SQLite file; those of earlier starts work, too"))
}

/// Each process caches what it has read, until another one reports a change.
#[cfg(all(feature = "postgres", feature = "cache"))]
async fn in_postgres(url: &str) -> Opened {
    use sqlx::postgres::PgConnectOptions;
    use sqlx::{Connection, PgConnection, PgPool};
    use tower_api_keys::store::{CachedStore, PostgresInvalidations, PostgresStore};

    let options: PgConnectOptions = url.parse()?;
    // A pool would retry for half a minute, and not report why it failed.
    PgConnection::connect_with(&options).await?.close().await?;
    let pool = PgPool::connect_lazy_with(options);
    let database = PostgresStore::new(pool.clone());
    database.migrate().await.map_err(|error| with_causes(&error))?;
    // `ApiKeys::background` does the following.
    let store = CachedStore::builder(database).follow(PostgresInvalidations::new(&pool)).build();
    Ok((Arc::new(store), "in PostgreSQL; those of earlier starts and of other programs work, too"))
}

#[cfg(not(feature = "sqlite"))]
async fn in_sqlite(_: &str) -> Opened {
    Err("an SQLite file needs a program that was built with --features sqlite".into())
}

#[cfg(not(all(feature = "postgres", feature = "cache")))]
async fn in_postgres(_: &str) -> Opened {
    Err("PostgreSQL needs a program that was built with --features postgres,cache".into())
}

fn with_causes(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

/// Completes on SIGINT or SIGTERM.
pub(crate) fn stopped() -> Result<impl Future<Output = ()>, std::io::Error> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_opened_is_said() {
        let beginning = "it begins with sqlite: or postgres:, or is not set";
        let mut cases = vec![("", beginning), ("keys.db", beginning), ("mysql://localhost", beginning)];
        if cfg!(not(feature = "sqlite")) {
            cases.push((
                "sqlite:keys.db",
                "an SQLite file needs a program that was built with --features sqlite",
            ));
        }
        if cfg!(not(all(feature = "postgres", feature = "cache"))) {
            cases.push((
                "postgres://localhost",
                "PostgreSQL needs a program that was built with --features postgres,cache",
            ));
        }
        for (url, error) in cases {
            assert_eq!(
                open(Some(url)).await.err().map(|error| error.to_string()),
                Some(error.into()),
                "{url}"
            );
        }
    }
}
