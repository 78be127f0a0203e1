//! When keys were last used, from the request to the listing.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::clock::{Clock, ManualClock, Timestamp};
use tower_api_keys::key::KeyState;
use tower_api_keys::manage::Authority;
use tower_api_keys::store::{KeyAdministration, KeyQuery, MemoryStore};

use crate::support::{KEY, OTHER_KEY, START, UNKNOWN_KEY, acme, assembly, record, request, whoami};

#[cfg(feature = "cache")]
#[tokio::test]
async fn a_use_is_stored_behind_a_cache() {
    use tower_api_keys::store::{CachedStore, KeyStore};

    let store = MemoryStore::new();
    let key = record(KEY, |_| {});
    store.insert(key.clone(), None).await.unwrap();
    CachedStore::new(store.clone()).record_last_use(&[(key.id, START)]).await.unwrap();
    assert_eq!(store.get(&acme(), &key.id).await.unwrap().unwrap().last_used_at, Some(START));
}

#[tokio::test]
async fn a_key_shows_when_it_was_last_used_with_success() {
    let clock = ManualClock::starting_at(START);
    let store = MemoryStore::new();
    let good = record(KEY, |_| {});
    let disabled = record(OTHER_KEY, |key| key.state = KeyState::Disabled);
    for key in [&good, &disabled] {
        store.insert(key.clone(), None).await.unwrap();
    }
    // The store behind a pointer, as an application may hold it.
    let shared: Arc<dyn KeyAdministration> = Arc::new(store.clone());
    let keys = assembly(shared).clock(clock.clone()).record_last_use().without_route_table().build().unwrap();
    let service = keys.layer().layer(service_fn(whoami));
    let manager = keys.manager();
    let shown = async || {
        let page = manager.list(&Authority::operator(acme()), &KeyQuery::default()).await.unwrap();
        let shown = |id| page.keys.iter().find(|key| key.id == id).unwrap().last_used_at;
        (shown(good.id), shown(disabled.id))
    };
    let version = async || store.get(&acme(), &good.id).await.unwrap().unwrap().version;

    let mut last = None;
    for (key, status) in [(KEY, StatusCode::OK), (KEY, StatusCode::OK), (OTHER_KEY, StatusCode::UNAUTHORIZED)]
    {
        clock.advance(Duration::from_secs(1));
        let response = service.clone().oneshot(request(Some(key))).await.unwrap();
        assert_eq!(response.status(), status);
        last = if status == StatusCode::OK { Some(clock.now().timestamp()) } else { last };
    }
    let response = service.clone().oneshot(request(Some(UNKNOWN_KEY))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(shown().await, (None, None), "no request writes");

    keys.flush().await.unwrap();
    assert_eq!(shown().await, (last, None));
    assert_eq!(version().await, good.version, "a use is no change");
    keys.flush().await.unwrap();
    manager.disable(&Authority::operator(acme()), &good.id).await.unwrap();
    assert_eq!(shown().await, (last, None), "a change takes no use back");
    assert_eq!(last, Some(Timestamp::from_unix_millis(START.as_unix_millis() + 2_000)));
}
