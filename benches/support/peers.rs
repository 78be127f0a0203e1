//! The same work with what others offer: tower-http's authorization, its asynchronous kind with a lookup written by hand,
//! and tower_governor. None of these has scopes, key states or a reset field; tower-http's `bearer` and `basic` know one
//! caller; tower_governor's limit is a leaky bucket.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use axum::body::Body;
use base64::prelude::{BASE64_STANDARD, Engine};
use governor::middleware::StateInformationMiddleware;
use http::header::AUTHORIZATION;
use http::{Response, StatusCode};
use sha2::{Digest, Sha256};
use tower::ServiceBuilder;
use tower_api_keys::limit::Quota;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};
use tower_http::auth::AsyncRequireAuthorizationLayer;
use tower_http::validate_request::ValidateRequestHeaderLayer;

use crate::support::{self, ASSEMBLED, Inner, KEYS, Request, Stack, X_API_KEY, good_keys, key, request};

/// All stacks, the baseline first.
#[allow(dead_code, reason = "the bench `loopback` has routers in their place")]
pub(crate) fn all(limit: u32) -> Vec<Stack> {
    let mut stacks = support::stacks(limit);
    stacks.extend(support::limits::stacks(limit));
    stacks.extend(self::stacks());
    stacks
}

/// What an application would want to know of the caller.
struct User {
    _organization: String,
    _scopes: Vec<String>,
}

fn stacks() -> Vec<Stack> {
    let plain: HashMap<String, Arc<User>> = (0..KEYS).map(|index| (key(index), user())).collect();
    let digested: HashMap<[u8; 32], Arc<User>> =
        (0..KEYS).map(|index| (Sha256::digest(key(index)).into(), user())).collect();
    let (plain, digested) = (Arc::new(plain), Arc::new(RwLock::new(digested)));

    let by_plain_key = AsyncRequireAuthorizationLayer::new(move |request: Request| {
        let users = plain.clone();
        async move {
            let user = presented(&request).and_then(|key| users.get(key).cloned());
            authorized(request, user)
        }
    });
    let by_digest = AsyncRequireAuthorizationLayer::new(move |request: Request| {
        let users = digested.clone();
        async move {
            let user = presented(&request).and_then(|key| {
                let digest: [u8; 32] = Sha256::digest(key).into();
                users.read().unwrap().get(&digest).cloned()
            });
            authorized(request, user)
        }
    });

    #[expect(deprecated, reason = "many applications still have them")]
    let (bearer, basic) =
        (ValidateRequestHeaderLayer::bearer(&key(0)), ValidateRequestHeaderLayer::basic(&key(0), ""));
    let pair = BASE64_STANDARD.encode(key(0) + ":");

    let builder = ServiceBuilder::new();
    vec![
        Stack::new(
            "peer: tower-http bearer, one token",
            StatusCode::OK,
            builder.clone().layer(bearer).service(Inner),
            vec![with_authorization("Bearer", &key(0))],
        ),
        Stack::new(
            "peer: tower-http basic, one pair",
            StatusCode::OK,
            builder.clone().layer(basic).service(Inner),
            vec![with_authorization("Basic", &pair)],
        ),
        Stack::new(
            "peer: async auth, map of plain keys",
            StatusCode::OK,
            builder.clone().layer(by_plain_key).service(Inner),
            good_keys(),
        ),
        Stack::new(
            "peer: async auth, sha256",
            StatusCode::OK,
            builder.clone().layer(by_digest.clone()).service(Inner),
            good_keys(),
        ),
        Stack::new(
            "peer: tower_governor",
            StatusCode::OK,
            builder.clone().layer(rate_limit()).service(Inner),
            good_keys(),
        ),
        Stack::new(
            ASSEMBLED,
            StatusCode::OK,
            builder.layer(by_digest).layer(rate_limit()).service(Inner),
            good_keys(),
        ),
    ]
}

pub(crate) fn rate_limit() -> GovernorLayer<ByKey, StateInformationMiddleware, Body> {
    let mut config = GovernorConfigBuilder::default().key_extractor(ByKey).use_headers();
    config.per_nanosecond(1_000).burst_size(Quota::MAX_LIMIT);
    GovernorLayer::new(config.finish().unwrap())
}

fn with_authorization(scheme: &str, credential: &str) -> Request {
    let mut request = request(None);
    request.headers_mut().insert(AUTHORIZATION, format!("{scheme} {credential}").parse().unwrap());
    request
}

fn user() -> Arc<User> {
    Arc::new(User { _organization: "acme".into(), _scopes: vec!["workflows:read".into()] })
}

fn presented(request: &Request) -> Option<&str> {
    request.headers().get(X_API_KEY)?.to_str().ok()
}

#[expect(clippy::result_large_err, reason = "what tower-http asks for")]
fn authorized(mut request: Request, user: Option<Arc<User>>) -> Result<Request, Response<Body>> {
    let Some(user) = user else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Err(response);
    };
    request.extensions_mut().insert(user);
    Ok(request)
}

/// Counts by the text of the key.
#[derive(Clone)]
pub(crate) struct ByKey;

impl KeyExtractor for ByKey {
    type Key = String;

    fn extract<B>(&self, request: &http::Request<B>) -> Result<String, GovernorError> {
        let value = request.headers().get(X_API_KEY).ok_or(GovernorError::UnableToExtractKey)?;
        value.to_str().map(str::to_owned).map_err(|_| GovernorError::UnableToExtractKey)
    }
}
