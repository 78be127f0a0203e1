//! A cache in front of a store.

mod builder;
mod confirm;
mod entries;
mod generations;
mod load;

/// Behind a module of its own, so that a model checker can substitute its own atomics.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;

use async_trait::async_trait;

pub use self::builder::CachedStoreBuilder;
use self::confirm::keep_confirming;
use self::entries::{Entries, Name};
use self::load::Loads;
use super::audit::AuditEvent;
use super::{
    AuditLog, BackgroundTask, ChangeMark, Changes, FindResult, GuardedStore, Invalidation, InvalidationSink,
    InvalidationSource, KeyAdministration, KeyQuery, KeySelector, KeyStore, Lookup, OwnedKeySelector, Page,
    QuotaChange, QuotaRow, StoreError, StoreErrorKind, StoreHealth, UsageLog, background,
};
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord, KeyStatus, Mode, Owner};
use crate::log::{self, OncePerSecond};
use crate::metrics;

/// A cache in front of any store. Clones share their entries.
///
/// An [assembly](crate::ApiKeys) also gives it to its [manager](crate::ApiKeys::manager): a change made through it is
/// visible here before it returns.
///
/// ```
/// use tower_api_keys::store::CachedStore;
/// use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
///
/// # let database = MemoryStore::new();
/// let keys = ApiKeys::builder(CachedStore::new(database), KeyFormat::new("acme_")?)
///     .header("x-api-key")
///     .route("GET", "/workflows", "workflows:read")
///     .build()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # How soon a revocation takes effect
///
/// The same bounds hold for a removal of scopes, a deletion, and both secrets of a rotation:
///
/// | on | a revoked key is rejected |
/// |---|---|
/// | the node that revoked it | before the revocation is answered |
/// | others, with a [channel](Self::follow) | as soon as the channel reports it |
/// | others, where the store [says what has changed](KeyStore::changes) | within a second or so, when it is asked next |
/// | others, whatever is cut, frozen or restarted, also if the node itself was stopped | after [`max_age`](CachedStoreBuilder::max_age), 5 seconds |
/// | others, without the store | after that as well, unless [configured](CachedStoreBuilder::use_during_outage), 30 seconds at most |
///
/// A channel alone can't keep the bound: a node that revokes may be cut from it while the others hear nothing wrong. So
/// the background task asks the store once a second what has changed, one query a node, while it holds anything. What the
/// store has confirmed within `max_age` is valid for [longer](CachedStoreBuilder::max_age_while_confirmed); all else is
/// read again after `max_age`. SQLite and PostgreSQL say what has changed, also by hand; a store of your own can.
///
/// A revocation is for good. If a store forgets one, because it has failed over or was restored from a backup, a cache that
/// has seen the key revoked keeps rejecting it, and an event of level `ERROR` is logged.
///
/// Measured: the milliseconds after the revocation returned during which lookups on the other node still found the
/// key active.
///
/// | channel | fault | nodes | keys | median | 99 % | longest |
/// |---|---|---|---|---|---|---|
/// | `PostgresInvalidations` | none | 2 | 300 | 0 | 3.6 | 88 |
/// | | none | 8 | 100 | 0.3 | 11 | 41 |
/// | | the others cut, or all packets dropped | 2, 8 | 20 | 277, 829 | 997, 994 | 997, 994 |
/// | `RedisInvalidation` | none | 2 | 300 | 0 | 0.02 | 0.04 |
/// | | none | 8 | 100 | 0 | 4.1 | 4.3 |
/// | | the others cut, or all packets dropped | 2 | 20 | 633, 370 | 988, 899 | 988, 899 |
/// | | the node that revokes cut | 8 | 20 | 577 | 1 026 | 1 026 |
/// | none | | 2 | 20 | 467 | 982 | 982 |
///
/// Two nodes share one PostgreSQL, and the other node looks up the key without a pause. It is a debug build;
/// servers and nodes run on two virtual processors that other work used as well. So single figures, above all the
/// longest, differ from run to run. With a channel, most revocations are visible there before they return.
/// `tests/servers/revocation_latency.rs` repeats this, and checks that no key takes more than 5 seconds.
///
/// A change that fails, or whose future is dropped, may still have been made, or be made a moment later. The entries
/// of the key are dropped in any case. An entry that is read in the moment between is used until it expires, or until
/// the change is tried again here or the key is read with [`get`](KeyAdministration::get).
///
/// A key that is made on another node is visible here immediately. If it was tried here before it was made, it is
/// visible after [`absent_max_age`](CachedStoreBuilder::absent_max_age), 1 second.
///
/// # What is held
///
/// Records, by the whole identifier or digest of their lookup, and separately the identifiers and digests that the
/// store does not know. Decisions are not held: secret, state, expiry and addresses are checked on each request.
/// Failures are not held: each request that needs the store while it fails gets a 503 response, unless [configured
/// otherwise](CachedStoreBuilder::use_during_outage).
///
/// A cached answer allocates nothing and waits for no lock. Concurrent requests for the same key share one call of
/// the store, which continues as long as one of them waits.
///
/// [`get`](KeyAdministration::get) and [`list`](KeyAdministration::list) ask the store, so key management never sees
/// stale records. After a `get`, requests see the key as it was returned, or newer.
pub struct CachedStore<S>(Arc<Shared<S>>);

struct Shared<S> {
    store: GuardedStore<S>,
    entries: Arc<Entries>,
    loads: Arc<Loads>,
    sink: Option<Arc<dyn InvalidationSink>>,
    /// Of changes that `sink` did not report.
    line: OncePerSecond,
    /// The source to follow, until [`background`](KeyStore::background) takes it.
    source: Mutex<Option<Box<dyn InvalidationSource>>>,
}

impl<S> CachedStore<S> {
    /// A cache of 10 000 records, valid for 5 seconds, and 10 000 unknown keys, valid for 1 second.
    pub fn new(store: S) -> Self {
        Self::builder(store).build()
    }

    /// A cache with other settings.
    pub fn builder(store: S) -> CachedStoreBuilder<S> {
        CachedStoreBuilder::new(store)
    }

    /// Follows the changes of other nodes.
    ///
    /// The application spawns the future. It ends at the next event after the last clone of the store was dropped. Run
    /// one at a time.
    ///
    /// What the source reports is read again. When the source is lost, and again when it is back, all
    /// entries are out of date. The end of the future counts as a loss, whether it was dropped, aborted, or the source
    /// panicked.
    ///
    /// ```
    /// # use tower_api_keys::store::{CachedStore, InvalidationSource, MemoryStore};
    /// # fn follow(store: CachedStore<MemoryStore>, source: impl InvalidationSource) {
    /// tokio::spawn(store.follow(source));
    /// # }
    /// ```
    pub fn follow<I: InvalidationSource>(
        &self,
        mut source: I,
    ) -> impl Future<Output = ()> + Send + use<S, I> {
        let follower = Follower(Arc::downgrade(&self.0.entries));
        async move {
            loop {
                let event = source.next().await;
                let Some(entries) = follower.0.upgrade() else { return };
                match event {
                    Invalidation::Key(id) => entries.change_key(id),
                    Invalidation::Connected => {
                        entries.connect();
                        metrics::invalidation_channel_up(true);
                        log::invalidations_connected();
                    }
                    Invalidation::Disconnected => {
                        entries.disconnect();
                        metrics::invalidation_channel_up(false);
                        log::invalidations_lost();
                    }
                }
            }
        }
    }

    /// Whether a source is [followed](Self::follow) and connected. Alert if it should be connected and is not for
    /// long.
    pub fn is_connected(&self) -> bool {
        self.0.entries.is_connected()
    }
}

/// Disconnects when dropped, however the following ended.
struct Follower(Weak<Entries>);

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(entries) = self.0.upgrade() {
            entries.disconnect();
            metrics::invalidation_channel_up(false);
            log::invalidations_lost();
        }
    }
}

/// The cache keys of a change. They are invalidated when this is dropped: when the change returns, or when its future
/// is dropped, as the change may have been made by then.
struct Changing<'a> {
    entries: &'a Entries,
    names: [Option<Name>; 4],
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.names.into_iter().flatten().for_each(|name| self.entries.change(name));
    }
}

impl<S: KeyStore> Shared<S> {
    /// Asks the store, together with concurrent requests for the same key.
    async fn load(self: Arc<Self>, wanted: OwnedKeySelector) -> FindResult {
        let Self { entries, loads, .. } = &*self;
        // The entry may have been filled since the lookup was made.
        if let Poll::Ready(found) = entries.look_up(wanted.borrow()) {
            return Ok(found);
        }
        let began = entries.begin();
        let load = loads.join(wanted.clone(), began.generation, |wanted| {
            let shared = self.clone();
            Box::pin(async move {
                let found = shared.store.find(wanted.borrow()).await?;
                let found = found.map(|record| shared.entries.keep_revoked(record, began));
                shared.entries.keep(wanted.borrow(), found.as_ref(), began);
                Ok(found)
            })
        });
        let answer = load.await;
        match &answer {
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                entries.last_resort(wanted.borrow()).map_or(answer, |record| Ok(Some(record)))
            }
            _ => answer,
        }
    }

    /// Makes a change, and invalidates its entries before it returns. The result says whether there was anything to
    /// change.
    async fn change(
        &self,
        id: KeyId,
        record: Option<&KeyRecord>,
        change: impl Future<Output = Result<bool, StoreError>>,
    ) -> Result<bool, StoreError> {
        let mut digests = record.into_iter().flat_map(KeyRecord::digests).map(Name::Digest);
        let names = [Some(Name::Id(id)), digests.next(), digests.next(), digests.next()];
        let changing = Changing { entries: &self.entries, names };
        let result = change.await;
        if let (Ok(true), Some(record)) = (&result, record) {
            self.entries.note_revoked(record);
        }
        drop(changing);
        let is_unchanged = match &result {
            Ok(changed) => !changed,
            // After any other failure the change may have been made.
            Err(error) => error.kind() == StoreErrorKind::Conflict,
        };
        if let Some(sink) = self.sink.as_ref().filter(|_| !is_unchanged) {
            if let Err(error) = sink.publish(&id).await {
                log::invalidation_not_published(&id, &error, self.line.admit(self.entries.now()));
            }
        }
        result
    }
}

/// A change that either changes something or fails.
async fn always(change: impl Future<Output = Result<(), StoreError>>) -> Result<bool, StoreError> {
    change.await.map(|()| true)
}

#[async_trait]
impl<S: KeyStore> KeyStore for CachedStore<S> {
    #[inline]
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        if let Poll::Ready(found) = self.0.entries.look_up(selector) {
            metrics::cache_lookup(if found.is_some() { "hit" } else { "negative_hit" });
            return Lookup::ready(Ok(found));
        }
        metrics::cache_lookup("miss");
        Lookup::pending(self.0.clone().load(selector.to_owned()))
    }

    fn health(&self) -> StoreHealth {
        let mut health = self.0.store.health();
        health.cache = Some(self.0.entries.health());
        health
    }

    fn needs_guard(&self) -> bool {
        false
    }

    async fn changes(&self, since: Option<ChangeMark>) -> Result<Option<Changes>, StoreError> {
        self.0.store.changes(since).await
    }

    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        let change = always(self.0.store.refresh(record.clone(), event));
        self.0.change(record.id, Some(&record), change).await.map(|_| ())
    }

    fn background(&self) -> Option<BackgroundTask> {
        let source = self.0.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut tasks: Vec<BackgroundTask> = vec![Box::pin(keep_confirming(Arc::downgrade(&self.0)))];
        tasks.extend(source.map(|source| Box::pin(self.follow(source)) as BackgroundTask));
        tasks.extend(self.0.store.background());
        Some(Box::pin(background::run(tasks)))
    }

    /// Entries keep the previous instant: requests do not need it, and `get` and `list` ask the store.
    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.0.store.record_last_use(uses).await
    }
}

#[async_trait]
impl<S: KeyAdministration> KeyAdministration for CachedStore<S> {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        let change = always(self.0.store.insert(record.clone(), event));
        self.0.change(record.id, Some(&record), change).await.map(|_| ())
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> FindResult {
        let found = self.0.store.get(owner, id).await;
        self.0.entries.change_key(*id);
        found
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.0.store.list(owner, query).await
    }

    async fn count(&self, owner: &Owner) -> Result<u64, StoreError> {
        self.0.store.count(owner).await
    }

    async fn peppers_in_use(&self, at: Timestamp) -> Result<BTreeMap<Option<u32>, u64>, StoreError> {
        self.0.store.peppers_in_use(at).await
    }

    async fn count_by_status(&self, at: Timestamp) -> Result<BTreeMap<(Mode, KeyStatus), u64>, StoreError> {
        self.0.store.count_by_status(at).await
    }

    async fn revoke_unread(
        &self,
        owner: &Owner,
        id: &KeyId,
        at: Timestamp,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.0.change(*id, None, self.0.store.revoke_unread(owner, id, at, event)).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        let change = always(self.0.store.replace(record.clone(), event));
        self.0.change(record.id, Some(&record), change).await.map(|_| ())
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.0.change(*id, None, self.0.store.delete(owner, id, event)).await
    }

    fn audit_log(&self) -> Option<&dyn AuditLog> {
        self.0.store.audit_log()
    }

    fn usage_log(&self) -> Option<&dyn UsageLog> {
        self.0.store.usage_log()
    }

    fn keeps_quotas(&self) -> bool {
        self.0.store.keeps_quotas()
    }

    async fn change_quota(
        &self,
        category: &str,
        subject: &str,
        change: &QuotaChange,
    ) -> Result<(QuotaRow, u64), StoreError> {
        self.0.store.change_quota(category, subject, change).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.0.store.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.0.store.imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.0.store.forget_import(id, event).await
    }
}

impl<S> Clone for CachedStore<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> fmt::Debug for CachedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore").field("is_connected", &self.is_connected()).finish_non_exhaustive()
    }
}
