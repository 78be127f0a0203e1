//! Whether the time of a refusal tells which identifiers exist: requests with an unknown identifier, with a known one and a
//! wrong secret, and with a good key, through the authentication layer.
//!
//! `cargo bench --bench timing`. Each round sends a few requests of every kind, in an order that changes, and takes this
//! thread's time on the processor. The shift is the median of the differences within a round to the requests with an
//! unknown identifier, in percent of the median of those, with the interval in which it lies with 95 % confidence (order
//! statistics, which ask nothing of the distribution). The row `unknown identifier, others` shows what such a shift is when
//! there is nothing to find.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

mod support;

use std::sync::Arc;

use cpu_time::ThreadTime;
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use support::{Inner, Request, START, Stack, at_once};
use tower::Layer;
use tower_api_keys::AuthenticateLayer;
use tower_api_keys::credential::BearerKey;
use tower_api_keys::key::{GeneratedKey, KeyFormat, KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::store::{KeyAdministration, MemoryStore};

const KEYS: usize = 100_000;
const REQUESTS: usize = 64;
const KINDS: usize = NAMES.len();
const NAMES: [(&str, StatusCode); 4] = [
    ("unknown identifier", StatusCode::UNAUTHORIZED),
    ("unknown identifier, others", StatusCode::UNAUTHORIZED),
    ("known identifier, wrong secret", StatusCode::UNAUTHORIZED),
    ("good key", StatusCode::OK),
];

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (rounds, cold) = if is_test { (50, 1_000) } else { (20_000, 50_000) };
    for (title, in_turn) in [("256 keys in turn", 256), ("rarely used keys", cold)] {
        println!("{title}, {} requests of each kind", rounds * REQUESTS);
        let times = measure(&mut stacks(in_turn), rounds);
        report(&times);
    }
}

fn stacks(in_turn: usize) -> [Stack; KINDS] {
    let format = KeyFormat::new("sk_").with_modes("test_", "live_").with_public_id(16, '.').build().unwrap();
    let store = MemoryStore::new();
    let mut requests: [Vec<Request>; KINDS] = Default::default();
    for index in 0..KEYS {
        let key = format.generate(Mode::Live).unwrap();
        at_once(store.insert(record(&key))).unwrap();
        if index < in_turn {
            let wrong = format.generate_with_id(Mode::Live, key.id.as_ref().unwrap()).unwrap();
            let [unknown, other] = [(); 2].map(|()| format.generate(Mode::Live).unwrap());
            for (requests, key) in requests.iter_mut().zip([unknown, other, wrong, key]) {
                requests.push(request(&key));
            }
        }
    }
    let layer: AuthenticateLayer = AuthenticateLayer::new(store, BearerKey::new(format));
    let layer = Arc::new(layer);
    let mut requests = requests.into_iter();
    NAMES.map(|(name, status)| Stack::new(name, status, layer.layer(Inner), requests.next().unwrap()))
}

fn record(key: &GeneratedKey) -> KeyRecord {
    let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
    KeyRecord::new(key.id.unwrap(), owner, Peppers::none().digest(key.secret.expose_secret()), START)
}

fn request(key: &GeneratedKey) -> Request {
    http::Request::get("/payments")
        .header(HOST, "api.example.com")
        .header(USER_AGENT, "example/1.0")
        .header(ACCEPT, "application/json")
        .header(AUTHORIZATION, format!("Bearer {}", key.secret.expose_secret()))
        .body(())
        .unwrap()
}

/// Nanoseconds a request of each kind, for each round.
fn measure(stacks: &mut [Stack; KINDS], rounds: usize) -> Vec<[f64; KINDS]> {
    let round = |round: usize| {
        let mut times = [0.0; KINDS];
        for turn in 0..KINDS {
            // Every kind comes as often after every other.
            let kind = if round / KINDS % 2 == 0 { round + turn } else { round + KINDS - turn } % KINDS;
            let start = ThreadTime::now();
            for _ in 0..REQUESTS {
                stacks[kind].send();
            }
            times[kind] = start.elapsed().as_nanos() as f64 / REQUESTS as f64;
        }
        times
    };
    (0..rounds).map(round).collect()
}

fn report(times: &[[f64; KINDS]]) {
    println!("{:<32} {:>7} {:>8}   95 % interval", "", "ns", "shift %");
    let [unknown, ..] = interval(times.iter().map(|round| round[0]));
    for (kind, (name, _)) in NAMES.iter().enumerate() {
        let [median, ..] = interval(times.iter().map(|round| round[kind]));
        let shift = interval(times.iter().map(|round| 100.0 * (round[kind] - round[0]) / unknown));
        println!("{name:<32} {median:>7.1} {:>8.2}   {:.2} to {:.2}", shift[0], shift[1], shift[2]);
    }
    println!();
}

/// The median, and the interval in which that of all possible samples lies with 95 % confidence.
fn interval(samples: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut sorted: Vec<f64> = samples.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let half = (0.98 * (sorted.len() as f64).sqrt()).ceil() as usize;
    [middle, middle - half, (middle + half).min(sorted.len() - 1)].map(|rank| sorted[rank])
}
