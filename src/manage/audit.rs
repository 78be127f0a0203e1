//! Events on their way to the application's sink and to the log.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use super::KeyManager;
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::log;
use crate::metrics;
use crate::store::StoreError;
use crate::store::audit::AuditEvent;
use crate::timer::sleep;

/// Receives events.
pub(crate) type AuditSink = dyn Fn(&AuditEvent) + Send + Sync;

/// The application's sink, and what it has to get that no store keeps.
pub(crate) struct Reporter {
    sink: Arc<AuditSink>,
    /// Whether the background task of an assembly delivers. Otherwise the sink is called in place: nothing runs beside a
    /// manager of its own.
    in_background: bool,
    /// Whether the store keeps events. They are delivered from there.
    is_kept: bool,
    queue: Mutex<Queue>,
    work: Mutex<Work>,
    /// Names this process to others that deliver the same events.
    process: String,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<AuditEvent>,
    lost: u64,
}

/// What the thread that calls the sink has to do. It ends when that is nothing.
#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    is_running: bool,
    /// The numbers of events that the sink has got, or is about to, and the store does not know of yet.
    handed: HashSet<u64>,
}

struct Job {
    events: Vec<AuditEvent>,
    done: Arc<Mutex<Done>>,
}

#[derive(Default)]
struct Done {
    is_done: bool,
    waker: Option<Waker>,
}

/// How many events wait for the sink, of those that no store keeps. Then new ones are lost, so that what is delivered
/// has no hole but at its end.
const MAX_WAITING: usize = 1000;

/// How often events are delivered.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long other processes wait for one that does not go on with its delivery.
const LEASE: Duration = Duration::from_secs(30);

impl Reporter {
    pub(super) fn new(sink: Arc<AuditSink>, in_background: bool, is_kept: bool) -> Self {
        let process = KeyId::random("").map(|id| id.to_string());
        Self {
            sink,
            in_background,
            is_kept,
            queue: Mutex::default(),
            work: Mutex::default(),
            process: process.unwrap_or_else(|_| std::process::id().to_string()),
        }
    }

    /// Passes on an event that the store has written if it keeps events.
    pub(crate) fn report(&self, event: &AuditEvent) {
        if !self.in_background {
            call(&*self.sink, event);
        } else if !self.is_kept {
            self.enqueue(event);
        }
    }

    /// Passes on an event that no store has.
    pub(super) fn report_unkept(&self, event: &AuditEvent) {
        if !self.in_background {
            call(&*self.sink, event);
        } else {
            self.enqueue(event);
        }
    }

    fn enqueue(&self, event: &AuditEvent) {
        let mut queue = lock(&self.queue);
        if queue.events.len() < MAX_WAITING {
            queue.events.push_back(event.clone());
            metrics::audit_backlog(queue.events.len());
        } else {
            queue.lost += 1;
            if queue.lost == 1 {
                log::audit_queue_full();
            }
        }
    }

    fn take_queue(&self) -> Vec<AuditEvent> {
        let mut queue = lock(&self.queue);
        let lost = std::mem::take(&mut queue.lost);
        if lost > 0 {
            log::audit_events_lost(lost);
        }
        if !queue.events.is_empty() {
            metrics::audit_backlog(0);
        }
        queue.events.drain(..).collect()
    }

    /// Calls the sink for each of `events` that it was not called for, on a thread of its own: it may block. Completes
    /// when it has got all of them, and goes on when it is dropped.
    async fn deliver(self: &Arc<Self>, events: Vec<AuditEvent>) {
        let done = self.hand_over(events);
        poll_fn(|context| {
            let mut done = lock(&done);
            if done.is_done {
                return Poll::Ready(());
            }
            done.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn hand_over(self: &Arc<Self>, mut events: Vec<AuditEvent>) -> Arc<Mutex<Done>> {
        let mut work = lock(&self.work);
        events.retain(|event| event.number.is_none_or(|number| work.handed.insert(number)));
        let done = Arc::new(Mutex::default());
        work.jobs.push_back(Job { events, done: done.clone() });
        let was_running = std::mem::replace(&mut work.is_running, true);
        drop(work);
        if !was_running {
            let this = self.clone();
            let thread = thread::Builder::new().name("api-keys-audit".to_owned());
            if thread.spawn(move || this.work()).is_err() {
                self.work();
            }
        }
        done
    }

    /// Calls the sink, one event after the other, until there is none.
    fn work(&self) {
        while let Some(Job { events, done }) = self.next_job() {
            events.iter().for_each(|event| call(&*self.sink, event));
            let mut done = lock(&done);
            done.is_done = true;
            let waker = done.waker.take();
            drop(done);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut work = lock(&self.work);
        let job = work.jobs.pop_front();
        work.is_running = job.is_some();
        job
    }

    /// The store knows that these were delivered.
    fn forget(&self, numbers: &[u64]) {
        let mut work = lock(&self.work);
        for number in numbers {
            work.handed.remove(number);
        }
    }
}

/// A sink that panics has got the event: it would panic again.
fn call(sink: &AuditSink, event: &AuditEvent) {
    if catch_unwind(AssertUnwindSafe(|| sink(event))).is_err() {
        log::audit_sink_panicked(event.number);
    }
}

impl KeyManager {
    pub(crate) fn reporter(&self) -> Option<&Arc<Reporter>> {
        self.settings().reporter.as_ref()
    }

    /// Delivers events each second, if there is a sink. Does not end.
    pub(crate) fn keep_delivering_audit(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.reporter()?;
        let manager = self.clone();
        Some(async move {
            loop {
                if let Err(error) = manager.deliver_audit().await {
                    log::audit_not_delivered(&error);
                }
                sleep(INTERVAL).await;
            }
        })
    }

    /// Delivers every event that waits for the sink, unless another process is about to.
    pub(crate) async fn deliver_audit(&self) -> Result<(), StoreError> {
        let Some(reporter) = self.reporter().filter(|reporter| reporter.in_background) else { return Ok(()) };
        let unkept = reporter.take_queue();
        if !unkept.is_empty() {
            reporter.deliver(unkept).await;
        }
        let Some(log) = self.store().audit_log() else { return Ok(()) };
        loop {
            let now = self.settings().clock.now().timestamp();
            let events = log.undelivered(&reporter.process, now, now.saturating_add(LEASE)).await?;
            metrics::audit_backlog(events.len());
            if events.is_empty() {
                return Ok(());
            }
            let numbers: Vec<_> = events.iter().filter_map(|event| event.number).collect();
            reporter.deliver(events).await;
            log.delivered(&numbers).await?;
            reporter.forget(&numbers);
        }
    }
}

impl AuditEvent {
    #[cfg_attr(not(feature = "tracing"), allow(clippy::unused_self, reason = "the event is empty"))]
    pub(crate) fn log(&self) {
        #[cfg(feature = "tracing")]
        {
            let Self { action, changed, key_id, owner, actor, at, .. } = self;
            let reason = self.reason.as_deref();
            let (key_id, at) = (key_id.map(tracing::field::display), tracing::field::display(at));
            let changed = (!changed.is_empty()).then(|| changed.join(" "));
            tracing::info!(target: log::TARGET, %action, changed, key_id, %owner, %actor, at, reason, "key managed");
        }
    }

    #[cfg_attr(
        not(feature = "tracing"),
        allow(unused_variables, clippy::unused_self, reason = "the event is empty")
    )]
    pub(super) fn log_refused(&self, reason: &dyn Error, left_out: u64) {
        #[cfg(feature = "tracing")]
        {
            let Self { action, key_id, owner, actor, at, .. } = self;
            let (key_id, at) = (key_id.map(tracing::field::display), tracing::field::display(at));
            let (code, source) = (self.outcome_text(), reason.source());
            let left_out = (left_out > 0).then_some(left_out);
            tracing::warn!(target: log::TARGET, %action, key_id, %owner, %actor, at, code, %reason, source, left_out, "key not managed");
        }
    }
}

/// Bounds how many attempts are recorded and logged that came to nothing: a burst of 60, and then one a second. A caller
/// cannot fill the store with them.
#[derive(Default)]
pub(super) struct Attempts(Mutex<Admitted>);

#[derive(Default)]
struct Admitted {
    /// The instant, in milliseconds, at which a whole burst is free again.
    free_at: u64,
    left_out: u64,
}

const BURST: u64 = 60;
const SECOND: u64 = 1000;

impl Attempts {
    /// Whether there is room for one more; if so, how many were left out since the last one.
    pub(super) fn admit(&self, now: Timestamp) -> Option<u64> {
        let mut admitted = lock(&self.0);
        let now = now.as_unix_millis();
        // A clock that was set back keeps none out for longer than a second.
        admitted.free_at = admitted.free_at.clamp(now, now.saturating_add(BURST * SECOND));
        if admitted.free_at > now.saturating_add((BURST - 1) * SECOND) {
            admitted.left_out += 1;
            return None;
        }
        admitted.free_at = admitted.free_at.saturating_add(SECOND);
        Some(std::mem::take(&mut admitted.left_out))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing of the application's panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_attempts_is_recorded_and_then_one_a_second() {
        let (attempts, at) = (Attempts::default(), |seconds| Timestamp::from_unix_seconds(seconds));
        let admitted = |second| (0..100).filter(|_| attempts.admit(at(second)).is_some()).count();
        assert_eq!(admitted(1_000), 60);
        assert_eq!(attempts.admit(at(1_001)), Some(40), "with the number of those left out");
        assert_eq!((admitted(1_001), admitted(1_002), admitted(1_005)), (0, 1, 3));
        assert_eq!(admitted(2_000), 60, "a burst is free again");
        assert_eq!((admitted(1), admitted(2)), (0, 1), "the clock was set back");
    }
}
