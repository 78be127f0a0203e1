//! What was counted for a request, until its response decides whether it stays counted.

use std::sync::Arc;

use http::{Extensions, HeaderMap, StatusCode};

use super::limit_rule::{Position, Settlement};
use crate::clock::{Clock, Now};
use crate::limit::{Account, Charge, InFlight, Permit, RateLimiter};
use crate::number::saturated;

/// What may have to be taken back, or charged.
#[derive(Default)]
pub(super) struct Receipts(Vec<Receipt>);

/// One admitted request, as one limiter has counted it.
struct Receipt {
    position: Position,
    counts: Arc<dyn RateLimiter>,
    cost: u32,
    settlement: Option<Arc<Settlement>>,
    kept: Kept,
    due: Due,
}

/// What the application's closures say about a response.
#[derive(Clone, Copy, Default)]
struct Due {
    is_refunded: bool,
    charge: u64,
}

enum Kept {
    Permit(Box<Permit>),
    /// Its cost is replaced by what the request is charged for.
    Charged(Box<Permit>, Charge),
    /// Given back when it is dropped.
    InFlight(InFlight),
}

impl Receipts {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cold]
    pub(super) fn add(
        &mut self,
        permit: Box<Permit>,
        position: Position,
        counts: Arc<dyn RateLimiter>,
        cost: u32,
        settlement: Option<Arc<Settlement>>,
        context: (&Arc<dyn Clock>, &Extensions),
    ) {
        let (clock, extensions) = context;
        let kept = match settlement.as_deref() {
            Some(Settlement { is_charged: true, .. }) => {
                let charge = self.0.iter().find_map(Receipt::charge).cloned();
                let outside = || Charge::from_extensions(extensions).cloned();
                Kept::Charged(permit, charge.unwrap_or_else(|| Charge::new(clock.clone(), outside())))
            }
            Some(Settlement { is_in_flight: true, .. }) => {
                let before = self.0.iter().rev().find_map(Receipt::in_flight);
                let also = before.or_else(|| InFlight::from_extensions(extensions)).cloned();
                Kept::InFlight(InFlight::new(counts.clone(), permit, also))
            }
            _ => Kept::Permit(permit),
        };
        self.0.push(Receipt { position, counts, cost, settlement, kept, due: Due::default() });
    }

    /// Tells the handler what it can charge and keep.
    #[cold]
    pub(super) fn attach(&self, extensions: &mut Extensions) {
        if let Some(charge) = self.0.iter().find_map(Receipt::charge) {
            extensions.insert(charge.clone());
        }
        if let Some(in_flight) = self.0.iter().rev().find_map(Receipt::in_flight) {
            extensions.insert(in_flight.clone());
        }
    }

    /// Takes back what was counted at `position`.
    pub(super) fn take_back(&mut self, position: Position) {
        let receipts = std::mem::take(&mut self.0).into_iter();
        let (here, elsewhere): (Vec<_>, _) = receipts.partition(|receipt| receipt.position == position);
        self.0 = elsewhere;
        here.into_iter().for_each(Receipt::take_back);
    }

    /// Takes back and charges what the response says. `report` learns which cost has become which.
    #[cold]
    pub(super) fn settle(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        now: Now,
        mut report: impl FnMut(&Arc<dyn RateLimiter>, u32, u32),
    ) {
        // A closure that panics leaves everything as it would be without a response.
        self.0.iter_mut().for_each(|receipt| receipt.ask(status, headers));
        let added = self.close_charge();
        for receipt in self.0.drain(..) {
            let cost = receipt.cost_after(added);
            report(&receipt.counts, receipt.cost, cost);
            receipt.settle(cost, now);
        }
    }

    /// What the handler has charged so far. From now on it charges the limiters.
    fn close_charge(&self) -> u64 {
        let Some(charge) = self.0.iter().find_map(Receipt::charge) else { return 0 };
        let accounts = self.0.iter().filter_map(|receipt| match &receipt.kept {
            Kept::Charged(permit, _) => {
                Some(Account { counts: receipt.counts.clone(), subject: permit.subject().clone() })
            }
            _ => None,
        });
        charge.close(accounts.collect())
    }
}

/// A request without a response: its client has gone, or its handler has panicked. It still costs what it was counted
/// with, and what it was charged beyond that.
impl Drop for Receipts {
    #[inline]
    fn drop(&mut self) {
        if !self.0.is_empty() {
            self.abandon();
        }
    }
}

impl Receipts {
    #[cold]
    fn abandon(&mut self) {
        let added = self.close_charge();
        for receipt in self.0.drain(..) {
            if let Kept::Charged(permit, charge) = &receipt.kept {
                let beyond = added.saturating_sub(receipt.cost.into());
                receipt.counts.record(permit.subject(), saturated(beyond), charge.now());
            }
        }
    }
}

impl Receipt {
    fn charge(&self) -> Option<&Charge> {
        match &self.kept {
            Kept::Charged(_, charge) => Some(charge),
            _ => None,
        }
    }

    fn in_flight(&self) -> Option<&InFlight> {
        match &self.kept {
            Kept::InFlight(in_flight) => Some(in_flight),
            _ => None,
        }
    }

    fn take_back(self) {
        match self.kept {
            Kept::Permit(permit) | Kept::Charged(permit, _) => self.counts.take_back(permit),
            Kept::InFlight(_) => {}
        }
    }

    fn ask(&mut self, status: StatusCode, headers: &HeaderMap) {
        let Some(settlement) = &self.settlement else { return };
        let is_refunded = settlement.refund.as_ref().is_some_and(|is_due| is_due(status));
        let charge = settlement.charge.as_ref().filter(|_| !is_refunded);
        self.due = Due { is_refunded, charge: charge.map_or(0, |charge| charge(status, headers)) };
    }

    /// What the request costs once its response is known.
    fn cost_after(&self, added: u64) -> u32 {
        match &self.settlement {
            _ if self.due.is_refunded => 0,
            Some(settlement) if settlement.is_charged => saturated(added.saturating_add(self.due.charge)),
            _ => self.cost,
        }
    }

    fn settle(self, cost: u32, now: Now) {
        match self.kept {
            Kept::Permit(mut permit) | Kept::Charged(mut permit, _) => {
                if cost > self.cost {
                    self.counts.record(permit.subject(), cost - self.cost, now);
                } else if cost < self.cost {
                    permit.keep(cost);
                    self.counts.take_back(permit);
                }
            }
            Kept::InFlight(_) => {}
        }
    }
}
