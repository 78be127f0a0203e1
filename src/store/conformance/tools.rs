//! Helpers of the rules: records to store, and lookups that return whole records.

use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::{
    Digest, KeyId, KeyRecord, KeyState, Metadata, Mode, NextSecret, Owner, Peppers, PreviousSecret,
    SecretString,
};
use crate::scope::ScopeSet;
use crate::store::{Cursor, KeyAdministration, KeyQuery, KeySelector, StoreError, StoreErrorKind};

pub(super) const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

pub(super) fn record(secret: &str, owner: &Owner, age: u64) -> KeyRecord {
    let digest = digest(secret);
    let id: String = digest.as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    KeyRecord::new(parse(&id), owner.clone(), digest, START.saturating_add(Duration::from_secs(age)))
}

pub(super) fn full_record() -> KeyRecord {
    let mut record = record("full", &Owner::organization(parse("acme"), Mode::Test), 0);
    record.name = "Tëst ✓ 'quoted' \"name\"; --".into();
    record.hint = "wfk_…45pq".into();
    record.digest = peppered("a", 1);
    record.extras.previous = Some(PreviousSecret { digest: digest("previous"), valid_until: START });
    record.extras.next = Some(Box::new(next_secret("a next one")));
    record.scopes = ScopeSet::parse_list(["workflows:read", "runs:*"]).expect("these are scopes");
    record.state = KeyState::Revoked { at: START.saturating_add(Duration::from_millis(7)) };
    record.secret_created_at = START.saturating_add(Duration::from_millis(3));
    record.extras.not_before = Some(START);
    record.expires_at = Some(START.saturating_add(Duration::from_secs(1)));
    record.extras.limits.insert("read".to_owned(), NonZeroU32::MAX);
    record.extras.metadata =
        Some(Metadata::from_json("{\"plan\":\"prö '\\\"--\"}").expect("it is an object"));
    record.extras.imported_hash = Some(parse("$2b$12$quote'--\""));
    record.set_created_by(Some(parse("operator Ada 'ö' --")));
    record.extras.allowed_addresses = vec![parse("192.0.2.0/24"), parse("2001:db8::/32"), parse("0.0.0.0/0")];
    record
}

pub(super) fn next_secret(secret: &str) -> NextSecret {
    NextSecret {
        digest: digest(secret),
        hint: "wfk_…78rs".into(),
        created_at: START.saturating_add(Duration::from_millis(5)),
        grace: Duration::from_secs(24 * 60 * 60),
    }
}

pub(super) fn acme() -> Owner {
    Owner::organization(parse("acme"), Mode::Live)
}

pub(super) fn globex() -> Owner {
    Owner::organization(parse("globex"), Mode::Live)
}

pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("the suite's own names are well formed")
}

pub(super) fn digest(secret: &str) -> Digest {
    Peppers::none().digest(secret)
}

pub(super) fn peppered(secret: &str, pepper: u32) -> Digest {
    let bytes = SecretString::from("a pepper of thirty-two bytes, or more");
    Peppers::new(pepper, bytes).expect("the pepper is long enough").digest(secret)
}

pub(super) async fn insert<S: KeyAdministration>(store: &S, record: &KeyRecord) {
    store.insert(record.clone(), None).await.expect("an insert of a new key must work");
}

pub(super) async fn find<S: KeyAdministration>(store: &S, digest: &Digest) -> Option<KeyRecord> {
    look_up(store, KeySelector::Digests(&[*digest])).await
}

pub(super) async fn find_id<S: KeyAdministration>(store: &S, id: &KeyId) -> Option<KeyRecord> {
    look_up(store, KeySelector::Id(id)).await
}

/// The result of `find`, called twice, since the first lookup may fill a cache.
pub(super) async fn look_up<S: KeyAdministration>(store: &S, selector: KeySelector<'_>) -> Option<KeyRecord> {
    let found = store.find(selector).await.expect("a lookup must work");
    let again = store.find(selector).await.expect("a lookup must work twice");
    assert_eq!(again, found, "two lookups of the same key must find the same");
    found.map(Arc::unwrap_or_clone)
}

pub(super) async fn get<S: KeyAdministration>(store: &S, owner: &Owner, id: &KeyId) -> Option<KeyRecord> {
    store.get(owner, id).await.expect("`get` must work").map(Arc::unwrap_or_clone)
}

pub(super) async fn list<S: KeyAdministration>(
    store: &S,
    owner: &Owner,
    after: Option<Cursor>,
    limit: usize,
) -> (Vec<Arc<KeyRecord>>, Option<Cursor>) {
    let query = KeyQuery { after, limit, ..KeyQuery::default() };
    let page = store.list(Some(owner), &query).await.expect("a listing must work");
    (page.keys, page.next)
}

pub(super) fn conflicts(result: Result<(), StoreError>, rule: &str) {
    let error = result.expect_err(rule);
    assert_eq!(error.kind(), StoreErrorKind::Conflict, "{rule}");
}

/// Polls all futures in turn until all are done, so that they interleave.
pub(super) async fn join_all<T>(mut futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(move |context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none() {
                if let Poll::Ready(value) = future.as_mut().poll(context) {
                    *result = Some(value);
                }
            }
        }
        if results.iter().any(Option::is_none) {
            return Poll::Pending;
        }
        Poll::Ready(results.iter_mut().filter_map(Option::take).collect())
    })
    .await
}
