use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;

use super::{RateLimiter, Subject};
use crate::clock::{Clock, Now};
use crate::number::saturated;

/// Charges the caller for what its request turns out to cost: a handler's argument where a limit is
/// [`charged`](crate::RateLimit::charged).
///
/// Charges are always counted, also past a limit: the next request is rejected then, until enough of them no longer count.
/// Before the response is ready they are in its fields, `Remaining` for instance; what is added later, while a body is
/// streamed, counts at once. Clones charge for the same request.
///
/// A request that no charged limit counts has none, and a handler that asks for one answers 500. Where that may be, on other
/// routes or for some callers, it takes an `Option<Charge>`.
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```text")]
/// use axum::{Router, routing::post};
/// use tower_api_keys::{ApiKeys, Charge, KeyFormat, MemoryStore, Quota, RateLimit};
///
/// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
///     .header("x-api-key")
///     .limit(RateLimit::per_key("tokens", Quota::per_minute(100_000)?).charged())
///     .route("POST", "/complete", "completions:create")
///     .build()?;
///
/// async fn complete(charge: Charge, prompt: String) -> String {
///     let answer = format!("You said: {prompt}");
///     charge.add(answer.len() as u64);
///     answer
/// }
///
/// let app: Router = Router::new().route("/complete", post(complete)).layer(keys.layer());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Charge(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// That of a layer outside, for the same request.
    outside: Option<Charge>,
}

enum State {
    /// Until the response is ready: what was added.
    Open(u64),
    /// Afterwards: where more is counted.
    Closed(Vec<Account>),
}

/// The count of one subject in one limiter.
pub(crate) struct Account {
    pub(crate) counts: Arc<dyn RateLimiter>,
    pub(crate) subject: Subject,
}

impl Charge {
    pub(crate) fn new(clock: Arc<dyn Clock>, outside: Option<Self>) -> Self {
        Self(Arc::new(Shared { clock, state: Mutex::new(State::Open(0)), outside }))
    }

    /// The one of a request; `None` if no limit that counts it is [`charged`](crate::RateLimit::charged).
    pub fn from_extensions(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Adds to the cost of the request.
    pub fn add(&self, cost: u64) {
        if let Some(outside) = &self.0.outside {
            outside.add(cost);
        }
        match &mut *self.state() {
            State::Open(added) => *added = added.saturating_add(cost),
            State::Closed(accounts) => {
                let now = self.now();
                let cost = saturated(cost);
                for Account { counts, subject } in accounts {
                    counts.record(subject, cost, now);
                }
            }
        }
    }

    /// What was added so far. More is counted in `accounts`.
    pub(crate) fn close(&self, accounts: Vec<Account>) -> u64 {
        match std::mem::replace(&mut *self.state(), State::Closed(accounts)) {
            State::Open(added) => added,
            State::Closed(_) => 0,
        }
    }

    pub(crate) fn now(&self) -> Now {
        self.0.clock.now()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").finish_non_exhaustive()
    }
}
