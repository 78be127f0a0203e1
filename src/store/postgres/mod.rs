mod invalidations;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
pub use invalidations::PostgresInvalidations;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::time::Instant;

use super::sql::engine::Engine;
use super::sql::row::millis;
use super::sql::{
    COUNT, COUNT_PEPPERS, DROP_OTHER_DIGESTS, FIND_BY_ID, FORGET_IMPORT, GET, KeyRow, Listing, QuotaName,
    REVOKE_UNREAD, WRITE_QUOTA, bind_key, bind_row, columns, digests, failed, insert_key, owner_columns,
    pending, to_found, to_id, to_next_row, to_peppers, to_quota_row, to_row, update_key,
};
use super::{
    FindResult, KeyAdministration, KeyQuery, KeySelector, KeyStore, Lookup, Page, QuotaChange, QuotaRow,
    StoreError, StoreErrorKind,
};
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord, Owner};

/// Keys in PostgreSQL (tested with version 15), shared by any number of processes.
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
/// A clone is cheap and uses the same pool. The pool is one of [sqlx](https://docs.rs/sqlx) 0.9, with the TLS
/// features that the application has enabled in it.
///
/// - Each lookup is one prepared statement that uses an index, and so is each change of a key; one of a quota is a
///   transaction. So a process that dies cannot leave a change half done. A completed change is on the server's disk, unless `synchronous_commit` is off there.
/// - Every method returns within its own [time limit](Self::with_lookup_timeout), whatever the state of the server.
///   A change that was [`Unavailable`](StoreErrorKind::Unavailable) may still have been made.
/// - Concurrent changes expect `READ COMMITTED`, PostgreSQL's default. With a stricter
///   `default_transaction_isolation` the later one is a [`Conflict`](StoreErrorKind::Conflict), also for a deletion.
/// - Every change notifies the other processes: see [`PostgresInvalidations`].
///
/// # Schema
///
/// [`migrate`](Self::migrate) creates the tables, in the first schema of the connection's `search_path`. To create
/// them with another tool, use version 1, 2 and 3, one after the other:
///
/// ```sql
#[doc = include_str!("schema_1.sql")]
#[doc = include_str!("schema_2.sql")]
#[doc = include_str!("schema_3.sql")]
/// ```
///
/// Rows of stored quotas stay when their subject is gone. Those of periods that have ended, with nothing granted, can be
/// deleted.
///
/// If you change a key by hand, increment its version (`version = version + 1`). Otherwise a process that has read the
/// key before may write it back unchanged, for instance to move it to a new pepper.
///
/// Counts the keys that were [imported as hashes](crate::manage::KeyManager::import_hash) and not used since:
///
/// ```sql
/// SELECT count(*) FROM api_keys WHERE imported_hash IS NOT NULL
/// ```
#[derive(Clone, Debug)]
pub struct PostgresStore(Engine<Postgres>);

const MIGRATIONS: &[&str] =
    &[include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// How long a migration may take, including the wait for another process.
const MIGRATION_TIME: Duration = Duration::from_secs(60);

/// The advisory lock that serializes concurrent migrations. An arbitrary number.
const MIGRATION_LOCK: i64 = 0x6170_695f_6b65_7973;

const FIND_BY_DIGEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_keys WHERE id = (SELECT key_id FROM api_key_digests WHERE digest = ANY($1) \
     ORDER BY array_position($1, digest) LIMIT 1)"
);

/// `$27` is all digests.
const INSERT: &str = concat!(
    "WITH changed AS (",
    insert_key!(),
    " RETURNING id), added AS (\
     INSERT INTO api_key_digests (digest, key_id) SELECT given.digest, changed.id \
     FROM changed, unnest($27) AS given (digest)) \
     SELECT pg_notify('tower_api_keys', id) FROM changed"
);

/// `$28` is all digests.
const REPLACE: &str = concat!(
    "WITH changed AS (",
    update_key!(),
    " RETURNING id), dropped AS (\
     DELETE FROM api_key_digests USING changed WHERE key_id = changed.id AND digest <> ALL ($28)), added AS (\
     INSERT INTO api_key_digests (digest, key_id) SELECT given.digest, changed.id \
     FROM changed, unnest($28) AS given (digest) WHERE NOT EXISTS (\
     SELECT FROM api_key_digests AS own WHERE own.digest = given.digest AND own.key_id = changed.id)) \
     SELECT pg_notify('tower_api_keys', id) FROM changed"
);

const LOCK_QUOTA: &str = "SELECT period, used, highest_limit, granted FROM api_key_quotas WHERE category = $1 AND subject = $2 FOR UPDATE";

const ADD_QUOTA: &str = "INSERT INTO api_key_quotas (category, subject, period, used, highest_limit, granted) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";

const LOCK_KEY: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE id = $1 FOR UPDATE");

const NOTIFY: &str = "SELECT pg_notify('tower_api_keys', $1)";

const DELETE: &str = "WITH changed AS (\
     DELETE FROM api_keys WHERE id = $1 AND organization = $2 AND mode = $3 RETURNING id) \
     SELECT pg_notify('tower_api_keys', id) FROM changed";

const REMEMBER_IMPORT: &str =
    "INSERT INTO api_key_imports (digest, key_id) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING";

const IMPORTED_AS: &str =
    "SELECT key_id FROM api_key_imports WHERE digest = ANY($1) ORDER BY array_position($1, digest) LIMIT 1";

/// Locks rows in the same order in every process, so that two writers of the same keys cannot deadlock.
const RECORD_LAST_USE: &str = "WITH uses AS (\
     SELECT id, max(at) AS at FROM unnest($1, $2) AS noted (id, at) GROUP BY id), later AS (\
     SELECT id, at FROM api_keys JOIN uses USING (id) WHERE last_used_at IS NULL OR last_used_at < at \
     ORDER BY id FOR NO KEY UPDATE OF api_keys) \
     UPDATE api_keys SET last_used_at = at FROM later WHERE api_keys.id = later.id";

impl PostgresStore {
    /// Connects to a URL such as `postgres://app@localhost/app`, and [creates the tables](Self::migrate).
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreErrorKind::Unavailable) if there is no connection, [`Other`](StoreErrorKind::Other) if
    /// the URL is not valid; those of [`migrate`](Self::migrate). No error repeats the URL, which may contain a
    /// password.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse().map_err(|_| {
            StoreError::new(StoreErrorKind::Other)
                .with_source("not a URL such as postgres://user@host/database")
        })?;
        // A pool would retry for half a minute, and not report why it failed.
        let connected = PgConnection::connect_with(&options).await;
        connected.map_err(failed)?.close().await.map_err(failed)?;
        let store = Self::new(PgPool::connect_lazy_with(options));
        store.migrate().await?;
        Ok(store)
    }

    /// Puts a cache in front of the store that follows the changes of other processes once
    /// [`ApiKeys::background`](crate::ApiKeys::background) runs.
    #[cfg(feature = "cache")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
    pub fn cached(self) -> super::CachedStore<Self> {
        let source = PostgresInvalidations::new(&self.0.pool);
        super::CachedStore::builder(self).follow(source).build()
    }

    /// Keeps keys in the database of `pool`. See [`migrate`](Self::migrate) for the tables.
    ///
    /// The pool decides how many connections there are, and whether a connection is tested before each use
    /// (`test_before_acquire`), which costs each lookup a second round trip.
    pub fn new(pool: PgPool) -> Self {
        Self(Engine::new(pool))
    }

    /// Stores a new key in a transaction of the application, on a connection to the database of the store: a key that was
    /// [prepared](crate::manage::KeyManager::prepare). It is stored, and other processes are notified, when the transaction is
    /// committed.
    ///
    /// # Errors
    ///
    /// [`Conflict`](StoreErrorKind::Conflict) if the identifier or a digest is already stored; roll back then. Those of every
    /// method, without a time limit.
    pub async fn insert_in(connection: &mut PgConnection, record: &KeyRecord) -> Result<(), StoreError> {
        let query = bind_row(sqlx::query(INSERT), to_row(record)?).bind(digests(record));
        query.execute(connection).await.map_err(failed).map(|_| ())
    }

    /// Limits the time of a lookup, including the wait for a connection; default 1 second.
    ///
    /// After it the lookup is [`Unavailable`](StoreErrorKind::Unavailable) and its request gets a 503 response.
    #[must_use]
    pub fn with_lookup_timeout(mut self, timeout: Duration) -> Self {
        self.0.lookup_timeout = timeout;
        self
    }

    /// Limits the time of all other operations; default 5 seconds.
    #[must_use]
    pub fn with_administration_timeout(mut self, timeout: Duration) -> Self {
        self.0.administration_timeout = timeout;
        self
    }

    /// Creates the tables, or upgrades them from the version of an earlier release.
    ///
    /// Does nothing if they are up to date. Any number of processes may call it at the same time.
    ///
    /// # Errors
    ///
    /// [`Other`](StoreErrorKind::Other) if the tables have a version that this release does not know, made by a later
    /// one. Otherwise the errors of every method; gives up after a minute.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let version = self.0.run(Instant::now() + MIGRATION_TIME, |to| Box::pin(migrate(to))).await?;
        pending(version, MIGRATIONS).map(|_| ())
    }

    async fn replace_within(&self, time: Duration, record: KeyRecord) -> Result<(), StoreError> {
        let digests = digests(&record);
        let (row, replaced) = to_next_row(record)?;
        let query = bind_row(sqlx::query(REPLACE), row).bind(replaced).bind(digests);
        let done = self.0.run(Instant::now() + time, |to| Box::pin(query.execute(to))).await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        Ok(())
    }
}

/// Applies pending migrations, and returns the resulting version.
async fn migrate(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut *transaction).await?;
    let table = sqlx::query_scalar("SELECT to_regclass('api_key_schema') IS NOT NULL");
    let mut version = 0;
    if table.fetch_one(&mut *transaction).await? {
        let stored = sqlx::query_scalar("SELECT version::bigint FROM api_key_schema");
        version = stored.fetch_one(&mut *transaction).await?;
    }
    for migration in pending(version, MIGRATIONS).unwrap_or_default() {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
        version += 1;
    }
    transaction.commit().await?;
    Ok(version)
}

#[async_trait]
impl KeyStore for PostgresStore {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        let query = match selector {
            KeySelector::Id(id) => sqlx::query(FIND_BY_ID).bind(id.to_string()),
            KeySelector::Digests(digests) => {
                let digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
                sqlx::query(FIND_BY_DIGEST).bind(digests)
            }
        };
        let engine = self.0.clone();
        Lookup::pending(
            async move { to_found(engine.look_up(|to| Box::pin(query.fetch_optional(to))).await?) },
        )
    }

    async fn refresh(&self, record: KeyRecord) -> Result<(), StoreError> {
        self.replace_within(self.0.lookup_timeout, record).await
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let (ids, instants): (Vec<_>, Vec<_>) =
            uses.iter().map(|(id, at)| (id.to_string(), millis(*at))).unzip();
        let query = sqlx::query(RECORD_LAST_USE).bind(ids).bind(instants);
        self.0.administer(|to| Box::pin(query.execute(to))).await.map(|_| ())
    }
}

#[async_trait]
impl KeyAdministration for PostgresStore {
    async fn insert(&self, record: KeyRecord) -> Result<(), StoreError> {
        let query = bind_row(sqlx::query(INSERT), to_row(&record)?).bind(digests(&record));
        self.0.administer(|to| Box::pin(query.execute(to))).await.map(|_| ())
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> FindResult {
        let query = bind_key!(sqlx::query(GET), owner, id);
        to_found(self.0.administer(|to| Box::pin(query.fetch_optional(to))).await?)
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        let listing = Listing::new(owner, query);
        let mut count = listing.rows();
        loop {
            let query = listing.query(count);
            let rows = self.0.administer(|to| Box::pin(query.fetch_all(to))).await?;
            match listing.page(&rows, count) {
                Ok(page) => return Ok(page),
                Err(more) => count = more,
            }
        }
    }

    async fn count(&self, owner: &Owner) -> Result<u64, StoreError> {
        let (organization, mode) = owner_columns(owner);
        let query = sqlx::query_scalar::<_, i64>(COUNT).bind(organization).bind(mode);
        let count = self.0.administer(|to| Box::pin(query.fetch_one(to))).await?;
        Ok(count.unsigned_abs())
    }

    async fn peppers_in_use(&self, at: Timestamp) -> Result<BTreeMap<Option<u32>, u64>, StoreError> {
        let query = sqlx::query_as(COUNT_PEPPERS).bind(millis(at));
        Ok(to_peppers(self.0.administer(|to| Box::pin(query.fetch_all(to))).await?))
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), StoreError> {
        self.replace_within(self.0.administration_timeout, record).await
    }

    async fn revoke_unread(&self, owner: &Owner, id: &KeyId, at: Timestamp) -> Result<bool, StoreError> {
        let (owner, id) = (owner.clone(), *id);
        self.0.administer(|to| Box::pin(revoke_unread(to, owner, id, at))).await
    }

    async fn delete(&self, owner: &Owner, id: &KeyId) -> Result<bool, StoreError> {
        let query = bind_key!(sqlx::query(DELETE), owner, id);
        let done = self.0.administer(|to| Box::pin(query.execute(to))).await?;
        Ok(done.rows_affected() > 0)
    }

    fn keeps_quotas(&self) -> bool {
        true
    }

    async fn change_quota(
        &self,
        category: &str,
        subject: &str,
        change: &QuotaChange,
    ) -> Result<(QuotaRow, u64), StoreError> {
        let (name, change) = (QuotaName::new(category, subject), *change);
        // Requests wait for it.
        self.0.look_up(|to| Box::pin(change_quota(to, name, change))).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        let query = sqlx::query(REMEMBER_IMPORT).bind(digest.to_string()).bind(id.to_string());
        self.0.administer(|to| Box::pin(query.execute(to))).await.map(|_| ())
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        let digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
        let query = sqlx::query_scalar(IMPORTED_AS).bind(digests);
        to_id(self.0.administer(|to| Box::pin(query.fetch_optional(to))).await?)
    }

    async fn forget_import(&self, id: &KeyId) -> Result<bool, StoreError> {
        let query = sqlx::query(FORGET_IMPORT).bind(id.to_string());
        let done = self.0.administer(|to| Box::pin(query.execute(to))).await?;
        Ok(done.rows_affected() > 0)
    }
}

/// Returns whether there was such a key to revoke.
async fn revoke_unread(
    connection: &mut PgConnection,
    owner: Owner,
    id: KeyId,
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let stored = sqlx::query(LOCK_KEY).bind(id.to_string()).fetch_optional(&mut *transaction).await?;
    if stored.is_none_or(|row| row.owner().is_some_and(|stored| stored != owner)) {
        return Ok(false);
    }
    let revoke = bind_key!(sqlx::query(REVOKE_UNREAD), &owner, id).bind(millis(at));
    if revoke.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(false);
    }
    for statement in [DROP_OTHER_DIGESTS, NOTIFY] {
        sqlx::query(statement).bind(id.to_string()).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

async fn change_quota(
    connection: &mut PgConnection,
    name: QuotaName,
    change: QuotaChange,
) -> Result<(QuotaRow, u64), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut row = name.bind(sqlx::query_as(LOCK_QUOTA)).fetch_optional(&mut *transaction).await?;
    if row.is_none() {
        // Another process may do so at the same time, and only one of them.
        let empty = QuotaRow { period: change.period, used: 0, limit: 0, granted: 0 };
        name.bind_row(sqlx::query(ADD_QUOTA), empty).execute(&mut *transaction).await?;
        row = name.bind(sqlx::query_as(LOCK_QUOTA)).fetch_optional(&mut *transaction).await?;
    }
    let (row, leased) = change.apply(row.map(to_quota_row));
    name.bind_row(sqlx::query(WRITE_QUOTA), row).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((row, leased))
}
