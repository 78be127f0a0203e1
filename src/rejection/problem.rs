use bytes::Bytes;
use http::Response;

use super::{Rejection, RejectionFormat, RejectionKind, response};

/// Refusals as problem details (RFC 9457): the default format.
///
/// ```text
/// HTTP/1.1 401 Unauthorized
/// content-type: application/problem+json
///
/// {"type":"about:blank","title":"Unauthorized","status":401,"code":"unauthenticated","detail":"…"}
/// ```
///
/// `code` is one word a kind: `unauthenticated`, `ambiguous_credentials`, `rate_limited`, `organization_missing`,
/// `organization_mismatch`, `organization_not_found`, `forbidden`, `unavailable`, `misconfigured`. Works with every body that can be made from
/// [`Bytes`]: axum's, or `Full<Bytes>`. Boxed bodies and tonic's can't; give their layers a [format of their
/// own](crate::rejection#a-format-of-ones-own).
#[derive(Clone, Copy, Debug, Default)]
pub struct ProblemDetails;

impl<B: From<Bytes>> RejectionFormat<B> for ProblemDetails {
    fn response(&self, rejection: &Rejection) -> Response<B> {
        let kind = rejection.kind();
        response(kind.status(), "application/problem+json", body(kind))
    }
}

/// Ready-made, so that a flood of bad requests costs no formatting.
fn body(kind: RejectionKind) -> &'static str {
    match kind {
        RejectionKind::Unauthenticated => {
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"code":"unauthenticated","detail":"The credential is missing or not valid."}"#
        }
        RejectionKind::AmbiguousCredentials => {
            r#"{"type":"about:blank","title":"Bad Request","status":400,"code":"ambiguous_credentials","detail":"More than one credential was sent. Send exactly one."}"#
        }
        RejectionKind::RateLimited => {
            r#"{"type":"about:blank","title":"Too Many Requests","status":429,"code":"rate_limited","detail":"The rate limit is used up. Try again after the time in Retry-After."}"#
        }
        RejectionKind::OrganizationMissing => {
            r#"{"type":"about:blank","title":"Bad Request","status":400,"code":"organization_missing","detail":"The request has to name an organization."}"#
        }
        RejectionKind::OrganizationMismatch => {
            r#"{"type":"about:blank","title":"Forbidden","status":403,"code":"organization_mismatch","detail":"The organization is not that of the key."}"#
        }
        RejectionKind::OrganizationNotFound => {
            r#"{"type":"about:blank","title":"Not Found","status":404,"code":"organization_not_found","detail":"There is no such organization."}"#
        }
        RejectionKind::Forbidden => {
            r#"{"type":"about:blank","title":"Forbidden","status":403,"code":"forbidden","detail":"The key may not do this."}"#
        }
        RejectionKind::Unavailable => {
            r#"{"type":"about:blank","title":"Service Unavailable","status":503,"code":"unavailable","detail":"The credential can't be checked right now. Try again."}"#
        }
        RejectionKind::Misconfigured => {
            r#"{"type":"about:blank","title":"Internal Server Error","status":500,"code":"misconfigured","detail":"The server is set up wrongly."}"#
        }
    }
}
