//! Runs several tasks as one future.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use super::BackgroundTask;
use crate::log;

/// Runs all tasks concurrently. If one panics, the others continue and the log reports it.
pub(crate) async fn run(mut tasks: Vec<BackgroundTask>) {
    poll_fn(|context| {
        tasks.retain_mut(|task| match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
            Ok(poll) => poll.is_pending(),
            Err(_) => {
                log::background_task_panicked();
                false
            }
        });
        if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_panicking_task_does_not_end_the_others() {
        let panicking: BackgroundTask = Box::pin(async { panic!("a defect") });
        let mut all = pin!(run(vec![Box::pin(ready(())), panicking, Box::pin(pending())]));
        let mut context = Context::from_waker(Waker::noop());
        assert!(all.as_mut().poll(&mut context).is_pending());
        assert!(all.as_mut().poll(&mut context).is_pending());
        assert!(pin!(run(vec![Box::pin(ready(()))])).poll(&mut context).is_ready());
    }
}
