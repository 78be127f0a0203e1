use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limit::Subject;

/// What Redis has not been told yet.
#[derive(Default)]
pub(super) struct Owed(Mutex<Costs>);

#[derive(Default)]
pub(super) struct Costs {
    pub(super) by_subject: HashMap<Subject, u64>,
    /// Whether a task sends them.
    pub(super) is_being_sent: bool,
}

impl Owed {
    pub(super) fn lock(&self) -> MutexGuard<'_, Costs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Costs {
    pub(super) fn add(&mut self, subject: &Subject, cost: u64) {
        let sum = self.by_subject.entry(subject.clone()).or_default();
        *sum = sum.saturating_add(cost);
    }
}
