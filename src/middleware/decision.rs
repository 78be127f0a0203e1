//! How a request is decided: the stages run in a row, at once as far as they can, and go on where they had to wait.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::request;

use super::checks::Checks;
use super::facts::{Facts, Flow, LimiterCall, Pending, PendingLimits, Stages};
use super::limit_rule::Position;
use super::presented::Verified;
use super::stage::access;
use super::stage::limit::Decided;
use super::stage::preflight::is_preflight;
use crate::identity::{Authentication, Caller, SessionAuthenticator};
use crate::rejection::{Reason, Rejection};
use crate::request::RequestView;
use crate::store::FindResult;

impl Checks {
    /// Runs the stages from the first one on.
    #[inline]
    pub(crate) fn start(self: &Arc<Self>, facts: &mut Facts, request: RequestView<'_>) -> Flow {
        if self.passes_cors_preflight && is_preflight(request) {
            facts.is_changed = matches!(facts.stages, Stages::All | Stages::Authenticate);
            return Flow::Accepted;
        }
        match facts.stages {
            Stages::All if self.address_limits.is_empty() => self.authenticate(facts, request),
            Stages::All | Stages::AddressLimits => self.check_limits(Position::Before, facts, request),
            Stages::Authenticate | Stages::Explain => self.authenticate(facts, request),
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
            Stages::Limits => self.check_limits(Position::After, facts, request),
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
            Stages::All => self.check_limits(Position::After, facts, request),
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
            Stages::AddressLimits | Stages::Authenticate | Stages::Limits | Stages::Explain => Ok(()),
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
    ) -> (request::Parts, Facts, Result<(), Rejection>) {
        loop {
            let flow = self.next(pending, &mut facts, &head).await;
            match flow {
                Flow::Waiting(next) => pending = next,
                Flow::Accepted => return (head, facts, Ok(())),
                Flow::Rejected(rejected) => return (head, facts, Err(rejected)),
            }
        }
    }

    pub(super) async fn next(
        self: &Arc<Self>,
        pending: Pending,
        facts: &mut Facts,
        head: &request::Parts,
    ) -> Flow {
        match pending {
            Pending::Lookup { find, presented, client } => {
                let found = match contain(find).await {
                    Ok(found) => found,
                    Err(Panicked) => return self.panicked(),
                };
                self.found(found, presented, || client, facts, RequestView::of_parts(head))
            }
            Pending::Refresh { presented, verified } if facts.is_explained() => {
                let Verified { record, retired_until, .. } = verified;
                facts.caller =
                    Caller::Principal(Verified::principal(record, presented.scheme, retired_until));
                self.accept(facts, RequestView::of_parts(head))
            }
            Pending::Refresh { presented, verified } => {
                let now = facts.now(&*self.clock);
                let (scheme, retired_until) = (presented.scheme, verified.retired_until);
                match contain(self.refreshed(&presented, verified, now)).await {
                    Ok(record) => {
                        facts.caller = Caller::Principal(Verified::principal(record, scheme, retired_until));
                        self.accept(facts, RequestView::of_parts(head))
                    }
                    Err(Panicked) => self.panicked(),
                }
            }
            Pending::Imported { presented, record } => {
                match contain(self.check_imported(presented, record, facts, head)).await {
                    Ok(flow) => flow,
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
                if facts.is_explained() {
                    facts.caller = Caller::Principal(pair.into_principal(&key, &companion));
                    return self.accept(facts, RequestView::of_parts(head));
                }
                let now = facts.now(&*self.clock);
                match contain(self.refreshed_pair(pair, &key, &companion, now)).await {
                    Ok(principal) => {
                        facts.caller = Caller::Principal(principal);
                        self.accept(facts, RequestView::of_parts(head))
                    }
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
            Pending::Limits(position, calls) => match contain(self.join_limits(*calls, facts, head)).await {
                Ok(decided) => self.limits_decided(position, decided, facts, RequestView::of_parts(head)),
                Err(Panicked) => {
                    facts.counted.receipts.take_back(position);
                    self.panicked()
                }
            },
        }
    }

    /// Waits for all limiters at once, so that what they ask of one server goes there together. What one of them has counted
    /// is kept in the facts from then on: the client may hang up while another is waited for.
    async fn join_limits(
        &self,
        mut calls: PendingLimits,
        facts: &mut Facts,
        head: &request::Parts,
    ) -> Vec<(LimiterCall, Decided)> {
        let mut decided = Vec::with_capacity(calls.len());
        poll_fn(|context| {
            calls.retain_mut(|(call, decide)| match decide.as_mut().poll(context) {
                Poll::Ready(outcome) => {
                    decided.push((*call, self.keep(outcome, call, facts, RequestView::of_parts(head))));
                    false
                }
                Poll::Pending => true,
            });
            if calls.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        decided
    }

    fn panicked(&self) -> Flow {
        let challenges = self.credentials.challenges.after(None).clone();
        Rejection::new(Reason::StorePanicked).with_challenges(challenges).into()
    }

    /// Whether routes are those that a router outside has matched.
    pub(crate) fn is_matched_by_router(&self) -> bool {
        self.no_routes.is_matched_by_router()
    }
}

struct Panicked;

/// Runs code of the application: a store that panics is answered like one that fails.
async fn contain<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}
