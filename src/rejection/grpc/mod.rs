mod details;

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response};

use super::{ApiError, ErrorFormat, ErrorKind};

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Errors as gRPC statuses, for tonic and other gRPC services.
///
/// A response has the [Trailers-Only form]: no body, HTTP status 200, and the gRPC status among the header fields.
///
/// ```text
/// HTTP/2 200
/// content-type: application/grpc
/// grpc-status: 8
/// grpc-message: The rate limit is used up.
/// grpc-retry-pushback-ms: 1500
/// grpc-status-details-bin: CAgSGlRoZSByYXRl…
/// retry-after: 2
/// ```
///
/// | kind | [status] |
/// |---|---|
/// | `Unauthenticated`, `AmbiguousCredentials` | 16 `UNAUTHENTICATED` |
/// | `RateLimited` | 8 `RESOURCE_EXHAUSTED` |
/// | `OrganizationMissing`, `Invalid` | 3 `INVALID_ARGUMENT` |
/// | `OrganizationMismatch`, `Forbidden` | 7 `PERMISSION_DENIED` |
/// | `OrganizationNotFound`, `NotFound` | 5 `NOT_FOUND` |
/// | `AlreadyExists` | 6 `ALREADY_EXISTS` |
/// | `Unavailable` | 14 `UNAVAILABLE` |
/// | `Misconfigured` | 13 `INTERNAL` |
///
/// Two credentials are 16, not 3: the fault is not in the message but in what the client's channel adds to it.
///
/// If waiting helps, `grpc-retry-pushback-ms` reports the time to the client's retry logic ([A6]), and a
/// [`google.rpc.RetryInfo`] in `grpc-status-details-bin` reports it to code that reads error details. If the request
/// costs more than a whole window, the push-back is -1: do not retry.
///
/// gRPC has no challenges: `WWW-Authenticate` belongs to the HTTP status 401, which is not used here.
///
/// Works with every body whose [`Default`] is empty. Needs no feature.
///
/// ```
/// use http::Response;
/// use tower_api_keys::rejection::{ApiError, ErrorFormat, GrpcStatus};
///
/// fn reject(error: &ApiError<'_>) -> Response<String> {
///     GrpcStatus.error(error)
/// }
/// ```
///
/// Use it only if every client speaks gRPC: other clients see a 200, and so do outer layers that check the HTTP
/// status. These can use the [`Rejection`](super::Rejection) in the response's extensions, which
/// [`attach_rejections`](crate::ApiKeysBuilder::attach_rejections) puts there.
///
/// [Trailers-Only form]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
/// [status]: https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
/// [A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
/// [`google.rpc.RetryInfo`]: https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcStatus;

impl<B: Default> ErrorFormat<B> for GrpcStatus {
    fn error(&self, error: &ApiError<'_>) -> Response<B> {
        let kind = error.kind();
        let (code, message) = (code(kind), message(kind));
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(code));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(message));
        match error.retry_after() {
            Some(delay) => {
                headers.insert(RETRY_PUSHBACK, HeaderValue::from(push_back(delay)));
                headers.insert(STATUS_DETAILS, details::with_retry_info(code, message, delay));
            }
            None if kind == ErrorKind::RateLimited => {
                headers.insert(RETRY_PUSHBACK, HeaderValue::from(NEVER));
            }
            None => {}
        }
        response
    }
}

fn code(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::Unauthenticated | ErrorKind::AmbiguousCredentials => 16,
        ErrorKind::RateLimited => 8,
        ErrorKind::OrganizationMissing | ErrorKind::Invalid => 3,
        ErrorKind::OrganizationNotFound | ErrorKind::NotFound => 5,
        ErrorKind::AlreadyExists => 6,
        ErrorKind::Overtaken => 9,
        ErrorKind::OrganizationMismatch | ErrorKind::Forbidden => 7,
        ErrorKind::Unavailable => 14,
        ErrorKind::Misconfigured => 13,
    }
}

/// Visible ASCII and spaces without `%`, so that the field needs no percent-encoding.
fn message(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::RateLimited => "The rate limit is used up.",
        _ => kind.message(),
    }
}

/// Asks a client not to retry.
const NEVER: i32 = -1;

/// Milliseconds, rounded up. The field is a signed 32-bit number, so the maximum is about 24 days.
fn push_back(delay: Duration) -> i32 {
    i32::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {

    use http::StatusCode;

    use super::*;
    use crate::credential::MalformedCredential;
    use crate::limit::Quota;
    use crate::rejection::{RateLimited, Reason, Rejection, reject};
    use crate::request::RequestView;
    use crate::scope::ScopeRequirement;
    use crate::store::{StoreError, StoreErrorKind};

    fn response(reason: Reason) -> Response<String> {
        reject(&Rejection::new(reason), &GrpcStatus, RequestView::of(&http::Request::new(())), false)
    }

    fn rate_limited(retry_after: impl Into<Option<Duration>>) -> Reason {
        Reason::RateLimited(RateLimited {
            category: "requests".into(),
            quota: Quota::per_minute(1).unwrap(),
            retry_after: retry_after.into(),
        })
    }

    #[test]
    fn every_reason_has_its_status_in_the_trailers_only_form() {
        let scope = ScopeRequirement::from_static("workflows:read");
        let store_failed = Reason::StoreFailed(StoreError::new(StoreErrorKind::Unavailable));
        for (reason, status) in [
            (Reason::CredentialMissing, "16"),
            (Reason::KeyRevoked, "16"),
            (Reason::CredentialConflict, "16"),
            (Reason::CredentialMalformed(MalformedCredential::Repeated), "16"),
            (rate_limited(Duration::from_secs(1)), "8"),
            (Reason::OrganizationMissing, "3"),
            (Reason::OrganizationMismatch, "7"),
            (Reason::ScopeMissing(scope), "7"),
            (Reason::RouteNotCovered, "7"),
            (Reason::AddressNotAllowed, "7"),
            (store_failed, "14"),
            (Reason::StorePanicked, "14"),
            (Reason::Misconfigured("a layer"), "13"),
        ] {
            let name = format!("{reason:?}");
            let response = response(reason);
            assert_eq!(response.status(), StatusCode::OK, "{name}");
            assert_eq!(response.headers()["content-type"], "application/grpc", "{name}");
            assert_eq!(response.headers()["grpc-status"], status, "{name}");
            assert_eq!(response.headers()["cache-control"], "no-store", "{name}");
            assert_eq!(response.body(), "", "{name}");
        }
    }

    #[test]
    fn messages_need_no_percent_encoding() {
        for kind in ErrorKind::ALL {
            assert!(
                message(kind).bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'%'),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn reasons_of_one_kind_get_the_same_response() {
        let headers = |reason| response(reason).headers().clone();
        assert_eq!(headers(Reason::KeyUnknown), headers(Reason::KeyRevoked));
        assert_eq!(headers(Reason::KeyUnknown), headers(Reason::CredentialMissing));
    }

    #[test]
    fn reports_when_to_try_again() {
        let limited = response(rate_limited(Duration::from_millis(1500)));
        assert_eq!(limited.headers()["grpc-retry-pushback-ms"], "1500");
        assert_eq!(limited.headers()["retry-after"], "2");
        assert!(limited.headers().contains_key("grpc-status-details-bin"));

        let too_expensive = response(rate_limited(None));
        assert_eq!(too_expensive.headers()["grpc-retry-pushback-ms"], "-1");
        assert!(!too_expensive.headers().contains_key("grpc-status-details-bin"));

        let down = response(Reason::StorePanicked);
        assert_eq!(down.headers()["grpc-retry-pushback-ms"], "1000");

        let unauthenticated = response(Reason::CredentialMissing);
        assert!(!unauthenticated.headers().contains_key("grpc-retry-pushback-ms"));
        assert!(!unauthenticated.headers().contains_key("grpc-status-details-bin"));
    }

    #[test]
    fn the_push_back_is_rounded_up_and_fits_its_field() {
        for (delay, milliseconds) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(1), 1),
            (Duration::from_micros(1001), 2),
            (Duration::from_millis(2_147_483_647), i32::MAX),
            (Duration::from_millis(2_147_483_648), -1),
            (Duration::MAX, -1),
        ] {
            assert_eq!(push_back(delay), milliseconds, "{delay:?}");
        }
    }
}
