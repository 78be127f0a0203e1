#[cfg(feature = "json")]
use bytes::Bytes;
use http::Response;

use super::ApiError;

/// Makes the response to every error of an assembly: rejected requests, failed key management calls, and unavailable
/// handler arguments.
///
/// Set with [`ApiKeysBuilder::errors`](crate::ApiKeysBuilder::errors). The default is
/// [`ProblemDetails`](super::ProblemDetails); `JsonErrors` (feature `json`) takes a closure that returns the
/// application's JSON; [`GrpcStatus`](super::GrpcStatus) is for gRPC. Implemented for closures that make the whole
/// response:
///
/// ```
/// use http::Response;
/// use tower_api_keys::rejection::{ApiError, ErrorFormat};
///
/// let format = |error: &ApiError<'_>| {
///     let mut response = Response::new(format!("{}: {}", error.code(), error.message()));
///     *response.status_mut() = error.status();
///     response
/// };
/// # fn is_format<B>(_: &impl ErrorFormat<B>) {}
/// # is_format::<String>(&format);
/// ```
///
/// A named type can be used in a struct:
///
/// ```
/// use http::Response;
/// use tower_api_keys::ApiKeys;
/// use tower_api_keys::rejection::{ApiError, ErrorFormat};
///
/// /// No body: works with any body that can be empty.
/// struct StatusOnly;
///
/// impl<B: Default> ErrorFormat<B> for StatusOnly {
///     fn error(&self, error: &ApiError<'_>) -> Response<B> {
///         let mut response = Response::new(B::default());
///         *response.status_mut() = error.status();
///         response
///     }
/// }
///
/// struct Application {
///     keys: ApiKeys<StatusOnly>,
/// }
/// ```
///
/// The service adds the required fields, independently of the format: `Cache-Control: no-store`, a `WWW-Authenticate`
/// challenge on 401, `Retry-After` on 429 and 503, and the fields of the rate limit.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't make error responses with a body of type `{B}`",
    note = "`ProblemDetails` and `JsonErrors` need a body that is `From<bytes::Bytes>`",
    note = "for other bodies, give `ApiKeysBuilder::errors` a closure `|error: &ApiError<'_>| -> Response<{B}>` or a type \
            of your own"
)]
pub trait ErrorFormat<B>: Send + Sync + 'static {
    /// The response to `error`, usually with the error's own [status](ApiError::status).
    fn error(&self, error: &ApiError<'_>) -> Response<B>;

    /// The response to a successful key management call, or to a caller that asks
    /// who it is or what is left of its limits: [plain JSON](Success::to_json) by default.
    #[cfg(feature = "json")]
    fn success(&self, success: &Success) -> Response<B>
    where
        B: From<Bytes>,
    {
        super::json_response(success.status, success.to_json().to_string())
    }
}

impl<F, B> ErrorFormat<B> for F
where
    F: Fn(&ApiError<'_>) -> Response<B> + Send + Sync + 'static,
{
    fn error(&self, error: &ApiError<'_>) -> Response<B> {
        self(error)
    }
}

/// The result of a successful key management call, or of `ApiKeys::whoami_route` or `limits_route`.
#[cfg(feature = "json")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Success {
    /// 200, or 201 for a new key.
    pub status: http::StatusCode,
    /// One key or caller as an object, or a listing, of keys or limits, as an array. The object of a new key has the secret in the member `key`:
    /// send it only to the caller.
    pub data: serde_json::Value,
    /// Where a listing continues; `None` on the last page, and for results that are not listings.
    pub next_cursor: Option<String>,
    /// Of a listing of keys, those whose records can't be read. They are not among the data.
    pub broken: Vec<crate::key::KeyId>,
}

#[cfg(feature = "json")]
impl Success {
    /// A key or a caller as its object, a listing as `{"data":[…],"nextCursor":…}`, with `"broken":[…]` if there are any.
    pub fn to_json(&self) -> serde_json::Value {
        if self.data.is_array() {
            let mut listing = serde_json::json!({ "data": self.data, "nextCursor": self.next_cursor });
            // Left out where there are none, for clients that know the other two members alone.
            if !self.broken.is_empty() {
                listing["broken"] = serde_json::json!(self.broken);
            }
            listing
        } else {
            self.data.clone()
        }
    }
}
