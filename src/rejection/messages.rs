use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};

use super::{ApiError, ErrorFormat, ErrorKind, FieldError, Reason, Success, json_response, response};
use crate::limit::Quota;
use crate::request::RequestId;

/// Formats errors by a table: the status, code and text of each kind of error, and how its body is written.
///
/// ```
/// use http::StatusCode;
/// use serde_json::json;
/// use tower_api_keys::rejection::{ErrorKind, ErrorTable, Message};
///
/// const MESSAGES: &[Message] = &[
///     Message::reason("scope_missing", 403, "no_scope", "Your key lacks a scope."),
///     Message::kind(ErrorKind::Forbidden, 403, "forbidden", "Your key may not do this."),
///     Message::kind(ErrorKind::Unauthenticated, 401, "bad_key", "Your key is not valid."),
/// ];
///
/// let errors = ErrorTable::json(MESSAGES, |error| json!({ "code": error.code, "text": error.text }).to_string());
/// ```
///
/// The first row that applies counts. An error that no row applies to has the status, code and text of its
/// [kind](ErrorKind). The body of a row is written once, and once for each limit, unless the error brings something of its
/// own: fields, a message or a request id.
#[derive(Clone)]
pub struct ErrorTable {
    rows: &'static [Message],
    /// The bodies of each row, for errors that bring nothing of their own.
    bodies: OnceLock<Arc<[Bodies]>>,
    body: fn(&TableError<'_>) -> String,
    success: fn(&Success) -> (StatusCode, String),
}

/// The bodies of one row, by limit. A limit that finds no room, as keys can have their own, has its body written each time.
type Bodies = [OnceLock<(Option<Quota>, Bytes)>; 16];

/// A row of an [`ErrorTable`]. A status outside of 100 to 999 panics; in a constant, at compile time.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    applies: Applies,
    status: u16,
    code: &'static str,
    text: &'static str,
    is_plain: bool,
}

/// The errors that a [`Message`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applies {
    /// All errors of this kind.
    Kind(ErrorKind),
    /// Rejections whose reason has this [code](super::Reason::code).
    Reason(&'static str),
    /// Rejections for a missing companion, if the rule of [`Companions`](crate::credential::Companions) has this
    /// [name](crate::credential::Parts::named).
    Companion(&'static str),
    /// No error of the crate: for responses that handlers make with [`ErrorTable::response`].
    Handlers,
}

/// An error with its row of the [`ErrorTable`], for writing the body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TableError<'e> {
    /// The status of the response.
    pub status: StatusCode,
    /// The code of the row.
    pub code: &'static str,
    /// The text of the row.
    pub text: &'static str,
    /// What a failed call that manages keys says of itself.
    pub message: Option<&'e str>,
    /// Which fields of such a call are not valid.
    pub fields: &'e [FieldError],
    /// The limit that the request was over.
    pub quota: Option<Quota>,
    /// The identifier of the request, if the assembly [gives one to each](crate::ApiKeysBuilder::request_ids).
    pub request_id: Option<&'e RequestId>,
}

impl Message {
    /// A row for all errors of a kind.
    pub const fn kind(kind: ErrorKind, status: u16, code: &'static str, text: &'static str) -> Self {
        Self::new(Applies::Kind(kind), status, code, text)
    }

    /// A row for rejections whose reason has this [code](super::Reason::code).
    pub const fn reason(reason: &'static str, status: u16, code: &'static str, text: &'static str) -> Self {
        Self::new(Applies::Reason(reason), status, code, text)
    }

    /// A row for rejections for a missing companion, if the rule of [`Companions`](crate::credential::Companions) has this
    /// [name](crate::credential::Parts::named).
    pub const fn companion(rule: &'static str, status: u16, code: &'static str, text: &'static str) -> Self {
        Self::new(Applies::Companion(rule), status, code, text)
    }

    /// A row for no error of the crate, but for responses that handlers make with [`ErrorTable::response`].
    pub const fn for_handlers(status: u16, code: &'static str, text: &'static str) -> Self {
        Self::new(Applies::Handlers, status, code, text)
    }

    /// Sends only the text as the body, `text/plain`.
    #[must_use]
    pub const fn plain(self) -> Self {
        Self { is_plain: true, ..self }
    }

    const fn new(applies: Applies, status: u16, code: &'static str, text: &'static str) -> Self {
        assert!(status >= 100 && status < 1000, "a status is 100 to 999");
        Self { applies, status, code, text, is_plain: false }
    }

    /// The row of a kind's own status, code and message.
    fn of(kind: ErrorKind) -> Self {
        Self::new(Applies::Kind(kind), kind.status().as_u16(), kind.code(), kind.message())
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl ErrorTable {
    /// Errors in JSON, written by `body`.
    pub const fn json(rows: &'static [Message], body: fn(&TableError<'_>) -> String) -> Self {
        Self {
            rows,
            bodies: OnceLock::new(),
            body,
            success: |success| (success.status, success.to_json().to_string()),
        }
    }

    /// Sets how the response to a successful key management call is written: its status, and JSON.
    #[must_use]
    pub const fn with_success(mut self, success: fn(&Success) -> (StatusCode, String)) -> Self {
        self.success = success;
        self
    }

    /// The response of the row with this code, for handlers whose errors are in the table.
    pub fn response<B: From<Bytes>>(&self, code: &str) -> Response<B> {
        let row = self.rows.iter().position(|row| row.code == code);
        self.write(row.ok_or(ErrorKind::Misconfigured), None)
    }

    /// The response of a row, or of a kind that has none.
    fn write<B: From<Bytes>>(
        &self,
        row: Result<usize, ErrorKind>,
        error: Option<&ApiError<'_>>,
    ) -> Response<B> {
        let of_kind;
        let message = match row {
            Ok(row) => &self.rows[row],
            Err(kind) => {
                of_kind = Message::of(kind);
                &of_kind
            }
        };
        let status = message.status();
        if message.is_plain {
            let text = Bytes::from_static(message.text.as_bytes());
            return response(status, HeaderValue::from_static("text/plain"), text);
        }
        let error = TableError::new(message, error);
        let body = || Bytes::from((self.body)(&error));
        let body = match row {
            Ok(row) if error.is_constant() => self.kept_body(row, error.quota, body),
            _ => body(),
        };
        json_response(status, body)
    }

    fn kept_body(&self, row: usize, quota: Option<Quota>, body: impl Fn() -> Bytes) -> Bytes {
        let bodies = self.bodies.get_or_init(|| self.rows.iter().map(|_| Bodies::default()).collect());
        for kept in &bodies[row] {
            let (of, kept) = kept.get_or_init(|| (quota, body()));
            if *of == quota {
                return kept.clone();
            }
        }
        body()
    }
}

impl<'e> TableError<'e> {
    fn new(row: &Message, error: Option<&'e ApiError<'e>>) -> Self {
        Self {
            status: row.status(),
            code: row.code,
            text: row.text,
            message: error.filter(|error| error.rejection().is_none()).map(ApiError::message),
            fields: error.map_or(&[], |error| error.fields()),
            quota: error.and_then(ApiError::rate_limit).map(|over| over.quota),
            request_id: error.and_then(ApiError::request_id),
        }
    }

    /// Whether the body depends on row and limit alone.
    fn is_constant(&self) -> bool {
        self.message.is_none() && self.fields.is_empty() && self.request_id.is_none()
    }
}

impl<B: From<Bytes>> ErrorFormat<B> for ErrorTable {
    fn error(&self, error: &ApiError<'_>) -> Response<B> {
        let reason = error.reason().map(Reason::code);
        let applies = |row: &Message| match row.applies {
            Applies::Kind(kind) => kind == error.kind(),
            Applies::Reason(code) => reason == Some(code),
            Applies::Companion(name) => {
                matches!(error.reason(), Some(Reason::CompanionMissing { rule }) if *rule == name)
            }
            Applies::Handlers => false,
        };
        let row = self.rows.iter().position(applies);
        self.write(row.ok_or(error.kind()), Some(error))
    }

    fn success(&self, success: &Success) -> Response<B> {
        let (status, body) = (self.success)(success);
        json_response(status, body)
    }
}

impl fmt::Debug for ErrorTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorTable").field("rows", &self.rows).finish_non_exhaustive()
    }
}
