//! A cache in front of a store.

mod builder;
mod generations;
mod known;
mod load;

/// Under a name of its own so that a model checker can put its own in place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;

use async_trait::async_trait;

pub use self::builder::CachedStoreBuilder;
use self::known::{Known, Name};
use self::load::Loads;
use super::{
    BackgroundTask, FindResult, Invalidation, InvalidationSink, InvalidationSource, KeyAdministration,
    KeyPage, KeyQuery, KeySelector, KeyStore, Lookup, OwnedKeySelector, StoreError, StoreErrorKind,
    background,
};
use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord, Owner};
use crate::log;

/// A cache in front of any store. Clones share what they hold.
///
/// An [assembly](crate::ApiKeys) gives it to its [manager](crate::ApiKeys::manager), too: what is changed through it is
/// known here before the change is answered.
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
/// # How soon a revocation counts
///
/// The same bounds hold for a cut of scopes, for a deletion, and for both secrets of a rotation:
///
/// | on | a revoked key is refused |
/// |---|---|
/// | the node that revoked it | before the revocation is answered |
/// | others, with a [channel](Self::follow) | as soon as the channel reports it |
/// | others, channel lost and noticed | as without a channel; what was held before is not used any more |
/// | others, channel silent, not noticed | after [`max_age_while_connected`](CachedStoreBuilder::max_age_while_connected), 60 seconds |
/// | others, without a channel | after [`max_age`](CachedStoreBuilder::max_age), 5 seconds |
/// | others, without the store | at once, or as [the host says](CachedStoreBuilder::use_during_outage), 30 seconds at most |
///
/// As measured: for how many milliseconds after the revocation was answered lookups on the other node still found the
/// key active.
///
/// | channel | keys | median | 99 % | longest |
/// |---|---|---|---|---|
/// | `PostgresInvalidations` | 500 | 0 | 0.06 | 184 |
/// | `RedisInvalidation` | 500 | 0 | 0.003 | 0.02 |
/// | either one, cut | 40 | 2 490 | 4 990 | 4 990 |
/// | either one, swallowing everything | 40 | 2 440 | 4 940 | 4 940 |
/// | none | 20 | 2 460 | 4 890 | 4 890 |
///
/// Two nodes before one PostgreSQL, the other one asked for the key without a pause; a release build, with servers and nodes
/// together on two virtual processors that others used as well, so single figures, above all the longest, differ from run
/// to run. With a channel most revocations are known there before they are answered. Through a fault they take what the age
/// of the record leaves. `tests/revocation_latency.rs` repeats this, and holds every single key to 5 seconds.
///
/// A change that fails, or whose future is dropped, may have been made nevertheless, or be made a moment later. What is
/// held of the key is dropped all the same. What is read in the moment between counts until it is too old, or until
/// somebody tries again here or looks at the key with [`get`](KeyAdministration::get).
///
/// A key that is made on another node is known here at once; or, if somebody tried it here before it was made, after
/// [`absent_max_age`](CachedStoreBuilder::absent_max_age), 1 second.
///
/// # What is held
///
/// Records by the whole identifier or digest they were looked up by, and apart from them the names that the store
/// knows no key for. No verdicts: secret, state, expiry and addresses are checked on each request, whether its record
/// comes from here or from the store. Failures are not held; each request that needs the store while it fails is
/// answered 503, unless the host [prefers otherwise](CachedStoreBuilder::use_during_outage).
///
/// An answer from here allocates nothing and waits for no lock. Requests that ask for the same at the same time share
/// one call of the store, which goes on as long as one of them waits.
///
/// [`get`](KeyAdministration::get) and [`list`](KeyAdministration::list) go to the store, so that keys are managed as
/// they are and not as they were; and after a `get`, requests see the key as it was returned, or newer.
pub struct CachedStore<S>(Arc<Shared<S>>);

struct Shared<S> {
    store: S,
    known: Arc<Known>,
    loads: Arc<Loads>,
    sink: Option<Arc<dyn InvalidationSink>>,
    /// What is to be followed, until [`background`](KeyStore::background) does.
    source: Mutex<Option<Box<dyn InvalidationSource>>>,
}

impl<S> CachedStore<S> {
    /// A cache of 10 000 records and 10 000 unknown names, which are good for 5 seconds and 1 second.
    pub fn new(store: S) -> Self {
        Self::builder(store).build()
    }

    /// A cache with other figures.
    pub fn builder(store: S) -> CachedStoreBuilder<S> {
        CachedStoreBuilder::new(store)
    }

    /// Follows what other nodes change. The host spawns the future, which ends when nobody uses the store any more and
    /// one more event has come. One at a time.
    ///
    /// While the source is connected, records are good for
    /// [longer](CachedStoreBuilder::max_age_while_connected). When it is lost, and again when it is back, everything
    /// held so far is out of date. The future's end counts as a loss, however it comes about: dropped, aborted, or by a
    /// panic of the source.
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
        let follower = Follower(Arc::downgrade(&self.0.known));
        async move {
            loop {
                let event = source.next().await;
                let Some(known) = follower.0.upgrade() else { return };
                match event {
                    Invalidation::Key(id) => known.change(Name::Id(id)),
                    Invalidation::Connected => {
                        known.connect();
                        log::invalidations_connected();
                    }
                    Invalidation::Disconnected => {
                        known.disconnect();
                        log::invalidations_lost();
                    }
                }
            }
        }
    }

    /// Whether a source is [followed](Self::follow) and connected. If it should be and is not for long, somebody has to
    /// look at it.
    pub fn is_connected(&self) -> bool {
        self.0.known.is_connected()
    }
}

/// Whatever ends the following of a source, it is noticed.
struct Follower(Weak<Known>);

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(known) = self.0.upgrade() {
            known.disconnect();
            log::invalidations_lost();
        }
    }
}

/// The names that a change is about. They change when this is dropped: with the change's answer, whatever it is, or
/// with its future, by then it may be made.
struct Changing<'a> {
    known: &'a Known,
    names: [Option<Name>; 4],
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.names.into_iter().flatten().for_each(|name| self.known.change(name));
    }
}

impl<S: KeyStore> Shared<S> {
    /// Asks the store, together with whoever asks for the same at the same time.
    async fn load(self: Arc<Self>, wanted: OwnedKeySelector) -> FindResult {
        let Self { known, loads, .. } = &*self;
        // What was not known when the lookup was made may be by now.
        if let Poll::Ready(found) = known.look_up(wanted.borrow()) {
            return Ok(found);
        }
        let began = known.begin();
        let load = loads.join(wanted.clone(), began.generation, |wanted| {
            let shared = self.clone();
            Box::pin(async move {
                let found = shared.store.find(wanted.borrow()).await?;
                shared.known.keep(wanted.borrow(), found.as_ref(), began);
                Ok(found)
            })
        });
        let answer = load.await;
        match &answer {
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                known.last_resort(wanted.borrow()).map_or(answer, |record| Ok(Some(record)))
            }
            _ => answer,
        }
    }

    /// Makes a change, and has it known before it is answered. The change answers whether there was anything to change.
    async fn change(
        &self,
        id: KeyId,
        record: Option<&KeyRecord>,
        change: impl Future<Output = Result<bool, StoreError>>,
    ) -> Result<bool, StoreError> {
        let mut digests = record.into_iter().flat_map(KeyRecord::digests).map(Name::Digest);
        let names = [Some(Name::Id(id)), digests.next(), digests.next(), digests.next()];
        let changing = Changing { known: &self.known, names };
        let result = change.await;
        drop(changing);
        let is_unchanged = match &result {
            Ok(changed) => !changed,
            // Any other failure leaves it open.
            Err(error) => error.kind() == StoreErrorKind::Conflict,
        };
        if let Some(sink) = self.sink.as_ref().filter(|_| !is_unchanged) {
            if let Err(error) = sink.publish(&id).await {
                log::invalidation_not_published(&id, &error);
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
        if let Poll::Ready(found) = self.0.known.look_up(selector) {
            return Lookup::ready(Ok(found));
        }
        Lookup::pending(self.0.clone().load(selector.to_owned()))
    }

    async fn refresh(&self, record: KeyRecord) -> Result<(), StoreError> {
        let change = always(self.0.store.refresh(record.clone()));
        self.0.change(record.id, Some(&record), change).await.map(|_| ())
    }

    fn background(&self) -> Option<BackgroundTask> {
        let source = self.0.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        let follow = source.map(|source| Box::pin(self.follow(source)) as BackgroundTask);
        match (follow, self.0.store.background()) {
            (Some(follow), Some(store)) => Some(Box::pin(background::run(vec![follow, store]))),
            (one, other) => one.or(other),
        }
    }

    /// What is held goes on showing the use before: a request has no need of it, and `get` and `list` ask the store.
    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.0.store.record_last_use(uses).await
    }
}

#[async_trait]
impl<S: KeyAdministration> KeyAdministration for CachedStore<S> {
    async fn insert(&self, record: KeyRecord) -> Result<(), StoreError> {
        let change = always(self.0.store.insert(record.clone()));
        self.0.change(record.id, Some(&record), change).await.map(|_| ())
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> FindResult {
        let found = self.0.store.get(owner, id).await;
        self.0.known.change(Name::Id(*id));
        found
    }

    async fn list(&self, owner: &Owner, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.0.store.list(owner, query).await
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), StoreError> {
        let change = always(self.0.store.replace(record.clone()));
        self.0.change(record.id, Some(&record), change).await.map(|_| ())
    }

    async fn delete(&self, owner: &Owner, id: &KeyId) -> Result<bool, StoreError> {
        self.0.change(*id, None, self.0.store.delete(owner, id)).await
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
