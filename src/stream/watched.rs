//! One key, or one session, that streams wait for.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::held::Held;
use crate::clock::{Clock, Timestamp};
use crate::key::{KeyId, KeyRecord};
use crate::store::{KeyAdministration, KeySelector, PendingLookup};

/// What all streams of one secret of a key share. Someone has to [look](Self::look) when it is due.
pub(super) struct Watched {
    id: KeyId,
    state: Mutex<State>,
}

struct State {
    /// As it was last known.
    held: Held,
    has_ended: bool,
    /// How many streams there are, and those of them that have been polled.
    streams: usize,
    /// By number, so that they can take turns.
    waiters: BTreeMap<u64, Waker>,
    last_waiter: u64,
    last_woken: u64,
    /// Whether the store is to be asked.
    is_due: bool,
    /// Whether those who wait ask it, as nothing runs beside them that would.
    by_waiters: bool,
    lookup: Lookup,
    /// Whether the lookup before had to wait.
    had_to_wait: bool,
    /// Ticks until the next lookup is due.
    pause: u8,
    /// Ticks since the key has ended, as far as is known, without an answer of the store.
    overdue: u8,
    /// Ticks without a stream.
    idle: u8,
}

enum Lookup {
    None,
    /// A thread polls it right now.
    Taken,
    /// It has been polled since the last tick, or not; and its age in ticks.
    Waiting {
        find: PendingLookup,
        is_fresh: bool,
        age: u8,
    },
}

/// What is to be done after a tick.
pub(super) enum Due {
    Nothing,
    Look,
    Forget,
}

/// A stream that waits; zero before it is polled.
#[derive(Clone, Copy, Default)]
pub(super) struct WaiterId(u64);

impl Watched {
    /// With one stream.
    pub(super) fn new(id: KeyId, held: Held) -> Self {
        let state = State {
            held,
            has_ended: false,
            streams: 1,
            waiters: BTreeMap::new(),
            last_waiter: 0,
            last_woken: 0,
            is_due: false,
            by_waiters: false,
            lookup: Lookup::None,
            had_to_wait: false,
            pause: 0,
            overdue: 0,
            idle: 0,
        };
        Self { id, state: Mutex::new(state) }
    }

    /// Adds a stream if it is of the same key and secret, and they have not ended.
    pub(super) fn join(&self, held: &Held) -> bool {
        let mut state = self.lock();
        let is_same = !state.has_ended && state.held.is_same(held);
        state.streams += usize::from(is_same);
        is_same
    }

    /// Whether it has ended. If not, `waker` is woken when it has.
    pub(super) fn poll_end(&self, waiter: &mut WaiterId, waker: &Waker) -> Poll<()> {
        let mut state = self.lock();
        if state.has_ended {
            return Poll::Ready(());
        }
        if waiter.0 == 0 {
            state.last_waiter += 1;
            waiter.0 = state.last_waiter;
        }
        let known = state.waiters.get(&waiter.0).is_some_and(|known| known.will_wake(waker));
        let before = if known { None } else { state.waiters.insert(waiter.0, waker.clone()) };
        // A waker may own a task, and the task a stream that leaves with it.
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// The stream does not wait any more.
    pub(super) fn leave(&self, waiter: WaiterId) {
        let mut state = self.lock();
        state.streams -= 1;
        let waker = state.waiters.remove(&waiter.0);
        drop(state);
        drop(waker);
    }

    /// Whether the streams themselves have to [look](Self::look).
    pub(super) fn needs_help(&self) -> bool {
        self.lock().by_waiters
    }

    /// Makes a lookup due: the key has been changed.
    pub(super) fn ask(&self, by_waiters: bool, wake: &mut Vec<Waker>) {
        let mut state = self.lock();
        state.is_due = true;
        state.hand_to(by_waiters, wake);
    }

    /// A second has passed.
    pub(super) fn tick(&self, now: Timestamp, by_waiters: bool, wake: &mut Vec<Waker>) -> Due {
        let mut state = self.lock();
        state.idle = if state.streams > 0 { 0 } else { state.idle + 1 };
        if state.has_ended || state.idle > MAX_IDLE {
            return Due::Forget;
        }
        let given_up = state.give_up();
        let works = state.held.works_at(now);
        state.overdue = if works { 0 } else { state.overdue + 1 };
        if !works && (!state.held.is_stored() || state.overdue > MAX_OVERDUE) {
            wake.extend(state.end());
            return Due::Forget;
        }
        state.pause = match state.pause {
            // It may last longer by now, which only the store knows.
            _ if !works => 0,
            pause => pause.saturating_sub(1),
        };
        state.is_due |= state.pause == 0 && state.held.is_stored() && matches!(state.lookup, Lookup::None);
        let due = match state.lookup {
            Lookup::None if !state.is_due => Due::Nothing,
            _ => Due::Look,
        };
        if matches!(due, Due::Look) {
            state.hand_to(by_waiters, wake);
        }
        drop(state);
        drop(given_up);
        due
    }

    /// Asks the store if that is due, and continues a lookup that has to wait: pending as long as it does.
    pub(super) fn look(
        &self,
        store: &dyn KeyAdministration,
        clock: &dyn Clock,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let waiting = {
                let mut state = self.lock();
                match std::mem::replace(&mut state.lookup, Lookup::Taken) {
                    Lookup::Waiting { find, age, .. } => Some((find, age)),
                    Lookup::None if state.is_due && !state.has_ended => {
                        state.is_due = false;
                        None
                    }
                    untouched => {
                        state.lookup = untouched;
                        return Poll::Ready(());
                    }
                }
            };
            // Not under the lock, as it is code of the application. One that panics has failed.
            let age = waiting.as_ref().map_or(0, |(_, age)| *age);
            let answer = catch_unwind(AssertUnwindSafe(|| {
                let find = match waiting {
                    Some((find, _)) => Err(find),
                    None => store.find(KeySelector::Id(&self.id)).split(),
                };
                find.map(|found| (found, false)).or_else(|mut find| match find.as_mut().poll(context) {
                    Poll::Ready(found) => Ok((found, true)),
                    Poll::Pending => Err(find),
                })
            }));
            let mut state = self.lock();
            state.lookup = Lookup::None;
            let wakers = match answer {
                Ok(Err(find)) => {
                    state.lookup = Lookup::Waiting { find, is_fresh: true, age };
                    return Poll::Pending;
                }
                Ok(Ok((found, waited))) => {
                    state.answered(KeySelector::Id(&self.id).checked(found).ok(), waited, clock)
                }
                Err(_) => state.answered(None, true, clock),
            };
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes what the store has found, `None` if it has failed. Returns whom to wake.
    fn answered(
        &mut self,
        found: Option<Option<Arc<KeyRecord>>>,
        waited: bool,
        clock: &dyn Clock,
    ) -> Vec<Waker> {
        self.paused(waited);
        let exists = found.is_none_or(|found| self.held.renew(found));
        let works = exists && self.held.works_at(clock.now().timestamp());
        if works { Vec::new() } else { self.end() }
    }

    /// Sets when the next lookup is due. Where every lookup has to wait, there is no cache that the next ones could be
    /// answered from.
    fn paused(&mut self, waited: bool) {
        self.pause = if waited && self.had_to_wait { PAUSE } else { 1 };
        self.had_to_wait = waited;
    }

    /// Gives up a lookup that is no longer polled, as it holds a connection of the database; and one that takes too long.
    fn give_up(&mut self) -> Lookup {
        let Lookup::Waiting { is_fresh, age, .. } = &mut self.lookup else { return Lookup::None };
        *age += 1;
        let (was_polled, takes_too_long) = (std::mem::take(is_fresh), *age > MAX_AGE);
        if was_polled && !takes_too_long {
            return Lookup::None;
        }
        if takes_too_long {
            self.paused(true);
        }
        std::mem::replace(&mut self.lookup, Lookup::None)
    }

    fn end(&mut self) -> Vec<Waker> {
        self.has_ended = true;
        std::mem::take(&mut self.waiters).into_values().collect()
    }

    /// Has the lookup made by the background task or, without one, by the next of those who wait: one after the other, as
    /// a stream whose client reads slowly may not be polled for long.
    fn hand_to(&mut self, by_waiters: bool, wake: &mut Vec<Waker>) {
        self.by_waiters = by_waiters;
        if !by_waiters {
            return;
        }
        let later = self.waiters.range((Bound::Excluded(self.last_woken), Bound::Unbounded)).next();
        if let Some((waiter, waker)) = later.or_else(|| self.waiters.iter().next()) {
            self.last_woken = *waiter;
            wake.push(waker.clone());
        }
    }
}

/// Ticks without a stream after which a key is forgotten. Until then a loop that makes a new future each time continues
/// the lookup of the one before.
const MAX_IDLE: u8 = 10;

/// Ticks that a lookup may take.
const MAX_AGE: u8 = 10;

/// Ticks that a key lasts which has ended, as far as is known, while the store does not answer.
const MAX_OVERDUE: u8 = 10;

/// Ticks between two lookups that have to wait.
const PAUSE: u8 = 5;

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("id", &self.id).finish_non_exhaustive()
    }
}
