//! Processes that manage keys and are killed with `kill -9`: no change without its event, no event without its change.

use std::env;
use std::io::{Read, Write, stdout};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sqlx::ConnectOptions;
use tower_api_keys::key::{KeyFormat, KeyId};
use tower_api_keys::manage::{Authority, KeyChange, KeyManager, NewKey};
use tower_api_keys::store::{KeyAdministration, PostgresStore, SqliteStore};

use crate::contradictions::{contradictions, rows};
use crate::postgres_server::Server;
use crate::stores::owner;

/// How many processes are killed: as many as take a few seconds, or as the variable says.
fn kills() -> usize {
    env::var("AUDIT_KILLS").map_or(80, |kills| kills.parse().unwrap())
}

/// How many manage keys at the same time.
const AT_ONCE: usize = 4;

async fn open(url: &str) -> Arc<dyn KeyAdministration> {
    if url.starts_with("sqlite:") {
        return Arc::new(SqliteStore::open(url).await.unwrap());
    }
    Arc::new(PostgresStore::connect(url).await.unwrap())
}

/// Another process runs this, with the variable that [`start`] sets. In this one it does nothing. It makes keys, changes
/// them, and writes a byte for each change, until it is killed.
#[test]
fn changer() {
    let Ok(url) = env::var("AUDIT_STORE") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let manager = KeyManager::new(open(&url).await, KeyFormat::new("wfk_").unwrap());
        let operator = Authority::operator(owner());
        let done = || {
            stdout().write_all(b"+").unwrap();
            stdout().flush().unwrap();
        };
        let mut made: Vec<KeyId> = Vec::new();
        // Each begins with another change.
        for round in std::process::id() as usize.. {
            let Ok(key) = manager.create(&operator, NewKey::new("n")).await else { continue };
            done();
            made.push(key.key.id);
            let id = &made[round % made.len()];
            let changed = match round % 4 {
                0 => manager.rotate(&operator, id, Duration::ZERO).await.is_ok(),
                1 => manager.update(&operator, id, KeyChange::new().limit("n", round as u32)).await.is_ok(),
                2 => manager.revoke(&operator, id).await.is_ok(),
                _ => manager.disable(&operator, id).await.is_ok(),
            };
            if changed {
                done();
            }
            if round % 3 == 0 {
                let id = made.remove(round % made.len());
                if manager.delete(&operator, &id).await.is_ok() {
                    done();
                }
            }
        }
    });
}

fn start(url: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["audit_processes::changer", "--exact", "--nocapture"])
        .env("AUDIT_STORE", url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills one process after the other, at another moment of its life each, and returns how many changes were reported.
fn kill_processes(url: &str, kills: usize) -> u64 {
    let killer = |number: usize| {
        let share = kills / AT_ONCE + usize::from(number < kills % AT_ONCE);
        let mut reported = 0;
        for round in 0..share {
            let mut child = start(url);
            let mut output = child.stdout.take().unwrap();
            let mut bytes = [0; 4096];
            // After one to eight changes, amid the next ones.
            let mut changes = 0;
            while changes <= round as u64 % 8 {
                let length = output.read(&mut bytes).unwrap();
                assert!(length > 0, "it ended by itself");
                changes += count(&bytes[..length]);
            }
            thread::sleep(Duration::from_micros((round as u64 * 1_013 + number as u64 * 331) % 5_000));
            child.kill().unwrap();
            assert!(!child.wait().unwrap().success());
            let mut rest = Vec::new();
            output.read_to_end(&mut rest).unwrap();
            reported += changes + count(&rest);
        }
        reported
    };
    thread::scope(|scope| {
        let killers: Vec<_> = (0..AT_ONCE).map(|number| scope.spawn(move || killer(number))).collect();
        killers.into_iter().map(|killer| killer.join().unwrap()).sum()
    })
}

fn count(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'+').count() as u64
}

async fn are_consistent_after_kills(url: &str) {
    // The tables are made once.
    drop(open(url).await);
    let (kills, began) = (kills(), Instant::now());
    let reported = {
        let url = url.to_owned();
        tokio::task::spawn_blocking(move || kill_processes(&url, kills)).await.unwrap()
    };
    // Opened once more, which recovers what was begun.
    drop(open(url).await);
    assert_eq!(contradictions(url).await, [""; 0]);
    let mut counts = Vec::new();
    for action in ["create", "rotate", "update", "revoke", "disable", "delete"] {
        let sql = format!("SELECT cast(count(*) AS text) FROM api_key_audit WHERE action = '{action}'");
        let count: u64 = rows(url, &sql).await[0][0].parse().unwrap();
        assert!(count > 0, "none did {action}");
        counts.push((action, count));
    }
    // The deletion of a key that is not revoked is two events, and reported as one.
    let events: u64 = counts.iter().map(|(_, count)| count).sum();
    assert!(events >= reported, "{reported} changes were reported, and there are {events} events");
    println!("{kills} kills in {:?}: {reported} changes reported, {counts:?}", began.elapsed());
}

#[tokio::test]
async fn no_kill_separates_a_change_from_its_event_in_postgres() {
    let pool = Server::shared().database(1).await;
    let url = pool.connect_options().to_url_lossy().to_string();
    are_consistent_after_kills(&url).await;
}

#[tokio::test]
async fn no_kill_separates_a_change_from_its_event_in_sqlite() {
    let directory = env::temp_dir().join(format!("api-keys-audit-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let url = format!("sqlite:{}", directory.join("keys.db").display());
    are_consistent_after_kills(&url).await;
    std::fs::remove_dir_all(directory).unwrap();
}
