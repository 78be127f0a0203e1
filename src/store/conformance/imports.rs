//! The rules of imports that are remembered.

use super::tools::{acme, find, find_id, insert, list, peppered, record};
use crate::key::Digest;
use crate::store::KeyAdministration;

pub(super) async fn remembers_imports_of_deleted_keys<S: KeyAdministration>(store: &S) {
    let (key, other) = (record("key", &acme(), 0), record("other", &acme(), 1));
    let imported =
        async |digests: &[Digest]| store.imported_as(digests).await.expect("to ask for an import must work");
    let remember =
        async |id, digest| store.remember_import(id, digest).await.expect("to remember an import must work");
    insert(store, &key).await;
    assert_eq!(imported(&[]).await, None, "no digest was imported as no key");
    assert_eq!(imported(&[key.digest]).await, None, "what was inserted was not imported");
    let peppered = peppered("key", 2);
    remember(&key.id, &key.digest).await;
    remember(&key.id, &peppered).await;
    remember(&other.id, &key.digest).await;
    for digests in [&[key.digest][..], &[peppered], &[other.digest, key.digest]] {
        let id = imported(digests).await;
        assert_eq!(id, Some(key.id), "the first import must be remembered, by each of its digests");
    }
    assert!(
        store.delete(&key.owner, &key.id, None).await.expect("a delete must work"),
        "a remembered key can be deleted"
    );
    assert_eq!(
        imported(&[key.digest]).await,
        Some(key.id),
        "an import must be remembered, also when the key is deleted"
    );
    assert_eq!(find_id(store, &key.id).await, None, "a remembered key must not be found");
    assert_eq!(find(store, &key.digest).await, None, "nor by its digest");
    assert!(list(store, &key.owner, None, 10).await.0.is_empty(), "nor listed");
    remember(&other.id, &other.digest).await;

    let forget = async || store.forget_import(&key.id, None).await.expect("to forget an import must work");
    assert!(forget().await, "to forget must return whether there was something to forget");
    assert!(!forget().await, "to forget again must return false");
    assert_eq!(imported(&[key.digest, peppered]).await, None, "a forgotten import must not be found");
    assert_eq!(imported(&[other.digest]).await, Some(other.id), "nor must another one be forgotten");
}
