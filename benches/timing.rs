//! Whether the time of a rejection tells which identifiers exist: requests with an unknown identifier, with a known one and a
//! wrong secret, and with a good key, through the authentication layer.
//!
//! `cargo bench --bench timing`. Each round sends a few requests of every kind, in an order that changes, and takes this
//! thread's time on the processor. The shift is the median of the differences within a round to the requests with an
//! unknown identifier, in percent of the median of those, with the interval in which it lies with 95 % confidence (order
//! statistics, which ask nothing of the distribution). The row `unknown identifier, others` shows what such a shift is when
//! there is nothing to find. Then the same as a client sees it, over HTTP on this machine, in time on the wall.
#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use axum::Router;
use axum::routing::get;
use cpu_time::ThreadTime;
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use support::{Inner, Request, START, Stack, at_once};
use tower::Layer;
use tower_api_keys::ApiKeys;
use tower_api_keys::key::{GeneratedKey, KeyFormat, KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::middleware::ApiKeysLayer;
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
        let (layer, keys) = keys(in_turn);
        let mut keys = keys.iter();
        let mut stacks = NAMES.map(|(name, status)| {
            let requests = keys.next().unwrap().iter().map(request).collect();
            Stack::new(name, status, layer.layer(Inner), requests)
        });
        let time = |kind: usize| {
            let start = ThreadTime::now();
            for _ in 0..REQUESTS {
                stacks[kind].send();
            }
            start.elapsed().as_nanos() as f64 / REQUESTS as f64
        };
        report(&measure(time, rounds));
    }
    println!("over loopback, {rounds} requests of each kind, {} keys in turn", cold / 2);
    report(&over_loopback(cold / 2, rounds));
}

/// The layer, and keys of each kind.
fn keys(in_turn: usize) -> (ApiKeysLayer, [Vec<GeneratedKey>; KINDS]) {
    let format = KeyFormat::builder("sk_").modes("test_", "live_").public_id(16, '.').build().unwrap();
    let store = MemoryStore::new();
    let mut keys: [Vec<GeneratedKey>; KINDS] = Default::default();
    for index in 0..KEYS {
        let key = format.generate(Mode::Live).unwrap();
        at_once(store.insert(record(&key), None)).unwrap();
        if index < in_turn {
            let wrong = format.generate_with_id(Mode::Live, key.id.as_ref().unwrap()).unwrap();
            let [unknown, other] = [(); 2].map(|()| format.generate(Mode::Live).unwrap());
            keys.iter_mut().zip([unknown, other, wrong, key]).for_each(|(keys, key)| keys.push(key));
        }
    }
    let assembly = ApiKeys::builder(store, format).bearer().without_route_table().build().unwrap();
    (assembly.authenticate(), keys)
}

/// One request at a time over one connection, by the clock on the wall: what a client sees.
fn over_loopback(in_turn: usize, rounds: usize) -> Vec<[f64; KINDS]> {
    let (layer, keys) = keys(in_turn);
    let texts = keys.map(|keys| keys.iter().map(request_text).collect::<Vec<_>>());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let service = Router::new().route("/payments", get(|| async {})).layer(layer);
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, service).await.unwrap();
        });
    });
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_nodelay(true).unwrap();
    let mut answer = [0; 4096];
    let mut turns = [0; KINDS];
    let time = |kind: usize| {
        let text = &texts[kind][turns[kind] % in_turn];
        turns[kind] += 1;
        let start = Instant::now();
        connection.write_all(text).unwrap();
        // The answers are short: they come in one piece.
        let length = connection.read(&mut answer).unwrap();
        let elapsed = start.elapsed().as_nanos() as f64;
        assert!(answer[..length].starts_with(format!("HTTP/1.1 {} ", NAMES[kind].1.as_u16()).as_bytes()));
        elapsed
    };
    measure(time, rounds)
}

fn request_text(key: &GeneratedKey) -> Vec<u8> {
    let secret = key.secret.expose_secret();
    format!("GET /payments HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {secret}\r\n\r\n")
        .into()
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
fn measure(mut time: impl FnMut(usize) -> f64, rounds: usize) -> Vec<[f64; KINDS]> {
    let round = |round: usize| {
        let mut times = [0.0; KINDS];
        for turn in 0..KINDS {
            // Every kind comes first, and last, as often as any other.
            let kind = if (round / KINDS) % 2 == 0 { round + turn } else { round + KINDS - turn } % KINDS;
            times[kind] = time(kind);
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
