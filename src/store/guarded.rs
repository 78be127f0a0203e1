use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::audit::AuditEvent;
use super::guard::{CHANGES, DEADLINE, Guard, LOOKUPS, MAX_CALLS};
use super::{
    AuditLog, BackgroundTask, ChangeMark, Changes, FindResult, KeyAdministration, KeyQuery, KeySelector,
    KeyStore, Lookup, Page, QuotaChange, QuotaRow, StoreError, StoreErrorKind, StoreHealth, UsageLog,
};
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord, KeyStatus, Mode, Owner};
use crate::metrics;

/// A guard in front of a store: requests that wait for it are bounded in time and number.
///
/// An [assembly](crate::ApiKeys) puts one in front of every store that may wait, and so does a `CachedStore` in front of
/// the store behind it. Make one yourself to set other limits:
///
/// ```
/// use std::time::Duration;
/// use tower_api_keys::store::{GuardedStore, KeyAdministration};
///
/// # fn example(database: impl KeyAdministration) -> impl KeyAdministration {
/// GuardedStore::new(database).with_deadline(Duration::from_millis(300)).with_max_lookups(1_000)
/// # }
/// ```
///
/// - A lookup that has no answer after the deadline, 1 second, is
///   [`Unavailable`](super::StoreErrorKind::Unavailable): its request gets a 503 response. The store's future is dropped.
/// - While 256 lookups wait, others are rejected at once in the same way.
/// - After five failures in a row, or when nothing was answered for as long as the deadline, lookups are rejected at once,
///   but for one a second that tries the store. Its first answer ends this. The log has one event when it begins, and one
///   when it ends.
///
/// A failure is an error that is `Unavailable` or [`Other`](super::StoreErrorKind::Other), or a panic. A record that
/// [cannot be parsed](super::StoreErrorKind::Corrupt) is an answer.
///
/// Lookups that are [ready](Lookup::ready) pass: what a store has in memory is found whatever happens behind it. What else
/// requests wait for is guarded too: [`refresh`](KeyStore::refresh) and
/// [`change_quota`](KeyAdministration::change_quota). Key management is not: a store should have a time limit for it.
#[derive(Clone, Debug)]
pub struct GuardedStore<S> {
    store: S,
    lookups: Guard,
    /// Apart from lookups: a disk may be full, and its files readable.
    changes: Guard,
}

impl<S> GuardedStore<S> {
    /// Guards `store`.
    pub fn new(store: S) -> Self {
        let guard = |calls| Guard::new(name_of::<S>(), calls, DEADLINE, MAX_CALLS);
        Self { store, lookups: guard(LOOKUPS), changes: guard(CHANGES) }
    }

    /// Limits the time of a lookup; default 1 second. A store may have a shorter limit of its own.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        self.with_limits(|guard| guard.with_deadline(deadline))
    }

    /// Limits how many lookups wait for the store at the same time; default 256. A cache joins those of one key.
    #[must_use]
    pub fn with_max_lookups(self, lookups: usize) -> Self {
        self.with_limits(|guard| guard.with_max_calls(lookups))
    }

    fn with_limits(self, change: impl Fn(&Guard) -> Guard) -> Self {
        Self { lookups: change(&self.lookups), changes: change(&self.changes), store: self.store }
    }
}

impl<S: KeyStore> GuardedStore<S> {
    /// Makes a call, and measures it. No request waits for one without a guard.
    async fn call<T>(
        &self,
        operation: &'static str,
        guard: Option<&Guard>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match guard {
            _ if !self.store.needs_guard() => call.await,
            Some(guard) => measured(operation, guard.clone().call(call)).await,
            None => measured(operation, call).await,
        }
    }
}

/// Measures a call of a store. A conflict is an answer, and no failure.
async fn measured<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let started = metrics::is_recording().then(Instant::now);
    let result = call.await;
    if let Some(started) = started {
        metrics::store_call(operation, started.elapsed());
    }
    if let Err(error) = &result {
        count_failure(operation, error);
    }
    result
}

#[cold]
fn count_failure(operation: &'static str, error: &StoreError) {
    if error.kind() != StoreErrorKind::Conflict {
        metrics::store_error(operation, error.kind().as_str());
    }
}

/// The last name of a type's path, without its parameters.
fn name_of<S>() -> &'static str {
    let path = std::any::type_name::<S>();
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

#[async_trait]
impl<S: KeyStore> KeyStore for GuardedStore<S> {
    #[inline]
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        match self.store.find(selector).split() {
            Ok(found) => {
                if let Err(error) = &found {
                    count_failure("find", error);
                }
                Lookup::ready(found)
            }
            Err(find) if self.store.needs_guard() => {
                Lookup::pending(measured("find", self.lookups.clone().call(find)))
            }
            Err(find) => Lookup::of(Err(find)),
        }
    }

    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.call("refresh", Some(&self.changes), self.store.refresh(record, event)).await
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.call("record_last_use", None, self.store.record_last_use(uses)).await
    }

    async fn changes(&self, since: Option<ChangeMark>) -> Result<Option<Changes>, StoreError> {
        self.call("changes", Some(&self.lookups), self.store.changes(since)).await
    }

    fn background(&self) -> Option<BackgroundTask> {
        self.store.background()
    }

    fn health(&self) -> StoreHealth {
        let mut health = self.store.health();
        if self.store.needs_guard() {
            health.guards.extend([self.lookups.health(), self.changes.health()]);
        }
        health
    }

    fn needs_guard(&self) -> bool {
        false
    }
}

#[async_trait]
impl<S: KeyAdministration> KeyAdministration for GuardedStore<S> {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.call("insert", None, self.store.insert(record, event)).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> FindResult {
        self.call("get", None, self.store.get(owner, id)).await
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.call("list", None, self.store.list(owner, query)).await
    }

    async fn count(&self, owner: &Owner) -> Result<u64, StoreError> {
        self.call("count", None, self.store.count(owner)).await
    }

    async fn peppers_in_use(&self, at: Timestamp) -> Result<BTreeMap<Option<u32>, u64>, StoreError> {
        self.call("peppers_in_use", None, self.store.peppers_in_use(at)).await
    }

    async fn count_by_status(&self, at: Timestamp) -> Result<BTreeMap<(Mode, KeyStatus), u64>, StoreError> {
        self.call("count_by_status", None, self.store.count_by_status(at)).await
    }

    async fn revoke_unread(
        &self,
        owner: &Owner,
        id: &KeyId,
        at: Timestamp,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.call("revoke_unread", None, self.store.revoke_unread(owner, id, at, event)).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.call("replace", None, self.store.replace(record, event)).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.call("delete", None, self.store.delete(owner, id, event)).await
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        self.store.audit_log()
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        self.store.usage_log()
    }

    fn keeps_quotas(&self) -> bool {
        self.store.keeps_quotas()
    }

    async fn change_quota(
        &self,
        category: &str,
        subject: &str,
        change: &QuotaChange,
    ) -> Result<(QuotaRow, u64), StoreError> {
        self.call("change_quota", Some(&self.changes), self.store.change_quota(category, subject, change))
            .await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.call("remember_import", None, self.store.remember_import(id, digest)).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.call("imported_as", None, self.store.imported_as(digests)).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.call("forget_import", None, self.store.forget_import(id, event)).await
    }
}
