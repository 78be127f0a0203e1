//! Several limits in one layer and in a layer each, and each kind of limit alone, behind authentication.

use std::time::Duration;

use http::StatusCode;
use tower::ServiceBuilder;
use tower_api_keys::limit::Subject;
use tower_api_keys::presets::justpaid;
use tower_api_keys::{ApiKeys, MemoryStore, Quota, RateLimit};

use super::{Inner, Stack, good_keys, store};

/// `limit` is that of each key in a day.
pub(crate) fn stacks(limit: u32) -> Vec<Stack> {
    let store = store();
    let quota = |limit| Quota::new(limit, Duration::from_secs(24 * 60 * 60)).unwrap();
    let key = || RateLimit::per_key("key", quota(limit));
    // All keys are of one organization.
    let organization = || RateLimit::per_organization("organization", quota(Quota::MAX_LIMIT));
    let tenant =
        || RateLimit::per("tenant", quota(limit), |_, principal| Some(Subject::Key(*principal.key_id())));
    let keys = |rules: Vec<RateLimit>| assembly(store.clone(), rules);
    let one_layer = |name, rules| {
        let layer = keys(rules).layer();
        Stack::new(name, StatusCode::OK, ServiceBuilder::new().layer(layer).service(Inner), good_keys())
    };
    let by_key = keys(vec![key()]);
    let in_two = ServiceBuilder::new().layer(by_key.layer()).layer(keys(vec![organization()]).rate_limit());
    let in_three = in_two.clone().layer(keys(vec![tenant()]).rate_limit());
    vec![
        one_layer("limits: one", vec![key()]),
        one_layer("limits: two in one layer", vec![key(), organization()]),
        Stack::new("limits: two in two layers", StatusCode::OK, in_two.service(Inner), good_keys()),
        one_layer("limits: three in one layer", vec![key(), organization(), tenant()]),
        Stack::new("limits: three in three layers", StatusCode::OK, in_three.service(Inner), good_keys()),
        one_layer("limits: charged", vec![key().charged()]),
        one_layer("limits: at a time", vec![RateLimit::per_key("key", Quota::concurrent(10).unwrap())]),
        one_layer("limits: a month", vec![RateLimit::per_key("key", Quota::per_month(u32::MAX).unwrap())]),
    ]
}

fn assembly(store: MemoryStore, rules: Vec<RateLimit>) -> ApiKeys {
    let keys = ApiKeys::builder(store, justpaid::key_format()).header("x-api-key").without_route_table();
    keys.limits(rules).build().unwrap()
}
