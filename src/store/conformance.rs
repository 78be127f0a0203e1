//! The rules of every store, as a test suite that a store's author runs.
//!
//! ```
//! use tower_api_keys::store::{MemoryStore, conformance};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! conformance::check(async || MemoryStore::new()).await;
//! # });
//! ```

mod audit;
mod changes;
mod imports;
mod quotas;
mod repairs;
mod tools;

use std::time::Duration;

use self::audit::{delivers_what_was_not_delivered, keeps_an_event_with_its_change};
use self::changes::says_what_has_changed;
use self::imports::remembers_imports_of_deleted_keys;
use self::quotas::counts_quotas_as_one_change_each;
use self::repairs::{counts_keys_by_pepper, revokes_without_reading};
use self::tools::{
    START, acme, conflicts, digest, find, find_id, full_record, get, globex, insert, join_all, list,
    next_secret, parse, peppered, record,
};
use super::{KeyAdministration, KeyQuery, KeySelector};
use crate::key::{Actor, KeyRecord, KeyState, KeyStatus, Mode, NextSecret, Owner, PreviousSecret};
use crate::scope::ScopeSet;

/// Runs the whole suite, each part on an empty store from `new_store`.
///
/// # Panics
///
/// If the store breaks a rule; the message names the rule.
pub async fn check<S: KeyAdministration>(new_store: impl AsyncFn() -> S) {
    finds_what_was_inserted(&new_store().await).await;
    inserts_only_what_is_absent(&new_store().await).await;
    compares_identifiers_case_sensitively(&new_store().await).await;
    keeps_owners_apart(&new_store().await).await;
    replaces_only_the_version_it_was_given(&new_store().await).await;
    lets_one_of_many_writers_win(&new_store().await).await;
    finds_both_secrets_of_a_rotated_key(&new_store().await).await;
    finds_the_next_secret(&new_store().await).await;
    refreshes_the_whole_record(&new_store().await).await;
    lets_no_refresh_undo_a_revocation(&new_store().await).await;
    forgets_what_was_deleted(&new_store().await).await;
    revokes_without_reading(&new_store().await).await;
    counts_keys_by_pepper(&new_store().await).await;
    remembers_imports_of_deleted_keys(&new_store().await).await;
    lists_page_by_page(&new_store().await).await;
    lists_what_a_query_matches(&new_store().await).await;
    keeps_the_latest_use_or_none(&new_store().await).await;
    counts_quotas_as_one_change_each(&new_store().await).await;
    says_what_has_changed(&new_store().await).await;
    keeps_an_event_with_its_change(&new_store().await).await;
    delivers_what_was_not_delivered(&new_store().await).await;
}

async fn finds_what_was_inserted<S: KeyAdministration>(store: &S) {
    let record = full_record();
    assert_eq!(find(store, &record.digest).await, None, "an empty store must find nothing");
    insert(store, &record).await;

    let by_digest = find(store, &record.digest).await.expect("a stored key must be found by its digest");
    assert_eq!(by_digest, record, "a lookup must return every field as it was stored");
    let by_id = find_id(store, &record.id).await.expect("a stored key must be found by its identifier");
    assert_eq!(by_id, record, "both lookups must return the same record");
    let got = get(store, &record.owner, &record.id).await.expect("`get` must return a stored key");
    assert_eq!(got, record, "`get` must return the same record");

    let unknown = digest("unknown");
    let among = [unknown, record.digest];
    let found = store.find(KeySelector::Digests(&among)).await.expect("a lookup by two digests must work");
    assert!(found.is_some(), "a lookup by several digests must find a key by any of them");
    let found = store.find(KeySelector::Digests(&[])).await.expect("a lookup by no digest must work");
    assert!(found.is_none(), "a lookup by no digest must find nothing");
    assert_eq!(find(store, &unknown).await, None, "a digest that is not stored must find nothing");
    let same_bytes = peppered("a", 2);
    assert_eq!(
        find(store, &same_bytes).await,
        None,
        "a digest of another algorithm or pepper is another digest"
    );
}

async fn inserts_only_what_is_absent<S: KeyAdministration>(store: &S) {
    let first = record("first", &acme(), 0);
    insert(store, &first).await;

    let mut same_id = record("second", &globex(), 1);
    same_id.id = first.id;
    conflicts(store.insert(same_id, None).await, "an insert must not take over a stored identifier");
    let mut same_digest = record("second", &globex(), 1);
    same_digest.digest = first.digest;
    conflicts(store.insert(same_digest, None).await, "an insert must not take over a stored digest");
    let mut same_previous = record("third", &globex(), 1);
    same_previous.extras.previous = Some(PreviousSecret { digest: first.digest, valid_until: START });
    conflicts(
        store.insert(same_previous, None).await,
        "an insert must not take over a stored digest as a previous one",
    );

    assert_eq!(find_id(store, &first.id).await, Some(first), "a failed insert must change nothing");
    assert!(list(store, &globex(), None, 10).await.0.is_empty(), "a failed insert must leave nothing behind");
}

async fn compares_identifiers_case_sensitively<S: KeyAdministration>(store: &S) {
    // A listing is in byte order, `B` before `a`; a database may order and compare texts differently.
    let keys = ["Ba", "aB", "ab"].map(|id| KeyRecord { id: parse(id), ..record(id, &acme(), 0) });
    for key in keys.iter().rev() {
        store.insert(key.clone(), None).await.expect("identifiers that differ in case are two identifiers");
    }
    for key in &keys {
        assert_eq!(find_id(store, &key.id).await.as_ref(), Some(key), "a lookup must be case-sensitive");
    }
    let (listed, _) = list(store, &acme(), None, 10).await;
    let listed: Vec<_> = listed.iter().map(|key| key.id).collect();
    assert_eq!(listed, keys.map(|key| key.id), "identifiers must be ordered by their bytes");
}

async fn keeps_owners_apart<S: KeyAdministration>(store: &S) {
    let mine = record("mine", &acme(), 0);
    insert(store, &mine).await;
    let other_owners = [
        globex(),
        Owner { mode: Mode::Test, ..acme() },
        Owner::system(Mode::Live),
        Owner::organization(parse("ACME"), Mode::Live),
    ];
    for other_owner in other_owners {
        assert_eq!(
            get(store, &other_owner, &mine.id).await,
            None,
            "{other_owner:?} must not get another owner's key"
        );
        assert!(
            list(store, &other_owner, None, 10).await.0.is_empty(),
            "{other_owner:?} must not list another owner's key"
        );
        let taken_over = KeyRecord { owner: other_owner.clone(), ..mine.clone() };
        conflicts(store.replace(taken_over, None).await, "a replace must not move a key to another owner");
        let deleted =
            store.delete(&other_owner, &mine.id, None).await.expect("a delete that finds nothing must work");
        assert!(!deleted, "{other_owner:?} must not delete another owner's key");
    }
    assert_eq!(find_id(store, &mine.id).await, Some(mine), "other owners must change nothing");
}

async fn replaces_only_the_version_it_was_given<S: KeyAdministration>(store: &S) {
    let original = record("key", &acme(), 0);
    insert(store, &original).await;
    assert_eq!(find_id(store, &original.id).await.as_ref(), Some(&original), "a stored key must be found");
    let renamed = KeyRecord { name: "renamed".into(), ..original.clone() };
    store.replace(renamed.clone(), None).await.expect("a replace of the stored version must work");

    let stored = find_id(store, &original.id).await.expect("a replaced key must still be there");
    assert_eq!(stored.name, "renamed", "a replace must store the new record");
    assert_eq!(stored.version, original.version + 1, "a replace must increment the version by one");

    let late = KeyRecord { name: "late".into(), ..original.clone() };
    conflicts(store.replace(late, None).await, "a replace of an older version must fail");
    let unknown = record("unknown", &acme(), 0);
    conflicts(store.replace(unknown, None).await, "a replace must not insert");
    let other = record("other", &acme(), 0);
    insert(store, &other).await;
    let stolen = KeyRecord { digest: other.digest, ..stored.clone() };
    conflicts(store.replace(stolen, None).await, "a replace must not take over another key's digest");
    let mut stolen = stored.clone();
    stolen.extras.previous = Some(PreviousSecret { digest: other.digest, valid_until: START });
    conflicts(
        store.replace(stolen, None).await,
        "a replace must not take over another key's digest as a previous one",
    );
    assert_eq!(find_id(store, &original.id).await, Some(stored), "a failed replace must change nothing");
}

async fn lets_one_of_many_writers_win<S: KeyAdministration>(store: &S) {
    let original = record("key", &acme(), 0);
    insert(store, &original).await;
    let attempts = (0..8).map(|number| {
        let mut record = original.clone();
        record.name = number.to_string().into();
        if number % 2 == 0 {
            record.state = KeyState::Revoked { at: START };
        }
        store.replace(record, None)
    });
    let results = join_all(attempts.collect()).await;
    let winners = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(winners, 1, "of several replaces of one version exactly one must win");
    for result in results.into_iter().filter(Result::is_err) {
        conflicts(result, "a replace that lost the race must report a conflict");
    }

    let inserts = (0..8).map(|_| store.insert(record("new", &acme(), 1), None));
    let results = join_all(inserts.collect()).await;
    let winners = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(winners, 1, "of several inserts of one key exactly one must win");
}

async fn finds_both_secrets_of_a_rotated_key<S: KeyAdministration>(store: &S) {
    let mut key = record("first secret", &acme(), 0);
    let first = key.digest;
    insert(store, &key).await;
    let (second, third) = (digest("second secret"), digest("third secret"));

    key.digest = second;
    key.extras.previous = Some(PreviousSecret { digest: first, valid_until: START });
    store.replace(key.clone(), None).await.expect("a rotation must be stored");
    assert!(find(store, &second).await.is_some(), "the new secret must be found");
    assert!(find(store, &first).await.is_some(), "the previous secret must be found");
    let mut thief = record("thief", &globex(), 0);
    thief.digest = first;
    conflicts(store.insert(thief, None).await, "the digest of a previous secret is taken");

    key.version += 1;
    key.digest = third;
    key.extras.previous = Some(PreviousSecret { digest: second, valid_until: START });
    store.replace(key, None).await.expect("a second rotation must be stored");
    assert!(find(store, &third).await.is_some(), "the newest secret must be found");
    assert!(find(store, &second).await.is_some(), "the secret before it must be found");
    assert_eq!(find(store, &first).await, None, "a third secret must not be found");
}

async fn finds_the_next_secret<S: KeyAdministration>(store: &S) {
    let mut key = record("first secret", &acme(), 0);
    insert(store, &key).await;
    let (first, second) = (key.digest, digest("second secret"));
    key.extras.next = Some(Box::new(next_secret("second secret")));
    store.replace(key.clone(), None).await.expect("a next secret must be stored");
    key.version += 1;
    for digest in [first, second] {
        assert_eq!(
            find(store, &digest).await.as_ref(),
            Some(&key),
            "the secret in use and the next one must be found"
        );
    }
    let mut thief = record("thief", &globex(), 0);
    thief.digest = second;
    conflicts(store.insert(thief.clone(), None).await, "the digest of a next secret is taken");
    thief.digest = digest("thief");
    thief.extras.next = Some(Box::new(NextSecret { digest: first, ..next_secret("") }));
    conflicts(store.insert(thief, None).await, "an insert must not take over a stored digest as a next one");

    key.extras.next = None;
    store.replace(key, None).await.expect("a next secret must be removable");
    assert!(find(store, &first).await.is_some(), "the secret in use must be found");
    assert_eq!(find(store, &second).await, None, "a removed next secret must not be found");
}

async fn refreshes_the_whole_record<S: KeyAdministration>(store: &S) {
    let key = full_record();
    insert(store, &key).await;
    let mut refreshed = key.clone();
    refreshed.put_in_use(next_secret("next"), START);
    refreshed.digest = peppered("next", 2);
    // The trait's default does nothing, for stores that cannot write. This store can write.
    store.refresh(refreshed.clone(), None).await.expect("a refresh of the stored version must work");
    refreshed.version += 1;
    let stored = find_id(store, &key.id).await.expect("a key must not be lost");
    assert_eq!(stored, refreshed, "a refresh must store the whole record, in the next version");
    for digest in key.digests().chain(refreshed.digests()) {
        let holds = stored.digests().any(|held| held == digest);
        let found = find(store, &digest).await;
        assert_eq!(
            found.as_ref(),
            Some(&stored).filter(|_| holds),
            "a lookup must find a key by the digests it has"
        );
    }

    let unknown = record("unknown", &acme(), 0);
    let _ = store.refresh(unknown.clone(), None).await;
    assert_eq!(find_id(store, &unknown.id).await, None, "a refresh must not insert");
    let other = record("other", &acme(), 0);
    insert(store, &other).await;
    let _ = store.refresh(KeyRecord { digest: other.digest, ..stored.clone() }, None).await;
    assert_eq!(
        find(store, &other.digest).await,
        Some(other),
        "a refresh must not take over another key's digest"
    );
    assert_eq!(find_id(store, &key.id).await, Some(stored), "a failed refresh must change nothing");
}

async fn lets_no_refresh_undo_a_revocation<S: KeyAdministration>(store: &S) {
    for number in 0..8 {
        let secret = format!("key {number}");
        let key = record(&secret, &acme(), number);
        insert(store, &key).await;
        let revoked = KeyRecord { state: KeyState::Revoked { at: START }, ..key.clone() };
        let refreshed = KeyRecord { digest: peppered(&secret, 2), ..key.clone() };
        let mut at_once = vec![store.refresh(refreshed, None), store.replace(revoked, None)];
        if number % 2 == 1 {
            at_once.reverse();
        }
        let revocation = 1 - (number % 2) as usize;
        let results = join_all(at_once).await;
        let stored = find_id(store, &key.id).await.expect("the key must still be there");
        if results[revocation].is_ok() {
            assert_ne!(stored.state, KeyState::Active, "a refresh must not undo a revocation");
        }
        assert_eq!(find(store, &stored.digest).await, Some(stored), "the digest must find the stored record");
    }
}

async fn forgets_what_was_deleted<S: KeyAdministration>(store: &S) {
    let mut key = record("key", &acme(), 0);
    key.extras.previous = Some(PreviousSecret { digest: digest("before"), valid_until: START });
    key.extras.next = Some(Box::new(next_secret("after")));
    insert(store, &key).await;
    assert!(
        store.delete(&key.owner, &key.id, None).await.expect("a delete must work"),
        "a delete must return whether it deleted something"
    );
    assert!(
        !store.delete(&key.owner, &key.id, None).await.expect("a second delete must work"),
        "a second delete must return false"
    );
    assert_eq!(find(store, &key.digest).await, None, "a deleted key must not be found by its digest");
    assert_eq!(find(store, &digest("before")).await, None, "nor by its previous digest");
    assert_eq!(find(store, &digest("after")).await, None, "nor by its next digest");
    assert_eq!(find_id(store, &key.id).await, None, "nor by its identifier");
    assert!(list(store, &key.owner, None, 10).await.0.is_empty(), "nor listed");
    conflicts(store.replace(key.clone(), None).await, "a replace must not bring a deleted key back");
    insert(store, &key).await;
}

async fn lists_page_by_page<S: KeyAdministration>(store: &S) {
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

async fn lists_what_a_query_matches<S: KeyAdministration>(store: &S) {
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
            let expected: Vec<_> = records.iter().filter(is_wanted).map(|key| key.id).collect();
            for limit in [1, 2, 100] {
                let mut query = KeyQuery { limit, ..query.clone() };
                let mut listed = Vec::new();
                while listed.len() <= expected.len() {
                    let page = store.list(owner.as_ref(), &query).await.expect("a listing must work");
                    listed.extend(page.keys.iter().map(|key| key.id));
                    query.after = page.next;
                    if query.after.is_none() {
                        break;
                    }
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

async fn keeps_the_latest_use_or_none<S: KeyAdministration>(store: &S) {
    let (key, unused) = (record("key", &acme(), 0), record("unused", &acme(), 1));
    insert(store, &key).await;
    insert(store, &unused).await;
    let at = |seconds| START.saturating_add(Duration::from_secs(seconds));
    let unknown = (parse("unknown"), at(9));
    let batches: [&[_]; 4] =
        [&[], &[(key.id, at(4)), unknown, (key.id, at(7)), (key.id, at(6))], &[(key.id, at(5))], &[unknown]];
    for batch in batches {
        store.record_last_use(batch).await.expect("recording the last use must work");
    }
    let used = find_id(store, &key.id).await.expect("a used key must still be there");
    let kept = used.last_used_at;
    assert!(kept.is_none() || kept == Some(at(7)), "of all uses the latest must be kept, or none at all");
    assert_eq!(used, KeyRecord { last_used_at: kept, ..key.clone() }, "a use must change nothing else");
    assert_eq!(find_id(store, &unused.id).await, Some(unused), "nor another key");
    assert_eq!(find_id(store, &unknown.0).await, None, "nor make one");

    store.replace(key.clone(), None).await.expect("a use must not prevent a change");
    let replaced = find_id(store, &key.id).await.expect("a replaced key must still be there");
    assert_eq!(replaced.last_used_at, kept, "a replace must not reset the last use");
}
