use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::script::Place;
use crate::clock::nanos;
use crate::limit::{Decision, Subject};

/// What this process knows entry subjects without a call to Redis: denials, and leases granted to it.
///
/// Bounded, and entries may be evicted: an evicted denial costs a round trip, and an evicted lease is not used.
pub(super) struct SubjectCache {
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<Subject, SubjectEntry>>]>,
    capacity_per_shard: usize,
}

#[derive(Default)]
struct SubjectEntry {
    denial: Option<Denial>,
    lease: Option<Lease>,
    /// Held by the request that asks for the next lease.
    turn: Option<Arc<tokio::sync::Mutex<()>>>,
}

/// A denial, and how long it holds.
#[derive(Clone, Copy)]
pub(super) struct Denial {
    pub(super) until: Instant,
    /// The instant of its decision's `reset`.
    pub(super) resets_at: Instant,
    pub(super) limit_override: Option<NonZeroU32>,
    pub(super) cost: u32,
    pub(super) decision: Decision,
}

/// Units that Redis has already counted and this process may admit.
#[derive(Clone, Copy)]
pub(super) struct Lease {
    pub(super) until: Instant,
    pub(super) limit_override: Option<NonZeroU32>,
    pub(super) units: u32,
    pub(super) place: Place,
    /// The decision as if all of the lease were used; `resets_at` is the instant of its `reset`.
    pub(super) decision: Decision,
    pub(super) resets_at: Instant,
}

impl SubjectCache {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity_per_shard = capacity.div_ceil(SHARDS);
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            capacity_per_shard,
        }
    }

    /// The denial that also applies to this request.
    pub(super) fn denial(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Instant,
    ) -> Option<Decision> {
        let shard = self.shard(subject);
        let denial = shard.get(subject)?.denial?;
        let holds = now < denial.until && cost >= denial.cost && limit_override == denial.limit_override;
        holds.then(|| Decision { reset: nanos(denial.resets_at - now), ..denial.decision })
    }

    pub(super) fn deny(&self, subject: &Subject, denial: Denial, now: Instant) {
        self.change(subject, now, |entry| entry.denial = Some(denial));
    }

    /// Called after a refund: denied requests may fit now.
    pub(super) fn forget_denial(&self, subject: &Subject) {
        if let Some(entry) = self.shard(subject).get_mut(subject) {
            entry.denial = None;
        }
    }

    /// Uses `cost` units of a lease.
    pub(super) fn use_lease(
        &self,
        subject: &Subject,
        limit_override: Option<NonZeroU32>,
        cost: u32,
        now: Instant,
    ) -> Option<(Decision, Place)> {
        let mut shard = self.shard(subject);
        let lease = shard.get_mut(subject)?.lease.as_mut()?;
        if now >= lease.until || lease.limit_override != limit_override {
            return None;
        }
        lease.units = lease.units.checked_sub(cost)?;
        let decision = Decision {
            remaining: lease.decision.remaining.saturating_add(lease.units),
            reset: nanos(lease.resets_at.saturating_duration_since(now)),
            ..lease.decision
        };
        Some((decision, lease.place))
    }

    /// Gives back `cost` units; false if their lease has ended.
    pub(super) fn return_to_lease(&self, subject: &Subject, place: &Place, cost: u32, now: Instant) -> bool {
        let mut shard = self.shard(subject);
        let lease = shard.get_mut(subject).and_then(|entry| entry.lease.as_mut());
        match lease {
            Some(lease) if lease.place == *place && now < lease.until => {
                lease.units = lease.units.saturating_add(cost);
                true
            }
            _ => false,
        }
    }

    /// Removes the lease, to be given back to Redis.
    pub(super) fn take_lease(&self, subject: &Subject) -> Option<Lease> {
        self.shard(subject).get_mut(subject)?.lease.take()
    }

    pub(super) fn put_lease(&self, subject: &Subject, lease: Lease, now: Instant) {
        self.change(subject, now, |entry| entry.lease = Some(lease));
    }

    pub(super) fn turn(&self, subject: &Subject, now: Instant) -> Arc<tokio::sync::Mutex<()>> {
        self.change(subject, now, |entry| entry.turn.get_or_insert_default().clone())
    }

    fn shard(&self, subject: &Subject) -> MutexGuard<'_, HashMap<Subject, SubjectEntry>> {
        let index = self.hasher.hash_one(subject) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, subject: &Subject, now: Instant, change: impl FnOnce(&mut SubjectEntry) -> T) -> T {
        let mut shard = self.shard(subject);
        if shard.len() >= self.capacity_per_shard && !shard.contains_key(subject) {
            shard.retain(|_, entry| entry.is_useful(now));
            if shard.len() >= self.capacity_per_shard {
                if let Some(any) = shard.keys().next().cloned() {
                    shard.remove(&any);
                }
            }
        }
        match shard.entry(subject.clone()) {
            Entry::Occupied(mut entry) => change(entry.get_mut()),
            Entry::Vacant(place) => change(place.insert(SubjectEntry::default())),
        }
    }
}

impl SubjectEntry {
    fn is_useful(&self, now: Instant) -> bool {
        self.denial.is_some_and(|denial| now < denial.until)
            || self.lease.is_some_and(|lease| now < lease.until)
            || self.turn.as_ref().is_some_and(|turn| Arc::strong_count(turn) > 1)
    }
}

const SHARDS: usize = 16;
