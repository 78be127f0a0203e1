//! The rules of keys with several secrets, and of what their uses store.

use super::tools::{
    START, acme, conflicts, digest, find, find_id, full_record, globex, insert, join_all, next_secret,
    peppered, record,
};
use crate::key::{KeyRecord, KeyState, NextSecret, PreviousSecret};
use crate::store::KeyAdministration;

pub(super) async fn finds_both_secrets_of_a_rotated_key<S: KeyAdministration>(store: &S) {
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

pub(super) async fn finds_the_next_secret<S: KeyAdministration>(store: &S) {
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

pub(super) async fn refreshes_the_whole_record<S: KeyAdministration>(store: &S) {
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

pub(super) async fn lets_no_refresh_undo_a_revocation<S: KeyAdministration>(store: &S) {
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
