//! The audit log of a store in memory: the last events.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::key::{KeyId, Owner};
use crate::store::audit::AuditEvent;
use crate::store::audit_log::DELIVERED_AT_ONCE;
use crate::store::{History, HistoryQuery};

/// Older events are dropped.
const CAPACITY: usize = 10_000;

#[derive(Default)]
pub(super) struct Events {
    /// By number, without gaps.
    kept: VecDeque<Kept>,
    last_number: u64,
    /// Who delivers, and until when.
    delivery: Option<(String, Timestamp)>,
}

struct Kept {
    event: AuditEvent,
    is_delivered: bool,
}

impl Events {
    pub(super) fn push(&mut self, event: Option<&AuditEvent>) {
        let Some(event) = event else { return };
        self.last_number += 1;
        if self.kept.len() == CAPACITY {
            self.kept.pop_front();
        }
        let event = AuditEvent { number: Some(self.last_number), ..event.clone() };
        self.kept.push_back(Kept { event, is_delivered: false });
    }

    pub(super) fn history(&self, key: Option<(&Owner, &KeyId)>, query: &HistoryQuery) -> History {
        let events = self.kept.iter().rev().map(|kept| &kept.event).filter(|event| {
            query.before.is_none_or(|before| event.number.is_some_and(|number| number < before))
                && key.is_none_or(|(owner, id)| event.owner == *owner && event.key_id == Some(*id))
        });
        query.page(events.take(query.limit() + 1).cloned().collect())
    }

    pub(super) fn undelivered(&mut self, process: &str, now: Timestamp, until: Timestamp) -> Vec<AuditEvent> {
        if self.delivery.as_ref().is_some_and(|(other, end)| other != process && now < *end) {
            return Vec::new();
        }
        self.delivery = Some((process.to_owned(), until));
        let undelivered = self.kept.iter().filter(|kept| !kept.is_delivered);
        undelivered.take(DELIVERED_AT_ONCE).map(|kept| kept.event.clone()).collect()
    }

    pub(super) fn delivered(&mut self, numbers: &[u64]) {
        let first = self.last_number + 1 - self.kept.len() as u64;
        for number in numbers {
            let place = number.checked_sub(first).and_then(|place| usize::try_from(place).ok());
            if let Some(kept) = place.and_then(|place| self.kept.get_mut(place)) {
                kept.is_delivered = true;
            }
        }
    }
}
