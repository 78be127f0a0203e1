//! Single operations that peers offer, and what this crate has in their place beside them.
//!
//! `cargo bench --bench peers`. Only time of this thread on the processor counts. 256 keys take turns, out of 10 000 stored.
//! `limit` is one check of a rate limiter with the clock that each has by default, `text` begins with the text that a
//! client sends and ends with the verdict, `request` is such a verdict within the frame of [`support`]: take off its first
//! row (the last one's request has a field more). Whole stacks of peers are rows of the benches `stack` and `ratios`.
//!
//! What a row does not do: jsonwebtoken and prefixed-api-key look nothing up, so that a key or a token that was withdrawn
//! passes; prefixed-api-key is handed the digest to compare with. A session token is checked in addition to its key, and
//! both are looked up.
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

#[path = "support/cpu_time.rs"]
mod cpu_time;
mod support;

use std::num::NonZeroU32;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use bytes::Bytes;
use cpu_time::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use governor::RateLimiter;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use prefixed_api_key::{PakControllerOsSha256, PrefixedApiKey};
use serde::{Deserialize, Serialize};
use support::{BASELINE, IN_TURN, Inner, Request, START, Stack, X_API_KEY, at_once, good_keys, key, store};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::clock::{Clock, Now, SystemClock};
use tower_api_keys::credential::{Companions, HeaderKey, Parts, SessionTokens};
use tower_api_keys::key::{KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::limit::{MemoryRateLimiter, Quota, Subject};
use tower_api_keys::middleware::ApiKeysLayer;
use tower_api_keys::store::{KeyAdministration, KeySelector, KeyStore, MemoryStore};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, KeyFormat, Principal};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn limit(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("limit");
    group.throughput(Throughput::Elements(1));
    // A microsecond a check, which 256 keys in turn never come to.
    let quota = governor::Quota::per_second(NonZeroU32::new(1_000_000).unwrap());

    let limiter = RateLimiter::keyed(quota);
    let mut keys = (0..IN_TURN as u64).cycle();
    group.bench_function("governor, u64", |bencher| {
        bencher.iter(|| limiter.check_key(&keys.next().unwrap()).unwrap());
    });

    let limiter = RateLimiter::keyed(quota);
    let texts: Vec<String> = (0..IN_TURN).map(key).collect();
    let mut keys = texts.iter().cycle();
    group.bench_function("governor, String", |bencher| {
        bencher.iter(|| limiter.check_key(keys.next().unwrap()).unwrap());
    });

    let quota = Quota::per_second(Quota::MAX_LIMIT).unwrap();
    let limiter = MemoryRateLimiter::new("read", &[quota], SystemClock.now()).unwrap();
    let id = |index| Subject::Key(format!("{index:016}").parse().unwrap());
    let subjects: Vec<Subject> = (0..IN_TURN).map(id).collect();
    let mut check = |name: &str, now: fn() -> Now| {
        let mut subjects = subjects.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (decision, permit) = limiter.check(subjects.next().unwrap(), None, 1, now());
                assert!(decision.is_admitted());
                permit
            });
        });
    };
    check("MemoryRateLimiter", || SystemClock.now());
    #[cfg(feature = "coarse-clock")]
    check("MemoryRateLimiter, coarse clock", || tower_api_keys::clock::CoarseClock.now());
    group.finish();
}

/// What an application would want to know of the caller.
#[derive(Deserialize, Serialize)]
struct Claims {
    sub: String,
    org: String,
    scope: String,
    exp: u64,
}

fn text(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("text");
    group.throughput(Throughput::Elements(1));

    for (name, algorithm, (signing, verifying)) in
        [("HS256", Algorithm::HS256, hmac_keys()), ("EdDSA", Algorithm::EdDSA, ed25519_keys())]
    {
        let claims = Claims {
            sub: "0000000000000001".into(),
            org: "acme".into(),
            scope: "runs:read workflows:read workflows:write".into(),
            exp: 4_102_444_800,
        };
        let token = encode(&Header::new(algorithm), &claims, &signing).unwrap();
        let validation = Validation::new(algorithm);
        group.bench_function(format!("jsonwebtoken, {name}"), |bencher| {
            bencher.iter(|| decode::<Claims>(&token, &verifying, &validation).unwrap());
        });
    }

    let controller =
        PakControllerOsSha256::configure().prefix("wfk".into()).seam_defaults().finalize().unwrap();
    let (key, digest) = controller.generate_key_and_hash();
    let key = key.to_string();
    group.bench_function("prefixed-api-key", |bencher| {
        bencher.iter(|| {
            assert!(controller.check_hash(&PrefixedApiKey::from_string(&key).unwrap(), &digest));
        });
    });

    let (format, peppers, store) = (key_format(), Peppers::none(), store());
    let keys: Vec<String> = (0..IN_TURN).map(support::key).collect();
    let mut keys = keys.iter().cycle();
    group.bench_function("API key: format, digest, lookup, comparison", |bencher| {
        bencher.iter(|| {
            let key = keys.next().unwrap();
            assert!(format.parse(key).is_ok());
            let digests = peppers.candidates(key);
            let record =
                at_once(store.find(KeySelector::Digests(&digests))).unwrap().expect("the key is stored");
            assert!(digests[0].ct_eq(&record.digest));
            record
        });
    });
    group.finish();
}

fn hmac_keys() -> (EncodingKey, DecodingKey) {
    (EncodingKey::from_secret(SECRET.as_bytes()), DecodingKey::from_secret(SECRET.as_bytes()))
}

/// The pair of RFC 8037, appendix A.
fn ed25519_keys() -> (EncodingKey, DecodingKey) {
    const PKCS8: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let private = BASE64_URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let public = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let private = EncodingKey::from_ed_der(&[&PKCS8[..], &private].concat());
    (private, DecodingKey::from_ed_components(public).unwrap())
}

fn request(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Elements(1));
    let store = store();
    let alone = assembly(&store).build().unwrap().authenticate();
    let (with_tokens, requests) = session_tokens(&store);
    for mut stack in [
        Stack::new(BASELINE, StatusCode::OK, Inner, good_keys()),
        Stack::new("API key", StatusCode::OK, alone.layer(Inner), good_keys()),
        Stack::new("API key and session token", StatusCode::OK, with_tokens.layer(Inner), requests),
    ] {
        group.bench_function(stack.name, |bencher| bencher.iter(|| stack.send()));
    }
    group.finish();
}

fn key_format() -> KeyFormat {
    KeyFormat::new("wfk_").unwrap()
}

fn assembly(store: &MemoryStore) -> ApiKeysBuilder {
    ApiKeys::builder(store.clone(), key_format()).header(X_API_KEY.as_str()).without_route_table()
}

/// A layer that asks for a token, and a request with key and token for each key.
fn session_tokens(store: &MemoryStore) -> (ApiKeysLayer, Vec<Request>) {
    const X_SECRET: HeaderName = HeaderName::from_static("x-app-secret");
    const X_TOKEN: HeaderName = HeaderName::from_static("x-session");
    let secret = "app_abc123def456ghi789jkl012mno345pq";
    let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
    let digest = Peppers::none().digest(secret);
    at_once(store.insert(KeyRecord::new("app".parse().unwrap(), owner, digest, START), None)).unwrap();

    let tokens = SessionTokens::new(SECRET.into()).unwrap();
    let companions = || Companions::new(HeaderKey::new(X_SECRET, KeyFormat::new("app_").unwrap()));
    let log_in = assembly(store).companions(companions()).build().unwrap().authenticate();
    let log_in = log_in.layer(service_fn(|request: Request| {
        let principal = Principal::from_extensions(request.extensions()).unwrap();
        let token = tokens.issue(principal, SystemClock.now().timestamp()).unwrap();
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Bytes::from(
            token.expose_secret().to_owned(),
        ))))
    }));
    let mut requests = good_keys();
    for request in &mut requests {
        let mut first = request.clone();
        first.headers_mut().insert(X_SECRET, secret.parse().unwrap());
        let token = at_once(log_in.clone().oneshot(first)).unwrap().into_body();
        request.headers_mut().insert(X_TOKEN, HeaderValue::from_bytes(&token).unwrap());
    }
    let companions = companions().with_session_tokens(X_TOKEN, tokens.clone()).with_otherwise(Parts::TOKEN);
    (assembly(store).companions(companions).build().unwrap().authenticate(), requests)
}

criterion_group! {
    name = benches;
    config = cpu_time::criterion();
    targets = limit, text, request
}
criterion_main!(benches);
