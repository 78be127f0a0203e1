//! Two processes that serve the same preset, with limiters they share: each limit holds for both together.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::PeerAddress;
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::credential::SessionTokens;
use tower_api_keys::key::{Mode, Owner, SecretString};
use tower_api_keys::limit::{MemoryRateLimiter, RateLimiter};
use tower_api_keys::manage::KeyManager;
use tower_api_keys::presets::justpaid::justpaid;
use tower_api_keys::presets::pasby::pasby;
use tower_api_keys::presets::payment_gateway::payment_gateway;
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::{Authority, MemoryStore, NewKey, Quota};

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

/// Sends to both in turn until one rejects; returns how many requests were admitted.
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

/// Makes one limiter for a category, even for several processes; and keeps all limiters made.
fn shared() -> (impl Fn(&str, &[Quota]) -> Arc<dyn RateLimiter> + Clone + Send + Sync + 'static, Limiters) {
    let limiters = Limiters::default();
    let made = limiters.clone();
    let make = move |category: &str, quotas: &[Quota]| -> Arc<dyn RateLimiter> {
        let new = || Arc::new(MemoryRateLimiter::new(category, quotas, SystemClock.now()).unwrap());
        made.lock().unwrap().entry(category.to_owned()).or_insert_with(|| new()).clone()
    };
    (make, limiters)
}

type Limiters = Arc<Mutex<BTreeMap<String, Arc<dyn RateLimiter>>>>;

#[tokio::test]
async fn justpaid_counts_a_category_with_one_limiter_in_all_processes() {
    let store = MemoryStore::new();
    let (make, made) = shared();
    let process = || {
        let keys = justpaid(store.clone()).limiters(make.clone()).build().unwrap();
        process!(keys.authenticate(), keys.rate_limit())
    };
    let secret = key(justpaid(store.clone()).build().unwrap().manager(), &["workflows:read"]).await;
    let processes = [process(), process()];
    assert_eq!(admitted(processes, "x-api-key", secret.expose_secret().into()).await, 1000);
    let made = made.lock().unwrap();
    // An assembly makes all its limits, including those of addresses.
    assert_eq!(made.keys().collect::<Vec<_>>(), ["execute", "read", "webhooks", "write"]);
}

#[tokio::test]
async fn payment_gateway_counts_callers_with_one_limiter_in_all_processes() {
    let store = MemoryStore::new();
    let (make, made) = shared();
    let process = || {
        let keys = payment_gateway(store.clone()).limiters(make.clone()).build().unwrap();
        process!(keys.authenticate(), keys.rate_limit())
    };
    let secret = key(payment_gateway(store.clone()).build().unwrap().manager(), &["transaction:read"]).await;
    let bearer = format!("Bearer {}", secret.expose_secret());
    assert_eq!(admitted([process(), process()], "authorization", bearer).await, 100);
    assert_eq!(made.lock().unwrap().keys().collect::<Vec<_>>(), ["api"]);
}

#[tokio::test]
async fn pasby_counts_addresses_with_one_limiter_in_all_processes() {
    let tokens = SessionTokens::new("0123456789abcdef0123456789abcdef".into()).unwrap();
    let (make, made) = shared();
    let process = || {
        let keys = pasby(MemoryStore::new(), tokens.clone()).limiters(make.clone()).build().unwrap();
        process!(keys.limit_addresses())
    };
    assert_eq!(admitted([process(), process()], "x-api-key", "anyone".into()).await, 100);
    assert_eq!(made.lock().unwrap().keys().collect::<Vec<_>>(), ["address"]);
}
