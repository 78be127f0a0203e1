//! Wakes all that wait for one thing.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The waiting requests, by number. A request that is woken registers again.
#[derive(Default)]
pub(crate) struct Wakers(Mutex<(u64, BTreeMap<u64, Waker>)>);

impl Wakers {
    pub(crate) fn number(&self) -> u64 {
        let (next, _) = &mut *self.lock();
        *next += 1;
        *next
    }

    pub(crate) fn register(&self, number: u64, waker: &Waker) {
        self.lock().1.insert(number, waker.clone());
    }

    pub(crate) fn forget(&self, number: u64) {
        let waker = self.lock().1.remove(&number);
        drop(waker);
    }

    pub(crate) fn wake_all(&self) {
        let wakers = mem::take(&mut self.lock().1);
        wakers.into_values().for_each(Waker::wake);
    }

    /// A panic leaves nothing that is locked here half done.
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}
