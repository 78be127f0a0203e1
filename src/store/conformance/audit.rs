//! The rules of the audit log, for stores that have one.

use std::time::Duration;

use super::tools::{START, acme, conflicts, digest, find_id, globex, insert, parse, record};
use crate::key::{Actor, KeyRecord, KeyState, Mode, Owner};
use crate::store::audit::{AuditEvent, KeyAction};
use crate::store::{AuditLog, HistoryQuery, KeyAdministration};

fn event(action: KeyAction, key: &KeyRecord) -> AuditEvent {
    let actor = Actor::Operator(Some("Ada 'ö' --".into()));
    AuditEvent { key_id: Some(key.id), ..AuditEvent::new(action, key.owner.clone(), actor, START) }
}

/// All events, the newest first, without their numbers, in pages of `limit`.
async fn read(
    log: &dyn AuditLog,
    key: Option<&KeyRecord>,
    limit: usize,
) -> (Vec<AuditEvent>, Vec<Option<u64>>) {
    let key = key.map(|key| (&key.owner, &key.id));
    let mut query = HistoryQuery { limit, ..HistoryQuery::default() };
    let (mut events, mut numbers) = (Vec::new(), Vec::new());
    loop {
        let page = log.history(key, &query).await.expect("a history must work");
        assert!(page.events.len() <= limit, "a page must not be longer than was asked for");
        numbers.extend(page.events.iter().map(|event| event.number));
        events.extend(page.events.into_iter().map(|event| AuditEvent { number: None, ..event }));
        query.before = page.next;
        if query.before.is_none() || events.len() > 100 {
            return (events, numbers);
        }
    }
}

pub(super) async fn keeps_an_event_with_its_change<S: KeyAdministration>(store: &S) {
    let Some(log) = store.audit_log() else { return };
    assert!(read(log, None, 10).await.0.is_empty(), "an empty store must have no events");
    let key = record("key", &acme(), 0);
    let unaudited = record("unaudited", &acme(), 1);
    insert(store, &unaudited).await;

    // What is done.
    let mut expected = vec![event(KeyAction::Create, &key)];
    store.insert(key.clone(), expected.last()).await.expect("an insert with an event must work");
    let mut update = event(KeyAction::Update, &key);
    update.changed = vec!["name".into(), "expiresAt".into()];
    update.at = START.saturating_add(Duration::from_millis(1));
    update.actor = Actor::Key(parse("k1"));
    update.reason = Some("ticket 'ö' --".into());
    expected.push(update);
    store.replace(key.clone(), expected.last()).await.expect("a replace with an event must work");
    expected.push(event(KeyAction::Activate, &key));
    let mut next = KeyRecord { version: key.version + 1, ..key.clone() };
    store.refresh(next.clone(), expected.last()).await.expect("a refresh with an event must work");
    next.version += 1;
    store.replace(next.clone(), None).await.expect("a replace without an event must work");
    next.version += 1;
    assert_eq!(find_id(store, &key.id).await.as_ref(), Some(&next), "an event must not hinder the change");

    // What is not.
    let mut failed = event(KeyAction::Revoke, &key);
    let revoked = KeyRecord { state: KeyState::Revoked { at: START }, ..key.clone() };
    conflicts(store.insert(next.clone(), Some(&failed)).await, "an insert must not replace");
    let thief = KeyRecord { digest: key.digest, ..record("thief", &globex(), 0) };
    conflicts(
        store.insert(thief.clone(), Some(&event(KeyAction::Create, &thief))).await,
        "nor take a digest",
    );
    conflicts(store.replace(revoked.clone(), Some(&failed)).await, "a replace of an older version must fail");
    let _ = store.refresh(revoked, Some(&failed)).await;
    let stolen = KeyRecord { digest: unaudited.digest, ..next.clone() };
    conflicts(store.replace(stolen, Some(&failed)).await, "a replace must not take over a digest");
    let deleted = store.delete(&globex(), &key.id, Some(&failed)).await;
    assert!(!deleted.expect("a delete that finds nothing must work"), "another owner must not delete");
    let forgotten = store.forget_import(&key.id, Some(&failed)).await;
    assert!(!forgotten.expect("to forget nothing must work"), "there is no import to forget");
    let (newest_first, _) = read(log, None, 10).await;
    let in_order: Vec<_> = newest_first.into_iter().rev().collect();
    assert_eq!(in_order, expected, "the event of a change that was made must be kept, and no other one");

    // What was not allowed.
    failed.outcome = Err("scopes_exceed_own".into());
    let mut of_none = AuditEvent { key_id: None, ..failed.clone() };
    of_none.owner = Owner::system(Mode::Test);
    for attempt in [failed, of_none] {
        log.record(&attempt).await.expect("to record an attempt must work");
        expected.push(attempt);
    }
    store.remember_import(&key.id, &key.digest).await.expect("to remember an import must work");
    store.remember_import(&key.id, &digest("other")).await.expect("to remember another one must work");
    expected.push(event(KeyAction::ForgetImport, &key));
    let forgotten = store.forget_import(&key.id, expected.last()).await;
    assert!(forgotten.expect("to forget an import must work"), "there is an import to forget");
    expected.push(event(KeyAction::Delete, &key));
    let deleted = store.delete(&key.owner, &key.id, expected.last()).await;
    assert!(deleted.expect("a delete with an event must work"), "there is a key to delete");
    let foreign = AuditEvent { owner: globex(), ..event(KeyAction::Read, &key) };
    log.record(&foreign).await.expect("to record an attempt must work");
    expected.push(foreign);

    expected.reverse();
    let of_key: Vec<_> =
        expected.iter().filter(|event| event.key_id.is_some() && event.owner == key.owner).cloned().collect();
    for limit in [1, 2, 100] {
        let (all, numbers) = read(log, None, limit).await;
        assert_eq!(all, expected, "all events must be kept, the newest first");
        assert!(numbers.iter().all(Option::is_some), "every event must have a number");
        assert!(numbers.is_sorted_by(|newer, older| newer > older), "newer events must have higher numbers");
        let (events, _) = read(log, Some(&key), limit).await;
        assert_eq!(events, of_key, "the history of a key must hold its events, and outlast it");
    }
    let (events, _) = read(log, Some(&unaudited), 10).await;
    assert!(events.is_empty(), "a change without an event must leave none");
}

pub(super) async fn delivers_what_was_not_delivered<S: KeyAdministration>(store: &S) {
    let Some(log) = store.audit_log() else { return };
    let at = |seconds| START.saturating_add(Duration::from_secs(seconds));
    let undelivered = async |process: &str, now| {
        let events = log.undelivered(process, at(now), at(now + 30)).await;
        let events = events.expect("to ask for events must work");
        events.into_iter().map(|event| event.number.expect("an event has a number")).collect::<Vec<_>>()
    };
    assert!(undelivered("a", 0).await.is_empty(), "an empty store must deliver nothing");
    for number in 0..150 {
        let key = record(&format!("key {number}"), &acme(), number);
        store.insert(key.clone(), Some(&event(KeyAction::Create, &key))).await.expect("an insert must work");
    }
    let first = undelivered("a", 0).await;
    assert_eq!(first.len(), 100, "at most 100 must be delivered at a time");
    assert!(first.is_sorted(), "the oldest must be delivered first");
    assert_eq!(undelivered("a", 1).await, first, "what was not delivered must be delivered again");
    assert!(undelivered("b", 2).await.is_empty(), "while one process delivers, no other must");
    assert!(undelivered("b", 30).await.is_empty(), "a process that asks again goes on");
    log.delivered(&first[..99]).await.expect("to mark events as delivered must work");
    log.delivered(&[]).await.expect("to mark none must work");
    let rest = undelivered("b", 31).await;
    assert_eq!(rest.len(), 51, "once a process has stopped, another one must deliver the rest");
    assert_eq!(rest[0], first[99], "the oldest first");
    log.delivered(&rest).await.expect("to mark events as delivered must work");
    assert!(undelivered("b", 31).await.is_empty(), "what was delivered must not be delivered again");
    let (events, _) = read(log, None, 1000).await;
    assert_eq!(events.len(), 150, "what was delivered must be kept");
}
