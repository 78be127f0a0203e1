//! What a key takes in memory: stored in a [`MemoryStore`], what of that are its parts, and what a limiter adds while it
//! counts for the key.
//!
//! `cargo bench --bench memory` (Linux). Bytes a key: those requested from the allocator, and the growth of the process's
//! resident memory, with what the allocator adds. With `-- --test` there are few keys, and the figures mean little.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use support::{START, at_once};
use tower_api_keys::clock::{Now, Timestamp};
use tower_api_keys::key::{
    Digest, KeyId, KeyRecord, LimitOverrides, Mode, OrganizationId, Owner, Peppers, PreviousSecret,
};
use tower_api_keys::rate_limit::{Algorithm, MemoryRateLimiter, Quota, Subject};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{KeyAdministration, MemoryStore};

const KEYS: usize = 1_000_000;
const KEYS_OF_AN_ORGANIZATION: usize = 10;
const SCOPES: [&str; 2] = ["workflows:read", "runs:read"];

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let keys = if is_test { KEYS / 100 } else { KEYS };

    println!("{keys} keys, {KEYS_OF_AN_ORGANIZATION} of each organization. Bytes a key:");
    println!("{:<40} {:>9} {:>9}", "", "requested", "resident");
    let store = MemoryStore::new();
    row("stored in a MemoryStore", keys, || {
        records(keys).for_each(|record| at_once(store.insert(record)).unwrap());
    });

    let mut bare: Vec<Arc<KeyRecord>> = Vec::with_capacity(keys);
    row("  the record", keys, || bare.extend(records(keys).map(Arc::new)));
    let mut scopes = Vec::with_capacity(keys);
    row("    of which its scopes, elsewhere", keys, || {
        scopes.extend((0..keys).map(|_| ScopeSet::parse_list(SCOPES).unwrap()));
    });
    // In the place of an `Arc`, which is a word, too.
    let by_digest: papaya::HashMap<Digest, usize> = papaya::HashMap::new();
    row("  its place in a map by digest", keys, || {
        bare.iter().for_each(|record| _ = by_digest.pin().insert(record.digest, 0));
    });
    let by_id: papaya::HashMap<KeyId, usize> = papaya::HashMap::new();
    row("  its place in a map by identifier", keys, || {
        bare.iter().for_each(|record| _ = by_id.pin().insert(record.id, 0));
    });
    let mut owners: HashMap<Owner, BTreeMap<(Timestamp, KeyId), usize>> = HashMap::new();
    row("  its place in its owner's listing", keys, || {
        for record in &bare {
            owners.entry(record.owner.clone()).or_default().insert((record.created_at, record.id), 0);
        }
    });

    let mut limiters = Vec::new();
    for (name, algorithm) in [
        ("counted by a limiter, Sliding", Algorithm::Sliding),
        ("counted by a limiter, Counter", Algorithm::Counter),
        ("counted by a limiter, Exact, 1 request", Algorithm::Exact),
    ] {
        let now = Now::new(Duration::ZERO, Duration::from_secs(1_702_531_200));
        // More room than keys, as they do not spread evenly over the shards.
        let capacity = (2 * keys).try_into().unwrap();
        let limiter = MemoryRateLimiter::builder("read", Quota::per_minute(1000).unwrap());
        let limiter = limiter.algorithm(algorithm).capacity(capacity).build_at(now);
        row(name, keys, || {
            for record in &bare {
                assert!(limiter.check(&Subject::Key(record.id), None, 1, now).0.is_admitted());
            }
        });
        limiters.push(limiter);
    }

    println!("\nBytes of a record itself, without what its texts and lists take elsewhere:");
    for (name, size) in [
        ("KeyRecord", size_of::<KeyRecord>()),
        ("  id: KeyId", size_of::<KeyId>()),
        ("  owner: Owner", size_of::<Owner>()),
        ("  name, hint: String, each", size_of::<String>()),
        ("  digest: Digest", size_of::<Digest>()),
        ("  previous: Option<PreviousSecret>", size_of::<Option<PreviousSecret>>()),
        ("  scopes: ScopeSet", size_of::<ScopeSet>()),
        ("  Option<Timestamp>, each of three", size_of::<Option<Timestamp>>()),
        ("  limits: LimitOverrides", size_of::<LimitOverrides>()),
    ] {
        println!("{name:<40} {size:>9}");
    }
}

/// Keys as JustPaid's customers have them: two scopes, a name, a hint.
fn records(keys: usize) -> impl Iterator<Item = KeyRecord> {
    let mut owner = None;
    (0..keys).map(move |index| {
        if index % KEYS_OF_AN_ORGANIZATION == 0 {
            let organization: OrganizationId = format!("org_{index:012}").parse().unwrap();
            owner = Some(Owner::organization(organization, Mode::Live));
        }
        let digest = Peppers::none().digest(&format!("wfk_{index:032}"));
        let id = format!("{index:016}").parse().unwrap();
        let mut record = KeyRecord::new(id, owner.clone().unwrap(), digest, START);
        record.name = "Production".into();
        record.hint = "wfk_…45pq".into();
        record.scopes = ScopeSet::parse_list(SCOPES).unwrap();
        record
    })
}

/// Prints what is held, for each key, after `fill` and was not before.
fn row(name: &str, keys: usize, fill: impl FnOnce()) {
    let before = resident();
    let requested = measure(fill).bytes_current;
    let resident = resident() - before;
    println!("{name:<40} {:>9} {:>9}", requested / keys as i64, resident / keys as i64);
}

fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<i64>().unwrap()
}
