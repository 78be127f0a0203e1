//! What a store does with records that are damaged, edited or swapped by other means than the crate.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::error::Error;
use std::io;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::key::{KeyId, KeyRecord, Mode, NextSecret, Owner, PreviousSecret};
use tower_api_keys::manage::{Authority, KeyManager, ManageError};
use tower_api_keys::store::{BrokenKey, KeyAdministration, KeyQuery, KeySelector, StoreErrorKind};

use crate::support::{KEY, OTHER_KEY, START, UNKNOWN_KEY, acme, assembly, format, record, request, whoami};

/// Possible contents of columns after manual changes or a broken disk.
pub const DAMAGE: &[&str] = &[
    "mode = 'lives'",
    "organization = 'a b'",
    "created_at = -1",
    "scopes = 'runs'",
    "limits = '5'",
    "limits = '0 read'",
    "limits = 'many read'",
    "allowed_addresses = '192.0.2.0/33'",
    "digest = ''",
    "digest = 'sha256:ab'",
    "digest = 'md5:00'",
    "digest = 'sha256:é'",
    "secret_created_at = -1",
    "previous_digest = 'sha256:'",
    "previous_digest = NULL",
    "previous_valid_until = -1",
    "previous_valid_until = NULL",
    "next_digest = 'x'",
    "next_digest = NULL",
    "next_hint = NULL",
    "next_created_at = -1",
    "next_grace = -1",
    "next_grace = NULL",
    "state = 'Active'",
    "state = ''",
    "state = 'revoked'",
    "revoked_at = 5",
    "not_before = -1",
    "expires_at = -1",
    "last_used_at = -1",
    "created_by = 'nobody'",
    "created_by = 'key /'",
    "metadata = ''",
    "metadata = '[]'",
    "metadata = 'plan'",
    "imported_hash = ''",
    "imported_hash = 'é'",
    "scopes = 'runs', state = 'revoked'",
];

/// An active key with all fields set.
fn full_record(key: &str) -> KeyRecord {
    record(key, |record| {
        let year = Duration::from_secs(365 * 24 * 3600);
        let digest = |text: &str| tower_api_keys::key::Peppers::none().digest(text);
        let valid_until = START.saturating_add(year * 1000);
        let extras = record.extras_mut();
        extras.previous = Some(PreviousSecret { digest: digest("before"), valid_until });
        let next = NextSecret { digest: digest("after"), hint: "".into(), created_at: START, grace: year };
        extras.next = Some(Box::new(next));
        extras.limits.insert("read".into(), NonZeroU32::MIN);
        extras.not_before = Some(START);
        record.expires_at = Some(valid_until);
        record.last_used_at = Some(START);
        record.set_created_by(Some("operator ada".parse().unwrap()));
    })
}

/// The log of this process from now on, at `ERROR`, of the crate alone.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::ERROR)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    }

    /// What was logged since the last call.
    pub fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The status that a request with this key gets.
pub async fn status(store: &Arc<dyn KeyAdministration>, key: &'static str) -> StatusCode {
    let keys = assembly(store.clone()).without_route_table().build().unwrap();
    keys.layer().layer(service_fn(whoami)).oneshot(request(key)).await.unwrap().status()
}

/// The log says which key is broken and in which column, and repeats no digest.
fn is_alarm(log: &Log, broken: &KeyRecord, column: &str, damage: &str) {
    let logged = log.take();
    if !cfg!(feature = "tracing") {
        return;
    }
    // A secret has several columns, and a state as well.
    let (of_column, _) = column.split_once('_').unwrap_or((column, ""));
    let names_column = logged.contains(of_column) || logged.contains("revoked_at");
    let is_alarm = logged.contains("ERROR") && logged.contains("record_corrupt") && names_column;
    assert!(is_alarm && logged.contains(broken.id.as_str()), "{damage}: {logged}");
    assert!(!logged.contains(&broken.digest.to_string()[30..]), "{damage}: {logged}");
}

fn with_limit(limit: usize) -> KeyQuery {
    let mut query = KeyQuery::default();
    query.limit = limit;
    query
}

/// All keys of `owner`, or of all, page by page: those that can be read, and those that can't.
pub async fn listed(
    manager: &KeyManager,
    owner: Option<&Owner>,
    limit: usize,
) -> (Vec<KeyId>, Vec<BrokenKey>) {
    let (mut keys, mut broken, mut query) = (Vec::new(), Vec::new(), with_limit(limit));
    loop {
        let page = match owner {
            Some(owner) => manager.list(&Authority::operator(owner.clone()), &query).await.unwrap(),
            None => manager.list_all(&query).await.unwrap(),
        };
        assert!(page.keys.len() <= limit, "a page of {limit} has {}", page.keys.len());
        keys.extend(page.keys.iter().map(|key| key.id));
        broken.extend(page.broken);
        assert!(keys.len() + broken.len() < 100, "the listing does not end");
        match page.next {
            Some(next) => query.after = Some(next),
            None => return (keys, broken),
        }
    }
}

/// One after the other, with [`DAMAGE`] and `more` of it. `execute` returns how many rows a statement has changed.
pub async fn one_corrupt_record_denies_itself_alone(
    store: Arc<dyn KeyAdministration>,
    log: &Log,
    more: &[&str],
    execute: impl AsyncFn(String) -> u64,
) {
    let manager = KeyManager::new(store.clone(), format());
    let globex = Authority::operator(Owner::organization("globex".parse().unwrap(), Mode::Live));
    for damage in DAMAGE.iter().chain(more) {
        let mut others = [OTHER_KEY, UNKNOWN_KEY].map(|key| record(key, |_| {}));
        others[0].created_at = others[0].created_at.saturating_sub(Duration::from_secs(1));
        others[1].created_at = others[1].created_at.saturating_add(Duration::from_secs(1));
        let [before, after] = others.clone().map(|key| key.id);
        for key in others {
            store.insert(key, None).await.unwrap();
        }
        let broken = full_record(KEY);
        let id = broken.id;
        store.insert(broken.clone(), None).await.unwrap();
        assert_eq!(execute(format!("UPDATE api_keys SET {damage} WHERE id = '{id}'")).await, 1);
        log.take();

        // The key is denied, loudly, and others are not.
        assert_eq!(status(&store, KEY).await, StatusCode::SERVICE_UNAVAILABLE, "{damage}");
        let (column, _) = damage.split_once(' ').unwrap();
        is_alarm(log, &broken, column, damage);
        for selector in [KeySelector::Id(&id), KeySelector::Digests(&[broken.digest])] {
            let error = store.find(selector).await.expect_err(damage);
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{damage}");
            assert_eq!(error.broken_key().and_then(|key| key.id), Some(id), "{damage}");
            assert!(error.source().is_some());
        }
        assert_eq!(status(&store, OTHER_KEY).await, StatusCode::OK, "{damage}");

        // Listings go on and name it.
        let owner_is_known = !matches!(column, "mode" | "organization");
        for owner in [None, Some(&acme())] {
            for limit in [1, 2, 3, 100] {
                let (keys, named) = listed(&manager, owner, limit).await;
                assert_eq!(keys, [before, after], "{damage}, {limit} a page");
                let is_listed = owner_is_known || owner.is_none();
                let ids: Vec<_> = named.iter().map(|key| key.id.unwrap()).collect();
                assert_eq!(ids, [id][..usize::from(is_listed)], "{damage}, {limit} a page");
                assert!(
                    named.iter().all(|key| key.owner == owner_is_known.then(acme)),
                    "{damage}: {named:?}"
                );
            }
        }
        is_alarm(log, &broken, column, damage);
        assert_eq!(store.count(&acme()).await.unwrap(), 2 + u64::from(owner_is_known), "{damage}");

        // Its owner can revoke it, once, and nobody else. One of no owner is the system's.
        let operator = match owner_is_known {
            true => Authority::operator(acme()),
            false => Authority::operator(Owner::system(Mode::Live)),
        };
        let read = manager.get(&operator, &id).await.unwrap_err();
        assert!(matches!(read, ManageError::Store(_) | ManageError::NotFound), "{damage}: {read}");
        let foreign = manager.revoke(&globex, &id).await;
        assert!(matches!(foreign, Err(ManageError::NotFound)), "{damage}: {foreign:?}");
        assert!(manager.revoke(&operator, &id).await.unwrap().is_none(), "{damage}");
        let again = manager.revoke(&operator, &id).await;
        assert!(matches!(again, Err(ManageError::NotFound)), "{damage}: {again:?}");
        let is_revoked = format!(
            "UPDATE api_keys SET name = name WHERE id = '{id}' AND state = 'revoked' AND revoked_at > 5 \
             AND previous_digest IS NULL AND next_digest IS NULL AND version = 1"
        );
        assert_eq!(execute(is_revoked).await, 1, "{damage}");
        assert_ne!(status(&store, KEY).await, StatusCode::OK, "{damage}");
        for dropped in ["before", "after"] {
            let digests = [tower_api_keys::key::Peppers::none().digest(dropped)];
            assert!(store.find(KeySelector::Digests(&digests)).await.unwrap().is_none(), "{damage}");
        }

        // And delete it.
        let foreign = manager.delete(&globex, &id).await;
        assert!(matches!(foreign, Err(ManageError::NotFound)), "{damage}: {foreign:?}");
        manager.delete(&operator, &id).await.expect(damage);
        assert_eq!(status(&store, KEY).await, StatusCode::UNAUTHORIZED, "{damage}");
        assert_eq!(listed(&manager, None, 1).await, (vec![before, after], Vec::new()), "{damage}");
        for other in [before, after] {
            assert!(store.delete(&acme(), &other, None).await.unwrap());
        }
    }
}

/// A page can't end with a record whose place no cursor can tell, and no record gets lost for it.
pub async fn a_listing_passes_records_without_a_place(
    store: Arc<dyn KeyAdministration>,
    execute: impl AsyncFn(String) -> u64,
) {
    let manager = KeyManager::new(store.clone(), format());
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    for name in names {
        let mut key = record(name, |_| {});
        key.id = name.parse().unwrap();
        store.insert(key, None).await.unwrap();
    }
    execute("UPDATE api_key_digests SET key_id = 'g' WHERE key_id IN ('b', 'c')".to_owned()).await;
    for damage in ["created_at = -7 WHERE id = 'f'", "id = 'b b' WHERE id = 'b'", "id = 'c c' WHERE id = 'c'"]
    {
        assert_eq!(execute(format!("UPDATE api_keys SET {damage}")).await, 1);
    }
    for owner in [None, Some(&acme())] {
        for limit in [1, 2, 3, 4, 100] {
            let (keys, broken) = listed(&manager, owner, limit).await;
            let keys: Vec<_> = keys.iter().map(KeyId::as_str).collect();
            assert_eq!(keys, ["a", "d", "e", "g"], "{limit} a page");
            let mut broken: Vec<_> = broken.iter().map(|key| key.id.map(|id| id.to_string())).collect();
            broken.sort();
            assert_eq!(broken, [None, None, Some("f".to_owned())], "{limit} a page");
        }
    }
    // What was a digest of `b` leads to another key now, which is not let in for it.
    let stolen = [tower_api_keys::key::Peppers::none().digest("b")];
    let found = store.find(KeySelector::Digests(&stolen)).await.unwrap();
    assert_eq!(found.unwrap().id.as_str(), "g");
    let error = manager.find_by_text("b").await.unwrap_err();
    assert!(matches!(&error, ManageError::Store(error) if error.broken_key().is_some()), "{error:?}");
}
