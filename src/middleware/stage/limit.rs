//! 7, limit: the rate limits of a request, in the order they were added. Those by client address stand before 1.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::{Method, StatusCode};

use crate::address::PeerAddress;
use crate::clock::Now;
use crate::identity::{Caller, Principal};
use crate::limit::{
    Category, Charge, CostFn, Deciding, Decision, Fields, Outcome, RateLimiter, Receipt, RefundFn, Subject,
    SubjectKind, Undecided, Verdict,
};
use crate::middleware::decision::{Checks, Facts, Flow, Pending};
use crate::rejection::{RateLimited, Reason, Rejection};
use crate::request::RequestView;
use crate::route::RouteTable;

/// A [`RateLimit`](crate::RateLimit) with its limiters.
pub(crate) struct LimitRule {
    pub(crate) subject: SubjectKind,
    pub(crate) limiters: Vec<Limiter>,
    /// Which of the limiters counts a request: by its route, else by its method, else the first.
    pub(crate) routes: RouteTable<usize>,
    pub(crate) methods: Vec<(Method, Option<usize>)>,
    pub(crate) otherwise: Option<usize>,
    pub(crate) cost: Option<Arc<CostFn>>,
    pub(crate) refund: Option<Arc<RefundFn>>,
}

/// A limiter, with its description at hand, so that a request asks it once only.
#[derive(Clone)]
pub(crate) struct Limiter {
    category: Arc<Category>,
    counts: Arc<dyn RateLimiter>,
}

/// Where the limits of a request stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// By client address, before authentication.
    Before,
    /// By caller, after it.
    After,
}

/// What the limits have decided about a request so far.
#[derive(Default)]
pub(crate) struct Counted {
    /// The decision to report, and which limiter made it.
    reported: Option<(Decision, Position, usize, usize)>,
    /// What was counted and may have to be taken back.
    receipts: Vec<Counting>,
}

/// One admitted request, as one limiter has counted it.
struct Counting {
    receipt: Receipt,
    counts: Arc<dyn RateLimiter>,
    cost: u32,
    refund: Option<Arc<RefundFn>>,
}

/// A limiter that was asked and has to wait.
pub(crate) struct Asked {
    position: Position,
    rule: usize,
    limiter: usize,
    cost: u32,
}

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
                        let principal = caller.principal();
                        let own = principal.filter(|_| position == Position::After);
                        counts.decide(&subject, charge(own.and_then(|own| own_limit(own, &category.name))))
                    }
                    Ok(None) => continue,
                    Err(reason) => return Rejection::new(reason).into(),
                },
            };
            let asked = Asked { position, rule: index, limiter, cost };
            match deciding {
                Deciding::Ready(outcome) => {
                    if let Some(rejected) = self.count(outcome, asked, facts) {
                        return rejected;
                    }
                }
                Deciding::Pending(decide) => return Flow::Waiting(Pending::Limit { decide, asked }),
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
        asked: Asked,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        let (position, next) = (asked.position, asked.rule + 1);
        match self.count(outcome, asked, facts) {
            Some(rejected) => rejected,
            None => self.check_limits(position, next, facts, request),
        }
    }

    /// Takes note of a decision; the rejection if it is one.
    #[inline]
    fn count(&self, outcome: Outcome, asked: Asked, facts: &mut Facts) -> Option<Flow> {
        let Asked { position, rule, limiter, cost } = asked;
        let LimitRule { limiters, refund, .. } = &self.limits(position)[rule];
        match outcome {
            Ok((decision, receipt)) if decision.is_admitted() => {
                if let Some(receipt) = receipt {
                    let counts = limiters[limiter].counts.clone();
                    facts.counted.receipts.push(Counting { receipt, counts, cost, refund: refund.clone() });
                }
                facts.counted.report(decision, position, rule, limiter);
                None
            }
            outcome => Some(self.over_limit(
                outcome.map(|(decision, _)| decision),
                &limiters[limiter],
                position,
                facts,
            )),
        }
    }

    #[cold]
    fn over_limit(
        &self,
        decided: Result<Decision, Undecided>,
        limiter: &Limiter,
        position: Position,
        facts: &mut Facts,
    ) -> Flow {
        for Counting { receipt, counts, .. } in facts.counted.receipts.drain(..) {
            counts.take_back(receipt);
        }
        let category = &limiter.category;
        let (reason, fields) = match decided {
            Ok(decision) => {
                let fields = Fields::new(&decision, facts.now(&*self.clock), category, self.ietf_fields);
                (Reason::RateLimited(over_limit(category, decision)), Some(fields))
            }
            Err(Undecided) => (Reason::LimiterFailed(category.name.clone()), None),
        };
        let mut rejection = Rejection::new(reason);
        rejection.set_key_id(facts.caller.id().copied().filter(|_| position == Position::After));
        Flow::rejected(rejection, fields)
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
    pub(crate) fn settle(&self, counted: Counted, now: Now, status: StatusCode) -> Option<Fields> {
        let (mut decision, position, rule, limiter) = counted.reported?;
        for Counting { receipt, counts, cost, refund } in counted.receipts {
            if refund.is_some_and(|is_due| is_due(status)) {
                if Arc::ptr_eq(&counts, &self.limits(position)[rule].limiters[limiter].counts) {
                    decision.take_back(cost);
                }
                counts.take_back(receipt);
            }
        }
        let category = &self.limits(position)[rule].limiters[limiter].category;
        Some(Fields::new(&decision, now, category, self.ietf_fields))
    }
}

impl Counted {
    /// Callers' limits are reported before those of addresses; among several, the tightest.
    #[inline]
    fn report(&mut self, decision: Decision, position: Position, rule: usize, limiter: usize) {
        let is_looser = self
            .reported
            .as_ref()
            .is_some_and(|(reported, at, ..)| *at == position && reported.weightier(decision) == *reported);
        if !is_looser {
            self.reported = Some((decision, position, rule, limiter));
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.reported.is_none()
    }
}

impl LimitRule {
    /// A route's limiter before a method's, before the one for the rest.
    #[inline]
    fn limiter(&self, request: RequestView<'_>) -> Option<usize> {
        if self.routes.has_method(request.method) {
            if let Some(limiter) = self.routes.find_as_written(request) {
                return Some(*limiter);
            }
        }
        let method = if request.method == Method::HEAD { &Method::GET } else { request.method };
        match self.methods.iter().find(|(listed, _)| listed == method) {
            Some((_, limiter)) => *limiter,
            None => self.otherwise,
        }
    }
}

impl Limiter {
    pub(crate) fn new(counts: Arc<dyn RateLimiter>) -> Self {
        Self { category: counts.describe().clone(), counts }
    }
}

/// The limit stored with the key, if it has one for this category.
#[inline]
fn own_limit(principal: &Principal, category: &str) -> Option<NonZeroU32> {
    principal.record()?.extras.limits.get(category)
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
