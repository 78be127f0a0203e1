//! Tests that every durable store must pass.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::task::JoinSet;
use tower_api_keys::ApiKeys;
use tower_api_keys::clock::{ManualClock, Timestamp};
use tower_api_keys::key::{
    Actor, Digest, KeyFormat, KeyId, KeyRecord, KeyState, Mode, NextSecret, Owner, Peppers,
};
use tower_api_keys::manage::{AuditEvent, Authority, KeyAction, KeyChange, KeyManager, ManageError, NewKey};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{
    Cursor, HistoryQuery, KeyAdministration, KeyQuery, KeySelector, KeyStore, UsageLog,
};
use tower_api_keys::usage::{
    UsageBatch, UsageBucket, UsageCounts, UsageEntry, UsageGroup, UsageOutcome, UsageQuery,
};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);
const SECOND: Duration = Duration::from_secs(1);

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
        stores[0].insert(key.clone(), None).await.unwrap();
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
                store.replace(mine, None).await.unwrap();
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
    store.insert(record.clone(), None).await.unwrap();
    assert_eq!(find(store, &record.id).await.as_ref(), Some(&record));
    assert_eq!(store.get(&record.owner, &record.id).await.unwrap().as_deref(), Some(&record));
    let page = store.list(Some(&record.owner), &KeyQuery::default()).await.unwrap();
    assert_eq!(page.keys.iter().map(|key| &**key).collect::<Vec<_>>(), [&record]);
    store.replace(record.clone(), None).await.unwrap();
    let stranger = Owner::organization("'OR'1'='1".parse().unwrap(), Mode::Test);
    assert!(store.get(&stranger, &record.id).await.unwrap().is_none());
    assert!(!store.delete(&stranger, &record.id, None).await.unwrap());
    assert!(store.delete(&record.owner, &record.id, None).await.unwrap());
}

/// Uses every statement that a store has.
pub async fn use_everything(store: &dyn KeyAdministration, number: usize) {
    let mut key = record(&format!("used{number}"));
    store.insert(key.clone(), None).await.unwrap();
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
    store.replace(key.clone(), None).await.unwrap();
    key.version += 1;
    store.refresh(key.clone(), None).await.unwrap();
    store.record_last_use(&[(key.id, START)]).await.unwrap();
    assert!(store.revoke_unread(&key.owner, &key.id, START, None).await.unwrap());
    assert!(store.delete(&key.owner, &key.id, None).await.unwrap());
    store.remember_import(&key.id, &key.digest).await.unwrap();
    assert_eq!(store.imported_as(&[digest("unknown"), key.digest]).await.unwrap(), Some(key.id));
    let actor = Actor::Operator(None);
    let event = AuditEvent::new(KeyAction::ForgetImport, key.owner.clone(), actor, START);
    assert!(store.forget_import(&key.id, Some(&event)).await.unwrap());
    let log = store.audit_log().unwrap();
    log.record(&event).await.unwrap();
    for of in [Some((&key.owner, &key.id)), None] {
        log.history(of, &HistoryQuery::default()).await.unwrap();
    }
    let waiting = log.undelivered("here", START, START).await.unwrap();
    let numbers: Vec<_> = waiting.iter().filter_map(|event| event.number).collect();
    assert!(numbers.len() >= 2);
    log.delivered(&numbers).await.unwrap();
    use_usage_log(store.usage_log().unwrap(), &key, number as u64).await;
}

async fn use_usage_log(log: &dyn UsageLog, key: &KeyRecord, number: u64) {
    let mut counts = UsageCounts::default();
    counts.add(UsageOutcome::Ok, number);
    let entry = UsageEntry::new(key.owner.clone(), key.id, "reads".to_owned(), START, counts);
    let batch = UsageBatch::new("process".parse().unwrap(), number, START, vec![entry]);
    log.add(&batch).await.unwrap();
    for bucket in [UsageBucket::Hour, UsageBucket::Day] {
        let mut query = UsageQuery::new(START, START.saturating_add(SECOND), bucket);
        for owner in [None, Some(&key.owner)] {
            query.owner = owner.cloned();
            for group in
                [None, Some(UsageGroup::Key), Some(UsageGroup::Organization), Some(UsageGroup::Category)]
            {
                (query.group_by, query.keys) = (group, Vec::new());
                log.read(&query, 10).await.unwrap();
                query.keys = vec![key.id];
                log.read(&query, 10).await.unwrap();
            }
        }
    }
    let before = Timestamp::from_unix_seconds(number);
    assert!(!log.prune(before, before).await.unwrap());
}

/// The first process dies before it has delivered anything, the second one in the middle of it; the third one delivers what
/// is left once the second one's time is over.
pub async fn events_outlast_the_processes_that_did_not_deliver_them(
    stores: &[Arc<dyn KeyAdministration>; 3],
) {
    let clock = ManualClock::starting_at(START);
    let events: Arc<Mutex<Vec<AuditEvent>>> = Arc::default();
    let assembly = |store: &Arc<dyn KeyAdministration>| {
        let sink = events.clone();
        let sink = move |event: &AuditEvent| sink.lock().unwrap().push(event.clone());
        let keys = ApiKeys::builder(store.clone(), KeyFormat::new("wfk_").unwrap()).bearer();
        keys.clock(clock.clone()).without_route_table().audit(sink).build().unwrap()
    };
    let operator = Authority::operator(owner());
    let first = assembly(&stores[0]);
    let id = first.manager().create(&operator, NewKey::new("n")).await.unwrap().key.id;
    first.manager().disable(&operator, &id).await.unwrap();
    drop(first);
    // It has begun, and is gone.
    let log = stores[1].audit_log().unwrap();
    assert_eq!(log.undelivered("second", START, START.saturating_add(SECOND)).await.unwrap().len(), 2);
    let third = assembly(&stores[2]);
    third.manager().enable(&operator, &id).await.unwrap();
    third.flush().await.unwrap();
    assert!(events.lock().unwrap().is_empty(), "another process delivers");
    clock.advance(SECOND);
    third.flush().await.unwrap();
    third.flush().await.unwrap();
    let events = events.lock().unwrap();
    let delivered: Vec<_> = events.iter().map(|event| event.action).collect();
    assert_eq!(delivered, [KeyAction::Create, KeyAction::Disable, KeyAction::Enable]);
    assert!(events.iter().all(|event| event.key_id == Some(id)));
}

/// Many change the same keys; events are delivered meanwhile.
pub async fn the_events_of_a_key_are_delivered_in_the_order_of_its_changes(
    stores: &[Arc<dyn KeyAdministration>],
) {
    let events: Arc<Mutex<Vec<AuditEvent>>> = Arc::default();
    let sink = events.clone();
    let keys =
        ApiKeys::builder(stores[0].clone(), KeyFormat::new("wfk_").unwrap()).bearer().without_route_table();
    let keys =
        keys.audit(move |event: &AuditEvent| sink.lock().unwrap().push(event.clone())).build().unwrap();
    let operator = Authority::operator(owner());
    let mut changed = Vec::new();
    for _ in 0..4 {
        changed.push(keys.manager().create(&operator, NewKey::new("n")).await.unwrap().key.id);
    }
    let mut tasks = JoinSet::new();
    for (number, store) in stores.iter().cycle().take(6).enumerate() {
        let manager = KeyManager::new(store.clone(), KeyFormat::new("wfk_").unwrap());
        let (operator, changed) = (operator.clone(), changed.clone());
        tasks.spawn(async move {
            for round in 0..10 {
                for id in &changed {
                    let limit = KeyChange::new().limit("requests", number as u32 * 100 + round + 1);
                    // Of many changes at once one may give up.
                    let _ = manager.update(&operator, id, limit).await;
                }
            }
        });
    }
    while !tasks.is_empty() {
        keys.flush().await.unwrap();
        while tasks.try_join_next().is_some() {}
    }
    keys.flush().await.unwrap();
    let events = events.lock().unwrap().clone();
    for id in &changed {
        let own: Vec<_> = events.iter().filter(|event| event.key_id == Some(*id)).collect();
        assert!(own.is_sorted_by_key(|event| event.number), "{own:#?}");
        let version = find(&stores[0], id).await.unwrap().version;
        assert_eq!(own.len() as u64, version + 1, "one for the creation and one for each change");
    }
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
