//! A rejected request: its reason, and the response to the client.
//!
//! A [`Rejection`] separates two things. Its [`Reason`] is for the application: it is logged, with a stable
//! [code](Reason::code). Its [`ErrorKind`] is visible to the client, and decides the status. An [`ErrorFormat`] makes
//! the response: [`ProblemDetails`] by default, `JsonErrors`, [`GrpcStatus`], a closure, or a type of the
//! application.
//!
//! The service adds the required fields, independently of the format: `Cache-Control: no-store`, a `WWW-Authenticate`
//! challenge for every configured scheme on 401 (unless [disabled](crate::ApiKeysBuilder::without_challenge)), and
//! `Retry-After` on 429 and 503. With [`RouteMatching::MatchedPath`](crate::route::RouteMatching), inside an axum
//! router, the response to an unauthenticated request also has an empty `Allow`: axum adds the methods of a route to
//! every response to another method without that field, which would reveal routes to unauthenticated clients.
//!
//! The response to a rejected `HEAD` request has a body as well. axum and HTTP/1.1 drop it; a plain hyper service
//! over HTTP/2 has to drop it as it does for its own responses.
//!
//! A request is rejected without reading its body. If the body is still being sent, hyper closes an HTTP/1.1
//! connection after the response, and over HTTP/2 resets the stream with `NO_ERROR` (RFC 9113 section 8.1). Some
//! clients, such as curl 7.88, sometimes treat this as an error and lose the response. Clients that authenticate
//! before they send a large body (`Expect: 100-continue`, or a small request first) are not affected.
//!
//! # Finding out why
//!
//! The client learns little. The reason is in the log, with the feature `tracing` and a subscriber: an event of the
//! target `tower_api_keys` for each rejection, with its `code` and `reason`, at `INFO` if the client is at fault and
//! at `ERROR`, once a second, if the application or its store is. The event does not contain the method and the path, which the client chooses; an
//! outer layer that opens a span for each request, such as tower-http's `TraceLayer`, adds them.
//!
//! | status | code | check |
//! |---|---|---|
//! | 500 | `misconfigured` | the text of the reason: it names the setting or the layer to add. Without a connection, in tests for example, a [`PeerAddress`](crate::address::PeerAddress) has to be put into the request's extensions |
//! | 503 | `store_failed`, `store_panicked` | the store; the cause is in the event's `source` |
//! | 503 for one key | `record_corrupt` | the record of the key, which is damaged or not the one asked for: `fault` names key and column. Other keys are not affected. Mend the record, or revoke and delete the key |
//! | 503 for many keys | `pepper_missing` | the [`Peppers`](crate::key::Peppers): those keys were made with one that is not configured |
//! | 401 at `ERROR` | `mode_mismatch` | who has changed the record: the secret is right, and its mode is another than when it was made |
//! | 503 | `verifier_busy`, `verifier_panicked` | the application's [verifier](crate::ApiKeysBuilder::verify_imported) of imported hashes |
//! | 503 | `limiter_failed` | the shared store of the limiter |
//! | 401 for every key | `key_unknown`, `secret_mismatch` | whether the keys were made with the same [`Peppers`](crate::key::Peppers) |
//! | 401 for every key | `credential_malformed` | whether the [`KeyFormat`](crate::KeyFormat) is the one that the keys were made with |
//! | 401 for one key | `key_revoked`, `key_expired` and others | the key that the event names |
//! | 401 | `session_unknown`, `session_expired` | the session, and the application's [authenticator](crate::identity::SessionAuthenticator) |
//! | 401 or 400 | `credential_missing`, `credential_malformed`, `credential_conflict` | what the client sends, or a proxy drops or adds |
//! | 401 | `companion_missing`, `session_token_missing` | what the client sends, or the table of [`Companions`](crate::credential::Companions) |
//! | 401 | `companion_invalid`, `companion_mismatch` | the companion, and whether the client mixed organizations, or live and test |
//! | 401 for every token | `session_token_invalid` | whether every process has the same signing secret |
//! | 401 on `OPTIONS` | `credential_missing` | the CORS layer, which must be outside |
//! | 403 | `route_not_covered` | the [route rules](crate::route): the method and the full route, with all prefixes, need one |
//! | 403 | `path_not_canonical` | the path: a `//`, a `%`, or a trailing `/` that the rule does not have |
//! | 403 | `address_not_allowed` | the networks that the key is restricted to, and the [source of the client's address](crate::ApiKeysBuilder::client_address) |
//! | 400 | `organization_missing` | the header field, route or cookie that should name the organization |
//! | 403 | `organization_mismatch` | whether the client used another organization's key |
//! | 404 | `organization_not_found` | the route or the cookie, which names an organization that the caller cannot act for |
//! | 404 | `route_not_found` | the path, or the place of the layer: routes are matched only inside a router |
//! | 403 | `tier_mismatch` | the key: this route needs a system key |
//! | 403 | `role_too_low` | the caller's role in the organization |
//! | 403 | `scope_missing` | the key's scopes; the reason names the missing one |
//!
//! # Counting rejections
//!
//! With the feature `metrics` rejections are [counted](crate::monitoring) by code. With [`attach_rejections`](crate::ApiKeysBuilder::attach_rejections) an outer layer finds the [`Rejection`] in the
//! extensions of the response, whatever its format:
//!
//! ```
//! use http::Response;
//! use tower::ServiceBuilder;
//! use tower_api_keys::rejection::Rejection;
//!
//! fn count<B>(response: Response<B>) -> Response<B> {
//!     if let Some(rejection) = response.extensions().get::<Rejection>() {
//!         let labels = (rejection.kind().status(), rejection.reason().code());
//!         # let _ = labels; // to the metrics
//!     }
//!     response
//! }
//!
//! let layers = ServiceBuilder::new().map_response(count::<String>); // and then the layer of the assembly
//! # let _ = layers;
//! ```

mod check;
mod error;
mod format;
mod grpc;
#[cfg(feature = "json")]
mod json;
mod kind;
#[cfg(feature = "json")]
mod messages;
mod problem;
mod reason;
#[expect(clippy::module_inception, reason = "the file is named for the type in it")]
mod rejection;
mod response;

pub use check::Check;
pub use error::{ApiError, FieldError};
pub use format::ErrorFormat;
#[cfg(feature = "json")]
pub use format::Success;
pub(crate) use grpc::GRPC_STATUS;
pub use grpc::GrpcStatus;
#[cfg(feature = "json")]
pub use json::JsonErrors;
pub use kind::ErrorKind;
#[cfg(feature = "json")]
pub use messages::{ErrorTable, Message, TableError};
pub use problem::ProblemDetails;
pub use reason::{RateLimited, Reason};
pub use rejection::Rejection;
#[cfg(feature = "axum")]
pub(crate) use response::fail;
#[cfg(feature = "json")]
pub(crate) use response::json_response;
pub(crate) use response::{reject, response};
