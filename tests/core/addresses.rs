//! Addresses that keys may be used from, and limits on bad credentials per address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, Network, PeerAddress};
use tower_api_keys::clock::{Clock, ManualClock};
use tower_api_keys::key::{KeyFormat, KeyRecord, KeyState, Mode};
use tower_api_keys::limit::{MemoryRateLimiter, Quota, RateLimiter, Subject};
use tower_api_keys::middleware::ApiKeysLayer;
use tower_api_keys::rejection::{Check, Reason, Rejection};
use tower_api_keys::store::KeyAdministration;
use tower_api_keys::{ApiKeys, ApiKeysBuilder, RateLimit};

use crate::support::*;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const HOME: &str = "192.0.2.10";
const ELSEWHERE: &str = "198.51.100.1";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn networks(list: &[&str]) -> Vec<Network> {
    list.iter().map(|network| network.parse().unwrap()).collect()
}

/// A key restricted to `allowed`.
fn key_for(allowed: &[&str]) -> KeyRecord {
    record(KEY, |key| key.extras_mut().allowed_addresses = networks(allowed))
}

fn from(peer: &str, key: &'static str) -> Request<()> {
    let mut request = request(key);
    request.extensions_mut().insert(PeerAddress(address(peer)));
    request
}

fn forwarded(peer: &str, lines: &[&'static str]) -> Request<()> {
    let mut request = from(peer, KEY);
    for line in lines {
        request.headers_mut().append(X_FORWARDED_FOR, line.parse().unwrap());
    }
    request
}

/// Authentication only: all routes accept any key.
fn authenticate<F>(builder: ApiKeysBuilder<F>) -> ApiKeysLayer<F> {
    builder.without_route_table().build().unwrap().authenticate()
}

/// Authentication with the keys of `store`; `source` finds the client's address.
fn with_source(store: impl KeyAdministration, source: ClientAddressSource) -> ApiKeysLayer {
    authenticate(assembly(store).client_address(source))
}

/// The settings that `build` rejects.
fn faults(builder: ApiKeysBuilder) -> Vec<&'static str> {
    let error = builder.without_route_table().build().unwrap_err();
    error.faults().map(|(setting, _)| setting).collect()
}

async fn call(layer: &ApiKeysLayer, request: Request<()>) -> Response<Bytes> {
    layer.layer(service_fn(whoami)).oneshot(request).await.unwrap()
}

fn reason(response: &Response<Bytes>) -> &Reason {
    rejection(response).reason()
}

/// `ok`, or the reason's name.
fn outcome(response: &Response<Bytes>) -> String {
    match response.extensions().get::<Rejection>() {
        None => "ok".into(),
        Some(rejection) => {
            let shown = format!("{:?}", rejection.reason());
            shown.split(['(', ' ']).next().unwrap_or_default().to_owned()
        }
    }
}

mod allowed {
    use super::*;

    #[tokio::test]
    async fn a_key_is_accepted_from_its_networks_and_rejected_with_403_from_others() {
        for answers in [Answers::AtOnce, Answers::Later] {
            for (allowed, peer, want) in [
                (&[][..], ELSEWHERE, true),
                (&["192.0.2.10"], "192.0.2.10", true),
                (&["192.0.2.10"], "192.0.2.11", false),
                (&["192.0.2.8/30"], "192.0.2.7", false),
                (&["192.0.2.8/30"], "192.0.2.8", true),
                (&["192.0.2.8/30"], "192.0.2.11", true),
                (&["192.0.2.8/30"], "192.0.2.12", false),
                (&["198.51.100.0/24", "192.0.2.8/30"], "192.0.2.8", true),
                (&["0.0.0.0/0"], "203.0.113.1", true),
                (&["0.0.0.0/0"], "2001:db8::1", false),
                (&["::/0"], "2001:db8::1", true),
                (&["::/0"], "203.0.113.1", false),
                (&["2001:db8:1::/48"], "2001:db8:1:ffff::1", true),
                (&["2001:db8:1::/48"], "2001:db8:2::", false),
                // Whole addresses: the 64 bits that requests are counted by are equal here.
                (&["2001:db8::5"], "2001:db8::5", true),
                (&["2001:db8::5"], "2001:db8::6", false),
                // IPv4 stays IPv4, even as written by a dual-stack socket.
                (&["192.0.2.10"], "::ffff:192.0.2.10", true),
                (&["192.0.2.10"], "::ffff:192.0.2.11", false),
                (&["::ffff:192.0.2.0/120"], "192.0.2.10", true),
                (&["::/0"], "::ffff:192.0.2.10", false),
            ] {
                let keys = TestStore::new(store([key_for(allowed)]).await, answers);
                let layer = with_source(keys, ClientAddressSource::peer());
                let response = call(&layer, from(peer, KEY)).await;
                let name = format!("{peer} in {allowed:?}, {answers:?}");
                assert_eq!(outcome(&response), if want { "ok" } else { "AddressNotAllowed" }, "{name}");
                if !want {
                    assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}");
                    let rejection = rejection(&response);
                    assert_eq!(rejection.check(), Some(Check::Address));
                    assert_eq!(rejection.key_id(), Some(&key_for(&[]).id), "the log says which key");
                    assert!(!response.headers().contains_key("www-authenticate"), "another key is no help");
                    let body = std::str::from_utf8(response.body()).unwrap();
                    let expected = r#"{"type":"about:blank","title":"Forbidden","status":403,"code":"address_not_allowed","detail":"The key may not do this."}"#;
                    assert_eq!(body, expected, "no address, and none of those that are allowed");
                }
            }
        }
    }

    /// Incident: an address policy that trusted any `X-Forwarded-For` (CVE-2026-21862).
    #[tokio::test]
    async fn forwarded_addresses_are_trusted_only_from_configured_proxies() {
        let keys = store([key_for(&[HOME, "2001:db8::5"])]).await;
        let by_peer = with_source(keys.clone(), ClientAddressSource::peer());
        let behind = with_source(keys, ClientAddressSource::forwarded_for(["10.0.0.1", "10.0.0.2"]));
        for (name, layer, peer, lines, want) in [
            ("spoofed, no proxy named", &by_peer, ELSEWHERE, &[HOME][..], "AddressNotAllowed"),
            ("not read, no proxy named", &by_peer, HOME, &[ELSEWHERE], "ok"),
            ("spoofed past the proxies", &behind, ELSEWHERE, &[HOME], "AddressNotAllowed"),
            ("past the proxies", &behind, HOME, &[ELSEWHERE], "ok"),
            ("through a proxy", &behind, "10.0.0.1", &[HOME], "ok"),
            ("through two", &behind, "10.0.0.1", &["192.0.2.10, 10.0.0.2"], "ok"),
            ("through two, in two lines", &behind, "10.0.0.1", &[HOME, "10.0.0.2"], "ok"),
            ("mapped, through a proxy", &behind, "::ffff:10.0.0.1", &["::ffff:192.0.2.10"], "ok"),
            ("IPv6, through a proxy", &behind, "10.0.0.1", &["[2001:db8::5]:443"], "ok"),
            ("its neighbour", &behind, "10.0.0.1", &["2001:db8::6"], "AddressNotAllowed"),
            (
                "spoofed through a proxy",
                &behind,
                "10.0.0.1",
                &["192.0.2.10, 198.51.100.1"],
                "AddressNotAllowed",
            ),
            ("spoofed in a line above", &behind, "10.0.0.1", &[HOME, ELSEWHERE], "AddressNotAllowed"),
        ] {
            assert_eq!(outcome(&call(layer, forwarded(peer, lines)).await), want, "{name}");
        }
        let mut alias = from("10.0.0.1", KEY);
        alias.headers_mut().insert(HeaderName::from_static("x_forwarded_for"), HOME.parse().unwrap());
        assert_eq!(outcome(&call(&behind, alias).await), "AddressNotAllowed", "an alias is another field");
    }

    /// Incident: `Connection: X-Forwarded-For` makes proxies drop the field (CVE-2024-45410, CVE-2025-48865).
    #[tokio::test]
    async fn a_proxy_without_a_forwarded_address_is_not_the_client() {
        let keys = store([key_for(&["10.0.0.0/8"])]).await;
        let proxies = ["10.0.0.1", "10.0.0.2"];
        for source in [
            ClientAddressSource::forwarded_for(proxies),
            ClientAddressSource::single_field("x-real-ip", proxies),
        ] {
            let layer = with_source(keys.clone(), source);
            for lines in [&[][..], &[""], &["unknown"], &["10.0.0.2"], &["10.1.2.3, _hidden"]] {
                let response = call(&layer, forwarded("10.0.0.1", lines)).await;
                assert_eq!(response.status(), StatusCode::FORBIDDEN, "{lines:?}");
            }
            assert_eq!(call(&layer, from("10.1.2.3", KEY)).await.status(), StatusCode::OK, "without a proxy");
        }
        for source in [
            ClientAddressSource::single_field("x_real_ip", proxies),
            ClientAddressSource::single_field("x real ip", proxies),
            ClientAddressSource::forwarded_for(["10.0.0.0/33"]),
            ClientAddressSource::peer().ipv6_prefix(16),
        ] {
            assert_eq!(faults(assembly(keys.clone()).client_address(source)), ["client_address"]);
        }
    }

    #[tokio::test]
    async fn without_a_known_address_only_restricted_keys_are_rejected() {
        let anywhere = record(OTHER_KEY, |_| {});
        let keys = store([key_for(&["0.0.0.0/0", "::/0"]), anywhere]).await;
        for answers in [Answers::AtOnce, Answers::Later] {
            let keys = TestStore::new(keys.clone(), answers);
            let layer = authenticate(assembly(keys.clone()));
            let configured = with_source(keys, ClientAddressSource::peer());
            for (layer, request, word) in [
                (&layer, from(HOME, KEY), "`ApiKeysBuilder::client_address`"),
                (&configured, request(KEY), "PeerAddress"),
            ] {
                let response = call(layer, request).await;
                assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
                assert!(reason(&response).to_string().contains(word), "{}", reason(&response));
                let body = std::str::from_utf8(response.body()).unwrap();
                assert!(!body.contains("ddress"), "the client must not learn the reason: {body}");
            }
            for layer in [&layer, &configured] {
                assert_eq!(call(layer, request(OTHER_KEY)).await.status(), StatusCode::OK);
            }
            assert_eq!(call(&configured, from(HOME, KEY)).await.status(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn a_bad_state_comes_before_a_wrong_address() {
        for (name, change) in [
            ("revoked", (|key: &mut KeyRecord| key.state = KeyState::Revoked { at: START }) as fn(&mut _)),
            ("expired", |key| key.expires_at = Some(START)),
            ("of another mode", |key| key.owner.mode = Mode::Test),
        ] {
            let format = KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap();
            let made = format.generate(Mode::Live).unwrap();
            let key: &'static str = made.secret.expose_secret().to_owned().leak();
            let stored = record(key, |key| {
                key.extras_mut().allowed_addresses = networks(&[HOME]);
                change(key);
            });
            let keys = ApiKeys::builder(store([stored]).await, format).header("x-api-key");
            let keys =
                keys.clock(ManualClock::starting_at(START)).client_address(ClientAddressSource::peer());
            let layer = authenticate(keys.attach_rejections());
            for peer in [HOME, ELSEWHERE] {
                let response = call(&layer, from(peer, key)).await;
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name} from {peer}");
            }
        }
    }

    #[tokio::test]
    async fn a_stolen_key_does_not_use_its_owners_limit() {
        let clock = ManualClock::starting_at(START);
        let stored = key_for(&[HOME]);
        let subject = Subject::Key(stored.id);
        let quota = Quota::per_minute(1).unwrap();
        let limiter = Arc::new(MemoryRateLimiter::new("all", &[quota], clock.now()).unwrap());
        let counted = limiter.clone();
        let keys = assembly(store([stored]).await)
            .clock(clock.clone())
            .client_address(ClientAddressSource::peer())
            .limit(RateLimit::per_key("all", quota))
            .limiters(move |_, _| counted.clone() as Arc<dyn RateLimiter>)
            .without_route_table()
            .build()
            .unwrap();
        let mut service = keys.layer().layer(service_fn(whoami));
        for (peer, status, left) in [
            (ELSEWHERE, 403, 1),
            (HOME, 200, 0),
            (HOME, 429, 0),
            // Over the limit as well, which is not reported.
            (ELSEWHERE, 403, 0),
        ] {
            let response = service.call(from(peer, KEY)).await.unwrap();
            assert_eq!(response.status(), status, "{peer}");
            assert_eq!(limiter.peek(&subject, None, 1, clock.now()).remaining(), left, "{peer}");
            let tells = response.headers().keys().any(|name| name.as_str().contains("ratelimit"));
            assert_eq!(tells, status != 403, "{peer}: the limit is reported only to an accepted address");
        }
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        // Few bits differ, so that addresses often lie in networks.
        let v4 = (0..8_u32).prop_map(|bits| IpAddr::from(Ipv4Addr::from_bits(0xc000_0200 | bits)));
        let mapped = (0..8_u32)
            .prop_map(|bits| IpAddr::from(Ipv4Addr::from_bits(0xc000_0200 | bits).to_ipv6_mapped()));
        let v6 = (0..8_u128).prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8 << 96) | bits)));
        prop_oneof![v4, mapped, v6]
    }

    /// The address as bits, separate for IPv4 and IPv6.
    fn bits(address: IpAddr) -> String {
        match address.to_canonical() {
            IpAddr::V4(address) => format!("{:032b}", address.to_bits()),
            IpAddr::V6(address) => format!("{:0128b}", address.to_bits()),
        }
    }

    /// The network of `address` with the last `host_bits` cleared, as text.
    fn network(address: IpAddr, host_bits: usize) -> (String, Network) {
        let bits = bits(address);
        let prefix = bits[..bits.len() - host_bits].to_owned();
        let first = format!("{prefix:0<width$}", width = bits.len());
        let first: IpAddr = if bits.len() == 32 {
            Ipv4Addr::from_bits(u32::from_str_radix(&first, 2).unwrap()).into()
        } else {
            Ipv6Addr::from_bits(u128::from_str_radix(&first, 2).unwrap()).into()
        };
        let network = format!("{first}/{}", prefix.len()).parse().unwrap();
        (prefix, network)
    }

    proptest! {
        /// An address is allowed if, and only if, it begins with the bits of some network of its family.
        #[test]
        fn an_address_is_allowed_iff_some_network_contains_it(
            peer in any_address(),
            list in prop::collection::vec((any_address(), 0..5_usize), 1..4),
        ) {
            let list: Vec<_> = list
                .into_iter()
                .map(|(address, host_bits)| (bits(address).len(), network(address, host_bits)))
                .collect();
            let peer_bits = bits(peer);
            let expected = list
                .iter()
                .any(|(width, (prefix, _))| *width == peer_bits.len() && peer_bits.starts_with(prefix));
            let allowed: Vec<Network> = list.iter().map(|(_, (_, network))| *network).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let status = runtime.block_on(async {
                let stored = record(KEY, |key| key.extras_mut().allowed_addresses = allowed);
                let layer = with_source(store([stored]).await, ClientAddressSource::peer());
                call(&layer, from(&peer.to_string(), KEY)).await.status()
            });
            let want = if expected { StatusCode::OK } else { StatusCode::FORBIDDEN };
            prop_assert_eq!(status, want);
        }

        /// One network contains another if, and only if, its bits are the first bits of the other.
        #[test]
        fn a_network_contains_another_iff_its_bits_are_a_prefix(
            (one, one_host_bits) in (any_address(), 0..5_usize),
            (other, other_host_bits) in (any_address(), 0..5_usize),
        ) {
            let same_family = bits(one).len() == bits(other).len();
            let (outer_bits, outer) = network(one, one_host_bits);
            let (inner_bits, inner) = network(other, other_host_bits);
            let expected = same_family && inner_bits.starts_with(&outer_bits);
            prop_assert_eq!(outer.contains_network(&inner), expected);
        }
    }
}

mod throttled {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tower_api_keys::store::{KeySelector, KeyStore, Lookup, MemoryStore, ReadOnly};

    use super::*;

    struct World {
        layer: ApiKeysLayer,
        store: TestStore,
        clock: ManualClock,
    }

    /// A limit of three bad credentials a minute.
    async fn world(answers: Answers, records: impl IntoIterator<Item = KeyRecord>) -> World {
        let clock = ManualClock::starting_at(START);
        let store = TestStore::new(store(records).await, answers);
        let layer = authenticate(throttled(assembly(store.clone()), &clock));
        World { layer, store, clock }
    }

    fn throttled<F>(builder: ApiKeysBuilder<F>, clock: &ManualClock) -> ApiKeysBuilder<F> {
        builder
            .clock(clock.clone())
            .client_address(ClientAddressSource::peer())
            .throttle_bad_credentials(Quota::per_minute(3).unwrap())
    }

    /// The number of further guesses from `peer` that are looked up, at most ten.
    async fn guesses_left(layer: &ApiKeysLayer, peer: &str) -> usize {
        for guesses in 0..10 {
            match outcome(&call(layer, from(peer, UNKNOWN_KEY)).await).as_str() {
                "KeyUnknown" => {}
                "Throttled" => return guesses,
                other => panic!("{other}"),
            }
        }
        10
    }

    /// A store that fails until it is repaired.
    struct Mended {
        failing: TestStore,
        mended: TestStore,
        is_mended: Arc<AtomicBool>,
    }

    impl KeyStore for Mended {
        fn find(&self, selector: KeySelector<'_>) -> Lookup {
            let store = if self.is_mended.load(Ordering::SeqCst) { &self.mended } else { &self.failing };
            store.find(selector)
        }
    }

    /// Returns `answers` until the flag is set.
    fn mended(keys: MemoryStore, answers: Answers) -> (ReadOnly<Mended>, Arc<AtomicBool>) {
        let is_mended = Arc::<AtomicBool>::default();
        let failing = TestStore::new(keys.clone(), answers);
        let mended = TestStore::new(keys, Answers::AtOnce);
        (ReadOnly::new(Mended { failing, mended, is_mended: is_mended.clone() }), is_mended)
    }

    /// More addresses than the limiter has room for.
    fn crowd() -> impl Iterator<Item = IpAddr> {
        (0..110_000_u32).map(|number| Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    fn from_address(peer: IpAddr, key: Option<&'static str>) -> Request<()> {
        let mut request = request(key);
        request.extensions_mut().insert(PeerAddress(peer));
        request
    }

    #[tokio::test]
    async fn guesses_are_rejected_before_the_lookup_until_they_expire() {
        for answers in [Answers::AtOnce, Answers::Later] {
            let World { layer, store, clock } = world(answers, [record(KEY, |_| {})]).await;
            for _ in 0..3 {
                assert_eq!(outcome(&call(&layer, from(HOME, UNKNOWN_KEY)).await), "KeyUnknown");
            }
            assert_eq!(store.lookups(), 3);
            for key in [UNKNOWN_KEY, KEY] {
                let response = call(&layer, from(HOME, key)).await;
                assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{key}");
                let rejection = rejection(&response);
                assert_eq!(rejection.check(), Some(Check::Throttle));
                assert!(
                    matches!(rejection.reason(), Reason::Throttled(limited) if limited.quota.limit().get() == 3)
                );
                assert_eq!(rejection.key_id(), None, "it is not known whose key it is");
                assert_eq!(response.headers()["retry-after"], "61");
                assert_eq!(response.headers()["cache-control"], "no-store");
                assert!(!response.headers().contains_key("www-authenticate"));
            }
            assert_eq!(store.lookups(), 3, "{answers:?}: the store was not asked");

            clock.advance(Duration::from_secs(61));
            assert_eq!(outcome(&call(&layer, from(HOME, KEY)).await), "ok", "after Retry-After");
        }
    }

    #[tokio::test]
    async fn only_bad_credentials_count() {
        let soon = START.saturating_add(Duration::from_secs(1));
        for (name, stored, key, counts) in [
            ("good", record(KEY, |_| {}), Some(KEY), 0),
            ("unknown", record(KEY, |_| {}), Some(UNKNOWN_KEY), 1),
            ("revoked", record(KEY, |key| key.state = KeyState::Revoked { at: START }), Some(KEY), 1),
            ("disabled", record(KEY, |key| key.state = KeyState::Disabled), Some(KEY), 1),
            ("expired", record(KEY, |key| key.expires_at = Some(START)), Some(KEY), 1),
            ("yet to come", record(KEY, |key| key.extras_mut().not_before = Some(soon)), Some(KEY), 1),
            ("good, from elsewhere", key_for(&[ELSEWHERE]), Some(KEY), 0),
            ("malformed", record(KEY, |_| {}), Some("junk"), 0),
            ("missing", record(KEY, |_| {}), None, 0),
        ] {
            for answers in [Answers::AtOnce, Answers::Later] {
                let World { layer, .. } = world(answers, [stored.clone()]).await;
                call(&layer, from_address(address(HOME), key)).await;
                assert_eq!(guesses_left(&layer, HOME).await, 3 - counts, "{name}, {answers:?}");
            }
        }
        for answers in [Answers::WithAnError, Answers::WithAPanic, Answers::WithAPanicLater] {
            let (keys, is_mended) = mended(store([]).await, answers);
            let layer = authenticate(throttled(assembly(keys), &ManualClock::starting_at(START)));
            assert_eq!(call(&layer, from(HOME, KEY)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
            is_mended.store(true, Ordering::SeqCst);
            assert_eq!(guesses_left(&layer, HOME).await, 3, "{answers:?}: the store is to blame");
        }
    }

    /// An address without room is never rejected. So if one is rejected, the flood before it has taken no room.
    #[tokio::test]
    async fn addresses_without_bad_credentials_take_no_memory() {
        let elsewhere = record(OTHER_KEY, |key| key.extras_mut().allowed_addresses = networks(&[ELSEWHERE]));
        let keys = store([record(KEY, |_| {}), elsewhere]).await;
        let (keys, is_mended) = mended(keys, Answers::WithAnError);
        let layer = authenticate(throttled(assembly(keys), &ManualClock::starting_at(START)));
        for peer in crowd() {
            let response = call(&layer, from_address(peer, Some(KEY))).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        is_mended.store(true, Ordering::SeqCst);
        for (key, want) in [
            (Some(KEY), "ok"),
            (Some(OTHER_KEY), "AddressNotAllowed"),
            (Some("junk"), "CredentialMalformed"),
            (None, "CredentialMissing"),
        ] {
            for peer in crowd() {
                assert_eq!(outcome(&call(&layer, from_address(peer, key)).await), want);
            }
        }
        assert_eq!(guesses_left(&layer, HOME).await, 3);
    }

    #[tokio::test]
    async fn accepted_requests_are_never_counted() {
        let World { layer, .. } = world(Answers::AtOnce, [record(KEY, |_| {})]).await;
        for _ in 0..2 {
            assert_eq!(outcome(&call(&layer, from(HOME, UNKNOWN_KEY)).await), "KeyUnknown");
        }
        for _ in 0..100 {
            assert_eq!(outcome(&call(&layer, from(HOME, KEY)).await), "ok");
        }
        assert_eq!(outcome(&call(&layer, from(HOME, UNKNOWN_KEY)).await), "KeyUnknown", "the third");
        assert_eq!(outcome(&call(&layer, from(HOME, UNKNOWN_KEY)).await), "Throttled");
    }

    #[tokio::test]
    async fn knowing_the_public_id_cannot_lock_out_the_owner() {
        let format = KeyFormat::builder("sk_").public_id(12, '.').build().unwrap();
        let made = format.generate(Mode::Live).unwrap();
        let id = made.id.unwrap();
        let text = |key: &tower_api_keys::key::GeneratedKey| -> &'static str {
            key.secret.expose_secret().to_owned().leak()
        };
        let stored = record(text(&made), |key| key.id = id);
        let clock = ManualClock::starting_at(START);
        let keys = ApiKeys::builder(store([stored]).await, format.clone()).header("x-api-key");
        let layer = authenticate(throttled(keys, &clock).attach_rejections());
        for network in 0..10 {
            let stranger = format!("203.0.113.{network}");
            for attempt in 0..5 {
                let wrong = format.generate_with_id(Mode::Live, &id).unwrap();
                let response = call(&layer, from(&stranger, text(&wrong))).await;
                let want = if attempt < 3 { "SecretMismatch" } else { "Throttled" };
                assert_eq!(outcome(&response), want, "{stranger}");
            }
            assert_eq!(outcome(&call(&layer, from(HOME, text(&made))).await), "ok", "the owner");
        }
    }

    /// A flood of addresses is counted in bounded memory, and blocks no other address.
    #[tokio::test]
    async fn a_flood_of_guessing_addresses_blocks_no_other_address() {
        let World { layer, .. } = world(Answers::AtOnce, [record(KEY, |_| {})]).await;
        let first = "203.0.113.0";
        for _ in 0..3 {
            call(&layer, from(first, UNKNOWN_KEY)).await;
        }
        for peer in crowd() {
            assert_eq!(outcome(&call(&layer, from_address(peer, Some(UNKNOWN_KEY))).await), "KeyUnknown");
        }
        assert_eq!(outcome(&call(&layer, from(first, KEY)).await), "Throttled", "still blocked");
        assert_eq!(outcome(&call(&layer, from(HOME, KEY)).await), "ok", "has done nothing");
        assert_eq!(guesses_left(&layer, HOME).await, 10, "there is no room to count it");
        assert_eq!(outcome(&call(&layer, from(HOME, KEY)).await), "ok", "does not answer for others");
    }

    #[tokio::test]
    async fn one_client_has_one_count_whatever_it_sends() {
        let spellings = [
            ("203.0.113.1", "::ffff:203.0.113.1", "one IPv4 address, mapped"),
            ("2001:db8::1", "2001:db8::ffff:1", "one IPv6 network"),
        ];
        for (one, other, name) in spellings {
            let World { layer, .. } = world(Answers::AtOnce, []).await;
            for peer in [one, other, one] {
                assert_eq!(outcome(&call(&layer, from(peer, UNKNOWN_KEY)).await), "KeyUnknown", "{name}");
            }
            for peer in [one, other] {
                assert_eq!(outcome(&call(&layer, from(peer, UNKNOWN_KEY)).await), "Throttled", "{name}");
            }
            assert_eq!(outcome(&call(&layer, from("2001:db9::1", UNKNOWN_KEY)).await), "KeyUnknown");
        }

        let World { layer, store, clock } = world(Answers::AtOnce, []).await;
        let proxies = ClientAddressSource::forwarded_for(["10.0.0.1"]);
        let behind = authenticate(throttled(assembly(store), &clock).client_address(proxies));
        for (name, layer, peer, appended) in [
            ("past the proxies", &layer, ELSEWHERE, ""),
            ("through a proxy", &behind, "10.0.0.1", ", 203.0.113.7"),
        ] {
            let guess = |made_up: usize| {
                let line: &'static str = format!("192.0.2.{made_up}{appended}").leak();
                forwarded(peer, &[line])
            };
            for made_up in 0..3 {
                assert_eq!(outcome(&call(layer, guess(made_up)).await), "KeyUnknown", "{name}");
            }
            assert_eq!(outcome(&call(layer, guess(3)).await), "Throttled", "{name}");
        }
        let neighbour = forwarded("10.0.0.1", &["203.0.113.8"]);
        assert_eq!(outcome(&call(&behind, neighbour).await), "KeyUnknown", "others behind the proxy");
    }

    /// Spellings of a credential do not get their own counts.
    #[tokio::test]
    async fn variants_of_a_credential_share_one_count() {
        let World { layer, store, .. } = world(Answers::AtOnce, [record(KEY, |_| {})]).await;
        let mut lookups = 0;
        for number in 0..10 {
            let guess: &'static str = format!("wfk_{number:0>32}").leak();
            lookups += usize::from(outcome(&call(&layer, from(HOME, guess)).await) == "KeyUnknown");
        }
        let upper: &'static str = KEY.to_uppercase().leak();
        call(&layer, from(HOME, upper)).await;
        assert_eq!((lookups, store.lookups()), (3, 3));
    }

    #[tokio::test]
    async fn without_a_known_address_no_credential_is_looked_up() {
        let keys = TestStore::new(store([record(KEY, |_| {})]).await, Answers::AtOnce);
        let no_source = assembly(keys.clone()).throttle_bad_credentials(Quota::per_minute(3).unwrap());
        assert_eq!(faults(no_source), ["throttle_bad_credentials"]);

        let no_peer = authenticate(throttled(assembly(keys.clone()), &ManualClock::starting_at(START)));
        let response = call(&no_peer, request(KEY)).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(reason(&response).to_string().contains("PeerAddress"), "{}", reason(&response));
        assert_eq!(keys.lookups(), 0);
        assert_eq!(call(&no_peer, request("junk")).await.status(), StatusCode::UNAUTHORIZED);
    }

    #[cfg(feature = "axum")]
    #[tokio::test]
    async fn connect_info_is_the_peer_if_configured() {
        let World { layer, store, clock } = world(Answers::AtOnce, [key_for(&[HOME])]).await;
        let source = ClientAddressSource::peer().from_connect_info();
        let by_connection = authenticate(throttled(assembly(store), &clock).client_address(source));
        for (layer, peer, want) in [
            (&by_connection, HOME, "ok"),
            (&by_connection, ELSEWHERE, "AddressNotAllowed"),
            (&layer, HOME, "Misconfigured"),
        ] {
            let mut request = request(KEY);
            let peer = std::net::SocketAddr::new(address(peer), 40112);
            request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
            assert_eq!(outcome(&call(layer, request).await), want);
        }
        let mut attached = from(HOME, KEY);
        let peer = std::net::SocketAddr::new(address(ELSEWHERE), 40112);
        attached.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        assert_eq!(outcome(&call(&by_connection, attached).await), "ok", "what is attached comes first");
    }

    #[cfg(feature = "presets")]
    #[tokio::test]
    async fn justpaid_reports_a_throttled_request_like_a_rate_limited_one() {
        use tower_api_keys::presets::justpaid::justpaid;

        let keys = throttled(justpaid(MemoryStore::new()), &ManualClock::starting_at(START));
        let mut service = keys.build().unwrap().authenticate().layer(service_fn(whoami));
        for _ in 0..3 {
            let response = service.call(from(HOME, UNKNOWN_KEY)).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        }
        let response = service.call(from(HOME, UNKNOWN_KEY)).await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let body = std::str::from_utf8(response.body()).unwrap();
        assert!(body.contains("Limit: 3 requests per minute."), "{body}");
    }
}
