//! Whether the time of a rejection tells anything of a secret: Welch's t over 10^7 comparisons of digests, and over requests
//! with a wrong secret, through every store.
//!
//! `cargo bench --all-features --bench constant_time`. Each row compares two kinds of work as [`welch`] says. A row fails with
//! |t| of 5 or more, except where a difference is known and no secret depends on it: that an identifier exists, which is
//! public, can be told from that it does not. `timing` says by how much.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

mod support;
#[path = "support/welch.rs"]
mod welch;

use std::convert::Infallible;
use std::hint::black_box;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::header::AUTHORIZATION;
use http::{Response, StatusCode};
use support::{Inner, Request, START};
use tokio::runtime::Runtime;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt};
use tower_api_keys::ApiKeys;
use tower_api_keys::key::{Digest, KeyFormat, KeyRecord, Mode, Owner, Peppers, SecretString};
use tower_api_keys::store::{CachedStore, KeyAdministration, MemoryStore, SqliteStore};
use welch::compare;

const LIMIT: f64 = 5.0;
const KEYS: usize = 256;

type Service = BoxCloneSyncService<Request, Response<Body>, Infallible>;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let samples = |full: usize| if is_test { 1_000 } else { full };
    println!("{:<58} {:>9} {:>8} {:>8} {:>7}", "", "samples", "ns", "ns", "t");
    let mut failed = false;
    let mut row = |name: &str, is_judged: bool, samples: usize, time: &mut dyn FnMut(usize) -> u32| {
        let found = compare(samples, time);
        let [one, other] = found.medians;
        let fails = is_judged && found.t.abs() >= LIMIT;
        let verdict = if fails {
            "  fails"
        } else if is_judged {
            ""
        } else {
            "  not judged"
        };
        println!("{name:<58} {samples:>9} {one:>8} {other:>8} {:>7.2}{verdict}", found.t);
        // So few times say nothing.
        failed |= fails && !is_test;
    };
    for (name, at) in
        [("digests that differ in the first byte, in the last", 31), ("in the first byte, in none", 32)]
    {
        row(name, true, samples(10_000_000), &mut digests(at));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = std::env::temp_dir().join(format!("api-keys-constant-time-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let memory = MemoryStore::new();
    let sqlite = runtime.block_on(SqliteStore::open(directory.join("keys.db"))).unwrap();
    let warm = CachedStore::builder(memory.clone()).max_age(Duration::from_secs(3600)).build();
    let cold = CachedStore::builder(memory.clone()).max_age(Duration::ZERO).build();
    let format = KeyFormat::builder("sk_").modes("test_", "live_").public_id(16, '.').build().unwrap();
    let keys = Keys::new(&format);
    for record in &keys.records {
        runtime.block_on(memory.insert(record.clone(), None)).unwrap();
        runtime.block_on(sqlite.insert(record.clone(), None)).unwrap();
    }
    let services = [
        ("memory", service(memory, &format), 10_000_000),
        ("cache, warm", service(warm, &format), 10_000_000),
        ("cache, cold", service(cold, &format), 1_000_000),
        ("SQLite", service(sqlite, &format), 200_000),
    ];
    for (store, service, count) in services {
        let [first, last, unknown] = &keys.sent;
        let name = format!("{store}: secret wrong in its first character, in its last");
        row(&name, true, samples(count), &mut requests(&runtime, &service, [first, last]));
        let name = format!("{store}: identifier known, unknown");
        row(&name, false, samples(count), &mut requests(&runtime, &service, [first, unknown]));
    }
    std::fs::remove_dir_all(directory).unwrap();
    assert!(!failed, "|t| of a row is {LIMIT} or more");
}

/// Times of 16 comparisons of digests that differ in the first byte, or in byte `at`; in none at 32.
fn digests(at: usize) -> impl FnMut(usize) -> u32 {
    let pairs: Vec<[(Digest, Digest); 2]> = (0..KEYS)
        .map(|index| {
            let digest = Peppers::none().digest(&index.to_string());
            [0, at].map(|at| {
                let mut bytes = *digest.as_bytes();
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
                (digest, Digest::from_parts(None, bytes))
            })
        })
        .collect();
    let mut turn = 0;
    move |kind| {
        turn = (turn + 16) % KEYS;
        // Both kinds at one place in memory, or their places would be compared.
        let mut batch: [(Digest, Digest); 16] = std::array::from_fn(|index| pairs[turn + index][kind]);
        let batch = black_box(&mut batch);
        let start = Instant::now();
        for (one, other) in batch {
            black_box(one.ct_eq(other));
        }
        start.elapsed().as_nanos() as u32
    }
}

/// Times of requests, each with the next key of its kind.
fn requests(
    runtime: &Runtime,
    service: &Service,
    kinds: [&Vec<SecretString>; 2],
) -> impl FnMut(usize) -> u32 {
    let mut turn = 0;
    move |kind| {
        turn = (turn + 1) % KEYS;
        // A new request lies where the last one did, of whatever kind that was.
        let (service, request) = (service.clone(), request(&kinds[kind][turn]));
        let start = Instant::now();
        let response = runtime.block_on(service.oneshot(request)).unwrap();
        let taken = start.elapsed().as_nanos() as u32;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        taken
    }
}

fn service(store: impl KeyAdministration, format: &KeyFormat) -> Service {
    let assembly = ApiKeys::builder(store, format.clone()).bearer().without_route_table().build().unwrap();
    BoxCloneSyncService::new(assembly.authenticate().layer(Inner))
}

/// Stored keys, and what is sent of each: its secret wrong in the first character, in the last, and an unknown identifier.
struct Keys {
    records: Vec<KeyRecord>,
    sent: [Vec<SecretString>; 3],
}

impl Keys {
    fn new(format: &KeyFormat) -> Self {
        let mut keys = Self { records: Vec::new(), sent: Default::default() };
        for _ in 0..KEYS {
            let key = format.generate(Mode::Live).unwrap();
            let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
            let digest = Peppers::none().digest(key.secret.expose_secret());
            keys.records.push(KeyRecord::new(key.id.unwrap(), owner, digest, START));
            let text = key.secret.expose_secret();
            let first = text.rfind('.').unwrap() + 1;
            let unknown = format.generate(Mode::Live).unwrap().secret;
            let sent = [changed(text, first), changed(text, text.len() - 1), unknown];
            keys.sent.iter_mut().zip(sent).for_each(|(all, secret)| all.push(secret));
        }
        keys
    }
}

/// The text with another letter at this place.
fn changed(text: &str, at: usize) -> SecretString {
    let letter = if text[at..].starts_with('a') { "b" } else { "a" };
    format!("{}{letter}{}", &text[..at], &text[at + 1..]).into()
}

fn request(secret: &SecretString) -> Request {
    let value = format!("Bearer {}", secret.expose_secret());
    http::Request::get("/payments").header(AUTHORIZATION, value).body(()).unwrap()
}
