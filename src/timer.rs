//! A timer that works in any runtime.

use std::future::poll_fn;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

/// Completes after `duration`. A thread waits meanwhile, and ends with the future. For timers of several seconds,
/// which do not justify a dependency on a runtime.
pub(crate) async fn sleep(duration: Duration) {
    let state = Arc::new(Mutex::new(State::Waiting(None)));
    // Dropped with this future, which ends the thread.
    let (_alive, dropped) = mpsc::channel::<()>();
    let timer = {
        let state = state.clone();
        move || {
            if dropped.recv_timeout(duration) == Err(RecvTimeoutError::Timeout) {
                let state = std::mem::replace(&mut *lock(&state), State::Over);
                if let State::Waiting(Some(waker)) = state {
                    waker.wake();
                }
            }
        }
    };
    if thread::Builder::new().name("api-keys-timer".to_owned()).spawn(timer).is_err() {
        // The thread could not be started; the next attempt may succeed.
        thread::sleep(Duration::from_millis(10));
        return;
    }
    poll_fn(|context| match &mut *lock(&state) {
        State::Over => Poll::Ready(()),
        State::Waiting(waker) => {
            *waker = Some(context.waker().clone());
            Poll::Pending
        }
    })
    .await;
}

enum State {
    Waiting(Option<Waker>),
    Over,
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn completes_after_its_time_and_not_before() {
        let start = Instant::now();
        sleep(Duration::from_millis(30)).await;
        assert!(start.elapsed() >= Duration::from_millis(30));
    }
}
