//! 7, limit: the rate limits of a request, in the order they were added. Those by client address stand before 1.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::address::PeerAddress;
use crate::clock::Now;
use crate::identity::{Caller, Principal};
use crate::limit::{
    Category, Deciding, Decision, DecisionResult, Demand, Fields, PendingDecision, RateLimiter, Subject,
    SubjectKind, Undecided, Verdict,
};
use crate::log;
use crate::metrics::LimitOutcome;
use crate::middleware::checks::Checks;
use crate::middleware::facts::{Facts, Flow, LimitResults, LimiterCall, Pending, PendingLimits, Reported};
use crate::middleware::limit_rule::{LimitRule, Limiter, Position};
use crate::rejection::{RateLimited, Reason, Rejection};
use crate::request::RequestView;

/// What a limiter has decided, once what it has counted is kept.
pub(crate) type Decided = Result<Decision, Undecided>;

impl Checks {
    /// Decides about the limits of `position`.
    #[inline]
    pub(crate) fn check_limits(
        self: &Arc<Self>,
        position: Position,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        let rules = self.limits(position);
        let mut pending: Option<Box<PendingLimits>> = None;
        for (index, rule) in rules.iter().enumerate() {
            let Some(limiter) = rule.limiter(request) else { continue };
            if facts.category == 0 {
                facts.category = rule.category(limiter);
            }
            // Admitted by this one and denied by a later one, a request is to be counted by none.
            let refundable = rule.settlement.is_some() || index + 1 < rules.len() || pending.is_some();
            let now = facts.now(&*self.clock);
            let Limiter { category, counts, .. } = &rule.limiters[limiter];
            let cost = rule.cost.as_ref().map_or(1, |cost| cost(request));
            let demand = |limit_override| Demand { limit_override, cost, now, refundable };
            // The common case on its own: a subject that is made where it is used is not moved.
            let deciding = match (&rule.subject, &facts.caller) {
                (SubjectKind::Key, Caller::Principal(principal)) => {
                    let limit = rule.limit_of_key(Some(principal), &category.name);
                    counts.decide(&Subject::Key(*principal.key_id()), demand(limit))
                }
                (_, caller) => match self.subject(&rule.subject, caller, request) {
                    Ok(Some(subject)) => {
                        let limit = rule.limit_of(&subject, caller.principal(), &category.name);
                        counts.decide(&subject, demand(limit))
                    }
                    Ok(None) => continue,
                    Err(reason) => return Rejection::new(reason).into(),
                },
            };
            let call = LimiterCall { position, rule: index, limiter, cost };
            match deciding {
                Deciding::Ready(outcome) => {
                    let decided = self.keep(outcome, &call, facts, request);
                    if let Some(rejected) = self.count(decided, call, facts) {
                        return rejected;
                    }
                }
                Deciding::Pending(decide) => wait_for(&mut pending, call, decide),
            }
        }
        match pending {
            None => self.after_limits_of(position, facts, request),
            Some(pending) => Flow::Waiting(Pending::Limits(position, pending)),
        }
    }

    #[inline]
    fn after_limits_of(
        self: &Arc<Self>,
        position: Position,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        match position {
            Position::Before => self.after_address_limits(facts, request),
            Position::After => self.after_limits(facts, request),
        }
    }

    /// Goes on with what the limiters that were waited for have decided.
    pub(crate) fn limits_decided(
        self: &Arc<Self>,
        position: Position,
        mut decided: Vec<(LimiterCall, Decided)>,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        // What was admitted first: a denial takes it back.
        decided.sort_by_key(|(call, decided)| {
            (!decided.is_ok_and(|decision| decision.is_admitted()), call.rule)
        });
        for (call, decided) in decided {
            if let Some(rejected) = self.count(decided, call, facts) {
                return rejected;
            }
        }
        self.after_limits_of(position, facts, request)
    }

    /// Keeps what a limiter has counted, until the response says what becomes of it.
    #[inline]
    pub(crate) fn keep(
        &self,
        outcome: DecisionResult,
        call: &LimiterCall,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Decided {
        let (decision, permit) = outcome?;
        if let Some(permit) = permit {
            let LimitRule { limiters, settlement, .. } = &self.limits(call.position)[call.rule];
            let (counts, context) =
                (limiters[call.limiter].counts.clone(), (&self.clock, request.extensions));
            let receipts = &mut facts.counted.receipts;
            receipts.add(permit, call.position, counts, call.cost, settlement.clone(), context);
        }
        Ok(decision)
    }

    /// Takes note of a decision; the rejection if it is one.
    #[inline]
    fn count(&self, decided: Decided, call: LimiterCall, facts: &mut Facts) -> Option<Flow> {
        let LimiterCall { position, rule, limiter, cost } = call;
        let LimitRule { limiters, is_shadow, .. } = &self.limits(position)[rule];
        let Limiter { category, counts, counters, .. } = &limiters[limiter];
        if facts.started.is_measured() {
            let is_degraded = decided.map_or(true, |decision| decision.is_degraded());
            counters.decided(outcome_of(decided, *is_shadow, &**counts), is_degraded);
        }
        match decided {
            Ok(decision) if decision.is_admitted() => {
                if !is_shadow {
                    facts
                        .counted
                        .report(Reported { decision, position, rule, limiter, cost }, self.keeps_decisions);
                }
                None
            }
            _ if *is_shadow => {
                log::would_reject(&category.name, facts.caller.id());
                None
            }
            Ok(decision) => {
                let reason = Reason::RateLimited(over_limit(category, decision));
                facts.counted.reported = Some(Reported { decision, position, rule, limiter, cost });
                facts.counted.others = None;
                Some(reject(reason, position, facts))
            }
            Err(Undecided) => Some(reject(Reason::LimiterFailed(category.name.clone()), position, facts)),
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
        subject: &SubjectKind,
        caller: &Caller,
        request: RequestView<'_>,
    ) -> Result<Option<Subject>, Reason> {
        match (subject, caller) {
            (SubjectKind::Address, _) => {
                let source = self.client_address.as_ref().ok_or(Reason::Misconfigured(
                    "limits by client address need `ApiKeysBuilder::client_address`",
                ))?;
                let peer =
                    source.peer_of(request.extensions).ok_or(Reason::Misconfigured(PeerAddress::MISSING))?;
                Ok(Some(Subject::Address(source.find(peer, request.headers))))
            }
            (SubjectKind::Key, _) => Ok(caller.id().copied().map(Subject::Key)),
            (_, Caller::Anonymous) => Ok(None),
            (SubjectKind::Organization, Caller::Principal(principal)) => Ok(Some(of_organization(principal))),
            (SubjectKind::Named(name), Caller::Principal(principal)) => Ok(name(request, principal)),
            (_, Caller::Session { .. }) => Err(Reason::Misconfigured(
                "a session's organization is found after the limits: count sessions with `RateLimit::per_key`",
            )),
        }
    }

    /// What the response says about the limits, once what is due has been taken back and charged.
    #[inline]
    pub(crate) fn settle<'a>(
        &'a self,
        counted: &'a mut LimitResults,
        now: Option<Now>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Fields<'a>> {
        let now = now?;
        if !counted.receipts.is_empty() {
            let LimitResults { reported, others, receipts } = counted;
            receipts.settle(status, headers, now, |counts, from, to| {
                let others = others.iter_mut().flat_map(|others| &mut others.0);
                let all = reported.iter_mut().chain(others);
                for Reported { decision, position, rule, limiter, .. } in all {
                    if Arc::ptr_eq(&self.limits(*position)[*rule].limiters[*limiter].counts, counts) {
                        decision.change_cost(from, to);
                    }
                }
            });
        }
        if counted.others.is_some() {
            counted.put_tightest_first();
        }
        let LimitResults { reported, others, .. } = counted;
        let (decision, category) = self.told(reported.as_ref()?);
        let others = match others {
            Some(others) if self.ietf_fields => others.0.iter().map(|other| self.told(other)).collect(),
            _ => Vec::new(),
        };
        Some(Fields { decision, now, category, ietf: self.ietf_fields, others })
    }

    #[inline]
    fn told<'a>(&'a self, reported: &'a Reported) -> (&'a Decision, &'a Category) {
        let Reported { decision, position, rule, limiter, .. } = reported;
        (decision, &self.limits(*position)[*rule].limiters[*limiter].category)
    }
}

impl LimitRule {
    /// The limit of a key, or of a person, if it is not that of the quota.
    #[inline]
    pub(crate) fn limit_of_key(&self, principal: Option<&Principal>, category: &str) -> Option<NonZeroU32> {
        let own = principal.and_then(|principal| own_limit(principal, category));
        match (&self.limit_for, own) {
            (None, own) | (_, own @ Some(_)) => own,
            (Some(limit), None) => limit(principal, category),
        }
    }

    /// A limit stored with a key is the key's. Another subject's does not depend on which key calls.
    pub(crate) fn limit_of(
        &self,
        subject: &Subject,
        principal: Option<&Principal>,
        category: &str,
    ) -> Option<NonZeroU32> {
        match (subject, &self.limit_for) {
            (Subject::Key(_), _) => self.limit_of_key(principal, category),
            (_, limit_for) => limit_for.as_ref()?(principal, category),
        }
    }
}

/// Keys of the system have nothing in common: none of them uses up another's limit.
pub(crate) fn of_organization(principal: &Principal) -> Subject {
    match principal.organization() {
        Some(organization) => Subject::organization(organization, principal.mode()),
        None => Subject::Key(*principal.key_id()),
    }
}

/// What metrics say of a decision.
fn outcome_of(decided: Decided, is_shadow: bool, counts: &dyn RateLimiter) -> LimitOutcome {
    match decided {
        Ok(decision) if decision.is_admitted() && decision.is_degraded() && counts.fails_open() => {
            LimitOutcome::FailedOpen
        }
        Ok(decision) if decision.is_admitted() => {
            let is_near = u64::from(decision.remaining()) * 5 < u64::from(decision.limit());
            if is_near { LimitOutcome::NearLimit } else { LimitOutcome::Allowed }
        }
        _ if is_shadow => LimitOutcome::Shadow,
        Ok(_) => LimitOutcome::Denied,
        Err(Undecided) => LimitOutcome::FailedClosed,
    }
}

#[cold]
fn wait_for(pending: &mut Option<Box<PendingLimits>>, call: LimiterCall, decide: PendingDecision) {
    pending.get_or_insert_default().push((call, decide));
}

/// Rejects a request by a limit of `position`, so that no other limit there counts it.
#[cold]
fn reject(reason: Reason, position: Position, facts: &mut Facts) -> Flow {
    facts.counted.receipts.take_back(position);
    let mut rejection = Rejection::new(reason);
    rejection.set_key_id(facts.caller.id().copied().filter(|_| position == Position::After));
    rejection.into()
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
        quota: decision.quota(),
        retry_after: (decision.verdict() != Verdict::NeverFits).then(|| decision.reset()),
    }
}
