//! Whether the background task runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::log;
use crate::timer::{Reminder, remind};

/// Knows how many background tasks of an assembly run, and logs once if none does though one is needed.
pub(super) struct Background {
    running: Arc<AtomicUsize>,
    /// Looks half a minute after the assembly was built; `None` if nothing needs the task.
    reminder: Option<Reminder>,
}

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

impl Background {
    pub(super) fn new(is_needed: bool) -> Self {
        let running = Arc::<AtomicUsize>::default();
        let reminder = is_needed.then(|| {
            let running = running.clone();
            remind(HALF_A_MINUTE, move || {
                if running.load(Ordering::Relaxed) == 0 {
                    log::background_not_running();
                }
            })
        });
        Self { running, reminder }
    }

    pub(super) fn is_needed(&self) -> bool {
        self.reminder.is_some()
    }

    pub(super) fn runs(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// `task`, counted while it runs.
    pub(super) fn counted<F: Future<Output = ()> + Send>(
        &self,
        task: F,
    ) -> impl Future<Output = ()> + Send + use<F> {
        let running = self.running.clone();
        async move {
            running.fetch_add(1, Ordering::Relaxed);
            let _running = Running(running);
            task.await;
        }
    }
}

/// Counts down when it is dropped, however the task has ended.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
