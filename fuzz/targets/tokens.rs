//! Issues session tokens, and presents them, changed and late.
//!
//! Each line is a step: `issue 0 1` (to the first key with the second companion), `pass 5` (seconds), `use 0 1 13=x 70=A`
//! (the first token, with the second key, with other characters at these places), `raw 0 ses_…` (a text, with the first key).
#![no_main]

use std::cell::LazyCell;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use tower_api_keys::clock::{Clock, ManualClock, Timestamp};
use tower_api_keys::credential::{Companions, HeaderKey, Parts, SessionTokens};
use tower_api_keys::key::Mode;
use tower_api_keys::middleware::ApiKeysLayer;
use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, Principal};
use tower_api_keys_fuzz::{call, record, rejection, store};

fuzz_target!(|input: &str| check(input));

const KEYS: [&str; 2] = ["wfk_abc123def456ghi789jkl012mno345pq", "wfk_ABC123def456ghi789jkl012mno345pq"];
const COMPANIONS: [&str; 2] =
    ["app_abc123def456ghi789jkl012mno345pq", "app_ABC123def456ghi789jkl012mno345pq"];
const LIFETIME: Duration = Duration::from_secs(10);
const X_SECRET: HeaderName = HeaderName::from_static("x-secret");
const X_TOKEN: HeaderName = HeaderName::from_static("x-token");

thread_local!(static STORE: LazyCell<MemoryStore> = LazyCell::new(|| {
    let keys = ["key_1", "key_2"].into_iter().zip(KEYS);
    let companions = ["app_1", "app_2"].into_iter().zip(COMPANIONS);
    store(keys.chain(companions).map(|(id, text)| record(id, text, Mode::Live)))
}));

struct Token {
    text: String,
    key: usize,
    companion: usize,
    end: Timestamp,
}

fn check(input: &str) {
    let clock = ManualClock::at("2026-01-01T00:00:00Z");
    let tokens =
        SessionTokens::new("0123456789abcdef0123456789abcdef".into()).unwrap().with_lifetime(LIFETIME);
    let companions = Companions::new(HeaderKey::new(X_SECRET, KeyFormat::new("app_").unwrap()))
        .with_session_tokens(X_TOKEN, tokens.clone())
        .with_routes([("POST", "/login", Parts::SECRET)])
        .with_otherwise(Parts::TOKEN);
    let keys = ApiKeys::builder(STORE.with(|store| (*store).clone()), KeyFormat::new("wfk_").unwrap())
        .header("x-api-key")
        .companions(companions)
        .clock(clock.clone())
        .attach_rejections()
        .without_route_table();
    let layer = keys.build().unwrap().layer();
    let mut issued: Vec<Token> = Vec::new();
    for line in input.split('\n').take(20) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words.get(index).and_then(|word| word.parse::<usize>().ok()).unwrap_or(0);
        let (first, second) = (number(1), number(2) % 2);
        match words[0] {
            "pass" => clock.advance(Duration::from_secs(first.min(1_000) as u64)),
            "issue" => {
                let (key, companion) = (first % 2, second);
                let request = Request::post("/login")
                    .header("x-api-key", KEYS[key])
                    .header(X_SECRET, COMPANIONS[companion]);
                let response = call(&layer, request.body(()).unwrap());
                let principal: &Principal = response.extensions().get().expect("key and secret are right");
                let now = clock.now().timestamp();
                let text =
                    tokens.issue(principal, now).expect("a secret was sent").expose_secret().to_owned();
                assert!(text.len() <= 101 && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
                issued.push(Token { text, key, companion, end: now.saturating_add(LIFETIME) });
            }
            "use" if !issued.is_empty() => {
                let mut text = issued[first % issued.len()].text.clone().into_bytes();
                for (place, character) in
                    words[3.min(words.len())..].iter().filter_map(|word| word.split_once('='))
                {
                    let place = place.parse::<usize>().unwrap_or(0) % text.len();
                    text[place] = character.bytes().next().unwrap_or(b'.');
                }
                present(&layer, &issued, second, &text, clock.now().timestamp());
            }
            "raw" => {
                let text = line.splitn(3, ' ').nth(2).unwrap_or_default();
                present(&layer, &issued, first % 2, text.as_bytes(), clock.now().timestamp());
            }
            _ => {}
        }
    }
}

/// Accepted is what was issued to this key, character by character, until its end.
fn present(layer: &ApiKeysLayer, issued: &[Token], key: usize, text: &[u8], now: Timestamp) {
    let Ok(value) = HeaderValue::from_bytes(text) else { return };
    let request = Request::get("/").header("x-api-key", KEYS[key]).header(X_TOKEN, value);
    let response = call(layer, request.body(()).unwrap());
    let code = rejection(&response).map(|rejection| rejection.reason().code());
    let shown = String::from_utf8_lossy(text);
    // Spaces around a field's value are no part of it.
    let token = issued.iter().find(|token| token.text == shown.trim_matches([' ', '\t']));
    let expected: &[Option<&str>] = match token {
        _ if shown.trim_matches([' ', '\t']).is_empty() => &[Some("session_token_missing")],
        // Which of them depends on what of it could be read.
        None => &[
            Some("session_token_invalid"),
            Some("session_token_expired"),
            Some("companion_invalid"),
            Some("credential_malformed"),
        ],
        Some(token) if now >= token.end => &[Some("session_token_expired"), Some("session_token_invalid")],
        Some(token) if token.key != key => &[Some("session_token_invalid")],
        Some(_) => &[None],
    };
    assert!(expected.contains(&code), "{shown} with key {key}: {code:?}, and not {expected:?}");
    assert_eq!(response.status(), if code.is_none() { 200 } else { 401 });
    if let (None, Some(token)) = (code, token) {
        let principal: &Principal = response.extensions().get().unwrap();
        let companion = principal.companion_id().map(|id| id.as_str());
        assert_eq!(companion, Some(["app_1", "app_2"][token.companion]), "{shown}");
    }
}
