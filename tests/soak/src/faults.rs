//! What goes wrong, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgPool, SqliteConnection};
use tokio::sync::Mutex;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::postgres_server;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::redis_server::RedisServer;
use crate::traffic::Caller;
use crate::watch::{BACK_AFTER, Watch};

/// Nodes of which one is never killed, so that its memory can be compared over the whole run, and one is.
pub(crate) const STEADY: usize = 0;
pub(crate) const KILLED: usize = 1;

#[derive(Clone, Copy)]
enum Fault {
    KillPostgres,
    FreezePostgres,
    /// `pg_terminate_backend` for every connection.
    TerminateConnections,
    KillRedis,
    FreezeRedis,
    /// Counts and scripts are gone.
    FlushRedis,
    /// `CLIENT KILL` for every connection.
    KillClients,
    /// Between a node and a server.
    Network(usize, Server, Network),
    /// `kill -9` of a node of a pair.
    KillNode(Pair),
    /// SIGTERM, and a start.
    RestartNode(Pair),
    /// SIGSTOP of a node of a pair.
    FreezeNode(Pair, usize),
    /// Another process writes to the file, for long.
    LockFile,
}

#[derive(Clone, Copy)]
pub(crate) enum Pair {
    Postgres,
    Sqlite,
}

#[derive(Clone, Copy)]
enum Server {
    Postgres,
    Redis,
}

#[derive(Clone, Copy)]
enum Network {
    /// Connections are closed, new ones work.
    Cut,
    /// Connections are closed, and new ones as well.
    Shut,
    /// Nothing arrives, and nothing is closed.
    BlackHole,
    /// Answers take a third of a second longer.
    Slow,
}

const TABLE: [(&str, Fault); 24] = [
    ("PostgreSQL is killed", Fault::KillPostgres),
    ("Redis is killed", Fault::KillRedis),
    ("a node is killed", Fault::KillNode(Pair::Postgres)),
    ("PostgreSQL is frozen", Fault::FreezePostgres),
    ("Redis is frozen", Fault::FreezeRedis),
    ("a node is frozen", Fault::FreezeNode(Pair::Postgres, STEADY)),
    ("a node on SQLite is killed", Fault::KillNode(Pair::Sqlite)),
    ("PostgreSQL ends all connections", Fault::TerminateConnections),
    ("Redis ends all connections", Fault::KillClients),
    ("Redis loses everything", Fault::FlushRedis),
    ("node a: PostgreSQL in a black hole", Fault::Network(STEADY, Server::Postgres, Network::BlackHole)),
    ("node b: PostgreSQL in a black hole", Fault::Network(KILLED, Server::Postgres, Network::BlackHole)),
    ("node a: Redis in a black hole", Fault::Network(STEADY, Server::Redis, Network::BlackHole)),
    ("node b: Redis in a black hole", Fault::Network(KILLED, Server::Redis, Network::BlackHole)),
    ("node a: PostgreSQL unreachable", Fault::Network(STEADY, Server::Postgres, Network::Shut)),
    ("node b: PostgreSQL unreachable", Fault::Network(KILLED, Server::Postgres, Network::Shut)),
    ("node a: Redis unreachable", Fault::Network(STEADY, Server::Redis, Network::Shut)),
    ("node b: Redis unreachable", Fault::Network(KILLED, Server::Redis, Network::Shut)),
    ("node a: PostgreSQL cut off once", Fault::Network(STEADY, Server::Postgres, Network::Cut)),
    ("node a: PostgreSQL slow", Fault::Network(STEADY, Server::Postgres, Network::Slow)),
    ("a node is restarted", Fault::RestartNode(Pair::Postgres)),
    ("the other node is frozen", Fault::FreezeNode(Pair::Postgres, KILLED)),
    ("a node on SQLite is frozen", Fault::FreezeNode(Pair::Sqlite, STEADY)),
    ("the SQLite file is locked", Fault::LockFile),
];

/// All that can fail.
pub(crate) struct World {
    pub(crate) postgres: postgres_server::Server,
    pub(crate) redis: Mutex<RedisServer>,
    pub(crate) pool: PgPool,
    /// For each node on PostgreSQL, one to PostgreSQL and one to Redis.
    pub(crate) proxies: [[Proxy; 2]; 2],
    pub(crate) on_postgres: [Process; 2],
    pub(crate) on_sqlite: [Process; 2],
    pub(crate) file: String,
}

/// A fault that is over.
pub(crate) struct Injected {
    pub(crate) name: &'static str,
    pub(crate) began: Duration,
    /// How long after its end everything worked again.
    pub(crate) back_after: Duration,
}

impl World {
    fn pair(&self, pair: Pair) -> &[Process; 2] {
        match pair {
            Pair::Postgres => &self.on_postgres,
            Pair::Sqlite => &self.on_sqlite,
        }
    }

    /// Injects faults until the end, one each `interval`.
    pub(crate) async fn go_wrong(
        &self,
        callers: &[Caller],
        watch: &Watch,
        interval: Duration,
        end: Instant,
    ) -> Vec<Injected> {
        let (start, mut injected) = (Instant::now(), Vec::new());
        let lasts = (interval / 3).clamp(Duration::from_millis(1_500), Duration::from_secs(12));
        for ((name, fault), number) in TABLE.iter().cycle().zip(0..) {
            let begins = start + interval * number + interval.mul_f64(fastrand::f64() / 4.0);
            if begins + lasts + BACK_AFTER > end {
                break;
            }
            sleep(begins.saturating_duration_since(Instant::now())).await;
            let began = start.elapsed();
            watch.fault_begins();
            self.inject(*fault, lasts, watch).await;
            watch.fault_ends();
            let over = Instant::now();
            let mut last_wrong = String::new();
            while let Some(wrong) = not_working(callers).await {
                last_wrong = wrong;
                if over.elapsed() > 6 * BACK_AFTER {
                    break;
                }
                sleep(Duration::from_millis(100)).await;
            }
            let back_after = over.elapsed();
            if back_after > BACK_AFTER {
                watch.violation(
                    "recovery",
                    format_args!("{name}: not back after {back_after:?}: {last_wrong}"),
                );
            }
            injected.push(Injected { name, began, back_after });
        }
        injected
    }

    async fn inject(&self, fault: Fault, lasts: Duration, watch: &Watch) {
        match fault {
            Fault::KillPostgres => {
                self.postgres.kill();
                sleep(lasts).await;
                block_in_place(|| self.postgres.restart());
            }
            Fault::FreezePostgres => {
                self.postgres.freeze();
                sleep(lasts).await;
                self.postgres.thaw();
            }
            Fault::TerminateConnections => {
                let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                           WHERE datname = current_database() AND pid <> pg_backend_pid()";
                sqlx::query(all).execute(&self.pool).await.expect("PostgreSQL is up");
            }
            Fault::KillRedis => {
                let mut redis = self.redis.lock().await;
                redis.kill();
                sleep(lasts).await;
                block_in_place(|| redis.restart());
            }
            Fault::FreezeRedis => {
                self.redis.lock().await.freeze();
                sleep(lasts).await;
                self.redis.lock().await.thaw();
            }
            Fault::FlushRedis => {
                let redis = self.redis.lock().await;
                block_in_place(|| {
                    redis.run::<()>(&["SCRIPT", "FLUSH"]);
                    redis.run::<()>(&["FLUSHALL"]);
                });
            }
            Fault::KillClients => {
                let redis = self.redis.lock().await;
                for kind in ["normal", "pubsub"] {
                    block_in_place(|| redis.run::<u64>(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]));
                }
            }
            Fault::Network(node, server, network) => {
                let proxy = &self.proxies[node][server as usize];
                match network {
                    Network::Cut => return proxy.cut(),
                    Network::Shut => proxy.shut(),
                    Network::BlackHole => proxy.black_hole(),
                    Network::Slow => proxy.delay_answers(Duration::from_millis(333)),
                }
                sleep(lasts).await;
                proxy.heal();
            }
            Fault::KillNode(pair) => {
                let node = &self.pair(pair)[KILLED];
                node.signal("-KILL");
                watch.is_killed(node.name);
                node.wait().await;
                sleep(lasts).await;
                node.restart();
            }
            Fault::RestartNode(pair) => {
                let node = &self.pair(pair)[KILLED];
                node.signal("-TERM");
                node.wait().await;
                node.restart();
            }
            Fault::FreezeNode(pair, node) => {
                let node = &self.pair(pair)[node];
                node.signal("-STOP");
                sleep(lasts).await;
                node.signal("-CONT");
            }
            Fault::LockFile => {
                let mut other = SqliteConnection::connect(&self.file).await.expect("there is a file");
                sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.expect("it is free soon");
                sleep(lasts).await;
                drop(other.close().await);
            }
        }
    }
}

/// What a node says that is wrong, or that it does not reach its store.
pub(crate) async fn not_working(callers: &[Caller]) -> Option<String> {
    for caller in callers {
        let health = caller.manage("health", ("GET", "/health"), "").await;
        let listed = caller.manage("list", ("GET", "/api-keys?limit=1"), "").await;
        if listed.status != 200 || health.json()["isGood"] != true {
            return Some(format!("{} answers {}, {}", caller.node, listed.status, health.body));
        }
    }
    None
}

pub(crate) fn nodes(world: &Arc<World>) -> impl Iterator<Item = &Process> {
    world.on_postgres.iter().chain(&world.on_sqlite)
}
