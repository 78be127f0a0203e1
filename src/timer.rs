//! Timers that work in any runtime: one thread waits for all of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Completes after `duration`.
///
/// Completes at once if the timer's thread cannot be started: what has a deadline then fails, and does not wait forever.
pub(crate) fn sleep(duration: Duration) -> Sleep {
    let timer = Arc::default();
    if !TIMERS.add(Instant::now().checked_add(duration), &timer) {
        *lock(&timer) = State::Over;
    }
    Sleep(timer)
}

/// The future of [`sleep`].
pub(crate) struct Sleep(Arc<Mutex<State>>);

/// Calls a function once, after `duration`, on the timer's thread: it must not block. Not at all if the result is dropped
/// before, or if that thread cannot be started.
pub(crate) fn remind(duration: Duration, call: impl FnOnce() + Send + 'static) -> Reminder {
    let timer = Arc::new(Mutex::new(State::Call(Box::new(call))));
    TIMERS.add(Instant::now().checked_add(duration), &timer);
    Reminder(timer)
}

/// Keeps a call of [`remind`] from being dropped.
pub(crate) struct Reminder(#[allow(dead_code, reason = "it is only held")] Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    New,
    Waiting(Waker),
    Call(Box<dyn FnOnce() + Send>),
    Over,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut *lock(&self.0) {
            State::Over => return Poll::Ready(()),
            State::Waiting(waker) => waker.clone_from(context.waker()),
            // That of a reminder is not polled.
            state => *state = State::Waiting(context.waker().clone()),
        }
        Poll::Pending
    }
}

static TIMERS: Timers = Timers { queue: Mutex::new(Queue::new()), is_earlier: Condvar::new() };

struct Timers {
    queue: Mutex<Queue>,
    is_earlier: Condvar,
}

struct Queue {
    /// The earliest on top. Timers that were dropped stay until their time.
    due: BinaryHeap<Reverse<Due>>,
    has_thread: bool,
}

struct Due {
    at: Instant,
    timer: Weak<Mutex<State>>,
}

impl Queue {
    const fn new() -> Self {
        Self { due: BinaryHeap::new(), has_thread: false }
    }

    fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse(due)| due.at)
    }
}

impl Timers {
    /// Whether the timer will fire. One without a time never does.
    fn add(&'static self, at: Option<Instant>, timer: &Arc<Mutex<State>>) -> bool {
        let Some(at) = at else { return true };
        let mut queue = lock(&self.queue);
        if !queue.has_thread {
            let named = thread::Builder::new().name("api-keys-timer".to_owned());
            queue.has_thread = named.spawn(|| self.run()).is_ok();
        }
        let is_earlier = queue.next().is_none_or(|next| at < next);
        queue.due.push(Reverse(Due { at, timer: Arc::downgrade(timer) }));
        if is_earlier {
            self.is_earlier.notify_one();
        }
        queue.has_thread
    }

    fn run(&self) {
        let mut queue = lock(&self.queue);
        loop {
            let now = Instant::now();
            let mut fired = Vec::new();
            while queue.next().is_some_and(|next| next <= now) {
                fired.extend(queue.due.pop().and_then(|Reverse(due)| due.timer.upgrade()));
            }
            if !fired.is_empty() {
                drop(queue);
                fired.iter().for_each(|timer| fire(timer));
                queue = lock(&self.queue);
                continue;
            }
            let wait = queue.next().map_or(IDLE, |next| next.saturating_duration_since(now));
            let waited = self.is_earlier.wait_timeout(queue, wait);
            (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// How long the thread sleeps where there is nothing to wait for, unless it is woken.
const IDLE: Duration = Duration::from_secs(3600);

/// A waker or a call that panics does not end the thread.
fn fire(timer: &Mutex<State>) {
    let state = std::mem::replace(&mut *lock(timer), State::Over);
    let _ = catch_unwind(AssertUnwindSafe(|| match state {
        State::Waiting(waker) => waker.wake(),
        State::Call(call) => call(),
        State::New | State::Over => {}
    }));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn timers_complete_in_order_after_their_time() {
        let start = Instant::now();
        let ended = Mutex::new(Vec::new());
        let timer = async |millis| {
            let duration = Duration::from_millis(millis);
            sleep(duration).await;
            assert!(start.elapsed() >= duration);
            lock(&ended).push(millis);
        };
        tokio::join!(timer(60), timer(20), timer(40), async { drop(sleep(Duration::from_millis(1))) });
        assert_eq!(*lock(&ended), [20, 40, 60]);
    }

    #[tokio::test]
    async fn a_reminder_calls_once_unless_it_is_dropped() {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let reminder = |name: &'static str| {
            let calls = calls.clone();
            remind(Duration::from_millis(20), move || lock(&calls).push(name))
        };
        let _kept = reminder("kept");
        drop(reminder("dropped"));
        sleep(Duration::from_millis(60)).await;
        assert_eq!(*lock(&calls), ["kept"]);
    }

    #[tokio::test]
    async fn a_time_beyond_the_clock_does_not_come() {
        let forever = tokio::time::timeout(Duration::from_millis(20), sleep(Duration::MAX));
        assert!(forever.await.is_err());
    }
}
