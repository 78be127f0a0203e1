//! Costs that are counted whatever the limits: they are sent to Redis until it has taken them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::script::Rules;
use super::shared::Shared;
use crate::clock::Now;
use crate::limit::Subject;

/// What Redis has not been told yet.
#[derive(Default)]
pub(super) struct Owed(Mutex<Costs>);

#[derive(Default)]
struct Costs {
    by_subject: HashMap<Subject, u64>,
    /// Whether a task sends them.
    is_being_sent: bool,
}

impl Owed {
    fn lock(&self) -> MutexGuard<'_, Costs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Counts here at once, and in Redis as soon as it answers.
    pub(super) fn record(self: &Arc<Self>, subject: &Subject, cost: u32, now: Now) {
        self.local.count_anyway(subject, cost, now);
        let mut owed = self.owed.lock();
        let sum = owed.by_subject.entry(subject.clone()).or_default();
        *sum = sum.saturating_add(cost.into());
        if owed.is_being_sent {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            owed.is_being_sent = true;
            runtime.spawn(self.clone().send_owed());
        }
    }

    /// Sends until nothing is left.
    async fn send_owed(self: Arc<Self>) {
        while let Some(costs) = self.take_owed() {
            let mut is_late = false;
            for (subject, cost) in costs {
                if self.send(&subject, cost).await {
                    continue;
                }
                is_late = true;
                let mut owed = self.owed.lock();
                let sum = owed.by_subject.entry(subject).or_default();
                *sum = sum.saturating_add(cost);
            }
            if is_late {
                sleep(PAUSE).await;
            }
        }
    }

    /// `None`, and another task has to be started for what comes later, if there is nothing.
    fn take_owed(&self) -> Option<HashMap<Subject, u64>> {
        let mut owed = self.owed.lock();
        owed.is_being_sent = !owed.by_subject.is_empty();
        owed.is_being_sent.then(|| std::mem::take(&mut owed.by_subject))
    }

    /// Whether Redis has counted it.
    async fn send(&self, subject: &Subject, cost: u64) -> bool {
        let mut arguments = vec![cost];
        Rules { rules: &self.rules, limit_override: None }.add_to(&mut arguments);
        let deadline = Instant::now() + self.deadline;
        let sent = self.call(&self.scripts.record, subject, &arguments, |_| Some(()), deadline).await;
        sent.map_err(|error| self.note(&error)).is_ok()
    }
}

const PAUSE: Duration = Duration::from_secs(1);
