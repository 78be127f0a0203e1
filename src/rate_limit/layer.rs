use std::fmt;
use std::sync::Arc;

use http::{Method, StatusCode};
use tower_layer::Layer;

use super::classify::{Classifier, Counts, Limiter};
use super::{RateLimit, RateLimiter};
use crate::address::ClientAddressSource;
use crate::clock::{Clock, SystemClock};
use crate::credential::RequestView;
use crate::rejection::ProblemDetails;
use crate::route::InvalidRoute;

/// Limits how many requests each caller makes, by category.
///
/// See the [module docs](crate::rate_limit) for an example.
#[derive(Clone)]
#[must_use]
pub struct RateLimitLayer<R = ProblemDetails> {
    classifier: Arc<Classifier>,
    format: R,
}

impl RateLimitLayer {
    /// Counts requests by the authenticated key. Goes inside [`AuthenticateLayer`](crate::AuthenticateLayer), and refuses
    /// everything with 500 where there is none.
    ///
    /// `otherwise` counts what no other rule names. Requests that were let pass without a credential are not counted
    /// here; to limit those, put a layer [`by_client_address`](Self::by_client_address) outside.
    pub fn by_key(otherwise: impl RateLimiter) -> Self {
        Self::new(Counts::Key, otherwise)
    }

    /// Counts requests by the organization of the authenticated key, live and test apart. Otherwise like
    /// [`by_key`](Self::by_key).
    pub fn by_organization(otherwise: impl RateLimiter) -> Self {
        Self::new(Counts::Organization, otherwise)
    }

    /// Counts requests by the client's address; needs no authentication.
    ///
    /// The peer's address is taken from a [`PeerAddress`](crate::address::PeerAddress) in the request's extensions or, with the
    /// feature `axum`, from axum's `ConnectInfo<SocketAddr>`. Where there is neither, everything is refused with 500.
    pub fn by_client_address(source: ClientAddressSource, otherwise: impl RateLimiter) -> Self {
        Self::new(Counts::Address(source), otherwise)
    }

    fn new(counts: Counts, otherwise: impl RateLimiter) -> Self {
        Self { classifier: Arc::new(Classifier::new(counts, otherwise)), format: ProblemDetails }
    }
}

impl<R> RateLimitLayer<R> {
    fn change(mut self, change: impl FnOnce(&mut Classifier)) -> Self {
        change(Arc::make_mut(&mut self.classifier));
        self
    }

    /// Counts requests with one of these methods in a category of their own. `HEAD` goes with `GET`.
    pub fn with_methods(self, methods: impl IntoIterator<Item = Method>, limiter: impl RateLimiter) -> Self {
        let limiter = Limiter::new(limiter);
        self.change(|to| to.methods.extend(methods.into_iter().map(|method| (method, Some(limiter.clone())))))
    }

    /// Does not count requests with this method.
    pub fn without_limit(self, method: Method) -> Self {
        self.change(|to| to.methods.push((method, None)))
    }

    /// Counts requests to one route in a category of its own, whatever is set for the method.
    ///
    /// # Errors
    ///
    /// [`InvalidRoute`] if the pattern is malformed, or method and pattern have a category already; see
    /// [`RouteTable`](crate::route::RouteTable).
    pub fn with_route(
        mut self,
        method: Method,
        pattern: &str,
        limiter: impl RateLimiter,
    ) -> Result<Self, InvalidRoute> {
        let classifier = Arc::make_mut(&mut self.classifier);
        let routes = std::mem::take(&mut classifier.routes);
        classifier.routes = routes.add(method, pattern, Limiter::new(limiter))?;
        Ok(self)
    }

    /// Asks `cost` what a request costs, in place of 1.
    pub fn with_cost(self, cost: impl Fn(RequestView<'_>) -> u32 + Send + Sync + 'static) -> Self {
        self.change(|to| to.cost = Some(Arc::new(cost)))
    }

    /// Gives back what a request cost if its answer has such a status; for example, so that the host's own failures
    /// are not charged to its clients.
    ///
    /// ```
    /// # use http::StatusCode;
    /// # fn example(layer: tower_api_keys::RateLimitLayer) {
    /// let layer = layer.with_refund(|status: StatusCode| status.is_server_error());
    /// # }
    /// ```
    pub fn with_refund(self, refund: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.change(|to| to.refund = Some(Arc::new(refund)))
    }

    /// Sends the fields `RateLimit-Policy` and `RateLimit` as well (draft-ietf-httpapi-ratelimit-headers-10).
    pub fn with_ietf_fields(self) -> Self {
        self.change(|to| to.ietf = true)
    }

    /// Reads the time from this clock where no authentication layer has read one.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.change(|to| to.clock = Arc::new(clock))
    }

    /// Makes the responses to refused requests with `format`.
    pub fn with_rejection_format<F>(self, format: F) -> RateLimitLayer<F> {
        RateLimitLayer { classifier: self.classifier, format }
    }
}

impl<S, R: Clone> Layer<S> for RateLimitLayer<R> {
    type Service = RateLimit<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, self.classifier.clone(), self.format.clone())
    }
}

impl<R> fmt::Debug for RateLimitLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("classifier", &self.classifier).finish_non_exhaustive()
    }
}

impl Classifier {
    fn new(counts: Counts, otherwise: impl RateLimiter) -> Self {
        Self {
            counts,
            routes: Default::default(),
            methods: Vec::new(),
            otherwise: Limiter::new(otherwise),
            cost: None,
            refund: None,
            ietf: false,
            clock: Arc::new(SystemClock),
        }
    }
}
