//! What is answered to who is refused, in the published words.

use bytes::Bytes;
use http::{Response, StatusCode};
use thiserror::Error;

use super::AUTHORIZE;
use crate::presets::json::push_json_string;
use crate::rejection::{Reason, Rejection, RejectionFormat, RejectionKind, response};

/// Why no token is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthorizeError {
    /// 401: the caller has presented no secret. The layer refuses such requests before, in the same words.
    #[error("no secret of an app was presented")]
    SecretMissing,
    /// 403: there is no `sub`.
    #[error("no consumer was named")]
    ConsumerMissing,
    /// 400: there is no `app`.
    #[error("no app was named")]
    AppMissing,
    /// 401, as for a bad secret: the app is not the one whose secret was presented, or there are several.
    #[error("not the app whose secret was presented")]
    Invalid,
}

impl AuthorizeError {
    /// The answer, for a handler to give.
    pub fn response<B: From<Bytes>>(self, format: PasbyFormat) -> Response<B> {
        let status = match self {
            Self::Invalid => return format.invalid(),
            Self::SecretMissing => StatusCode::UNAUTHORIZED,
            Self::ConsumerMissing => StatusCode::FORBIDDEN,
            Self::AppMissing => StatusCode::BAD_REQUEST,
        };
        text(status, self.words())
    }

    fn words(self) -> &'static str {
        match self {
            Self::SecretMissing => "App secret missing",
            Self::ConsumerMissing => "Forbidden request. No consumer provided.",
            Self::AppMissing => "Authorization grants are only given to apps not organizations.",
            Self::Invalid => INVALID,
        }
    }
}

/// The types of errors in the envelope. All but the last are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorType {
    /// `authorization_error`: who calls is not known, or may not do this.
    Authorization,
    /// `param_error`: something that the request says is wrong. For handlers.
    Param,
    /// `session_cancel`: the flow was cancelled. For handlers.
    SessionCancel,
    /// `session_expiry`: the session token has expired.
    SessionExpiry,
    /// `server_error`.
    Server,
}

impl ErrorType {
    /// The type as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization_error",
            Self::Param => "param_error",
            Self::SessionCancel => "session_cancel",
            Self::SessionExpiry => "session_expiry",
            Self::Server => "server_error",
        }
    }
}

/// Refusals as published: some in plain text, the rest in the envelope
/// `{"status":"handled","reason":"…","type":"…","code":…,"helper_url":"…","body":null}`.
#[derive(Clone, Copy, Debug)]
pub struct PasbyFormat {
    code: fn(StatusCode) -> u16,
}

impl Default for PasbyFormat {
    /// With the status as the code.
    fn default() -> Self {
        Self::with_codes(|status| status.as_u16())
    }
}

impl PasbyFormat {
    /// Takes the envelope's `code` from `code`. The guide shows one, and does not say what it is.
    pub fn with_codes(code: fn(StatusCode) -> u16) -> Self {
        Self { code }
    }

    /// An answer in the published envelope, for what handlers refuse.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Response, StatusCode};
    /// use tower_api_keys::presets::pasby::{ErrorType, PasbyFormat};
    ///
    /// let format = PasbyFormat::default();
    /// let response: Response<Bytes> = format.error(StatusCode::NOT_FOUND, ErrorType::Param, "No such flow.");
    /// # let body = std::str::from_utf8(response.body())?;
    /// # assert!(body.starts_with(r#"{"status":"handled","reason":"No such flow.","type":"param_error","code":404,"#));
    /// # Ok::<_, std::str::Utf8Error>(())
    /// ```
    pub fn error<B: From<Bytes>>(self, status: StatusCode, error: ErrorType, reason: &str) -> Response<B> {
        let mut body = String::from(r#"{"status":"handled","reason":"#);
        push_json_string(&mut body, reason);
        body.push_str(r#","type":"#);
        push_json_string(&mut body, error.as_str());
        body.push_str(r#","code":"#);
        body.push_str(itoa::Buffer::new().format((self.code)(status)));
        body.push_str(r#","helper_url":"https://docs.pasby.africa/docs/reference/errors","body":null}"#);
        response(status, "application/json", Bytes::from(body))
    }

    /// The one answer to whatever is wrong with key, secret or token.
    fn invalid<B: From<Bytes>>(self) -> Response<B> {
        self.error(StatusCode::UNAUTHORIZED, ErrorType::Authorization, INVALID)
    }
}

const INVALID: &str = "The credentials are not valid.";

impl<B: From<Bytes>> RejectionFormat<B> for PasbyFormat {
    fn response(&self, rejection: &Rejection) -> Response<B> {
        let unauthorized = |error, reason| self.error(StatusCode::UNAUTHORIZED, error, reason);
        match (rejection.kind(), rejection.reason()) {
            (_, Reason::CredentialMissing) => {
                text(StatusCode::UNAUTHORIZED, "An api key is needed to access our services.")
            }
            (_, Reason::CompanionMissing { rule: AUTHORIZE }) => {
                AuthorizeError::SecretMissing.response(*self)
            }
            (_, Reason::CompanionMissing { .. }) => {
                text(StatusCode::BAD_REQUEST, "App secret missing in headers.")
            }
            (_, Reason::SessionTokenMissing) => {
                unauthorized(ErrorType::Authorization, "A session token is needed in x-access-token.")
            }
            (_, Reason::SessionTokenExpired) => {
                unauthorized(ErrorType::SessionExpiry, "The session has expired. Authorize again.")
            }
            (RejectionKind::Unauthenticated | RejectionKind::AmbiguousCredentials, _) => self.invalid(),
            (RejectionKind::RateLimited, _) => {
                text(StatusCode::TOO_MANY_REQUESTS, "Too many requests. Try again later.")
            }
            (
                RejectionKind::Forbidden
                | RejectionKind::OrganizationMissing
                | RejectionKind::OrganizationMismatch
                | RejectionKind::OrganizationNotFound,
                _,
            ) => self.error(StatusCode::FORBIDDEN, ErrorType::Authorization, "The key may not do this."),
            (kind @ (RejectionKind::Unavailable | RejectionKind::Misconfigured), _) => {
                self.error(kind.status(), ErrorType::Server, "Something went wrong on our side. Try again.")
            }
        }
    }
}

/// As published, to the byte: no line break at the end.
fn text<B: From<Bytes>>(status: StatusCode, words: &'static str) -> Response<B> {
    response(status, "text/plain", Bytes::from_static(words.as_bytes()))
}
