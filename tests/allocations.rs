//! What allocates, and how often: counted, so the same on every machine. And what the yardstick of the benches is worth.

#[path = "../benches/support/mod.rs"]
mod stacks;

use std::convert::Infallible;
use std::time::Duration;

use allocation_counter::measure;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use tower::{Layer, Service};
use tower_api_keys::clock::{Clock, ManualClock, SystemClock, Timestamp};
use tower_api_keys::credential::{CredentialExtractor, Extracted, HeaderKey};
use tower_api_keys::key::{KeyFormat, KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::limit::{Algorithm, MemoryRateLimiter, Quota, Subject};
use tower_api_keys::request::RequestView;
use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
use tower_api_keys::store::{KeyAdministration, KeySelector, KeyStore, MemoryStore};
use tower_api_keys::{ApiKeys, RateLimit};

const KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";

fn allocations<T>(f: impl FnOnce() -> T) -> u64 {
    measure(|| {
        std::hint::black_box(f());
    })
    .count_total
}

#[tokio::test]
async fn deciding_about_a_good_key_allocates_nothing() {
    let peppers = Peppers::none();
    let store = MemoryStore::new();
    let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
    let mut record =
        KeyRecord::new("k1".parse().unwrap(), owner, peppers.digest(KEY), Timestamp::from_unix_seconds(0));
    record.scopes = ScopeSet::parse_list(["runs:*", "workflows:read"]).unwrap();
    store.insert(record.clone(), None).await.unwrap();

    let request = Request::builder().header("x-api-key", KEY).body(()).unwrap();
    let extractor = HeaderKey::new("x-api-key".parse().unwrap(), KeyFormat::new("wfk_").unwrap());
    let extract = || matches!(extractor.extract(RequestView::of(&request)), Extracted::Found(_));
    assert!(extract());
    assert_eq!(allocations(extract), 0, "extraction and format");

    let digests = peppers.candidates(KEY);
    assert_eq!(allocations(|| peppers.candidates(KEY)), 0, "digest");
    let find = || stacks::at_once(store.find(KeySelector::Digests(&digests))).unwrap();
    assert!(find().is_some());
    assert_eq!(allocations(find), 0, "lookup");
    assert_eq!(allocations(|| digests[0].ct_eq(&record.digest)), 0, "comparison");

    for scope in ["workflows:read", "runs:read", "connections:read"] {
        let requirement: ScopeRequirement = ScopeRequirement::scope(scope.parse().unwrap()).unwrap();
        assert_eq!(allocations(|| requirement.is_met_by(&record.scopes)), 0, "scope {scope}");
    }
    assert_eq!(allocations(|| SystemClock.now()), 0, "clock");
}

/// Bytes requested from the allocator by ten thousand keys: two scopes, a name and a hint, ten keys of an
/// organization. `benches/memory.rs` shows the parts.
#[test]
fn a_key_in_memory_takes_at_most_three_hundred_bytes() {
    const KEYS: usize = 10_000;
    let record = |index: usize| {
        let owner = Owner::organization(format!("org_{:012}", index / 10).parse().unwrap(), Mode::Live);
        let digest = Peppers::none().digest(&index.to_string());
        let created_at = Timestamp::from_unix_seconds(0);
        let mut record = KeyRecord::new(format!("{index:016}").parse().unwrap(), owner, digest, created_at);
        record.name = "Production".into();
        record.hint = format!("wfk_…{index:04}").into();
        record.scopes = ScopeSet::parse_list(["runs:read", "workflows:read"]).unwrap();
        record
    };
    let store = MemoryStore::new();
    // The first key also allocates tables that depend on the number of processors.
    stacks::at_once(store.insert(record(KEYS), None)).unwrap();
    let insert_all =
        || (0..KEYS).for_each(|index| stacks::at_once(store.insert(record(index), None)).unwrap());
    let bytes = measure(insert_all).bytes_current / KEYS as i64;
    assert!(bytes <= 300, "{bytes} bytes");

    // Nothing is left of the replaced records, except that the set of digests may have grown: nine bytes a place.
    let replace_all = || {
        for index in 0..KEYS {
            let id = format!("{index:016}").parse().unwrap();
            let stored = stacks::at_once(store.find(KeySelector::Id(&id))).unwrap().expect("it is stored");
            let mut record = KeyRecord::clone(&stored);
            record.digest = Peppers::none().digest(&format!("new {index}"));
            // Adds a box of fields that are all unset.
            record.extras_mut().previous = None;
            stacks::at_once(store.replace(record, None)).unwrap();
        }
    };
    let more = measure(replace_all).bytes_current / KEYS as i64;
    assert!(more < 16, "{more} bytes more");
}

#[cfg(feature = "cache")]
#[tokio::test]
async fn an_answer_from_the_cache_allocates_nothing() {
    let [known, unknown] = ["known", "unknown"].map(|secret| Peppers::none().digest(secret));
    let store = tower_api_keys::store::CachedStore::new(MemoryStore::new());
    let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
    let record = KeyRecord::new("k1".parse().unwrap(), owner, known, Timestamp::from_unix_seconds(0));
    store.insert(record.clone(), None).await.unwrap();
    for (name, selector, when_not_held) in [
        ("by identifier", KeySelector::Id(&record.id), 1),
        ("by digest", KeySelector::Digests(&[known]), 2),
        ("unknown", KeySelector::Digests(&[unknown]), 2),
    ] {
        let find = || store.find(selector);
        assert_eq!(format!("{:?}", find()), "Lookup::Pending", "{name}");
        // The future, and its digests.
        assert_eq!(allocations(find), when_not_held, "{name}, not held");
        find().await.unwrap();
        assert_eq!(format!("{:?}", find()), "Lookup::Ready", "{name}");
        assert_eq!(allocations(find), 0, "{name}");
    }
}

#[test]
fn noting_the_use_of_a_busy_key_allocates_nothing() {
    let counts = [false, true].map(|records| {
        let clock = ManualClock::starting_at(Timestamp::from_unix_seconds(1_702_531_200));
        let keys = ApiKeys::builder(stacks::store(), KeyFormat::new("wfk_").unwrap())
            .header("x-api-key")
            .clock(clock.clone())
            .without_route_table();
        let keys = if records { keys.record_last_use() } else { keys };
        let mut service = keys.build().unwrap().layer().layer(stacks::Inner);
        let mut send = || {
            let request = stacks::good_keys().remove(0);
            stacks::at_once(service.call(request)).unwrap()
        };
        assert_eq!(send().status(), 200);
        let same_instant = allocations(&mut send);
        clock.advance(Duration::from_secs(1));
        (same_instant, allocations(send))
    });
    assert_eq!(counts[0], counts[1]);
}

/// Counted as without a recorder, once the series are there.
#[cfg(feature = "metrics")]
#[test]
fn metrics_of_a_request_allocate_nothing() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let send = |keys: &ApiKeys| {
        let mut service = keys.layer().layer(stacks::Inner);
        let mut send =
            |request: Request<()>| stacks::at_once(service.call(request)).unwrap().status().as_u16();
        // Samples are kept in blocks, and each block is allocated with its first.
        for _ in 0..2 {
            assert_eq!(
                (send(stacks::good_keys().remove(0)), send(stacks::unknown_keys().remove(0))),
                (200, 401)
            );
        }
        // The recorder tidies up now and then, on the thread that happens to be there.
        let mut fewest = |requests: fn() -> Vec<Request<()>>| {
            (0..5).map(|_| requests().remove(0)).map(|request| allocations(|| send(request))).min()
        };
        (fewest(stacks::good_keys), fewest(stacks::unknown_keys))
    };
    let keys = || {
        ApiKeys::builder(stacks::store(), KeyFormat::new("wfk_").unwrap())
            .header("x-api-key")
            .limit(RateLimit::per_key("read", Quota::per_minute(1_000).unwrap()))
            .without_route_table()
            .build()
            .unwrap()
    };
    let without = send(&keys());
    let with = metrics::with_local_recorder(&recorder, || send(&keys()));
    assert_eq!(with, without);
    assert!(recorder.handle().render().contains(r#"code="allowed""#), "it was counted");
}

#[test]
fn a_warm_limiter_allocates_nothing() {
    let subject = Subject::Key("k1".parse().unwrap());
    for algorithm in [Algorithm::Sliding, Algorithm::Counter] {
        let limiter = MemoryRateLimiter::new("read", &[Quota::per_minute(3).unwrap()], SystemClock.now())
            .unwrap()
            .with_algorithm(algorithm);
        let check = || limiter.check(&subject, None, 1, SystemClock.now());
        check();
        assert_eq!(allocations(check), 0, "{algorithm:?}, admitted");
        check();
        assert!(!check().0.is_admitted());
        assert_eq!(allocations(check), 0, "{algorithm:?}, denied");
    }
}

/// A change of any figure here needs an explanation. Without the inner service's own allocations; most are the
/// response's header values, which the application requested.
#[cfg(feature = "presets")]
#[test]
fn stacks_allocate_as_often_as_they_did() {
    let mut counts = stacks::own::stacks(1_000).into_iter().map(|mut stack| {
        // Another limiter's instant may be written as a different value.
        stack.send();
        (stack.name, allocations(|| stack.send()))
    });
    let (_, alone) = counts.next().unwrap();
    let counts: Vec<(&str, u64)> = counts.map(|(name, count)| (name, count - alone)).collect();
    let expected = [
        // The principal in the request's extensions, and `Cache-Control` in a response that had no field.
        ("authenticate", 5),
        ("authenticate, scopes", 5),
        ("authenticate, rate limit", 6),
        ("authenticate, rate limit without IETF fields", 5),
        ("whole stack without IETF fields, accepted", 5),
        #[cfg(feature = "coarse-clock")]
        ("whole stack without IETF fields, coarse clock", 5),
        ("whole stack, accepted", 6),
        // Of a key that was counted in this hour.
        ("whole stack, accepted, usage counted", 6),
        ("no credential, 401", 3),
        ("malformed key, 401", 3),
        ("unknown key, 401", 3),
        ("revoked key, 401", 3),
        // One of them for a `Retry-After` of five digits: the window is a day.
        ("over the limit, 429", 5),
        ("scope missing, 403", 4),
    ];
    assert_eq!(counts, expected);
}

/// The yardstick keeps the promises that this crate keeps: same status, same fields, same body. Only when there is room
/// again differs, as the windows do.
#[tokio::test]
async fn the_honest_stack_by_hand_answers_as_an_assembly_does() {
    let mut twice = stacks::good_keys().remove(0);
    let key = twice.headers()["x-api-key"].clone();
    twice.headers_mut().append("x-api-key", key);
    for (name, limit, request, status) in [
        ("accepted", 1_000, stacks::good_keys().remove(0), 200),
        ("no credential", 1_000, stacks::request(None), 401),
        ("malformed", 1_000, stacks::malformed_keys().remove(0), 401),
        ("two lines", 1_000, twice, 400),
        ("unknown", 1_000, stacks::unknown_keys().remove(0), 401),
        ("over the limit", 1, stacks::good_keys().remove(0), 429),
        ("scope missing", 1_000, stacks::keys_without_scope().remove(0), 403),
    ] {
        let keys = ApiKeys::builder(stacks::store(), KeyFormat::new("wfk_").unwrap())
            .header("x-api-key")
            .route("GET", "/workflows/{id}", "workflows:read")
            .limit(RateLimit::per_key("read", Quota::new(limit, Duration::from_secs(86_400)).unwrap()));
        let ours = answer(keys.build().unwrap().layer(), request.clone()).await;
        let honest = answer(stacks::honest::HonestLayer::new(limit), request).await;
        assert_eq!(ours.0, status, "{name}");
        assert_eq!(honest, ours, "{name}");
    }
}

/// Status, fields and body of the second response.
async fn answer<L>(layer: L, request: Request<()>) -> (u16, Vec<(String, String)>, Bytes)
where
    L: Layer<stacks::Inner>,
    L::Service: Service<Request<()>, Response = Response<Body>, Error = Infallible>,
{
    let mut service = layer.layer(stacks::Inner);
    let _ = service.call(request.clone()).await;
    let (head, body) = service.call(request).await.unwrap().into_parts();
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        let is_instant = ["retry-after", "x-ratelimit-reset"].contains(&name.as_str());
        let value = if is_instant { "later" } else { value.to_str().unwrap() };
        (name.to_string(), value.to_owned())
    };
    let mut fields: Vec<_> = head.headers.iter().map(field).collect();
    fields.sort();
    (head.status.as_u16(), fields, axum::body::to_bytes(body, usize::MAX).await.unwrap())
}

/// What is inside sees the key's field marked, so that no log shows it.
#[test]
fn the_honest_stack_by_hand_marks_the_key() {
    let inner = tower::service_fn(|request: Request<()>| {
        assert!(request.headers()["x-api-key"].is_sensitive());
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
    });
    let mut service = stacks::honest::HonestLayer::new(10).layer(inner);
    let response = stacks::at_once(service.call(stacks::good_keys().remove(0))).unwrap();
    assert_eq!(response.status(), 200);
}
