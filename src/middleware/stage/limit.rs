//! 7, limit: the rate limits of a request, in the order they were added. Those by client address stand before 1.

use std::mem;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::StatusCode;

use crate::address::PeerAddress;
use crate::clock::Now;
use crate::identity::{Caller, Principal};
use crate::limit::{
    Category, Charge, Deciding, Decision, Fields, Outcome, RateLimiter, Subject, SubjectKind, Undecided,
    Verdict,
};
use crate::middleware::checks::Checks;
use crate::middleware::facts::{
    Charged, Facts, Flow, LimitResults, LimiterCall, Pending, Position, Reported,
};
use crate::middleware::limit_rule::{LimitRule, Limiter};
use crate::rejection::{RateLimited, Reason, Rejection};
use crate::request::RequestView;

impl Checks {
    /// Decides about the limits of `position` from the one at `first` on.
    #[inline]
    pub(crate) fn check_limits(
        self: &Arc<Self>,
        position: Position,
        first: usize,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        let rules = self.limits(position);
        for (index, rule) in rules.iter().enumerate().skip(first) {
            let Some(limiter) = rule.limiter(request) else { continue };
            // Admitted by this one and denied by a later one, a request is to be counted by none.
            let refundable = rule.refund.is_some() || index + 1 < rules.len();
            let now = facts.now(&*self.clock);
            let Limiter { category, counts } = &rule.limiters[limiter];
            let cost = rule.cost.as_ref().map_or(1, |cost| cost(request));
            let charge = |limit_override| Charge { limit_override, cost, now, refundable };
            // The common case on its own: a subject that is made where it is used is not moved.
            let deciding = match (rule.subject, &facts.caller) {
                (SubjectKind::Key, Caller::Principal(principal)) => counts
                    .decide(&Subject::Key(*principal.key_id()), charge(own_limit(principal, &category.name))),
                (subject, caller) => match self.subject(subject, caller, request) {
                    Ok(Some(subject)) => {
                        // A limit stored with a key is the key's. An organization's does not depend on which key calls.
                        let key = caller.principal().filter(|_| matches!(subject, Subject::Key(_)));
                        counts.decide(&subject, charge(key.and_then(|key| own_limit(key, &category.name))))
                    }
                    Ok(None) => continue,
                    Err(reason) => return Rejection::new(reason).into(),
                },
            };
            let call = LimiterCall { position, rule: index, limiter, cost };
            match deciding {
                Deciding::Ready(outcome) => {
                    if let Some(rejected) = self.count(outcome, call, facts) {
                        return rejected;
                    }
                }
                Deciding::Pending(decide) => return Flow::Waiting(Pending::Limit { decide, call }),
            }
        }
        match position {
            Position::Before => self.after_address_limits(facts, request),
            Position::After => self.after_limits(facts, request),
        }
    }

    /// Goes on with what a limiter that was waited for has decided.
    pub(crate) fn limit_decided(
        self: &Arc<Self>,
        outcome: Outcome,
        call: LimiterCall,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        let (position, next) = (call.position, call.rule + 1);
        match self.count(outcome, call, facts) {
            Some(rejected) => rejected,
            None => self.check_limits(position, next, facts, request),
        }
    }

    /// Takes note of a decision; the rejection if it is one.
    #[inline]
    fn count(&self, outcome: Outcome, call: LimiterCall, facts: &mut Facts) -> Option<Flow> {
        let LimiterCall { position, rule, limiter, cost } = call;
        let LimitRule { limiters, refund, .. } = &self.limits(position)[rule];
        match outcome {
            Ok((decision, receipt)) if decision.is_admitted() => {
                if let Some(receipt) = receipt {
                    let counts = limiters[limiter].counts.clone();
                    facts.counted.receipts.push(Charged {
                        receipt,
                        position,
                        counts,
                        cost,
                        refund: refund.clone(),
                    });
                }
                facts.counted.report(Reported { decision, position, rule, limiter });
                None
            }
            Ok((decision, _)) => {
                let reason = Reason::RateLimited(over_limit(&limiters[limiter].category, decision));
                facts.counted.reported = Some(Reported { decision, position, rule, limiter });
                Some(reject(reason, position, facts))
            }
            Err(Undecided) => {
                Some(reject(Reason::LimiterFailed(limiters[limiter].category.name.clone()), position, facts))
            }
        }
    }

    fn limits(&self, position: Position) -> &[LimitRule] {
        match position {
            Position::Before => &self.address_limits,
            Position::After => &self.limits,
        }
    }

    /// Whose requests are counted together; `None` for an anonymous request where callers are counted.
    fn subject(
        &self,
        subject: SubjectKind,
        caller: &Caller,
        request: RequestView<'_>,
    ) -> Result<Option<Subject>, Reason> {
        match subject {
            SubjectKind::Address => {
                let source = self.client_address.as_ref().ok_or(Reason::Misconfigured(
                    "limits by client address need `ApiKeysBuilder::client_address`",
                ))?;
                let peer =
                    source.peer_of(request.extensions).ok_or(Reason::Misconfigured(PeerAddress::MISSING))?;
                Ok(Some(Subject::Address(source.find(peer, request.headers))))
            }
            SubjectKind::Key => Ok(caller.id().copied().map(Subject::Key)),
            SubjectKind::Organization => match caller {
                Caller::Anonymous => Ok(None),
                Caller::Principal(principal) => Ok(Some(match principal.organization() {
                    Some(organization) => Subject::other(format!("{}:{organization}", principal.mode())),
                    // Keys of the system have nothing in common: none of them uses up another's limit.
                    None => Subject::Key(*principal.key_id()),
                })),
                Caller::Session { .. } => Err(Reason::Misconfigured(
                    "a session's organization is found after the limits: count sessions with `RateLimit::per_key`",
                )),
            },
        }
    }

    /// What the response says about the limits, once what is due has been taken back.
    #[inline]
    pub(crate) fn settle<'a>(
        &'a self,
        counted: &'a mut LimitResults,
        now: Option<Now>,
        status: StatusCode,
    ) -> Option<Fields<'a>> {
        let LimitResults { reported, receipts } = counted;
        let Reported { decision, position, rule, limiter } = reported.as_mut()?;
        let Limiter { category, counts } = &self.limits(*position)[*rule].limiters[*limiter];
        if !receipts.is_empty() {
            take_back_what_is_due(receipts, status, decision, counts);
        }
        Some(Fields { decision, now: now?, category, ietf: self.ietf_fields })
    }
}

/// Rejects a request by a limit of `position`, so that no other limit there counts it.
#[cold]
fn reject(reason: Reason, position: Position, facts: &mut Facts) -> Flow {
    let receipts = mem::take(&mut facts.counted.receipts).into_iter();
    let (here, others): (Vec<_>, Vec<_>) = receipts.partition(|charged| charged.position == position);
    facts.counted.receipts = others;
    for Charged { receipt, counts, .. } in here {
        counts.take_back(receipt);
    }
    let mut rejection = Rejection::new(reason);
    rejection.set_key_id(facts.caller.id().copied().filter(|_| position == Position::After));
    rejection.into()
}

/// `decision` is that of the limiter `reported`.
fn take_back_what_is_due(
    receipts: &mut Vec<Charged>,
    status: StatusCode,
    decision: &mut Decision,
    reported: &Arc<dyn RateLimiter>,
) {
    for Charged { receipt, counts, cost, refund, .. } in receipts.drain(..) {
        if refund.is_some_and(|is_due| is_due(status)) {
            if Arc::ptr_eq(&counts, reported) {
                decision.take_back(cost);
            }
            counts.take_back(receipt);
        }
    }
}

/// The limit stored with the key, if it has one for this category.
#[inline]
fn own_limit(principal: &Principal, category: &str) -> Option<NonZeroU32> {
    principal.record()?.extras.limits.get(category).copied()
}

/// What is reported of a denial in `category`.
pub(super) fn over_limit(category: &Category, decision: Decision) -> RateLimited {
    RateLimited {
        category: category.name.clone(),
        limit: decision.limit(),
        window: decision.quota().window(),
        retry_after: (decision.verdict() != Verdict::NeverFits).then(|| decision.reset()),
    }
}
