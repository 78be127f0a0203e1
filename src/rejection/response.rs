use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

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
    log(rejection, request, is_matched_by_router);
    let mut response = errors.error(&ApiError::of_rejection(rejection, request));
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // RFC 6750 section 3.1 also has a challenge for a missing scope.
    if status == StatusCode::UNAUTHORIZED || matches!(rejection.reason(), Reason::ScopeMissing(_)) {
        for challenge in rejection.challenges() {
            headers.append(WWW_AUTHENTICATE, challenge.clone());
        }
    }
    if let Some(delay) = rejection.retry_after() {
        headers.insert(RETRY_AFTER, number(whole_seconds(delay)));
    }
    let is_authenticated = rejection.key_id().is_some()
        && rejection.kind() != ErrorKind::Unauthenticated
        && rejection.check() != Some(Check::Lookup);
    if is_matched_by_router && !is_authenticated {
        headers.insert(ALLOW, HeaderValue::from_static(""));
    }
    response
}

#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "the events are empty"))]
pub(crate) fn log(rejection: &Rejection, request: RequestView<'_>, is_matched_by_router: bool) {
    #[cfg(feature = "tracing")]
    {
        use crate::log::event;

        let (reason, code) = (rejection.reason(), rejection.reason().code());
        let key_id = rejection.key_id().map(tracing::field::display);
        let request_id = request.id().map(tracing::field::display);
        let status = rejection.kind().status().as_u16();
        match (rejection.kind(), reason) {
            (ErrorKind::Misconfigured, _) => {
                event!(error, status, code, %reason, key_id, request_id, "request rejected: the assembly is incomplete");
            }
            // The router has such a route, so the application forgot its rule. By the path alone that can't be known, and a
            // client could fill the log.
            (_, Reason::RouteNotCovered) if is_matched_by_router => {
                event!(error, status, code, %reason, key_id, request_id, "request rejected: the route has no rule");
            }
            // The limiter itself logs its failures, at most once a second.
            (ErrorKind::Unavailable, Reason::LimiterFailed(_)) => {
                event!(info, status, code, %reason, key_id, request_id, "request rejected");
            }
            // The digest covers the mark, so nobody could have guessed such a key.
            (_, Reason::ModeMismatch) => {
                event!(error, status, code, %reason, key_id, request_id, "request rejected: the key's record was changed");
            }
            (_, Reason::PepperMissing(_)) => {
                event!(error, status, code, %reason, key_id, request_id, "request rejected: the key can't be verified");
            }
            (_, Reason::StoreFailed(error)) if error.broken_key().is_some() => {
                let fault = error.broken_key().map(tracing::field::display);
                event!(
                    error,
                    status,
                    code,
                    fault,
                    request_id,
                    "request rejected: the key's record cannot be read"
                );
            }
            (ErrorKind::Unavailable, _) => {
                // The reason repeats the store's error; the useful information is its cause.
                let source = std::error::Error::source(reason).and_then(std::error::Error::source);
                let source = source.map(tracing::field::display);
                event!(error, status, code, %reason, source, request_id, "request rejected: no answer");
            }
            _ => event!(info, status, code, %reason, key_id, request_id, "request rejected"),
        }
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
