use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::{ApiError, Check, ErrorFormat, ErrorKind, Reason, Rejection};
use crate::number::{number, whole_seconds};
use crate::request::RequestView;

/// The response to a rejected request in the format `errors`, with the required fields. A router that has matched the
/// route (`is_matched_by_router`) is kept from adding the methods of the route for an unauthenticated request.
#[inline]
pub(crate) fn reject<B>(
    rejection: &Rejection,
    errors: &impl ErrorFormat<B>,
    request: RequestView<'_>,
    is_matched_by_router: bool,
) -> Response<B> {
    let mut response = errors.error(&ApiError::of_rejection(rejection, request));
    let status = response.status();
    let headers = response.headers_mut();
    write_common(headers, rejection.retry_after());
    // RFC 6750 section 3.1 also has a challenge for a missing scope.
    if status == StatusCode::UNAUTHORIZED || matches!(rejection.reason(), Reason::ScopeMissing(_)) {
        for challenge in rejection.challenges() {
            headers.append(WWW_AUTHENTICATE, challenge.clone());
        }
    }
    let is_authenticated = rejection.key_id().is_some()
        && rejection.kind() != ErrorKind::Unauthenticated
        && rejection.check() != Some(Check::Lookup);
    if is_matched_by_router && !is_authenticated {
        headers.insert(ALLOW, HeaderValue::from_static(""));
    }
    response
}

/// The response to an error that is no rejection, such as a failed call of key management, with the required fields.
#[cfg(feature = "axum")]
pub(crate) fn fail<B>(error: &ApiError<'_>, errors: &impl ErrorFormat<B>) -> Response<B> {
    let mut response = errors.error(error);
    write_common(response.headers_mut(), error.retry_after());
    response
}

/// What the response to any error has.
fn write_common(headers: &mut HeaderMap, retry_after: Option<Duration>) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(delay) = retry_after {
        headers.insert(RETRY_AFTER, number(whole_seconds(delay)));
    }
}

/// A response in JSON.
#[cfg(feature = "json")]
pub(crate) fn json_response<B: From<Bytes>>(status: StatusCode, body: impl Into<Bytes>) -> Response<B> {
    const TYPE: HeaderValue = HeaderValue::from_static("application/json");
    response(status, TYPE, body)
}

/// A response with capacity for the other fields of a rejection.
#[inline]
pub(crate) fn response<B: From<Bytes>>(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<B> {
    let mut response = Response::new(B::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // These may also have the fields of a rate limit: up to nine fields, and a map has room for six at first.
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN) {
        headers.reserve(12);
    }
    headers.insert(CONTENT_TYPE, content_type);
    response
}
