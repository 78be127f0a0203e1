//! Sends costs that are counted whatever the limits, until Redis has taken them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::script::Rules;
use super::shared::Shared;
use crate::clock::Now;
use crate::limit::Subject;

impl Shared {
    /// Counts here at once, and in Redis as soon as it answers.
    pub(super) fn record(self: &Arc<Self>, subject: &Subject, cost: u32, now: Now) {
        self.local.count_anyway(subject, cost, now);
        let mut owed = self.owed.lock();
        owed.add(subject, cost.into());
        if owed.is_being_sent {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            owed.is_being_sent = true;
            let costs = HashMap::new();
            runtime.spawn(Sending { shared: self.clone(), costs, is_done: false }.run());
        }
    }

    /// Whether Redis has counted it.
    async fn send(&self, subject: &Subject, cost: u64) -> bool {
        let mut arguments = vec![cost];
        Rules { rules: &self.rules, limit_override: None }.add_to(&mut arguments);
        let deadline = Instant::now() + self.deadline.max(DEADLINE);
        let sent = self.call(&self.scripts.record, subject, &arguments, |_| Some(()), deadline).await;
        sent.map_err(|error| self.note(&error)).is_ok()
    }
}

/// Sends until nothing is left. With its runtime it ends early: what it has not sent is owed still, and sent with what comes
/// later.
struct Sending {
    shared: Arc<Shared>,
    costs: HashMap<Subject, u64>,
    is_done: bool,
}

impl Sending {
    async fn run(mut self) {
        while self.take_owed() {
            let mut is_late = false;
            while let Some((subject, cost)) = self.costs.iter().next().map(|(key, cost)| (key.clone(), *cost))
            {
                if !self.shared.send(&subject, cost).await {
                    is_late = true;
                    self.shared.owed.lock().add(&subject, cost);
                }
                self.costs.remove(&subject);
            }
            if is_late {
                sleep(PAUSE).await;
            }
        }
    }

    /// `false`, and another task has to be started for what comes later, if there is nothing.
    fn take_owed(&mut self) -> bool {
        let mut owed = self.shared.owed.lock();
        owed.is_being_sent = !owed.by_subject.is_empty();
        self.costs = std::mem::take(&mut owed.by_subject);
        self.is_done = !owed.is_being_sent;
        owed.is_being_sent
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let mut owed = self.shared.owed.lock();
        owed.is_being_sent = false;
        self.costs.iter().for_each(|(subject, cost)| owed.add(subject, *cost));
    }
}

const PAUSE: Duration = Duration::from_secs(1);

/// No request waits for it, and what is given up is sent again, so that a server that is merely slow would count it twice.
const DEADLINE: Duration = Duration::from_secs(10);
