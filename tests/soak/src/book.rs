//! What each key should be, by the answers so far.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// How many secrets that must not work are tried again and again: the last ones.
const DEAD: usize = 200;

/// A key that works.
pub(crate) struct Live {
    pub(crate) id: String,
    /// The one in use, and the one before it if it has a grace period.
    pub(crate) secrets: Vec<String>,
    /// Whether a change of it has begun.
    taken: AtomicBool,
}

/// A secret that was revoked, deleted or replaced.
#[derive(Clone)]
pub(crate) struct Dead {
    pub(crate) secret: String,
    /// When that was answered.
    pub(crate) since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Active,
    Revoked,
    Deleted,
}

/// What was done to a key.
pub(crate) struct History {
    pub(crate) end: End,
    /// How often an action was answered, and how often it was asked for.
    pub(crate) actions: BTreeMap<&'static str, (u64, u64)>,
}

/// The keys of a pair of nodes.
#[derive(Default)]
pub(crate) struct Book {
    live: Mutex<Vec<Arc<Live>>>,
    dead: Mutex<VecDeque<Dead>>,
    revoked: Mutex<VecDeque<String>>,
    pub(crate) histories: Mutex<HashMap<String, History>>,
}

impl Live {
    pub(crate) fn new(id: String, secrets: Vec<String>) -> Arc<Self> {
        Arc::new(Self { id, secrets, taken: AtomicBool::new(false) })
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::SeqCst)
    }
}

impl Book {
    pub(crate) fn count(&self) -> usize {
        lock(&self.live).len()
    }

    pub(crate) fn any(&self) -> Option<Arc<Live>> {
        fastrand::choice(&*lock(&self.live)).cloned()
    }

    /// One to change: until it is back, nothing is known of it.
    pub(crate) fn take(&self) -> Option<Arc<Live>> {
        let mut live = lock(&self.live);
        let place = fastrand::usize(..live.len().max(1));
        let key = (place < live.len()).then(|| live.swap_remove(place))?;
        key.taken.store(true, Ordering::SeqCst);
        Some(key)
    }

    pub(crate) fn add(&self, id: String, secrets: Vec<String>) {
        lock(&self.live).push(Live::new(id, secrets));
    }

    pub(crate) fn any_dead(&self) -> Option<Dead> {
        let dead = lock(&self.dead);
        // Half of the time one of the last.
        let from = if fastrand::bool() { dead.len().saturating_sub(10) } else { 0 };
        (!dead.is_empty()).then(|| dead[fastrand::usize(from..dead.len())].clone())
    }

    /// When it was answered that this secret no longer works.
    pub(crate) fn dead_since(&self, secret: &str) -> Option<Instant> {
        lock(&self.dead).iter().find(|dead| dead.secret == secret).map(|dead| dead.since)
    }

    /// Whether the secret works, and no change of its key has begun.
    pub(crate) fn is_live(&self, secret: &str) -> bool {
        lock(&self.live).iter().any(|key| key.secrets.iter().any(|own| own == secret))
    }

    pub(crate) fn bury(&self, secrets: &[String]) {
        let mut dead = lock(&self.dead);
        let since = Instant::now();
        dead.extend(secrets.iter().map(|secret| Dead { secret: secret.clone(), since }));
        while dead.len() > DEAD {
            dead.pop_front();
        }
    }

    /// Notes a revoked key, and returns one to delete if there are many.
    pub(crate) fn note_revoked(&self, id: String) -> Option<String> {
        let mut revoked = lock(&self.revoked);
        revoked.push_back(id);
        if revoked.len() > 30 { revoked.pop_front() } else { None }
    }

    pub(crate) fn note(&self, id: &str, action: &'static str, is_answered: bool) {
        let mut histories = lock(&self.histories);
        let history = histories
            .entry(id.to_owned())
            .or_insert_with(|| History { end: End::Active, actions: BTreeMap::new() });
        let (answered, asked) = history.actions.entry(action).or_default();
        *answered += u64::from(is_answered);
        *asked += 1;
    }

    pub(crate) fn end(&self, id: &str, end: End) {
        if let Some(history) = lock(&self.histories).get_mut(id) {
            history.end = end;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics")
}
