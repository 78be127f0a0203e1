//! The tables of the stores beside the application's own, which sqlx's `Migrator` makes in the same database.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/postgres.rs"]
mod postgres_server;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs, process};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{PgPool, SqlSafeStr, SqlitePool};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_api_keys::key::{KeyFormat, Mode, Owner};
use tower_api_keys::manage::KeyManager;
use tower_api_keys::store::{HistoryQuery, KeyAdministration, PostgresStore, SqliteStore};
use tower_api_keys::{Authority, NewKey};

use crate::postgres_server::Server;

const SECOND: Duration = Duration::from_secs(1);

/// Which migrations run first.
#[derive(Clone, Copy, Debug)]
enum Order {
    OursFirst,
    TheirsFirst,
    /// The application's first one, ours, the application's others.
    Between,
}

const ORDERS: [Order; 3] = [Order::OursFirst, Order::TheirsFirst, Order::Between];

/// The application's migrations, numbered like ours. The last one gives each of its rows a key.
const THEIRS: [&str; 3] = [
    "CREATE TABLE accounts (id integer PRIMARY KEY)",
    "INSERT INTO accounts VALUES (1), (2)",
    "ALTER TABLE accounts ADD COLUMN key_id text",
];

fn application(migrations: &[&'static str]) -> Migrator {
    let migrations = migrations.iter().zip(1..).map(|(sql, version)| {
        let description = Cow::Borrowed("an application's");
        Migration::new(version, description, MigrationType::Simple, (*sql).into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// The store works: a key is made, found and has a history.
async fn works(store: impl KeyAdministration) {
    let manager = KeyManager::new(store, KeyFormat::new("acme_").unwrap());
    let operator = Authority::operator(Owner::organization("acme".parse().unwrap(), Mode::Live));
    let made = manager.create(&operator, NewKey::new("First key")).await.unwrap();
    let found = manager.find_by_text(made.secret.expose_secret()).await.unwrap();
    assert_eq!(found.unwrap().id, made.key.id);
    let history = manager.history(&operator, &made.key.id, &HistoryQuery::default()).await.unwrap();
    assert_eq!(history.events.len(), 1);
}

/// Everything in a database whose name begins like ours.
const OF_POSTGRES: &str = "
    SELECT table_name || '.' || column_name || ' ' || data_type FROM information_schema.columns
        WHERE table_name LIKE 'api_key%'
    UNION ALL SELECT indexdef FROM pg_indexes WHERE tablename LIKE 'api_key%'
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE 'api_key%'
    UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname LIKE 'api_key%'
    UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE conname LIKE 'api_key%'
    ORDER BY 1";

const OF_SQLITE: &str =
    "SELECT coalesce(sql, name) FROM sqlite_schema WHERE tbl_name LIKE 'api_key%' ORDER BY 1";

/// Both schemas are whole, and running either once more changes nothing.
async fn postgres_has_both(pool: &PgPool, migrations: &[&'static str], alone: &[String], case: &str) {
    let store = PostgresStore::new(pool.clone());
    store.migrate().await.unwrap();
    application(migrations).run(pool).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, String>(OF_POSTGRES).fetch_all(pool).await.unwrap(), alone, "{case}");
    let theirs = sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version");
    let theirs: Vec<i64> = theirs.fetch_all(pool).await.unwrap();
    assert_eq!(theirs, (1..=migrations.len() as i64).collect::<Vec<_>>(), "{case}");
    let accounts = sqlx::query_scalar("SELECT count(*) FROM accounts WHERE key_id IS NULL");
    assert_eq!(accounts.fetch_one(pool).await.ok(), Some(2_i64), "{case}");
    works(store).await;
}

async fn sqlite_has_both(pool: &SqlitePool, alone: &[String], case: &str) {
    let store = SqliteStore::new(pool.clone());
    store.migrate().await.unwrap();
    application(&THEIRS).run(pool).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, String>(OF_SQLITE).fetch_all(pool).await.unwrap(), alone, "{case}");
    let theirs = sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version");
    assert_eq!(theirs.fetch_all(pool).await.ok(), Some(vec![1_i64, 2, 3]), "{case}");
    let accounts = sqlx::query_scalar("SELECT count(*) FROM accounts WHERE key_id IS NULL");
    assert_eq!(accounts.fetch_one(pool).await.ok(), Some(2_i64), "{case}");
    works(store).await;
}

/// What is in a database that has our tables alone.
async fn postgres_alone() -> Vec<String> {
    let pool = Server::shared().database(2).await;
    PostgresStore::new(pool.clone()).migrate().await.unwrap();
    let alone: Vec<String> = sqlx::query_scalar(OF_POSTGRES).fetch_all(&pool).await.unwrap();
    assert!(alone.len() > 50, "{alone:#?}");
    alone
}

/// A directory with a file. Removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory =
            env::temp_dir().join(format!("api-keys-migrations-{}-{name}-{number}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn pool(&self) -> SqlitePool {
        let options = SqliteConnectOptions::new().filename(self.0.join("app.db")).create_if_missing(true);
        SqlitePool::connect_lazy_with(options.journal_mode(SqliteJournalMode::Wal))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn sqlite_alone() -> Vec<String> {
    let directory = Directory::new("alone");
    let pool = directory.pool();
    SqliteStore::new(pool.clone()).migrate().await.unwrap();
    let alone: Vec<String> = sqlx::query_scalar(OF_SQLITE).fetch_all(&pool).await.unwrap();
    assert!(alone.len() > 10, "{alone:#?}");
    alone
}

#[tokio::test]
async fn postgres_takes_the_tables_of_both_in_any_order() {
    let alone = postgres_alone().await;
    for order in ORDERS {
        let pool = Server::shared().database(2).await;
        let (ours, theirs) = (PostgresStore::new(pool.clone()), application(&THEIRS));
        match order {
            Order::OursFirst => ours.migrate().await.unwrap(),
            Order::TheirsFirst => theirs.run(&pool).await.unwrap(),
            Order::Between => {
                theirs.run_to(1, &pool).await.unwrap();
                ours.migrate().await.unwrap();
            }
        }
        postgres_has_both(&pool, &THEIRS, &alone, &format!("{order:?}")).await;
    }
}

#[tokio::test]
async fn an_sqlite_file_takes_the_tables_of_both_in_any_order() {
    let alone = sqlite_alone().await;
    for order in ORDERS {
        let directory = Directory::new(&format!("{order:?}"));
        let pool = directory.pool();
        let (ours, theirs) = (SqliteStore::new(pool.clone()), application(&THEIRS));
        match order {
            Order::OursFirst => ours.migrate().await.unwrap(),
            Order::TheirsFirst => theirs.run(&pool).await.unwrap(),
            Order::Between => {
                theirs.run_to(1, &pool).await.unwrap();
                ours.migrate().await.unwrap();
            }
        }
        sqlite_has_both(&pool, &alone, &format!("{order:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_migrate_postgres_at_once() {
    let alone = postgres_alone().await;
    for round in 0..5 {
        let pool = Server::shared().database(1).await;
        let mut starts = JoinSet::new();
        for process in 0..6 {
            // Each with connections of its own.
            let own = PgPool::connect_lazy_with((*pool.connect_options()).clone());
            starts.spawn(async move {
                let (ours, theirs) = (PostgresStore::new(own.clone()), application(&THEIRS));
                if process % 2 == 0 {
                    ours.migrate().await.unwrap();
                    theirs.run(&own).await.unwrap();
                } else {
                    theirs.run(&own).await.unwrap();
                    ours.migrate().await.unwrap();
                }
                own.close().await;
            });
        }
        starts.join_all().await;
        postgres_has_both(&pool, &THEIRS, &alone, &format!("round {round}")).await;
        pool.close().await;
    }
}

/// sqlx takes no lock for SQLite: of the application's processes one migrates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_migrate_an_sqlite_file_at_once() {
    let alone = sqlite_alone().await;
    for round in 0..10 {
        let directory = Directory::new(&format!("at-once-{round}"));
        let pool = directory.pool();
        // The file is in WAL mode before many want to switch it.
        drop(pool.acquire().await.unwrap());
        let mut starts = JoinSet::new();
        for process in 0..4 {
            let own = directory.pool();
            starts.spawn(async move {
                if process == 0 {
                    application(&THEIRS).run(&own).await.unwrap();
                } else {
                    SqliteStore::new(own.clone()).migrate().await.unwrap();
                }
                own.close().await;
            });
        }
        starts.join_all().await;
        sqlite_has_both(&pool, &alone, &format!("round {round}")).await;
    }
}

async fn waits_for_a_lock(pool: &PgPool) {
    let waiting = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND \
                   wait_event_type = 'Lock')";
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(pool).await.unwrap() {
        sleep(SECOND / 100).await;
    }
}

#[tokio::test]
async fn the_applications_migrations_do_not_wait_for_ours() {
    let (alone, pool) = (postgres_alone().await, Server::shared().database(4).await);
    // Ours stops amid its work, under its lock.
    let mut other = pool.begin().await.unwrap();
    sqlx::raw_sql("CREATE TABLE api_key_audit ()").execute(&mut *other).await.unwrap();
    let ours = PostgresStore::new(pool.clone());
    let ours = tokio::spawn(async move { ours.migrate().await });
    timeout(10 * SECOND, waits_for_a_lock(&pool)).await.expect("ours waits");
    timeout(10 * SECOND, application(&THEIRS).run(&pool)).await.expect("theirs do not wait").unwrap();
    assert!(!ours.is_finished());
    other.rollback().await.unwrap();
    ours.await.unwrap().unwrap();
    postgres_has_both(&pool, &THEIRS, &alone, "ours last").await;
}

#[tokio::test]
async fn our_migrations_do_not_wait_for_the_applications() {
    let (alone, pool) = (postgres_alone().await, Server::shared().database(4).await);
    // Theirs stop amid their work, under their lock.
    sqlx::raw_sql("CREATE TABLE gate ()").execute(&pool).await.unwrap();
    let mut other = pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE gate").execute(&mut *other).await.unwrap();
    let migrations = [THEIRS[0], THEIRS[1], "SELECT count(*) FROM gate", THEIRS[2]];
    let own = pool.clone();
    let theirs = tokio::spawn(async move { application(&migrations).run(&own).await });
    timeout(10 * SECOND, waits_for_a_lock(&pool)).await.expect("theirs wait");
    let ours = PostgresStore::new(pool.clone());
    timeout(10 * SECOND, ours.migrate()).await.expect("ours do not wait").unwrap();
    assert!(!theirs.is_finished());
    other.rollback().await.unwrap();
    theirs.await.unwrap().unwrap();
    postgres_has_both(&pool, &migrations, &alone, "theirs last").await;
}
