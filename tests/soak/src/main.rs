//! Real servers, real nodes, mixed traffic, and a fault every minute; `tests/soak/run` says how to run it.
//!
//! Two nodes share keys in PostgreSQL and limits in Redis, two more a file of SQLite. All the time it is checked that
//!
//! 1. no request with a key that was revoked, deleted or rotated out more than five seconds ago is accepted;
//! 2. no valid key is rejected with anything but a 503, and outside of faults not with that;
//! 3. every answered change of a key is in the store with its event and the reason given for it, and no event is without its change;
//! 4. every event is delivered to the audit sink;
//! 5. memory, descriptors and log lines of a node do not grow;
//! 6. streams end soon after their key, and not before;
//! 7. usage has what was answered, but for what a node counted shortly before it was killed; a quota is never exceeded, and what was
//!    admitted is counted; nothing is held of a limit at a time once nothing is under way;
//! 8. a fault that is logged is counted, and the other way round.

use std::env;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::ConnectOptions;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::manage::KeyManager;
use tower_api_keys::store::{KeyAdministration, PostgresStore, SqliteStore};
use tower_api_keys::{KeyFormat, NewKey};

#[path = "../../support/contradictions.rs"]
mod contradictions;
#[path = "../../support/postgres.rs"]
mod postgres_server;
#[path = "../../support/proxy.rs"]
mod proxy;
#[path = "../../support/redis.rs"]
mod redis_server;

mod book;
mod ends;
mod faults;
mod node;
mod process;
mod report;
mod traffic;
mod watch;

use book::Book;
use faults::{World, nodes, not_working};
use process::Process;
use proxy::Proxy;
use redis_server::{RedisServer, free_port};
use report::Seen;
use traffic::{Caller, Fixed};
use watch::Watch;

/// As many as a day may have.
const FAULTS: u32 = 60;
/// The shortest time from one fault to the next.
const SHORTEST: Duration = Duration::from_secs(5);
/// Clients of each node that use keys.
const CLIENTS: usize = 4;
/// Events of a node that was killed wait so long for the other one, and then a little more.
const DELIVERY: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        Some("node") => node::run().await.expect("a node runs"),
        minutes => {
            let minutes: u64 = minutes.unwrap_or("60").parse().expect("the argument is a number of minutes");
            let watch = Arc::new(Watch::new());
            soak(&watch, Duration::from_secs(60 * minutes)).await;
            if !report::verdict(&watch) {
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

pub(crate) fn format() -> KeyFormat {
    KeyFormat::new("soak_").expect("this is a prefix")
}

/// A key that looks like one and was never made.
pub(crate) fn invented() -> String {
    format!("soak_{}", std::iter::repeat_with(fastrand::alphanumeric).take(32).collect::<String>())
}

async fn soak(watch: &Arc<Watch>, time: Duration) {
    let directory = env::temp_dir().join(format!("api-keys-soak-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("there is room for temporary files");
    let (world, urls) = start(&directory).await;
    let world = Arc::new(world);

    let mut callers = Vec::new();
    for (pair, url) in [&world.on_postgres, &world.on_sqlite].into_iter().zip(&urls) {
        let (book, fixed) = (Arc::new(Book::default()), Arc::new(fixed_keys(url).await));
        for node in pair {
            callers.push(Caller::new(node.name, node.address, watch.clone(), book.clone(), fixed.clone()));
        }
    }
    let started = Instant::now();
    while not_working(&callers).await.is_some() {
        assert!(started.elapsed() < DELIVERY, "the nodes start: see {}", directory.display());
        sleep(Duration::from_millis(100)).await;
    }

    let end = Instant::now() + time;
    let mut clients = JoinSet::new();
    for caller in &callers {
        clients.spawn(caller.clone().manage_keys());
        clients.spawn(caller.clone().follow());
        for _ in 0..CLIENTS {
            clients.spawn(caller.clone().use_keys());
        }
    }
    let seen = Arc::new(Mutex::new([(); 4].map(|()| Seen::default())));
    let sampler = tokio::spawn(sample(world.clone(), seen.clone()));
    let interval = (time / FAULTS).max(SHORTEST);
    let injected = world.go_wrong(&callers, watch, interval, end).await;
    sleep(end.saturating_duration_since(Instant::now())).await;

    // What has begun is answered before it is compared.
    watch.end();
    while let Some(client) = clients.join_next().await {
        client.expect("a client does not fail");
    }
    sampler.abort();
    report::requests(watch);
    report::faults(&injected);
    for (place, (node, seen)) in nodes(&world).zip(&*seen.lock().await).enumerate() {
        report::node(watch, node.name, seen, place % 2 == faults::STEADY, time.as_secs() >= 600);
    }
    let failovers = report::failovers(&callers).await;
    if failovers > 0 {
        watch.violation("recovery", format_args!("{failovers} failovers were noticed, and there was none"));
    }
    for (caller, node) in callers.iter().zip(nodes(&world)).step_by(2) {
        report::counted_faults(watch, caller, &node.log()).await;
        nothing_is_held(watch, caller).await;
    }
    for (place, url) in urls.iter().enumerate() {
        let callers = &callers[2 * place..][..2];
        let summary = ends::compare(url, &callers[0].book, watch).await;
        report::pair(&summary);
        let delivered = Instant::now();
        let names = [callers[0].node, callers[1].node];
        let missing = loop {
            let missing = ends::undelivered(url, &directory, names).await;
            if missing == (0, 0) || delivered.elapsed() > DELIVERY {
                break missing;
            }
            sleep(Duration::from_secs(1)).await;
        };
        if missing != (0, 0) {
            watch.violation(
                "delivery",
                format_args!("{names:?}: {} events undelivered, {} invented", missing.0, missing.1),
            );
        }
    }
    for node in nodes(&world) {
        node.signal("-TERM");
        if !node.wait().await {
            watch.violation("resources", format_args!("{} does not stop cleanly", node.name));
        }
    }
    for (place, url) in urls.iter().enumerate() {
        let names = [0, 1].map(|node| callers[2 * place + node].node);
        report::pair(&ends::counts(url, names, watch).await);
    }
    if watch.violations().is_empty() {
        drop(fs::remove_dir_all(&directory));
    } else {
        report::logs(&directory);
    }
}

/// As many requests at a time as a key may have are admitted, and one more is not. Redis forgets those of a killed node after a while.
async fn nothing_is_held(watch: &Watch, caller: &Caller) {
    let began = Instant::now();
    loop {
        let mut requests = JoinSet::new();
        for _ in 0..=node::AT_A_TIME {
            let caller = caller.clone();
            requests.spawn(async move { caller.slow().await.status });
        }
        let mut statuses = requests.join_all().await;
        statuses.sort_unstable();
        let (denied, admitted) = (statuses.pop(), statuses);
        if denied == Some(429) && admitted.iter().all(|status| *status == 200) {
            return;
        }
        if began.elapsed() > DELIVERY {
            let node = caller.node;
            watch.violation("quotas", format_args!("{node}: at a time: {admitted:?} and {denied:?}"));
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Starts the servers and the nodes, with the URL of each pair's database.
async fn start(directory: &Path) -> (World, [String; 2]) {
    let postgres = postgres_server::Server::start();
    let redis = RedisServer::start();
    let pool = postgres.database(2).await;
    let options = (*pool.connect_options()).clone();
    let url = options.to_url_lossy().to_string();
    // The tables are made before two nodes want to.
    drop(PostgresStore::connect(&url).await.expect("PostgreSQL is up"));
    let mut proxies = Vec::new();
    for _ in 0..2 {
        let to_postgres = Proxy::start(postgres.address()).await;
        proxies.push([to_postgres, Proxy::start(redis.address()).await]);
    }
    let proxies = <[_; 2]>::try_from(proxies).unwrap_or_else(|_| unreachable!("there are two"));
    let names = [("a", "postgres"), ("b", "redis")];
    let on_postgres = [0, 1].map(|place| {
        let [to_postgres, to_redis] = &proxies[place];
        let through_proxy = options.clone().port(to_postgres.address().port()).to_url_lossy();
        let (name, follows) = names[place];
        let variables = vec![
            ("DATABASE_URL", through_proxy.to_string()),
            ("REDIS_URL", redis_server::url(to_redis.address())),
            ("FOLLOWS", follows.to_owned()),
        ];
        Process::start(name, directory, free_port(), variables)
    });
    let file = format!("sqlite:{}", directory.join("keys.db").display());
    drop(SqliteStore::open(&file).await.expect("the file can be made"));
    let on_sqlite = ["lite a", "lite b"]
        .map(|name| Process::start(name, directory, free_port(), vec![("DATABASE_URL", file.clone())]));
    let redis = Mutex::new(redis);
    (World { postgres, redis, pool, proxies, on_postgres, on_sqlite, file: file.clone() }, [url, file])
}

/// The first keys of a database, made in code as an operator makes them.
async fn fixed_keys(url: &str) -> Fixed {
    let store: Arc<dyn KeyAdministration> = match url.starts_with("sqlite:") {
        true => Arc::new(SqliteStore::open(url).await.expect("there is a file")),
        false => Arc::new(PostgresStore::connect(url).await.expect("PostgreSQL is up")),
    };
    let manager = KeyManager::new(store, format());
    let soon = SystemClock.now().timestamp().saturating_add(Duration::from_secs(1));
    let make = async |key: NewKey| {
        let made = manager.create_for("acme", key).await.expect("the store is up");
        made.secret.expose_secret().to_owned()
    };
    let new = |name| NewKey::new(name).scope("notes:read");
    let fixed = Fixed {
        admin: make(new("Admin").scopes(["notes:read", "api-keys:read", "api-keys:write"])).await,
        expired: make(new("Expired").expires_at(soon)).await,
        wrong_scope: make(NewKey::new("Wrong scope").scope("notes:write")).await,
        busy: make(new("Busy")).await,
        limited: make(new("Limited").limit("requests", NonZeroU32::new(5).expect("not 0"))).await,
    };
    sleep(Duration::from_millis(1_100)).await;
    fixed
}

/// Looks at every node once a second. Does not end.
async fn sample(world: Arc<World>, seen: Arc<Mutex<[Seen; 4]>>) {
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        for (node, seen) in nodes(&world).zip(&mut *seen.lock().await) {
            seen.samples.extend(node.sample());
            seen.lines.push(node.new_lines());
        }
    }
}
