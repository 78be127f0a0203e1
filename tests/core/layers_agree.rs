//! One layer or four: every request is answered alike.

use crate::faults::{Combination, Layers, World, seen};
use crate::support::*;

#[tokio::test]
async fn one_layer_and_four_answer_every_combination_of_faults_alike() {
    for answers in [Answers::AtOnce, Answers::Later] {
        for combination in Combination::all() {
            let mut responses = Vec::new();
            for layers in [Layers::One, Layers::Four] {
                let world = World::new(combination, answers, None).await;
                let response = world.ask(layers).await;
                let counted = (world.remaining("key"), world.remaining("address"), world.guesses_left().await);
                responses.push((seen(&response), counted));
            }
            assert_eq!(responses[0], responses[1], "{combination:?} {answers:?}");
        }
    }
}

#[tokio::test]
async fn stores_that_fail_or_panic_are_answered_alike() {
    for answers in [Answers::WithAnError, Answers::WithAPanic, Answers::WithAPanicLater] {
        let mut responses = Vec::new();
        for layers in [Layers::One, Layers::Four] {
            let world = World::new(Combination(0), answers, None).await;
            responses.push((seen(&world.ask(layers).await), world.remaining("key"), world.remaining("address")));
        }
        assert_eq!(responses[0], responses[1], "{answers:?}");
        assert_eq!(responses[0].0.0, http::StatusCode::SERVICE_UNAVAILABLE, "{answers:?}");
    }
}
