//! Usage of keys, from the request to the answer of the manager.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::{ManualClock, Timestamp};
use tower_api_keys::key::{KeyState, Mode, Owner};
use tower_api_keys::manage::{Authority, KeyManager, ManageError};
use tower_api_keys::rejection::GrpcStatus;
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{KeyAdministration, ReadOnly};
use tower_api_keys::usage::{
    Usage, UsageBatch, UsageBucket, UsageCounts, UsageEntry, UsageGroup, UsageOutcome, UsageQuery,
};
use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, NewKey, Principal, Quota, RateLimit};

use crate::support::*;

const REVOKED_KEY: &str = "wfk_revoked123def456ghi789jkl012mno3";
const DISTANT_KEY: &str = "wfk_distant123def456ghi789jkl012mno3";

fn operator() -> Authority {
    Authority::operator(acme())
}

/// The hour of [`START`], which is twenty minutes later.
fn hour() -> UsageQuery {
    UsageQuery::new(START, START.saturating_add(Duration::from_secs(1)), UsageBucket::Hour)
}

fn by(group: UsageGroup) -> UsageQuery {
    let mut query = hour();
    query.group_by = Some(group);
    query
}

/// `ok 2, limited 1`.
fn shown(counts: UsageCounts) -> String {
    let counted = UsageOutcome::ALL.into_iter().filter(|outcome| counts.of(*outcome) > 0);
    let texts: Vec<_> = counted.map(|outcome| format!("{outcome} {}", counts.of(outcome))).collect();
    texts.join(", ")
}

fn to(path: &str, key: &'static str) -> Request<()> {
    let mut request = request(key);
    *request.uri_mut() = path.parse().unwrap();
    request.extensions_mut().insert(PeerAddress("192.0.2.1".parse().unwrap()));
    request
}

/// Answers with the status that the path ends with.
async fn answer(request: Request<()>) -> Result<Response<Bytes>, Infallible> {
    let mut response = Response::new(Bytes::new());
    let (_, status) = request.uri().path().rsplit_once('/').unwrap();
    *response.status_mut() = status.parse().unwrap_or(StatusCode::OK);
    Ok(response)
}

#[tokio::test]
async fn every_outcome_of_a_key_is_counted() {
    let keys = [
        record(KEY, |_| {}),
        record(REVOKED_KEY, |key| key.state = KeyState::Revoked { at: START }),
        record(DISTANT_KEY, |key| {
            key.extras_mut().allowed_addresses = vec!["198.51.100.0/24".parse().unwrap()];
        }),
    ];
    for answers in [Answers::AtOnce, Answers::Later] {
        for (name, paths, key, counts) in [
            ("answers of handlers", &["/200", "/204", "/304"][..], KEY, "ok 3"),
            ("failures", &["/500", "/503", "/404", "/200"], KEY, "ok 1, client_error 1, server_error 2"),
            ("a handler's refusals", &["/401", "/403", "/429"], KEY, "limited 1, forbidden 1, refused 1"),
            ("without the scope", &["/secret/200"], KEY, "forbidden 1"),
            ("over the limit", &["/200"; 7], KEY, "ok 5, limited 2"),
            ("a key that has ended", &["/200", "/200"], REVOKED_KEY, "refused 2"),
            ("an address that the key may not be used from", &["/200"], DISTANT_KEY, "forbidden 1"),
            ("a key that nobody has", &["/200"], UNKNOWN_KEY, ""),
            ("no key", &["/200"], "wfk_", ""),
        ] {
            let store = TestStore::new(store(keys.clone()).await, answers);
            let keys = assembly(store)
                .clock(ManualClock::starting_at(START))
                .client_address(ClientAddressSource::peer())
                .limit(RateLimit::per_key("requests", Quota::per_minute(5).unwrap()))
                .route("GET", "/secret/{status}", "workflows:write")
                .route("GET", "/{status}", "workflows:read")
                .count_usage()
                .build()
                .unwrap();
            let service = keys.layer().layer(service_fn(answer));
            for path in paths {
                service.clone().oneshot(to(path, key)).await.unwrap();
            }
            keys.flush().await.unwrap();
            let usage = keys.manager().usage(&operator(), &hour()).await.unwrap();
            assert_eq!(usage.rows.len(), 1, "{name}");
            assert_eq!(shown(usage.rows[0].calls), counts, "{name} {answers:?}");
            assert_eq!(usage.as_of, Some(START), "{name}");
        }
    }
}

/// A format of errors may answer all rejections with one status, as that of gRPC does.
#[tokio::test]
async fn rejections_of_layers_inside_count_as_what_they_are() {
    let keys = assembly(store([record(KEY, |_| {})]).await)
        .clock(ManualClock::starting_at(START))
        .limit(RateLimit::per_key("requests", Quota::per_minute(2).unwrap()))
        .without_route_table()
        .count_usage()
        .errors(GrpcStatus)
        .build()
        .unwrap();
    let (limited, forbidden) = (keys.rate_limit(), keys.require("workflows:write"));
    for (layer, times) in [(limited, 3), (forbidden, 1)] {
        let service =
            ServiceBuilder::new().layer(keys.authenticate()).layer(layer).service(service_fn(answer));
        for _ in 0..times {
            assert_eq!(service.clone().oneshot(to("/200", KEY)).await.unwrap().status(), 200);
        }
    }
    keys.flush().await.unwrap();
    let usage = keys.manager().usage(&operator(), &hour()).await.unwrap();
    assert_eq!(shown(usage.rows[0].calls), "ok 2, limited 1, forbidden 1");
}

#[tokio::test]
async fn a_handler_s_grpc_status_in_the_head_decides() {
    let keys = assembly(store([record(KEY, |_| {})]).await)
        .clock(ManualClock::starting_at(START))
        .without_route_table()
        .count_usage()
        .build()
        .unwrap();
    let answer = |content_type: &'static str, status: &'static str| {
        service_fn(move |_: Request<()>| {
            let response = Response::builder().header("content-type", content_type);
            std::future::ready(response.header("grpc-status", status).body(Bytes::new()))
        })
    };
    for (content_type, status) in [
        ("application/grpc", "0"),
        ("application/grpc+proto", "5"),
        ("application/grpc-web", "8"),
        ("application/grpc", "14"),
        // Not gRPC.
        ("application/json", "14"),
    ] {
        keys.layer().layer(answer(content_type, status)).oneshot(to("/", KEY)).await.unwrap();
    }
    keys.flush().await.unwrap();
    let usage = keys.manager().usage(&operator(), &hour()).await.unwrap();
    assert_eq!(shown(usage.rows[0].calls), "ok 2, client_error 1, limited 1, server_error 1");
}

/// A stranger may know a key's identifier, and learns no more by it than that.
#[tokio::test]
async fn a_wrong_secret_is_no_use_of_the_key() {
    let format = || KeyFormat::builder("wfk_").public_id(8, '.').build().unwrap();
    let keys = ApiKeys::builder(MemoryStore::new(), format())
        .header("x-api-key")
        .without_route_table()
        .clock(ManualClock::starting_at(START))
        .count_usage()
        .build()
        .unwrap();
    let made = keys.manager().create(&operator(), NewKey::new("a")).await.unwrap();
    let other = keys.manager().create(&operator(), NewKey::new("b")).await.unwrap();
    let secret = made.secret.expose_secret();
    let (id, rest) = (made.key.id.to_string(), other.secret.expose_secret());
    let forged = format().generate(Mode::Live).unwrap();
    let forged = forged.secret.expose_secret().replace(forged.id.unwrap().as_str(), &id);
    let service = keys.layer().layer(service_fn(answer));
    for (key, status) in [(secret, 200), (rest, 200), (&*forged, 401)] {
        let request = Request::get("/200").header("x-api-key", key).body(()).unwrap();
        assert_eq!(service.clone().oneshot(request).await.unwrap().status(), status, "{key}");
    }
    keys.flush().await.unwrap();
    let usage = keys.manager().usage(&operator(), &hour()).await.unwrap();
    assert_eq!(shown(usage.rows[0].calls), "ok 2");
}

/// The category is that of the first limit of callers that counts a request, in one layer and in several, and however the request
/// ends.
#[tokio::test]
async fn requests_are_counted_in_the_category_of_their_limit() {
    let per_minute = |limit| Quota::per_minute(limit).unwrap();
    for several_layers in [false, true] {
        let revoked = record(REVOKED_KEY, |key| key.state = KeyState::Revoked { at: START });
        let keys = assembly(store([record(KEY, |_| {}), revoked]).await)
            .clock(ManualClock::starting_at(START))
            .client_address(ClientAddressSource::peer())
            .limit(RateLimit::per_address("addresses", per_minute(1_000)))
            .limit(RateLimit::per_key("slow", per_minute(2)).only_route("GET", "/runs/{status}"))
            .limit(
                RateLimit::per_organization("all", per_minute(1_000))
                    .route("GET", "/files/{status}", "files", per_minute(1_000))
                    .without_route("GET", "/health/{status}"),
            )
            .route("GET", "/runs/{status}", "workflows:read")
            .route("GET", "/files/{status}", "workflows:write")
            .route("GET", "/health/{status}", "workflows:read")
            .route("GET", "/{status}", "workflows:read")
            .count_usage()
            .build()
            .unwrap();
        let all = service_fn(answer);
        let service = if several_layers {
            let layers = ServiceBuilder::new()
                .layer(keys.limit_addresses())
                .layer(keys.authenticate())
                .layer(keys.rate_limit())
                .layer(keys.authorize());
            layers.service(all).boxed_clone()
        } else {
            keys.layer().layer(all).boxed_clone()
        };
        for (path, key, times) in [
            ("/200", KEY, 1),
            ("/runs/200", KEY, 3),
            ("/runs/200", REVOKED_KEY, 1),
            ("/files/200", KEY, 1),
            ("/health/200", KEY, 1),
        ] {
            for _ in 0..times {
                service.clone().oneshot(to(path, key)).await.unwrap();
            }
        }
        keys.flush().await.unwrap();
        let usage = keys.manager().usage(&operator(), &by(UsageGroup::Category)).await.unwrap();
        let rows: Vec<_> =
            usage.rows.iter().map(|row| (row.category.as_deref().unwrap(), shown(row.calls))).collect();
        let row = |category, counts: &str| (category, counts.to_owned());
        assert_eq!(
            rows,
            [
                row("", "ok 1"),
                row("all", "ok 1"),
                row("files", "forbidden 1"),
                row("slow", "ok 2, limited 1, refused 1")
            ],
            "several layers: {several_layers}"
        );
    }
}

#[tokio::test]
async fn a_service_that_fails_without_a_response_is_a_server_error() {
    let keys = assembly(store([record(KEY, |_| {})]).await)
        .clock(ManualClock::starting_at(START))
        .without_route_table()
        .count_usage()
        .build()
        .unwrap();
    let failing =
        service_fn(async |_: Request<()>| Err::<Response<Bytes>, BoxError>("connection reset".into()));
    keys.layer().layer(failing).oneshot(request(KEY)).await.unwrap_err();
    keys.flush().await.unwrap();
    let usage = keys.manager().usage(&operator(), &hour()).await.unwrap();
    assert_eq!(shown(usage.rows[0].calls), "server_error 1");
}

/// So many accepted requests of one key, in the hour of [`START`].
fn entry(owner: &Owner, key: &str, ok: u64) -> UsageEntry {
    let mut counts = UsageCounts::default();
    counts.add(UsageOutcome::Ok, ok);
    let hour = UsageBucket::Hour.start_of(START);
    UsageEntry::new(owner.clone(), key.parse().unwrap(), String::new(), hour, counts)
}

#[tokio::test]
async fn callers_see_the_usage_of_their_own_organization() {
    let globex = Owner::organization("globex".parse().unwrap(), Mode::Live);
    let acme_test = Owner { mode: Mode::Test, ..acme() };
    let reader = record(KEY, |key| key.scopes = ScopeSet::parse_list(["api-keys:read"]).unwrap());
    let store = store([reader, record(OTHER_KEY, |_| {})]).await;
    let entries = vec![entry(&acme(), "a", 1), entry(&acme_test, "t", 10), entry(&globex, "g", 100)];
    let batch = UsageBatch::new("p".parse().unwrap(), 1, START, entries);
    store.usage_log().unwrap().add(&batch).await.unwrap();
    let keys = assembly(store).clock(ManualClock::starting_at(START)).without_route_table().build().unwrap();
    let principal = async |key| {
        let seen = keys.layer().layer(service_fn(async |request: Request<()>| {
            let principal = Principal::from_extensions(request.extensions()).unwrap().clone();
            let mut response = Response::new(Bytes::new());
            response.extensions_mut().insert(Seen(principal));
            Ok::<_, Infallible>(response)
        }));
        let Seen(principal) = seen.oneshot(request(key)).await.unwrap().extensions_mut().remove().unwrap();
        Authority::principal(&principal)
    };
    let manager = keys.manager();
    let total = |usage: Usage| usage.rows.iter().map(|row| row.calls.total()).sum::<u64>();
    let mut of_globex = hour();
    (of_globex.owner, of_globex.keys) = (Some(globex.clone()), vec!["g".parse().unwrap()]);
    for (authority, query, calls) in [
        (principal(KEY).await, hour(), 1),
        (principal(KEY).await, of_globex.clone(), 0),
        (Authority::operator(globex), hour(), 100),
        (Authority::operator(acme_test), hour(), 10),
    ] {
        let usage = manager.usage(&authority, &query).await.unwrap();
        assert_eq!(total(usage), calls, "{authority:?} {query:?}");
    }
    let refused = manager.usage(&principal(OTHER_KEY).await, &hour()).await;
    assert!(matches!(refused, Err(ManageError::Forbidden(_))), "{refused:?}");
    assert_eq!(total(manager.usage_of_all(&hour()).await.unwrap()), 111);
    assert_eq!(total(manager.usage_of_all(&of_globex).await.unwrap()), 100);
}

#[derive(Clone)]
struct Seen(Principal);

#[tokio::test]
async fn a_query_that_cannot_be_answered_says_why() {
    let manager = KeyManager::new(store([]).await, format());
    let (before, after) = (Timestamp::from_unix_seconds(0), Timestamp::from_unix_seconds(u64::MAX));
    for (start, end, fault) in [
        (START, START, "end must be after the start"),
        (START, before, "end must be after the start"),
        (before, after, "bucket must be longer, or the time shorter or the keys fewer"),
    ] {
        let error =
            manager.usage(&operator(), &UsageQuery::new(start, end, UsageBucket::Hour)).await.unwrap_err();
        assert!(matches!(error, ManageError::Invalid(_)) && error.to_string().starts_with(fault), "{error}");
    }
    let without = KeyManager::new(ReadOnly::new(store([]).await), format());
    let error = without.usage(&operator(), &hour()).await.unwrap_err();
    assert!(matches!(error, ManageError::Store(_)), "{error}");
}

#[tokio::test]
async fn an_assembly_that_cannot_count_usage_is_refused() {
    let day = Duration::from_secs(24 * 60 * 60);
    let builder = || assembly(MemoryStore::new()).without_route_table();
    for (built, fault) in [
        (
            assembly(ReadOnly::new(MemoryStore::new())).without_route_table().count_usage().build(),
            "count_usage: the store keeps no usage",
        ),
        (builder().keep_usage_for(day, 2 * day).build(), "keep_usage_for: no usage is counted"),
        (builder().count_usage().keep_usage_for(day / 2, 2 * day).build(), "keep_usage_for: hours are kept"),
        (builder().count_usage().keep_usage_for(day, day).build(), "keep_usage_for: hours are kept"),
    ] {
        let error = built.unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
    }
    assert!(builder().count_usage().keep_usage_for(day, 2 * day).build().unwrap().health().needs_background);
    assert!(!builder().build().unwrap().health().needs_background);
}

#[tokio::test]
async fn old_usage_is_deleted_beside_requests() {
    let day = Duration::from_secs(24 * 60 * 60);
    let store = store([]).await;
    let entries = vec![entry(&acme(), "a", 1)];
    let batch = UsageBatch::new("p".parse().unwrap(), 1, START, entries);
    store.usage_log().unwrap().add(&batch).await.unwrap();
    let clock = ManualClock::starting_at(START.saturating_add(2 * day));
    let keys = assembly(store)
        .clock(clock.clone())
        .without_route_table()
        .count_usage()
        .keep_usage_for(day, 3 * day)
        .build()
        .unwrap();
    let background = tokio::spawn(keys.background());
    let total = async |bucket| {
        let query = UsageQuery::new(START, START.saturating_add(Duration::from_secs(1)), bucket);
        keys.manager().usage(&operator(), &query).await.unwrap().rows[0].calls.total()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while total(UsageBucket::Hour).await > 0 {
        assert!(std::time::Instant::now() < deadline, "hours of two days ago are deleted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(total(UsageBucket::Day).await, 1, "days are kept longer");
    background.abort();
}
