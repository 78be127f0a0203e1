//! A limit of an assembly, with the limiters that count it.

use std::sync::Arc;

use http::Method;

use crate::limit::{Category, ChargeFn, CostFn, LimitFn, RateLimiter, RefundFn, StoredLimiter, SubjectKind};
use crate::metrics::LimitCounters;
use crate::request::RequestView;
#[cfg(feature = "openapi")]
use crate::route::Route;
use crate::route::RouteTable;

/// Where the limits of a request stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// By client address, before authentication.
    Before,
    /// By caller, after it.
    After,
}

/// A [`RateLimit`](crate::RateLimit) with its limiters.
pub(super) struct LimitRule {
    pub(super) subject: SubjectKind,
    pub(super) limiters: Vec<Limiter>,
    /// How many categories the limits before have, those of callers; `None` for a limit by address.
    pub(super) categories_before: Option<u16>,
    /// Which of the limiters counts a request: by its route, else by its method, else the first.
    pub(super) routes: RouteTable<Option<usize>>,
    pub(super) methods: Vec<(Method, Option<usize>)>,
    pub(super) otherwise: Option<usize>,
    pub(super) cost: Option<Arc<CostFn>>,
    pub(super) limit_for: Option<Arc<LimitFn>>,
    pub(super) is_shadow: bool,
    /// What the response may change about a request that was counted.
    pub(super) settlement: Option<Arc<Settlement>>,
}

pub(super) struct Settlement {
    pub(super) refund: Option<Arc<RefundFn>>,
    /// Whether the cost is replaced by what the request is charged for.
    pub(super) is_charged: bool,
    pub(super) charge: Option<Arc<ChargeFn>>,
    /// Whether requests are counted only while they are under way.
    pub(super) is_in_flight: bool,
}

/// A limiter, with its description, so that no request asks for it.
#[derive(Clone)]
pub(super) struct Limiter {
    pub(super) category: Arc<Category>,
    pub(super) counts: Arc<dyn RateLimiter>,
    /// The same, if a store counts.
    pub(super) stored: Option<StoredLimiter>,
    pub(super) counters: LimitCounters,
}

impl LimitRule {
    /// Whether a response can change what a request has cost.
    pub(super) fn can_change_cost(&self) -> bool {
        self.settlement
            .as_ref()
            .is_some_and(|settlement| settlement.is_charged || settlement.refund.is_some())
    }

    /// The number of a limiter's category, from 1 on, among those of all limits of callers; 0 for a limit by address.
    #[inline]
    pub(super) fn category(&self, limiter: usize) -> u16 {
        self.categories_before.map_or(0, |before| before.saturating_add(1 + limiter as u16))
    }

    /// A route's limiter before a method's, before the one for the rest.
    #[inline(always)]
    pub(super) fn limiter(&self, request: RequestView<'_>) -> Option<usize> {
        if self.routes.has_method(request.method) {
            if let Some(limiter) = self.routes.find_as_written(request) {
                return *limiter;
            }
        }
        self.limiter_of_method(request.method)
    }

    #[inline]
    fn limiter_of_method(&self, method: &Method) -> Option<usize> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        match self.methods.iter().find(|(listed, _)| listed == method) {
            Some((_, limiter)) => *limiter,
            None => self.otherwise,
        }
    }

    /// The same for the requests to a route of one method.
    #[cfg(feature = "openapi")]
    pub(super) fn limiter_of(&self, route: &Route) -> Option<&Limiter> {
        let by_method = || self.limiter_of_method(route.method()?);
        let limiter = self.routes.value_of(route).copied().unwrap_or_else(by_method);
        limiter.map(|limiter| &self.limiters[limiter])
    }
}

impl Limiter {
    pub(super) fn new(counts: Arc<dyn RateLimiter>) -> Self {
        Self { category: counts.describe().clone(), counts, stored: None, counters: LimitCounters::default() }
    }
}
