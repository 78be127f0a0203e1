//! The words of answers that are no success.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};

use crate::presets::json::push_json_string;
use crate::rejection::{Reason, Rejection, RejectionFormat, RejectionKind, response};
use crate::request::RequestId;
use crate::request_id::WriteRequestId;

/// Refusals as published: `{"error":"…"}`, with the `code` and `requestId` that the vendor's plugins read.
#[derive(Clone, Copy, Debug, Default)]
pub struct GatewayFormat;

impl<B: From<Bytes>> RejectionFormat<B> for GatewayFormat {
    fn response(&self, rejection: &Rejection) -> Response<B> {
        let kind = rejection.kind();
        let (code, text) = match kind {
            RejectionKind::Unauthenticated => ("unauthorized", "Invalid or missing API key"),
            RejectionKind::AmbiguousCredentials => ("invalid_request", "Send exactly one credential"),
            RejectionKind::RateLimited => ("rate_limited", "Too many requests"),
            RejectionKind::OrganizationMissing => ("organization_required", "Name an organization"),
            RejectionKind::OrganizationMismatch => {
                ("organization_mismatch", "X-Organization-ID is not the organization of the request")
            }
            RejectionKind::OrganizationNotFound => NOT_FOUND,
            RejectionKind::Forbidden if matches!(rejection.reason(), Reason::ScopeMissing(_)) => {
                ("insufficient_scope", "The API key lacks a scope for this")
            }
            RejectionKind::Forbidden => ("forbidden", "Not allowed"),
            RejectionKind::Unavailable => ("unavailable", "Service temporarily unavailable"),
            RejectionKind::Misconfigured => ("internal_error", "Internal server error"),
        };
        error(kind.status(), code, text)
    }
}

const NOT_FOUND: (&str, &str) = ("not_found", "Not found");

/// An answer as refusals have it, for handlers to give. A layer of [`PaymentGateway::request_id`](super::PaymentGateway::request_id) outside adds `requestId`.
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode};
/// use tower_api_keys::presets::payment_gateway;
///
/// let response: Response<Bytes> = payment_gateway::error(StatusCode::BAD_REQUEST, "validation_error", "name is missing");
/// assert_eq!(response.body(), r#"{"error":"name is missing","code":"validation_error"}"#);
/// ```
pub fn error<B: From<Bytes>>(
    status: StatusCode,
    code: &'static str,
    text: impl Into<Cow<'static, str>>,
) -> Response<B> {
    let error = ErrorBody { code, text: text.into() };
    let mut response = response(status, "application/json", error.to_json(None));
    response.extensions_mut().insert(error);
    response
}

/// The 404 of a resource that is not there, or another's: the same, to the byte, as that of another's organization.
pub fn not_found<B: From<Bytes>>() -> Response<B> {
    let (code, text) = NOT_FOUND;
    error(StatusCode::NOT_FOUND, code, text)
}

/// Goes with an answer, so that its body can be written again when the request's identifier is at hand.
#[derive(Clone)]
struct ErrorBody {
    code: &'static str,
    text: Cow<'static, str>,
}

impl ErrorBody {
    fn to_json(&self, id: Option<&RequestId>) -> Bytes {
        let mut json = String::from(r#"{"error":"#);
        push_json_string(&mut json, &self.text);
        json.push_str(r#","code":"#);
        push_json_string(&mut json, self.code);
        if let Some(id) = id {
            json.push_str(r#","requestId":"#);
            push_json_string(&mut json, id.as_str());
        }
        json.push('}');
        Bytes::from(json)
    }
}

impl<B: From<Bytes>> WriteRequestId<B> for GatewayFormat {
    fn write(&self, id: &RequestId, response: &mut Response<B>) {
        let Some(error) = response.extensions().get::<ErrorBody>() else { return };
        *response.body_mut() = B::from(error.to_json(Some(id)));
        response.headers_mut().remove(CONTENT_LENGTH);
    }
}

/// Answers about keys: one as it is, a listing as `{"data":[…],"nextCursor":…}`, and every success with 200, since the
/// vendor's plugins take anything else for a failure.
#[cfg(feature = "axum")]
impl crate::manage::KeyRoutesFormat for GatewayFormat {
    fn success(
        &self,
        _: StatusCode,
        data: serde_json::Value,
        next_cursor: Option<String>,
    ) -> axum::response::Response {
        use serde_json::json;

        let body = if data.is_array() { json!({ "data": data, "nextCursor": next_cursor }) } else { data };
        response(StatusCode::OK, "application/json", body.to_string())
    }

    fn failure(&self, failure: &crate::manage::ManageError) -> axum::response::Response {
        use crate::manage::ManageError;

        let (code, text) = match failure {
            ManageError::Unauthenticated => ("unauthorized", "Invalid or missing API key".into()),
            ManageError::Forbidden(forbidden) => ("forbidden", format!("Not allowed: {forbidden}").into()),
            ManageError::NotFound => (NOT_FOUND.0, NOT_FOUND.1.into()),
            ManageError::Invalid(_) => ("validation_error", failure.to_string().into()),
            ManageError::AlreadyExists => ("conflict", "The API key exists already".into()),
            ManageError::Store(_) | ManageError::Randomness(_) => {
                ("unavailable", Cow::from("Service temporarily unavailable"))
            }
        };
        error(failure.status(), code, text)
    }
}
