//! A feature adds to what an application can ask for, and changes no answer.

use std::process::Command;

use crate::nested_cargo::without_variables_of_cargo;

/// Those that add modules for a server or for people. To build with each alone takes minutes, so `full` stands for them.
const ADDITIONS: [&str; 6] = ["cli", "console", "postgres", "redis", "sqlite", "tls"];

/// Those of `Cargo.toml`.
fn features() -> Vec<&'static str> {
    let (_, section) = include_str!("../../Cargo.toml").split_once("[features]").expect("there are features");
    let (section, _) = section.split_once("\n[").expect("another section follows");
    let names = section.lines().filter_map(|line| line.split_once(" = [")).map(|(name, _)| name);
    names.filter(|name| *name != "default").collect()
}

/// What `tests/features` prints, built with one feature of the crate.
fn answers(feature: &str) -> String {
    let feature = if feature.is_empty() { String::new() } else { format!("tower-api-keys/{feature}") };
    let output = without_variables_of_cargo(&mut Command::new(env!("CARGO")))
        .args(["run", "--quiet", "--package", "features", "--features", &feature])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{feature}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the answers are text")
}

#[test]
fn no_feature_changes_an_answer() {
    let without = answers("");
    for status in ["200 OK", "400 ", "401 ", "403 ", "404 ", "429 "] {
        assert!(without.lines().any(|line| line.starts_with(status)), "no answer is {status}:\n{without}");
    }
    let features = features();
    assert!(features.contains(&"full"), "{features:?}");
    for feature in features.into_iter().filter(|feature| !ADDITIONS.contains(feature)) {
        let with = answers(feature);
        for (number, (one, other)) in without.split("\n> ").zip(with.split("\n> ")).enumerate() {
            assert_eq!(one, other, "answer {number} without a feature and with {feature}");
        }
        assert_eq!(without, with, "{feature}");
    }
}

/// The names at the root do not collide with those that applications import beside them.
#[test]
fn the_root_can_be_imported_beside_axum() {
    use axum::{Router, routing::get};
    use tower_api_keys::*;

    let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_").expect("it is a prefix"))
        .header("x-api-key")
        .limit(RateLimit::per_key("requests", Quota::per_minute(1000).expect("it is a quota")))
        .route("GET", "/workflows", "workflows:read")
        .build()
        .expect("the assembly has no fault");
    let workflows = async |caller: Principal| caller.name().to_owned();
    let _: Router = Router::new().route("/workflows", get(workflows)).layer(keys.layer());
}
