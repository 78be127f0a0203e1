//! One layer and four separate layers give the same response to every request.

use http::{Request, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::address::ClientAddressSource;
use tower_api_keys::{MemoryStore, Quota, RateLimit};

use crate::faults::{Combination, Layers, World, seen};
use crate::support::*;

#[tokio::test]
async fn one_layer_and_four_agree_on_every_combination_of_faults() {
    for answers in [Answers::AtOnce, Answers::Later] {
        for combination in Combination::all() {
            let mut responses = Vec::new();
            for layers in [Layers::One, Layers::Four] {
                let world = World::new(combination, answers, None).await;
                let response = world.ask(layers).await;
                let counted =
                    (world.remaining("key"), world.remaining("address"), world.guesses_left().await);
                responses.push((seen(&response), counted));
            }
            assert_eq!(responses[0], responses[1], "{combination:?} {answers:?}");
        }
    }
}

#[tokio::test]
async fn one_layer_and_four_agree_on_failing_and_panicking_stores() {
    for answers in [Answers::WithAnError, Answers::WithAPanic, Answers::WithAPanicLater] {
        let mut responses = Vec::new();
        for layers in [Layers::One, Layers::Four] {
            let world = World::new(Combination(0), answers, None).await;
            responses.push((
                seen(&world.ask(layers).await),
                world.remaining("key"),
                world.remaining("address"),
            ));
        }
        assert_eq!(responses[0], responses[1], "{answers:?}");
        assert_eq!(responses[0].0.0, http::StatusCode::SERVICE_UNAVAILABLE, "{answers:?}");
    }
}

#[tokio::test]
async fn a_preflight_passes_one_layer_and_four() {
    let keys = assembly(MemoryStore::new())
        .client_address(ClientAddressSource::peer())
        .limit(RateLimit::per_address("address", Quota::per_minute(1).unwrap()))
        .limit(RateLimit::per_key("key", Quota::per_minute(1).unwrap()))
        .route("GET", "/ships", "ships:read")
        .pass_cors_preflight()
        .build()
        .unwrap();
    let one = keys.layer().layer(service_fn(whoami));
    let several = keys.rate_limit().layer(keys.authorize().layer(service_fn(whoami)));
    let four = keys.limit_addresses().layer(keys.authenticate().layer(several));
    for _ in 0..2 {
        let preflight = || {
            let head = Request::options("/ships").header("origin", "https://acme.example");
            head.header("access-control-request-method", "GET").body(()).unwrap()
        };
        assert_eq!(one.clone().oneshot(preflight()).await.unwrap().status(), StatusCode::OK);
        assert_eq!(four.clone().oneshot(preflight()).await.unwrap().status(), StatusCode::OK);
    }
}
