//! Writes the fields that report limits.
//!
//! The first line is a number of requests. Each further line is a limit, `5/60 reads`: what it admits, in how many seconds
//! (0 for requests at a time), and its name.
#![no_main]

use std::cell::LazyCell;
use std::time::Duration;

use http::{HeaderMap, Request};
use libfuzzer_sys::fuzz_target;
use sfv::{BareItem, List, ListEntry, Parser};
use tower_api_keys::clock::ManualClock;
use tower_api_keys::key::Mode;
use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, Quota, RateLimit};
use tower_api_keys_fuzz::{call, record, store};

fuzz_target!(|input: &str| check(input));

const KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";
const START: &str = "2026-01-01T00:00:00Z";
const START_SECONDS: u64 = 1_767_225_600;

thread_local!(static STORE: LazyCell<MemoryStore> = LazyCell::new(|| store([record("key", KEY, Mode::Live)])));

#[derive(Debug)]
struct Rule<'i> {
    name: &'i str,
    limit: u32,
    /// In seconds; `None` for requests at a time.
    window: Option<u64>,
}

fn check(input: &str) {
    let mut lines = input.split('\n');
    let requests = lines.next().and_then(|line| line.parse().ok()).unwrap_or(1_u64).min(20);
    let rules: Vec<Rule<'_>> = lines.take(6).filter_map(rule).collect();
    let mut builder = ApiKeys::builder(STORE.with(|store| (*store).clone()), KeyFormat::new("wfk_").unwrap())
        .header("x-api-key")
        .clock(ManualClock::at(START))
        .ietf_rate_limit_fields()
        .without_route_table();
    for rule in &rules {
        let quota = match rule.window {
            None => Quota::concurrent(rule.limit),
            Some(seconds) => Quota::new(rule.limit, Duration::from_secs(seconds)),
        };
        let Ok(quota) = quota else { return };
        builder = builder.limit(RateLimit::per_key(rule.name, quota));
    }
    let mut names: Vec<&str> = rules.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    let is_twice = names.windows(2).any(|pair| pair[0] == pair[1]);
    let built = builder.build();
    assert_eq!(built.is_ok(), !is_twice, "{rules:?}: {:?}", built.err().map(|error| error.to_string()));
    let mut shown_names: Vec<String> = names.iter().map(|name| shown(name)).collect();
    shown_names.sort_unstable();
    let (Ok(keys), false) = (built, rules.is_empty()) else { return };
    // Only names in ASCII stay different.
    if shown_names.windows(2).any(|pair| pair[0] == pair[1]) {
        return;
    }
    let layer = keys.layer();
    for count in 1..=requests {
        let request = Request::get("/").header("x-api-key", KEY).body(()).unwrap();
        let response = call(&layer, request);
        // Those before were counted, and are not under way any more.
        let left = |rule: &Rule<'_>| {
            let counted = if rule.window.is_some() { count } else { 1 };
            u64::from(rule.limit).checked_sub(counted)
        };
        let is_admitted = rules.iter().all(|rule| left(rule).is_some());
        assert_eq!(response.status(), if is_admitted { 200 } else { 429 }, "{rules:?} {count}");
        let headers = response.headers();
        let policies = list(headers, "ratelimit-policy");
        let states = list(headers, "ratelimit");
        check_plain(headers, &rules);
        for (name, parameters) in &policies {
            let rule = rules
                .iter()
                .find(|rule| shown(rule.name) == *name)
                .unwrap_or_else(|| panic!("{name} of {rules:?}"));
            let mut expected = vec![("q".to_owned(), u64::from(rule.limit).to_string())];
            expected.push(match rule.window {
                Some(seconds) => ("w".to_owned(), seconds.to_string()),
                None => ("qu".to_owned(), "concurrent-requests".to_owned()),
            });
            assert_eq!(*parameters, expected, "{rules:?}");
        }
        for (name, parameters) in &states {
            let rule = rules
                .iter()
                .find(|rule| shown(rule.name) == *name)
                .unwrap_or_else(|| panic!("{name} of {rules:?}"));
            if is_admitted {
                assert_eq!(
                    parameters[0],
                    ("r".to_owned(), left(rule).unwrap().to_string()),
                    "{rules:?} {count}"
                );
            }
            assert_eq!(parameters.len(), if rule.window.is_some() { 2 } else { 1 }, "{parameters:?}");
            if let (Some(seconds), Some((name, value))) = (rule.window, parameters.get(1)) {
                let wait: u64 = value.parse().unwrap();
                assert!(name == "t" && (1..=seconds + seconds / 30 + 1).contains(&wait), "{rules:?}: {wait}");
            }
        }
        if is_admitted {
            for items in [&policies, &states] {
                let mut found: Vec<&str> = items.iter().map(|(name, _)| name.as_str()).collect();
                found.sort_unstable();
                assert_eq!(found, shown_names);
            }
        }
    }
}

/// `5/60 reads`
fn rule(line: &str) -> Option<Rule<'_>> {
    let (numbers, name) = line.split_once(' ')?;
    let (limit, seconds) = numbers.split_once('/')?;
    let seconds: u64 = seconds.parse().ok()?;
    Some(Rule {
        name,
        limit: limit.parse().ok()?,
        window: (1..=100_000).contains(&seconds).then_some(seconds),
    })
}

/// A String has visible ASCII and spaces (RFC 9651 section 3.3.3); anything else is a question mark.
fn shown(name: &str) -> String {
    name.chars().map(|char| if (' '..='~').contains(&char) { char } else { '?' }).collect()
}

/// The three fields that are in wide use are about one of the limits.
fn check_plain(headers: &HeaderMap, rules: &[Rule<'_>]) {
    let number = |name: &str| -> u64 { headers[name].to_str().unwrap().parse().unwrap() };
    let limit = number("x-ratelimit-limit");
    assert!(rules.iter().any(|rule| u64::from(rule.limit) == limit), "{limit} of {rules:?}");
    assert!(number("x-ratelimit-remaining") < limit);
    assert!(number("x-ratelimit-reset") > START_SECONDS);
}

/// The items of a List of Strings with parameters, as `sfv` reads it.
fn list(headers: &HeaderMap, name: &str) -> Vec<(String, Vec<(String, String)>)> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    assert_eq!(lines.len(), 1, "{name}");
    let list: List =
        Parser::new(lines[0].as_bytes()).parse().unwrap_or_else(|error| panic!("{lines:?}: {error}"));
    let text = |item: &BareItem| match item {
        BareItem::String(text) => text.as_str().to_owned(),
        BareItem::Integer(number) => number.to_string(),
        other => panic!("{other:?} in {lines:?}"),
    };
    let item = |entry: &ListEntry| match entry {
        ListEntry::Item(item) => {
            let parameters = item.params.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
            (text(&item.bare_item), parameters.collect())
        }
        ListEntry::InnerList(_) => panic!("an inner list in {lines:?}"),
    };
    list.iter().map(item).collect()
}
