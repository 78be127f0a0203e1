//! One lookup of a key: in each store, through the cache and past it; and in memory with a thousand keys and with a
//! million, beside a bare map of the same.
//!
//! `cargo bench --all-features --bench store`. Starts a PostgreSQL server of its own, and keeps SQLite's file in the
//! temporary directory. A lookup is one `find`, awaited. Wall time, in a task of a runtime with one thread.
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

#[path = "../tests/support/postgres.rs"]
mod postgres;

use std::env;
use std::fs;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sqlx::postgres::PgPoolOptions;
use tokio::runtime::{Builder, Runtime};
use tower_api_keys::clock::Timestamp;
use tower_api_keys::key::{Digest, KeyId, KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::store::{
    CachedStore, KeyAdministration, KeySelector, KeyStore, MemoryStore, PostgresStore, SqliteStore,
    StoreError,
};

const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug)]
enum By {
    Digest,
    Id,
}

type Names = Arc<[(KeyId, Digest)]>;

/// Whether each bench is only to be seen to work.
fn is_test() -> bool {
    env::args().any(|argument| argument == "--test")
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn records(count: usize) -> impl Iterator<Item = KeyRecord> {
    let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
    (0..count).map(move |index| {
        let digest = Peppers::none().digest(&format!("wfk_{index:032}"));
        KeyRecord::new(format!("{index:016}").parse().unwrap(), owner.clone(), digest, START)
    })
}

/// What the keys are looked up by, in an order that has nothing to do with where they are kept: maps use the first bytes
/// of a digest, so it is sorted by the last.
fn names(count: usize) -> Names {
    let mut names: Vec<_> = records(count).map(|record| (record.id, record.digest)).collect();
    names.sort_by_key(|(_, digest)| digest.as_bytes().last_chunk::<8>().copied());
    names.into()
}

async fn fill(store: &dyn KeyAdministration, count: usize) {
    for record in records(count) {
        store.insert(record, None).await.unwrap();
    }
}

async fn find(
    store: &dyn KeyStore,
    by: By,
    (id, digest): &(KeyId, Digest),
) -> Result<Option<Arc<KeyRecord>>, StoreError> {
    let digests = [*digest];
    let selector = match by {
        By::Digest => KeySelector::Digests(&digests),
        By::Id => KeySelector::Id(id),
    };
    store.find(selector).await
}

/// A cache in which nothing is good any more when it is asked for.
fn missing<S>(store: S) -> CachedStore<S> {
    CachedStore::builder(store).max_age(Duration::ZERO).build()
}

/// Looks so many keys up, one after the other.
fn find_all(
    runtime: &Runtime,
    store: &Arc<dyn KeyStore>,
    by: By,
    names: &Names,
    start: &mut usize,
    count: u64,
) -> Duration {
    let (store, names, skipped) = (store.clone(), names.clone(), *start);
    *start = (skipped + count as usize) % names.len();
    let task = runtime.spawn(async move {
        let begun = Instant::now();
        for name in names.iter().cycle().skip(skipped).take(count as usize) {
            assert!(matches!(find(&*store, by, name).await, Ok(Some(_))));
        }
        begun.elapsed()
    });
    runtime.block_on(task).unwrap()
}

fn stores(criterion: &mut Criterion) {
    let count = if is_test() { 10 } else { 1_000 };
    let (runtime, names) = (runtime(), names(count));
    let directory = env::temp_dir().join(format!("api-keys-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let server = postgres::Server::start();
    let stores = runtime.block_on(async {
        let memory = MemoryStore::new();
        fill(&memory, count).await;
        let sqlite = SqliteStore::open(directory.join("keys.db")).await.unwrap();
        fill(&sqlite, count).await;
        let pool = server.database(4).await;
        let postgres = PostgresStore::new(pool.clone());
        postgres.migrate().await.unwrap();
        fill(&postgres, count).await;
        let untested = PgPoolOptions::new().test_before_acquire(false);
        let untested = PostgresStore::new(untested.connect_lazy_with((*pool.connect_options()).clone()));
        let hit = CachedStore::builder(memory.clone()).max_age(HOUR).build();
        let stores: [(&str, Arc<dyn KeyStore>); 8] = [
            ("MemoryStore", Arc::new(memory)),
            ("CachedStore, hit", Arc::new(hit)),
            ("CachedStore, miss, SqliteStore", Arc::new(missing(sqlite.clone()))),
            ("SqliteStore", Arc::new(sqlite)),
            ("CachedStore, miss, PostgresStore", Arc::new(missing(postgres.clone()))),
            ("PostgresStore", Arc::new(postgres)),
            (
                "CachedStore, miss, PostgresStore, test_before_acquire off",
                Arc::new(missing(untested.clone())),
            ),
            ("PostgresStore, test_before_acquire off", Arc::new(untested)),
        ];
        stores
    });
    let mut group = criterion.benchmark_group("store");
    for (name, store) in &stores {
        for by in [By::Digest, By::Id] {
            let mut start = 0;
            // Into the cache, where there is one.
            find_all(&runtime, store, by, &names, &mut start, count as u64);
            group.bench_function(BenchmarkId::new(*name, format!("{by:?}")), |bencher| {
                bencher.iter_custom(|times| find_all(&runtime, store, by, &names, &mut start, times));
            });
        }
    }
    group.finish();
    drop((stores, server));
    fs::remove_dir_all(directory).unwrap();
}

/// The first word of a digest, as it comes.
#[derive(Default)]
struct FirstWord(u64);

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a digest writes a word");
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }
}

/// Both by digest: what a store of a million keys costs more than one of a thousand is what the caches of the processor
/// miss, and a map does not cost less for being bare. Records are cloned out of either.
fn growth(criterion: &mut Criterion) {
    let counts = if is_test() { vec![1_000] } else { vec![1_000, 32_000, 1_000_000] };
    let runtime = runtime();
    let mut group = criterion.benchmark_group("growth");
    group.throughput(Throughput::Elements(1));
    for count in counts {
        let names = names(count);
        let store = MemoryStore::new();
        runtime.block_on(fill(&store, count));
        let mut next = names.iter().cycle();
        group.bench_function(BenchmarkId::new("MemoryStore", count), |bencher| {
            bencher.iter(|| {
                let find = store.find(KeySelector::Digests(&[next.next().unwrap().1]));
                match pin!(find).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(Some(record))) => record,
                    _ => panic!("there is such a key"),
                }
            });
        });
        drop(store);

        let map = papaya::HashMap::<Digest, Arc<KeyRecord>, BuildHasherDefault<FirstWord>>::default();
        records(count).for_each(|record| _ = map.pin().insert(record.digest, Arc::new(record)));
        let mut next = names.iter().cycle();
        group.bench_function(BenchmarkId::new("papaya", count), |bencher| {
            bencher.iter(|| black_box(map.pin().get(&next.next().unwrap().1).cloned()).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, stores, growth);
criterion_main!(benches);
