use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::StatusCode;

use super::{ErrorKind, RateLimited, Reason, Rejection};
use crate::request::{RequestId, RequestView};

/// The error that an [`ErrorFormat`](super::ErrorFormat) formats: a rejected request, a failed key management call,
/// or an unavailable handler argument.
#[derive(Clone, Debug)]
pub struct ApiError<'e> {
    kind: ErrorKind,
    code: &'static str,
    message: Cow<'e, str>,
    fields: &'e [FieldError],
    retry_after: Option<Duration>,
    rejection: Option<&'e Rejection>,
    request: RequestView<'e>,
}

impl<'e> ApiError<'e> {
    pub(crate) fn of_rejection(rejection: &'e Rejection, request: RequestView<'e>) -> Self {
        let (kind, reason) = (rejection.kind(), rejection.reason());
        let (code, message) = match reason {
            Reason::RateLimited(_) => match reason.code() {
                code @ "cost_exceeds_limit" => (code, COST_EXCEEDS_LIMIT),
                code @ "credits_used_up" => (code, CREDITS_USED_UP),
                code @ "quota_used_up" => (code, QUOTA_USED_UP),
                code @ "concurrency_limited" => (code, CONCURRENCY_LIMITED),
                code => (code, kind.message()),
            },
            // Only for forbidden requests may a client learn more than the kind.
            _ if matches!(kind, ErrorKind::Forbidden | ErrorKind::NotFound) => {
                (reason.code(), kind.message())
            }
            _ => (kind.code(), kind.message()),
        };
        Self {
            kind,
            code,
            message: message.into(),
            fields: &[],
            retry_after: rejection.retry_after(),
            rejection: Some(rejection),
            request,
        }
    }

    #[cfg(feature = "axum")]
    pub(crate) fn new(
        kind: ErrorKind,
        code: &'static str,
        message: impl Into<Cow<'e, str>>,
        fields: &'e [FieldError],
        request: RequestView<'e>,
    ) -> Self {
        let retry_after = (kind == ErrorKind::Unavailable).then_some(Duration::from_secs(1));
        Self { kind, code, message: message.into(), fields, retry_after, rejection: None, request }
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The status of the kind.
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// A stable text for programs: the code of the [kind](ErrorKind::code), or of the [reason](Reason::code) if the
    /// request is forbidden or over a limit. It does not reveal whether a key is unknown, revoked or expired.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// A sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The invalid fields of a key management call; empty for all other errors.
    pub fn fields(&self) -> &'e [FieldError] {
        self.fields
    }

    /// How long the client should wait before it tries again, if waiting helps. The response has it in `Retry-After`,
    /// independently of the format.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The limit that the request exceeded.
    pub fn rate_limit(&self) -> Option<&'e RateLimited> {
        match self.reason()? {
            Reason::RateLimited(limited) | Reason::Throttled(limited) => Some(limited),
            _ => None,
        }
    }

    /// The head of the request, without its body.
    pub fn request(&self) -> RequestView<'e> {
        self.request
    }

    /// The identifier of the request, if [request ids](crate::ApiKeysBuilder::request_ids) are enabled.
    pub fn request_id(&self) -> Option<&'e RequestId> {
        self.request.id()
    }

    /// The rejection, with its reason; `None` if a key management call failed. Do not send it to clients
    /// unintentionally.
    pub fn rejection(&self) -> Option<&'e Rejection> {
        self.rejection
    }

    /// The reason of the rejection. Do not send it to clients.
    pub fn reason(&self) -> Option<&'e Reason> {
        self.rejection.map(Rejection::reason)
    }
}

const COST_EXCEEDS_LIMIT: &str =
    "The request costs more than the rate limit allows at all. Waiting does not help.";
const QUOTA_USED_UP: &str = "The quota of this period is used up. Try again after the time in Retry-After.";
const CREDITS_USED_UP: &str = "The credits are used up. Waiting does not help.";
const CONCURRENCY_LIMITED: &str = "Too many requests at a time. Try again when another one is answered.";

/// An invalid field of a key management call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldError {
    /// The field: `name`, `scopes`, `expiresAt`, `notBefore`, `limits`, `allowedAddresses`, `metadata`, `grace`, `key`,
    /// `digest`, `hint`, `operator`, `reason`; from routes also `body`, `If-Match`, `limit`, `cursor`, `olderThanDays`,
    /// `expiresWithinDays`, `unusedForDays`, `createdBy`, `status`, `scope`, `namePrefix`,
    /// `descendants`, or the name of an unknown member.
    pub field: Cow<'static, str>,
    /// The requirement, which follows the field's name: `must be in the future`.
    pub message: Cow<'static, str>,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.message)
    }
}
