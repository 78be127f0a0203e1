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
    Waiting(Waiting),
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
    pub(super) category: Arc<Category>,
    pub(super) fields: Fields,
    /// Kept where it may be given back.
    pub(super) permit: Option<(Receipt, Arc<dyn RateLimiter>, Arc<RefundFn>)>,
}

/// A request that may not, with what its answer says of the limit.
pub(super) struct Refused {
    rejection: Rejection,
    fields: Option<(Arc<Category>, Fields)>,
}

/// Whom to count a request for.
struct Caller<'r> {
    subject: Subject,
    id: Option<KeyId>,
    /// None of a session for which no organization was found yet: nothing is stored with sessions anyway.
    principal: Option<&'r Principal>,
    now: Now,
}

impl Classifier {
    pub(super) fn check(&self, request: RequestView<'_>) -> Step {
        let Some(limiter) = self.limiter(request) else { return Step::Decided(Ok(None)) };
        let caller = match self.caller(request) {
            Ok(Some(caller)) => caller,
            Ok(None) => return Step::Decided(Ok(None)),
            Err(refused) => return Step::Decided(Err(refused)),
        };
        let charge = Charge {
            limit_override: caller
                .principal
                .and_then(|principal| own_limit(principal, &limiter.category.name)),
            cost: self.cost.as_ref().map_or(1, |cost| cost(request)),
            now: caller.now,
        };
        let key_id = caller.id;
        match limiter.counts.decide_now(&caller.subject, charge) {
            Poll::Ready(outcome) => {
                Step::Decided(self.verdict(limiter, key_id, caller.now, outcome).map(Some))
            }
            Poll::Pending => {
                let asked = Asked { limiter: limiter.clone(), key_id, now: caller.now };
                Step::Waiting(Waiting { deciding: limiter.counts.decide(caller.subject, charge), asked })
            }
        }
    }

    /// What follows from the decision of a limiter that was waited for.
    pub(super) fn judge(&self, asked: &Asked, outcome: Outcome) -> Result<Counted, Box<Refused>> {
        self.verdict(&asked.limiter, asked.key_id, asked.now, outcome)
    }

    fn verdict(
        &self,
        limiter: &Limiter,
        key_id: Option<KeyId>,
        now: Now,
        outcome: Outcome,
    ) -> Result<Counted, Box<Refused>> {
        let (reason, fields) = match outcome {
            Ok((decision, receipt)) => {
                let fields = Fields { decision, now, ietf: self.ietf };
                let category = &limiter.category;
                if decision.is_admitted() {
                    let refunded = receipt.zip(self.refund.as_ref());
                    let permit =
                        refunded.map(|(receipt, refund)| (receipt, limiter.counts.clone(), refund.clone()));
                    return Ok(Counted { category: category.clone(), fields, permit });
                }
                (Reason::RateLimited(over_limit(category, decision)), Some((category.clone(), fields)))
            }
            Err(Undecided) => (Reason::LimiterFailed(limiter.category.name.clone()), None),
        };
        let mut rejection = Rejection::new(reason);
        rejection.set_key_id(key_id);
        Err(Box::new(Refused { rejection, fields }))
    }

    /// A route's limiter before a method's, before the one for the rest.
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

    /// `None` if nobody is known to be calling, and the host lets that pass.
    fn caller<'r>(&self, request: RequestView<'r>) -> Result<Option<Caller<'r>>, Box<Refused>> {
        let authentication = Authentication::of(request.extensions);
        let now = || authentication.map_or_else(|| self.clock.now(), |authentication| authentication.now);
        if let Counts::Address(source) = &self.counts {
            let PeerAddress(peer) = PeerAddress::from_extensions(request.extensions)
                .ok_or_else(|| misplaced(PeerAddress::MISSING))?;
            let subject = Subject::Address(source.find(peer, request.headers));
            return Ok(Some(Caller { subject, id: None, principal: None, now: now() }));
        }
        let authentication = authentication.ok_or_else(|| {
            misplaced(
                "RateLimitLayer needs AuthenticateLayer outside it: add that one later to an axum router, or \
                 earlier to a ServiceBuilder",
            )
        })?;
        let Some(id) = authentication.caller.id().copied() else { return Ok(None) };
        let principal = authentication.principal();
        let subject = match self.counts {
            Counts::Organization => {
                let Some(principal) = principal.clone().map_err(refused)? else { return Ok(None) };
                let organization = principal.organization().map_or("", |organization| organization.as_str());
                Subject::other(format!("{}:{organization}", principal.mode()))
            }
            _ => Subject::Key(id),
        };
        let principal = principal.unwrap_or_default();
        Ok(Some(Caller { subject, id: Some(id), principal, now: authentication.now }))
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
        if let Some((category, fields)) = self.fields {
            fields.write(&category, response.headers_mut());
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
