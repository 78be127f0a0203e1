//! Two processes that serve the same preset, with limiters they share: each limit holds for both together.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::PeerAddress;
use tower_api_keys::credential::SessionTokens;
use tower_api_keys::key::{Mode, Owner, SecretString};
use tower_api_keys::limit::{MemoryRateLimiter, Quota, RateLimiter};
use tower_api_keys::manage::{Authority, KeyManager, NewKey};
use tower_api_keys::presets::justpaid::JustPaid;
use tower_api_keys::presets::pasby::Pasby;
use tower_api_keys::presets::payment_gateway::{self, PaymentGateway};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::MemoryStore;

type Process = BoxCloneService<Request<()>, Response<Bytes>, Infallible>;

async fn key(manager: &KeyManager, scopes: &[&str]) -> SecretString {
    let owner = Owner::organization("acme".parse().unwrap(), Mode::Test);
    let scopes = ScopeSet::parse_list(scopes.iter().copied()).unwrap();
    manager.create(&Authority::operator(owner), NewKey::new("key").scopes(scopes)).await.unwrap().secret
}

async fn send(process: &Process, field: &str, value: String) -> StatusCode {
    let mut request = Request::get("/workflows").header(field, value).body(()).unwrap();
    request.extensions_mut().insert(PeerAddress("192.0.2.1".parse().unwrap()));
    process.clone().oneshot(request).await.unwrap().status()
}

/// Sends to both in turn until the one that is asked refuses, and says how many were let through.
async fn admitted(processes: [Process; 2], field: &str, value: String) -> u32 {
    for number in 0..10_000 {
        let process = &processes[number % 2];
        if send(process, field, value.clone()).await == StatusCode::TOO_MANY_REQUESTS {
            return u32::try_from(number).unwrap();
        }
    }
    panic!("there is a limit")
}

macro_rules! process {
    ($($layer:expr),*) => {
        BoxCloneService::new(
            ServiceBuilder::new()$(.layer($layer))*
                .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::new())))),
        )
    };
}

#[tokio::test]
async fn r72_justpaid_counts_a_category_with_one_limiter_in_all_processes() {
    let store = MemoryStore::new();
    let made: Arc<Mutex<HashMap<String, Arc<dyn RateLimiter>>>> = Arc::default();
    let make = {
        let made = made.clone();
        move |category: &str, quota| -> Arc<dyn RateLimiter> {
            let new = || Arc::new(MemoryRateLimiter::builder(category, quota).build());
            made.lock().unwrap().entry(category.to_owned()).or_insert_with(|| new()).clone()
        }
    };
    let process = || {
        let preset = JustPaid::new(store.clone()).with_limiters(make.clone());
        process!(preset.authenticate(), preset.rate_limit().unwrap())
    };
    let secret = key(&JustPaid::new(store.clone()).key_manager(), &["workflows:read"]).await;
    let processes = [process(), process()];
    assert_eq!(admitted(processes, "x-api-key", secret.expose_secret().into()).await, 1000);
    let mut categories: Vec<_> = made.lock().unwrap().keys().cloned().collect();
    categories.sort();
    assert_eq!(categories, ["execute", "read", "write"]);
}

#[tokio::test]
async fn r72_payment_gateway_counts_callers_with_one_limiter_in_all_processes() {
    let store = MemoryStore::new();
    let [five_minutes, minute] = payment_gateway::quotas();
    let limiter = MemoryRateLimiter::builder("api", five_minutes).quota(minute).unwrap();
    let limiter: Arc<dyn RateLimiter> = Arc::new(limiter.build());
    let process = || {
        let preset = PaymentGateway::new(store.clone()).with_limiter(limiter.clone());
        process!(preset.authenticate(), preset.rate_limit())
    };
    let secret = key(&PaymentGateway::new(store.clone()).key_manager(), &["transaction:read"]).await;
    let bearer = format!("Bearer {}", secret.expose_secret());
    assert_eq!(admitted([process(), process()], "authorization", bearer).await, 100);
}

#[tokio::test]
async fn r72_pasby_counts_addresses_with_one_limiter_in_all_processes() {
    let tokens = SessionTokens::new("0123456789abcdef0123456789abcdef".into()).unwrap();
    let limiter = MemoryRateLimiter::builder("address", Quota::per_minute(100).unwrap()).build();
    let limiter: Arc<dyn RateLimiter> = Arc::new(limiter);
    let process = || {
        let preset = Pasby::new(MemoryStore::new(), tokens.clone()).with_address_limiter(limiter.clone());
        process!(preset.address_limit())
    };
    assert_eq!(admitted([process(), process()], "x-api-key", "whoever".into()).await, 100);
}
