//! Records that are not what the store was asked for, that were edited, or whose pepper is missing: denied, with an alarm.
#![cfg(feature = "tracing")]

use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use tokio::time::{Duration, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::key::{Digest, KeyFormat, KeyId, KeyRecord, Mode, Owner, Peppers, SecretString};
use tower_api_keys::manage::AuditEvent;
use tower_api_keys::manage::{Authority, KeyManager, ManageError};
use tower_api_keys::store::{
    KeyAdministration, KeyQuery, KeySelector, KeyStore, Lookup, MemoryStore, Page, StoreError,
};
use tower_api_keys::{ApiKeys, ApiKeysBuilder};

use crate::damage::Log;
use crate::support::*;

/// A store that answers every question with the same record.
struct Always(MemoryStore, Arc<KeyRecord>, /* waits */ bool);

#[async_trait]
impl KeyStore for Always {
    fn find(&self, _: KeySelector<'_>) -> Lookup {
        let found = Ok(Some(self.1.clone()));
        if self.2 { Lookup::pending(async { found }) } else { Lookup::ready(found) }
    }
}

#[async_trait]
impl KeyAdministration for Always {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.0.insert(record, event).await
    }

    async fn get(&self, _: &Owner, _: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok(Some(self.1.clone()))
    }

    async fn list(&self, _: Option<&Owner>, _: &KeyQuery) -> Result<Page, StoreError> {
        Ok(Page { keys: vec![self.1.clone()], broken: Vec::new(), next: None })
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.0.replace(record, event).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.0.delete(owner, id, event).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.0.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.0.imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.0.forget_import(id, event).await
    }
}

async fn status(keys: ApiKeysBuilder, key: &'static str) -> StatusCode {
    let keys = keys.without_route_table().build().unwrap();
    keys.layer().layer(service_fn(whoami)).oneshot(request(key)).await.unwrap().status()
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

fn is_alarm(log: &Log, code: &str, names: &str) {
    let logged = log.take();
    let is_alarm = logged.contains("ERROR") && logged.contains(code) && logged.contains(names);
    assert!(is_alarm, "{code} of {names}: {logged}");
}

fn with_id() -> KeyFormat {
    KeyFormat::builder("sk_").modes("test_", "live_").public_id(12, '.').build().unwrap()
}

/// A new key of `format` as text, and its record.
fn generated(format: &KeyFormat, mode: Mode) -> (&'static str, KeyRecord) {
    let made = format.generate(mode).unwrap();
    let text: &'static str = made.secret.expose_secret().to_owned().leak();
    let mut stored = record(text, |_| {});
    if let Some(id) = format.parse(text).unwrap().id {
        stored.id = id;
    }
    stored.owner.mode = mode;
    (text, stored)
}

fn is_broken<T: std::fmt::Debug>(result: Result<T, ManageError>) {
    assert!(matches!(&result, Err(ManageError::Store(error)) if error.broken_key().is_some()), "{result:?}");
}

#[test]
fn a_record_that_was_not_asked_for_is_denied_with_an_alarm() {
    in_own_process(|| {
        let log = Log::start();
        block_on(async {
            for waits in [false, true] {
                // By an identifier, with its very secret; by a digest; and as a right one.
                let (text, own) = generated(&with_id(), Mode::Live);
                let swapped = |change: &dyn Fn(&mut KeyRecord)| {
                    let mut other = own.clone();
                    change(&mut other);
                    Always(MemoryStore::new(), Arc::new(other), waits)
                };
                let by_id = |store: Always| ApiKeys::builder(store, with_id()).header("x-api-key");
                assert_eq!(status(by_id(swapped(&|_| {})), text).await, StatusCode::OK);
                assert_eq!(log.take(), "");
                let other_id = swapped(&|record| record.id = "another".parse().unwrap());
                assert_eq!(status(by_id(other_id), text).await, StatusCode::SERVICE_UNAVAILABLE);
                is_alarm(&log, "record_corrupt", own.id.as_str());

                let other = record(OTHER_KEY, |_| {});
                let id = other.id;
                let by_digest = Always(MemoryStore::new(), Arc::new(other), waits);
                assert_eq!(status(assembly(by_digest), KEY).await, StatusCode::SERVICE_UNAVAILABLE);
                is_alarm(&log, "record_corrupt", id.as_str());
            }

            let stored = record(KEY, |_| {});
            let (id, asked) = (stored.id, "asked_for".parse().unwrap());
            let manager = KeyManager::new(Always(MemoryStore::new(), Arc::new(stored), true), format());
            let globex = Authority::operator(Owner::organization("globex".parse().unwrap(), Mode::Live));
            assert_eq!(manager.get(&Authority::operator(acme()), &id).await.unwrap().id, id);
            assert_eq!(log.take(), "");
            is_broken(manager.get(&Authority::operator(acme()), &asked).await);
            is_alarm(&log, "record_corrupt", "asked_for");
            is_broken(manager.get(&globex, &id).await);
            is_alarm(&log, "record_corrupt", id.as_str());
            is_broken(manager.disable(&globex, &id).await);
            is_broken(manager.find_by_id(&asked).await);
            is_broken(manager.find_by_text(OTHER_KEY).await);
            assert_eq!(manager.find_by_text(KEY).await.unwrap().unwrap().id, id);
            log.take();
            let page = manager.list(&globex, &KeyQuery::default()).await.unwrap();
            assert!(page.keys.is_empty(), "keys of others are not shown: {page:?}");
            is_alarm(&log, "record_corrupt", id.as_str());
        });
    });
}

#[test]
fn a_right_secret_of_another_mode_is_an_alarm_and_a_guess_is_none() {
    in_own_process(|| {
        let log = Log::start();
        block_on(async {
            let (text, stored) = generated(&with_id(), Mode::Test);
            let id = stored.id;
            let mut edited = stored;
            edited.owner = acme();
            let keys = store([edited]).await;
            let by_id = || ApiKeys::builder(keys.clone(), with_id()).header("x-api-key");
            assert_eq!(status(by_id(), text).await, StatusCode::UNAUTHORIZED);
            is_alarm(&log, "mode_mismatch", id.as_str());
            let guess: &'static str = format!("{}x", &text[..text.len() - 1]).leak();
            assert_eq!(status(by_id(), guess).await, StatusCode::UNAUTHORIZED);
            assert_eq!(log.take(), "");
        });
    });
}

#[test]
fn a_pepper_that_is_missing_is_reported_and_is_no_fault_of_the_client() {
    in_own_process(|| {
        let log = Log::start();
        block_on(async {
            let pepper = |text: &str| SecretString::from(format!("{text:-<32}").as_str());
            let one = Peppers::new(1, pepper("one")).unwrap();
            let two = Peppers::new(2, pepper("two")).unwrap();
            let both = two.clone().with_previous(1, pepper("one")).unwrap();
            let (text, stored) = generated(&with_id(), Mode::Live);
            let id = stored.id;
            let plain = stored.digest;
            let peppered = one.digest(text);
            for (digest, peppers, want, names, counted) in [
                (peppered, &one, 200, "", Some(1)),
                (peppered, &both, 200, "", Some(2)),
                (peppered, &two, 503, "pepper 1,", Some(1)),
                (peppered, &Peppers::none(), 503, "pepper 1,", Some(1)),
                (plain, &two, 503, "without a pepper", None),
                (plain, &two.clone().accept_unpeppered(), 200, "", Some(2)),
            ] {
                let mut stored = stored.clone();
                stored.digest = digest;
                let keys = store([stored]).await;
                let by_id =
                    ApiKeys::builder(keys.clone(), with_id()).header("x-api-key").peppers(peppers.clone());
                let built = by_id.without_route_table().build().unwrap();
                let service = built.layer().layer(service_fn(whoami));
                let answer = service.clone().oneshot(request(text)).await.unwrap();
                assert_eq!(answer.status(), want, "{digest:?} with {peppers:?}");
                match want {
                    200 => assert_eq!(log.take(), "", "{digest:?} with {peppers:?}"),
                    _ => {
                        let logged = log.take();
                        assert!(
                            logged.contains("pepper_missing")
                                && logged.contains(names)
                                && logged.contains(id.as_str()),
                            "{digest:?} with {peppers:?}: {logged}"
                        );
                    }
                }
                // A guess gets a 401 where that can be told.
                let guess: &'static str = format!("{}x", &text[..text.len() - 1]).leak();
                let answer = service.oneshot(request(guess)).await.unwrap();
                assert_eq!(answer.status(), if want == 200 { 401 } else { want });
                log.take();

                // A process that starts says so, and by whatever keys are found.
                assert!(timeout(Duration::from_millis(250), pin!(built.background())).await.is_err());
                match want {
                    200 => assert_eq!(log.take(), "", "{digest:?} with {peppers:?}"),
                    _ => is_alarm(&log, "pepper_missing", "keys=1"),
                }
                let in_use = built.manager().peppers_in_use().await.unwrap();
                assert_eq!(in_use, [(counted, 1)].into(), "{digest:?} with {peppers:?}");
            }
        });
    });
}
