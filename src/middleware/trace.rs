//! Why a request would be accepted or rejected.

use std::sync::Arc;

#[cfg(feature = "console")]
use http::HeaderName;
use http::request;

use super::ApiKeys;
use super::checks::Checks;
use super::facts::{Facts, Flow, Stages};
use super::limit_rule::Position;
use super::stage::access;
use super::stage::preflight::is_preflight;
use crate::identity::Principal;
use crate::key::{KeyId, KeyRecord};
use crate::manage::ManageError;
use crate::rejection::{Check, Reason, Rejection};
use crate::request::RequestView;
use crate::store::KeySelector;

/// How an assembly would decide about a request, from [`ApiKeys::explain`].
#[derive(Debug)]
pub struct Trace {
    rejection: Option<Rejection>,
    principal: Option<Principal>,
    /// Whether a limit by client address rejects the request, before all other checks.
    is_first: bool,
}

/// How far a request has come with one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The check has no objection, or is not configured.
    Passed,
    /// The check rejects the request.
    Rejected,
    /// An earlier check has rejected it.
    NotReached,
}

impl Trace {
    /// The checks in their order, with how far the request has come.
    pub fn steps(&self) -> impl Iterator<Item = (Check, Step)> + '_ {
        Check::ALL.into_iter().map(|check| (check, self.step(check)))
    }

    fn step(&self, check: Check) -> Step {
        let Some(rejection) = &self.rejection else { return Step::Passed };
        match rejection.check() {
            Some(last) if check == last => Step::Rejected,
            Some(last) if check < last && !self.is_first => Step::Passed,
            _ => Step::NotReached,
        }
    }

    /// Why the request would be rejected; `None` if it would be accepted. Its check is `None` if the assembly lacks something.
    pub fn rejection(&self) -> Option<&Rejection> {
        self.rejection.as_ref()
    }

    /// The caller, as far as it is known: also that of a request which is rejected after authentication.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }
}

impl<F> ApiKeys<F> {
    /// Why [`layer`](Self::layer) would accept or reject a request now: for the operator, who asks for a customer.
    ///
    /// It has no effect. No limit and no bad credential is counted, no last use is noted, no secret comes into use, no digest
    /// is replaced, and nothing is metered or logged as a request. The store, shared limits, and a session authenticator are
    /// asked, and an [imported hash](crate::ApiKeysBuilder::verify_imported) is verified.
    ///
    /// What a limit would decide is that of its shared count: of leases from Redis in this process
    /// nothing is known. A [stored quota](crate::limit#stored-quotas) gives back this process's lease.
    ///
    /// The request has to be as it comes to the layer, with the [address of its peer](crate::address::PeerAddress), if the
    /// assembly asks for that. Limits are those that this process knows.
    ///
    /// ```
    /// use http::Request;
    /// use tower_api_keys::middleware::Step;
    /// use tower_api_keys::rejection::Check;
    /// # use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, NewKey};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("POST", "/invoices", "invoice:create")
    ///     .build()?;
    /// let key = keys.manager().create_for("org_1", NewKey::new("Reader").scope("invoice:read")).await?;
    ///
    /// let request = Request::post("/invoices").header("x-api-key", key.secret.expose_secret()).body(())?;
    /// let trace = keys.explain(&request.into_parts().0).await;
    /// assert_eq!(trace.steps().last(), Some((Check::Access, Step::Rejected)));
    /// assert_eq!(trace.rejection().map(|rejection| rejection.reason().code()), Some("scope_missing"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn explain(&self, request: &request::Parts) -> Trace {
        self.checks().explain(request, None).await
    }

    /// The same for a request as if it came with the secret in use of this key, which nobody has to know: in the first place where
    /// only keys can be, or in the first one, if sessions can be in each. A credential that it carries is not looked at; a
    /// [companion](crate::credential::Companions) is.
    ///
    /// ```
    /// use http::Request;
    /// # use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, NewKey};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("POST", "/invoices", "invoice:create")
    ///     .build()?;
    /// let key = keys.manager().create_for("org_1", NewKey::new("Reader").scope("invoice:read")).await?;
    ///
    /// let request = Request::post("/invoices").body(())?;
    /// let trace = keys.explain_key(&key.key.id, &request.into_parts().0).await?;
    /// assert_eq!(trace.rejection().map(|rejection| rejection.reason().code()), Some("scope_missing"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound) if there is no such key, [`Store`](ManageError::Store) if it can't be read.
    pub async fn explain_key(&self, id: &KeyId, request: &request::Parts) -> Result<Trace, ManageError> {
        self.checks().explain_key(id, request).await
    }
}

/// Explains for a view that knows no error format.
#[cfg(feature = "console")]
pub(crate) struct Explainer(Arc<Checks>);

#[cfg(feature = "console")]
impl Explainer {
    pub(crate) fn new<F>(keys: &ApiKeys<F>) -> Self {
        Self(keys.checks().clone())
    }

    pub(crate) async fn explain_key(
        &self,
        id: &KeyId,
        request: &request::Parts,
    ) -> Result<Trace, ManageError> {
        self.0.explain_key(id, request).await
    }

    /// The header field in which requests name their organization.
    pub(crate) fn organization_header(&self) -> Option<&HeaderName> {
        self.0.organization_header()
    }
}

impl Checks {
    async fn explain_key(
        self: &Arc<Self>,
        id: &KeyId,
        request: &request::Parts,
    ) -> Result<Trace, ManageError> {
        let selector = KeySelector::Id(id);
        let found = selector.checked(self.lookups.store().find(selector).await)?;
        let record = found.ok_or(ManageError::NotFound)?;
        Ok(self.explain(request, Some(&record)).await)
    }

    async fn explain(self: &Arc<Self>, request: &request::Parts, key: Option<&KeyRecord>) -> Trace {
        let mut facts = Facts::new(Stages::Explain);
        let mut is_first = false;
        let decided = self.decide(&mut facts, request, key, &mut is_first).await;
        Trace { rejection: decided.err(), principal: facts.caller.principal().cloned(), is_first }
    }

    async fn decide(
        self: &Arc<Self>,
        facts: &mut Facts,
        head: &request::Parts,
        key: Option<&KeyRecord>,
        is_first: &mut bool,
    ) -> Result<(), Rejection> {
        let (checks, request) = (self, RequestView::of_parts(head));
        if checks.passes_cors_preflight && is_preflight(request) {
            return Ok(());
        }
        if let Err(reason) = checks.look_at_limits(Position::Before, facts, request).await {
            *is_first = true;
            return Err(Rejection::new(reason));
        }
        let mut flow = match key {
            None => checks.start(facts, request),
            Some(record) => checks.authenticate_as(record, facts, request),
        };
        loop {
            flow = match flow {
                Flow::Accepted => break,
                Flow::Rejected(rejection) => return Err(rejection),
                Flow::Waiting(pending) => checks.next(pending, facts, head).await,
            };
        }
        if let Err(reason) = checks.look_at_limits(Position::After, facts, request).await {
            let mut rejection = Rejection::new(reason);
            rejection.set_key_id(facts.caller.id().copied());
            return Err(rejection);
        }
        let decided = checks.check_organization(facts, request);
        decided.and_then(|()| checks.check_route(&facts.caller, request)).map_err(|reason| match reason {
            Reason::CredentialMissing => Rejection::new(reason),
            reason => access::rejection(reason, &facts.caller),
        })
    }
}
