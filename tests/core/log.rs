//! What the log says of requests and of key management, and how often.
#![cfg(feature = "tracing")]

#[cfg(feature = "cache")]
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::clock::{ManualClock, Timestamp};
#[cfg(feature = "cache")]
use tower_api_keys::key::KeyId;
use tower_api_keys::key::Peppers;
use tower_api_keys::limit::Subject;
use tower_api_keys::manage::{Authority, KeyChange, KeyManager};
#[cfg(feature = "cache")]
use tower_api_keys::store::{
    CachedStore, ChangeMark, Changes, KeyAdministration, KeySelector, KeyStore, Lookup,
};
use tower_api_keys::store::{ReadOnly, StoreError, StoreErrorKind, UsageLog};
use tower_api_keys::usage::{Usage, UsageBatch, UsageBucket, UsageQuery};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, NewKey, Principal, Quota, RateLimit};
use tracing::field::Empty;

use crate::no_secrets::logged;
use crate::support::*;

async fn send(keys: &ApiKeys, request: Request<()>) -> u16 {
    let response: Response<Bytes> = keys.layer().layer(service_fn(whoami)).call(request).await.unwrap();
    response.status().as_u16()
}

/// Who the key of `keys` is to a handler.
async fn caller(keys: ApiKeysBuilder) -> Principal {
    let keys = keys.without_route_table().build().unwrap();
    let seen = Mutex::new(None);
    let mut service = keys.layer().layer(service_fn(async |request: Request<()>| {
        *seen.lock().unwrap() = Principal::from_extensions(request.extensions()).cloned();
        whoami(request).await
    }));
    service.call(request(KEY)).await.unwrap();
    let caller = seen.lock().unwrap().take();
    caller.unwrap()
}

fn lines<'l>(log: &'l str, level: &str, text: &str) -> Vec<&'l str> {
    log.lines().filter(|line| line.contains(level) && line.contains(text)).collect()
}

#[test]
fn an_outage_is_one_error_a_second_and_says_how_many_requests_it_stands_for() {
    in_own_process(|| {
        let ((), log) = logged(async {
            let clock = ManualClock::starting_at(START);
            let failing = TestStore::new(store([]).await, Answers::WithAnError);
            let keys = assembly(failing).without_route_table().clock(clock.clone()).build().unwrap();
            for second in 0..4 {
                for _ in 0..100 {
                    assert_eq!(send(&keys, request(KEY)).await, 503);
                    clock.advance(Duration::from_millis(10));
                }
                // Other failures are not hidden, and the client's are no matter for it.
                assert_eq!(send(&keys, request(None)).await, 401, "{second}");
            }
        });
        let errors = lines(&log, "ERROR", "store_failed");
        let suppressed: Vec<_> = errors.iter().filter_map(|line| line.split_once("suppressed=")).collect();
        assert_eq!(
            suppressed.iter().map(|(_, rest)| *rest).collect::<Vec<_>>(),
            ["0", "99", "99", "99"],
            "{log}"
        );
        assert!(errors.iter().all(|line| line.contains("connection refused")), "the cause is told: {log}");
        assert_eq!(lines(&log, "DEBUG", "store_failed").len(), 396);
        assert_eq!(lines(&log, "INFO", "credential_missing").len(), 4);
    });
}

#[test]
fn a_quota_that_is_not_counted_and_a_sink_that_panics_are_logged_once_a_second() {
    in_own_process(|| {
        let ((), log) = logged(async {
            let keys = store([record(KEY, |_| {})]).await;
            let quotas =
                TestStore { quotas: Some(Answers::WithAnError), ..TestStore::new(keys, Answers::AtOnce) };
            let keys = assembly(quotas)
                .limit(RateLimit::per_key("month", Quota::per_month(10).unwrap()))
                .without_route_table()
                .clock(ManualClock::starting_at(START))
                .build()
                .unwrap();
            for _ in 0..10 {
                assert_eq!(send(&keys, request(KEY)).await, 503);
            }
            let panicking = assembly(store([record(KEY, |_| {})]).await)
                .usage(|_| panic!("the sink has a bug"))
                .without_route_table()
                .clock(ManualClock::starting_at(START))
                .build()
                .unwrap();
            for _ in 0..10 {
                assert_eq!(send(&panicking, request(KEY)).await, 200);
            }
        });
        for line in ["a stored quota was not counted", "the usage sink panicked"] {
            assert_eq!(lines(&log, "ERROR", line).len(), 1, "{log}");
        }
    });
}

#[test]
fn a_line_names_code_key_category_cost_and_the_request_and_so_does_the_span() {
    in_own_process(|| {
        let (id, log) = logged(async {
            let stored = record(KEY, |_| {});
            let id = stored.id;
            let keys = assembly(store([stored]).await)
                .limit(RateLimit::per_key("reads", Quota::per_minute(3).unwrap()).cost(|_| 2))
                .request_ids()
                .without_route_table()
                .build()
                .unwrap();
            let handler = service_fn(async |request: Request<()>| {
                tracing::info!("in the handler");
                whoami(request).await
            });
            let layer = keys.layer();
            let service = ServiceBuilder::new().layer(&layer).service(handler);
            for name in ["first", "second"] {
                let span = tracing::info_span!("http", request_id = Empty, key_id = Empty, code = Empty);
                let mut request = request(KEY);
                request.headers_mut().insert("x-request-id", name.parse().unwrap());
                let _entered = span.enter();
                let mut service = service.clone();
                let _ = service.call(request).await.unwrap();
            }
            id
        });
        let accepted = lines(&log, "DEBUG", "request accepted");
        assert_eq!(accepted.len(), 1, "{log}");
        for part in [&format!("key_id={id}") as &str, "owner=acme (live)", "request_id=first"] {
            assert!(accepted[0].contains(part), "{part}: {log}");
        }
        let rejected = lines(&log, "INFO", "request rejected");
        assert_eq!(rejected.len(), 1, "{log}");
        for part in [
            "status=429",
            r#"code="rate_limited""#,
            r#"category="reads""#,
            "cost=2",
            &format!("key_id={id}"),
            "request_id=second",
            "http{",
        ] {
            assert!(rejected[0].contains(part), "{part}: {log}");
        }
        let inside = lines(&log, "INFO", "in the handler");
        for part in ["request_id=first", &format!("key_id={id}"), r#"code="allowed""#] {
            assert!(inside[0].contains(part), "{part}: {log}");
        }
    });
}

/// The key is good all the same, and a later use stores what this one could not.
#[test]
fn a_use_whose_change_is_not_stored_is_one_warning_a_second_and_a_lost_race_is_none() {
    in_own_process(|| {
        for (error, expected) in [(StoreErrorKind::Unavailable, 2), (StoreErrorKind::Conflict, 0)] {
            let ((), log) = logged(async {
                let clock = ManualClock::starting_at(START);
                let store = TestStore::new(store([record(KEY, |_| {})]).await, Answers::AtOnce);
                let store = TestStore { refresh_error: Some(error), ..store };
                let peppers = Peppers::new(1, "0123456789abcdef0123456789abcdef".into()).unwrap();
                let keys = assembly(store).peppers(peppers.accept_unpeppered()).without_route_table();
                let keys = keys.clock(clock.clone()).build().unwrap();
                for _ in 0..20 {
                    assert_eq!(send(&keys, request(KEY)).await, 200);
                    clock.advance(Duration::from_millis(100));
                }
            });
            assert_eq!(lines(&log, "WARN", "key_not_refreshed").len(), expected, "{log}");
        }
    });
}

#[cfg(feature = "cache")]
#[test]
fn changes_that_other_nodes_are_not_told_of_are_one_error_a_second() {
    struct Unreachable;

    #[async_trait::async_trait]
    impl tower_api_keys::store::InvalidationSink for Unreachable {
        async fn publish(&self, _: &KeyId) -> Result<(), StoreError> {
            Err(StoreError::new(StoreErrorKind::Unavailable))
        }
    }

    in_own_process(|| {
        let ((), log) = logged(async {
            let clock = ManualClock::starting_at(START);
            let cache =
                CachedStore::builder(store([]).await).clock(clock.clone()).publish_to(Unreachable).build();
            for number in 0..30 {
                cache.insert(record(&format!("wfk_{number}"), |_| {}), None).await.unwrap();
                clock.advance(Duration::from_millis(100));
            }
        });
        let errors = lines(&log, "ERROR", "a change was not reported to other nodes");
        let suppressed: Vec<_> = errors.iter().filter_map(|line| line.split_once("suppressed=")).collect();
        assert_eq!(suppressed.iter().map(|(_, rest)| *rest).collect::<Vec<_>>(), ["0", "9", "9"], "{log}");
        assert_eq!(lines(&log, "DEBUG", "a change was not reported to other nodes").len(), 27, "{log}");
    });
}

#[cfg(feature = "cache")]
#[test]
fn a_store_that_stops_to_say_what_has_changed_is_one_warning_until_it_does_again() {
    #[derive(Clone)]
    struct Silent {
        fails: Arc<AtomicBool>,
        asked: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl KeyStore for Silent {
        fn find(&self, _: KeySelector<'_>) -> Lookup {
            Lookup::ready(Ok(None))
        }

        async fn changes(&self, _: Option<ChangeMark>) -> Result<Option<Changes>, StoreError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            match self.fails.load(Ordering::SeqCst) {
                true => Err(StoreError::new(StoreErrorKind::Unavailable)),
                false => Ok(Some(Changes { mark: ChangeMark { history: 1, position: 0 }, keys: None })),
            }
        }
    }

    in_own_process(|| {
        let ((), log) = logged(async {
            let store = Silent { fails: Arc::new(true.into()), asked: Arc::default() };
            let cache = CachedStore::builder(store.clone()).build();
            let background = tokio::spawn(cache.background().unwrap());
            for fails in [true, false, true] {
                store.fails.store(fails, Ordering::SeqCst);
                // Only what is held has to be confirmed.
                cache.find(KeySelector::Id(&"unknown".parse().unwrap())).await.unwrap();
                let asked = store.asked.load(Ordering::SeqCst);
                while store.asked.load(Ordering::SeqCst) == asked {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            background.abort();
        });
        assert_eq!(lines(&log, "WARN", "changes_not_read").len(), 2, "{log}");
    });
}

#[test]
fn each_failure_of_key_management_is_logged_with_its_code_and_without_text_of_the_client() {
    in_own_process(|| {
        let ((), log) = logged(async {
            let clock = ManualClock::starting_at(START);
            let manager = KeyManager::new(store([]).await, format()).with_clock(clock.clone());
            let operator = Authority::operator(acme()).by("ada");
            let key = manager.create(&operator, NewKey::new("one")).await.unwrap().key;
            manager.get(&operator, &"missing".parse().unwrap()).await.unwrap_err();
            manager.create(&operator, NewKey::new("evil\nline")).await.unwrap_err();
            let version = KeyChange::new().name("two").if_version(7);
            manager.update(&operator, &key.id, version).await.unwrap_err();
            manager.redeem("evil").await.unwrap_err();
            let read_only =
                KeyManager::new(ReadOnly::new(store([]).await), format()).with_clock(clock.clone());
            for _ in 0..10 {
                read_only.disable(&operator, &key.id).await.unwrap_err();
            }
            clock.advance(Duration::from_secs(1));
            read_only.disable(&operator, &key.id).await.unwrap_err();
        });
        for (action, code) in
            [("read", "not_found"), ("create", "invalid"), ("update", "overtaken"), ("redeem", "not_found")]
        {
            let failed = lines(&log, "INFO", "key not managed");
            let is_it =
                |line: &&&str| line.contains(&format!("{action:?}")) && line.contains(&format!("{code:?}"));
            assert_eq!(failed.iter().filter(is_it).count(), 1, "{action} {code}: {log}");
        }
        let unavailable = lines(&log, "ERROR", "key not managed");
        assert_eq!(unavailable.len(), 2, "{log}");
        assert!(unavailable[1].contains("suppressed=9") && unavailable[1].contains("read-only"), "{log}");
        assert!(!log.contains("evil"), "text of a client: {log}");
    });
}

/// Identifiers as they are, and times as RFC 3339: never the form that is for people who debug.
#[test]
fn identifiers_and_times_are_written_as_everywhere_else() {
    in_own_process(|| {
        let ((), log) = logged(async {
            let stored = record(KEY, |_| {});
            let (id, keys) = (stored.id, store([stored.clone()]).await);
            let keys = assembly(keys)
                .limit(RateLimit::per_organization("month", Quota::per_month(10).unwrap()))
                .route("GET", "/", "workflows:read")
                .clock(ManualClock::starting_at(START))
                .build()
                .unwrap();
            assert_eq!(send(&keys, request(KEY)).await, 200);
            let organization = Subject::organization(&"acme".parse().unwrap(), acme().mode);
            keys.grant("month", &organization, 5).await.unwrap();
            keys.forget(&Subject::Key(id)).await.unwrap();
            let operator = Authority::operator(acme()).by("ada");
            keys.manager().disable(&operator, &id).await.unwrap();
            assert_eq!(send(&keys, request(KEY)).await, 401);

            // Another caller, without the scope that it would hand out.
            let caller = caller(assembly(store([stored]).await)).await;
            let new = NewKey::new("more").scope("invoice:read");
            keys.manager().create(&Authority::principal(&caller), new).await.unwrap_err();
        });
        for expected in ["2023-12-14T05:20:00Z", "acme (live)", "subject=other:live:acme", "subject=key:"] {
            assert!(log.contains(expected), "{expected:?} is missing:\n{log}");
        }
        for debug in [
            "KeyId(",
            "OrganizationId(",
            "Organization(",
            "Timestamp",
            "Some(",
            "Owner {",
            "Subject",
            "1702531200",
        ] {
            assert!(!log.contains(debug), "{debug:?} is in the log:\n{log}");
        }
    });
}

/// Takes no usage.
struct Closed;

#[async_trait]
impl UsageLog for Closed {
    async fn add(&self, _: &UsageBatch) -> Result<(), StoreError> {
        Err(StoreError::new(StoreErrorKind::Unavailable).with_source("the disk is full"))
    }

    async fn read(&self, _: &UsageQuery, _: usize) -> Result<Usage, StoreError> {
        Err(StoreError::new(StoreErrorKind::Unavailable))
    }

    async fn prune(&self, _: Timestamp, _: Timestamp) -> Result<bool, StoreError> {
        Err(StoreError::new(StoreErrorKind::Unavailable))
    }
}

#[test]
fn usage_that_the_store_does_not_take_is_logged() {
    in_own_process(|| {
        let ((), log) = logged(async {
            let usage: Arc<dyn UsageLog> = Arc::new(Closed);
            let store = TestStore::new(store([record(KEY, |_| {})]).await, Answers::AtOnce);
            let store = TestStore { usage: Some(usage), ..store };
            let keys = assembly(store).without_route_table().count_usage().build().unwrap();
            keys.layer().layer(service_fn(whoami)).oneshot(request(KEY)).await.unwrap();
            let background = tokio::spawn(keys.background());
            tokio::task::yield_now().await;
            assert!(keys.health().is_good);
            keys.flush().await.unwrap_err();
            let health = keys.health();
            assert!(!health.is_good && health.usage.is_some_and(|usage| usage.is_failing));
            background.abort();
            let query =
                UsageQuery::new(START, START.saturating_add(Duration::from_secs(1)), UsageBucket::Hour);
            keys.manager().usage_of_all(&query).await.unwrap_err();
        });
        let read = lines(&log, "ERROR", "key not managed");
        assert!(matches!(&*read, [line] if line.contains("action=\"read\"")), "{log}");
        let line = log.lines().find(|line| line.contains("usage_not_written")).unwrap();
        assert!(
            line.contains("WARN") && line.contains("the disk is full") && line.contains("rows=1"),
            "{line}"
        );
    });
}
