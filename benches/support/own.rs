//! This crate's stacks: each part added in turn, then each way to be rejected.

use std::time::Duration;

use http::StatusCode;
use tower::ServiceBuilder;
use tower_api_keys::presets::justpaid::{self, justpaid};
use tower_api_keys::rejection::ErrorTable;
use tower_api_keys::{ApiKeys, ApiKeysBuilder, MemoryStore, Quota, RateLimit};

use super::{
    BASELINE, Inner, Stack, WHOLE, WHOLE_WITHOUT_IETF_FIELDS, good_keys, keys_without_scope, malformed_keys,
    request, revoked_keys, store, unknown_keys,
};

/// `limit` is that of each key in a day; a key that sends more than that is rejected.
pub(crate) fn stacks(limit: u32) -> Vec<Stack> {
    const OK: StatusCode = StatusCode::OK;
    const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

    let store = store();
    let generous = preset(store.clone(), limit).build().unwrap();
    let counted = preset(store.clone(), limit).count_usage().build().unwrap();
    let strict = preset(store.clone(), 1).build().unwrap();
    let without_ietf_fields = without_ietf_fields(store.clone(), limit).build().unwrap();
    let whole = |keys: &ApiKeys<ErrorTable>| ServiceBuilder::new().layer(keys.layer()).service(Inner);
    let authenticate = ServiceBuilder::new().layer(generous.authenticate());

    vec![
        Stack::new(BASELINE, OK, Inner, good_keys()),
        Stack::new("authenticate", OK, authenticate.clone().service(Inner), good_keys()),
        Stack::new(
            "authenticate, scopes",
            OK,
            authenticate.clone().layer(generous.authorize()).service(Inner),
            good_keys(),
        ),
        Stack::new(
            "authenticate, rate limit",
            OK,
            authenticate.layer(generous.rate_limit()).service(Inner),
            good_keys(),
        ),
        Stack::new(
            "authenticate, rate limit without IETF fields",
            OK,
            ServiceBuilder::new()
                .layer(without_ietf_fields.authenticate())
                .layer(without_ietf_fields.rate_limit())
                .service(Inner),
            good_keys(),
        ),
        Stack::new(
            WHOLE_WITHOUT_IETF_FIELDS,
            OK,
            ServiceBuilder::new().layer(without_ietf_fields.layer()).service(Inner),
            good_keys(),
        ),
        #[cfg(feature = "coarse-clock")]
        Stack::new(
            "whole stack without IETF fields, coarse clock",
            OK,
            ServiceBuilder::new()
                .layer(
                    self::without_ietf_fields(store, limit)
                        .clock(tower_api_keys::clock::CoarseClock)
                        .build()
                        .unwrap()
                        .layer(),
                )
                .service(Inner),
            good_keys(),
        ),
        Stack::new(WHOLE, OK, whole(&generous), good_keys()),
        Stack::new("whole stack, accepted, usage counted", OK, whole(&counted), good_keys()),
        Stack::new("no credential, 401", UNAUTHORIZED, whole(&generous), vec![request(None)]),
        Stack::new("malformed key, 401", UNAUTHORIZED, whole(&generous), malformed_keys()),
        Stack::new("unknown key, 401", UNAUTHORIZED, whole(&generous), unknown_keys()),
        Stack::new("revoked key, 401", UNAUTHORIZED, whole(&generous), revoked_keys()),
        Stack::new("over the limit, 429", StatusCode::TOO_MANY_REQUESTS, whole(&strict), good_keys()),
        Stack::new("scope missing, 403", StatusCode::FORBIDDEN, whole(&generous), keys_without_scope()),
    ]
}

/// A day, so that a bench does not outlast its limits.
const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn preset(store: MemoryStore, limit: u32) -> ApiKeysBuilder<ErrorTable> {
    justpaid(store).limits(justpaid::limits(limit, limit, limit, 10_000, WINDOW).unwrap())
}

/// The preset for good keys, but for the fields and for routes with a limit of their own.
pub(crate) fn without_ietf_fields(store: MemoryStore, limit: u32) -> ApiKeysBuilder {
    ApiKeys::builder(store, justpaid::key_format())
        .header("x-api-key")
        .routes(ROUTES)
        .limit(RateLimit::per_key("read", Quota::new(limit, WINDOW).unwrap()))
}

/// The preset's.
const ROUTES: [(&str, &str, &str); 16] = [
    ("GET", "/workflows", "workflows:read"),
    ("GET", "/workflows/:id", "workflows:read"),
    ("POST", "/workflows", "workflows:write"),
    ("PUT", "/workflows/:id", "workflows:write"),
    ("DELETE", "/workflows/:id", "workflows:write"),
    ("POST", "/workflows/:id/run", "workflows:execute"),
    ("POST", "/runs/:id/cancel", "workflows:execute"),
    ("POST", "/runs/:id/retry", "workflows:execute"),
    ("GET", "/runs", "runs:read"),
    ("GET", "/runs/:id", "runs:read"),
    ("GET", "/connections", "connections:read"),
    ("POST", "/connections", "connections:write"),
    ("DELETE", "/connections/:id", "connections:write"),
    ("GET", "/auth/api-keys", "api-keys:read"),
    ("POST", "/auth/api-keys", "api-keys:write"),
    ("DELETE", "/auth/api-keys/:id", "api-keys:write"),
];
