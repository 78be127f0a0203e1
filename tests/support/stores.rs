//! Tests that every durable store must pass.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::task::JoinSet;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::key::{
    Actor, Digest, KeyFormat, KeyId, KeyRecord, KeyState, Metadata, Mode, NextSecret, Owner, Peppers,
    PreviousSecret,
};
use tower_api_keys::manage::{Authority, KeyManager, ManageError, NewKey};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{Cursor, KeyAdministration, KeyQuery, KeySelector, KeyStore};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

pub fn owner() -> Owner {
    Owner::organization("acme".parse().unwrap(), Mode::Live)
}

pub fn digest(secret: &str) -> Digest {
    Peppers::none().digest(secret)
}

/// A key of [`owner`] whose identifier is also its secret.
pub fn record(id: &str) -> KeyRecord {
    KeyRecord::new(id.parse().unwrap(), owner(), digest(id), START)
}

pub fn revoked(mut record: KeyRecord) -> KeyRecord {
    record.state = KeyState::Revoked { at: START };
    record
}

/// A key with all fields set.
pub fn full_record(id: &str) -> KeyRecord {
    let mut record = revoked(record(id));
    record.extras_mut().previous =
        Some(tower_api_keys::key::PreviousSecret { digest: digest("before"), valid_until: START });
    let grace = Duration::from_secs(60);
    let next = NextSecret { digest: digest("after"), hint: "k_…abcd".into(), created_at: START, grace };
    record.extras_mut().next = Some(Box::new(next));
    record.scopes = ScopeSet::parse_list(["runs:*"]).unwrap();
    record.extras_mut().limits.insert("read".into(), std::num::NonZeroU32::new(5).unwrap());
    record.extras_mut().allowed_addresses = vec!["192.0.2.0/24".parse().unwrap()];
    (record.extras_mut().not_before, record.expires_at, record.last_used_at) =
        (Some(START), Some(START), Some(START));
    record
}

pub async fn find(store: &dyn KeyStore, id: &KeyId) -> Option<KeyRecord> {
    store.find(KeySelector::Id(id)).await.unwrap().map(Arc::unwrap_or_clone)
}

/// Concurrent rotations, state changes, a revocation and perhaps a deletion of one key, over several connections and
/// processes: `stores` share the same keys.
pub async fn changes_at_once_leave_one_consistent_state(stores: &[Arc<dyn KeyAdministration>]) {
    let format = KeyFormat::new("wfk_").unwrap();
    let managers: Vec<_> =
        stores.iter().map(|store| KeyManager::new(store.clone(), format.clone())).collect();
    let authority = Authority::operator(owner());
    for round in 0..12 {
        let created = managers[0].create(&authority, NewKey::new("raced")).await.unwrap();
        let id = created.key.id;
        let secrets = Arc::new(Mutex::new(vec![created.secret.expose_secret().to_owned()]));
        let mut changes = JoinSet::new();
        for (number, manager) in managers.iter().cycle().take(8).enumerate() {
            let (manager, authority, secrets) = (manager.clone(), authority.clone(), secrets.clone());
            changes.spawn(async move {
                let result = match number {
                    0 => manager.revoke(&authority, &id).await.map(|_| ()),
                    1 if round % 2 == 1 => manager.delete(&authority, &id).await,
                    2 | 3 => manager.disable(&authority, &id).await.map(|_| ()),
                    _ => manager.rotate(&authority, &id, Duration::from_secs(60)).await.map(|rotated| {
                        secrets.lock().unwrap().push(rotated.secret.expose_secret().to_owned());
                    }),
                };
                match result {
                    Ok(()) | Err(ManageError::NotFound) => {}
                    Err(error) => panic!("change {number} of round {round}: {error}"),
                }
            });
        }
        while let Some(change) = changes.join_next().await {
            change.unwrap();
        }
        let secrets = secrets.lock().unwrap().clone();
        for store in stores {
            let stored = find(store, &id).await;
            match &stored {
                Some(record) => {
                    assert!(
                        matches!(record.state, KeyState::Revoked { .. }),
                        "a revocation wins: {record:?}"
                    );
                    assert_eq!(record.extras().previous, None);
                    assert_eq!(round % 2, 0, "a deletion wins, too");
                }
                None => assert_eq!(round % 2, 1, "the key was not deleted"),
            }
            let mut found = 0;
            for secret in &secrets {
                let by_secret = store.find(KeySelector::Digests(&[digest(secret)])).await.unwrap();
                found += usize::from(by_secret.is_some());
                assert!(by_secret.is_none_or(|by_secret| Some(&*by_secret) == stored.as_ref()));
            }
            assert_eq!(found, usize::from(stored.is_some()), "only the secret in use leads to the key");
        }
    }
}

/// Several processes that have all seen the same keys write their uses concurrently, while the keys are changed.
pub async fn uses_are_recorded_from_everywhere_at_once(stores: &[Arc<dyn KeyAdministration>]) {
    let keys: Vec<_> = (0..300).map(|number| record(&format!("used{number}"))).collect();
    for key in &keys {
        stores[0].insert(key.clone()).await.unwrap();
    }
    let mut writers = JoinSet::new();
    for (number, store) in stores.iter().cycle().take(6).enumerate() {
        let (store, keys) = (store.clone(), keys.clone());
        writers.spawn(async move {
            for round in 1..=5 {
                let at = Timestamp::from_unix_millis(round * 10 + number as u64);
                let mut uses: Vec<_> = keys.iter().map(|key| (key.id, at)).collect();
                if number % 2 == 1 {
                    uses.reverse();
                }
                store.record_last_use(&uses).await.unwrap();
                let mut mine = keys[number].clone();
                mine.version = round - 1;
                store.replace(mine).await.unwrap();
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let query = {
        let mut query = KeyQuery::default();
        query.limit = 1000;
        query
    };
    let page = stores[1].list(Some(&owner()), &query).await.unwrap();
    assert_eq!(page.keys.len(), 300);
    for key in page.keys {
        assert_eq!(key.last_used_at, Some(Timestamp::from_unix_millis(55)), "{}", key.id);
    }
}

/// Texts that would be another statement if they were inserted into one.
pub async fn texts_stay_texts(store: &dyn KeyAdministration) {
    let quotes = "x';DROP/**/TABLE/**/api_keys;--\"\\$1{}[]";
    let mut record = record("quoted");
    record.owner = Owner::organization(quotes.parse().unwrap(), Mode::Test);
    record.name = format!("{quotes}\u{202e}😀").into();
    record.hint = quotes.into();
    record.extras_mut().limits.insert(quotes.into(), std::num::NonZeroU32::new(5).unwrap());
    store.insert(record.clone()).await.unwrap();
    assert_eq!(find(store, &record.id).await.as_ref(), Some(&record));
    assert_eq!(store.get(&record.owner, &record.id).await.unwrap().as_deref(), Some(&record));
    let page = store.list(Some(&record.owner), &KeyQuery::default()).await.unwrap();
    assert_eq!(page.keys.iter().map(|key| &**key).collect::<Vec<_>>(), [&record]);
    store.replace(record.clone()).await.unwrap();
    let stranger = Owner::organization("'OR'1'='1".parse().unwrap(), Mode::Test);
    assert!(store.get(&stranger, &record.id).await.unwrap().is_none());
    assert!(!store.delete(&stranger, &record.id).await.unwrap());
    assert!(store.delete(&record.owner, &record.id).await.unwrap());
}

/// Keys as an earlier version of the crate wrote them.
pub const KEYS_OF_SCHEMA_1: &str = include_str!("keys_of_schema_1.sql");

/// Keys as the second version of the schema held them.
pub const KEYS_OF_SCHEMA_2: &str = include_str!("keys_of_schema_2.sql");

/// [`KEYS_OF_SCHEMA_2`] in a store that has migrated them: each is what it was, and was not imported.
pub async fn keys_of_schema_2_are_as_good_as_before(store: &dyn KeyAdministration) {
    let mut plain = KeyRecord::new("k_plain".parse().unwrap(), owner(), digest("plain"), START);
    (plain.name, plain.hint) = ("Production".into(), "wfk_…ain".into());
    plain.scopes = ScopeSet::parse_list(["runs:read"]).unwrap();
    (plain.version, plain.last_used_at) = (1, Some(START));
    plain.extras_mut().metadata = Some(Metadata::from_json(r#"{"plan":"pro"}"#).unwrap());
    plain.set_created_by(Some("operator ada".parse().unwrap()));
    let mut made = KeyRecord::new("k_made".parse().unwrap(), owner(), digest("made"), START);
    (made.name, made.hint) = ("Made".into(), "wfk_…made".into());
    made.set_created_by(Some("key k_plain".parse().unwrap()));
    for (record, secret) in [(&plain, "plain"), (&made, "made")] {
        assert_eq!(find(store, &record.id).await.as_ref(), Some(record));
        let found = store.find(KeySelector::Digests(&[digest(secret)])).await.unwrap();
        assert_eq!(found.as_deref(), Some(record), "{secret}");
        assert_eq!(store.imported_as(&[digest(secret)]).await.unwrap(), None);
    }
    let page = store.list(Some(&owner()), &KeyQuery::default()).await.unwrap();
    assert_eq!(page.keys.iter().map(|key| &**key).collect::<Vec<_>>(), [&made, &plain]);
    plain.extras_mut().imported_hash = Some("$2b$12$x".parse().unwrap());
    store.replace(plain.clone()).await.unwrap();
    plain.version += 1;
    assert_eq!(find(store, &plain.id).await, Some(plain));
}

/// [`KEYS_OF_SCHEMA_1`] in a store that has migrated them: each is what it was, and can be changed.
pub async fn keys_of_schema_1_are_as_good_as_before(store: &dyn KeyAdministration) {
    let mut plain = KeyRecord::new("k_plain".parse().unwrap(), owner(), digest("plain"), START);
    (plain.name, plain.hint) = ("Production".into(), "wfk_…ain".into());
    plain.scopes = ScopeSet::parse_list(["runs:read"]).unwrap();
    (plain.version, plain.last_used_at) = (1, Some(START));
    let mut full = KeyRecord::new("k_full".parse().unwrap(), owner(), digest("full"), START);
    (full.name, full.hint) = ("Full".into(), "wfk_…full".into());
    full.scopes = ScopeSet::parse_list(["runs:*", "workflows:read"]).unwrap();
    full.expires_at = Some(START.saturating_add(Duration::from_secs(86_400)));
    full.secret_created_at = START.saturating_add(Duration::from_secs(60));
    let valid_until = START.saturating_add(Duration::from_secs(3600));
    full.extras_mut().previous = Some(PreviousSecret { digest: digest("previous"), valid_until });
    full.extras_mut().not_before = Some(START);
    full.extras_mut().limits.insert("read".to_owned(), NonZeroU32::new(5000).unwrap());
    full.extras_mut().allowed_addresses = vec!["192.0.2.0/24".parse().unwrap()];
    let system = Owner::system(Mode::Test);
    let of_system = revoked(KeyRecord::new("k_revoked".parse().unwrap(), system, digest("revoked"), START));

    for (record, secrets) in
        [(&plain, &["plain"][..]), (&full, &["full", "previous"]), (&of_system, &["revoked"])]
    {
        assert_eq!(find(store, &record.id).await.as_ref(), Some(record));
        for secret in secrets {
            let found = store.find(KeySelector::Digests(&[digest(secret)])).await.unwrap();
            assert_eq!(found.as_deref(), Some(record), "{secret}");
        }
    }
    let page = store.list(Some(&owner()), &KeyQuery::default()).await.unwrap();
    assert_eq!(page.keys.iter().map(|key| &**key).collect::<Vec<_>>(), [&full, &plain]);
    plain.extras_mut().metadata = Some(Metadata::from_json(r#"{"plan":"pro"}"#).unwrap());
    store.replace(plain.clone()).await.unwrap();
    plain.version += 1;
    assert_eq!(find(store, &plain.id).await, Some(plain));
}

/// Uses every statement that a store has.
pub async fn use_everything(store: &dyn KeyAdministration, number: usize) {
    let mut key = record(&format!("used{number}"));
    store.insert(key.clone()).await.unwrap();
    let mut digests = vec![digest("unknown"), key.digest];
    for _ in 0..2 {
        assert!(store.find(KeySelector::Digests(&digests)).await.unwrap().is_some());
        digests.remove(0);
    }
    assert!(store.find(KeySelector::Id(&key.id)).await.unwrap().is_some());
    assert!(store.get(&key.owner, &key.id).await.unwrap().is_some());
    assert!(store.count(&key.owner).await.unwrap() > 0);
    let mut query = KeyQuery::default();
    // Of all owners none: there may be keys of other tests that only a database can read.
    let year = Duration::from_secs(365 * 24 * 3600);
    query.after = Some(Cursor { created_at: START.saturating_add(year), id: key.id });
    for owner in [Some(&key.owner), None] {
        store.list(owner, &query).await.unwrap();
    }
    query.created_by = Some(Actor::Operator(None));
    store.list(None, &query).await.unwrap();
    store.replace(key.clone()).await.unwrap();
    key.version += 1;
    store.refresh(key.clone()).await.unwrap();
    store.record_last_use(&[(key.id, START)]).await.unwrap();
    assert!(store.revoke_unread(&key.owner, &key.id, START).await.unwrap());
    assert!(store.delete(&key.owner, &key.id).await.unwrap());
    store.remember_import(&key.id, &key.digest).await.unwrap();
    assert_eq!(store.imported_as(&[digest("unknown"), key.digest]).await.unwrap(), Some(key.id));
    assert!(store.forget_import(&key.id).await.unwrap());
}

/// All distinct statements that any store in this process has sent so far.
pub fn statements() -> Vec<String> {
    seen().lock().unwrap().clone()
}

/// From now on.
pub fn watch_statements() {
    let _ = tracing_subscriber::registry().with(Watch).try_init();
}

fn seen() -> &'static Mutex<Vec<String>> {
    static SEEN: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    SEEN.get_or_init(Mutex::default)
}

struct Watch;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Watch {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            let mut statement = Statement::default();
            event.record(&mut statement);
            // Short statements are their own summary.
            let text = if statement.text.is_empty() { statement.summary } else { statement.text };
            let mut seen = seen().lock().unwrap();
            if !seen.contains(&text) {
                seen.push(text);
            }
        }
    }
}

#[derive(Default)]
struct Statement {
    summary: String,
    text: String,
}

impl Visit for Statement {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => self.summary = value.to_owned(),
            "db.statement" => self.text = value.trim().to_owned(),
            _ => {}
        }
    }
}
