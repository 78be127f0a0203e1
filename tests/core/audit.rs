//! What the audit log keeps, who reads it, and how the application's own sink learns of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::json;
use tower::ServiceExt;
use tower_api_keys::clock::{ManualClock, Timestamp};
use tower_api_keys::key::{Digest, KeyId, KeyRecord, Mode, Owner};
use tower_api_keys::manage::{AuditEvent, KeyAction as A, KeyChange, KeyManager, ManageError};
use tower_api_keys::store::{
    AuditLog, HistoryQuery, KeyAdministration, KeyQuery, KeySelector, KeyStore, Lookup, MemoryStore, Page,
    StoreError, StoreErrorKind,
};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, Authority, KeyFormat, NewKey, Principal};
use tower_layer::Layer;

const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

fn acme() -> Owner {
    Owner::organization("acme".parse().unwrap(), Mode::Live)
}

fn operator() -> Authority {
    Authority::operator(acme()).by("ada")
}

fn new_key() -> NewKey {
    NewKey::new("key").scopes(["api-keys:read", "api-keys:write"])
}

/// Fails instead of hanging.
async fn soon(flushing: impl Future<Output = Result<(), StoreError>>) {
    tokio::time::timeout(Duration::from_secs(10), flushing).await.expect("events are delivered").unwrap();
}

type Events = Arc<Mutex<Vec<AuditEvent>>>;

fn sink(events: &Events) -> impl Fn(&AuditEvent) + Send + Sync + 'static {
    let events = events.clone();
    move |event| events.lock().unwrap().push(event.clone())
}

fn builder(store: impl KeyAdministration, clock: &ManualClock) -> ApiKeysBuilder {
    let format = KeyFormat::new("wfk_").unwrap();
    ApiKeys::builder(store, format).header("x-api-key").clock(clock.clone()).without_route_table()
}

fn assembly(store: impl KeyAdministration, sink: impl Fn(&AuditEvent) + Send + Sync + 'static) -> ApiKeys {
    builder(store, &ManualClock::starting_at(START)).audit(sink).build().unwrap()
}

async fn principal(keys: &ApiKeys, secret: &str) -> Principal {
    let service = keys.layer().layer(tower::service_fn(async |request: Request<()>| {
        let mut response = Response::new(Bytes::new());
        response.extensions_mut().insert(Principal::from_extensions(request.extensions()).cloned().unwrap());
        Ok::<_, Infallible>(response)
    }));
    let request = Request::builder().header("x-api-key", secret).body(()).unwrap();
    service.oneshot(request).await.unwrap().extensions().get::<Principal>().unwrap().clone()
}

async fn all(manager: &KeyManager) -> Vec<AuditEvent> {
    manager.history_of_all(&HistoryQuery::default()).await.unwrap().events
}

fn actions(events: &[AuditEvent]) -> Vec<A> {
    events.iter().map(|event| event.action).collect()
}

/// A store of the application's own: without an audit log unless told otherwise, and it can be down.
#[derive(Clone, Default)]
struct Own {
    keys: MemoryStore,
    keeps_audit: bool,
    is_down: Arc<AtomicBool>,
}

impl Own {
    fn up(&self) -> Result<&MemoryStore, StoreError> {
        match self.is_down.load(Ordering::SeqCst) {
            true => Err(StoreError::new(StoreErrorKind::Unavailable)),
            false => Ok(&self.keys),
        }
    }
}

#[async_trait]
impl KeyStore for Own {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        self.keys.find(selector)
    }
}

#[async_trait]
impl KeyAdministration for Own {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.up()?.insert(record, event).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.up()?.get(owner, id).await
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.up()?.list(owner, query).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.up()?.replace(record, event).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.up()?.delete(owner, id, event).await
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        self.keys.audit_log().filter(|_| self.keeps_audit)
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.up()?.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.up()?.imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.up()?.forget_import(id, event).await
    }
}

#[tokio::test]
async fn the_history_of_a_key_tells_who_did_what_and_outlasts_the_key() {
    let events = Events::default();
    let keys = assembly(MemoryStore::new(), sink(&events));
    let manager = keys.manager();
    let made = manager.create(&operator(), new_key()).await.unwrap();
    let caller = Authority::principal(&principal(&keys, made.secret.expose_secret()).await);
    let id = made.key.id;
    let change = KeyChange::new().name("other").expires_at(None);
    manager.update(&operator().because("ticket 1"), &id, change).await.unwrap();
    manager.create(&caller, new_key().scope("invoice:read")).await.unwrap_err();
    let next = manager.rotate_on_first_use(&caller, &id, Duration::from_secs(60)).await.unwrap();
    principal(&keys, next.secret.expose_secret()).await;
    principal(&keys, next.secret.expose_secret()).await;
    manager.create(&operator(), new_key()).await.unwrap();
    manager.delete(&operator(), &id).await.unwrap();

    let history =
        async |authority: &Authority, query: &HistoryQuery| manager.history(authority, &id, query).await;
    let page = history(&operator(), &HistoryQuery::default()).await.unwrap();
    let expected = [A::Delete, A::Revoke, A::Activate, A::Rotate, A::Update, A::Create];
    assert_eq!((actions(&page.events), page.next), (expected.to_vec(), None));
    let actors: Vec<_> = page.events.iter().map(|event| event.actor.to_string()).collect();
    let (ada, own) = ("operator ada".to_owned(), format!("key {id}"));
    assert_eq!(actors.iter().collect::<Vec<_>>(), [&ada, &ada, &own, &own, &ada, &ada]);
    assert_eq!(
        serde_json::to_value(&page.events[4]).unwrap(),
        json!({
            "number": 2, "at": "2023-12-14T05:20:00Z", "action": "update", "outcome": "done", "changed": ["name"],
            "keyId": id, "organization": "acme", "mode": "live", "actor": "operator ada", "reason": "ticket 1",
        })
    );
    let mut query = HistoryQuery::default();
    query.limit = 4;
    let mut paged = Vec::new();
    loop {
        let page = history(&operator(), &query).await.unwrap();
        paged.extend(page.events);
        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(paged, page.events, "page by page");
    let globex = Authority::operator(Owner::organization("globex".parse().unwrap(), Mode::Live));
    for stranger in [&globex, &Authority::operator(Owner { mode: Mode::Test, ..acme() })] {
        assert!(matches!(history(stranger, &HistoryQuery::default()).await, Err(ManageError::NotFound)));
    }
    let writer = manager.create(&operator(), NewKey::new("writer").scope("api-keys:write")).await.unwrap();
    let writer = Authority::principal(&principal(&keys, writer.secret.expose_secret()).await);
    assert!(matches!(history(&writer, &HistoryQuery::default()).await, Err(ManageError::Forbidden(_))));

    soon(keys.flush()).await;
    let mut delivered = events.lock().unwrap().clone();
    delivered.reverse();
    assert_eq!(delivered, all(manager).await, "the sink gets what the store keeps, once");
    let [refused, ..] = &delivered[..] else { panic!("the last one was forbidden") };
    let code = Err("management_scope_missing".into());
    assert_eq!((refused.action, refused.key_id, &refused.outcome), (A::Read, Some(id), &code));
    assert_eq!(delivered.iter().filter(|event| event.outcome == Err("scopes_exceed_own".into())).count(), 1);
}

#[tokio::test]
async fn a_key_without_events_has_an_empty_history_and_an_unknown_one_has_none() {
    let keys = assembly(MemoryStore::new(), |_| {});
    let record = crate::support::record(crate::support::KEY, |_| {});
    keys.manager().history(&operator(), &record.id, &HistoryQuery::default()).await.unwrap_err();
    let store = MemoryStore::new();
    store.insert(record.clone(), None).await.unwrap();
    let manager = KeyManager::new(store, KeyFormat::new("wfk_").unwrap());
    let authority = Authority::operator(record.owner.clone());
    let page = manager.history(&authority, &record.id, &HistoryQuery::default()).await.unwrap();
    assert!(page.events.is_empty());
    let manager = KeyManager::new(Own::default(), KeyFormat::new("wfk_").unwrap());
    let error = manager.history_of_all(&HistoryQuery::default()).await.unwrap_err();
    assert!(matches!(error, ManageError::Store(_)), "the store keeps none");
}

#[tokio::test]
async fn a_reported_leak_is_an_event_with_its_place_and_changes_nothing_of_the_key() {
    for keeps_audit in [false, true] {
        let events = Events::default();
        let keys = assembly(Own { keeps_audit, ..Own::default() }, sink(&events));
        let manager = keys.manager();
        let id = manager.create(&operator(), new_key()).await.unwrap().key.id;
        let before = manager.get(&operator(), &id).await.unwrap();
        let place = operator().because("https://paste.example/4711#L3");
        manager.report_leak(&place, &id).await.unwrap();
        assert_eq!(manager.get(&operator(), &id).await.unwrap(), before);
        manager.revoke(&operator(), &id).await.unwrap();
        manager.report_leak(&operator(), &id).await.unwrap();
        let unknown = manager.report_leak(&operator(), &"unknown".parse().unwrap()).await;
        assert!(matches!(unknown, Err(ManageError::NotFound)));
        let reader = manager.create(&operator(), NewKey::new("reader").scope("api-keys:read")).await.unwrap();
        let reader = Authority::principal(&principal(&keys, reader.secret.expose_secret()).await);
        assert!(matches!(manager.report_leak(&reader, &id).await, Err(ManageError::Forbidden(_))));
        soon(keys.flush()).await;
        let events = events.lock().unwrap();
        let told: Vec<_> = events.iter().map(|event| (event.action, event.reason.as_deref())).collect();
        let leak = (A::ReportLeak, Some("https://paste.example/4711#L3"));
        let rest = [(A::Create, None), (A::ReportLeak, None)];
        assert_eq!(
            told,
            [&[(A::Create, None), leak, (A::Revoke, None), (A::ReportLeak, None)], &rest[..]].concat()
        );
        let by_the_reader = "management_scope_missing";
        assert_eq!(events.last().unwrap().outcome, Err(by_the_reader.into()));
    }
}

#[tokio::test]
async fn a_reason_is_a_line_of_text_without_a_key() {
    let manager = KeyManager::new(MemoryStore::new(), KeyFormat::new("wfk_").unwrap());
    let made = manager.create(&operator(), new_key()).await.unwrap();
    let secret = made.secret.expose_secret();
    let (long, longest) = ("x".repeat(501), "ö".repeat(500));
    let in_url = format!("https://paste.example/?key={secret}&line=3");
    let in_sentence = format!("Seen as {secret}.");
    let cases = [
        ("", false),
        (" ", false),
        (&*long, false),
        ("two\nlines", false),
        ("hidden \u{202e} order", false),
        (secret, false),
        (&*in_url, false),
        (&*in_sentence, false),
        (&*longest, true),
        ("ticket 4711: wfk_ keys in a log", true),
        ("4bf92f3577b34da6a3ce929d0e0e4736", true),
    ];
    for (reason, is_taken) in cases {
        let result = manager.disable(&operator().because(reason), &made.key.id).await;
        match result {
            Ok(_) => assert!(is_taken, "{reason}"),
            Err(ManageError::Invalid(faults)) => {
                assert_eq!((is_taken, &*faults[0].field), (false, "reason"))
            }
            Err(error) => panic!("{reason}: {error}"),
        }
    }
}

/// Also where a store keeps no events.
#[tokio::test]
async fn a_sink_that_panics_loses_no_answer_and_no_other_event() {
    for keeps_audit in [false, true] {
        let events = Events::default();
        let count = sink(&events);
        let keys = assembly(Own { keeps_audit, ..Own::default() }, move |event| {
            count(event);
            assert_ne!(event.action, A::Rotate, "the sink has a bug");
        });
        let manager = keys.manager();
        let id = manager.create(&operator(), new_key()).await.unwrap().key.id;
        manager.rotate(&operator(), &id, Duration::ZERO).await.unwrap();
        manager.disable(&operator(), &id).await.unwrap();
        soon(keys.flush()).await;
        soon(keys.flush()).await;
        assert_eq!(actions(&events.lock().unwrap()), [A::Create, A::Rotate, A::Disable], "{keeps_audit}");
    }
}

#[tokio::test]
async fn a_manager_of_its_own_calls_its_sink_in_place() {
    let events = Events::default();
    let count = sink(&events);
    let manager = KeyManager::new(MemoryStore::new(), KeyFormat::new("wfk_").unwrap());
    let manager = manager.with_audit(move |event| {
        count(event);
        panic!("the sink has a bug");
    });
    let id = manager.create(&operator(), new_key()).await.unwrap().key.id;
    manager.revoke(&operator(), &id).await.unwrap();
    assert_eq!(actions(&events.lock().unwrap()), [A::Create, A::Revoke]);
    assert_eq!(actions(&all(&manager).await), [A::Revoke, A::Create]);
}

/// The sink takes its time: it waits for a word, event by event.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_blocks_delays_neither_changes_nor_requests() {
    for keeps_audit in [false, true] {
        let (go_on, word) = mpsc::channel::<()>();
        let (word, is_called) = (Mutex::new(word), Arc::new(AtomicBool::new(false)));
        let (events, called) = (Events::default(), is_called.clone());
        let count = sink(&events);
        let keys = assembly(Own { keeps_audit, ..Own::default() }, move |event| {
            called.store(true, Ordering::SeqCst);
            word.lock().unwrap().recv().unwrap();
            count(event);
        });
        let background = tokio::spawn(keys.background());
        let manager = keys.manager().clone();
        let created = tokio::spawn(async move { manager.create(&operator(), new_key()).await.unwrap() });
        let created = tokio::time::timeout(Duration::from_secs(10), created).await;
        let id = created.expect("no sink delays an answer").unwrap().key.id;
        while !is_called.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let rotated = keys.manager().rotate(&operator(), &id, Duration::ZERO).await.unwrap();
        assert_eq!(principal(&keys, rotated.secret.expose_secret()).await.key_id(), &id);
        background.abort();
        assert!(events.lock().unwrap().is_empty(), "the sink has still not returned");

        (0..2).for_each(|_| go_on.send(()).unwrap());
        soon(keys.flush()).await;
        let delivered = actions(&events.lock().unwrap());
        assert_eq!(delivered, [A::Create, A::Rotate], "{keeps_audit}: each once, though one was on its way");
    }
}

#[tokio::test]
async fn more_events_than_may_wait_are_lost_at_the_end_alone() {
    let (events, store) = (Events::default(), Own::default());
    let keys = assembly(store, sink(&events));
    let id = keys.manager().create(&operator(), new_key()).await.unwrap().key.id;
    for _ in 0..600 {
        keys.manager().disable(&operator(), &id).await.unwrap();
        keys.manager().enable(&operator(), &id).await.unwrap();
    }
    soon(keys.flush()).await;
    let delivered = std::mem::take(&mut *events.lock().unwrap());
    assert_eq!(delivered.len(), 1000);
    let expected: Vec<_> =
        [A::Create].into_iter().chain([A::Disable, A::Enable].into_iter().cycle()).take(1000).collect();
    assert_eq!(actions(&delivered), expected, "without a hole");
    keys.manager().revoke(&operator(), &id).await.unwrap();
    soon(keys.flush()).await;
    assert_eq!(actions(&events.lock().unwrap()), [A::Revoke], "there is room again");
}

#[tokio::test]
async fn attempts_that_come_to_nothing_are_recorded_within_a_bound() {
    let clock = ManualClock::starting_at(START);
    let store = MemoryStore::new();
    let keys = builder(store.clone(), &clock).build().unwrap();
    let reader =
        keys.manager().create(&operator(), NewKey::new("reader").scope("api-keys:read")).await.unwrap();
    let reader = Authority::principal(&principal(&keys, reader.secret.expose_secret()).await);
    let attempts = async |number| {
        for _ in 0..number {
            keys.manager().create(&reader, new_key()).await.unwrap_err();
        }
        let mut query = HistoryQuery::default();
        query.limit = 1000;
        let events = keys.manager().history_of_all(&query).await.unwrap().events;
        events.iter().filter(|event| event.outcome == Err("management_scope_missing".into())).count()
    };
    assert_eq!(attempts(100).await, 60, "a burst");
    clock.advance(Duration::from_secs(3));
    assert_eq!(attempts(100).await, 63, "and one a second");
    keys.manager().create(&operator(), new_key()).await.unwrap();
    assert_eq!(all(keys.manager()).await[0].action, A::Create, "what is done is always recorded");
}

/// What a store that does not answer can't keep, the sink gets all the same.
#[tokio::test]
async fn a_change_that_fails_is_an_event() {
    for keeps_audit in [false, true] {
        let (events, store) = (Events::default(), Own { keeps_audit, ..Own::default() });
        let keys = assembly(store.clone(), sink(&events));
        let id = keys.manager().create(&operator(), new_key()).await.unwrap().key.id;
        store.is_down.store(true, Ordering::SeqCst);
        let failed = keys.manager().revoke(&operator(), &id).await.unwrap_err();
        assert!(matches!(failed, ManageError::Store(_)));
        store.is_down.store(false, Ordering::SeqCst);
        keys.manager().revoke(&operator(), &id).await.unwrap();
        soon(keys.flush()).await;
        let mut outcomes: Vec<_> =
            events.lock().unwrap().drain(..).map(|event| (event.action, event.outcome)).collect();
        outcomes.sort_by_key(|(action, outcome)| (action.as_str(), outcome.is_ok()));
        let unavailable = Err("unavailable".into());
        let expected = [(A::Create, Ok(())), (A::Revoke, unavailable), (A::Revoke, Ok(()))];
        assert_eq!(outcomes, expected, "{keeps_audit}");
        // A key that is not there, and a fault of the request, are no events.
        keys.manager().revoke(&operator(), &id).await.unwrap_err();
        keys.manager().create(&operator(), NewKey::new("")).await.unwrap_err();
        soon(keys.flush()).await;
        assert!(events.lock().unwrap().is_empty());
    }
}
