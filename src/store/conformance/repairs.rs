//! The rules of what the operator does about damaged records and missing peppers, and of what is counted for it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tools::{
    START, acme, digest, find, find_id, globex, insert, next_secret, parse, peppered, record,
};
use crate::key::{KeyRecord, KeyState, KeyStatus, Mode, Owner, PreviousSecret};
use crate::store::KeyAdministration;

pub(super) async fn revokes_without_reading<S: KeyAdministration>(store: &S) {
    let (mut key, other) = (record("key", &acme(), 0), record("other", &acme(), 1));
    key.extras.previous = Some(PreviousSecret { digest: digest("before"), valid_until: START });
    key.extras.next = Some(Box::new(next_secret("after")));
    insert(store, &key).await;
    insert(store, &other).await;
    let revoke = async |owner: &Owner, at| {
        store.revoke_unread(owner, &key.id, at, None).await.expect("to revoke without reading must work")
    };
    for owner in [globex(), Owner::system(Mode::Live), Owner { mode: Mode::Test, ..acme() }] {
        assert!(!revoke(&owner, START).await, "{owner:?} must not revoke another owner's key");
    }
    assert_eq!(find_id(store, &key.id).await.as_ref(), Some(&key), "other owners must change nothing");

    assert!(revoke(&acme(), START).await, "to revoke must return whether it revoked something");
    let mut revoked = KeyRecord { version: key.version + 1, ..key.clone() };
    revoked.revoke(START);
    let stored = find_id(store, &key.id).await;
    assert_eq!(stored, Some(revoked.clone()), "a key is revoked, with every secret, in the next version");
    for dropped in ["before", "after"] {
        assert_eq!(find(store, &digest(dropped)).await, None, "a dropped secret must not be found");
    }
    assert!(!revoke(&acme(), START.saturating_add(Duration::from_secs(1))).await, "a key is revoked once");
    assert_eq!(find_id(store, &key.id).await, Some(revoked), "nor does that change when");
    assert_eq!(find_id(store, &other.id).await, Some(other), "nor another key");
    let unknown = store.revoke_unread(&acme(), &parse("unknown"), START, None).await;
    assert!(!unknown.expect("to revoke what is not there must work"), "there is nothing to revoke");
}

pub(super) async fn counts_keys_by_pepper<S: KeyAdministration>(store: &S) {
    let count = async || store.peppers_in_use(START).await.expect("to count peppers must work");
    assert_eq!(count().await, BTreeMap::new(), "an empty store needs no pepper");
    let later = START.saturating_add(Duration::from_millis(1));
    let of = |name: &str, pepper: Option<u32>, change: &dyn Fn(&mut KeyRecord)| {
        let mut key = record(name, &acme(), 0);
        key.digest = pepper.map_or(key.digest, |pepper| peppered(name, pepper));
        change(&mut key);
        key
    };
    let previous = |name: &'static str, pepper, valid_until| {
        move |key: &mut KeyRecord| {
            key.extras.previous = Some(PreviousSecret { digest: peppered(name, pepper), valid_until });
        }
    };
    let keys = [
        of("plain", None, &|_| {}),
        of("one", Some(1), &|_| {}),
        of("disabled", Some(1), &|key| key.state = KeyState::Disabled),
        of("expired", Some(1), &|key| key.expires_at = Some(START)),
        of("revoked", Some(1), &|key| key.revoke(START)),
        of("in its grace", Some(1), &previous("old", 7, later)),
        of("after its grace", Some(1), &previous("older", 8, START)),
        of("of one pepper", Some(2), &previous("oldest", 2, later)),
        of("next", None, &|key| {
            let mut next = next_secret("new");
            next.digest = peppered("new", u32::MAX);
            key.extras.next = Some(Box::new(next));
        }),
        of("imported", None, &|key| key.extras.imported_hash = Some(parse("$2b$12$x"))),
    ];
    for key in &keys {
        insert(store, key).await;
    }
    let expected = BTreeMap::from([(None, 2), (Some(1), 5), (Some(2), 1), (Some(7), 1), (Some(u32::MAX), 1)]);
    assert_eq!(count().await, expected, "keys must be counted by each pepper that they need");
}

pub(super) async fn counts_keys_by_status<S: KeyAdministration>(store: &S) {
    let count = async |at| store.count_by_status(at).await.expect("to count keys by status must work");
    assert_eq!(count(START).await, BTreeMap::new(), "an empty store has no keys");
    let later = START.saturating_add(Duration::from_millis(1));
    let test = Owner { mode: Mode::Test, ..acme() };
    let of = |name: &str, owner: &Owner, change: &dyn Fn(&mut KeyRecord)| {
        let mut key = record(name, owner, 0);
        change(&mut key);
        key
    };
    for key in [
        of("one", &acme(), &|_| {}),
        of("another", &globex(), &|_| {}),
        of("a test key", &test, &|_| {}),
        of("ends now", &acme(), &|key| key.expires_at = Some(START)),
        of("ends later", &acme(), &|key| key.expires_at = Some(later)),
        of("begins later", &acme(), &|key| key.extras.not_before = Some(later)),
        of("disabled", &test, &|key| key.state = KeyState::Disabled),
        of("revoked", &acme(), &|key| key.revoke(START)),
    ] {
        insert(store, &key).await;
    }
    use KeyStatus::{Active, Disabled, Expired, NotYetValid, Revoked};
    let live = |status| (Mode::Live, status);
    let of_test = [((Mode::Test, Active), 1), ((Mode::Test, Disabled), 1)];
    let expected = [(live(Active), 3), (live(NotYetValid), 1), (live(Expired), 1), (live(Revoked), 1)];
    assert_eq!(count(START).await, expected.into_iter().chain(of_test).collect(), "each key is counted once");
    let expected = [(live(Active), 3), (live(Expired), 2), (live(Revoked), 1)];
    assert_eq!(
        count(later).await,
        expected.into_iter().chain(of_test).collect(),
        "by what it is at that instant"
    );
}
