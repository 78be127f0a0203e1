//! Which limiter counts a request, for whom, and what it decides. Knows of no bodies and no services.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::Poll;

use http::{Method, Response, StatusCode};

use super::category::Category;
use super::fields::Fields;
use super::limit::{Charge, Deciding, Outcome, Receipt, Undecided};
use super::{Decision, MemoryRateLimiter, RateLimiter, Subject, Verdict};
use crate::address::{ClientAddressSource, PeerAddress};
use crate::clock::{Clock, Now};
use crate::credential::RequestView;
use crate::key::KeyId;
use crate::principal::{Authentication, Principal};
use crate::rejection::{RateLimited, Reason, Rejection, RejectionFormat};
use crate::route::RouteTable;

/// Everything that is configured.
#[derive(Clone)]
pub(super) struct Classifier {
    pub(super) counts: Counts,
    pub(super) routes: RouteTable<Limiter>,
    /// `None` for a method that is not counted.
    pub(super) methods: Vec<(Method, Option<Limiter>)>,
    pub(super) otherwise: Limiter,
    pub(super) cost: Option<Arc<CostFn>>,
    pub(super) refund: Option<Arc<RefundFn>>,
    pub(super) ietf: bool,
    pub(super) clock: Arc<dyn Clock>,
}

type CostFn = dyn Fn(RequestView<'_>) -> u32 + Send + Sync;
type RefundFn = dyn Fn(StatusCode) -> bool + Send + Sync;

/// Whose requests are counted together.
#[derive(Clone, Debug)]
pub(super) enum Counts {
    Key,
    Organization,
    Address(ClientAddressSource),
}

/// A limiter, with what it says of itself at hand, so that a request asks it once only.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    category: Arc<Category>,
    counts: Arc<dyn RateLimiter>,
}

/// How far a check got without waiting. `None` if the request is not counted.
pub(super) enum Step {
    Decided(Result<Option<Counted>, Box<Refused>>),
    Waiting(Box<Waiting>),
}

/// A limiter that has yet to decide.
pub(super) struct Waiting {
    pub(super) deciding: Deciding,
    pub(super) asked: Asked,
}

/// Who was asked, about whom.
pub(super) struct Asked {
    limiter: Limiter,
    key_id: Option<KeyId>,
    now: Now,
}

/// A request that was counted and may pass.
pub(super) struct Counted {
    pub(super) fields: Fields,
    /// Where it may have to be taken back.
    pub(super) refund: Option<Box<Refund>>,
}

/// What it takes to take a request back.
pub(super) struct Refund {
    receipt: Receipt,
    limiter: Arc<dyn RateLimiter>,
    is_due: Arc<RefundFn>,
}

/// A request that may not, with what its answer says of the limit.
pub(super) struct Refused {
    rejection: Rejection,
    fields: Option<Fields>,
}

/// Whom to count a request for.
struct Caller<'r> {
    subject: Subject,
    /// None of a session for which no organization was found yet: nothing is stored with sessions anyway. Nor of an
    /// address.
    principal: Option<&'r Principal>,
    now: Now,
}

impl Classifier {
    /// Decides as far as that takes no waiting. Inlined, so that what follows from the decision is written where it
    /// stays: the future of the layer.
    #[inline(always)]
    pub(super) fn check(&self, request: RequestView<'_>) -> Step {
        let Some(limiter) = self.limiter(request) else { return Step::Decided(Ok(None)) };
        // The common case on its own: a subject that is made where it is used is not moved.
        let authentication = Authentication::of(request.extensions);
        if let (Counts::Key, Some(authentication)) = (&self.counts, authentication)
            && let Some(id) = authentication.caller.id()
        {
            let principal = authentication.caller.principal();
            return self.decide(limiter, &Subject::Key(*id), principal, authentication.now, request);
        }
        match self.caller(authentication, request) {
            Ok(Some(Caller { subject, principal, now })) => {
                self.decide(limiter, &subject, principal, now, request)
            }
            Ok(None) => Step::Decided(Ok(None)),
            Err(refused) => Step::Decided(Err(refused)),
        }
    }

    #[inline(always)]
    fn decide(
        &self,
        limiter: &Limiter,
        subject: &Subject,
        principal: Option<&Principal>,
        now: Now,
        request: RequestView<'_>,
    ) -> Step {
        let charge = Charge {
            limit_override: principal.and_then(|principal| own_limit(principal, &limiter.category.name)),
            cost: self.cost.as_ref().map_or(1, |cost| cost(request)),
            now,
            refundable: self.refund.is_some(),
        };
        match limiter.counts.decide_now(subject, charge) {
            Poll::Ready(Ok((decision, receipt))) if decision.is_admitted() => {
                let refund = receipt.and_then(|receipt| self.refund(limiter, receipt));
                let fields = Fields::new(&decision, now, &limiter.category, self.ietf);
                Step::Decided(Ok(Some(Counted { fields, refund })))
            }
            Poll::Ready(outcome) => {
                let decided = outcome.map(|(decision, _)| decision);
                Step::Decided(Err(self.refused(limiter, self.key_id(request), now, decided)))
            }
            Poll::Pending => {
                let deciding = limiter.counts.decide(subject.clone(), charge);
                let asked = Asked { limiter: limiter.clone(), key_id: self.key_id(request), now };
                Step::Waiting(Box::new(Waiting { deciding, asked }))
            }
        }
    }

    /// What follows from the decision of a limiter that was waited for.
    pub(super) fn judge(&self, asked: &Asked, outcome: Outcome) -> Result<Counted, Box<Refused>> {
        let Asked { limiter, key_id, now } = asked;
        match outcome {
            Ok((decision, receipt)) if decision.is_admitted() => {
                let refund = receipt.and_then(|receipt| self.refund(limiter, receipt));
                Ok(Counted { fields: Fields::new(&decision, *now, &limiter.category, self.ietf), refund })
            }
            outcome => Err(self.refused(limiter, *key_id, *now, outcome.map(|(decision, _)| decision))),
        }
    }

    fn refund(&self, limiter: &Limiter, receipt: Receipt) -> Option<Box<Refund>> {
        let is_due = self.refund.clone()?;
        Some(Box::new(Refund { receipt, limiter: limiter.counts.clone(), is_due }))
    }

    #[cold]
    fn refused(
        &self,
        limiter: &Limiter,
        key_id: Option<KeyId>,
        now: Now,
        decided: Result<Decision, Undecided>,
    ) -> Box<Refused> {
        let category = &limiter.category;
        let (reason, fields) = match decided {
            Ok(decision) => {
                let fields = Fields::new(&decision, now, category, self.ietf);
                (Reason::RateLimited(over_limit(category, decision)), Some(fields))
            }
            Err(Undecided) => (Reason::LimiterFailed(category.name.clone()), None),
        };
        let mut rejection = Rejection::new(reason);
        rejection.set_key_id(key_id);
        Box::new(Refused { rejection, fields })
    }

    /// Whom a refusal names: nobody, where addresses are counted.
    fn key_id(&self, request: RequestView<'_>) -> Option<KeyId> {
        match self.counts {
            Counts::Key | Counts::Organization => {
                Authentication::of(request.extensions)?.caller.id().copied()
            }
            Counts::Address(_) => None,
        }
    }

    /// A route's limiter before a method's, before the one for the rest.
    #[inline]
    fn limiter(&self, request: RequestView<'_>) -> Option<&Limiter> {
        if self.routes.has_method(request.method)
            && let Some(limiter) = self.routes.find_as_written(request)
        {
            return Some(limiter);
        }
        let method = if request.method == Method::HEAD { &Method::GET } else { request.method };
        match self.methods.iter().find(|(listed, _)| listed == method) {
            Some((_, limiter)) => limiter.as_ref(),
            None => Some(&self.otherwise),
        }
    }

    /// Whom to count if not the key that calls; `None` if nobody is known to be calling, and the host lets that pass.
    fn caller<'r>(
        &self,
        authentication: Option<&'r Authentication>,
        request: RequestView<'r>,
    ) -> Result<Option<Caller<'r>>, Box<Refused>> {
        match (&self.counts, authentication) {
            (Counts::Address(source), authentication) => self.client(source, authentication, request),
            (_, None) => Err(misplaced(
                "RateLimitLayer needs AuthenticateLayer outside it: add that one later to an axum router, or earlier to a \
                 ServiceBuilder",
            )),
            // Whoever has an identifier has been seen to.
            (Counts::Key, Some(_)) => Ok(None),
            (Counts::Organization, Some(authentication)) => organization(authentication),
        }
    }

    fn client<'r>(
        &self,
        source: &ClientAddressSource,
        authentication: Option<&Authentication>,
        request: RequestView<'r>,
    ) -> Result<Option<Caller<'r>>, Box<Refused>> {
        let PeerAddress(peer) = PeerAddress::from_extensions(request.extensions)
            .ok_or_else(|| misplaced(PeerAddress::MISSING))?;
        let now = authentication.map_or_else(|| self.clock.now(), |authentication| authentication.now);
        let subject = Subject::Address(source.find(peer, request.headers));
        Ok(Some(Caller { subject, principal: None, now }))
    }
}

fn organization(authentication: &Authentication) -> Result<Option<Caller<'_>>, Box<Refused>> {
    let Some(principal) = authentication.principal().map_err(refused)? else { return Ok(None) };
    let organization = principal.organization().map_or("", |organization| organization.as_str());
    let subject = Subject::other(format!("{}:{organization}", principal.mode()));
    Ok(Some(Caller { subject, principal: Some(principal), now: authentication.now }))
}

impl Refund {
    /// Takes the request back if that is what its answer's status calls for.
    pub(super) fn settle(self, status: StatusCode) {
        if (self.is_due)(status) {
            self.limiter.take_back(self.receipt);
        }
    }
}

impl Limiter {
    pub(super) fn new(counts: impl RateLimiter) -> Self {
        Self { category: counts.describe().clone(), counts: Arc::new(counts) }
    }
}

impl Refused {
    pub(super) fn into_response<B>(self, format: &impl RejectionFormat<B>) -> Response<B> {
        let mut response = self.rejection.into_response(format);
        if let Some(fields) = self.fields {
            fields.write(response.headers_mut());
        }
        response
    }
}

impl MemoryRateLimiter {
    /// What this limiter would decide about one more request of `principal`, with nothing counted.
    pub fn peek_for(&self, principal: &Principal, now: Now) -> Decision {
        self.peek(&Subject::Key(*principal.key_id()), own_limit(principal, self.category()), 1, now)
    }
}

/// The limit stored with the key, if it has one for this category.
#[inline]
fn own_limit(principal: &Principal, category: &str) -> Option<NonZeroU32> {
    principal.record()?.extras.limits.get(category)
}

/// What is told of a denial in `category`.
pub(crate) fn over_limit(category: &Category, decision: Decision) -> RateLimited {
    RateLimited {
        category: category.name.clone(),
        limit: decision.limit(),
        window: decision.quota().window(),
        retry_after: (decision.verdict() != Verdict::NeverFits).then(|| decision.reset()),
    }
}

fn misplaced(message: &'static str) -> Box<Refused> {
    refused(Reason::LayerMissing(message))
}

fn refused(reason: Reason) -> Box<Refused> {
    Box::new(Refused { rejection: Rejection::new(reason), fields: None })
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier")
            .field("counts", &self.counts)
            .field("methods", &self.methods)
            .field("otherwise", &self.otherwise)
            .field("ietf", &self.ietf)
            .finish_non_exhaustive()
    }
}
