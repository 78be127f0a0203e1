use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};

use super::limiter::fault_of;
use super::{Quota, Subject};
use crate::identity::Principal;
use crate::request::RequestView;

/// A limit on requests: which requests are counted together, in which categories, and how many are accepted.
///
/// Each request is counted in one category of the rule: that of its route, otherwise that of its method, otherwise
/// the first one.
///
/// ```
/// use tower_api_keys::{Quota, RateLimit};
///
/// // For each key: 1000 reads a minute, 50 runs an hour, 100 of anything else.
/// let by_key = RateLimit::per_key("write", Quota::per_minute(100)?)
///     .methods(["GET"], "read", Quota::per_minute(1_000)?)
///     .route("POST", "/workflows/{id}/run", "run", Quota::per_hour(50)?);
///
/// // For each client address, before authentication, so that it limits guesses at keys, too.
/// let by_address = RateLimit::per_address("address", Quota::per_minute(5_000)?);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// Several rules, with [`ApiKeysBuilder::limit`](crate::ApiKeysBuilder::limit) for each, are decided together: a request is
/// counted by all of them, or by none. Those by address are decided on their own, before the caller is known. By default they count in the memory of this process;
/// [`limiters`](crate::ApiKeysBuilder::limiters) and `shared_limits` (feature `redis`) count otherwise.
#[derive(Clone)]
#[must_use]
pub struct RateLimit {
    pub(crate) subject: SubjectKind,
    /// Name and quotas. The first one counts all requests that no other category counts.
    pub(crate) categories: Vec<(Arc<str>, Vec<Quota>)>,
    pub(crate) counts_otherwise: bool,
    pub(crate) methods: Vec<(Method, Option<usize>)>,
    pub(crate) routes: Vec<(Method, String, Option<usize>)>,
    pub(crate) cost: Option<Arc<CostFn>>,
    pub(crate) refund: Option<Arc<RefundFn>>,
    pub(crate) limit_for: Option<Arc<LimitFn>>,
    pub(crate) is_charged: bool,
    pub(crate) charge: Option<Arc<ChargeFn>>,
    pub(crate) is_shadow: bool,
    /// Invalid settings, reported when the layer is built.
    pub(crate) faults: Vec<String>,
}

/// Which requests are counted together.
#[derive(Clone)]
pub(crate) enum SubjectKind {
    Key,
    Organization,
    Address,
    /// Those of callers for which the application names the same subject.
    Named(Arc<SubjectFn>),
}

pub(crate) type SubjectFn = dyn Fn(RequestView<'_>, &Principal) -> Option<Subject> + Send + Sync;
/// The limit of a caller, if it is known, in a category.
pub(crate) type LimitFn = dyn Fn(Option<&Principal>, &str) -> Option<NonZeroU32> + Send + Sync;
/// The cost that is known from a response.
pub(crate) type ChargeFn = dyn Fn(StatusCode, &HeaderMap) -> u64 + Send + Sync;

pub(crate) type CostFn = dyn Fn(RequestView<'_>) -> u32 + Send + Sync;
pub(crate) type RefundFn = dyn Fn(StatusCode) -> bool + Send + Sync;

impl RateLimit {
    /// Counts the requests of each caller: each key, and each person with a [session](crate::identity::Session).
    ///
    /// `category` names what is counted, and is visible to clients: in header fields, characters other than visible ASCII
    /// and spaces are question marks. `quota` is one quota, or an array of at most 4,
    /// all of which apply. A limit [stored with a key](crate::key::Extras::limits) replaces that of the first. Anonymous
    /// requests are not counted.
    pub fn per_key(category: impl Into<Arc<str>>, quota: impl Into<Vec<Quota>>) -> Self {
        Self::new(SubjectKind::Key, category.into(), quota.into())
    }

    /// Counts the requests of each organization, live and test separately, for all its keys together, whatever limits are
    /// stored with them. A key of the system is counted alone. Otherwise like [`per_key`](Self::per_key).
    pub fn per_organization(category: impl Into<Arc<str>>, quota: impl Into<Vec<Quota>>) -> Self {
        Self::new(SubjectKind::Organization, category.into(), quota.into())
    }

    /// Counts the requests of each client address, before authentication. Needs
    /// [`client_address`](crate::ApiKeysBuilder::client_address).
    pub fn per_address(category: impl Into<Arc<str>>, quota: impl Into<Vec<Quota>>) -> Self {
        Self::new(SubjectKind::Address, category.into(), quota.into())
    }

    /// Counts the requests of callers together for which `subject` names the same [`Subject`]: those of a tenant on one
    /// route, say. `None`, and an anonymous request, are not counted. Asked on each request, so it must be quick.
    ///
    /// ```
    /// use tower_api_keys::limit::Subject;
    /// use tower_api_keys::{Quota, RateLimit};
    ///
    /// let by_region = RateLimit::per("region", Quota::per_second(50)?, |request, principal| {
    ///     let region = request.headers.get("x-region")?.to_str().ok()?;
    ///     Some(Subject::other(format!("{}/{region}", principal.organization()?)))
    /// });
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    ///
    /// Name it from verified data, or together with them as here: what a client chooses alone, it can change with each
    /// request.
    pub fn per(
        category: impl Into<Arc<str>>,
        quota: impl Into<Vec<Quota>>,
        subject: impl Fn(RequestView<'_>, &Principal) -> Option<Subject> + Send + Sync + 'static,
    ) -> Self {
        Self::new(SubjectKind::Named(Arc::new(subject)), category.into(), quota.into())
    }

    fn new(subject: SubjectKind, category: Arc<str>, quotas: Vec<Quota>) -> Self {
        let mut rule = Self {
            subject,
            categories: Vec::new(),
            counts_otherwise: true,
            methods: Vec::new(),
            routes: Vec::new(),
            cost: None,
            refund: None,
            limit_for: None,
            is_charged: false,
            charge: None,
            is_shadow: false,
            faults: Vec::new(),
        };
        rule.category(category, quotas);
        rule
    }

    /// Counts requests with one of these methods in their own category. `HEAD` is counted as `GET`.
    pub fn methods<M>(
        mut self,
        methods: impl IntoIterator<Item = M>,
        category: impl Into<Arc<str>>,
        quota: impl Into<Vec<Quota>>,
    ) -> Self
    where
        M: TryInto<Method>,
    {
        let category = self.category(category.into(), quota.into());
        for method in methods {
            self.method(method, Some(category));
        }
        self
    }

    /// Does not count requests with this method.
    pub fn without_method(mut self, method: impl TryInto<Method>) -> Self {
        self.method(method, None);
        self
    }

    /// Counts requests to one route in its own category, regardless of its method's category. Several routes can
    /// share a category: repeat its name and quota.
    pub fn route(
        mut self,
        method: impl TryInto<Method>,
        pattern: impl Into<String>,
        category: impl Into<Arc<str>>,
        quota: impl Into<Vec<Quota>>,
    ) -> Self {
        let category = self.category(category.into(), quota.into());
        self.route_of(method, pattern.into(), Some(category));
        self
    }

    /// Does not count requests to this route: the one where callers see what is left, say.
    pub fn without_route(mut self, method: impl TryInto<Method>, pattern: impl Into<String>) -> Self {
        self.route_of(method, pattern.into(), None);
        self
    }

    /// Counts requests to this route and to other routes added like this, and nothing else.
    pub fn only_route(mut self, method: impl TryInto<Method>, pattern: impl Into<String>) -> Self {
        self.counts_otherwise = false;
        self.route_of(method, pattern.into(), Some(0));
        self
    }

    /// Sets the cost of a request, in place of 1. One that costs 0 is admitted unless more than the limit is counted.
    pub fn cost(mut self, cost: impl Fn(RequestView<'_>) -> u32 + Send + Sync + 'static) -> Self {
        self.cost = Some(Arc::new(cost));
        self
    }

    /// Refunds the cost of a request if its response has a matching status, for example so that the application's own
    /// failures are not charged to clients.
    ///
    /// ```
    /// # use tower_api_keys::{Quota, RateLimit};
    /// let limit = RateLimit::per_key("requests", Quota::per_minute(100)?)
    ///     .refund(|status| status.is_server_error());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn refund(mut self, refund: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.refund = Some(Arc::new(refund));
        self
    }

    /// Asks `limit` for the limit of a caller in a category, in place of that of its first quota: plans, or limits that
    /// change while the application runs. `None` leaves the quota's. What was counted stays counted.
    ///
    /// A limit [stored with a key](crate::key::Extras::limits) goes before it, where [each key](Self::per_key) is counted. The
    /// principal is `None` where it is not known: for an address, and for a person whose organization is found later. Asked on
    /// each request, so it must be quick.
    ///
    /// A key that a person makes in a [session](crate::identity::Session) has no [metadata](crate::key::Metadata) of its own. Where
    /// people do, look the plan up by [organization](Principal::organization) instead.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// use serde::Deserialize;
    /// use tower_api_keys::{Quota, RateLimit};
    ///
    /// // A plan, stored with the key as its metadata.
    /// #[derive(Clone, Deserialize)]
    /// struct Plan {
    ///     requests: NonZeroU32,
    /// }
    ///
    /// # #[cfg(feature = "json")]
    /// let by_plan = RateLimit::per_organization("plan", Quota::per_minute(500)?)
    ///     .limit_for(|principal, _| Some(principal?.metadata::<Plan>().ok()?.requests));
    ///
    /// // One for everybody that the operator can change.
    /// let current = Arc::new(AtomicU32::new(1_000));
    /// let changing = current.clone();
    /// let for_all = RateLimit::per_key("requests", Quota::per_minute(1_000)?)
    ///     .limit_for(move |_, _| NonZeroU32::new(changing.load(Ordering::Relaxed)));
    /// current.store(200, Ordering::Relaxed);
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    pub fn limit_for(
        mut self,
        limit: impl Fn(Option<&Principal>, &str) -> Option<NonZeroU32> + Send + Sync + 'static,
    ) -> Self {
        self.limit_for = Some(Arc::new(limit));
        self
    }

    /// Replaces the cost of a request, once its response is ready, by what its handler has added to its
    /// [`Charge`](super::Charge): tokens, bytes, rows. Nothing, if it has added nothing. Until then the request costs what
    /// [`cost`](Self::cost) says, or 1.
    ///
    /// A request that ends without a response costs the larger of both. What is charged is counted also past the limit, so in
    /// any window at most the limit, and what was under way when it was reached.
    pub fn charged(mut self) -> Self {
        self.is_charged = true;
        self
    }

    /// [`charged`](Self::charged), and also for what `cost` finds in the head of the response.
    ///
    /// ```
    /// # use tower_api_keys::{Quota, RateLimit};
    /// let tokens = RateLimit::per_key("tokens", Quota::per_minute(100_000)?).charge(|_, headers| {
    ///     let tokens = headers.get("x-tokens").and_then(|tokens| tokens.to_str().ok());
    ///     tokens.and_then(|tokens| tokens.parse().ok()).unwrap_or(0)
    /// });
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    pub fn charge(mut self, cost: impl Fn(StatusCode, &HeaderMap) -> u64 + Send + Sync + 'static) -> Self {
        self.charge = Some(Arc::new(cost));
        self.charged()
    }

    /// Counts and decides, but rejects nothing: to try a limit before it bites. What it would have rejected is an event in the
    /// log (feature `tracing`), with the code `rate_limit_would_reject`. It writes no fields, but is among
    /// [what is left](crate::ApiKeys::limits_of).
    pub fn shadow(mut self) -> Self {
        self.is_shadow = true;
        self
    }

    /// Whether it counts requests at a time.
    pub(crate) fn is_concurrent(&self) -> bool {
        self.categories.iter().flat_map(|(_, quotas)| quotas).any(|quota| quota.is_concurrent())
    }

    /// The category of this name, added if missing.
    fn category(&mut self, name: Arc<str>, quotas: Vec<Quota>) -> usize {
        if let Some(index) = self.categories.iter().position(|(other, _)| *other == name) {
            if self.categories[index].1 != quotas {
                self.faults.push(format!("category {name:?} has two different quotas"));
            }
            return index;
        }
        if let Some(fault) = fault_of(&quotas) {
            self.faults.push(format!("category {name:?}: {fault}"));
        }
        let is_concurrent = |quotas: &[Quota]| quotas.first().is_some_and(|quota| quota.is_concurrent());
        if self.categories.first().is_some_and(|(_, first)| is_concurrent(first) != is_concurrent(&quotas)) {
            self.faults.push(format!("category {name:?}: quotas at a time need a limit of their own"));
        }
        self.categories.push((name, quotas));
        self.categories.len() - 1
    }

    fn method(&mut self, method: impl TryInto<Method>, category: Option<usize>) {
        match method.try_into() {
            Ok(Method::HEAD) => self.faults.push("HEAD is counted as GET".to_owned()),
            Ok(method) if self.methods.iter().any(|(other, _)| *other == method) => {
                self.faults.push(format!("{method} has two categories"));
            }
            Ok(method) => self.methods.push((method, category)),
            Err(_) => self.faults.push("a method is not valid".to_owned()),
        }
    }

    fn route_of(&mut self, method: impl TryInto<Method>, pattern: String, category: Option<usize>) {
        match method.try_into() {
            Ok(method) => self.routes.push((method, pattern, category)),
            Err(_) => self.faults.push(format!("the method of route {pattern} is not valid")),
        }
    }
}

/// Lets a category take one quota, or an array of them.
impl From<Quota> for Vec<Quota> {
    fn from(quota: Quota) -> Self {
        vec![quota]
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("categories", &self.categories)
            .field("methods", &self.methods)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
