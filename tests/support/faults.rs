//! Requests with any combination of faults, one for each check in the declared order.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::{Clock, ManualClock, Now};
use tower_api_keys::identity::OrganizationRule;
use tower_api_keys::key::{KeyId, KeyState};
use tower_api_keys::limit::{MemoryRateLimiter, RateLimiter, Subject};
use tower_api_keys::manage::ManageError;
use tower_api_keys::rejection::{Check, Rejection};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::{ApiKeys, KeyFormat, Quota, RateLimit};

use crate::support::*;

/// The faults of a request, in the order in which they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Over the limit of its address, before authentication.
    AddressLimit,
    Extraction,
    Format,
    Throttle,
    Lookup,
    State,
    Address,
    RateLimit,
    Organization,
    Access,
}

use Fault::*;

/// Every fault, with the check that finds it and its status.
pub const FAULTS: [(Fault, Check, StatusCode); 10] = [
    (AddressLimit, Check::RateLimit, StatusCode::TOO_MANY_REQUESTS),
    (Extraction, Check::Extraction, StatusCode::BAD_REQUEST),
    (Format, Check::Format, StatusCode::UNAUTHORIZED),
    (Throttle, Check::Throttle, StatusCode::TOO_MANY_REQUESTS),
    (Lookup, Check::Lookup, StatusCode::UNAUTHORIZED),
    (State, Check::State, StatusCode::UNAUTHORIZED),
    (Address, Check::Address, StatusCode::FORBIDDEN),
    (RateLimit, Check::RateLimit, StatusCode::TOO_MANY_REQUESTS),
    (Organization, Check::Organization, StatusCode::FORBIDDEN),
    (Access, Check::Access, StatusCode::FORBIDDEN),
];

/// Some of the faults.
#[derive(Clone, Copy, Debug)]
pub struct Combination(pub u32);

impl Combination {
    pub fn all() -> impl Iterator<Item = Self> {
        (0..1 << FAULTS.len()).map(Self)
    }

    pub fn has(self, fault: Fault) -> bool {
        let position = FAULTS.iter().position(|(other, ..)| *other == fault).unwrap();
        self.0 & 1 << position != 0
    }

    /// The fault that is found first.
    pub fn first(self) -> Option<(Fault, Check, StatusCode)> {
        FAULTS.into_iter().find(|(fault, ..)| self.has(*fault))
    }
}

/// Makes the limiter of a category.
pub type MakeLimiter = dyn Fn(&str, &[Quota], &ManualClock) -> Arc<dyn RateLimiter> + Send + Sync;

/// An assembly whose store and limits make the faults of a combination.
pub struct World {
    pub keys: ApiKeys,
    combination: Combination,
    key: Subject,
    clock: ManualClock,
    memory: Arc<Mutex<HashMap<String, Arc<MemoryRateLimiter>>>>,
}

/// The layers that a request passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    One,
    Four,
}

/// A limit of two requests a minute, of which a fault has used up both.
pub const LIMIT: u32 = 2;
const PEER: PeerAddress = PeerAddress(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

impl World {
    pub async fn new(
        combination: Combination,
        answers: Answers,
        other_limiter: Option<Arc<MakeLimiter>>,
    ) -> Self {
        let has = |fault| combination.has(fault);
        let clock = ManualClock::starting_at(START);
        let stored = record(if has(Lookup) { OTHER_KEY } else { KEY }, |key| {
            if has(State) {
                key.state = KeyState::Revoked { at: START };
            }
            let scope = if has(Access) { "workflows:write" } else { "workflows:read" };
            key.scopes = ScopeSet::parse_list([scope]).unwrap();
            let allowed = if has(Address) { "198.51.100.0/24" } else { "192.0.2.0/24" };
            key.extras_mut().allowed_addresses = vec![allowed.parse().unwrap()];
        });
        let key = Subject::Key(stored.id);
        let memory = Arc::<Mutex<HashMap<_, _>>>::default();
        let limiters = {
            let (memory, clock) = (memory.clone(), clock.clone());
            move |category: &str, quotas: &[Quota]| -> Arc<dyn RateLimiter> {
                if let Some(make) = &other_limiter {
                    return make(category, quotas, &clock);
                }
                let limiter = Arc::new(MemoryRateLimiter::new(category, quotas, clock.now()).unwrap());
                memory.lock().unwrap().insert(category.to_owned(), limiter.clone());
                limiter
            }
        };
        let quota = Quota::per_minute(LIMIT).unwrap();
        let keys = assembly(TestStore::new(store([stored]).await, answers))
            .extractor(tower_api_keys::credential::HeaderKey::new(
                "x-token".parse().unwrap(),
                KeyFormat::new("tok_").unwrap(),
            ))
            .client_address(ClientAddressSource::peer())
            .throttle_bad_credentials(quota)
            .limit(RateLimit::per_address("address", quota))
            .limit(RateLimit::per_key("key", quota))
            .limiters(limiters)
            .organization(OrganizationRule::named_in("organization-id"))
            .route("GET", "/", "workflows:read")
            .ietf_rate_limit_fields()
            .clock(clock.clone())
            .build()
            .unwrap();
        let world = Self { keys, combination, key, clock, memory };
        world.use_up().await;
        world
    }

    /// Uses up the limits that should be exceeded.
    async fn use_up(&self) {
        if self.combination.has(Throttle) {
            for _ in 0..LIMIT {
                // Counted as bad, by a layer without another limit.
                let request = self.request_with(UNKNOWN_KEY);
                let service =
                    ServiceBuilder::new().layer(self.keys.authenticate()).service(service_fn(whoami));
                service.oneshot(request).await.unwrap();
            }
        }
        if self.combination.has(AddressLimit) {
            for _ in 0..LIMIT {
                let service =
                    ServiceBuilder::new().layer(self.keys.limit_addresses()).service(service_fn(whoami));
                service.oneshot(self.request_with(KEY)).await.unwrap();
            }
        }
        if self.combination.has(RateLimit) {
            for (name, limiter) in &*self.memory.lock().unwrap() {
                if name == "key" {
                    limiter.check(&self.key, None, LIMIT, self.clock.now());
                }
            }
        }
    }

    /// The subject of the key's limit.
    pub fn key(&self) -> &Subject {
        &self.key
    }

    pub fn now(&self) -> Now {
        self.clock.now()
    }

    fn request_with(&self, key: &'static str) -> Request<()> {
        let mut request = request(key);
        request.extensions_mut().insert(PEER);
        request
    }

    fn request(&self) -> Request<()> {
        let has = |fault| self.combination.has(fault);
        let mut request = self.request_with(if has(Format) { "junk" } else { KEY });
        if has(Extraction) {
            request.headers_mut().insert("x-token", "junk".parse().unwrap());
        }
        let named = if has(Organization) { "other" } else { "acme" };
        request.headers_mut().insert("organization-id", named.parse().unwrap());
        request
    }

    /// Sends the request with the combination's faults.
    pub async fn ask(&self, layers: Layers) -> Response<Bytes> {
        let keys = &self.keys;
        let request = self.request();
        match layers {
            Layers::One => ServiceBuilder::new()
                .layer(keys.layer())
                .service(service_fn(whoami))
                .oneshot(request)
                .await
                .unwrap(),
            Layers::Four => ServiceBuilder::new()
                .layer(keys.limit_addresses())
                .layer(keys.authenticate())
                .layer(keys.rate_limit())
                .layer(keys.authorize())
                .service(service_fn(whoami))
                .oneshot(request)
                .await
                .unwrap(),
        }
    }

    /// Has the same request explained.
    pub async fn explain(&self) -> tower_api_keys::middleware::Trace {
        self.keys.explain(&self.request().into_parts().0).await
    }

    /// Has the same request explained for a key whose secret it does not have.
    pub async fn explain_key(&self, id: &KeyId) -> Result<tower_api_keys::middleware::Trace, ManageError> {
        let mut request = self.request();
        request.headers_mut().remove("x-api-key");
        self.keys.explain_key(id, &request.into_parts().0).await
    }

    /// The remaining limit in memory: of the key or of the address.
    pub fn remaining(&self, category: &str) -> u32 {
        let address = ClientAddressSource::peer().find(PEER.0, &HeaderMap::new());
        let subject = if category == "key" { self.key.clone() } else { Subject::Address(address) };
        self.memory.lock().unwrap()[category].peek(&subject, None, 1, self.clock.now()).remaining()
    }

    /// The number of bad credentials that the address may still send.
    pub async fn guesses_left(&self) -> u32 {
        let mut left = 0;
        loop {
            let service = ServiceBuilder::new().layer(self.keys.authenticate()).service(service_fn(whoami));
            let response = service.oneshot(self.request_with(UNKNOWN_KEY)).await.unwrap();
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                return left;
            }
            left += 1;
        }
    }
}

/// What a client and an outer layer see of a response.
pub fn seen(response: &Response<Bytes>) -> (StatusCode, Vec<(String, String)>, Bytes, Option<String>) {
    let mut headers: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    let reason = response.extensions().get::<Rejection>().map(|rejection| format!("{rejection:?}"));
    (response.status(), headers, response.body().clone(), reason)
}
