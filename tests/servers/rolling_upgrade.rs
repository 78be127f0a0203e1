//! A node that runs while a later release upgrades the tables of its database.

use std::env::temp_dir;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::{Instant, sleep, timeout};
use tower_api_keys::limit::Subject;
use tower_api_keys::manage::{Authority, KeyManager, ManageError, NewKey};
use tower_api_keys::store::{
    CachedStore, KeyAdministration, KeyQuery, KeySelector, PostgresStore, SqliteStore, StoreError,
    StoreErrorKind,
};
use tower_api_keys::{Quota, RateLimit};

use crate::damage::{self, Log};
use crate::postgres_server::Server;
use crate::stores::{self, owner};
use crate::support::{KEY, OTHER_KEY, assembly, format, in_own_process, record};

/// A database that every node opens with connections of its own.
enum Database {
    Postgres(PgPool),
    Sqlite(PathBuf, SqlitePool),
}

impl Database {
    async fn both() -> [Self; 2] {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = temp_dir().join(format!("api-keys-upgrade-{}-{number}.db", std::process::id()));
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        [
            Self::Postgres(Server::shared().database(10).await),
            Self::Sqlite(file, SqlitePool::connect_lazy_with(options)),
        ]
    }

    async fn open(&self) -> Result<Arc<dyn KeyAdministration>, StoreError> {
        Ok(match self {
            Self::Postgres(pool) => {
                let store = PostgresStore::new(PgPool::connect_lazy_with((*pool.connect_options()).clone()));
                store.migrate().await?;
                Arc::new(store)
            }
            Self::Sqlite(file, _) => Arc::new(SqliteStore::open(file).await?),
        })
    }

    async fn execute(&self, sql: &str) {
        match self {
            Self::Postgres(pool) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(drop),
            Self::Sqlite(_, pool) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(drop),
        }
        .unwrap();
    }

    /// Stores a key in a transaction of the application.
    async fn insert_in(&self, manager: &KeyManager) -> Result<(), StoreError> {
        let prepared = manager.prepare(&Authority::operator(owner()), NewKey::new("New")).await.unwrap();
        let (record, event) = (prepared.record(), Some(prepared.event()));
        match self {
            Self::Postgres(pool) => {
                PostgresStore::insert_in(&mut pool.acquire().await.unwrap(), record, event).await
            }
            Self::Sqlite(_, pool) => {
                SqliteStore::insert_in(&mut pool.acquire().await.unwrap(), record, event).await
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Sqlite(file, _) = self {
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", file.display()));
            }
        }
    }
}

/// A node looks at the version of the tables once a second.
const NOTICED: Duration = Duration::from_millis(1_100);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_work_with_later_tables_that_need_no_more_than_they_know() {
    for database in Database::both().await {
        let running = database.open().await.unwrap();
        stores::use_everything(&*running, 1).await;
        database
            .execute(
                "ALTER TABLE api_keys ADD COLUMN later TEXT; ALTER TABLE api_key_audit ADD COLUMN later TEXT; \
                 CREATE TABLE api_key_later (key_id TEXT); UPDATE api_key_schema SET version = 9",
            )
            .await;
        sleep(NOTICED).await;
        stores::use_everything(&*running, 2).await;
        stores::use_everything(&*database.open().await.unwrap(), 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_refused_by_tables_that_are_missing_or_older() {
    for database in Database::both().await {
        let store: Arc<dyn KeyAdministration> = match &database {
            Database::Postgres(pool) => Arc::new(PostgresStore::new(pool.clone())),
            Database::Sqlite(_, pool) => Arc::new(SqliteStore::new(pool.clone())),
        };
        let refused = async || {
            let error = store.find(KeySelector::Id(&"k1".parse().unwrap())).await.unwrap_err();
            error.source().unwrap().to_string()
        };
        assert!(refused().await.contains("has no tables"), "{}", refused().await);
        let first = match &database {
            Database::Postgres(_) => include_str!("../../src/store/postgres/schema_1.sql"),
            Database::Sqlite(..) => include_str!("../../src/store/sqlite/schema_1.sql"),
        };
        database.execute(first).await;
        sleep(NOTICED).await;
        assert!(
            refused().await.contains("have version 1, and this program needs version 8"),
            "{}",
            refused().await
        );
        database.open().await.unwrap();
        sleep(NOTICED).await;
        stores::use_everything(&*store, 1).await;
    }
}

/// A backup holds its locks until it ends, and a migration that waits for one holds up every later lookup.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_waits_for_a_backup_holds_up_no_lookup() {
    let pool = Server::shared().database(10).await;
    sqlx::raw_sql(AssertSqlSafe(include_str!("databases/schema_3.postgres.sql")))
        .execute(&pool)
        .await
        .unwrap();
    let mut backup = pool.begin().await.unwrap();
    sqlx::raw_sql("SELECT FROM api_keys").execute(&mut *backup).await.unwrap();
    let store = PostgresStore::new(pool.clone());
    let migration = tokio::spawn(async move { store.migrate().await });
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_500) {
        let lookup = sqlx::raw_sql("SELECT FROM api_keys WHERE id = 'standard'").execute(&pool);
        timeout(Duration::from_secs(1), lookup).await.expect("a lookup of another node").unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    assert!(!migration.is_finished());
    backup.commit().await.unwrap();
    migration.await.unwrap().unwrap();
}

fn is_refused<T: std::fmt::Debug>(result: Result<T, StoreError>, what: &str) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), StoreErrorKind::Other, "{what}");
    let reason = error.source().unwrap().to_string();
    assert_eq!(
        reason,
        "the tables of the key store have version 9, which needs a program that knows version 9 at least, and this one \
         knows versions up to 8: install a later release",
        "{what}"
    );
}

#[test]
fn nodes_are_refused_by_tables_that_need_more_than_they_know() {
    in_own_process(|| {
        let log = Log::start();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for database in Database::both().await {
                refuses(&database, &log).await;
            }
        });
    });
}

async fn refuses(database: &Database, log: &Log) {
    let running = database.open().await.unwrap();
    let key = record(KEY, |_| {});
    running.insert(key.clone(), None).await.unwrap();
    let cached: Arc<dyn KeyAdministration> = Arc::new(CachedStore::builder(running.clone()).build());
    let manager = KeyManager::new(running.clone(), format());
    let month = RateLimit::per_key("month", Quota::per_month(1000).unwrap());
    let quotas = assembly(running.clone()).without_route_table().limit(month).build().unwrap();
    for store in [&running, &cached] {
        assert_eq!(damage::status(store, KEY).await, 200);
    }
    assert_eq!(log.take(), "");

    database.execute("UPDATE api_key_schema SET version = 9, needed_version = 9").await;
    is_refused(database.open().await.map(drop), "a node that starts");
    is_refused(database.insert_in(&manager).await, "a transaction of the application");
    sleep(NOTICED).await;
    match quotas.grant("month", &Subject::Key(key.id), 1).await {
        Err(ManageError::Store(error)) => is_refused(Err::<(), _>(error), "a quota"),
        granted => panic!("{granted:?}"),
    }
    let began = Instant::now();
    let mut other = record(OTHER_KEY, |_| {});
    while began.elapsed() < Duration::from_millis(2_500) {
        is_refused(running.find(KeySelector::Id(&key.id)).await, "a lookup");
        is_refused(running.changes(None).await, "changes");
        is_refused(running.insert(other.clone(), None).await, "a new key");
        is_refused(running.replace(key.clone(), None).await, "a change");
        is_refused(running.delete(&key.owner, &key.id, None).await, "a deletion");
        is_refused(running.list(None, &KeyQuery::default()).await, "a listing");
        is_refused(running.record_last_use(&[(key.id, key.created_at)]).await, "a use");
        assert_eq!(damage::status(&running, KEY).await, 503);
    }
    // What a cache holds is trusted for five seconds after the store last said what has changed.
    while began.elapsed() < Duration::from_secs(6) {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(damage::status(&cached, KEY).await, 503);
    let logged = log.take();
    let lines: Vec<_> = logged.lines().filter(|line| line.contains("schema_unusable")).collect();
    assert!((2..=8).contains(&lines.len()), "{logged}");
    assert!(
        lines.iter().all(|line| line.contains("ERROR") && line.contains("install a later release")),
        "{logged}"
    );

    // The later release is taken back, and its tables are made what they were.
    database.execute("UPDATE api_key_schema SET needed_version = 8").await;
    sleep(NOTICED).await;
    assert!(running.find(KeySelector::Id(&key.id)).await.unwrap().is_some());
    assert_eq!(running.list(None, &KeyQuery::default()).await.unwrap().keys.len(), 1, "nothing was written");
    other.name = "Later".into();
    running.insert(other, None).await.unwrap();
    for store in [&running, &cached] {
        assert_eq!(damage::status(store, KEY).await, 200);
    }
}
