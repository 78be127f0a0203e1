//! What a limiter holds for its subjects, in parts that are locked apart.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::limiter::Rule;
use super::window::Window;
use super::{Algorithm, Subject};

/// What counts for one subject, under each quota. One quota, the common case, costs no further pointer.
#[derive(Debug)]
pub(super) enum Windows {
    One(Window),
    Several(Box<[Window]>),
}

impl Windows {
    pub(super) fn new(algorithm: Algorithm, rules: &[Rule], time: u64) -> Self {
        rules.iter().map(|rule| Window::new(algorithm, &rule.timeline, time)).collect()
    }

    pub(super) fn snapshot(&self) -> Self {
        self.as_slice().iter().map(Window::snapshot).collect()
    }

    pub(super) fn as_slice(&self) -> &[Window] {
        match self {
            Self::One(window) => std::slice::from_ref(window),
            Self::Several(windows) => windows,
        }
    }
}

impl FromIterator<Window> for Windows {
    fn from_iter<I: IntoIterator<Item = Window>>(windows: I) -> Self {
        let mut windows: Vec<Window> = windows.into_iter().collect();
        match windows.pop() {
            Some(only) if windows.is_empty() => Self::One(only),
            last => {
                windows.extend(last);
                Self::Several(windows.into())
            }
        }
    }
}

/// A subject with its hash, which is computed once and finds both the shard and the place in its map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) hash: u64,
    pub(super) subject: Subject,
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Passes on what [`RandomState`] computed.
#[derive(Default)]
pub(super) struct Computed(u64);

impl Hasher for Computed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// On cache lines of its own, so that threads with different subjects do not slow each other down.
#[repr(align(128))]
pub(super) struct Shard(RwLock<State>);

pub(super) struct State {
    pub(super) subjects: HashMap<Entry, Windows, BuildHasherDefault<Computed>>,
    /// For subjects that found no room.
    pub(super) shared: Windows,
    pub(super) next_sweep: u64,
}

impl Shard {
    pub(super) fn new(shared: Windows) -> Self {
        Self(RwLock::new(State { subjects: HashMap::default(), shared, next_sweep: 0 }))
    }

    // Counts are whole at any time, so a panic elsewhere leaves nothing to be wary of.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
