//! A wait of some seconds, in whatever runtime polls it.

use std::future::poll_fn;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

/// Completes after `duration`. A thread of its own waits meanwhile, and ends with the future: for something that happens
/// every few seconds at most, and so not worth a runtime of the crate's choice.
pub(super) async fn sleep(duration: Duration) {
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
        // No thread to be had: the next try may find one.
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
    async fn completes_when_its_time_has_come_and_not_before() {
        let start = Instant::now();
        sleep(Duration::from_millis(30)).await;
        assert!(start.elapsed() >= Duration::from_millis(30));
    }
}
