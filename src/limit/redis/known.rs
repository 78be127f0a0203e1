use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::script::Place;
use crate::clock::nanos;
use crate::limit::{Decision, Subject};

/// What this process knows about subjects without asking: who is denied until when, and what is leased to it.
///
/// Bounded, and free to forget: what is forgotten costs a round trip, and a forgotten lease is not used.
pub(super) struct Known {
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<Subject, About>>]>,
    capacity_per_shard: usize,
}

#[derive(Default)]
struct About {
    denial: Option<Denial>,
    lease: Option<Lease>,
    /// Held by the one who asks for the next lease.
    turn: Option<Arc<tokio::sync::Mutex<()>>>,
}

/// Until when such a request is denied.
#[derive(Clone, Copy)]
pub(super) struct Denial {
    pub(super) until: Instant,
    pub(super) limit_override: Option<NonZeroU32>,
    pub(super) cost: u32,
    pub(super) decision: Decision,
}

/// What Redis has counted already, and this process may admit.
#[derive(Clone, Copy)]
pub(super) struct Lease {
    pub(super) until: Instant,
    pub(super) limit_override: Option<NonZeroU32>,
    pub(super) units: u32,
    pub(super) place: Place,
    /// As if all of the lease were used; `resets_at` is the same instant as its `reset`.
    pub(super) decision: Decision,
    pub(super) resets_at: Instant,
}

impl Known {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity_per_shard = capacity.div_ceil(SHARDS);
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            capacity_per_shard,
        }
    }

    /// The denial that holds for such a request as well.
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
        holds.then(|| Decision { reset: nanos(denial.until - now), ..denial.decision })
    }

    pub(super) fn deny(&self, subject: &Subject, denial: Denial, now: Instant) {
        self.change(subject, now, |about| about.denial = Some(denial));
    }

    /// Something was given back, so that what is known to be denied may be admitted.
    pub(super) fn forget_denial(&self, subject: &Subject) {
        if let Some(about) = self.shard(subject).get_mut(subject) {
            about.denial = None;
        }
    }

    /// Uses up `cost` units of a lease.
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

    /// Gives back `cost` units; false if the lease they are from has ended.
    pub(super) fn return_to_lease(&self, subject: &Subject, place: &Place, cost: u32, now: Instant) -> bool {
        let mut shard = self.shard(subject);
        let lease = shard.get_mut(subject).and_then(|about| about.lease.as_mut());
        match lease {
            Some(lease) if lease.place == *place && now < lease.until => {
                lease.units = lease.units.saturating_add(cost);
                true
            }
            _ => false,
        }
    }

    /// Takes the lease out, to be given back to Redis.
    pub(super) fn take_lease(&self, subject: &Subject) -> Option<Lease> {
        self.shard(subject).get_mut(subject)?.lease.take()
    }

    pub(super) fn put_lease(&self, subject: &Subject, lease: Lease, now: Instant) {
        self.change(subject, now, |about| about.lease = Some(lease));
    }

    pub(super) fn turn(&self, subject: &Subject, now: Instant) -> Arc<tokio::sync::Mutex<()>> {
        self.change(subject, now, |about| about.turn.get_or_insert_default().clone())
    }

    fn shard(&self, subject: &Subject) -> MutexGuard<'_, HashMap<Subject, About>> {
        let index = self.hasher.hash_one(subject) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, subject: &Subject, now: Instant, change: impl FnOnce(&mut About) -> T) -> T {
        let mut shard = self.shard(subject);
        if shard.len() >= self.capacity_per_shard && !shard.contains_key(subject) {
            shard.retain(|_, about| about.is_of_use(now));
            if shard.len() >= self.capacity_per_shard {
                if let Some(any) = shard.keys().next().cloned() {
                    shard.remove(&any);
                }
            }
        }
        match shard.entry(subject.clone()) {
            Entry::Occupied(mut about) => change(about.get_mut()),
            Entry::Vacant(place) => change(place.insert(About::default())),
        }
    }
}

impl About {
    fn is_of_use(&self, now: Instant) -> bool {
        self.denial.is_some_and(|denial| now < denial.until)
            || self.lease.is_some_and(|lease| now < lease.until)
            || self.turn.as_ref().is_some_and(|turn| Arc::strong_count(turn) > 1)
    }
}

const SHARDS: usize = 16;
