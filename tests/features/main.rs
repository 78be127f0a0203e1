//! Prints how one assembly answers a fixed list of requests: status, header fields and body. Needs no feature, and no
//! feature may change a byte of it.
#![allow(clippy::print_stdout, reason = "what it prints is compared")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing test")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::{Method, Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::{ManualClock, Timestamp};
use tower_api_keys::identity::OrganizationRule;
use tower_api_keys::key::{KeyRecord, KeyState, Mode, Owner, Peppers};
use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
use tower_api_keys::store::KeyAdministration;
use tower_api_keys::{Access, ApiKeys, KeyFormat, MemoryStore, Principal, Quota, RateLimit};

const START: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);
const MINUTE: Duration = Duration::from_secs(60);
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_ORGANIZATION_ID: HeaderName = HeaderName::from_static("x-organization-id");

const READER: &str = "acme_test_reader00000000000000000000000000";
const WRITER: &str = "acme_live_writer00000000000000000000000000";
const SYSTEM: &str = "acme_live_system00000000000000000000000000";
const REVOKED: &str = "acme_live_revoked0000000000000000000000000";
const DISABLED: &str = "acme_live_disabled000000000000000000000000";
const EXPIRED: &str = "acme_live_expired0000000000000000000000000";
const EARLY: &str = "acme_live_early000000000000000000000000000";
const ELSEWHERE: &str = "acme_live_elsewhere00000000000000000000000";
const BUSY: &str = "acme_live_busy0000000000000000000000000000";
const UNKNOWN: &str = "acme_live_unknown0000000000000000000000000";

fn main() {
    let clock = ManualClock::starting_at(START);
    let keys = assembly(&clock);
    let send = |method: Method, path: &str, fields: &[(HeaderName, &str)]| {
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in fields {
            request = request.header(name, *value);
        }
        let mut request = request.body(()).unwrap();
        request.extensions_mut().insert(PeerAddress(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
        let service = ServiceBuilder::new().layer(keys.layer()).service(service_fn(whoami));
        println!("> {method} {path} {fields:?}");
        print(&at_once(service.oneshot(request)).unwrap());
    };
    for (method, path, fields) in requests() {
        send(method, path, &fields);
        clock.advance(2 * MINUTE);
    }
    for _ in 0..4 {
        send(Method::GET, "/invoices", &[(X_API_KEY, BUSY)]);
        clock.advance(MINUTE / 6);
    }
    for _ in 0..12 {
        send(Method::GET, "/invoices", &[(X_API_KEY, UNKNOWN)]);
    }
}

fn assembly(clock: &ManualClock) -> ApiKeys {
    let format = KeyFormat::builder("acme_").modes("test_", "live_").build().unwrap();
    ApiKeys::builder(store(), format)
        .header(X_API_KEY.as_str())
        .bearer()
        .basic()
        .realm("acme")
        .clock(clock.clone())
        .client_address(ClientAddressSource::peer())
        .throttle_bad_credentials(Quota::per_minute(10).unwrap())
        .limit(RateLimit::per_address("address", Quota::per_minute(100).unwrap()))
        .limit(RateLimit::per_key("requests", Quota::per_minute(3).unwrap()))
        .ietf_rate_limit_fields()
        .organization(
            OrganizationRule::context().header(X_ORGANIZATION_ID.as_str()).route_parameter("organization"),
        )
        .pass_cors_preflight()
        .public("GET", "/health")
        .routes([
            ("GET", "/invoices", "invoice:read"),
            ("GET", "/invoices/:id", "invoice:read"),
            ("POST", "/invoices", "invoice:create"),
            ("GET", "/organizations/:organization/invoices", "invoice:read"),
        ])
        .route("GET", "/me", Access::AnyKey)
        .route("PUT", "/settings", Access::from(ScopeRequirement::from_static("settings:write")).of_system())
        .build()
        .unwrap()
}

fn store() -> MemoryStore {
    let store = MemoryStore::new();
    for (number, key) in
        [READER, WRITER, SYSTEM, REVOKED, DISABLED, EXPIRED, EARLY, ELSEWHERE, BUSY].into_iter().enumerate()
    {
        let mode = if key == READER { Mode::Test } else { Mode::Live };
        let owner = match key {
            SYSTEM => Owner::system(mode),
            _ => Owner::organization("org_1".parse().unwrap(), mode),
        };
        let digest = Peppers::none().digest(key);
        let mut record = KeyRecord::new(format!("key_{number}").parse().unwrap(), owner, digest, START);
        record.scopes = match key {
            READER => ScopeSet::parse_list(["invoice:read"]),
            _ => ScopeSet::parse_list(["invoice:*", "settings:write"]),
        }
        .unwrap();
        match key {
            REVOKED => record.state = KeyState::Revoked { at: START },
            DISABLED => record.state = KeyState::Disabled,
            EXPIRED => record.expires_at = Some(START),
            EARLY => record.extras_mut().not_before = Some(START.saturating_add(MINUTE * 1_000)),
            ELSEWHERE => record.extras_mut().allowed_addresses = vec!["198.51.100.0/24".parse().unwrap()],
            _ => {}
        }
        at_once(store.insert(record, None)).unwrap();
    }
    store
}

type Fields = Vec<(HeaderName, &'static str)>;

fn requests() -> Vec<(Method, &'static str, Fields)> {
    const BEARER: &str = "Bearer acme_live_writer00000000000000000000000000";
    // `acme_live_writer…:`
    const BASIC: &str = "Basic YWNtZV9saXZlX3dyaXRlcjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwOg==";
    let key = |key| vec![(X_API_KEY, key)];
    let mut requests = vec![
        // Accepted.
        (Method::GET, "/invoices", key(READER)),
        (Method::GET, "/invoices", key(WRITER)),
        (Method::GET, "/invoices", vec![(AUTHORIZATION, BEARER)]),
        (Method::GET, "/invoices", vec![(AUTHORIZATION, BASIC)]),
        (Method::GET, "/invoices/in_1?expand=lines", key(READER)),
        (Method::POST, "/invoices", key(WRITER)),
        (Method::HEAD, "/invoices", key(READER)),
        (Method::GET, "/health", vec![]),
        (Method::GET, "/health", key(READER)),
        (Method::GET, "/me", key(READER)),
        // No credential, several, and bad ones.
        (Method::GET, "/invoices", vec![]),
        (Method::HEAD, "/invoices", vec![]),
        (Method::GET, "/elsewhere", vec![]),
        (Method::GET, "/invoices", vec![(X_API_KEY, WRITER), (X_API_KEY, WRITER)]),
        (Method::GET, "/invoices", vec![(X_API_KEY, WRITER), (AUTHORIZATION, BEARER)]),
        (Method::GET, "/invoices", vec![(AUTHORIZATION, "Bearer")]),
        (Method::GET, "/invoices", vec![(AUTHORIZATION, "Basic !")]),
        (Method::GET, "/invoices", vec![(AUTHORIZATION, "Digest a=b")]),
        (Method::GET, "/health", key(UNKNOWN)),
        // Routes and scopes.
        (Method::POST, "/invoices", key(READER)),
        (Method::DELETE, "/invoices", key(WRITER)),
        (Method::PUT, "/settings", key(WRITER)),
        (Method::PUT, "/settings", key(SYSTEM)),
        (Method::GET, "/elsewhere", key(WRITER)),
        // Organizations.
        (Method::GET, "/organizations/org_1/invoices", key(WRITER)),
        (Method::GET, "/organizations/org_2/invoices", key(WRITER)),
        (Method::GET, "/organizations/org_2/invoices", key(SYSTEM)),
        (Method::GET, "/invoices", key(SYSTEM)),
        (Method::GET, "/invoices", vec![(X_API_KEY, SYSTEM), (X_ORGANIZATION_ID, "org_2")]),
        (Method::GET, "/invoices", vec![(X_API_KEY, WRITER), (X_ORGANIZATION_ID, "org_2")]),
        (Method::GET, "/invoices", vec![(X_API_KEY, WRITER), (X_ORGANIZATION_ID, "")]),
        // Browsers.
        (Method::OPTIONS, "/invoices", vec![]),
        (
            Method::OPTIONS,
            "/invoices",
            vec![
                (http::header::ORIGIN, "https://acme.example"),
                (http::header::ACCESS_CONTROL_REQUEST_METHOD, "GET"),
            ],
        ),
    ];
    for bad in [UNKNOWN, REVOKED, DISABLED, EXPIRED, EARLY, ELSEWHERE, "", "acme_live_", "acme_live_é"] {
        requests.push((Method::GET, "/invoices", key(bad)));
    }
    // Paths that name a route in another way, or none.
    for path in [
        "/invoices/a%20b",
        "/invoices/%69n_1",
        "/invoices/a%2Fb",
        "/invoices/%",
        "/%69nvoices",
        "/invoices/",
        "//invoices",
        "/invoices//in_1",
        "/invoices/../me",
        "/invoices/%2e%2e/me",
        "/./invoices",
        "/Invoices",
        "/invoices;a=b",
        "/invoices?a=b",
        "http://acme.example/invoices",
        "*",
    ] {
        requests.push((Method::GET, path, key(READER)));
    }
    requests
}

fn whoami(request: Request<()>) -> Ready<Result<Response<Bytes>, Infallible>> {
    let caller = Principal::from_extensions(request.extensions());
    ready(Ok(Response::new(Bytes::from(format!("{caller:?}")))))
}

fn print(response: &Response<Bytes>) {
    println!("{}", response.status());
    let mut fields: Vec<_> =
        response.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    fields.sort();
    println!("{}\n\n{}\n", fields.join("\n"), response.body().escape_ascii());
}

/// Nothing here waits.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}
