//! Lists keys, page by page.
//!
//! The first line is a query: `limit:3 newest mode:test owner name:ab scope:a:b before:90 ends:95 after:5.key`, where all
//! may be missing. Each further line is a key: its identifier, when it was made, when it ends (0 for never), its mode, its
//! owner, its name and its scopes, `key 5 90 test acme ab a:b c:*`. A key of the owner also lists them over HTTP.
#![no_main]

use std::cmp::Reverse;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::Request;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tower::ServiceExt;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::key::{KeyId, KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::scope::{Scope, ScopeSet};
use tower_api_keys::store::{Cursor, KeyAdministration, KeyQuery};
use tower_api_keys::{ApiKeys, KeyFormat};
use tower_api_keys_fuzz::{ready, store};

fuzz_target!(|input: &str| check(input));

const CALLER: &str = "caller";

#[derive(Debug)]
struct Key<'i> {
    id: &'i str,
    made: u64,
    end: u64,
    mode: Mode,
    owner: &'i str,
    name: &'i str,
    scopes: Vec<&'i str>,
}

fn check(input: &str) {
    let mut lines = input.split('\n');
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let mut keys: Vec<Key<'_>> = Vec::new();
    for key in lines.take(30).filter_map(key) {
        if key.id != CALLER && !keys.iter().any(|other| other.id == key.id) {
            keys.push(key);
        }
    }
    let store = store(keys.iter().map(record));

    let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let number = |name: &str| value(name).and_then(|text| text.parse::<u32>().ok()).map(u64::from);
    let mut query = KeyQuery::default();
    query.limit = number("limit:").unwrap_or(100) as usize;
    query.newest_first = words.contains(&"newest");
    query.mode = value("mode:").and_then(|text| text.parse().ok());
    query.name_prefix = value("name:").map(str::to_owned);
    query.scope = value("scope:").and_then(|text| text.parse().ok());
    query.secret_created_before = number("before:").map(Timestamp::from_unix_millis);
    query.expires_before = number("ends:").map(Timestamp::from_unix_millis);
    query.after = value("after:").and_then(cursor);
    let owner = words.contains(&"owner").then(|| owner("acme", Mode::Live));

    if owner.is_some() {
        let caller = format!("{CALLER} 0 0 live acme - api-keys:read");
        let caller = key(&caller).unwrap();
        let mut plain = KeyQuery::default();
        plain.scope = query.scope.clone();
        let mut expected: Vec<&Key<'_>> =
            keys.iter().chain([&caller]).filter(|key| matches(key, &plain, true)).collect();
        expected.sort_by_key(|key| (key.made, key.id));
        expected.retain(|key| {
            query.after.is_none_or(|after| {
                (key.made, key.id) > (after.created_at.as_unix_millis(), after.id.as_str())
            })
        });
        let ids: Vec<&str> = expected.iter().map(|key| key.id).collect();
        let limit = query.limit.clamp(1, 1000);
        let found = listed_over_http(&keys, limit, query.scope.as_ref(), query.after);
        assert_eq!(found, ids, "{words:?} of {keys:?} over HTTP");
    }
    let mut expected: Vec<&Key<'_>> =
        keys.iter().filter(|key| matches(key, &query, owner.is_some())).collect();
    expected.sort_by_key(|key| (key.made, key.id));
    if let Some(after) = query.after {
        let place = (after.created_at.as_unix_millis(), after.id.to_string());
        expected.retain(|key| {
            let own = (key.made, key.id.to_owned());
            if query.newest_first { own < place } else { own > place }
        });
    }
    if query.newest_first {
        expected.sort_by_key(|key| Reverse((key.made, key.id)));
    }
    let limit = query.limit.clamp(1, 1000);
    for page in expected.chunks(limit).chain(expected.is_empty().then_some(&[][..])) {
        let found = ready(store.list(owner.as_ref(), &query)).unwrap();
        let ids: Vec<String> = found.keys.iter().map(|key| key.id.to_string()).collect();
        let of_page: Vec<&str> = page.iter().map(|key| key.id).collect();
        assert_eq!(ids, of_page, "{words:?} of {keys:?}, after {:?}", query.after);
        let is_last = page.last().map(|key| key.id) == expected.last().map(|key| key.id);
        assert!(
            found.broken.is_empty() && found.next.is_none() == is_last,
            "{words:?} of {keys:?}: {:?}",
            found.next
        );
        query.after = found.next.map(|next| cursor(&next.to_string()).unwrap());
        assert_eq!(query.after, found.next);
    }
}

/// What a key of `acme` gets over HTTP, page by page.
fn listed_over_http(
    keys: &[Key<'_>],
    limit: usize,
    scope: Option<&Scope>,
    after: Option<Cursor>,
) -> Vec<String> {
    let caller = "wfk_abc123def456ghi789jkl012mno345pq";
    let mut record_of_caller = tower_api_keys_fuzz::record(CALLER, caller, Mode::Live);
    record_of_caller.scopes = ScopeSet::parse_list(["api-keys:read"]).unwrap();
    let assembly = ApiKeys::builder(
        store(keys.iter().map(record).chain([record_of_caller])),
        KeyFormat::new("wfk_").unwrap(),
    );
    let assembly = assembly.header("x-api-key").without_route_table().build().unwrap();
    let app: Router = assembly.key_routes().layer(assembly.layer());
    let (mut ids, mut cursor) = (Vec::new(), after.map(|after| after.to_string()));
    loop {
        let scope = scope.map(|scope| format!("&scope={scope}")).unwrap_or_default();
        let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let request = Request::get(format!("/?limit={limit}{scope}{from}")).header("x-api-key", caller);
        let answer: Value = ready(async {
            let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
            serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap()
        });
        let page = answer["data"].as_array().unwrap();
        assert!(page.len() <= limit, "{answer}");
        ids.extend(page.iter().map(|key| key["id"].as_str().unwrap().to_owned()));
        cursor = answer["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return ids;
        }
        assert!(!page.is_empty() && ids.len() <= keys.len() + 1, "{answer}");
    }
}

fn matches(key: &Key<'_>, query: &KeyQuery, is_of_acme: bool) -> bool {
    let before =
        |limit: Option<Timestamp>, time: u64| limit.is_none_or(|limit| time < limit.as_unix_millis());
    let has_scope = |wanted: &Scope| {
        let (resource, _) = wanted.as_str().split_once(':').unwrap();
        key.scopes.iter().any(|held| *held == wanted.as_str() || *held == format!("{resource}:*"))
    };
    (!is_of_acme || (key.owner == "acme" && key.mode == Mode::Live))
        && query.mode.is_none_or(|mode| key.mode == mode)
        && query.name_prefix.as_ref().is_none_or(|prefix| key.name.as_bytes().starts_with(prefix.as_bytes()))
        && query.scope.as_ref().is_none_or(has_scope)
        && before(query.secret_created_before, key.made)
        && (query.expires_before.is_none() || key.end != 0)
        && before(query.expires_before, key.end)
}

/// `5.key`
fn cursor(text: &str) -> Option<Cursor> {
    let parsed = text.parse::<Cursor>();
    let place = text.split_once('.').and_then(|(millis, id)| {
        let is_number = millis.bytes().all(|digit| digit.is_ascii_digit());
        let is_shortest = millis == "0" || !millis.starts_with('0');
        let millis: u64 = millis.parse().ok().filter(|_| is_number && is_shortest)?;
        // There is no later time.
        let created_at = (millis < 1 << 48).then(|| Timestamp::from_unix_millis(millis))?;
        Some(Cursor { created_at, id: id.parse().ok()? })
    });
    assert_eq!(parsed.as_ref().ok(), place.as_ref(), "{text:?}");
    place
}

fn key(line: &str) -> Option<Key<'_>> {
    let mut words = line.split(' ');
    let id = words.next().filter(|id| id.parse::<KeyId>().is_ok())?;
    let mut number = || words.next()?.parse::<u32>().ok().map(u64::from);
    let (made, end) = (number()?, number()?);
    let mode = words.next()?.parse().ok()?;
    let owner = words.next().filter(|name| *name == "acme" || *name == "other")?;
    let name = words.next().unwrap_or_default();
    let scopes = words.filter(|word| word.parse::<Scope>().is_ok()).collect();
    Some(Key { id, made, end, mode, owner, name, scopes })
}

fn owner(name: &str, mode: Mode) -> Owner {
    Owner::organization(name.parse().unwrap(), mode)
}

fn record(key: &Key<'_>) -> KeyRecord {
    let made = Timestamp::from_unix_millis(key.made);
    let digest = Peppers::none().digest(key.id);
    let mut record = KeyRecord::new(key.id.parse().unwrap(), owner(key.owner, key.mode), digest, made);
    record.expires_at = (key.end != 0).then(|| Timestamp::from_unix_millis(key.end));
    record.name = key.name.into();
    record.scopes = ScopeSet::parse_list(key.scopes.iter().copied()).unwrap();
    record
}
