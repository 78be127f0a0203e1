//! A request with several faults is rejected by the first check it fails.

use std::num::NonZeroU32;

use http::StatusCode;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::ClientAddressSource;
use tower_api_keys::{MemoryStore, Quota, RateLimit};

use crate::faults::{Combination, FAULTS, Fault, Layers, World};
use crate::support::*;

#[tokio::test]
async fn the_first_failed_check_rejects_for_every_combination_of_faults() {
    assert!(FAULTS.is_sorted_by_key(|(fault, ..)| *fault));
    // Except for the limit of addresses, which runs before all checks.
    assert!(FAULTS[1..].is_sorted_by_key(|(_, check, _)| *check));
    for answers in [Answers::AtOnce, Answers::Later] {
        for combination in Combination::all() {
            let name = format!("{combination:?} {answers:?}");
            let world = World::new(combination, answers, None).await;
            let response = world.ask(Layers::One).await;
            let first = combination.first();
            match first {
                Some((_, check, status)) => {
                    let rejection = rejection(&response);
                    assert_eq!((rejection.check(), response.status()), (Some(check), status), "{name}");
                }
                None => assert_eq!(response.status(), StatusCode::OK, "{name}"),
            }
            let first = first.map(|(fault, ..)| fault);
            // Only an authenticated caller learns of its limit, and only its requests use it.
            let category =
                response.headers().get("ratelimit").map(|field| field.to_str().unwrap().to_owned());
            let expected = match first {
                Some(Fault::AddressLimit) => "\"address\"",
                Some(first) if first < Fault::RateLimit => "\"address\"",
                _ => "\"key\"",
            };
            assert!(
                category.as_ref().is_some_and(|field| field.starts_with(expected)),
                "{name}: {category:?}"
            );
            let before = if combination.has(Fault::RateLimit) { 0 } else { 2 };
            let spent = u32::from(first.is_none_or(|first| first > Fault::RateLimit));
            assert_eq!(world.remaining("key"), before - spent, "{name}: what is left of the key's limit");
            let before = if combination.has(Fault::AddressLimit) { 0 } else { 2 };
            let spent = u32::from(first != Some(Fault::AddressLimit));
            assert_eq!(world.remaining("address"), before - spent, "{name}: what is left of the address's");
            // Only a lookup that finds a bad credential counts as a guess.
            let before = if combination.has(Fault::Throttle) { 0 } else { 2 };
            let counted = u32::from(matches!(first, Some(Fault::Lookup | Fault::State)));
            assert_eq!(world.guesses_left().await, before - counted, "{name}: what is left of the guesses");
        }
    }
}

#[tokio::test]
async fn layers_in_the_wrong_order_reject_all_requests_and_log_what_is_missing() {
    let keys = assembly(MemoryStore::new())
        .allow_anonymous()
        .route("GET", "/", "a:b")
        .client_address(ClientAddressSource::peer())
        .limit(RateLimit::per_key("all", Quota::per_minute(2).unwrap()))
        .limit(RateLimit::per_address("address", Quota::per_minute(2).unwrap()))
        .build()
        .unwrap();

    let limit_outside = ServiceBuilder::new().layer(keys.rate_limit()).layer(keys.authenticate());
    let response = limit_outside.service(service_fn(whoami)).oneshot(request(None)).await.unwrap();
    rejected(
        response,
        "`rate_limit` needs `authenticate` outside it: add that layer later to an axum router, or earlier to",
    );
    let response = keys_alone(keys.authorize()).await;
    rejected(response, "`authorize` needs `authenticate` outside it");
    let response = keys_alone(keys.require("a:b")).await;
    rejected(response, "`require` needs `layer` or `authenticate` outside it");
    let response = keys_alone(keys.limit_addresses()).await;
    rejected(response, "PeerAddress");
    let response = keys_alone(keys.layer()).await;
    rejected(response, "PeerAddress");

    async fn keys_alone(layer: tower_api_keys::middleware::ApiKeysLayer) -> http::Response<bytes::Bytes> {
        ServiceBuilder::new().layer(layer).service(service_fn(whoami)).oneshot(request(None)).await.unwrap()
    }

    fn rejected(response: http::Response<bytes::Bytes>, word: &str) {
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let rejection = rejection(&response);
        assert!(rejection.reason().to_string().contains(word), "{}", rejection.reason());
        assert!(
            !std::str::from_utf8(response.body()).unwrap().contains("ayer"),
            "the client must not learn the reason"
        );
    }
}

#[tokio::test]
async fn a_limit_stored_with_the_key_replaces_the_category_s() {
    let stored = record(KEY, |key| key.extras_mut().limits = [("all".into(), NonZeroU32::MIN)].into());
    let keys = assembly(store([stored]).await)
        .without_route_table()
        .limit(RateLimit::per_key("all", Quota::per_minute(5).unwrap()))
        .build()
        .unwrap();
    let ask = async || {
        let service = ServiceBuilder::new().layer(keys.layer()).service(service_fn(whoami::<()>));
        service.oneshot(request(KEY)).await.unwrap()
    };
    assert_eq!(ask().await.headers()["x-ratelimit-limit"], "1");
    assert_eq!(ask().await.status(), StatusCode::TOO_MANY_REQUESTS);
}
