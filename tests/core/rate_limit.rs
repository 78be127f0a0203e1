//! Rate limits through the public API.

// A helper that fails fails its test.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use tower_api_keys::address::{ClientAddressSource, Network};
use tower_api_keys::clock::{Clock, ManualClock, Now, Timestamp};
use tower_api_keys::limit::{Algorithm, Decision, MemoryRateLimiter, Quota, Subject, Verdict};

const SECOND: Duration = Duration::from_secs(1);
const EVERY_ALGORITHM: [Algorithm; 3] = [Algorithm::Sliding, Algorithm::Exact, Algorithm::Counter];

fn clock() -> ManualClock {
    ManualClock::starting_at(Timestamp::from_unix_seconds(1_702_531_200))
}

fn per_minute(limit: u32) -> Quota {
    Quota::per_minute(limit).unwrap()
}

fn limiter(quota: Quota, now: Now) -> MemoryRateLimiter {
    MemoryRateLimiter::new("read", &[quota], now).unwrap()
}

fn alice() -> Subject {
    Subject::Key("alice".parse().unwrap())
}

fn check(limiter: &MemoryRateLimiter, subject: &Subject, now: Now) -> Decision {
    limiter.check(subject, None, 1, now).0
}

/// Uses up the limit, and returns how much was left.
fn exhaust(limiter: &MemoryRateLimiter, subject: &Subject, now: Now) -> usize {
    std::iter::repeat_with(|| check(limiter, subject, now)).take_while(Decision::is_admitted).count()
}

#[test]
fn counts_down_denies_and_admits_again_at_reset() {
    for algorithm in EVERY_ALGORITHM {
        let clock = clock();
        let limiter =
            MemoryRateLimiter::new("read", &[per_minute(3)], clock.now()).unwrap().with_algorithm(algorithm);
        for remaining in [2, 1, 0] {
            let decision = check(&limiter, &alice(), clock.now());
            assert!(decision.is_admitted());
            assert_eq!((decision.limit(), decision.remaining()), (3, remaining), "{algorithm:?}");
            assert_eq!(decision.quota().window(), 60 * SECOND);
        }
        let denied = check(&limiter, &alice(), clock.now());
        assert_eq!((denied.verdict(), denied.remaining()), (Verdict::Denied, 0), "{algorithm:?}");

        clock.advance(denied.reset() - Duration::from_nanos(1));
        assert!(!check(&limiter, &alice(), clock.now()).is_admitted(), "{algorithm:?}: a moment too early");
        clock.advance(Duration::from_nanos(1));
        assert!(check(&limiter, &alice(), clock.now()).is_admitted(), "{algorithm:?}: as promised");
    }
}

#[test]
fn after_a_pause_the_full_quota_is_shown_at_once() {
    for algorithm in EVERY_ALGORITHM {
        let clock = clock();
        let limiter = MemoryRateLimiter::new("read", &[per_minute(100)], clock.now())
            .unwrap()
            .with_algorithm(algorithm);
        exhaust(&limiter, &alice(), clock.now());
        clock.advance(120 * SECOND);
        assert_eq!(check(&limiter, &alice(), clock.now()).remaining(), 99, "{algorithm:?}");
    }
}

#[test]
fn resets_fall_on_whole_seconds_of_the_calendar() {
    let clock = clock();
    clock.advance(Duration::from_millis(12_345));
    let limiter = limiter(per_minute(1), clock.now());
    clock.advance(Duration::from_micros(6_789));
    for _ in 0..2 {
        let now = clock.now();
        let reset = check(&limiter, &alice(), now).reset();
        assert_eq!((now.since_unix_epoch() + reset).subsec_nanos(), 0);
    }
}

#[test]
fn subjects_do_not_share() {
    let clock = clock();
    let limiter = limiter(per_minute(1), clock.now());
    let peer = ClientAddressSource::peer().find(Ipv4Addr::LOCALHOST.into(), &HeaderMap::new());
    for subject in [alice(), Subject::other("alice"), Subject::from(peer), Subject::other("127.0.0.1")] {
        assert!(check(&limiter, &subject, clock.now()).is_admitted(), "{subject:?}");
        assert!(!check(&limiter, &subject, clock.now()).is_admitted(), "{subject:?}");
    }
}

#[test]
fn a_cost_above_the_limit_never_fits() {
    let clock = clock();
    let limiter = limiter(per_minute(5), clock.now());
    check(&limiter, &alice(), clock.now());
    let (decision, permit) = limiter.check(&alice(), None, 6, clock.now());
    assert_eq!((decision.verdict(), decision.remaining()), (Verdict::NeverFits, 4));
    assert!(permit.is_none());
    let (decision, _) = limiter.check(&alice(), None, u32::MAX, clock.now());
    assert_eq!(decision.verdict(), Verdict::NeverFits);
    // With a higher limit it does.
    let (decision, _) = limiter.check(&alice(), NonZeroU32::new(7), 6, clock.now());
    assert_eq!((decision.verdict(), decision.remaining()), (Verdict::Admitted, 0));
}

#[test]
fn an_override_may_change_between_requests() {
    let clock = clock();
    let limiter = limiter(per_minute(2), clock.now());
    assert_eq!(exhaust(&limiter, &alice(), clock.now()), 2);

    let (raised, _) = limiter.check(&alice(), NonZeroU32::new(10), 1, clock.now());
    assert_eq!((raised.is_admitted(), raised.limit(), raised.remaining()), (true, 10, 7));
    let (lowered, _) = limiter.check(&alice(), NonZeroU32::new(1), 1, clock.now());
    assert_eq!((lowered.is_admitted(), lowered.limit(), lowered.remaining()), (false, 1, 0));
    let (beyond, _) = limiter.check(&alice(), Some(NonZeroU32::MAX), 1, clock.now());
    assert_eq!((beyond.is_admitted(), beyond.limit()), (true, Quota::MAX_LIMIT));
}

#[test]
fn peek_and_refund() {
    for algorithm in EVERY_ALGORITHM {
        let clock = clock();
        let limiter =
            MemoryRateLimiter::new("read", &[per_minute(2)], clock.now()).unwrap().with_algorithm(algorithm);
        let fresh = limiter.peek(&alice(), None, 1, clock.now());
        assert_eq!((fresh.is_admitted(), fresh.remaining(), fresh.reset()), (true, 2, Duration::ZERO));
        assert_eq!(limiter.subject_count(), 0, "a look holds nothing");

        let (_, permit) = limiter.check(&alice(), None, 2, clock.now());
        assert!(!limiter.peek(&alice(), None, 1, clock.now()).is_admitted(), "{algorithm:?}");
        limiter.refund(permit.unwrap());
        assert_eq!(limiter.peek(&alice(), None, 1, clock.now()).remaining(), 2, "{algorithm:?}");

        // Too late: the counted cost has expired, and the present count belongs to another request.
        let (_, permit) = limiter.check(&alice(), None, 1, clock.now());
        clock.advance(180 * SECOND);
        exhaust(&limiter, &alice(), clock.now());
        limiter.refund(permit.unwrap());
        assert_eq!(limiter.peek(&alice(), None, 1, clock.now()).remaining(), 0, "{algorithm:?}");
    }
}

#[test]
fn several_quotas_are_counted_all_or_none() {
    let clock = clock();
    let limiter = MemoryRateLimiter::new(
        "export",
        &[Quota::new(5.try_into().unwrap(), 300 * SECOND).unwrap(), per_minute(2)],
        clock.now(),
    )
    .unwrap();
    let both = |cost| limiter.peek(&alice(), None, cost, clock.now());

    assert_eq!(check(&limiter, &alice(), clock.now()).remaining(), 1, "the least of 4 and 1");
    check(&limiter, &alice(), clock.now());
    for _ in 0..10 {
        let denied = check(&limiter, &alice(), clock.now());
        assert_eq!((denied.is_admitted(), denied.limit()), (false, 2));
    }
    clock.advance(61 * SECOND);
    // The ten denials used nothing of the longer quota.
    assert_eq!(check(&limiter, &alice(), clock.now()).remaining(), 1);
    assert_eq!(check(&limiter, &alice(), clock.now()).remaining(), 0);
    clock.advance(61 * SECOND);
    let last = check(&limiter, &alice(), clock.now());
    assert_eq!((last.is_admitted(), last.limit(), last.remaining()), (true, 5, 0));

    // Denied by both, or by the one with the longer wait; at its reset a retry is admitted.
    let denied = check(&limiter, &alice(), clock.now());
    assert_eq!((denied.is_admitted(), denied.limit()), (false, 5));
    clock.advance(denied.reset());
    assert!(both(1).is_admitted() && check(&limiter, &alice(), clock.now()).is_admitted());

    assert_eq!(both(3).verdict(), Verdict::NeverFits);
    assert_eq!((both(3).limit(), both(6).limit()), (2, 5));
}

#[test]
fn a_permit_under_several_quotas_refunds_each() {
    let clock = clock();
    let limiter = MemoryRateLimiter::new("x", &[per_minute(3), per_minute(2)], clock.now()).unwrap();
    let (_, permit) = limiter.check(&alice(), None, 2, clock.now());
    limiter.refund(permit.unwrap());
    let (again, _) = limiter.check(&alice(), None, 2, clock.now());
    assert_eq!((again.is_admitted(), again.remaining()), (true, 0));
    let overridden = limiter.peek(&alice(), NonZeroU32::new(100), 1, clock.now());
    assert_eq!((overridden.is_admitted(), overridden.limit()), (false, 2), "the second quota stays");
}

#[test]
fn a_category_has_one_to_four_quotas() {
    for (count, is_ok) in [(0, false), (1, true), (4, true), (5, false)] {
        let made = MemoryRateLimiter::new("x", &vec![per_minute(1); count], clock().now());
        assert_eq!(made.is_ok(), is_ok, "{count}");
    }
}

/// Ten times as many newcomers as there is room for, then a few of them again.
#[test]
fn a_flood_uses_bounded_memory_and_resets_no_exhausted_key() {
    for (algorithm, capacity) in EVERY_ALGORITHM
        .into_iter()
        .flat_map(|algorithm| [1, 100, 4_096].map(|capacity| (algorithm, capacity)))
    {
        let clock = clock();
        let limiter = MemoryRateLimiter::new("read", &[per_minute(3)], clock.now())
            .unwrap()
            .with_algorithm(algorithm)
            .with_capacity(NonZeroUsize::new(capacity).unwrap());
        assert_eq!(exhaust(&limiter, &alice(), clock.now()), 3);

        let mut admitted = vec![0; 10 * capacity];
        for (index, admitted) in admitted.iter_mut().enumerate() {
            let subject = Subject::other(format!("visitor-{index}"));
            for _ in 0..2 {
                *admitted += usize::from(check(&limiter, &subject, clock.now()).is_admitted());
            }
            assert!(limiter.subject_count() <= capacity, "{algorithm:?}, {capacity}");
            if index % 64 == 0 {
                clock.advance(Duration::from_millis(1));
            }
        }
        assert!(admitted.iter().all(|count| *count <= 3));
        let passed = clock.now().monotonic();
        assert!(passed < 30 * SECOND);
        assert!(!check(&limiter, &alice(), clock.now()).is_admitted(), "{algorithm:?}: freed by the flood");

        // When nothing counts any more there is room again.
        clock.advance(180 * SECOND);
        for index in 0..capacity.div_ceil(4) {
            assert!(check(&limiter, &Subject::other(format!("later-{index}")), clock.now()).is_admitted());
        }
        assert!(limiter.subject_count() <= capacity);
    }
}

/// A newcomer that shared a count keeps its usage when it gets its own count.
#[test]
fn moving_from_the_shared_count_resets_nothing() {
    let clock = clock();
    let limiter = MemoryRateLimiter::new("read", &[per_minute(4)], clock.now())
        .unwrap()
        .with_capacity(NonZeroUsize::MIN);
    let bob = Subject::other("bob");
    exhaust(&limiter, &alice(), clock.now());
    clock.advance(40 * SECOND);
    let (_, permit) = limiter.check(&bob, None, 1, clock.now());
    assert_eq!(exhaust(&limiter, &bob, clock.now()), 3);

    // Alice's count has expired, so she is evicted for Bob; 40 seconds later his has not.
    clock.advance(30 * SECOND);
    assert_eq!(limiter.peek(&bob, None, 1, clock.now()).remaining(), 0);
    assert!(!check(&limiter, &bob, clock.now()).is_admitted());
    assert_eq!(limiter.subject_count(), 1);
    // A permit of the shared count is refunded there, not in his own count.
    limiter.refund(permit.unwrap());
    assert!(!check(&limiter, &bob, clock.now()).is_admitted());
    clock.advance(31 * SECOND);
    assert_eq!(exhaust(&limiter, &bob, clock.now()), 4);
}

#[test]
fn a_calendar_step_changes_no_limit() {
    for algorithm in EVERY_ALGORITHM {
        for step_to in [0, 1_000, 1_702_531_100, 1_702_531_230, 1_702_617_600, 4_000_000_000] {
            let clock = clock();
            let limiter = MemoryRateLimiter::new("read", &[per_minute(3)], clock.now())
                .unwrap()
                .with_algorithm(algorithm);
            exhaust(&limiter, &alice(), clock.now());
            let before = check(&limiter, &alice(), clock.now());
            clock.step_calendar(Timestamp::from_unix_seconds(step_to));
            let after = check(&limiter, &alice(), clock.now());
            assert_eq!(before, after, "{algorithm:?}, step to {step_to}");
            clock.advance(after.reset());
            assert!(check(&limiter, &alice(), clock.now()).is_admitted(), "{algorithm:?}, step to {step_to}");
        }
    }
}

#[test]
fn a_past_time_resets_nothing() {
    for algorithm in EVERY_ALGORITHM {
        let clock = clock();
        clock.advance(3_600 * SECOND);
        let limiter =
            MemoryRateLimiter::new("read", &[per_minute(3)], clock.now()).unwrap().with_algorithm(algorithm);
        let stale = clock.now();
        clock.advance(61 * SECOND);
        exhaust(&limiter, &alice(), clock.now());
        assert!(!check(&limiter, &alice(), stale).is_admitted(), "{algorithm:?}");
        assert!(!check(&limiter, &alice(), clock.now()).is_admitted(), "{algorithm:?}");
    }
}

/// Threads with one key while newcomers flood a small limiter, so that sweeps and checks run concurrently.
#[test]
fn threads_share_one_limit_while_others_flood() {
    let clock = clock();
    let limiter = MemoryRateLimiter::new("read", &[per_minute(500)], clock.now())
        .unwrap()
        .with_capacity(NonZeroUsize::new(64).unwrap());
    check(&limiter, &alice(), clock.now());
    let admitted = AtomicU32::new(1);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (limiter, clock, admitted) = (&limiter, &clock, &admitted);
            scope.spawn(move || {
                for turn in 0..2_000 {
                    if check(limiter, &alice(), clock.now()).is_admitted() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                    check(limiter, &Subject::other(format!("{thread}-{turn}")), clock.now());
                    if turn % 100 == 0 {
                        clock.advance(Duration::from_millis(500));
                    }
                }
            });
        }
    });
    assert!(clock.now().monotonic() < 60 * SECOND);
    assert_eq!(admitted.into_inner(), 500);
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        })
        .collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const PROXIES: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

#[test]
fn forwarded_for_is_trusted_only_from_configured_proxies() {
    const XFF: &str = "x-forwarded-for";
    let source = ClientAddressSource::forwarded_for(PROXIES);
    for (name, peer, lines, want) in [
        ("no proxy", "203.0.113.1", &[][..], "203.0.113.1"),
        ("spoofed without a proxy", "203.0.113.1", &[(XFF, "1.1.1.1")], "203.0.113.1"),
        ("one proxy", "10.0.0.1", &[(XFF, "198.51.100.7")], "198.51.100.7"),
        ("spoofed through a proxy", "10.0.0.1", &[(XFF, "1.1.1.1, 198.51.100.7")], "198.51.100.7"),
        ("spoofed as a proxy", "10.0.0.1", &[(XFF, "10.9.9.9, 198.51.100.7")], "198.51.100.7"),
        ("two proxies", "10.0.0.1", &[(XFF, "1.1.1.1,198.51.100.7,10.0.0.2")], "198.51.100.7"),
        (
            "several lines",
            "10.0.0.1",
            &[(XFF, "1.1.1.1"), (XFF, "198.51.100.7"), (XFF, "10.0.0.2")],
            "198.51.100.7",
        ),
        ("rubbish left of the client", "10.0.0.1", &[(XFF, "<b>, , 198.51.100.7")], "198.51.100.7"),
        ("rubbish right of the client", "10.0.0.1", &[(XFF, "198.51.100.7, unknown")], "10.0.0.1"),
        ("rubbish between proxies", "10.0.0.1", &[(XFF, "198.51.100.7, _x, 10.0.0.2")], "10.0.0.1"),
        ("missing", "10.0.0.1", &[], "10.0.0.1"),
        ("empty", "10.0.0.1", &[(XFF, "")], "10.0.0.1"),
        ("not ASCII", "10.0.0.1", &[(XFF, "198.51.100.7\u{e9}")], "10.0.0.1"),
        ("only proxies", "10.0.0.1", &[(XFF, "10.9.9.9, 10.0.0.2")], "10.0.0.1"),
        ("port", "10.0.0.1", &[(XFF, "198.51.100.7:50123")], "198.51.100.7"),
        ("brackets", "10.0.0.1", &[(XFF, "[2001:db8:1:2:3::4]")], "2001:db8:1:2::"),
        ("brackets and port", "10.0.0.1", &[(XFF, "[2001:db8:1:2:3::4]:443")], "2001:db8:1:2::"),
        ("IPv6", "fd00::1", &[(XFF, "2001:db8:1:2:3::4")], "2001:db8:1:2::"),
        ("mapped client", "10.0.0.1", &[(XFF, "::ffff:198.51.100.7")], "198.51.100.7"),
        ("mapped proxy as the peer", "::ffff:10.0.0.1", &[(XFF, "198.51.100.7")], "198.51.100.7"),
        ("mapped proxy in the list", "10.0.0.1", &[(XFF, "198.51.100.7, ::ffff:10.0.0.2")], "198.51.100.7"),
        ("zone", "10.0.0.1", &[(XFF, "fe80::1%eth0")], "10.0.0.1"),
        ("other fields", "10.0.0.1", &[("x-real-ip", "1.1.1.1"), ("forwarded", "for=1.1.1.1")], "10.0.0.1"),
        // Servers that read X_Forwarded_For as X-Forwarded-For let clients bypass the proxy's protection.
        ("underscores", "10.0.0.1", &[("x_forwarded_for", "1.1.1.1")], "10.0.0.1"),
        (
            "underscores beside",
            "10.0.0.1",
            &[(XFF, "198.51.100.7"), ("x_forwarded_for", "1.1.1.1")],
            "198.51.100.7",
        ),
    ] {
        assert_eq!(source.find(address(peer), &headers(lines)).ip(), address(want), "{name}");
    }
}

#[test]
fn no_header_is_read_by_default() {
    let spoofed =
        headers(&[("x-forwarded-for", "1.1.1.1"), ("x-real-ip", "1.1.1.1"), ("forwarded", "for=1.1.1.1")]);
    for peer in ["10.0.0.1", "127.0.0.1", "::1"] {
        let found = ClientAddressSource::default().find(address(peer), &spoofed);
        let bare = ClientAddressSource::default().find(address(peer), &HeaderMap::new());
        assert_eq!(found, bare);
    }
}

#[test]
fn a_single_field_has_exactly_one_address() {
    const FIELD: &str = "cf-connecting-ip";
    let source = ClientAddressSource::single_field(FIELD, PROXIES);
    assert_eq!(source.fault(), None);
    for (name, peer, lines, want) in [
        ("one", "10.0.0.1", &[(FIELD, "198.51.100.7")][..], "198.51.100.7"),
        ("not from a proxy", "203.0.113.1", &[(FIELD, "1.1.1.1")], "203.0.113.1"),
        ("two lines", "10.0.0.1", &[(FIELD, "1.1.1.1"), (FIELD, "198.51.100.7")], "10.0.0.1"),
        ("a list", "10.0.0.1", &[(FIELD, "1.1.1.1, 198.51.100.7")], "10.0.0.1"),
        ("missing", "10.0.0.1", &[("x-forwarded-for", "1.1.1.1")], "10.0.0.1"),
        ("underscores", "10.0.0.1", &[("cf_connecting_ip", "1.1.1.1")], "10.0.0.1"),
    ] {
        assert_eq!(source.find(address(peer), &headers(lines)).ip(), address(want), "{name}");
    }
    let underscore = ClientAddressSource::single_field("x_real_ip", PROXIES);
    let fault = underscore.fault().unwrap().to_string();
    assert!(fault.starts_with("the field x_real_ip has an underscore in its name"), "{fault}");
}

#[test]
fn one_network_of_ipv6_shares_a_limit() {
    let clock = clock();
    let limiter = limiter(per_minute(100), clock.now());
    let source = ClientAddressSource::peer();
    let mut admitted = 0;
    for host in 0..10_000u128 {
        let network = 0x2001_0db8_0001_0002u128 << 64;
        let peer = Ipv6Addr::from_bits(network | (host * 0x0123_4567_89ab));
        let subject = Subject::from(source.find(peer.into(), &HeaderMap::new()));
        admitted += u32::from(check(&limiter, &subject, clock.now()).is_admitted());
    }
    assert_eq!((admitted, limiter.subject_count()), (100, 1));
    let neighbour = Subject::from(source.find(address("2001:db8:1:3::1"), &HeaderMap::new()));
    assert!(check(&limiter, &neighbour, clock.now()).is_admitted());
}

#[test]
fn the_ipv6_prefix_is_configurable_within_its_range() {
    for (bits, want) in
        [(128, "2001:db8:1:2:3:4:5:6"), (64, "2001:db8:1:2::"), (48, "2001:db8:1::"), (32, "2001:db8::")]
    {
        let source = ClientAddressSource::peer().ipv6_prefix(bits);
        assert_eq!(source.fault(), None);
        assert_eq!(source.find(address("2001:db8:1:2:3:4:5:6"), &HeaderMap::new()).ip(), address(want));
        assert_eq!(source.find(address("192.0.2.1"), &HeaderMap::new()).ip(), address("192.0.2.1"));
    }
    for bits in [0, 31, 129, 255] {
        let source = ClientAddressSource::peer().ipv6_prefix(bits);
        let fault = source.fault().unwrap().to_string();
        assert_eq!(fault, format!("the network part of an IPv6 address is 32 to 128 bits, not {bits}"));
    }
}

proptest! {
    /// Plain or written as IPv6, distinct IPv4 addresses are distinct subjects, and each is one subject.
    #[test]
    fn distinct_ipv4_addresses_never_collide(bits in prop::collection::hash_set(any::<u32>(), 1..200)) {
        let source = ClientAddressSource::peer();
        let find = |peer: IpAddr| source.find(peer, &HeaderMap::new());
        let addresses = bits.iter().copied().map(Ipv4Addr::from_bits);
        let found: HashSet<_> = addresses
            .flat_map(|address| [find(address.into()), find(address.to_ipv6_mapped().into())])
            .collect();
        prop_assert_eq!(found.len(), bits.len());
    }

    /// Whatever a client puts into the field, behind a proxy that appends its address that address is found.
    #[test]
    fn no_client_input_changes_its_address(prefix in "[ -~]{0,60}", client in any::<u32>()) {
        let client = IpAddr::from(Ipv4Addr::from_bits(client));
        prop_assume!(!PROXIES.iter().any(|proxy| proxy.parse::<Network>().unwrap().contains(client)));
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", format!("{prefix}, {client}").parse().unwrap());
        let found = ClientAddressSource::forwarded_for(PROXIES).find(address("10.0.0.1"), &headers);
        prop_assert_eq!(found.ip(), client);
    }
}
