//! How a request is decided: the stages run in a row, at once as far as they can, and go on where they had to wait.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;

use http::request;

use super::stage::access;
use super::stage::companion::{Pair, PresentedCompanion};
use super::stage::extraction::Credentials;
use super::stage::limit::{Asked, Counted, LimitRule, Position};
use super::stage::lookup::{Lookups, Presented, Verified};
use super::stage::preflight::is_preflight;
use super::stage::session::PresentedSession;
use crate::address::ClientAddressSource;
use crate::clock::{Clock, Now};
use crate::identity::{Authentication, Caller, Principal, Selection, SessionAuthenticator};
use crate::key::Peppers;
use crate::limit::{Fields, MemoryRateLimiter, PendingDecision};
use crate::outcome::LastUse;
use crate::rejection::{Reason, Rejection};
use crate::request::RequestView;
use crate::route::{Access, RouteTable};
use crate::scope::ScopeRequirement;
use crate::store::{FindResult, Lookup, PendingLookup};

/// Everything that the checks are configured with. Knows nothing of bodies, services and error formats.
pub(crate) struct Checks {
    pub(crate) credentials: Credentials,
    pub(crate) lookups: Lookups,
    pub(crate) sessions: Option<Arc<dyn SessionAuthenticator>>,
    pub(crate) peppers: Peppers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) client_address: Option<ClientAddressSource>,
    /// Counts bad credentials.
    pub(crate) throttle: Option<Arc<MemoryRateLimiter>>,
    pub(crate) address_limits: Vec<LimitRule>,
    pub(crate) limits: Vec<LimitRule>,
    pub(crate) ietf_fields: bool,
    pub(crate) organization: Option<Selection>,
    pub(crate) access: Option<RouteTable<Access>>,
    /// Whether a rule of the table is for requests without a credential.
    pub(crate) has_public_routes: bool,
    /// Finds parameters of routes where there is no table.
    pub(crate) no_routes: RouteTable<Access>,
    pub(crate) allows_anonymous: bool,
    pub(crate) passes_cors_preflight: bool,
    pub(crate) last_use: Option<LastUse>,
}

/// Which of the stages a layer runs.
#[derive(Clone, Debug)]
pub(crate) enum Stages {
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
pub(crate) struct Facts {
    stages: Stages,
    pub(crate) caller: Caller,
    now: Option<Now>,
    pub(crate) counted: Counted,
    /// Whether something was presented as a credential, good or not.
    pub(crate) is_presented: bool,
    /// Whether shared caches have to be told to keep away from the response.
    pub(crate) is_private: bool,
    /// Whether the request's extensions do not say so yet.
    pub(crate) is_changed: bool,
}

/// How far a request has got.
pub(crate) enum Flow {
    Accepted,
    Rejected(Box<Rejected>),
    Waiting(Pending),
}

/// A rejected request, with what its response says about the limit that rejected it.
pub(crate) struct Rejected {
    pub(crate) rejection: Rejection,
    pub(crate) fields: Option<Fields>,
}

/// What a request has to wait for, and what is needed to go on.
pub(crate) enum Pending {
    Lookup { find: PendingLookup, presented: Presented, client: Result<Option<std::net::IpAddr>, Reason> },
    Refresh { presented: Presented, verified: Verified },
    Pair(Box<PendingPair>),
    RefreshPair(Box<(Pair, Presented, PresentedCompanion)>),
    Session(PresentedSession),
    Limit { decide: PendingDecision, asked: Asked },
}

/// The lookups of a key and its companion.
type PendingPair =
    ((Lookup, Lookup), Presented, PresentedCompanion, Result<Option<std::net::IpAddr>, Reason>);

impl Facts {
    #[inline]
    pub(crate) fn new(stages: Stages) -> Self {
        Self {
            stages,
            caller: Caller::Anonymous,
            now: None,
            counted: Counted::default(),
            is_presented: false,
            is_private: false,
            is_changed: false,
        }
    }

    /// The one reading of the clock for this request.
    #[inline]
    pub(crate) fn now(&mut self, clock: &dyn Clock) -> Now {
        *self.now.get_or_insert_with(|| clock.now())
    }

    /// Whether this layer meters calls, and not one outside it.
    pub(crate) fn meters(&self) -> bool {
        matches!(self.stages, Stages::All | Stages::Authenticate)
    }

    /// Whether this layer has nothing but limits by client address.
    pub(crate) fn is_of_addresses(&self) -> bool {
        matches!(self.stages, Stages::AddressLimits)
    }

    /// What the services inside learn of the caller.
    #[inline]
    pub(crate) fn take_authentication(&mut self, clock: &dyn Clock) -> Option<Authentication> {
        if !self.is_changed {
            return None;
        }
        let now = self.now(clock);
        let caller = std::mem::replace(&mut self.caller, Caller::Anonymous);
        Some(Authentication { caller, now })
    }
}

impl Flow {
    #[cold]
    pub(crate) fn rejected(rejection: Rejection, fields: Option<Fields>) -> Self {
        Self::Rejected(Box::new(Rejected { rejection, fields }))
    }
}

impl From<Rejection> for Flow {
    #[cold]
    fn from(rejection: Rejection) -> Self {
        Self::rejected(rejection, None)
    }
}

impl Checks {
    /// Runs the stages from the first one on.
    #[inline]
    pub(crate) fn start(self: &Arc<Self>, facts: &mut Facts, request: RequestView<'_>) -> Flow {
        match facts.stages {
            Stages::All if self.passes_cors_preflight && is_preflight(request) => {
                facts.is_changed = true;
                Flow::Accepted
            }
            Stages::All if self.address_limits.is_empty() => self.authenticate(facts, request),
            Stages::All | Stages::AddressLimits => self.check_limits(Position::Before, 0, facts, request),
            Stages::Authenticate if self.passes_cors_preflight && is_preflight(request) => {
                self.accept(facts, request)
            }
            Stages::Authenticate => self.authenticate(facts, request),
            Stages::Limits | Stages::Authorize | Stages::Require(_) => self.start_inside(facts, request),
        }
    }

    /// The same for a layer that stands inside of authentication.
    fn start_inside(self: &Arc<Self>, facts: &mut Facts, request: RequestView<'_>) -> Flow {
        let Some(Authentication { caller, now }) = Authentication::of(request.extensions).cloned() else {
            let missing = match facts.stages {
                Stages::Limits => {
                    "`rate_limit` needs `authenticate` outside it: add that layer later to an axum router, or \
                     earlier to a ServiceBuilder; or use `layer` in place of both"
                }
                Stages::Authorize => {
                    "`authorize` needs `authenticate` outside it: add that layer later to an axum router, \
                     or earlier to a ServiceBuilder; or use `layer` in place of both"
                }
                _ => {
                    "`require` needs `layer` or `authenticate` outside it: add that one later to an axum router, or earlier \
                     to a ServiceBuilder"
                }
            };
            return Rejection::new(Reason::Misconfigured(missing)).into();
        };
        (facts.caller, facts.now) = (caller, Some(now));
        match facts.stages {
            Stages::Limits => self.check_limits(Position::After, 0, facts, request),
            _ => self.after_limits(facts, request),
        }
    }

    /// Goes on once the limits by client address are decided.
    pub(super) fn after_address_limits(
        self: &Arc<Self>,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        match facts.stages {
            Stages::All => self.authenticate(facts, request),
            _ => Flow::Accepted,
        }
    }

    /// Goes on with a caller whose credential is good, or with a request that needs none.
    #[inline]
    pub(super) fn accept(self: &Arc<Self>, facts: &mut Facts, request: RequestView<'_>) -> Flow {
        facts.is_changed = true;
        match facts.stages {
            Stages::All if self.limits.is_empty() => self.after_limits(facts, request),
            Stages::All => self.check_limits(Position::After, 0, facts, request),
            _ => Flow::Accepted,
        }
    }

    /// Goes on once the limits of the caller are decided.
    #[inline]
    pub(super) fn after_limits(self: &Arc<Self>, facts: &mut Facts, request: RequestView<'_>) -> Flow {
        let decided = match &facts.stages {
            Stages::All | Stages::Authorize => self
                .check_organization(facts, request)
                .and_then(|()| self.check_route(&facts.caller, request)),
            Stages::Require(requirement) => access::check_scope(&facts.caller, requirement),
            Stages::AddressLimits | Stages::Authenticate | Stages::Limits => Ok(()),
        };
        match decided {
            Ok(()) => Flow::Accepted,
            Err(Reason::CredentialMissing) => self.rejected_anonymous(),
            Err(reason) => access::rejection(reason, &facts.caller).into(),
        }
    }

    #[cold]
    fn rejected_anonymous(&self) -> Flow {
        let challenges = self.credentials.challenges.after(None).clone();
        Rejection::new(Reason::CredentialMissing).with_challenges(challenges).into()
    }

    /// Waits for what is pending, and for whatever comes after it. The head of the request comes back with the decision.
    pub(crate) async fn wait(
        self: Arc<Self>,
        mut pending: Pending,
        mut facts: Facts,
        head: request::Parts,
    ) -> (request::Parts, Facts, Result<(), Box<Rejected>>) {
        loop {
            let flow = self.next(pending, &mut facts, &head).await;
            match flow {
                Flow::Waiting(next) => pending = next,
                Flow::Accepted => return (head, facts, Ok(())),
                Flow::Rejected(rejected) => return (head, facts, Err(rejected)),
            }
        }
    }

    async fn next(self: &Arc<Self>, pending: Pending, facts: &mut Facts, head: &request::Parts) -> Flow {
        match pending {
            Pending::Lookup { find, presented, client } => {
                let found = match contain(find).await {
                    Ok(found) => found,
                    Err(Panicked) => return self.panicked(),
                };
                self.found(found, presented, || client, facts, RequestView::of_parts(head))
            }
            Pending::Refresh { presented, verified } => {
                let now = facts.now(&*self.clock);
                let scheme = presented.scheme;
                match contain(self.refreshed(&presented, verified, now)).await {
                    Ok(record) => {
                        let principal = Principal::new(record, scheme);
                        self.authenticated(principal, facts, RequestView::of_parts(head))
                    }
                    Err(Panicked) => self.panicked(),
                }
            }
            Pending::Pair(pair) => {
                let ((key, other), presented, companion, client) = *pair;
                let both = async { (key.await, other.await) };
                let found: (FindResult, FindResult) = match contain(both).await {
                    Ok(found) => found,
                    Err(Panicked) => return self.panicked(),
                };
                self.pair_found(found, presented, companion, || client, facts, RequestView::of_parts(head))
            }
            Pending::RefreshPair(pair) => {
                let (pair, key, companion) = *pair;
                let now = facts.now(&*self.clock);
                match contain(self.refreshed_pair(pair, &key, &companion, now)).await {
                    Ok(principal) => self.authenticated(principal, facts, RequestView::of_parts(head)),
                    Err(Panicked) => self.panicked(),
                }
            }
            Pending::Session(presented) => {
                let Some(sessions) = &self.sessions else { return self.panicked() };
                match contain(sessions.authenticate(&presented.token)).await {
                    Ok(found) => self.session_found(found, presented, facts, RequestView::of_parts(head)),
                    Err(Panicked) => self.panicked(),
                }
            }
            Pending::Limit { decide, asked } => {
                let outcome = decide.await;
                self.limit_decided(outcome, asked, facts, RequestView::of_parts(head))
            }
        }
    }

    fn panicked(&self) -> Flow {
        let challenges = self.credentials.challenges.after(None).clone();
        Rejection::new(Reason::StorePanicked).with_challenges(challenges).into()
    }

    /// Whether a router outside would add the methods of a route to a rejection.
    pub(crate) fn hides_methods(&self) -> bool {
        self.no_routes.is_matched_by_router()
    }
}

struct Panicked;

/// Runs code of the application: a store that panics is answered like one that fails.
async fn contain<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => std::task::Poll::Ready(Err(Panicked)),
    })
    .await
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks")
            .field("challenges", &self.credentials.challenges)
            .field("access", &self.access)
            .field("organization", &self.organization)
            .finish_non_exhaustive()
    }
}
