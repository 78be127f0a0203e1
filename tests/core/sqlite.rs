//! The SQLite store with a file that is locked, full, damaged, or shared with a process that is killed.

#![allow(clippy::print_stdout, reason = "a child process says what was answered to it")]

#[path = "../support/stores.rs"]
mod stores;

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Connection, Row};
use stores::{digest, find, full_record, owner, record, revoked};
use tokio::time::Instant;
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::key::{KeyFormat, KeyId, KeyState};
use tower_api_keys::manage::{Authority, KeyManager, ManageError, NewKey};
use tower_api_keys::store::{
    HistoryQuery, KeyAdministration, KeySelector, KeyStore, SqliteStore, StoreErrorKind, conformance,
};
use tower_api_keys::usage::{UsageBatch, UsageBucket, UsageQuery};

use crate::damage::{self, Log};
use crate::support::in_own_process;

/// A temporary directory, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("api-keys-sqlite-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("keys.db")
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(self.file())
    }

    async fn connect(&self) -> SqliteConnection {
        SqliteConnection::connect_with(&self.options()).await.unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn execute(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.expect(sql);
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let directories = std::sync::Mutex::new(Vec::new());
    conformance::check(async || {
        let directory = Directory::new();
        let store = SqliteStore::open(directory.file()).await.unwrap();
        directories.lock().unwrap().push(directory);
        store
    })
    .await;
}

/// Like several processes: each store has its own connections.
async fn three_stores(directory: &Directory) -> Vec<Arc<dyn KeyAdministration>> {
    let mut stores: Vec<Arc<dyn KeyAdministration>> = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(SqliteStore::open(directory.file()).await.unwrap()));
    }
    stores
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_leave_one_consistent_state() {
    let directory = Directory::new();
    stores::changes_at_once_leave_one_consistent_state(&three_stores(&directory).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_are_recorded_from_everywhere_at_once() {
    let directory = Directory::new();
    stores::uses_are_recorded_from_everywhere_at_once(&three_stores(&directory).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_sets_durable_and_fast_options() {
    let directory = Directory::new();
    let url = format!("sqlite://{}", directory.file().display());
    let store = SqliteStore::open(url).await.unwrap();
    store.insert(record("k1"), None).await.unwrap();
    let mut connection = directory.connect().await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
    assert_eq!(mode, "wal");

    let opened = SqliteStore::open(directory.0.join("missing").join("keys.db")).await;
    assert_eq!(opened.unwrap_err().kind(), StoreErrorKind::Unavailable);
    std::fs::write(directory.0.join("garbage"), "this is no database ".repeat(100)).unwrap();
    let opened = SqliteStore::open(directory.0.join("garbage")).await;
    assert_eq!(opened.unwrap_err().kind(), StoreErrorKind::Corrupt);
}

async fn open_a_new_file_at_once(directory: &Directory) {
    let opened: Vec<_> = (0..8).map(|_| tokio::spawn(SqliteStore::open(directory.file()))).collect();
    for store in opened {
        store.await.unwrap().unwrap().migrate().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_open_a_new_file_concurrently_and_a_newer_schema_is_an_error() {
    // Two of them do not collide every time at the switch to WAL, which SQLite allows only one to make.
    for _ in 0..20 {
        open_a_new_file_at_once(&Directory::new()).await;
    }
    let directory = Directory::new();
    open_a_new_file_at_once(&directory).await;
    let mut connection = directory.connect().await;
    let versions =
        sqlx::query("SELECT version FROM api_key_schema").fetch_all(&mut connection).await.unwrap();
    assert_eq!(versions.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [8]);

    execute(&mut connection, "UPDATE api_key_schema SET version = 99, needed_version = 98").await;
    let newer = SqliteStore::open(directory.file()).await.unwrap_err();
    assert_eq!(newer.kind(), StoreErrorKind::Other);
    let reason = std::error::Error::source(&newer).unwrap().to_string();
    assert!(
        reason.contains("version 99") && reason.contains("version 98 at least") && reason.contains("up to 8"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_outlast_the_processes_that_did_not_deliver_them() {
    let directory = Directory::new();
    let stores = three_stores(&directory).await.try_into().ok().unwrap();
    stores::events_outlast_the_processes_that_did_not_deliver_them(&stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_holds_up_none_but_itself() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).await.unwrap();
    let manager = KeyManager::new(store.clone(), KeyFormat::new("wfk_").unwrap());
    for _ in 0..2 {
        manager.create(&Authority::operator(owner()), NewKey::new("n")).await.unwrap();
    }
    let mut connection = directory.connect().await;
    execute(&mut connection, "UPDATE api_key_audit SET action = 'of a later release' WHERE number = 1").await;
    let log = store.audit_log().unwrap();
    let undelivered = async || log.undelivered("here", stores::START, stores::START).await;
    assert_eq!(undelivered().await.unwrap().len(), 1);
    log.delivered(&[2]).await.unwrap();
    assert_eq!(undelivered().await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    let history = manager.history_of_all(&HistoryQuery::default()).await.unwrap_err();
    assert!(matches!(history, ManageError::Store(_)), "a history leaves nothing out");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_key_are_delivered_in_the_order_of_its_changes() {
    let directory = Directory::new();
    let stores = three_stores(&directory).await;
    stores::the_events_of_a_key_are_delivered_in_the_order_of_its_changes(&stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_stored_with_what_the_application_stores_or_not_at_all() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).await.unwrap();
    let mut connection = directory.connect().await;
    execute(&mut connection, "CREATE TABLE organizations (name TEXT)").await;
    let manager = KeyManager::new(store.clone(), KeyFormat::new("wfk_").unwrap());
    let operator = Authority::operator(owner());
    for commits in [false, true] {
        let prepared = manager.prepare(&operator, NewKey::new("First key")).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        sqlx::query("INSERT INTO organizations VALUES ('acme')").execute(&mut *transaction).await.unwrap();
        SqliteStore::insert_in(&mut transaction, prepared.record(), Some(prepared.event())).await.unwrap();
        let again = SqliteStore::insert_in(&mut transaction, prepared.record(), Some(prepared.event()))
            .await
            .unwrap_err();
        assert_eq!(again.kind(), StoreErrorKind::Conflict);
        assert!(store.get(&owner(), &prepared.record().id).await.unwrap().is_none());
        match commits {
            true => transaction.commit().await.unwrap(),
            false => transaction.rollback().await.unwrap(),
        }
        let digests = [prepared.record().digest];
        assert_eq!(store.find(KeySelector::Digests(&digests)).await.unwrap().is_some(), commits);
        assert_eq!(prepared.committed().await.is_ok(), commits);
        let history = manager.history_of_all(&HistoryQuery::default()).await.unwrap();
        assert_eq!(history.events.len(), usize::from(commits), "the event of a key that is stored");
        let organizations =
            sqlx::query("SELECT name FROM organizations").fetch_all(&mut connection).await.unwrap();
        assert_eq!(organizations.len(), usize::from(commits));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_stay_texts() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).await.unwrap();
    stores::texts_stay_texts(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_constant_and_each_uses_an_index() {
    stores::watch_statements();
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).await.unwrap();
    stores::use_everything(&store, 1).await;
    let of_the_store = |text: &String| text.contains("api_key") && text.contains('$');
    let statements: Vec<_> = stores::statements().into_iter().filter(of_the_store).collect();
    assert!(statements.len() >= 9, "{statements:#?}");
    for number in 2..5 {
        stores::use_everything(&store, number).await;
    }
    let after: Vec<_> = stores::statements().into_iter().filter(of_the_store).collect();
    assert_eq!(after, statements, "other values make no other statement");

    let mut connection = directory.connect().await;
    for statement in &statements {
        let plan = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
        let steps = plan.fetch_all(&mut connection).await.expect(statement);
        for step in steps {
            let step: String = step.get("detail");
            let reads_parameter = step.contains("VIRTUAL TABLE");
            // The former has what is asked for and nothing else, the latter one row.
            let of_few = ["INDEX api_key_audit_undelivered", "SCAN api_key_audit_delivery"];
            if of_few.iter().any(|few| step.contains(few)) {
                continue;
            }
            assert!(
                !step.starts_with("SCAN api_key") && (reads_parameter || !step.contains("SCAN api")),
                "{step}: {statement}"
            );
        }
        assert!(
            statement.contains("api_key_digests")
                || statement.contains("api_key_imports")
                || statement.contains("WHERE")
                || statement.starts_with("INSERT")
        );
    }
}

/// Changes rows by other means than the store.
/// What damages rows is more than a statement: the schema does not let it.
async fn drop_checks(directory: &Directory) {
    execute(&mut directory.connect().await, "DROP TRIGGER api_keys_check; DROP TRIGGER api_keys_updated")
        .await;
}

async fn affected(directory: &Directory, sql: String) -> u64 {
    let mut connection =
        SqliteConnection::connect_with(&directory.options().foreign_keys(false)).await.unwrap();
    let done = sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut connection).await;
    let changed = done.expect(&sql).rows_affected();
    connection.close().await.unwrap();
    changed
}

#[test]
fn one_corrupt_record_denies_itself_alone() {
    in_own_process(|| {
        let log = Log::start();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let directory = Directory::new();
            let store: Arc<dyn KeyAdministration> =
                Arc::new(SqliteStore::open(directory.file()).await.unwrap());
            drop_checks(&directory).await;
            let more = ["name = CAST(x'ff' AS TEXT)", "hint = CAST(x'c328' AS TEXT)"];
            let execute = async |sql| affected(&directory, sql).await;
            damage::one_corrupt_record_denies_itself_alone(store.clone(), &log, &more, execute).await;
            #[cfg(feature = "cache")]
            {
                let store = Arc::new(tower_api_keys::store::CachedStore::new(store));
                damage::one_corrupt_record_denies_itself_alone(store, &log, &more, execute).await;
            }
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_hand_has_a_version_and_a_time_and_must_be_one() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).await.unwrap();
    let key = record("k1");
    store.insert(key.clone(), None).await.unwrap();
    let mut connection = directory.connect().await;
    for change in ["state = 'bogus'", "organization = ''", "tier = 'system'", "tier = ''"] {
        let change = format!("UPDATE api_keys SET {change}");
        sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut connection).await.unwrap_err();
    }
    let mark = store.changes(None).await.unwrap().unwrap().mark;
    execute(&mut connection, "UPDATE api_keys SET state = 'revoked'").await;
    let changed = find(&store, &key.id).await.unwrap();
    assert_eq!(changed.version, key.version + 1);
    let KeyState::Revoked { at } = changed.state else { panic!("it is revoked") };
    let now = SystemClock.now().timestamp().as_unix_millis();
    assert!(now.abs_diff(at.as_unix_millis()) < 60_000, "{at}");
    let changes = store.changes(Some(mark)).await.unwrap().unwrap();
    assert!(changes.keys.unwrap().contains(&key.id));
    store.record_last_use(&[(key.id, at)]).await.unwrap();
    let after_use = store.changes(Some(changes.mark)).await.unwrap().unwrap();
    assert_eq!(after_use.keys, Some(Vec::new()), "a use is no change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_passes_records_without_a_place() {
    let directory = Directory::new();
    let store = Arc::new(SqliteStore::open(directory.file()).await.unwrap());
    drop_checks(&directory).await;
    damage::a_listing_passes_records_without_a_place(store, async |sql| affected(&directory, sql).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_is_an_error_in_time_and_lookups_continue() {
    let directory = Directory::new();
    let time = Duration::from_millis(300);
    let store = SqliteStore::open(directory.file()).await.unwrap().with_administration_timeout(time);
    let key = record("k1");
    store.insert(key.clone(), None).await.unwrap();
    let mut other = directory.connect().await;
    execute(&mut other, "BEGIN EXCLUSIVE").await;

    let began = Instant::now();
    let writers: Vec<_> = (0..10)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.insert(record(&format!("late{number}")), None).await })
        })
        .collect();
    tokio::time::sleep(time / 2).await;
    assert!(find(&store, &key.id).await.is_some(), "readers wait for no writer");
    for writer in writers {
        assert_eq!(writer.await.unwrap().unwrap_err().kind(), StoreErrorKind::Unavailable);
    }
    let (elapsed, bound) = (began.elapsed(), Duration::from_secs(2));
    assert!(elapsed < bound, "{elapsed:?}");
    assert!(find(&store, &key.id).await.is_some(), "nor for any number of them");

    execute(&mut other, "ROLLBACK").await;
    let store = store.with_administration_timeout(Duration::from_secs(5));
    store.insert(record("k2"), None).await.unwrap();
}

#[test]
fn work_may_be_given_up_outside_of_its_runtime_and_after_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (directory, key) = (Directory::new(), record("k1"));
    let (store, mut other) = runtime.block_on(async {
        let store = SqliteStore::open(directory.file()).await.unwrap();
        store.insert(key.clone(), None).await.unwrap();
        let mut other = directory.connect().await;
        execute(&mut other, "BEGIN EXCLUSIVE").await;
        (store, other)
    });
    // A change that waits for another writer.
    let begun = |id: &str| {
        let (store, key) = (store.clone(), record(id));
        let mut change = Box::pin(async move { store.insert(key, None).await });
        let waited =
            runtime.block_on(async { tokio::time::timeout(Duration::from_millis(50), &mut change).await });
        assert!(waited.is_err());
        change
    };
    for number in 0..3 {
        let change = begun(&format!("given-up-{number}"));
        thread::spawn(move || drop(change)).join().expect("no panic");
    }
    runtime.block_on(async {
        execute(&mut other, "ROLLBACK").await;
        assert!(find(&store, &key.id).await.is_some());
        store.insert(record("k2"), None).await.unwrap();
        execute(&mut other, "BEGIN EXCLUSIVE").await;
    });
    let last = begun("last");
    drop(runtime);
    drop(last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    let directory = Directory::new();
    drop(SqliteStore::open(directory.file()).await.unwrap());
    let full = directory.options().pragma("max_page_count", "40");
    let store = SqliteStore::new(SqlitePoolOptions::new().max_connections(2).connect_lazy_with(full));
    let mut stored = Vec::new();
    let error = loop {
        let mut key = record(&format!("k{}", stored.len()));
        key.name = "x".repeat(1_000).into();
        match store.insert(key.clone(), None).await {
            Ok(()) => stored.push(key),
            Err(error) => break error,
        }
        assert!(stored.len() < 1_000, "forty pages hold less");
    };
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    for key in &stored {
        assert_eq!(find(&store, &key.id).await.as_ref(), Some(key));
    }
    let last = record(&format!("k{}", stored.len()));
    assert_eq!(find(&store, &last.id).await, None);
    assert!(store.find(KeySelector::Digests(&[last.digest])).await.unwrap().is_none());
    // There is room again.
    let roomy = SqliteStore::open(directory.file()).await.unwrap();
    roomy.insert(last, None).await.unwrap();
    assert!(store.delete(&owner(), &stored[0].id, None).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_is_an_error_in_time() {
    let directory = Directory::new();
    drop(SqliteStore::open(directory.file()).await.unwrap());
    let pool = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(directory.options());
    let time = Duration::from_millis(200);
    let store = SqliteStore::new(pool.clone()).with_lookup_timeout(time).with_administration_timeout(time);
    let taken = pool.acquire().await.unwrap();
    let key = record("k1");
    let began = Instant::now();
    let found = store.find(KeySelector::Id(&key.id)).await;
    assert_eq!(found.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_eq!(store.insert(key.clone(), None).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(taken);
    let store = SqliteStore::new(pool);
    store.insert(key, None).await.unwrap();
}

/// The other process of the tests below: this test binary, run again for this test only.
#[tokio::test(flavor = "multi_thread")]
async fn child_process() {
    let Ok(file) = env::var("KEYS_WRITTEN_BY_A_CHILD") else { return };
    let store = SqliteStore::open(file).await.unwrap();
    for number in 0.. {
        let key = record(&format!("child{number}"));
        store.insert(key.clone(), None).await.unwrap();
        println!("\ninserted {}", key.id);
        if number % 2 == 0 {
            store.replace(revoked(key.clone()), None).await.unwrap();
            println!("\nrevoked {}", key.id);
        }
    }
}

fn child(file: &Path) -> (Child, impl Iterator<Item = (bool, KeyId)> + use<>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["sqlite::child_process", "--exact", "--nocapture"])
        .env("KEYS_WRITTEN_BY_A_CHILD", file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let answered = lines.filter_map(|line| {
        let (what, id) = line.split_once(' ')?;
        let revoked = match what {
            "inserted" => false,
            "revoked" => true,
            _ => return None,
        };
        Some((revoked, KeyId::from_str(id).ok()?))
    });
    (child, answered)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_no_completed_change() {
    let directory = Directory::new();
    for round in 1..=3 {
        let file = directory.0.join(format!("keys{round}.db"));
        let (mut child, mut answered) = child(&file);
        let mut seen: Vec<_> = answered.by_ref().take(50 * round).collect();
        assert_eq!(seen.len(), 50 * round, "the child writes");
        child.kill().unwrap();
        seen.extend(answered);
        child.wait().unwrap();

        let store = SqliteStore::open(&file).await.unwrap();
        for (revoked, id) in &seen {
            let stored = find(&store, id).await.expect("what was answered is there");
            assert!(!revoked || stored.state != KeyState::Active, "{id} was revoked");
            let by_digest = store.find(KeySelector::Digests(&[digest(id.as_str())])).await.unwrap();
            assert_eq!(by_digest.as_deref(), Some(&stored));
        }
        let mut connection =
            SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file)).await.unwrap();
        let check: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        assert_eq!(check, "ok");
        let halves = "SELECT count(*) FROM api_keys WHERE id NOT IN (SELECT key_id FROM api_key_digests)";
        let halves: i64 = sqlx::query_scalar(halves).fetch_one(&mut connection).await.unwrap();
        assert_eq!(halves, 0, "no change is half done");
        store.insert(record("afterwards"), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_file() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).await.unwrap();
    let (mut child, mut answered) = child(&directory.file());
    for number in 0..40 {
        store.insert(record(&format!("mine{number}")), None).await.unwrap();
        let (revoked, id) = answered.next().expect("the child writes, too");
        let stored = find(&store, &id).await.expect("what one process has answered the other sees");
        assert!(!revoked || stored.state != KeyState::Active);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_leaves_nothing_behind_without_foreign_keys() {
    let directory = Directory::new();
    drop(SqliteStore::open(directory.file()).await.unwrap());
    let careless = directory.options().foreign_keys(false);
    let store = SqliteStore::new(SqlitePool::connect_lazy_with(careless));
    let key = full_record("k1");
    store.insert(key.clone(), None).await.unwrap();
    assert!(store.delete(&owner(), &key.id, None).await.unwrap());
    // It has the same previous secret and the same next one.
    store.insert(full_record("k2"), None).await.unwrap();
}

/// Which a process has left that wrote while the clock was wrong.
#[tokio::test(flavor = "multi_thread")]
async fn usage_is_not_said_to_be_complete_until_a_time_to_come() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).await.unwrap();
    let log = store.usage_log().unwrap();
    let now = SystemClock.now().timestamp();
    for process in ["a", "b"] {
        log.add(&UsageBatch::new(process.parse().unwrap(), 1, now, Vec::new())).await.unwrap();
    }
    let set = "UPDATE api_key_usage_processes SET made_at = made_at + 86400000 WHERE process = 'b'";
    assert_eq!(affected(&directory, set.to_owned()).await, 1);
    let usage = log.read(&UsageQuery::new(now, now, UsageBucket::Hour), 1).await.unwrap();
    assert_eq!(usage.as_of, Some(now));
}
