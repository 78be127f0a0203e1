mod administration;
mod audit;
mod invalidations;
mod statements;
mod usage;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
pub use invalidations::PostgresInvalidations;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow, PgSslMode};
use sqlx::query::{Query, QueryAs};
use sqlx::{Connection, FromRow, PgConnection, PgPool, Postgres, Row as _};
use tokio::time::{Instant, sleep, timeout};

use self::audit::texts;
use self::statements::{CHANGES, FIND_BY_DIGEST, INSERT, RECORD_LAST_USE, REPLACE, STORED_SCHEMA};
use super::audit::AuditEvent;
use super::sql::engine::{Engine, Work};
use super::sql::row::millis;
#[cfg(feature = "cli")]
use super::sql::schema::SchemaFault;
use super::sql::schema::{Migrations, Schema, SchemaWatch};
use super::sql::{FIND_BY_ID, bind_row, digests, failed, to_changed, to_found, to_next_row, to_row};
use super::{ChangeMark, Changes, KeySelector, KeyStore, Lookup, StoreError, StoreErrorKind};
use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord};

/// Keys in PostgreSQL 13 or later (tested with version 15), shared by any number of processes.
///
/// ```no_run
/// use tower_api_keys::store::PostgresStore;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::connect("postgres://app@localhost/app").await?;
/// # Ok(())
/// # }
/// ```
///
/// A clone is cheap and uses the same pool, which is one of [sqlx](https://docs.rs/sqlx) 0.9.
///
/// - Each lookup is one prepared statement that uses an index, and so is each change of a key with its
///   [event](crate::manage#audit); one of a quota is a
///   transaction. So a process that dies cannot leave a change half done. A completed change is on the server's disk, unless `synchronous_commit` is off there.
/// - Every method returns within its own [time limit](Self::with_lookup_timeout), whatever the state of the server.
///   A change that was [`Unavailable`](StoreErrorKind::Unavailable) may still have been made.
/// - Concurrent changes expect `READ COMMITTED`, PostgreSQL's default. With a stricter
///   `default_transaction_isolation` the later one is a [`Conflict`](StoreErrorKind::Conflict), also for a deletion.
/// - Every change notifies the other processes, also one by hand: see [`PostgresInvalidations`].
///
/// # Schema
///
/// [`migrate`](Self::migrate) creates the tables, in the first schema of the connection's `search_path`. All names begin with
/// `api_key`, so the application's own migrations, such as those of `sqlx::migrate!`, can run in the same database, before,
/// after and at the same time. To create the tables with another tool, use these versions, one after the other:
///
/// ```sql
#[doc = include_str!("schema_1.sql")]
#[doc = include_str!("schema_2.sql")]
#[doc = include_str!("schema_3.sql")]
#[doc = include_str!("schema_4.sql")]
#[doc = include_str!("schema_5.sql")]
#[doc = include_str!("schema_6.sql")]
#[doc = include_str!("schema_7.sql")]
#[doc = include_str!("schema_8.sql")]
/// ```
///
/// Without them, or with older ones, every method fails. A node looks at the version once a second, before a call: see
/// [Upgrading](crate::store#upgrading).
///
/// Rows of stored quotas stay when their subject is gone. Those of periods that have ended, with nothing granted, can be
/// deleted.
///
/// A key can be changed by hand: `UPDATE api_keys SET state = 'revoked' WHERE id = 'k7Jc0qWv'`. Triggers count its version, note
/// the time of a revocation, and tell the caches of all processes; the audit has no event of it. A system key has
/// `tier = 'system'` and an empty organization.
///
/// Events stay until you delete them. This deletes those of before 2024, but for what a
/// [sink](crate::ApiKeysBuilder::audit) has still to get; without a sink, leave the last condition out:
///
/// ```sql
/// DELETE FROM api_key_audit WHERE at < 1704067200000 AND delivered
/// ```
///
/// Counts the keys that were [imported as hashes](crate::manage::KeyManager::import_hash) and not used since:
///
/// ```sql
/// SELECT count(*) FROM api_keys WHERE imported_hash IS NOT NULL
/// ```
///
/// The application's role needs `SELECT`, `INSERT`, `UPDATE` and `DELETE` on these tables, and so does one that changes keys by
/// hand.
///
/// # Behind a pooler
///
/// A pooler that shares connections between transactions, such as PgBouncer in its `transaction` mode, forgets prepared
/// statements: tell the store with [`behind_pooler`](Self::behind_pooler). Caches of other processes still learn of a change
/// within a second or so, since they [ask](KeyStore::changes). To be faster, let them follow [`PostgresInvalidations`] with the
/// server's own address.
///
/// # After a failover
///
/// A standby that takes over may lack the last changes, revocations among them. A cache that asks what has changed notices it
/// (another timeline, or fewer transactions), logs an `ERROR`, and reads everything again; what it has seen revoked stays so
/// until the process ends. Revoke the others again: the audit of the old server, or your log, has them. With
/// `synchronous_commit = on` and a synchronous standby nothing is lost.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    engine: Engine<Postgres>,
    schema: Arc<SchemaWatch>,
    is_pooled: bool,
}

const MIGRATIONS: Migrations = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
];

/// How long the first connection may take.
const CONNECTION_TIME: Duration = Duration::from_secs(5);

/// How long a migration may take, including the wait for another process.
const MIGRATION_TIME: Duration = Duration::from_secs(60);

/// How long a migration waits for a table that another transaction reads, such as a backup: lookups wait behind it.
const LIMIT_LOCK_TIME: &str = "SET LOCAL lock_timeout = '500ms'";

/// How long a migration waits before it tries again for a locked table.
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);

/// Codes of PostgreSQL's errors.
const LOCK_NOT_AVAILABLE: &str = "55P03";
const UNDEFINED_TABLE: &str = "42P01";

/// The advisory lock that serializes concurrent migrations. An arbitrary number.
const MIGRATION_LOCK: i64 = 0x6170_695f_6b65_7973;

impl PostgresStore {
    /// Connects to a URL such as `postgres://app@localhost/app`, and [creates the tables](Self::migrate).
    ///
    /// With the feature `tls`, `sslmode=verify-full` encrypts the connection and checks the server's certificate and its
    /// name, as in `postgres://app@db.example.com/app?sslmode=verify-full&sslrootcert=/etc/ca.pem`. The authorities of
    /// the operating system are trusted, and so are those in the file `sslrootcert`. `sslmode=require` encrypts, and
    /// checks the certificate only with an `sslrootcert`. Without `sslmode` the connection is encrypted if the server
    /// offers it, and nothing is checked.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreErrorKind::Unavailable) if there is no connection within 5 seconds, [`Other`](StoreErrorKind::Other) if
    /// the URL is not valid, or if its `sslmode` needs the feature `tls`; those of [`migrate`](Self::migrate). No error
    /// repeats the URL, which may contain a password.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::connect_only(url).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// [Connects](Self::connect), and leaves the tables as they are.
    pub(crate) async fn connect_only(url: &str) -> Result<Self, StoreError> {
        let mut options: PgConnectOptions = url.parse().map_err(|_| {
            StoreError::new(StoreErrorKind::Other)
                .with_source("not a URL such as postgres://user@host/database")
        })?;
        let mode = options.get_ssl_mode();
        let is_required = matches!(mode, PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        if is_required && !cfg!(feature = "tls") {
            return Err(StoreError::new(StoreErrorKind::Other)
                .with_source("this `sslmode` needs the feature `tls` of the crate tower-api-keys"));
        }
        // As libpq does it. sqlx would not look at the authority that was named.
        let names_authority =
            ["sslrootcert=", "ssl-root-cert=", "ssl-ca="].iter().any(|name| url.contains(name));
        if names_authority && matches!(mode, PgSslMode::Require) {
            options = options.ssl_mode(PgSslMode::VerifyCa);
        }
        // A pool would retry for half a minute, and not report why it failed.
        let options = options.extra_float_digits(None);
        let connected = async { PgConnection::connect_with(&options).await?.close().await };
        match timeout(CONNECTION_TIME, connected).await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => {
                let error = StoreError::new(StoreErrorKind::Unavailable);
                return Err(error.with_source("no connection within 5 seconds"));
            }
        }
        Ok(Self::new(PgPool::connect_lazy_with(options)))
    }

    /// Puts a cache in front of the store that follows the changes of other processes once
    /// [`ApiKeys::background`](crate::ApiKeys::background) runs: over a connection of its own or, [behind a
    /// pooler](Self::behind_pooler), by asking once a second.
    #[cfg(feature = "cache")]
    pub fn cached(self) -> super::CachedStore<Self> {
        // Through a pooler nothing would be heard.
        let source = (!self.is_pooled).then(|| PostgresInvalidations::new(&self.engine.pool));
        let cache = super::CachedStore::builder(self);
        match source {
            Some(source) => cache.follow(source).build(),
            None => cache.build(),
        }
    }

    /// Keeps keys in the database of `pool`. See [`migrate`](Self::migrate) for the tables.
    ///
    /// The pool decides how many connections there are, and whether a connection is tested before each use
    /// (`test_before_acquire`), which costs each lookup a second round trip.
    pub fn new(pool: PgPool) -> Self {
        let schema = Arc::new(SchemaWatch::new(MIGRATIONS));
        Self { engine: Engine::new(pool, is_settled), schema, is_pooled: false }
    }

    /// Stores a new key in a transaction of the application, on a connection to the database of the store: a key that was
    /// [prepared](crate::manage::KeyManager::prepare), with its event. Both are stored, and other processes are notified, when
    /// the transaction is committed.
    ///
    /// # Errors
    ///
    /// [`Conflict`](StoreErrorKind::Conflict) if the identifier or a digest is already stored; roll back then. Those of every
    /// method, without a time limit.
    pub async fn insert_in(
        connection: &mut PgConnection,
        record: &KeyRecord,
        event: Option<&AuditEvent>,
    ) -> Result<(), StoreError> {
        stored_schema(connection, false).await.map_err(failed)?.check(MIGRATIONS)?;
        let query = bind_row(once(INSERT), to_row(record)?).bind(digests(record)).bind(texts(event));
        query.execute(connection).await.map_err(failed).map(|_| ())
    }

    /// Makes each call a transaction of its own, without prepared statements: for a pooler that shares connections between
    /// transactions. A call then takes four round trips to the pooler in place of one.
    ///
    /// PgBouncer has to accept sqlx's connections: either with `ignore_startup_parameters = extra_float_digits`, or with a pool
    /// whose options have `extra_float_digits(None)`, as [`connect`](Self::connect) sets.
    #[must_use]
    pub fn behind_pooler(self) -> Self {
        Self { is_pooled: true, ..self }
    }

    /// Limits the time of a lookup, including the wait for a connection; default 1 second.
    ///
    /// After it the lookup is [`Unavailable`](StoreErrorKind::Unavailable) and its request gets a 503 response.
    #[must_use]
    pub fn with_lookup_timeout(mut self, timeout: Duration) -> Self {
        self.engine.lookup_timeout = timeout;
        self
    }

    /// Limits the time of all other operations; default 5 seconds.
    #[must_use]
    pub fn with_administration_timeout(mut self, timeout: Duration) -> Self {
        self.engine.administration_timeout = timeout;
        self
    }

    /// Creates the tables, or upgrades them from the version of an earlier release.
    ///
    /// Does nothing if they are up to date, or made by a later release that lets this one use them. Any number of processes may
    /// call it at the same time, and nodes of the earlier release [may still run](crate::store#upgrading).
    /// A migration waits for transactions that read the tables, such as a backup, up to a minute; lookups do not wait for it.
    ///
    /// # Errors
    ///
    /// [`Other`](StoreErrorKind::Other) if the tables [need a later release](crate::store#upgrading). Otherwise the errors of every
    /// method; gives up after a minute.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + MIGRATION_TIME;
        loop {
            match self.engine.run(deadline, |to| Box::pin(migrate(to))).await {
                Err(error) if is_locked(&error) && Instant::now() < deadline => sleep(MIGRATION_PAUSE).await,
                migrated => return Ok(self.schema.found(migrated?)?),
            }
        }
    }

    /// Whether this program may use the tables.
    #[cfg(feature = "cli")]
    pub(crate) async fn check_schema(&self) -> Result<Result<(), SchemaFault>, StoreError> {
        let schema = self.stored_schema(Instant::now() + self.engine.administration_timeout).await?;
        Ok(self.schema.found(schema))
    }

    async fn stored_schema(&self, deadline: Instant) -> Result<Schema, StoreError> {
        let persistent = !self.is_pooled;
        self.run_unchecked(deadline, move |to| Box::pin(stored_schema(to, persistent))).await
    }

    /// Runs `work` if this program may use the tables, or gives up after `time`.
    async fn run<T: Send + 'static>(
        &self,
        time: Duration,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + time;
        self.schema.check(self.stored_schema(deadline)).await?;
        self.run_unchecked(deadline, work).await
    }

    async fn run_unchecked<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.is_pooled {
            return self.engine.run(deadline, |to| Box::pin(in_transaction(to, work))).await;
        }
        self.engine.run(deadline, work).await
    }

    async fn look_up<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(self.engine.lookup_timeout, work).await
    }

    async fn administer<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(self.engine.administration_timeout, work).await
    }

    fn query(&self, sql: &'static str) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(sql).persistent(!self.is_pooled)
    }

    fn query_as<T>(&self, sql: &'static str) -> QueryAs<'static, Postgres, T, PgArguments>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_as(sql).persistent(!self.is_pooled)
    }

    async fn replace_within(
        &self,
        time: Duration,
        record: KeyRecord,
        event: Option<&AuditEvent>,
    ) -> Result<(), StoreError> {
        let digests = digests(&record);
        let (row, replaced) = to_next_row(record)?;
        let query = bind_row(self.query(REPLACE), row).bind(replaced).bind(digests).bind(texts(event));
        let done = self.run(time, move |to| Box::pin(query.execute(to))).await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        Ok(())
    }
}

/// Fails within a transaction: sqlx forgets one whose `BEGIN` was interrupted, and what others then do on the connection would be
/// answered, and never committed. The first instant is that of the transaction, the second that of the statement.
fn is_settled(connection: &mut PgConnection) -> Work<'_, ()> {
    const QUERY: &str = "SELECT transaction_timestamp() = statement_timestamp()";
    Box::pin(async move {
        // In one message: of several, each has an instant of its own.
        match sqlx::raw_sql(QUERY).fetch_one(connection).await?.try_get(0)? {
            true => Ok(()),
            false => Err(sqlx::Error::Protocol("a transaction is open".into())),
        }
    })
}

/// A statement that is not prepared under a name.
fn once(sql: &'static str) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(sql).persistent(false)
}

async fn in_transaction<T>(
    connection: &mut PgConnection,
    work: impl for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T>,
) -> Result<T, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let done = work(&mut transaction).await?;
    transaction.commit().await?;
    Ok(done)
}

/// Whether a table was locked by another transaction for too long.
fn is_locked(error: &StoreError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    source.and_then(code).as_deref() == Some(LOCK_NOT_AVAILABLE)
}

/// Applies pending migrations, and returns the resulting schema.
async fn migrate(connection: &mut PgConnection) -> Result<Schema, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    once("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut *transaction).await?;
    once(LIMIT_LOCK_TIME).execute(&mut *transaction).await?;
    // A statement that fails would end the transaction.
    let table = sqlx::query_scalar("SELECT to_regclass('api_key_schema') IS NOT NULL").persistent(false);
    let schema = match table.fetch_one(&mut *transaction).await? {
        true => stored_schema(&mut transaction, false).await?,
        false => Schema::default(),
    };
    for migration in schema.pending(MIGRATIONS) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
    }
    let schema = stored_schema(&mut transaction, false).await?;
    transaction.commit().await?;
    Ok(schema)
}

async fn stored_schema(connection: &mut PgConnection, persistent: bool) -> Result<Schema, sqlx::Error> {
    let stored = sqlx::query_as(STORED_SCHEMA).persistent(persistent);
    match stored.fetch_one(connection).await {
        Ok((version, needed)) => Ok(Schema { version, needed }),
        Err(error) if code(&error).as_deref() == Some(UNDEFINED_TABLE) => Ok(Schema::default()),
        Err(error) => Err(error),
    }
}

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

#[async_trait]
impl KeyStore for PostgresStore {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        let query = match selector {
            KeySelector::Id(id) => self.query(FIND_BY_ID).bind(id.to_string()),
            KeySelector::Digests(digests) => {
                let digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
                self.query(FIND_BY_DIGEST).bind(digests)
            }
        };
        let store = self.clone();
        Lookup::pending(async move {
            to_found(store.look_up(move |to| Box::pin(query.fetch_optional(to))).await?)
        })
    }

    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.replace_within(self.engine.lookup_timeout, record, event).await
    }

    async fn changes(&self, since: Option<ChangeMark>) -> Result<Option<Changes>, StoreError> {
        // No transaction has the highest number yet.
        let first = since.map_or(i64::MAX as u64, |mark| mark.position).to_string();
        let query = self.query_as(CHANGES).bind(first);
        let (history, position, ids): (i64, i64, Vec<String>) =
            self.look_up(move |to| Box::pin(query.fetch_one(to))).await?;
        let mark = ChangeMark { history: history.unsigned_abs(), position: position.unsigned_abs() };
        let keys = since.and_then(|_| to_changed(ids));
        Ok(Some(Changes { mark, keys }))
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let (ids, instants): (Vec<_>, Vec<_>) =
            uses.iter().map(|(id, at)| (id.to_string(), millis(*at))).unzip();
        let query = self.query(RECORD_LAST_USE).bind(ids).bind(instants);
        self.administer(move |to| Box::pin(query.execute(to))).await.map(|_| ())
    }
}

#[cfg(all(test, not(feature = "tls")))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn encryption_needs_the_feature_tls() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = format!("postgres://user:password@127.0.0.1:1/database?sslmode={mode}");
            let error = format!("{:?}", PostgresStore::connect(&url).await.unwrap_err());
            assert!(error.contains("needs the feature `tls`"), "{error}");
        }
    }
}
