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
mod listing;
mod quotas;
mod repairs;
mod secrets;
mod tools;
mod usage;

use std::time::Duration;

use self::audit::{delivers_what_was_not_delivered, keeps_an_event_with_its_change};
use self::changes::says_what_has_changed;
use self::imports::remembers_imports_of_deleted_keys;
use self::listing::{lists_page_by_page, lists_what_a_query_matches};
use self::quotas::counts_quotas_as_one_change_each;
use self::repairs::{counts_keys_by_pepper, counts_keys_by_status, revokes_without_reading};
use self::secrets::{
    finds_both_secrets_of_a_rotated_key, finds_the_next_secret, lets_no_refresh_undo_a_revocation,
    refreshes_the_whole_record,
};
use self::tools::{
    START, acme, conflicts, digest, find, find_id, full_record, get, globex, insert, join_all, list,
    next_secret, parse, peppered, record,
};
use self::usage::{adds_a_batch_of_usage_once, prunes_old_usage, reads_usage_by_bucket_and_group};
use super::{KeyAdministration, KeySelector};
use crate::key::{KeyRecord, KeyState, Mode, Owner, PreviousSecret};

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
    counts_keys_by_status(&new_store().await).await;
    remembers_imports_of_deleted_keys(&new_store().await).await;
    lists_page_by_page(&new_store().await).await;
    lists_what_a_query_matches(&new_store().await).await;
    keeps_the_latest_use_or_none(&new_store().await).await;
    counts_quotas_as_one_change_each(&new_store().await).await;
    says_what_has_changed(&new_store().await).await;
    keeps_an_event_with_its_change(&new_store().await).await;
    delivers_what_was_not_delivered(&new_store().await).await;
    adds_a_batch_of_usage_once(&new_store().await).await;
    reads_usage_by_bucket_and_group(&new_store().await).await;
    prunes_old_usage(&new_store().await).await;
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
