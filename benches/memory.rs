//! What a key takes in memory: stored in a [`MemoryStore`], what of that are its parts, and what a limiter adds while it
//! counts for the key.
//!
//! `cargo bench --bench memory` (Linux). Bytes a key: those requested from the allocator, and the growth of the process's
//! resident memory, with what the allocator adds. With `-- --test` there are few keys, and the figures mean little.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use papaya::Guard;
use support::{START, at_once};
use tower_api_keys::clock::{Now, Timestamp};
use tower_api_keys::key::{
    Digest, Extras, KeyId, KeyRecord, KeyState, Mode, OrganizationId, Owner, Peppers, ShortText,
};
use tower_api_keys::limit::{Algorithm, MemoryRateLimiter, Quota, Subject};
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
        records(keys).for_each(|record| at_once(store.insert(record, None)).unwrap());
    });

    let bare: Vec<KeyRecord> = records(keys).collect();
    let scopes = ScopeSet::parse_list(SCOPES).unwrap();
    let mut held: Vec<Arc<KeyRecord>> = Vec::with_capacity(keys);
    row("  the record, without what keys share", keys, || {
        held.extend(bare.iter().cloned().map(|mut record| {
            record.scopes = scopes.clone();
            Arc::new(record)
        }));
    });
    let mut owners = Vec::with_capacity(keys);
    row("  its owner's identifier, shared", keys, || owners.extend(records(keys).map(|record| record.owner)));
    // In the place of pointers to the record, and of a mark that says which of its digests this one is.
    let digests: papaya::HashMap<usize, usize> = map();
    row("  its place among the digests", keys, || {
        (0..keys).for_each(|number| free_at_once(&digests, |map, guard| _ = map.insert(number, 0, guard)));
    });
    let ids: papaya::HashMap<usize, ()> = map();
    row("  its place among the identifiers", keys, || {
        (0..keys).for_each(|number| free_at_once(&ids, |map, guard| _ = map.insert(number, (), guard)));
    });
    let mut listing = BTreeSet::new();
    row("  its place in the listing", keys, || (0..keys).for_each(|number| _ = listing.insert(number)));
    let mut scopes = Vec::with_capacity(keys);
    row("scopes, were they not shared", keys, || {
        scopes.extend((0..keys).map(|_| ScopeSet::parse_list(SCOPES).unwrap()));
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
        let limiter = MemoryRateLimiter::new("read", &[Quota::per_minute(1000).unwrap()], now).unwrap();
        let limiter = limiter.with_algorithm(algorithm).with_capacity(capacity);
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
        ("  name, hint: ShortText, each", size_of::<ShortText>()),
        ("  digest: Digest", size_of::<Digest>()),
        ("  scopes: ScopeSet", size_of::<ScopeSet>()),
        ("  state: KeyState", size_of::<KeyState>()),
        ("  instants, each of four", size_of::<Option<Timestamp>>()),
        ("  rarely used fields, if any: Extras", size_of::<Extras>()),
    ] {
        println!("{name:<40} {size:>9}");
    }
}

/// Keys as JustPaid's customers have them: two scopes, a name, a hint. Each has scopes of its own when it comes, and those
/// of an organization one owner.
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
        record.hint = format!("wfk_…{:04}", index % 10_000).into();
        record.scopes = ScopeSet::parse_list(SCOPES).unwrap();
        record
    })
}

/// As a store's.
fn map<K, V>() -> papaya::HashMap<K, V> {
    papaya::HashMap::builder().resize_mode(papaya::ResizeMode::Incremental(1024)).build()
}

/// As a store does: what a map has outgrown is not kept until there is more to free.
fn free_at_once<K, V>(
    map: &papaya::HashMap<K, V>,
    write: impl FnOnce(&papaya::HashMap<K, V>, &papaya::LocalGuard<'_>),
) where
    K: std::hash::Hash + Eq,
{
    let guard = map.guard();
    write(map, &guard);
    guard.flush();
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
