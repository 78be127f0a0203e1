use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::manage::{FieldError, ManageError};

/// Makes the answers of [`key_routes`](super::key_routes).
///
/// The routes themselves put `Cache-Control: no-store` on every answer and `Retry-After` on 503, and
/// [`AuthenticateLayer`](crate::AuthenticateLayer) puts the challenge on 401.
///
/// ```
/// use axum::Json;
/// use axum::response::{IntoResponse, Response};
/// use http::StatusCode;
/// use serde_json::{Value, json};
/// use tower_api_keys::manage::{KeyRoutesFormat, ManageError};
///
/// struct Wrapped;
///
/// impl KeyRoutesFormat for Wrapped {
///     fn success(&self, status: StatusCode, data: Value, next_cursor: Option<String>) -> Response {
///         (status, Json(json!({"ok": true, "data": data, "next": next_cursor}))).into_response()
///     }
///
///     fn failure(&self, error: &ManageError) -> Response {
///         (error.status(), Json(json!({"ok": false}))).into_response()
///     }
/// }
/// ```
pub trait KeyRoutesFormat: Send + Sync + 'static {
    /// The answer to what was done: one key as an object, or a listing as an array, `next_cursor` leading to the rest
    /// of it.
    ///
    /// The answer to a creation is 201, and `data` has the secret in the member `key`: let it out to nobody else.
    fn success(&self, status: StatusCode, data: Value, next_cursor: Option<String>) -> Response;

    /// The answer to what was refused or failed, usually with the error's own [status](ManageError::status).
    ///
    /// What a store says is for the host's log, not for the client.
    fn failure(&self, error: &ManageError) -> Response;
}

/// Plain JSON: a key as an object, a listing as `{"data":[…],"nextCursor":…}`, failures as problem details (RFC 9457)
/// with a `code` and, where fields are to blame, `errors`.
///
/// ```json
/// {"type":"about:blank","title":"Bad Request","status":400,"code":"invalid","detail":"A field is not valid.",
///  "errors":[{"field":"name","message":"must have no control characters"}]}
/// ```
///
/// `nextCursor` is `null` on the last page. `code` is one of `unauthenticated`, `forbidden`, `not_found`, `invalid`,
/// `already_exists`, `unavailable`.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainJson;

impl KeyRoutesFormat for PlainJson {
    fn success(&self, status: StatusCode, data: Value, next_cursor: Option<String>) -> Response {
        let body = if data.is_array() { json!({"data": data, "nextCursor": next_cursor}) } else { data };
        respond(status, "application/json", &body)
    }

    fn failure(&self, error: &ManageError) -> Response {
        let (code, detail) = match error {
            ManageError::Unauthenticated => {
                ("unauthenticated", "The credential is missing or not valid.".to_owned())
            }
            ManageError::Forbidden(forbidden) => ("forbidden", format!("Not allowed: {forbidden}.")),
            ManageError::NotFound => ("not_found", "There is no such key.".to_owned()),
            ManageError::Invalid(_) => ("invalid", "A field is not valid.".to_owned()),
            ManageError::AlreadyExists => ("already_exists", "The key is there already.".to_owned()),
            ManageError::Store(_) | ManageError::Randomness(_) => {
                ("unavailable", "Keys can't be managed right now. Try again.".to_owned())
            }
        };
        let status = error.status();
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
        });
        if let ManageError::Invalid(fields) = error {
            let error = |FieldError { field, message }: &_| json!({"field": field, "message": message});
            body["errors"] = fields.iter().map(error).collect();
        }
        respond(status, "application/problem+json", &body)
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static(content_type))], body.to_string()).into_response()
}
