//! When keys were last used, from the request to the listing.

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use support::{KEY, OTHER_KEY, START, UNKNOWN_KEY, acme, format, header_key, record, request, whoami};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::AuthenticateLayer;
use tower_api_keys::clock::{Clock, ManualClock, Timestamp};
use tower_api_keys::key::KeyState;
use tower_api_keys::manage::{Authority, KeyManager};
use tower_api_keys::outcome::LastUse;
use tower_api_keys::store::{KeyAdministration, KeyQuery, MemoryStore};

#[tokio::test]
async fn r85_a_key_shows_when_it_was_last_used_with_success() {
    let clock = ManualClock::starting_at(START);
    let store = MemoryStore::new();
    let good = record(KEY, |_| {});
    let disabled = record(OTHER_KEY, |key| key.state = KeyState::Disabled);
    for key in [&good, &disabled] {
        store.insert(key.clone()).await.unwrap();
    }
    let last_use = LastUse::new();
    let service = AuthenticateLayer::new(store.clone(), header_key())
        .with_clock(clock.clone())
        .with_last_use(last_use.clone())
        .layer(service_fn(whoami));
    let manager = KeyManager::new(store.clone(), format()).with_clock(clock.clone());
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

    last_use.write_to(&store).await.unwrap();
    assert_eq!(shown().await, (last, None));
    assert_eq!(version().await, good.version, "a use is no change");
    last_use.write_to(&(Arc::new(store.clone()) as Arc<dyn KeyAdministration>)).await.unwrap();
    manager.disable(&Authority::operator(acme()), &good.id).await.unwrap();
    assert_eq!(shown().await, (last, None), "a change takes no use back");
    assert_eq!(last, Some(Timestamp::from_unix_millis(START.as_unix_millis() + 2_000)));
}
