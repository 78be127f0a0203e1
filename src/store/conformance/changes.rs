//! The rules of a store that says what has changed.

use super::tools::{acme, get, insert, record};
use crate::store::{ChangeMark, KeyAdministration};

/// If the store says what has changed.
pub(super) async fn says_what_has_changed<S: KeyAdministration>(store: &S) {
    let changes = async |since: Option<ChangeMark>| {
        store.changes(since).await.expect("a question for changes must be answered")
    };
    let Some(first) = changes(None).await else { return };
    assert_eq!(first.keys, None, "without a mark, any key may have changed");
    let key = record("changed", &acme(), 0);
    let mut mark = first.mark;
    for change in ["insert", "replace", "delete"] {
        match change {
            "insert" => insert(store, &key).await,
            "replace" => {
                let stored = get(store, &key.owner, &key.id).await.expect("the key is stored");
                store.replace(stored, None).await.expect("a record must replace its own version");
            }
            _ => assert!(store.delete(&key.owner, &key.id, None).await.expect("a key must be deletable")),
        }
        let seen = changes(Some(mark)).await.expect("a store must go on saying what has changed");
        let is_listed = seen.keys.as_ref().is_none_or(|keys| keys.contains(&key.id));
        assert!(is_listed, "after {change} the key must be among those that were changed");
        assert!(!seen.mark.is_back_from(&mark), "a history must go on");
        mark = seen.mark;
    }
}
