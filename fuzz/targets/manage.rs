//! Manages keys over HTTP.
//!
//! The first line is a request, `POST /`, `GET /?limit=2`, `PATCH /one` or `POST /one/rotate`, the second one the type of
//! its body. All further lines are the body.
#![no_main]

use std::collections::BTreeSet;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use tower::ServiceExt;
use tower_api_keys::address::Network;
use tower_api_keys::clock::{ManualClock, Timestamp};
use tower_api_keys::key::Mode;
use tower_api_keys::scope::{Scope, ScopeSet};
use tower_api_keys::store::Cursor;
use tower_api_keys::{ApiKeys, KeyFormat};
use tower_api_keys_fuzz::{form, members, ready, record, store};

fuzz_target!(|input: &str| check(input));

const KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";
const HELD: [&str; 3] = ["api-keys:read", "api-keys:write", "workflows:*"];

fn check(input: &str) {
    let mut parts = input.splitn(3, '\n');
    let Some((method, target)) = parts.next().and_then(|line| line.split_once(' ')) else { return };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else { return };
    if !target.starts_with('/') {
        return;
    }
    let kind = parts.next().unwrap_or_default();
    let body = parts.next().unwrap_or_default();
    let app = app();
    let (status, answer) = send(&app, method.clone(), uri.clone(), kind, body);
    let shown = || format!("{input:?}: {status} {answer}");
    assert!(!status.is_server_error(), "{}", shown());
    let is_json =
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    match (method.as_str(), uri.path()) {
        ("POST", "/") => {
            let members = members(body).filter(|_| is_json && body.len() <= 16 * 1024);
            let is_possible = members.as_ref().is_some_and(can_be_key);
            assert!(is_possible || !status.is_success(), "{}", shown());
            if members.as_ref().is_some_and(is_plain_key) {
                assert_eq!(status, StatusCode::CREATED, "{}", shown());
            }
            if let (StatusCode::CREATED, Some(members)) = (status, members) {
                check_view(&members, data(&answer));
                let id = data(&answer)["id"].as_str().unwrap();
                let (status, again) = send(&app, Method::GET, format!("/{id}").parse().unwrap(), "", "");
                assert_eq!(status, StatusCode::OK, "{}", shown());
                check_view(&members, data(&again));
            }
        }
        ("GET", "/") => {
            if let Some(is_valid) = is_query(uri.query().unwrap_or_default()) {
                let expected = if is_valid { StatusCode::OK } else { StatusCode::BAD_REQUEST };
                assert_eq!(status, expected, "{}", shown());
            }
        }
        ("POST", "/one/rotate") if status.is_success() && !body.is_empty() => {
            members(body).unwrap_or_else(|| panic!("{}", shown()));
        }
        ("PATCH", "/one") if status == StatusCode::OK => {
            let members = members(body).unwrap_or_else(|| panic!("{}", shown()));
            check_view(&without_nulls(&members), data(&answer));
        }
        _ => {}
    }
}

/// A router with one key, which may manage keys.
fn app() -> Router {
    let mut one = record("one", KEY, Mode::Live);
    one.scopes = ScopeSet::parse_list(HELD).unwrap();
    let keys = ApiKeys::builder(store([one]), KeyFormat::new("wfk_").unwrap())
        .header("x-api-key")
        .clock(ManualClock::at("2026-01-01T00:00:00Z"))
        .manage_with(|manager| manager.with_metadata_of_callers())
        .without_route_table();
    let keys = keys.build().unwrap();
    keys.key_routes().layer(keys.layer())
}

fn send(app: &Router, method: Method, uri: Uri, kind: &str, body: &str) -> (StatusCode, Value) {
    let mut request = Request::new(Body::from(body.to_owned()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request.headers_mut().insert("x-api-key", HeaderValue::from_static(KEY));
    if let Ok(kind) = HeaderValue::from_str(kind) {
        request.headers_mut().insert("content-type", kind);
    }
    ready(async {
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    })
}

fn data(answer: &Value) -> &Value {
    answer.get("data").unwrap_or(answer)
}

/// Whether the documents allow each member.
fn can_be_key(members: &Map<String, Value>) -> bool {
    let is_fitting = |(name, value): (&String, &Value)| match name.as_str() {
        "name" => value.as_str().is_some_and(|name| !name.trim().is_empty()),
        "scopes" => value.as_array().is_some_and(|scopes| {
            let is_held = |scope: Scope| ScopeSet::parse_list(HELD).unwrap().contains(&scope);
            scopes.iter().all(|scope| scope.as_str().and_then(|text| text.parse().ok()).is_some_and(is_held))
        }),
        "expiresAt" | "notBefore" => value.is_null() || time(value).is_some(),
        "limits" => {
            value.is_null()
                || value.as_object().is_some_and(|limits| {
                    let is_limit = |limit: &Value| {
                        limit.as_u64().is_some_and(|limit| (1..=u64::from(u32::MAX)).contains(&limit))
                    };
                    limits.values().all(|limit| limit.is_null() || is_limit(limit))
                })
        }
        "allowedAddresses" => value.is_null() || networks(value).is_some_and(|networks| !networks.is_empty()),
        "metadata" => value.is_null() || value.is_object(),
        _ => false,
    };
    members.contains_key("name") && members.contains_key("scopes") && members.iter().all(is_fitting)
}

/// Whether there is nothing to object to.
fn is_plain_key(members: &Map<String, Value>) -> bool {
    let is_plain = |name: &str| name.len() <= 100 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    can_be_key(members)
        && members.len() == 2
        && members["name"].as_str().is_some_and(is_plain)
        && !members["scopes"].as_array().unwrap().is_empty()
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn networks(value: &Value) -> Option<Vec<Network>> {
    value.as_array()?.iter().map(|network| network.as_str()?.parse().ok()).collect()
}

/// A patch without what it removes.
fn without_nulls(members: &Map<String, Value>) -> Map<String, Value> {
    members
        .iter()
        .filter(|(name, value)| !value.is_null() && *name != "metadata")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// A key is shown as it was made.
fn check_view(members: &Map<String, Value>, view: &Value) {
    for (name, value) in members {
        let shown = &view[name];
        let is_same = match name.as_str() {
            "scopes" => {
                let texts = |list: &Value| -> BTreeSet<String> {
                    list.as_array().unwrap().iter().map(|scope| scope.as_str().unwrap().to_owned()).collect()
                };
                texts(shown) == texts(value)
            }
            "expiresAt" | "notBefore" => time(shown) == time(value),
            "limits" => value.as_object().is_none_or(|limits| {
                limits.iter().all(|(category, limit)| shown.get(category).unwrap_or(&Value::Null) == limit)
            }),
            "allowedAddresses" => networks(shown) == networks(value),
            _ => shown == value,
        };
        assert!(is_same, "{name} of {members:?}: {view}");
    }
}

/// Whether the query of a listing is valid; `None` if that is not said.
fn is_query(query: &str) -> Option<bool> {
    let mut names = BTreeSet::new();
    let mut is_valid = true;
    for (name, value) in form(query) {
        let (name, value) = (String::from_utf8(name).ok()?, String::from_utf8(value).ok()?);
        let is_known = match name.as_str() {
            "limit" => value.parse::<u32>().is_ok_and(|limit| (1..=1000).contains(&limit)),
            "cursor" => value.parse::<Cursor>().is_ok(),
            "olderThanDays" | "expiresWithinDays" | "unusedForDays" => value.parse::<u32>().is_ok(),
            "scope" => value.parse::<Scope>().is_ok(),
            "createdBy" | "status" | "namePrefix" => return None,
            _ => continue,
        };
        is_valid &= is_known && names.insert(name);
    }
    Some(is_valid)
}
