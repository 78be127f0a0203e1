//! What is known of a request while it is being decided.

use std::net::IpAddr;
use std::sync::Arc;

use super::limit_rule::Position;
use super::presented::{Pair, PresentedCompanion, PresentedKey, PresentedSession, Verified};
use super::receipts::Receipts;
use crate::clock::{Clock, Now};
use crate::identity::{Authentication, Caller};
use crate::key::KeyRecord;
use crate::limit::{Decision, PendingDecision};
use crate::metrics::Started;
use crate::rejection::{Reason, Rejection};
use crate::scope::ScopeRequirement;
use crate::store::{Lookup, PendingLookup};

/// Which of the stages a layer runs.
#[derive(Clone, Debug)]
pub(super) enum Stages {
    /// All of them.
    All,
    /// The limits by client address.
    AddressLimits,
    /// From the credential to the address.
    Authenticate,
    /// The limits of callers.
    Limits,
    /// Organization and access.
    Authorize,
    /// Access to one route.
    Require(Arc<ScopeRequirement>),
}

/// What is known of a request so far. Lies on the stack while nothing has to be waited for.
pub(super) struct Facts {
    pub(super) stages: Stages,
    pub(super) caller: Caller,
    pub(super) now: Option<Now>,
    pub(super) started: Started,
    pub(super) counted: LimitResults,
    /// The category that usage is counted in, by its number; 0 if no limit counts the request, or none has decided yet.
    pub(super) category: u16,
    /// Whether something was presented as a credential, good or not.
    pub(super) is_presented: bool,
    /// Whether shared caches have to be told to keep away from the response.
    pub(super) is_private: bool,
    /// Whether the request's extensions do not say so yet.
    pub(super) is_changed: bool,
}

/// How far a request has got.
pub(super) enum Flow {
    Accepted,
    Rejected(Rejection),
    Waiting(Pending),
}

/// What a request has to wait for, and what is needed to go on.
pub(super) enum Pending {
    Lookup {
        find: PendingLookup,
        presented: PresentedKey,
        client: Result<Option<IpAddr>, Reason>,
    },
    Refresh {
        presented: PresentedKey,
        verified: Verified,
    },
    Imported {
        presented: PresentedKey,
        record: Arc<KeyRecord>,
    },
    Pair(Box<PendingPair>),
    RefreshPair(Box<(Pair, PresentedKey, PresentedCompanion)>),
    Session(PresentedSession),
    /// The limits of a position, all at once.
    Limits(Position, Box<PendingLimits>),
}

/// The limiters that have to wait.
pub(super) type PendingLimits = Vec<(LimiterCall, PendingDecision)>;

/// The lookups of a key and its companion.
type PendingPair = ((Lookup, Lookup), PresentedKey, PresentedCompanion, Result<Option<IpAddr>, Reason>);

impl Facts {
    #[inline]
    pub(super) fn new(stages: Stages) -> Self {
        Self {
            stages,
            caller: Caller::Anonymous,
            now: None,
            started: Started::default(),
            counted: LimitResults::default(),
            category: 0,
            is_presented: false,
            is_private: false,
            is_changed: false,
        }
    }

    /// The one reading of the clock for this request.
    #[inline]
    pub(super) fn now(&mut self, clock: &dyn Clock) -> Now {
        *self.now.get_or_insert_with(|| clock.now())
    }

    /// Whether this layer authenticates requests, and so meters calls and notes the use of keys, and not one outside it.
    #[inline]
    pub(super) fn authenticates(&self) -> bool {
        matches!(self.stages, Stages::All | Stages::Authenticate)
    }

    /// Whether this layer has nothing but limits by client address.
    pub(super) fn is_of_addresses(&self) -> bool {
        matches!(self.stages, Stages::AddressLimits)
    }

    /// What the services inside learn of the caller.
    #[inline]
    pub(super) fn take_authentication(&mut self, clock: &dyn Clock) -> Option<Authentication> {
        if !self.is_changed {
            return None;
        }
        let now = self.now(clock);
        let caller = std::mem::replace(&mut self.caller, Caller::Anonymous);
        Some(Authentication { caller, now })
    }
}

impl From<Rejection> for Flow {
    #[cold]
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// What the limits have decided about a request so far.
#[derive(Default)]
pub(super) struct LimitResults {
    pub(super) reported: Option<Reported>,
    /// What else was decided at the same position.
    pub(super) others: Option<Box<Others>>,
    /// What was counted and may have to be taken back.
    pub(super) receipts: Receipts,
}

/// In the order in which they were decided.
#[derive(Default)]
pub(super) struct Others(pub(super) Vec<Reported>);

/// The decision to report, and which limiter of which rule made it.
pub(super) struct Reported {
    pub(super) decision: Decision,
    pub(super) position: Position,
    pub(super) rule: usize,
    pub(super) limiter: usize,
    /// What the request was counted with, or would have been.
    pub(super) cost: u32,
}

/// A limiter that was asked.
#[derive(Clone, Copy)]
pub(super) struct LimiterCall {
    pub(super) position: Position,
    pub(super) rule: usize,
    pub(super) limiter: usize,
    pub(super) cost: u32,
}

impl LimitResults {
    /// Callers' limits are told, and else those of addresses, which a layer of their own may have.
    ///
    /// `keeps_others` if they are listed, or if what is left of one can still change.
    #[inline]
    pub(super) fn report(&mut self, new: Reported, keeps_others: bool) {
        match &self.reported {
            Some(reported) if reported.position == new.position => {
                if keeps_others {
                    self.others.get_or_insert_default().0.push(new);
                } else if new.decision.is_tighter_than(&reported.decision) {
                    self.reported = Some(new);
                }
            }
            _ => {
                self.others = None;
                self.reported = Some(new);
            }
        }
    }

    /// Once what each has counted is settled. The others stay in their order.
    #[cold]
    pub(super) fn put_tightest_first(&mut self) {
        let (Some(first), Some(others)) = (self.reported.take(), &mut self.others) else { return };
        let Others(all) = &mut **others;
        all.insert(0, first);
        let mut tightest = 0;
        for (index, other) in all.iter().enumerate() {
            if other.decision.is_tighter_than(&all[tightest].decision) {
                tightest = index;
            }
        }
        self.reported = Some(all.remove(tightest));
    }
}
