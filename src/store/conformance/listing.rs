//! The rules of listings.

use std::time::Duration;

use super::tools::{START, acme, globex, insert, list, parse, record};
use crate::key::{Actor, KeyRecord, KeyState, KeyStatus, Mode, Owner};
use crate::scope::ScopeSet;
use crate::store::{KeyAdministration, KeyQuery};

pub(super) async fn lists_page_by_page<S: KeyAdministration>(store: &S) {
    // Three keys share one instant, so that the identifier has to break the tie.
    let mut ages = vec![5, 3, 3, 3, 1, 0, 9];
    let mut expected: Vec<_> =
        ages.drain(..).enumerate().map(|(n, age)| record(&format!("key {n}"), &acme(), age)).collect();
    for key in &expected {
        insert(store, key).await;
    }
    insert(store, &record("foreign", &globex(), 2)).await;
    expected.sort_by_key(|key| (key.created_at, key.id));
    let expected: Vec<_> = expected.iter().map(|key| key.id).collect();

    for limit in [1, 2, 3, 7, 100] {
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let (keys, next) = list(store, &acme(), after, limit).await;
            assert!(keys.len() <= limit, "a page must not be longer than asked for");
            listed.extend(keys.iter().map(|key| key.id));
            match next {
                Some(cursor) => after = Some(cursor),
                None => break,
            }
            assert!(listed.len() <= expected.len(), "a listing must come to an end");
        }
        assert_eq!(listed, expected, "pages of {limit} must give each key once, oldest first");
    }

    let before = START.saturating_add(Duration::from_secs(3));
    let query = KeyQuery { secret_created_before: Some(before), ..KeyQuery::default() };
    let page = store.list(Some(&acme()), &query).await.expect("a listing by age must work");
    assert_eq!(page.keys.len(), 2, "a listing by age must hold exactly the keys whose secret is older");
    let query = KeyQuery { limit: 1, ..query };
    let first = store.list(Some(&acme()), &query).await.expect("a listing by age must work");
    let query = KeyQuery { after: first.next, ..query };
    let second = store.list(Some(&acme()), &query).await.expect("a listing by age must continue");
    let listed: Vec<_> = first.keys.iter().chain(&second.keys).cloned().collect();
    assert_eq!(listed, page.keys, "a listing by age must give the same keys page by page");
    assert!(second.next.is_none(), "a listing by age must come to an end");
}

pub(super) async fn lists_what_a_query_matches<S: KeyAdministration>(store: &S) {
    let (ada, eve): (Actor, Actor) = (parse("operator ada"), parse("key k1"));
    let end = |seconds| START.saturating_add(Duration::from_secs(seconds));
    let of = [
        (acme(), 4, Some(&ada), Some(end(100))),
        (globex(), 1, Some(&eve), None),
        (acme(), 3, Some(&eve), Some(end(50))),
        (Owner::system(Mode::Test), 2, Some(&ada), None),
        (globex(), 2, None, Some(end(51))),
    ];
    let mut records = Vec::new();
    for (number, (owner, age, creator, expires_at)) in of.into_iter().enumerate() {
        let mut key = record(&format!("key {number}"), &owner, age);
        key.set_created_by(creator.cloned());
        key.expires_at = expires_at;
        insert(store, &key).await;
        records.push(key);
    }
    for (name, state, not_before) in [
        ("disabled", KeyState::Disabled, None),
        ("revoked", KeyState::Revoked { at: START }, None),
        ("starts now", KeyState::Active, Some(end(50))),
        ("starts later", KeyState::Active, Some(end(51))),
    ] {
        let mut key = record(name, &acme(), 6);
        key.state = state;
        key.extras.not_before = not_before;
        insert(store, &key).await;
        records.push(key);
    }
    // What stands for other text in a pattern of SQL is itself here.
    for (name, scopes) in [
        ("CI", "invoice:read"),
        ("CI 2", "invoice:create invoice:read_all"),
        ("ci", "invoice:*"),
        ("C%I", "client_note:read invoice:create"),
        ("C_I", "clientxnote:read"),
        ("Ünal", "client_note:*"),
    ] {
        let mut key = record(name, &acme(), 7);
        key.name = name.into();
        key.scopes = ScopeSet::parse_list(scopes.split(' ')).expect("these are scopes");
        insert(store, &key).await;
        records.push(key);
    }
    records.sort_by_key(|key| (key.created_at, key.id));
    let scope = |scope| KeyQuery { scope: Some(parse(scope)), ..KeyQuery::default() };
    let named = |prefix: &str| KeyQuery { name_prefix: Some(prefix.to_owned()), ..KeyQuery::default() };
    let in_status = |status, at| KeyQuery { status_at: Some((status, at)), ..KeyQuery::default() };
    let queries = [
        KeyQuery::default(),
        KeyQuery { created_by: Some(ada), ..KeyQuery::default() },
        KeyQuery { created_by: Some(eve.clone()), ..KeyQuery::default() },
        KeyQuery { created_by: Some(parse("operator")), ..KeyQuery::default() },
        KeyQuery { expires_before: Some(end(51)), ..KeyQuery::default() },
        KeyQuery { unused_since: Some(end(3)), ..KeyQuery::default() },
        KeyQuery {
            unused_since: Some(end(4)),
            expires_before: Some(end(51)),
            created_by: Some(eve),
            ..KeyQuery::default()
        },
        KeyQuery { secret_created_before: Some(end(3)), ..KeyQuery::default() },
        in_status(KeyStatus::Active, end(50)),
        in_status(KeyStatus::Active, end(49)),
        in_status(KeyStatus::NotYetValid, end(50)),
        in_status(KeyStatus::Disabled, end(50)),
        in_status(KeyStatus::Expired, end(50)),
        in_status(KeyStatus::Revoked, end(50)),
        scope("invoice:read"),
        scope("invoice:*"),
        scope("client_note:read"),
        scope("nothing:read"),
        named(""),
        named("C"),
        named("CI"),
        named("ci"),
        named("C%"),
        named("C_"),
        named("%"),
        named("Ü"),
        named("CI 2 and more"),
        KeyQuery { scope: Some(parse("invoice:create")), ..named("C") },
        KeyQuery { mode: Some(Mode::Live), ..KeyQuery::default() },
        KeyQuery { mode: Some(Mode::Test), ..KeyQuery::default() },
    ];
    for owner in
        [None, Some(acme()), Some(globex()), Some(Owner::system(Mode::Test)), Some(Owner::system(Mode::Live))]
    {
        for query in &queries {
            let is_wanted = |key: &&KeyRecord| {
                query.matches(key) && owner.as_ref().is_none_or(|owner| key.owner == *owner)
            };
            let oldest_first: Vec<_> = records.iter().filter(is_wanted).map(|key| key.id).collect();
            for (newest_first, limit) in
                [false, true].into_iter().flat_map(|newest| [1, 2, 100].map(|limit| (newest, limit)))
            {
                let mut query = KeyQuery { limit, newest_first, ..query.clone() };
                let mut listed = Vec::new();
                while listed.len() <= oldest_first.len() {
                    let page = store.list(owner.as_ref(), &query).await.expect("a listing must work");
                    listed.extend(page.keys.iter().map(|key| key.id));
                    query.after = page.next;
                    if query.after.is_none() {
                        break;
                    }
                }
                let mut expected = oldest_first.clone();
                if newest_first {
                    expected.reverse();
                }
                assert_eq!(listed, expected, "keys of {owner:?} (`None`: of all) for {query:?}");
            }
        }
        if let Some(owner) = &owner {
            let count = store.count(owner).await.expect("a count must work");
            let expected = records.iter().filter(|key| key.owner == *owner).count() as u64;
            assert_eq!(count, expected, "a count is that of the keys of {owner:?}");
        }
    }
}
