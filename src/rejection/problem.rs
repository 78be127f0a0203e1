use bytes::Bytes;
use http::{HeaderValue, Response};

use super::{ApiError, ErrorFormat, ErrorKind, response};

/// Errors as problem details (RFC 9457): the default format.
///
/// ```text
/// HTTP/1.1 401 Unauthorized
/// content-type: application/problem+json
///
/// {"type":"about:blank","title":"Unauthorized","status":401,"code":"unauthenticated","detail":"…"}
/// ```
///
/// `code` is the [code](ApiError::code) of the error. For invalid fields of a key management call, `errors` lists
/// them:
///
/// ```json
/// {"type":"about:blank","title":"Bad Request","status":400,"code":"invalid","detail":"A field is not valid.",
///  "errors":[{"field":"name","message":"must have no control characters"}]}
/// ```
///
/// Works with every body that can be made from [`Bytes`]: axum's, or `Full<Bytes>`. Boxed bodies and tonic's cannot;
/// give their assembly [another format](ErrorFormat).
#[derive(Clone, Copy, Debug, Default)]
pub struct ProblemDetails;

impl<B: From<Bytes>> ErrorFormat<B> for ProblemDetails {
    fn error(&self, error: &ApiError<'_>) -> Response<B> {
        const TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");
        match error.rejection() {
            Some(_) => response(error.status(), TYPE, Bytes::from_static(body(error).as_bytes())),
            #[cfg(feature = "json")]
            None => response(error.status(), TYPE, document(error).to_string()),
            #[cfg(not(feature = "json"))]
            None => response(error.status(), TYPE, Bytes::from_static(body(error).as_bytes())),
        }
    }
}

/// The document of an error whose members vary.
#[cfg(feature = "json")]
fn document(error: &ApiError<'_>) -> serde_json::Value {
    let mut document = serde_json::json!({
        "type": "about:blank",
        "title": error.status().canonical_reason(),
        "status": error.status().as_u16(),
        "code": error.code(),
        "detail": error.message(),
    });
    if !error.fields().is_empty() {
        let fields = error.fields().iter();
        let fields =
            fields.map(|fault| serde_json::json!({ "field": fault.field, "message": fault.message }));
        document["errors"] = fields.collect();
    }
    document
}

macro_rules! problem {
    ($title:literal, $status:literal, $code:literal, $detail:literal) => {
        concat!(
            r#"{"type":"about:blank","title":""#,
            $title,
            r#"","status":"#,
            $status,
            r#","code":""#,
            $code,
            r#"","detail":""#,
            $detail,
            r#""}"#
        )
    };
}

/// Built at compile time, so that a flood of bad requests costs no formatting.
fn body(error: &ApiError<'_>) -> &'static str {
    match (error.kind(), error.code()) {
        (ErrorKind::Unauthenticated, _) => {
            problem!("Unauthorized", 401, "unauthenticated", "The credential is missing or not valid.")
        }
        (ErrorKind::AmbiguousCredentials, _) => problem!(
            "Bad Request",
            400,
            "ambiguous_credentials",
            "More than one credential was sent. Send exactly one."
        ),
        (ErrorKind::RateLimited, "cost_exceeds_limit") => problem!(
            "Too Many Requests",
            429,
            "cost_exceeds_limit",
            "The request costs more than the rate limit allows at all. Waiting does not help."
        ),
        (ErrorKind::RateLimited, "quota_used_up") => problem!(
            "Too Many Requests",
            429,
            "quota_used_up",
            "The quota of this period is used up. Try again after the time in Retry-After."
        ),
        (ErrorKind::RateLimited, "credits_used_up") => problem!(
            "Too Many Requests",
            429,
            "credits_used_up",
            "The credits are used up. Waiting does not help."
        ),
        (ErrorKind::RateLimited, "concurrency_limited") => problem!(
            "Too Many Requests",
            429,
            "concurrency_limited",
            "Too many requests at a time. Try again when another one is answered."
        ),
        (ErrorKind::RateLimited, _) => problem!(
            "Too Many Requests",
            429,
            "rate_limited",
            "The rate limit is used up. Try again after the time in Retry-After."
        ),
        (ErrorKind::OrganizationMissing, _) => {
            problem!(
                "Bad Request",
                400,
                "organization_missing",
                "The request has to name an organization or a mode."
            )
        }
        (ErrorKind::OrganizationMismatch, _) => {
            problem!(
                "Forbidden",
                403,
                "organization_mismatch",
                "The organization or mode is not that of the key."
            )
        }
        (ErrorKind::OrganizationNotFound, _) => {
            problem!("Not Found", 404, "organization_not_found", "There is no such organization.")
        }
        (ErrorKind::Forbidden, "scope_missing") => {
            problem!("Forbidden", 403, "scope_missing", "The key may not do this.")
        }
        (ErrorKind::Forbidden, "address_not_allowed") => {
            problem!("Forbidden", 403, "address_not_allowed", "The key may not do this.")
        }
        (ErrorKind::Forbidden, "tier_mismatch") => {
            problem!("Forbidden", 403, "tier_mismatch", "The key may not do this.")
        }
        (ErrorKind::Forbidden, "role_too_low") => {
            problem!("Forbidden", 403, "role_too_low", "The key may not do this.")
        }
        (ErrorKind::Forbidden, "route_not_covered") => {
            problem!("Forbidden", 403, "route_not_covered", "The key may not do this.")
        }
        (ErrorKind::Forbidden, "path_not_canonical") => {
            problem!("Forbidden", 403, "path_not_canonical", "The key may not do this.")
        }
        (ErrorKind::Forbidden, _) => problem!("Forbidden", 403, "forbidden", "The key may not do this."),
        (ErrorKind::NotFound, "route_not_found") => {
            problem!("Not Found", 404, "route_not_found", "The resource does not exist.")
        }
        (ErrorKind::NotFound, _) => {
            problem!("Not Found", 404, "not_found", "The resource does not exist.")
        }
        (ErrorKind::Invalid, _) => problem!("Bad Request", 400, "invalid", "A field is not valid."),
        (ErrorKind::AlreadyExists, _) => {
            problem!("Conflict", 409, "already_exists", "The key already exists.")
        }
        (ErrorKind::Overtaken, _) => {
            problem!("Precondition Failed", 412, "overtaken", "The key was changed meanwhile. Read it again.")
        }
        (ErrorKind::Unavailable, _) => problem!(
            "Service Unavailable",
            503,
            "unavailable",
            "The credential can't be checked right now. Try again."
        ),
        (ErrorKind::Misconfigured, _) => {
            problem!("Internal Server Error", 500, "misconfigured", "The server is misconfigured.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rejection::Rejection;
    use crate::rejection::reason::tests::every_reason;
    use crate::request::RequestView;

    #[test]
    fn every_rejection_is_the_document_of_its_kind_and_code() {
        let request = http::Request::new(());
        for reason in every_reason() {
            let rejection = Rejection::new(reason);
            let error = ApiError::of_rejection(&rejection, RequestView::of(&request));
            let response: Response<Bytes> = ProblemDetails.error(&error);
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(
                body,
                serde_json::json!({
                    "type": "about:blank",
                    "title": error.status().canonical_reason(),
                    "status": error.status().as_u16(),
                    "code": error.code(),
                    "detail": error.message(),
                }),
                "{rejection:?}"
            );
            assert_eq!(response.status(), error.status(), "{rejection:?}");
        }
    }
}
