//! The SQLite store whose file can't be written, or is replaced or deleted, while requests read keys from it.
#![allow(clippy::print_stdout, reason = "a test says what it can't do here")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::task::JoinHandle;
use tower_api_keys::key::KeyRecord;
use tower_api_keys::store::{
    KeyAdministration, KeySelector, KeyStore, SqliteStore, StoreError, StoreErrorKind,
};

use crate::damage::{self, Log};
use crate::support::{KEY, in_own_process, record};

/// A temporary directory, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("api-keys-file-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("keys.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

fn key(number: usize) -> KeyRecord {
    record(&format!("key {number}"), |_| {})
}

/// Reads a key at all times, from several tasks.
struct Readers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Reads>>,
}

#[derive(Debug, Default)]
struct Reads {
    all: usize,
    failures: Vec<StoreError>,
}

impl Readers {
    fn start(store: &SqliteStore, found: &KeyRecord, tasks: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let read = |_| {
            let (store, found, stop) = (store.clone(), found.clone(), stop.clone());
            tokio::spawn(async move {
                let mut reads = Reads::default();
                while !stop.load(Ordering::Relaxed) {
                    reads.all += 1;
                    match store.find(KeySelector::Id(&found.id)).await {
                        Ok(read) => assert_eq!(read.as_deref(), Some(&found)),
                        Err(error) => reads.failures.push(error),
                    }
                }
                reads
            })
        };
        Self { tasks: (0..tasks).map(read).collect(), stop }
    }

    /// None has failed, and there were some.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let Reads { all, failures } = task.await.unwrap();
            let (failed, last) = (failures.len(), failures.last());
            assert!(failed == 0 && all > 50, "{failed} of {all} reads failed: {last:?}");
        }
    }
}

/// From now on, every write of this process to a file fails, or works again.
fn writing(works: bool) {
    let limit = if works { "--fsize=unlimited:" } else { "--fsize=0:" };
    let done = Command::new("prlimit").args(["--pid", &std::process::id().to_string(), limit]).status();
    assert!(done.unwrap().success());
}

/// At least one, and about one a second.
fn is_reported(log: &Log, code: &str, within: Duration) {
    let logged = log.take();
    let lines = logged.lines().filter(|line| line.contains("ERROR") && line.contains(code)).count();
    assert_eq!(lines, logged.lines().count(), "nothing else is logged: {logged}");
    assert!((1..=within.as_secs() as usize + 1).contains(&lines), "{lines} lines in {within:?}: {logged}");
}

/// Keys are inserted, and none can be.
async fn fail_to_write(store: &SqliteStore, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        let error = store.insert(key(1), None).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    }
}

/// The directory can only be read by who opens a file in it from now on, or can be written again.
fn mount_read_only(directory: &Directory, is_read_only: bool) {
    let directory = directory.0.to_str().unwrap();
    // Where nobody has a file open for writing yet.
    let aside = &*format!("{directory}-aside");
    let calls: &[&[&str]] = match is_read_only {
        true => &[
            &["mkdir", aside],
            &["mount", "--bind", directory, aside],
            &["mount", "-o", "remount,bind,ro", aside],
            &["mount", "--bind", aside, directory],
        ],
        false => &[&["umount", "-l", directory], &["umount", "-l", aside], &["rmdir", aside]],
    };
    for call in calls {
        assert!(Command::new(call[0]).args(&call[1..]).status().unwrap().success(), "{call:?}");
    }
}

/// This test again, in a process that survives writes beyond its limit, and may mount directories if any process here may.
fn again(inside: &str) {
    let can_mount = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|done| done.success());
    let mut child = match can_mount {
        true => Command::new("unshare"),
        false => Command::new("sh"),
    };
    if can_mount {
        child.args(["-rm", "sh"]);
    } else {
        println!("no namespaces here: files can be opened for writing all the time, and only writes fail");
    }
    let child = child
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["sqlite_file::reads_go_on_while_nothing_can_be_written", "--exact", "--nocapture"])
        .env(inside, if can_mount { "mounts" } else { "limits" })
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
fn reads_go_on_while_nothing_can_be_written() {
    const INSIDE: &str = "TEST_WITH_FAILING_WRITES";
    let Ok(means) = std::env::var(INSIDE) else { return again(INSIDE) };
    let log = Log::start();
    run(async {
        // A single reader may find the last connection closed by a write that has failed.
        for (tasks, mounts) in [(1, false), (2, false), (8, false), (1, true), (8, true)] {
            let mounts = mounts && means == "mounts";
            let directory = Directory::new();
            let store = SqliteStore::open(directory.file()).await.unwrap();
            let first = key(0);
            store.insert(first.clone(), None).await.unwrap();
            let readers = Readers::start(&store, &first, tasks);
            let (began, time) = (Instant::now(), Duration::from_millis(1_500));
            if mounts {
                mount_read_only(&directory, true);
            }
            writing(false);
            fail_to_write(&store, time).await;
            readers.end().await;
            writing(true);
            if mounts {
                mount_read_only(&directory, false);
            }
            is_reported(&log, "database_not_written", began.elapsed());
            recovers(&store).await;
            log.take();
        }
    });
}

/// A connection that was opened for reading alone is closed by the first write that it fails.
async fn recovers(store: &SqliteStore) {
    let mut failures = 0;
    while let Err(error) = store.insert(key(1), None).await {
        failures += 1;
        assert!(failures <= 8, "there are eight connections: {error:?}");
    }
}

#[test]
fn reads_go_on_while_the_disk_is_full() {
    in_own_process(|| {
        let log = Log::start();
        run(async {
            let directory = Directory::new();
            drop(SqliteStore::open(directory.file()).await.unwrap());
            let options =
                SqliteConnectOptions::new().filename(directory.file()).pragma("max_page_count", "40");
            let store =
                SqliteStore::new(SqlitePoolOptions::new().max_connections(2).connect_lazy_with(options));
            let first = key(0);
            store.insert(first.clone(), None).await.unwrap();
            let readers = Readers::start(&store, &first, 1);
            let large = |number| {
                let mut key = key(number);
                key.name = "x".repeat(2_000).into();
                key
            };
            let began = Instant::now();
            let mut number = 1;
            while store.insert(large(number), None).await.is_ok() {
                number += 1;
            }
            for _ in 0..200 {
                let error = store.insert(large(number), None).await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
            }
            readers.end().await;
            is_reported(&log, "database_not_written", began.elapsed());
        });
    });
}

/// Waits for the lookup that fails, for as long as it takes to look at the path again.
async fn fails_soon(store: &SqliteStore, found: &KeyRecord) {
    let began = Instant::now();
    loop {
        match store.find(KeySelector::Id(&found.id)).await {
            Ok(read) => assert_eq!(read.as_deref(), Some(found), "what is read is of the file that is open"),
            Err(error) => break assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(3), "it is not noticed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_file_that_was_deleted_or_replaced_is_not_read_until_it_is_opened_again() {
    in_own_process(|| {
        let log = Log::start();
        run(async {
            for replaces in [false, true] {
                let directory = Directory::new();
                let (file, aside) = (directory.file(), directory.0.join("aside.db"));
                let store = SqliteStore::open(&file).await.unwrap();
                let first = record(KEY, |_| {});
                store.insert(first.clone(), None).await.unwrap();
                assert_eq!(log.take(), "");

                std::fs::rename(&file, &aside).unwrap();
                if replaces {
                    // A copy of an earlier time, say, in which a revoked key is good.
                    let other = SqliteStore::open(directory.0.join("other.db")).await.unwrap();
                    other.insert(key(5), None).await.unwrap();
                    drop(other);
                    // Not the WAL of the old one, which SQLite would apply to it.
                    for of_old in ["keys.db-wal", "keys.db-shm"] {
                        std::fs::remove_file(directory.0.join(of_old)).unwrap();
                    }
                    std::fs::rename(directory.0.join("other.db"), &file).unwrap();
                }
                let began = Instant::now();
                let lookups: Vec<_> = (0..4)
                    .map(|_| {
                        let (store, first) = (store.clone(), first.clone());
                        tokio::spawn(async move { fails_soon(&store, &first).await })
                    })
                    .collect();
                for lookup in lookups {
                    lookup.await.unwrap();
                }
                let shared: Arc<dyn KeyAdministration> = Arc::new(store.clone());
                while began.elapsed() < Duration::from_millis(2_500) {
                    assert!(
                        store.insert(key(1), None).await.is_err(),
                        "nothing is written to a file that is gone"
                    );
                    assert_eq!(damage::status(&shared, KEY).await, 503);
                }
                let logged = log.take();
                let lost: Vec<_> =
                    logged.lines().filter(|line| line.contains("database_file_lost")).collect();
                assert!((1..=4).contains(&lost.len()), "{} lines in 2.5 s: {logged}", lost.len());
                let what = if replaces { "was replaced" } else { "was deleted" };
                assert!(lost.iter().all(|line| line.contains("ERROR") && line.contains(what)), "{lost:#?}");

                match replaces {
                    // The application says so by opening it.
                    true => {
                        let anew = SqliteStore::open(&file).await.unwrap();
                        assert!(anew.find(KeySelector::Id(&first.id)).await.unwrap().is_none());
                    }
                    false => {
                        std::fs::rename(&aside, &file).unwrap();
                        while store.find(KeySelector::Id(&first.id)).await.is_err() {
                            assert!(began.elapsed() < Duration::from_secs(6), "it is back");
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        store.insert(key(1), None).await.unwrap();
                    }
                }
                log.take();
            }
        });
    });
}
