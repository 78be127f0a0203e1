//! Shares one store call among all requests that ask for the same key at the same time.

use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::store::{FindResult, OwnedKeySelector, StoreError, StoreErrorKind};
use crate::wakers::Wakers;

/// The store's own future.
pub(super) type Call = Pin<Box<dyn Future<Output = FindResult> + Send>>;

/// The loads in progress, at most one to join for each selector. There are never more than waiting requests.
#[derive(Default)]
pub(super) struct Loads(Mutex<HashMap<OwnedKeySelector, Weak<Load>>>);

/// A call of the store. Every request that waits for it polls it, so it belongs to none of them. It ends with its
/// answer, or when no request waits any more.
struct Load {
    wanted: OwnedKeySelector,
    generation: u64,
    state: Mutex<State>,
    is_answered: AtomicBool,
    /// Kept apart, as the call holds a waker of it: if the waker held the load itself, neither would ever be freed.
    waiting: Arc<Wakers>,
    loads: Arc<Loads>,
}

enum State {
    Calling(Call),
    Answered(FindResult),
}

impl Loads {
    /// Joins the load of `wanted` if it began no earlier than `generation`, or starts one: a request after a change
    /// must not get a record that was read before it.
    pub(super) fn join(
        self: &Arc<Self>,
        wanted: OwnedKeySelector,
        generation: u64,
        call: impl FnOnce(OwnedKeySelector) -> Call,
    ) -> Waiting {
        // Dropped after the lock: the last to leave a load takes the lock.
        let outdated;
        let mut loads = lock(&self.0);
        match loads.get(&wanted).and_then(Weak::upgrade) {
            Some(load) if load.generation >= generation && !load.is_answered() => return Waiting::new(load),
            other => outdated = other,
        }
        let load = Arc::new(Load {
            generation,
            state: Mutex::new(State::Calling(call(wanted.clone()))),
            is_answered: AtomicBool::new(false),
            waiting: Arc::default(),
            loads: self.clone(),
            wanted: wanted.clone(),
        });
        loads.insert(wanted, Arc::downgrade(&load));
        drop(loads);
        drop(outdated);
        Waiting::new(load)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

impl Load {
    fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Acquire)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let mut loads = lock(&self.loads.0);
        // A newer load may have replaced this one.
        if loads.get(&self.wanted).is_some_and(|load| load.strong_count() == 0) {
            loads.remove(&self.wanted);
        }
    }
}

/// Waits for the answer of a load.
pub(super) struct Waiting {
    load: Arc<Load>,
    number: u64,
}

impl Waiting {
    fn new(load: Arc<Load>) -> Self {
        let number = load.waiting.number();
        Self { load, number }
    }
}

impl Future for Waiting {
    type Output = FindResult;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<FindResult> {
        let load = &*self.load;
        // Registered first, so that no wake-up of the call is missed.
        load.waiting.register(self.number, context.waker());
        let mut state = lock(&load.state);
        let call = match &mut *state {
            State::Calling(call) => call,
            State::Answered(answer) => return Poll::Ready(answer.clone()),
        };
        let waker = Waker::from(load.waiting.clone());
        let mut context = Context::from_waker(&waker);
        let answer = match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(answer)) => answer,
            Err(_) => Err(StoreError::new(StoreErrorKind::Other).with_source("the key store panicked")),
        };
        load.is_answered.store(true, Ordering::Release);
        *state = State::Answered(answer.clone());
        drop(state);
        load.waiting.wake_all();
        Poll::Ready(answer)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.load.waiting.forget(self.number);
    }
}

/// A panic leaves nothing that is locked here half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::Wake;

    use super::*;

    fn wanted(id: &str) -> OwnedKeySelector {
        OwnedKeySelector::Id(id.parse().unwrap())
    }

    fn never(_: OwnedKeySelector) -> Call {
        Box::pin(pending())
    }

    fn poll(waiting: &mut Waiting) -> Poll<FindResult> {
        Pin::new(waiting).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn there_are_as_many_loads_as_waiting_requests() {
        let loads = Arc::new(Loads::default());
        let all: Vec<_> = (0..100).map(|n| loads.join(wanted(&format!("k{}", n / 2)), 0, never)).collect();
        assert_eq!(loads.len(), 50);
        drop(all);
        assert_eq!(loads.len(), 0);
    }

    #[test]
    fn a_load_is_joined_until_the_next_change() {
        let loads = Arc::new(Loads::default());
        let first = loads.join(wanted("k"), 3, never);
        let joined = |generation| {
            let waiting = loads.join(wanted("k"), generation, never);
            (Arc::ptr_eq(&waiting.load, &first.load), waiting)
        };
        assert!(joined(3).0);
        assert!(joined(2).0, "a later read is valid too");
        let (same, newer) = joined(4);
        assert!(!same);
        assert!(Arc::ptr_eq(&loads.join(wanted("k"), 4, never).load, &newer.load));
        drop(first);
        assert_eq!(loads.len(), 1, "the older load's end leaves the newer in its place");
        drop(newer);
        assert_eq!(loads.len(), 0);
    }

    #[test]
    fn an_answered_load_is_not_joined_and_wakes_all_waiters() {
        struct Count(std::sync::atomic::AtomicUsize);

        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }

        let loads = Arc::new(Loads::default());
        let woken = Arc::new(Count(0.into()));
        let answer = |_| -> Call {
            let mut polls = 0;
            Box::pin(std::future::poll_fn(move |_| {
                polls += 1;
                if polls < 4 { Poll::Pending } else { Poll::Ready(Ok(None)) }
            }))
        };
        let mut waiting = [(); 3].map(|()| loads.join(wanted("k"), 0, answer));
        let waker = Waker::from(woken.clone());
        for early in &mut waiting[..2] {
            assert!(Pin::new(early).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let mut gone = loads.join(wanted("k"), 0, never);
        assert!(Pin::new(&mut gone).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(gone);
        assert!(poll(&mut waiting[2]).is_ready());
        assert_eq!(woken.0.load(Ordering::SeqCst), 2, "and not who is gone");
        let mut late = loads.join(wanted("k"), 0, answer);
        assert!(poll(&mut late).is_pending());
        assert!(waiting.iter_mut().all(|waiting| poll(waiting).is_ready()));
    }
}
