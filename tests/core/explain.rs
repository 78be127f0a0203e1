//! A request that is explained is decided like one that is sent, and has no effect.

use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::credential::{Companions, HeaderKey};
use tower_api_keys::identity::{OrganizationRule, Session};
use tower_api_keys::key::{ImportedHash, KeyId, KeyState, NextSecret, Peppers, SecretString};
use tower_api_keys::manage::ManageError;
use tower_api_keys::middleware::{Step, Trace};
use tower_api_keys::rejection::{Check, Rejection};
use tower_api_keys::{Access, ApiKeys, ApiKeysBuilder, MemoryStore, Principal, Quota, RateLimit};

use crate::faults::{Combination, Fault, Layers, World};
use crate::support::*;

/// What is decided: the check and the code, and the key of the caller or of the rejection.
fn verdict(rejection: Option<&Rejection>) -> Option<(Option<Check>, String, Option<String>)> {
    let rejection = rejection?;
    let id = rejection.key_id().map(ToString::to_string);
    Some((rejection.check(), rejection.reason().code().to_owned(), id))
}

#[track_caller]
fn assert_same(one: &Trace, other: &Trace, name: &str) {
    assert_eq!(one.steps().collect::<Vec<_>>(), other.steps().collect::<Vec<_>>(), "{name}");
    assert_eq!(verdict(one.rejection()), verdict(other.rejection()), "{name}");
    assert_eq!(one.principal().map(Principal::key_id), other.principal().map(Principal::key_id), "{name}");
    let waits = [one, other].map(|trace| trace.rejection().and_then(Rejection::retry_after));
    assert_eq!(waits[0], waits[1], "{name}");
}

/// The identifier of the stored key with this text.
fn id_of(key: &'static str) -> KeyId {
    record(key, |_| {}).id
}

#[tokio::test]
async fn it_agrees_with_the_layer_on_every_combination_of_faults_and_spends_nothing() {
    for answers in [Answers::AtOnce, Answers::Later] {
        for combination in Combination::all() {
            let name = format!("{combination:?} {answers:?}");
            let world = World::new(combination, answers, None).await;
            let before = (world.remaining("key"), world.remaining("address"));
            let trace = world.explain().await;
            assert_eq!((world.remaining("key"), world.remaining("address")), before, "{name}");
            let again = world.explain().await;
            assert_eq!(verdict(trace.rejection()), verdict(again.rejection()), "{name}");
            let response = world.ask(Layers::One).await;
            let sent = response.extensions().get::<Rejection>();
            assert_eq!(verdict(trace.rejection()), verdict(sent), "{name}");
            let sent = sent.and_then(Rejection::retry_after);
            assert_eq!(trace.rejection().and_then(Rejection::retry_after), sent, "{name}");
        }
    }
}

#[tokio::test]
async fn without_the_secret_it_says_the_same_as_with_it() {
    for answers in [Answers::AtOnce, Answers::Later] {
        for combination in Combination::all() {
            // The faults of a credential, which there is none of.
            if [Fault::Extraction, Fault::Format, Fault::Lookup].iter().any(|fault| combination.has(*fault)) {
                continue;
            }
            let name = format!("{combination:?} {answers:?}");
            let world = World::new(combination, answers, None).await;
            let before = (world.remaining("key"), world.remaining("address"));
            let (with, without) = (world.explain().await, world.explain_key(&id_of(KEY)).await.unwrap());
            assert_eq!((world.remaining("key"), world.remaining("address")), before, "{name}");
            assert_same(&with, &without, &name);
        }
    }
    let world = World::new(Combination(0), Answers::AtOnce, None).await;
    let unknown = world.explain_key(&id_of(OTHER_KEY)).await;
    assert!(matches!(unknown, Err(ManageError::NotFound)), "{unknown:?}");
}

#[tokio::test]
async fn without_the_secret_the_key_is_in_the_first_place_for_keys() {
    let empty = async || ApiKeys::builder(store([record(KEY, |_| {})]).await, format());
    let no_sessions = |keys: ApiKeysBuilder| {
        keys.sessions(|_: &SecretString| None::<Session>).organization(OrganizationRule::context())
    };
    for (keys, scheme) in [
        (empty().await.bearer().header("x-api-key"), "Bearer"),
        (empty().await.header("x-api-key").bearer(), "ApiKey"),
        (no_sessions(empty().await.bearer()), "Bearer"),
        (no_sessions(empty().await.bearer().header("x-api-key")), "ApiKey"),
    ] {
        let keys = keys.without_route_table().build().unwrap();
        let trace = keys.explain_key(&id_of(KEY), &Request::new(()).into_parts().0).await.unwrap();
        assert_eq!(trace.principal().map(Principal::scheme), Some(scheme));
    }
}

#[tokio::test]
async fn without_the_secret_a_key_that_nothing_verifies_is_rejected_as_with_it() {
    let pepper = Peppers::new(1, "a pepper of thirty-two bytes, or more".into()).unwrap();
    let imported =
        ImportedHash::from_str("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW").unwrap();
    let of_pepper = |pepper_id| {
        let digest = pepper.digest_with(KEY, pepper_id);
        record(KEY, |key| key.digest = digest.unwrap_or_else(|| Peppers::none().digest(KEY)))
    };
    for (peppers, stored, want) in [
        (Peppers::none(), of_pepper(Some(1)), Some("pepper_missing")),
        (pepper.clone(), of_pepper(None), Some("pepper_missing")),
        (pepper.clone(), of_pepper(Some(1)), None),
        (pepper.clone().accept_unpeppered(), of_pepper(None), None),
    ] {
        let keys = assembly(store([stored]).await).peppers(peppers).without_route_table().build().unwrap();
        let trace = keys.explain_key(&id_of(KEY), &Request::new(()).into_parts().0).await.unwrap();
        assert_eq!(trace.rejection().map(|rejection| rejection.reason().code()), want);
    }
    let operator = tower_api_keys::Authority::operator(acme());
    for (verifies, want) in [(true, None), (false, Some("misconfigured"))] {
        let mut keys = assembly(MemoryStore::new()).without_route_table();
        if verifies {
            keys = keys
                .verify_imported(|_, _| panic!("there is no secret to verify"))
                .client_address(ClientAddressSource::peer())
                .throttle_bad_credentials(Quota::per_minute(5).unwrap());
        }
        let keys =
            keys.also_accept(tower_api_keys::KeyFormat::builder("old_").public_id(8, '.').build().unwrap());
        let (keys, id) = (keys.build().unwrap(), "tN8qJz0b".parse().unwrap());
        let new = tower_api_keys::NewKey::new("Old");
        keys.manager().import_hash(&operator, new, id, imported.clone(), "").await.unwrap();
        let mut request = Request::new(());
        request.extensions_mut().insert(PeerAddress([192, 0, 2, 1].into()));
        let trace = keys.explain_key(&id, &request.into_parts().0).await.unwrap();
        assert_eq!(trace.rejection().map(|rejection| rejection.reason().code()), want);
    }
}

#[tokio::test]
async fn bad_credentials_are_not_counted() {
    let limited = Quota::per_minute(1).unwrap();
    let keys = assembly(MemoryStore::new())
        .client_address(ClientAddressSource::peer())
        .throttle_bad_credentials(limited)
        .without_route_table()
        .build()
        .unwrap();
    let bad = || {
        let mut request = request(UNKNOWN_KEY);
        request.extensions_mut().insert(PeerAddress([192, 0, 2, 1].into()));
        request
    };
    for _ in 0..3 {
        let trace = keys.explain(&bad().into_parts().0).await;
        assert_eq!(trace.rejection().unwrap().reason().code(), "key_unknown");
    }
    send(&keys, bad()).await;
    let trace = keys.explain(&bad().into_parts().0).await;
    assert_eq!(trace.rejection().unwrap().reason().code(), "throttled");
    let steps: Vec<_> = trace.steps().map(|(_, step)| step).collect();
    assert_eq!(steps[..4], [Step::Passed, Step::Passed, Step::Rejected, Step::NotReached]);
}

#[tokio::test]
async fn a_use_that_would_change_the_key_does_not() {
    let pepper = || "a pepper of thirty-two bytes, or more".into();
    let next = |digest| NextSecret { digest, hint: String::new(), created_at: START, grace: Duration::ZERO };
    let hash: ImportedHash = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".parse().unwrap();
    let found_by_id = || tower_api_keys::KeyFormat::builder("old_").public_id(8, '.').build().unwrap();
    let imported = "old_tN8qJz0b.abc123def456ghi789jkl012mno345pq";
    let next_secret = record(OTHER_KEY, |key| {
        key.extras_mut().next = Some(Box::new(next(Peppers::none().digest(KEY))));
    });
    let keys = MemoryStore::new();
    let memory = store([next_secret]).await;
    for (name, stored, key) in [
        ("a next secret, and a pepper", memory, KEY),
        ("a pepper", store([record(KEY, |_| {})]).await, KEY),
        ("an imported hash", keys, imported),
    ] {
        let store = TestStore::new(stored, Answers::AtOnce);
        let keys = assembly(store.clone())
            .also_accept(found_by_id())
            .verify_imported(|_, _| true)
            .client_address(ClientAddressSource::peer())
            .throttle_bad_credentials(Quota::per_minute(5).unwrap())
            .peppers(Peppers::new(1, pepper()).unwrap().accept_unpeppered())
            .without_route_table()
            .build()
            .unwrap();
        if key == imported {
            let operator = tower_api_keys::Authority::operator(acme());
            let (new, id) = (tower_api_keys::NewKey::new("Old"), "tN8qJz0b".parse().unwrap());
            keys.manager().import_hash(&operator, new, id, hash.clone(), "").await.unwrap();
        }
        let request = || {
            let mut request = request(key);
            request.extensions_mut().insert(PeerAddress([192, 0, 2, 1].into()));
            request
        };
        for _ in 0..2 {
            let trace = keys.explain(&request().into_parts().0).await;
            assert!(trace.rejection().is_none(), "{name}: {:?}", trace.rejection());
            assert!(trace.steps().all(|(_, step)| step == Step::Passed), "{name}");
            assert!(trace.principal().is_some(), "{name}");
        }
        assert_eq!(store.refreshed.load(Ordering::SeqCst), 0, "{name}: it was stored");
        assert_eq!(send(&keys, request()).await.status(), 200, "{name}");
        assert_eq!(store.refreshed.load(Ordering::SeqCst), 1, "{name}: the request itself does store it");
    }
}

#[tokio::test]
async fn it_agrees_with_the_layer_on_routes_callers_and_companions() {
    const SECRET: &str = "app_abc123def456ghi789jkl012mno345pq";
    let secret = HeaderKey::new("x-secret".parse().unwrap(), tower_api_keys::KeyFormat::new("app_").unwrap());
    let disabled = record(OTHER_KEY, |key| key.state = KeyState::Disabled);
    let stored = store([record(KEY, |_| {}), record(SECRET, |_| {}), disabled]).await;
    let with_companions = assembly(stored.clone())
        .companions(Companions::new(secret))
        .route("GET", "/", "workflows:read")
        .build()
        .unwrap();
    let plain = |change: fn(tower_api_keys::ApiKeysBuilder) -> tower_api_keys::ApiKeysBuilder| {
        let keys = assembly(stored.clone())
            .route("GET", "/", "workflows:read")
            .route("POST", "/", "workflows:write")
            .route("GET", "/own", Access::AnyKey)
            .public("GET", "/health")
            .limit(RateLimit::per_key("requests", Quota::per_minute(1000).unwrap()))
            .limit(
                RateLimit::per_key("dear", Quota::per_minute(5).unwrap())
                    .cost(|request| if request.uri.path() == "/own" { 6 } else { 0 }),
            );
        change(keys).build().unwrap()
    };
    let assemblies = [
        plain(|keys| keys),
        plain(|keys| keys.allow_anonymous()),
        plain(|keys| keys.pass_cors_preflight()),
        with_companions,
    ];
    let mut codes = std::collections::BTreeSet::new();
    for (index, keys) in assemblies.iter().enumerate() {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
            for path in ["/", "/own", "/health", "/nowhere", "//"] {
                for key in [None, Some(KEY), Some(OTHER_KEY), Some(UNKNOWN_KEY), Some("junk")] {
                    for other in [None, Some(SECRET), Some("app_000000def456ghi789jkl012mno345pq")] {
                        let mut head = Request::builder().method(method.clone()).uri(path);
                        head = head.header("origin", "https://acme.example");
                        head = head.header("access-control-request-method", "GET");
                        for (name, value) in [("x-api-key", key), ("x-secret", other)] {
                            head = value.into_iter().fold(head, |head, value| head.header(name, value));
                        }
                        let request = head.body(()).unwrap();
                        let trace = keys.explain(&request.clone().into_parts().0).await;
                        if let Some(key @ (KEY | OTHER_KEY)) = key {
                            let mut head = request.clone().into_parts().0;
                            head.headers.remove("x-api-key");
                            let without = keys.explain_key(&id_of(key), &head).await.unwrap();
                            assert_same(
                                &trace,
                                &without,
                                &format!("{index} {method} {path} {key} {other:?}"),
                            );
                        }
                        let response = send(keys, request).await;
                        let sent = response.extensions().get::<Rejection>();
                        let name = format!("{index} {method} {path} {key:?} {other:?}");
                        assert_eq!(verdict(trace.rejection()), verdict(sent), "{name}");
                        assert_eq!(trace.rejection().is_none(), response.status() == 200, "{name}");
                        codes.extend(sent.map(|rejection| rejection.reason().code()));
                    }
                }
            }
        }
    }
    let met = [
        "companion_invalid",
        "companion_missing",
        "cost_exceeds_limit",
        "credential_malformed",
        "credential_missing",
        "key_disabled",
        "key_unknown",
        "path_not_canonical",
        "route_not_covered",
        "scope_missing",
        "session_token_missing",
    ];
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), met);
}

async fn send(keys: &ApiKeys, request: Request<()>) -> Response<Bytes> {
    ServiceBuilder::new().layer(keys.layer()).service(service_fn(whoami)).oneshot(request).await.unwrap()
}
