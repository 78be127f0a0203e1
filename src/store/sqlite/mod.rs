mod administration;
mod audit;
mod file;
mod statements;
mod transactions;
mod usage;

use std::future::ready;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Row as _, Sqlite, SqliteConnection};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use self::file::DatabaseFile;
use self::statements::{FIND_BY_DIGEST, RECORD_LAST_USE};
use self::transactions::{changes, insert_row, replace};
use super::audit::AuditEvent;
use super::sql::audit::EventRow;
use super::sql::engine::{Engine, Work};
use super::sql::row::millis;
#[cfg(feature = "cli")]
use super::sql::schema::SchemaFault;
use super::sql::schema::{Migrations, Schema, SchemaWatch};
use super::sql::{FIND_BY_ID, digests, failed, to_changed, to_found, to_next_row, to_row};
use super::{ChangeMark, Changes, KeySelector, KeyStore, Lookup, StoreError, StoreErrorKind};
use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord};

/// Keys in an SQLite file, which several processes on one machine may open.
///
/// ```
/// use tower_api_keys::store::SqliteStore;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("api-keys-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let store = SqliteStore::open(directory.join("keys.db")).await?;
/// # drop(store);
/// # std::fs::remove_dir_all(directory)?;
/// # Ok(())
/// # }
/// ```
///
/// A clone is cheap and uses the same connections.
///
/// - Lookups wait for no writer, and each is one prepared statement that uses an index. Writers wait for each other,
///   in other processes too.
/// - Each change is one transaction, with its [event](crate::manage#audit). With [`open`](Self::open) a completed change is on disk, and not even a power
///   failure undoes a revocation (`synchronous = FULL`).
/// - Every method returns within its own [time limit](Self::with_lookup_timeout), also when the file is locked or
///   the disk full. A change that was [`Unavailable`](StoreErrorKind::Unavailable) for lack of time may still have
///   been made.
///
/// - If the file is deleted, moved or replaced while it is open, every method is
///   [`Unavailable`](StoreErrorKind::Unavailable) within a second, and the log says so once a second, until the file is back or the
///   application opens the store again: a restored copy may have keys that were revoked since, so it is not opened unasked.
///   To exchange the file, stop the processes that have it open, and remove its `-wal` and `-shm`: SQLite would apply
///   them to the new one.
/// - While nothing can be written (a full disk, a read-only file system), lookups go on, and the log says so once a second
///   for changes that fail.
///
/// # Schema
///
/// [`open`](Self::open) and [`migrate`](Self::migrate) create the tables. All names begin with `api_key`, so the
/// application's own migrations, such as those of `sqlx::migrate!`, can run in the same file, before, after and at the same
/// time. To create the tables with another tool, use these versions, one after the other, for SQLite 3.39 or later:
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
#[derive(Clone, Debug)]
pub struct SqliteStore {
    engine: Engine<Sqlite>,
    schema: Arc<SchemaWatch>,
    /// SQLite has one writer at a time. Waiting for this lock leaves the connections to lookups.
    writer: Arc<Mutex<Writer>>,
    /// `None` for a database in memory.
    file: Option<Arc<DatabaseFile>>,
}

/// A connection that is never used after it was opened. With the last connection SQLite removes the index of the WAL, and
/// where nothing can be written no connection could be opened any more: then lookups would fail as well.
#[derive(Debug, Default)]
struct Writer(Option<SqliteConnection>);

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

impl SqliteStore {
    /// Opens or creates the file at `path`, and [migrates](Self::migrate) it.
    ///
    /// A text that starts with `sqlite:` is read as [sqlx's URL](sqlx::sqlite::SqliteConnectOptions).
    ///
    /// The file is in WAL mode, so its directory has to be writable, and must not be on a network file system.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreErrorKind::Unavailable) if the file cannot be opened, otherwise as
    /// [`migrate`](Self::migrate).
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let store = Self::open_only(path.as_ref(), true, 8).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// [Opens](Self::open) the file with at most so many connections, and leaves the tables as they are. Without `create`, the file
    /// has to exist.
    pub(crate) async fn open_only(path: &Path, create: bool, connections: u32) -> Result<Self, StoreError> {
        let options = match path.to_str().filter(|text| text.starts_with("sqlite:")) {
            Some(url) => url.parse().map_err(failed)?,
            None => SqliteConnectOptions::new().filename(path),
        };
        let options = options
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let file = DatabaseFile::at(options.get_filename()).map(Arc::new);
        let opened = file.clone();
        let pool = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(connections)
            .after_connect(move |_, _| {
                opened.iter().for_each(|file| file.look_again());
                Box::pin(ready(Ok(())))
            })
            .connect_lazy_with(options.clone());
        switch_to_wal(&pool).await.map_err(failed)?;
        // A file that was deleted is not replaced by an empty one.
        pool.set_connect_options(options.create_if_missing(false));
        Ok(Self { file, ..Self::new(pool) })
    }

    /// Keeps keys in the database of `pool`, one of [sqlx](https://docs.rs/sqlx) 0.9. See [`migrate`](Self::migrate)
    /// for the tables.
    ///
    /// The pool's options decide how durable and how fast the store is: [`open`](Self::open) sets WAL mode,
    /// `synchronous = FULL` and a busy timeout of 5 seconds. It also retries when several processes switch the same
    /// new file to WAL, as SQLite then fails immediately, whatever the timeout.
    ///
    /// A database in memory (`sqlite::memory:`) ends with its last connection, and the connection of a change that is given up in
    /// the middle is closed. Use a [`MemoryStore`](super::MemoryStore) for tests.
    pub fn new(pool: SqlitePool) -> Self {
        let file = DatabaseFile::at(pool.connect_options().get_filename()).map(Arc::new);
        let schema = Arc::new(SchemaWatch::new(MIGRATIONS));
        Self { engine: Engine::new(pool, is_settled), schema, writer: Arc::default(), file }
    }

    /// Stores a new key in a transaction of the application, on a connection to the database of the store: a key that was
    /// [prepared](crate::manage::KeyManager::prepare), with its event. Both are stored when the transaction is committed.
    ///
    /// Start the transaction with `BEGIN IMMEDIATE` if it reads first: otherwise SQLite may refuse to let it write.
    ///
    /// # Errors
    ///
    /// [`Conflict`](StoreErrorKind::Conflict) if the identifier or a digest is already stored; roll back then. Those of every
    /// method, without a time limit.
    pub async fn insert_in(
        connection: &mut SqliteConnection,
        record: &KeyRecord,
        event: Option<&AuditEvent>,
    ) -> Result<(), StoreError> {
        let (row, digests) = (to_row(record)?, json(digests(record).iter()));
        stored_schema(connection).await.map_err(failed)?.check(MIGRATIONS)?;
        insert_row(connection, row, digests, event.map(EventRow::new)).await.map_err(failed)
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
    ///
    /// # Errors
    ///
    /// [`Other`](StoreErrorKind::Other) if the tables [need a later release](crate::store#upgrading). Otherwise the errors of every
    /// method.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.engine.administration_timeout;
        let schema = self.write_unchecked(deadline, |to| Box::pin(migrate(to))).await?;
        Ok(self.schema.found(schema)?)
    }

    /// Whether this program may use the tables.
    #[cfg(feature = "cli")]
    pub(crate) async fn check_schema(&self) -> Result<Result<(), SchemaFault>, StoreError> {
        let schema = self.stored_schema(Instant::now() + self.engine.administration_timeout).await?;
        Ok(self.schema.found(schema))
    }

    async fn stored_schema(&self, deadline: Instant) -> Result<Schema, StoreError> {
        self.run_unchecked(deadline, |to| Box::pin(stored_schema(to))).await
    }

    async fn write<T>(
        &self,
        time: Duration,
        work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + time;
        self.schema.check(self.stored_schema(deadline)).await?;
        self.write_unchecked(deadline, work).await
    }

    async fn write_unchecked<T>(
        &self,
        deadline: Instant,
        work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        // An `Err` is reported by the engine: it has no time left then either.
        let mut only = timeout_at(deadline, self.writer.lock()).await;
        // Nothing is written to a file that is gone.
        self.file.iter().for_each(|file| file.look_again());
        let written = self.run_unchecked(deadline, work).await;
        match (&written, &self.file, &mut only) {
            (Ok(_), Some(_), Ok(writer)) => writer.stay_open(&self.engine.pool, deadline).await,
            (Err(error), Some(file), _) if is_of_file_system(error) => file.was_not_written(error),
            _ => {}
        }
        written
    }

    async fn look_up<T>(
        &self,
        work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        self.run(Instant::now() + self.engine.lookup_timeout, work).await
    }

    async fn administer<T>(
        &self,
        work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        self.run(Instant::now() + self.engine.administration_timeout, work).await
    }

    /// Runs `work` if this program may use the tables.
    async fn run<T>(
        &self,
        deadline: Instant,
        work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        self.schema.check(self.stored_schema(deadline)).await?;
        self.run_unchecked(deadline, work).await
    }

    /// Runs `work` if the file is still the one that is open.
    async fn run_unchecked<T>(
        &self,
        deadline: Instant,
        work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        let Some(file) = &self.file else { return self.engine.run(deadline, work).await };
        file.check(deadline).await?;
        let done = self.engine.run(deadline, work).await;
        match &done {
            Ok(_) => file.is_open(),
            Err(error) if is_of_file_system(error) => file.look_again(),
            Err(_) => {}
        }
        file.check(deadline).await?;
        done
    }

    async fn replace_within(
        &self,
        time: Duration,
        record: KeyRecord,
        event: Option<&AuditEvent>,
    ) -> Result<(), StoreError> {
        let (digests, event) = (json(digests(&record).iter()), event.map(EventRow::new));
        let (row, replaced) = to_next_row(record)?;
        if !self.write(time, |to| Box::pin(replace(to, row, replaced, digests, event))).await? {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        Ok(())
    }
}

/// sqlx itself ends a transaction whose `BEGIN` was interrupted.
fn is_settled(connection: &mut SqliteConnection) -> Work<'_, ()> {
    Box::pin(connection.ping())
}

impl Writer {
    async fn stay_open(&mut self, pool: &SqlitePool, deadline: Instant) {
        if self.0.is_some() {
            return;
        }
        let connect = async {
            let mut connection = SqliteConnection::connect_with(&pool.connect_options()).await?;
            // The first read opens the WAL.
            sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        if let Ok(Ok(connection)) = timeout_at(deadline, connect).await {
            self.0 = Some(connection);
        }
    }
}

/// Whether the file system has failed, and it was not another writer that was waited for: READONLY, IOERR, FULL, CANTOPEN.
fn is_of_file_system(error: &StoreError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<sqlx::Error>());
    let code = source.and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| matches!(code & 0xff, 8 | 10 | 13 | 14))
}

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a first connection, whose `PRAGMA journal_mode` switches a new file to WAL for good.
///
/// If several connections are about to switch it, SQLite fails all but one immediately, whatever the busy timeout:
/// each has read the file and waits for the others to end.
async fn switch_to_wal(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match pool.acquire().await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                sleep(Duration::from_millis(10)).await;
            }
            result => return result.map(drop),
        }
    }
}

/// Whether the error is `SQLITE_BUSY` itself, none of its extended codes (<https://sqlite.org/rescode.html>).
fn is_busy(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "5")
}

/// Takes the write lock first. Without it, two transactions that have both read would wait for each other.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Applies pending migrations, and returns the resulting schema.
async fn migrate(connection: &mut SqliteConnection) -> Result<Schema, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    for migration in stored_schema(&mut transaction).await?.pending(MIGRATIONS) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
    }
    let schema = stored_schema(&mut transaction).await?;
    transaction.commit().await?;
    Ok(schema)
}

async fn stored_schema(connection: &mut SqliteConnection) -> Result<Schema, sqlx::Error> {
    let table = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'api_key_schema'");
    if !table.fetch_one(&mut *connection).await? {
        return Ok(Schema::default());
    }
    // All columns, as older tables lack the second one. Not kept, as a migration adds it.
    let stored = sqlx::query("SELECT * FROM api_key_schema").persistent(false).fetch_one(connection).await?;
    Ok(Schema { version: stored.try_get("version")?, needed: stored.try_get("needed_version").unwrap_or(0) })
}

/// A JSON array of texts that need no escaping.
fn json(texts: impl Iterator<Item: std::fmt::Display>) -> String {
    let quoted: Vec<_> = texts.map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", quoted.join(","))
}

#[async_trait]
impl KeyStore for SqliteStore {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        let query = match selector {
            KeySelector::Id(id) => sqlx::query(FIND_BY_ID).bind(id.to_string()),
            KeySelector::Digests(digests) => sqlx::query(FIND_BY_DIGEST).bind(json(digests.iter())),
        };
        let store = self.clone();
        Lookup::pending(
            async move { to_found(store.look_up(|to| Box::pin(query.fetch_optional(to))).await?) },
        )
    }

    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.replace_within(self.engine.lookup_timeout, record, event).await
    }

    async fn changes(&self, since: Option<ChangeMark>) -> Result<Option<Changes>, StoreError> {
        let after = since.map_or(i64::MAX, |mark| i64::try_from(mark.position).unwrap_or(i64::MAX));
        let (last, changes) = self.look_up(|to| Box::pin(changes(to, after))).await?;
        let mark = ChangeMark { history: 0, position: last.unsigned_abs() };
        // Without a gap, the first is the next one.
        let is_complete = changes.first().is_none_or(|(number, _)| *number == after.saturating_add(1));
        let ids = changes.into_iter().map(|(_, id)| id).collect::<Vec<_>>();
        let keys = since.filter(|_| is_complete).and_then(|_| to_changed(ids));
        Ok(Some(Changes { mark, keys }))
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let pairs: Vec<_> = uses.iter().map(|(id, at)| format!("[\"{id}\",{}]", millis(*at))).collect();
        let query = sqlx::query(RECORD_LAST_USE).bind(format!("[{}]", pairs.join(",")));
        self.write(self.engine.administration_timeout, |to| Box::pin(query.execute(to))).await.map(|_| ())
    }
}
