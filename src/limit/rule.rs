use std::fmt;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::{MemoryRateLimiter, Quota};
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
    pub(crate) routes: Vec<(Method, String, usize)>,
    pub(crate) cost: Option<Arc<CostFn>>,
    pub(crate) refund: Option<Arc<RefundFn>>,
    /// Invalid settings, reported when the layer is built.
    pub(crate) faults: Vec<String>,
}

/// Which requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubjectKind {
    Key,
    Organization,
    Address,
}

pub(crate) type CostFn = dyn Fn(RequestView<'_>) -> u32 + Send + Sync;
pub(crate) type RefundFn = dyn Fn(StatusCode) -> bool + Send + Sync;

impl RateLimit {
    /// Counts the requests of each caller: each key, and each person with a [session](crate::identity::Session).
    ///
    /// `category` names what is counted, and is visible to clients. `quota` is one quota, or an array of at most 4,
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

    fn new(subject: SubjectKind, category: Arc<str>, quotas: Vec<Quota>) -> Self {
        let mut rule = Self {
            subject,
            categories: Vec::new(),
            counts_otherwise: true,
            methods: Vec::new(),
            routes: Vec::new(),
            cost: None,
            refund: None,
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
        self.route_of(method, pattern.into(), category);
        self
    }

    /// Counts requests to this route and to other routes added like this, and nothing else.
    pub fn only_route(mut self, method: impl TryInto<Method>, pattern: impl Into<String>) -> Self {
        self.counts_otherwise = false;
        self.route_of(method, pattern.into(), 0);
        self
    }

    /// Sets the cost of a request, in place of 1.
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

    /// The category of this name, added if missing.
    fn category(&mut self, name: Arc<str>, quotas: Vec<Quota>) -> usize {
        if let Some(index) = self.categories.iter().position(|(other, _)| *other == name) {
            if self.categories[index].1 != quotas {
                self.faults.push(format!("category {name:?} has two different quotas"));
            }
            return index;
        }
        if !(1..=MemoryRateLimiter::MAX_QUOTAS).contains(&quotas.len()) {
            self.faults
                .push(format!("category {name:?} needs 1 to {} quotas", MemoryRateLimiter::MAX_QUOTAS));
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

    fn route_of(&mut self, method: impl TryInto<Method>, pattern: String, category: usize) {
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
            .field("subject", &self.subject)
            .field("categories", &self.categories)
            .field("methods", &self.methods)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
