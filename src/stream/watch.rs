//! The keys that streams wait for, and who looks whether they have ended.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use super::held::Held;
use super::watched::{Due, Watched};
use crate::clock::Clock;
use crate::key::KeyId;
use crate::log;
use crate::store::KeyAdministration;

/// Every key of an assembly that streams wait for.
///
/// A thread ticks each second while there are any. It asks nothing itself, since a store may need the application's
/// runtime: it wakes the [background task](Watch::run) or, where that does not run, one stream for each key.
pub(crate) struct Watch {
    store: Arc<dyn KeyAdministration>,
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
    background: Mutex<Background>,
}

#[derive(Default)]
struct Keys {
    /// One for each secret of a key.
    watched: HashMap<KeyId, Vec<Arc<Watched>>>,
    /// Whether the thread runs.
    ticks: bool,
}

#[derive(Default)]
struct Background {
    /// Of the background task. Taken to wake it, so one that is gone is noticed a tick later.
    waker: Option<Waker>,
    /// What is due for a lookup.
    due: Vec<Arc<Watched>>,
    ticks: usize,
}

impl Watch {
    pub(crate) fn new(store: Arc<dyn KeyAdministration>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, keys: Mutex::default(), background: Mutex::default() }
    }

    /// Shares what other streams of the same secret wait for.
    pub(super) fn join(self: &Arc<Self>, id: KeyId, held: Held) -> Arc<Watched> {
        let mut keys = lock(&self.keys);
        if !keys.ticks {
            keys.ticks = self.start_ticking();
        }
        let of_key = keys.watched.entry(id).or_default();
        if let Some(watched) = of_key.iter().find(|watched| watched.join(&held)) {
            return watched.clone();
        }
        let watched = Arc::new(Watched::new(id, held));
        of_key.push(watched.clone());
        watched
    }

    /// The key was changed by this process: it is looked up at once.
    pub(crate) fn changed(&self, id: &KeyId) {
        let Some(of_key) = lock(&self.keys).watched.get(id).cloned() else { return };
        let mut background = lock(&self.background);
        let mut wake = Vec::from_iter(background.waker.clone());
        let by_waiters = wake.is_empty();
        of_key.iter().for_each(|watched| watched.ask(by_waiters, &mut wake));
        background.due.extend(of_key.into_iter().filter(|_| !by_waiters));
        drop(background);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Looks where it is due, some lookups at a time. Does not end.
    pub(crate) fn run(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        let mut looking: Vec<Arc<Watched>> = Vec::new();
        poll_fn(move |context| {
            looking.retain(|watched| self.look(watched, context).is_pending());
            for _ in 0..ROUNDS {
                let due = self.take_due(MAX_LOOKUPS - looking.len(), context.waker());
                if due.is_empty() {
                    return Poll::Pending;
                }
                for watched in due {
                    let is_new = !looking.iter().any(|other| Arc::ptr_eq(other, &watched));
                    if is_new && self.look(&watched, context).is_pending() {
                        looking.push(watched);
                    }
                }
            }
            // There is more, once other tasks have had their turn.
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    pub(super) fn look(&self, watched: &Watched, context: &mut Context<'_>) -> Poll<()> {
        watched.look(&*self.store, &*self.clock, context)
    }

    fn take_due(&self, at_most: usize, waker: &Waker) -> Vec<Arc<Watched>> {
        let mut background = lock(&self.background);
        let before = background.waker.replace(waker.clone());
        let rest = background.due.len().saturating_sub(at_most);
        let due = background.due.split_off(rest);
        drop(background);
        drop(before);
        due
    }

    /// `false` if there is nothing left to wait for.
    fn tick(&self) -> bool {
        let now = self.clock.now().timestamp();
        let by_waiters = lock(&self.background).waker.is_none();
        let (mut due, mut wake) = (Vec::new(), Vec::new());
        let mut keys = lock(&self.keys);
        keys.watched.retain(|_, of_key| {
            of_key.retain(|watched| {
                // No stream joins meanwhile, as the keys are locked.
                let what = watched.tick(now, by_waiters, &mut wake);
                if matches!(what, Due::Look) && !by_waiters {
                    due.push(watched.clone());
                }
                !matches!(what, Due::Forget)
            });
            !of_key.is_empty()
        });
        keys.ticks = !keys.watched.is_empty();
        let goes_on = keys.ticks;
        drop(keys);
        let mut background = lock(&self.background);
        // Each begins elsewhere, so that none is always the last.
        background.ticks = background.ticks.wrapping_add(1);
        let first = background.ticks.checked_rem(due.len()).unwrap_or_default();
        due.rotate_left(first);
        wake.extend(background.waker.take_if(|_| !due.is_empty()));
        let before = std::mem::replace(&mut background.due, due);
        drop(background);
        drop(before);
        wake.into_iter().for_each(Waker::wake);
        goes_on
    }

    /// Whether the thread runs; if it could not be started, the next stream tries again.
    fn start_ticking(self: &Arc<Self>) -> bool {
        let watch = Arc::downgrade(self);
        let ticks = move || {
            loop {
                thread::sleep(TICK);
                let Some(watch) = watch.upgrade() else { return };
                // What panics is code of the application: a clock, or a waker.
                if let Ok(false) = catch_unwind(AssertUnwindSafe(|| watch.tick())) {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("api-keys-watch".to_owned()).spawn(ticks);
        started.inspect_err(|error| log::watch_not_started(error)).is_ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const TICK: Duration = Duration::from_secs(1);

/// Lookups that wait at the same time, of all connections that a store may have.
const MAX_LOOKUPS: usize = 16;

/// How often the background task takes new ones before it lets other tasks run.
const ROUNDS: usize = 32;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::identity::Principal;
    use crate::key::{KeyRecord, KeyState, Mode, Owner, Peppers};
    use crate::store::{KeySelector, KeyStore, Lookup, MemoryStore, ReadOnly};
    use crate::stream::Revoked;

    /// A store whose lookups wait, and perhaps for ever.
    #[derive(Clone, Default)]
    struct Database(Arc<Counts>);

    #[derive(Default)]
    struct Counts {
        keys: MemoryStore,
        hangs: AtomicBool,
        lookups: AtomicUsize,
        /// How many wait, also the most at any time.
        waiting: AtomicUsize,
        most: AtomicUsize,
    }

    struct Waiting(Arc<Counts>);

    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl KeyStore for Database {
        fn find(&self, selector: KeySelector<'_>) -> Lookup {
            let (counts, selector) = (self.0.clone(), selector.to_owned());
            Lookup::pending(async move {
                counts.lookups.fetch_add(1, Ordering::SeqCst);
                let waiting = counts.waiting.fetch_add(1, Ordering::SeqCst) + 1;
                counts.most.fetch_max(waiting, Ordering::SeqCst);
                let _waiting = Waiting(counts.clone());
                if counts.hangs.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                counts.keys.find(selector.borrow()).await
            })
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A watch that ticks by hand.
    fn watch(database: &Database) -> Arc<Watch> {
        let clock = ManualClock::at("2026-01-01T00:00:00Z");
        let watch = Watch::new(Arc::new(ReadOnly::new(database.clone())), Arc::new(clock));
        lock(&watch.keys).ticks = true;
        Arc::new(watch)
    }

    async fn caller(database: &Database, number: usize) -> Principal {
        let (owner, text) = (Owner::system(Mode::Live), format!("k{number}"));
        let digest = Peppers::none().digest(&text);
        let record = KeyRecord::new(text.parse().unwrap(), owner, digest, Timestamp::from_unix_seconds(1));
        database.0.keys.insert(record.clone(), None).await.unwrap();
        Principal::new(Arc::new(record), "ApiKey")
    }

    async fn disable(database: &Database, number: usize) {
        let id = format!("k{number}").parse().unwrap();
        let found = database.0.keys.find(KeySelector::Id(&id)).await.unwrap();
        let mut record = Arc::unwrap_or_clone(found.unwrap());
        record.state = KeyState::Disabled;
        database.0.keys.replace(record, None).await.unwrap();
    }

    fn poll(future: &mut (impl Future<Output = ()> + Unpin), woken: &Arc<Woken>) -> bool {
        let waker = Waker::from(woken.clone());
        std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker)).is_ready()
    }

    fn loads(count: &AtomicUsize) -> usize {
        count.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn a_store_that_waits_is_asked_every_five_seconds_for_each_key() {
        let (database, woken) = (Database::default(), Arc::new(Woken::default()));
        let watch = watch(&database);
        let mut streams = Vec::new();
        for number in 0..3 {
            let caller = caller(&database, number).await;
            streams.extend((0..100).map(|_| Revoked::new(&watch, &caller)));
        }
        let mut background = pin!(watch.clone().run());
        assert!(!poll(&mut background, &woken));
        let mut asked = Vec::new();
        for _ in 0..12 {
            assert!(streams.iter_mut().all(|stream| !poll(stream, &Arc::default())));
            watch.tick();
            let before = loads(&database.0.lookups);
            assert!(!poll(&mut background, &woken));
            asked.push(loads(&database.0.lookups) - before);
        }
        assert_eq!(asked, [3, 3, 0, 0, 0, 0, 3, 0, 0, 0, 0, 3]);

        disable(&database, 1).await;
        watch.changed(&"k1".parse().unwrap());
        assert!(!poll(&mut background, &woken));
        let ended = streams.iter_mut().filter_map(|stream| poll(stream, &woken).then_some(())).count();
        assert_eq!(ended, 100, "a change of this process is seen at once, by the streams of that key");
    }

    #[tokio::test]
    async fn a_store_that_hangs_is_asked_by_few_lookups_and_each_key_has_its_turn() {
        let (database, woken) = (Database::default(), Arc::new(Woken::default()));
        database.0.hangs.store(true, Ordering::SeqCst);
        let watch = watch(&database);
        let mut streams = Vec::new();
        for number in 0..100 {
            streams.push(Revoked::new(&watch, &caller(&database, number).await));
        }
        let mut background = pin!(watch.clone().run());
        for _ in 0..100 {
            assert!(!poll(&mut background, &woken));
            watch.tick();
        }
        assert_eq!(loads(&database.0.most), MAX_LOOKUPS);
        assert!(streams.iter_mut().all(|stream| !poll(stream, &woken)), "nothing is known to have ended");
        assert!(loads(&database.0.lookups) >= 100, "{}", loads(&database.0.lookups));

        database.0.hangs.store(false, Ordering::SeqCst);
        for number in 0..100 {
            disable(&database, number).await;
        }
        for _ in 0..20 {
            watch.tick();
            assert!(!poll(&mut background, &woken));
        }
        assert!(streams.iter_mut().all(|stream| poll(stream, &woken)), "every stream has ended");
    }

    #[tokio::test]
    async fn without_a_background_task_streams_take_turns_to_look() {
        let database = Database::default();
        database.0.hangs.store(true, Ordering::SeqCst);
        let watch = watch(&database);
        let caller = caller(&database, 1).await;
        let mut streams: Vec<_> = (0..3).map(|_| Revoked::new(&watch, &caller)).collect();
        let woken: Vec<Arc<Woken>> = (0..3).map(|_| Arc::default()).collect();
        for (stream, woken) in streams.iter_mut().zip(&woken) {
            assert!(!poll(stream, woken));
        }
        let counts = || woken.iter().map(|woken| loads(&woken.0)).collect::<Vec<_>>();
        watch.tick();
        assert_eq!(counts(), [1, 0, 0], "one of them is enough");
        assert!(!poll(&mut streams[0], &woken[0]));
        assert_eq!(loads(&database.0.waiting), 1);
        // Its client reads slowly, so that it is not polled.
        watch.tick();
        assert_eq!((counts(), loads(&database.0.waiting)), (vec![1, 1, 0], 1));
        watch.tick();
        assert_eq!(
            (counts(), loads(&database.0.waiting)),
            (vec![1, 1, 1], 0),
            "no connection is held for it"
        );
        database.0.hangs.store(false, Ordering::SeqCst);
        database.0.keys.delete(&Owner::system(Mode::Live), &"k1".parse().unwrap(), None).await.unwrap();
        assert!(poll(&mut streams[2], &woken[2]));
        assert_eq!(counts(), [2, 2, 2], "all are woken at the end");
        assert!(poll(&mut streams[0], &woken[0]));
    }

    #[tokio::test]
    async fn a_background_task_that_is_gone_is_noticed() {
        let (database, woken) = (Database::default(), Arc::new(Woken::default()));
        let watch = watch(&database);
        let mut stream = Revoked::new(&watch, &caller(&database, 1).await);
        assert!(!poll(&mut stream, &woken));
        {
            let mut background = pin!(watch.clone().run());
            assert!(!poll(&mut background, &Arc::default()));
        }
        watch.tick();
        assert_eq!(loads(&woken.0), 0, "the task is woken");
        watch.tick();
        assert_eq!(loads(&woken.0), 1, "the stream is, as the task has not run");
    }

    #[tokio::test]
    async fn a_key_without_streams_is_forgotten_after_a_while() {
        let database = Database::default();
        let watch = watch(&database);
        let caller = caller(&database, 1).await;
        let stream = Revoked::new(&watch, &caller);
        assert!(watch.tick());
        drop(stream);
        for _ in 0..10 {
            assert!(watch.tick());
        }
        assert!(!watch.tick(), "nothing is left to wait for");
        assert!(lock(&watch.keys).watched.is_empty());
    }
}
