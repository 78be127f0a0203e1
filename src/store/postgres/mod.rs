mod invalidations;

use std::time::Duration;

use async_trait::async_trait;
pub use invalidations::PostgresInvalidations;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::time::Instant;

use super::sql::engine::Engine;
use super::sql::row::millis;
use super::sql::{
    FIND_BY_ID, GET, Listing, bind_key, bind_row, columns, digests, failed, insert_key, pending, to_found,
    to_next_row, to_row, update_key,
};
use super::{
    FindResult, KeyAdministration, KeyPage, KeyQuery, KeySelector, KeyStore, Lookup, StoreError,
    StoreErrorKind,
};
use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord, Owner};

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
/// A clone is cheap and uses the same pool. The pool is one of [sqlx](https://docs.rs/sqlx) 0.9, with whatever of its
/// features for TLS the host has chosen.
///
/// - Each lookup is one prepared statement that an index answers, and so is each change: there is nothing that a process
///   which dies half way could leave half done. What has been answered is on the server's disk, unless
///   `synchronous_commit` is off there.
/// - Every method answers within a [time](Self::with_look_up_timeout) of its own, whatever has become of the server. A
///   change that was [`Unavailable`](StoreErrorKind::Unavailable) may have been made all the same.
/// - Changes that meet expect `READ COMMITTED`, PostgreSQL's own default. Under a stricter `default_transaction_isolation`
///   the later one is a [`Conflict`](StoreErrorKind::Conflict), a deletion too.
/// - Every change notifies the other processes: see [`PostgresInvalidations`].
///
/// # Schema
///
/// [`migrate`](Self::migrate) makes the tables, in the first schema of the connection's `search_path`. Where that is
/// somebody else's job, this is version 1:
///
/// ```sql
#[doc = include_str!("schema_1.sql")]
/// ```
///
/// Whoever changes a key by hand counts its version up (`version = version + 1`). Otherwise a process that has read the key
/// before may write it back as it was: to move it to a new pepper, for instance.
///
/// How many secrets are still digested under pepper 1, which can go when there are none:
///
/// ```sql
/// SELECT count(*) FROM api_key_digests WHERE digest LIKE 'hmac-sha256:1:%'
/// ```
#[derive(Clone, Debug)]
pub struct PostgresStore(Engine<Postgres>);

const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];

/// How long a migration may take, the wait for another process's included.
const MIGRATION_TIME: Duration = Duration::from_secs(60);

/// By this number processes that migrate at the same time wait for each other. Any number will do.
const MIGRATION_LOCK: i64 = 0x6170_695f_6b65_7973;

const FIND_BY_DIGEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_keys WHERE id = (SELECT key_id FROM api_key_digests WHERE digest = ANY($1) \
     ORDER BY array_position($1, digest) LIMIT 1)"
);

/// `$24` is all digests.
const INSERT: &str = concat!(
    "WITH changed AS (",
    insert_key!(),
    " RETURNING id), added AS (\
     INSERT INTO api_key_digests (digest, key_id) SELECT given.digest, changed.id \
     FROM changed, unnest($24) AS given (digest)) \
     SELECT pg_notify('tower_api_keys', id) FROM changed"
);

/// `$25` is all digests.
const REPLACE: &str = concat!(
    "WITH changed AS (",
    update_key!(),
    " RETURNING id), dropped AS (\
     DELETE FROM api_key_digests USING changed WHERE key_id = changed.id AND digest <> ALL ($25)), added AS (\
     INSERT INTO api_key_digests (digest, key_id) SELECT given.digest, changed.id \
     FROM changed, unnest($25) AS given (digest) WHERE NOT EXISTS (\
     SELECT FROM api_key_digests AS own WHERE own.digest = given.digest AND own.key_id = changed.id)) \
     SELECT pg_notify('tower_api_keys', id) FROM changed"
);

const DELETE: &str = "WITH changed AS (\
     DELETE FROM api_keys WHERE id = $1 AND organization = $2 AND mode = $3 RETURNING id) \
     SELECT pg_notify('tower_api_keys', id) FROM changed";

/// Two processes that write the same keys lock them in the same order, so that neither waits for the other for ever.
const RECORD_LAST_USE: &str = "WITH uses AS (\
     SELECT id, max(at) AS at FROM unnest($1, $2) AS noted (id, at) GROUP BY id), later AS (\
     SELECT id, at FROM api_keys JOIN uses USING (id) WHERE last_used_at IS NULL OR last_used_at < at \
     ORDER BY id FOR NO KEY UPDATE OF api_keys) \
     UPDATE api_keys SET last_used_at = at FROM later WHERE api_keys.id = later.id";

impl PostgresStore {
    /// Connects to the database of a URL such as `postgres://app@localhost/app`, and [makes the tables](Self::migrate).
    ///
    /// # Errors
    ///
    /// [`Unavailable`](StoreErrorKind::Unavailable) if there is no connection, [`Other`](StoreErrorKind::Other) if the URL is
    /// not valid; those of [`migrate`](Self::migrate). None repeats the URL, which may have a password in it.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse().map_err(|_| {
            StoreError::new(StoreErrorKind::Other)
                .with_source("not a URL such as postgres://user@host/database")
        })?;
        // A pool would try for half a minute, and not say why it failed.
        let connected = PgConnection::connect_with(&options).await;
        connected.map_err(failed)?.close().await.map_err(failed)?;
        let store = Self::new(PgPool::connect_lazy_with(options));
        store.migrate().await?;
        Ok(store)
    }

    /// The store behind a cache that follows what other processes change, once
    /// [`ApiKeys::background`](crate::ApiKeys::background) runs.
    #[cfg(feature = "cache")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
    pub fn cached(self) -> super::CachedStore<Self> {
        let source = PostgresInvalidations::new(&self.0.pool);
        super::CachedStore::builder(self).follow(source).build()
    }

    /// Keeps keys where `pool` leads to. See [`migrate`](Self::migrate) for the tables.
    ///
    /// How many connections there are is up to the pool, and so is whether one is tried out before each use
    /// (`test_before_acquire`), which costs each lookup a second round trip.
    pub fn new(pool: PgPool) -> Self {
        Self(Engine::new(pool))
    }

    /// How long a lookup may take, the wait for a connection included, before it is
    /// [`Unavailable`](StoreErrorKind::Unavailable) and its request is answered 503. Unless set, 1 second.
    #[must_use]
    pub fn with_look_up_timeout(mut self, timeout: Duration) -> Self {
        self.0.look_up_timeout = timeout;
        self
    }

    /// The same for everything else. Unless set, 5 seconds.
    #[must_use]
    pub fn with_administration_timeout(mut self, timeout: Duration) -> Self {
        self.0.administration_timeout = timeout;
        self
    }

    /// Makes the tables, or brings them from the version of an earlier release to that of this one.
    ///
    /// Does nothing where that has been done. Any number of processes may call it at the same time.
    ///
    /// # Errors
    ///
    /// [`Other`](StoreErrorKind::Other) if the tables have a version that this release does not know: that of a later
    /// one. Otherwise as every method; gives up after a minute.
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

/// Applies what is pending, and answers the version that there is then.
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
            KeySelector::Id(id) => sqlx::query_as(FIND_BY_ID).bind(id.to_string()),
            KeySelector::Digests(digests) => {
                let digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
                sqlx::query_as(FIND_BY_DIGEST).bind(digests)
            }
        };
        let engine = self.0.clone();
        Lookup::pending(
            async move { to_found(engine.look_up(|to| Box::pin(query.fetch_optional(to))).await?) },
        )
    }

    async fn refresh(&self, record: KeyRecord) -> Result<(), StoreError> {
        self.replace_within(self.0.look_up_timeout, record).await
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
        let query = bind_key!(sqlx::query_as(GET), owner, id);
        to_found(self.0.administer(|to| Box::pin(query.fetch_optional(to))).await?)
    }

    async fn list(&self, owner: &Owner, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        let listing = Listing::new(owner, query);
        let query = listing.query();
        let rows = self.0.administer(|to| Box::pin(query.fetch_all(to))).await?;
        listing.page(rows)
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), StoreError> {
        self.replace_within(self.0.administration_timeout, record).await
    }

    async fn delete(&self, owner: &Owner, id: &KeyId) -> Result<bool, StoreError> {
        let query = bind_key!(sqlx::query(DELETE), owner, id);
        let done = self.0.administer(|to| Box::pin(query.execute(to))).await?;
        Ok(done.rows_affected() > 0)
    }
}
