use std::fmt;

use bytes::Bytes;
use http::Response;
use serde_json::Value;

use super::{ApiError, ErrorFormat, Success, json_response};

/// Errors in the application's own JSON.
///
/// ```
/// use serde_json::json;
/// use tower_api_keys::store::MemoryStore;
/// use tower_api_keys::{ApiKeys, JsonErrors, KeyFormat};
///
/// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
///     .header("x-api-key")
///     .route("GET", "/workflows", "workflows:read")
///     .errors(JsonErrors::new(|error| {
///         json!({ "error": { "code": error.code(), "message": error.message(), "request": error.request_id() } })
///     }))
///     .build()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// The type of a closure has no name. Where one is needed, for the state of handlers say, give a function:
///
/// ```
/// use serde_json::{Value, json};
/// use tower_api_keys::rejection::ApiError;
/// use tower_api_keys::{ApiKeys, JsonErrors};
///
/// type Errors = JsonErrors<fn(&ApiError<'_>) -> Value>;
///
/// fn errors() -> Errors {
///     JsonErrors::new(|error| json!({ "code": error.code() }))
/// }
///
/// struct Application {
///     keys: ApiKeys<Errors>,
/// }
/// ```
#[derive(Clone)]
pub struct JsonErrors<E, S = fn(&Success) -> Value> {
    error: E,
    success: S,
}

impl<E> JsonErrors<E>
where
    E: Fn(&ApiError<'_>) -> Value + Send + Sync + 'static,
{
    /// Sets the body of each error, with the error's own status.
    pub fn new(error: E) -> Self {
        Self { error, success: Success::to_json }
    }
}

impl<E, S> JsonErrors<E, S> {
    /// Sets the body of each successful key management call, in place of [plain JSON](Success::to_json).
    pub fn with_success<T>(self, success: T) -> JsonErrors<E, T>
    where
        T: Fn(&Success) -> Value + Send + Sync + 'static,
    {
        JsonErrors { error: self.error, success }
    }
}

impl<E, S, B> ErrorFormat<B> for JsonErrors<E, S>
where
    E: Fn(&ApiError<'_>) -> Value + Send + Sync + 'static,
    S: Fn(&Success) -> Value + Send + Sync + 'static,
    B: From<Bytes>,
{
    fn error(&self, error: &ApiError<'_>) -> Response<B> {
        json_response(error.status(), (self.error)(error).to_string())
    }

    fn success(&self, success: &Success) -> Response<B> {
        json_response(success.status, (self.success)(success).to_string())
    }
}

impl<E, S> fmt::Debug for JsonErrors<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonErrors").finish_non_exhaustive()
    }
}
