//! Keeps a store that does not answer from holding up requests.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{GuardHealth, StoreError, StoreErrorKind};
use crate::breaker::Breaker;
use crate::log::{self, OncePerSecond};
use crate::metrics;
use crate::timer::sleep;
use crate::wakers::Wakers;

/// Calls that requests wait for: bounded in time and number, and refused while nothing answers.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Shared>);

struct Shared {
    /// The type of the store, and which calls of it: [`LOOKUPS`] or [`CHANGES`].
    store: &'static str,
    name: &'static str,
    deadline: Duration,
    max_calls: usize,
    calls: AtomicUsize,
    breaker: Breaker,
    /// [When](Breaker::nanos) there was the last answer, or the beginning of a call when there was no other.
    last_sign: AtomicU64,
    waiting: Wakers,
    /// How often the breaker has opened.
    openings: AtomicU64,
    /// Calls that were refused since the breaker opened.
    refused: AtomicU64,
    /// How often it is logged that the breaker has opened: a store may fail and answer in turns.
    line: OncePerSecond,
    /// Whether that was logged, and not yet that the store answers again.
    is_logged: AtomicBool,
}

/// Names calls that look keys up.
pub(super) const LOOKUPS: &str = "lookups";
/// Names those that change something while a request waits.
pub(super) const CHANGES: &str = "changes";

/// The time limit of a call.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);
/// The number of calls at a time.
pub(super) const MAX_CALLS: usize = 256;

const TOO_MANY: &str = "as many calls wait for the store as may";
const NOT_ANSWERING: &str = "the store does not answer: one call a second tries it";

impl Guard {
    pub(crate) fn new(store: &'static str, name: &'static str, deadline: Duration, max_calls: usize) -> Self {
        Self(Arc::new(Shared {
            store,
            name,
            deadline,
            max_calls,
            calls: AtomicUsize::new(0),
            breaker: Breaker::new(),
            last_sign: AtomicU64::new(0),
            waiting: Wakers::default(),
            openings: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            line: OncePerSecond::default(),
            is_logged: AtomicBool::new(false),
        }))
    }

    /// The same with another time limit, and nothing seen yet.
    pub(super) fn with_deadline(&self, deadline: Duration) -> Self {
        Self::new(self.0.store, self.0.name, deadline, self.0.max_calls)
    }

    /// The same with another number of calls, and nothing seen yet.
    pub(super) fn with_max_calls(&self, calls: usize) -> Self {
        Self::new(self.0.store, self.0.name, self.0.deadline, calls)
    }

    pub(super) fn health(&self) -> GuardHealth {
        let Shared { store, name, calls, breaker, refused, .. } = &*self.0;
        GuardHealth {
            store,
            calls: name,
            is_open: breaker.is_open(),
            in_flight: calls.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
        }
    }

    /// Makes a call, unless there are too many or the store does not answer. Gives up after the deadline.
    pub(crate) async fn call<T>(
        self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let place = self.0.enter()?;
        let (mut call, mut deadline) = (pin!(call), pin!(sleep(self.0.deadline)));
        let ended = poll_fn(|context| {
            // Registered first, so that no wake-up is missed.
            self.0.waiting.register(place.number, context.waker());
            // Before the call continues: it might take the connection that another has just given up, only to reconnect.
            if place.is_given_up() {
                return Poll::Ready(Err(NOT_ANSWERING));
            }
            if let Poll::Ready(answer) = call.as_mut().poll(context) {
                return Poll::Ready(Ok(answer));
            }
            deadline.as_mut().poll(context).map(|()| Ok(Err(unavailable("no answer in time"))))
        });
        match ended.await {
            Ok(answer) => {
                place.leave(answer.as_ref().err());
                answer
            }
            Err(why) => Err(self.0.refuse("not_answering", why)),
        }
    }
}

impl Shared {
    fn enter(&self) -> Result<Place<'_>, StoreError> {
        let now = Instant::now();
        let openings = self.openings.load(Ordering::Acquire);
        let is_closed = !self.breaker.is_open();
        if !is_closed && !self.breaker.admit(now) {
            return Err(self.refuse("not_answering", NOT_ANSWERING));
        }
        let before = self.calls.fetch_add(1, Ordering::AcqRel);
        let place = Place { guard: self, number: self.waiting.number(), openings };
        if before == 0 {
            self.sign(now);
        } else if is_closed && self.is_silent(now) && self.breaker.open(now) {
            self.opened(None, now);
            return Err(self.refuse("not_answering", NOT_ANSWERING));
        }
        self.count_calls(before + 1);
        if before >= self.max_calls {
            return Err(self.refuse("too_many", TOO_MANY));
        }
        Ok(place)
    }

    fn count_calls(&self, calls: usize) {
        if self.name == LOOKUPS {
            metrics::lookups_in_flight(self.store, calls);
        }
    }

    #[cold]
    fn refuse(&self, reason: &'static str, why: &'static str) -> StoreError {
        if self.name == LOOKUPS {
            metrics::lookups_refused(self.store, reason);
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        unavailable(why)
    }

    /// Nothing has answered for as long as a call may take, although there are calls.
    fn is_silent(&self, now: Instant) -> bool {
        let silence = self.breaker.nanos(now).saturating_sub(self.last_sign.load(Ordering::Acquire));
        u128::from(silence) >= self.deadline.as_nanos()
    }

    fn sign(&self, now: Instant) {
        self.last_sign.fetch_max(self.breaker.nanos(now), Ordering::AcqRel);
    }

    fn failed(&self, error: Option<&StoreError>) {
        let now = Instant::now();
        let was_closed = !self.breaker.is_open();
        let is_open = self.breaker.failure(now) || (self.is_silent(now) && self.breaker.open(now));
        if was_closed && is_open {
            self.opened(error, now);
        }
    }

    fn answered(&self) {
        let now = Instant::now();
        self.sign(now);
        if self.breaker.success() {
            metrics::breaker_state(self.store, self.name, false);
            if self.is_logged.swap(false, Ordering::Relaxed) {
                log::store_answers_again(self.store, self.name, self.refused.load(Ordering::Relaxed));
            }
        }
    }

    /// Ends the calls that wait: where one gives up, another would take its connection and reconnect, and none would be
    /// answered.
    fn opened(&self, error: Option<&StoreError>, now: Instant) {
        metrics::breaker_state(self.store, self.name, true);
        self.openings.fetch_add(1, Ordering::AcqRel);
        self.refused.store(0, Ordering::Relaxed);
        self.waiting.wake_all();
        if self.line.admit(self.breaker.nanos(now)).is_some() {
            self.is_logged.store(true, Ordering::Relaxed);
            log::store_does_not_answer(self.store, self.name, error.map(|error| error as _));
        }
    }
}

/// One of the calls at a time, until it is dropped.
struct Place<'g> {
    guard: &'g Shared,
    /// In the list of those that wait.
    number: u64,
    /// Before this one.
    openings: u64,
}

impl Place<'_> {
    fn is_given_up(&self) -> bool {
        self.guard.openings.load(Ordering::Acquire) != self.openings
    }

    /// What was found, and what cannot be parsed, is an answer.
    fn leave(self, error: Option<&StoreError>) {
        match error {
            Some(error) if matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Other) => {
                self.guard.failed(Some(error));
            }
            _ => self.guard.answered(),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.guard.waiting.forget(self.number);
        let before = self.guard.calls.fetch_sub(1, Ordering::AcqRel);
        self.guard.count_calls(before - 1);
        // The store panicked.
        if std::thread::panicking() {
            self.guard.failed(None);
        }
    }
}

fn unavailable(why: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable).with_source(why)
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { deadline, max_calls, calls, breaker, .. } = &*self.0;
        f.debug_struct("Guard")
            .field("deadline", deadline)
            .field("max_calls", max_calls)
            .field("calls", calls)
            .field("is_open", &breaker.is_open())
            .finish_non_exhaustive()
    }
}
