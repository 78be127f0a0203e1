//! The database of the program, by its URL.

#[cfg(feature = "sqlite")]
use std::path::Path;
use std::sync::Arc;

use crate::cli::failure::Failure;
#[cfg(feature = "sqlite")]
use crate::cli::secret_output::create_private;
use crate::key::SecretString;
use crate::store::KeyAdministration;
#[cfg(feature = "postgres")]
use crate::store::PostgresStore;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::store::SchemaFault;
#[cfg(feature = "sqlite")]
use crate::store::SqliteStore;

/// Opens the database as it is.
pub(super) async fn open(url: &SecretString) -> Result<Arc<dyn KeyAdministration>, Failure> {
    let text = url.expose_secret();
    match scheme(text) {
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            // One connection, as one thing is done after the other: each has a page cache of its own.
            let store =
                SqliteStore::open_only(text.as_ref(), false, 1).await.map_err(|error| match file(text) {
                    Some(path) if !path.exists() => {
                        Failure::from(error).next("`api-keys init` creates the file.")
                    }
                    _ => error.into(),
                })?;
            check(store.check_schema().await?)?;
            Ok(Arc::new(store))
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            let store = PostgresStore::connect_only(text).await?;
            check(store.check_schema().await?)?;
            Ok(Arc::new(store))
        }
        scheme => Err(unknown(scheme)),
    }
}

/// Creates the tables, or upgrades them.
pub(super) async fn migrate(url: &SecretString) -> Result<(), Failure> {
    let text = url.expose_secret();
    match scheme(text) {
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            if let Some(path) = file(text) {
                // It has no secrets, but everything else about the keys. One that is there is left as it is.
                let _ = create_private(path);
            }
            SqliteStore::open(text).await.map(drop).map_err(Failure::from)
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => PostgresStore::connect(text).await.map(drop).map_err(Failure::from),
        scheme => Err(unknown(scheme)),
    }
}

/// The file of an SQLite database, if the URL is its path alone.
#[cfg(feature = "sqlite")]
fn file(url: &str) -> Option<&Path> {
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.contains([':', '?'])).then(|| Path::new(path))
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn check(schema: Result<(), SchemaFault>) -> Result<(), Failure> {
    match schema {
        Ok(()) => Ok(()),
        Err(SchemaFault::Missing { .. }) => {
            Err(Failure::failed("The database has no tables for keys.").next("`api-keys init` creates them."))
        }
        Err(SchemaFault::Older { version, known }) => Err(Failure::failed(format!(
            "The tables have version {version}, and this program needs version {known}."
        ))
        .next("`api-keys migrate` upgrades them: update the application first, which may not know that version.")),
        Err(SchemaFault::Newer { version, needed, known }) => Err(Failure::failed(format!(
            "The tables have version {version}, which needs a program that knows version {needed} at least, and this one \
             knows versions up to {known}."
        ))
        .next("Install the version of this program that goes with the application.")),
    }
}

/// The rest of the URL is not repeated: it may have a password.
fn unknown(scheme: &str) -> Failure {
    let feature = match scheme {
        "sqlite" => "sqlite",
        "postgres" | "postgresql" => "postgres",
        _ => {
            return Failure::usage(
                "The database is not a URL such as sqlite:keys.db or postgres://user@host/name.",
            );
        }
    };
    Failure::usage(format!("This program was built without the feature {feature}."))
        .next("cargo install tower-api-keys --features cli,sqlite,postgres,tls")
}
