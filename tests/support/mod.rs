//! Helpers that several test files share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, Request, Response};
use tower_api_keys::clock::Timestamp;
use tower_api_keys::credential::HeaderKey;
use tower_api_keys::key::{Digest, KeyId, KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::manage::AuditEvent;
use tower_api_keys::rejection::Rejection;
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{
    KeyAdministration, KeyQuery, KeySelector, KeyStore, Lookup, Page, QuotaChange, QuotaRow, StoreError,
    StoreErrorKind, UsageLog,
};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, KeyFormat, MemoryStore, Principal};

pub const KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";
pub const OTHER_KEY: &str = "wfk_ABC123def456ghi789jkl012mno345pq";
pub const UNKNOWN_KEY: &str = "wfk_00000000000000000000000000000000";
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

pub fn format() -> KeyFormat {
    KeyFormat::new("wfk_").unwrap()
}

/// Keys of `store` in `x-api-key`, with rejections attached to their responses. Without routes: a test adds its own,
/// or calls `without_route_table`.
pub fn assembly(store: impl KeyAdministration) -> ApiKeysBuilder {
    ApiKeys::builder(store, format()).header("x-api-key").attach_rejections()
}

/// The rejection of a response, which an assembly has attached.
pub fn rejection<B>(response: &Response<B>) -> &Rejection {
    response.extensions().get().expect("a rejected request carries its rejection")
}

pub fn header_key() -> HeaderKey {
    HeaderKey::new(X_API_KEY, format())
}

pub fn acme() -> Owner {
    Owner::organization("acme".parse().unwrap(), Mode::Live)
}

/// An active key of acme, changed by the test.
pub fn record(key: &str, change: impl FnOnce(&mut KeyRecord)) -> KeyRecord {
    let digest = Peppers::none().digest(key);
    let id: String = digest.as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut record = KeyRecord::new(id.parse().unwrap(), acme(), digest, START);
    record.scopes = ScopeSet::parse_list(["workflows:read"]).unwrap();
    change(&mut record);
    record
}

pub async fn store(records: impl IntoIterator<Item = KeyRecord>) -> MemoryStore {
    let store = MemoryStore::new();
    for record in records {
        store.insert(record, None).await.unwrap();
    }
    store
}

pub fn request(key: impl Into<Option<&'static str>>) -> Request<()> {
    let mut request = Request::new(());
    if let Some(key) = key.into() {
        request.headers_mut().insert(X_API_KEY, key.parse().unwrap());
    }
    request
}

/// Answers with the key's identifier, or `anonymous`.
pub async fn whoami<B>(request: Request<B>) -> Result<Response<Bytes>, Infallible> {
    let principal = Principal::from_extensions(request.extensions());
    let name = principal.map_or("anonymous".into(), |principal| principal.key_id().to_string());
    Ok(Response::new(Bytes::from(name)))
}

/// Runs the calling test, `work`, in its own process. For a test that reads the log: in one process, an event that
/// another test logs first, on a thread without a subscriber, may stay disabled for every other thread.
pub fn in_own_process<W: FnOnce()>(work: W) {
    const INSIDE: &str = "TEST_IN_ITS_OWN_PROCESS";
    if std::env::var_os(INSIDE).is_some() {
        return work();
    }
    // The name of a closure is that of its test, inside the crate.
    let (_, name) = std::any::type_name::<W>().split_once("::").unwrap();
    let name = name.trim_end_matches("::{{closure}}");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args([name, "--exact", "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{name}: {printed}");
}

/// How a [`TestStore`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    AtOnce,
    /// Only when it is awaited, and not at the first poll.
    Later,
    WithAnError,
    WithAPanic,
    WithAPanicLater,
}

/// A configurable store that counts its lookups.
#[derive(Clone)]
pub struct TestStore {
    pub keys: MemoryStore,
    pub answers: Answers,
    pub lookups: Arc<AtomicUsize>,
    pub refreshed: Arc<AtomicUsize>,
    /// The error of every refresh, if there is one.
    pub refresh_error: Option<StoreErrorKind>,
    /// How it changes quotas, if it keeps any. Later: once it has changed them.
    pub quotas: Option<Answers>,
    /// Where it keeps usage, if not with the keys.
    pub usage: Option<Arc<dyn UsageLog>>,
}

impl TestStore {
    pub fn new(keys: MemoryStore, answers: Answers) -> Self {
        let (lookups, refreshed) = (Arc::default(), Arc::default());
        Self { keys, answers, lookups, refreshed, refresh_error: None, quotas: None, usage: None }
    }

    pub fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl KeyStore for TestStore {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        let store = self.clone();
        if matches!(self.answers, Answers::Later | Answers::WithAPanicLater) {
            let selector = selector.to_owned();
            return Lookup::pending(async move {
                store.lookups.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                assert!(store.answers != Answers::WithAPanicLater, "the store has a bug");
                store.keys.find(selector.borrow()).await
            });
        }
        self.lookups.fetch_add(1, Ordering::SeqCst);
        match self.answers {
            Answers::WithAnError => Lookup::ready(Err(
                StoreError::new(StoreErrorKind::Unavailable).with_source("connection refused")
            )),
            Answers::WithAPanic => panic!("the store has a bug"),
            _ => self.keys.find(selector),
        }
    }

    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.refreshed.fetch_add(1, Ordering::SeqCst);
        if let Some(kind) = self.refresh_error {
            return Err(StoreError::new(kind));
        }
        self.keys.refresh(record, event).await
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.keys.record_last_use(uses).await
    }
}

#[async_trait]
impl KeyAdministration for TestStore {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.keys.insert(record, event).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.keys.get(owner, id).await
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.keys.list(owner, query).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.keys.replace(record, event).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.keys.delete(owner, id, event).await
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        match &self.usage {
            Some(usage) => Some(&**usage),
            None => self.keys.usage_log(),
        }
    }

    fn keeps_quotas(&self) -> bool {
        self.quotas.is_some()
    }

    async fn change_quota(
        &self,
        category: &str,
        subject: &str,
        change: &QuotaChange,
    ) -> Result<(QuotaRow, u64), StoreError> {
        assert!(self.quotas != Some(Answers::WithAPanic), "the store has a bug");
        if self.quotas == Some(Answers::WithAnError) {
            return Err(StoreError::new(StoreErrorKind::Unavailable).with_source("connection refused"));
        }
        let changed = self.keys.change_quota(category, subject, change).await;
        if self.quotas == Some(Answers::Later) {
            tokio::task::yield_now().await;
        }
        changed
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.keys.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.keys.imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.keys.forget_import(id, event).await
    }
}
