//! Which limiter counts a request, for whom, and what it decides. Knows of no bodies and no services.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::fields::Fields;
use super::{Decision, MemoryRateLimiter, Permit, Subject, Verdict};
use crate::address::{ClientAddressSource, PeerAddress};
use crate::clock::{Clock, Now};
use crate::credential::RequestView;
use crate::key::KeyId;
use crate::principal::{Authentication, Principal};
use crate::rejection::{RateLimited, Reason, Rejection};
use crate::route::RouteTable;

/// Everything that is configured.
#[derive(Clone)]
pub(super) struct Classifier {
    pub(super) counts: Counts,
    pub(super) routes: RouteTable<Arc<MemoryRateLimiter>>,
    /// `None` for a method that is not counted.
    pub(super) methods: Vec<(Method, Option<Arc<MemoryRateLimiter>>)>,
    pub(super) otherwise: Arc<MemoryRateLimiter>,
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

/// A request that was counted and may pass.
pub(super) struct Counted {
    pub(super) limiter: Arc<MemoryRateLimiter>,
    pub(super) fields: Fields,
    /// Kept where it may be given back.
    pub(super) permit: Option<(Permit, Arc<RefundFn>)>,
}

/// A request that may not, with what its answer says of the limit.
pub(super) struct Refused {
    pub(super) rejection: Rejection,
    pub(super) fields: Option<(Arc<MemoryRateLimiter>, Fields)>,
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
    /// `None` if the request is not counted.
    pub(super) fn check(&self, request: RequestView<'_>) -> Result<Option<Counted>, Box<Refused>> {
        let Some(limiter) = self.limiter(request) else { return Ok(None) };
        let Some(caller) = self.caller(request)? else { return Ok(None) };
        let own_limit = caller.principal.and_then(|principal| own_limit(principal, limiter));
        let cost = self.cost.as_ref().map_or(1, |cost| cost(request));
        let (decision, permit) = limiter.check(&caller.subject, own_limit, cost, caller.now);
        let permit = permit.zip(self.refund.clone());
        let fields = Fields { decision, now: caller.now, ietf: self.ietf };
        if decision.is_admitted() {
            return Ok(Some(Counted { limiter: limiter.clone(), fields, permit }));
        }
        let mut rejection = Rejection::new(Reason::RateLimited(over_limit(limiter, decision)));
        rejection.set_key_id(caller.id);
        Err(Box::new(Refused { rejection, fields: Some((limiter.clone(), fields)) }))
    }

    /// A route's limiter before a method's, before the one for the rest.
    fn limiter(&self, request: RequestView<'_>) -> Option<&Arc<MemoryRateLimiter>> {
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

impl MemoryRateLimiter {
    /// What this limiter would decide about one more request of `principal`, with nothing counted.
    pub fn peek_for(&self, principal: &Principal, now: Now) -> Decision {
        self.peek(&Subject::Key(*principal.key_id()), own_limit(principal, self), 1, now)
    }
}

/// The limit stored with the key, if it has one for this category.
fn own_limit(principal: &Principal, limiter: &MemoryRateLimiter) -> Option<NonZeroU32> {
    principal.record()?.limits.get(limiter.category())
}

/// What is told of a denial by `limiter`.
pub(crate) fn over_limit(limiter: &MemoryRateLimiter, decision: Decision) -> RateLimited {
    RateLimited {
        category: limiter.shared_category(),
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
