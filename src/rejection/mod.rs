//! A refused request: why, and what the client is told.
//!
//! A [`Rejection`] keeps two things apart. Its [`Reason`] is for the host: it goes to the log and, inside the
//! rejection, into the extensions of the response, where an outer layer finds it for metrics. Its [`RejectionKind`]
//! is what the client may know, and decides the status. A [`RejectionFormat`] makes the response from it:
//! [`ProblemDetails`] unless the host says otherwise, [`GrpcStatus`], or a closure.
//!
//! Whatever the format writes, the layers add what no refusal may lack: `Cache-Control: no-store`, a
//! `WWW-Authenticate` challenge for every configured scheme on 401 (unless the host leaves it out), and `Retry-After` on
//! 429 and 503. With the feature `axum` an empty `Allow` too, where nobody is known to be calling: axum writes the
//! methods of a route into every answer to another method that has no such field, and would so tell strangers which
//! routes there are.
//!
//! A refused `HEAD` gets the body as well. axum drops it, and so does HTTP/1.1; a plain hyper service that speaks
//! HTTP/2 has to drop it as it does that of its own answers.
//!
//! A request is refused without its body being read. If that is still on its way, hyper closes an HTTP/1.1 connection after
//! the answer, and over HTTP/2 resets the stream with `NO_ERROR` (RFC 9113 section 8.1), which some clients, curl 7.88
//! among them, now and then take for an error and lose the answer. Clients that authenticate before they send much
//! (`Expect: 100-continue`, a small request first) are not affected.
//!
//! # Finding out why
//!
//! The client is told little. The reason is in the log, with the feature `tracing` and a subscriber: an event
//! of the target `tower_api_keys` for each refusal, `INFO` if the client is to blame and `ERROR` if the host
//! is. The event does not name the method and the path, which are the client's words; a layer that opens a
//! span for each request, such as tower-http's `TraceLayer`, does if it stands outside. Without `tracing` the
//! reason is in the response's extensions.
//!
//! | status | reason | look at |
//! |---|---|---|
//! | 500 | [`LayerMissing`](Reason::LayerMissing): `… needs AuthenticateLayer outside it` | the order of the layers: a `Router` is covered by the layer added last, a `ServiceBuilder` by the one added first |
//! | 500 | [`LayerMissing`](Reason::LayerMissing): `… needs the peer's address` | [`PeerAddress`](crate::address::PeerAddress), or axum's `into_make_service_with_connect_info`; tests without a connection need it, too |
//! | 503 | [`StoreFailed`](Reason::StoreFailed), [`StorePanicked`](Reason::StorePanicked) | the store; the cause is in the event's `source` |
//! | 503 | [`LimiterFailed`](Reason::LimiterFailed) | the store that the limiter shares with other processes |
//! | 401 for every key | [`KeyUnknown`](Reason::KeyUnknown), [`SecretMismatch`](Reason::SecretMismatch) | whether layer and [`KeyManager`](crate::manage::KeyManager) have the same store and the same [`Peppers`](crate::key::Peppers) |
//! | 401 for every key | [`CredentialMalformed`](Reason::CredentialMalformed) | whether they have the same [`KeyFormat`](crate::key::KeyFormat) |
//! | 401 for one key | [`KeyRevoked`](Reason::KeyRevoked), [`KeyExpired`](Reason::KeyExpired) and others | the key that the event names |
//! | 401 | [`SessionUnknown`](Reason::SessionUnknown), [`SessionExpired`](Reason::SessionExpired) | the session, and what the host's [authenticator](crate::user_session::SessionAuthenticator) goes by |
//! | 401 or 400 | [`CredentialMissing`](Reason::CredentialMissing), [`CredentialMalformed`](Reason::CredentialMalformed), [`CredentialConflict`](Reason::CredentialConflict) | what the client sends, or a proxy drops or adds |
//! | 401 | [`CompanionMissing`](Reason::CompanionMissing), [`SessionTokenMissing`](Reason::SessionTokenMissing) | what the client sends, or the table of [`Companions`](crate::authenticate::Companions) |
//! | 401 | [`CompanionInvalid`](Reason::CompanionInvalid), [`CompanionMismatch`](Reason::CompanionMismatch) | the companion, and whether the client has mixed organizations, or live and test |
//! | 401 for every token | [`SessionTokenInvalid`](Reason::SessionTokenInvalid) | whether every process has the same signing secret |
//! | 401 on `OPTIONS` | [`CredentialMissing`](Reason::CredentialMissing) | a CORS layer, which belongs outside |
//! | 403 | [`RouteNotCovered`](Reason::RouteNotCovered) | the [route table](crate::route), which needs a rule for the method and the route with all its prefixes |
//! | 403 | [`PathNotCanonical`](Reason::PathNotCanonical) | the path: a `//`, a `%`, or a last `/` that the rule does not have |
//! | 403 | [`AddressNotAllowed`](Reason::AddressNotAllowed) | the networks that the key is held to, and [where the client's address comes from](crate::AuthenticateLayer::with_client_address) |
//! | 400 | [`OrganizationMissing`](Reason::OrganizationMissing) | the header field, route or cookie that is to name the organization |
//! | 403 | [`OrganizationMismatch`](Reason::OrganizationMismatch) | whether the client has taken another organization's key |
//! | 404 | [`OrganizationNotFound`](Reason::OrganizationNotFound) | the route or the cookie, which names an organization that the caller can't act for |
//! | 403 | [`TierMismatch`](Reason::TierMismatch) | the key: this route takes one of the system |
//! | 403 | [`RoleTooLow`](Reason::RoleTooLow) | the caller's role in the organization |
//! | 403 | [`ScopeMissing`](Reason::ScopeMissing) | the key's scopes; the reason names the one that is missing |
//!
//! # Counting refusals
//!
//! An outer layer finds the [`Rejection`] in the extensions of the response, whatever its format:
//!
//! ```
//! use http::Response;
//! use tower::ServiceBuilder;
//! use tower_api_keys::rejection::Rejection;
//!
//! fn count<B>(response: Response<B>) -> Response<B> {
//!     if let Some(rejection) = response.extensions().get::<Rejection>() {
//!         let labels = (rejection.kind().status(), rejection.reason().to_string());
//!         # let _ = labels; // to the metrics
//!     }
//!     response
//! }
//!
//! let layers = ServiceBuilder::new().map_response(count::<axum::body::Body>); // and then the layers of this crate
//! # let _ = layers;
//! ```
//!
//! # A format of one's own
//!
//! Each layer has its own format, so give the same to all of them. Write out the type of a closure's
//! parameter, and name a function or a type if the layer is to stand in a struct or be returned:
//!
//! ```
//! use http::Response;
//! use tower_api_keys::rejection::{Rejection, RejectionFormat};
//! use tower_api_keys::{AuthenticateLayer, RateLimitLayer, RequireScopeLayer};
//!
//! /// No body at all: any body that can be empty will do.
//! #[derive(Clone)]
//! struct StatusOnly;
//!
//! impl<B: Default> RejectionFormat<B> for StatusOnly {
//!     fn response(&self, rejection: &Rejection) -> Response<B> {
//!         let mut response = Response::new(B::default());
//!         *response.status_mut() = rejection.kind().status();
//!         response
//!     }
//! }
//!
//! struct Layers {
//!     authenticate: AuthenticateLayer<StatusOnly>,
//!     rate_limit: RateLimitLayer<StatusOnly>,
//!     scope: RequireScopeLayer<StatusOnly>,
//! }
//!
//! impl Layers {
//!     fn new(authenticate: AuthenticateLayer, rate_limit: RateLimitLayer, scope: RequireScopeLayer) -> Self {
//!         Self {
//!             authenticate: authenticate.with_rejection_format(StatusOnly),
//!             rate_limit: rate_limit.with_rejection_format(StatusOnly),
//!             scope: scope.with_rejection_format(StatusOnly),
//!         }
//!     }
//! }
//! # fn is_format<B>(_: &impl RejectionFormat<B>) {}
//! # is_format::<String>(&StatusOnly);
//! ```

mod check;
mod grpc;
mod problem;
mod reason;
mod response;

use std::sync::Arc;
use std::time::Duration;

pub use check::Check;
pub use grpc::GrpcStatus;
use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
pub use problem::ProblemDetails;
pub use reason::{RateLimited, Reason};
pub(crate) use response::response;

use crate::key::KeyId;
use crate::number::{number, whole_seconds};

/// Why a request was refused.
///
/// Every response that a layer of this crate refuses a request with carries one in its extensions.
#[derive(Clone, Debug)]
pub struct Rejection {
    reason: Reason,
    key_id: Option<KeyId>,
    challenges: Arc<[HeaderValue]>,
}

/// What a client may know of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectionKind {
    /// 401: there is no credential, or it is not good. Which of the many reasons it was stays inside.
    Unauthenticated,
    /// 400: there is more than one credential.
    AmbiguousCredentials,
    /// 429: the caller is over a rate limit. Never means that the limiter failed.
    RateLimited,
    /// 400: the request has to name the organization it is for, and does not.
    OrganizationMissing,
    /// 403: the organization that the request names is not the caller's.
    OrganizationMismatch,
    /// 404: the caller can't act for the organization that the request is for, or there is none.
    OrganizationNotFound,
    /// 403: the caller is known and may not do this.
    Forbidden,
    /// 503: what has to be asked does not answer: the key store, who authenticates sessions, or what counts for rate limits.
    Unavailable,
    /// 500: the host has put its layers together wrongly. The log says how.
    Misconfigured,
}

impl RejectionKind {
    /// The status that belongs to the kind.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::AmbiguousCredentials => StatusCode::BAD_REQUEST,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::OrganizationMissing => StatusCode::BAD_REQUEST,
            Self::OrganizationNotFound => StatusCode::NOT_FOUND,
            Self::OrganizationMismatch | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Rejection {
    pub(crate) fn new(reason: Reason) -> Self {
        Self { reason, key_id: None, challenges: Arc::default() }
    }

    pub(crate) fn set_key_id(&mut self, key_id: Option<KeyId>) {
        self.key_id = key_id;
    }

    pub(crate) fn with_challenges(self, challenges: Arc<[HeaderValue]>) -> Self {
        Self { challenges, ..self }
    }

    /// Why, for the host's eyes.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// What the client may know.
    pub fn kind(&self) -> RejectionKind {
        self.reason.kind()
    }

    /// The check that the request failed; `None` if the host's layers are to blame.
    pub fn check(&self) -> Option<Check> {
        self.reason.check()
    }

    /// The key, if the request got far enough for it to be known. For the host's eyes.
    pub fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// How long the client should wait before it tries again, if waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.reason {
            Reason::RateLimited(limited) | Reason::Throttled(limited) => limited.retry_after,
            Reason::StoreFailed(_) | Reason::StorePanicked | Reason::LimiterFailed(_) => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }

    /// The response in `format`, with what no refusal may lack.
    pub(crate) fn into_response<B>(self, format: &impl RejectionFormat<B>) -> Response<B> {
        crate::log::refused(&self);
        let mut response = format.response(&self);
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // RFC 6750 section 3.1 has a challenge for who lacks a scope, too.
        if status == StatusCode::UNAUTHORIZED || matches!(self.reason, Reason::ScopeMissing(_)) {
            for challenge in self.challenges.iter() {
                headers.append(WWW_AUTHENTICATE, challenge.clone());
            }
        }
        if let Some(delay) = self.retry_after() {
            headers.insert(RETRY_AFTER, number(whole_seconds(delay)));
        }
        #[cfg(feature = "axum")]
        if self.key_id.is_none() || self.kind() == RejectionKind::Unauthenticated {
            headers.insert(http::header::ALLOW, HeaderValue::from_static(""));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Makes the response to a refused request.
///
/// Implemented for closures:
///
/// ```
/// use http::Response;
/// use tower_api_keys::rejection::{Rejection, RejectionFormat};
///
/// let format = |rejection: &Rejection| {
///     let mut response = Response::new(format!("sorry: {:?}", rejection.kind()));
///     *response.status_mut() = rejection.kind().status();
///     response
/// };
/// # fn is_format<B>(_: &impl RejectionFormat<B>) {}
/// # is_format::<String>(&format);
/// ```
///
/// With axum such a closure can end in `.into_response()`. The [module docs](self) have a type that
/// implements the trait.
///
/// Write nothing of [`Rejection::reason`] to the client: whether a key is unknown, revoked or expired is nobody's
/// business but the host's.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't make refusals with a body of type `{B}`",
    note = "`ProblemDetails` needs a body that is `From<bytes::Bytes>`",
    note = "for other bodies, call `with_rejection_format` on each layer, with a closure \
            `|rejection: &Rejection| -> Response<{B}>` or a type of your own"
)]
pub trait RejectionFormat<B>: Clone {
    /// The response to `rejection`.
    fn response(&self, rejection: &Rejection) -> Response<B>;
}

impl<F, B> RejectionFormat<B> for F
where
    F: Fn(&Rejection) -> Response<B> + Clone,
{
    fn response(&self, rejection: &Rejection) -> Response<B> {
        self(rejection)
    }
}
