use std::fmt;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{ApiError, ErrorFormat, ErrorKind, Reason, Success, response};

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
/// The first row that applies is used. An error without a row has the status, code and text of its [kind](ErrorKind).
#[derive(Clone)]
pub struct ErrorTable {
    rows: &'static [Message],
    body: fn(&TableError<'_>) -> String,
    success: fn(&Success) -> (StatusCode, String),
}

/// A row of an [`ErrorTable`].
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
pub enum Applies {
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
    /// The error itself, with its request; `None` for a response made by a handler.
    pub error: Option<&'e ApiError<'e>>,
}

impl Message {
    /// A row of the table.
    ///
    /// # Panics
    ///
    /// If `status` is not 100 to 999; in a constant, at compile time.
    pub const fn new(applies: Applies, status: u16, code: &'static str, text: &'static str) -> Self {
        assert!(status >= 100 && status < 1000, "a status is 100 to 999");
        Self { applies, status, code, text, is_plain: false }
    }

    /// A row for all errors of a kind.
    pub const fn kind(kind: ErrorKind, status: u16, code: &'static str, text: &'static str) -> Self {
        Self::new(Applies::Kind(kind), status, code, text)
    }

    /// A row for rejections whose reason has this [code](super::Reason::code).
    pub const fn reason(reason: &'static str, status: u16, code: &'static str, text: &'static str) -> Self {
        Self::new(Applies::Reason(reason), status, code, text)
    }

    /// Sends only the text as the body, `text/plain`.
    #[must_use]
    pub const fn plain(self) -> Self {
        Self { is_plain: true, ..self }
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
        Self { rows, body, success: |success| (success.status, success.to_json().to_string()) }
    }

    /// Sets how the response to a successful key management call is written: its status, and JSON.
    #[must_use]
    pub const fn with_success(self, success: fn(&Success) -> (StatusCode, String)) -> Self {
        Self { success, ..self }
    }

    /// The response of the row with this code, for handlers whose errors are in the table.
    pub fn response<B: From<Bytes>>(&self, code: &str) -> Response<B> {
        let row = self.rows.iter().find(|row| row.code == code).copied();
        self.write(row.unwrap_or(Message::of(ErrorKind::Misconfigured)), None)
    }

    fn write<B: From<Bytes>>(&self, row: Message, error: Option<&ApiError<'_>>) -> Response<B> {
        let Message { code, text, is_plain, .. } = row;
        let status = row.status();
        if is_plain {
            return response(status, "text/plain", Bytes::from_static(text.as_bytes()));
        }
        let error = TableError { status, code, text, error };
        response(status, "application/json", (self.body)(&error))
    }
}

impl<B: From<Bytes>> ErrorFormat<B> for ErrorTable {
    fn error(&self, error: &ApiError<'_>) -> Response<B> {
        let applies = |row: &&Message| match row.applies {
            Applies::Kind(kind) => kind == error.kind(),
            Applies::Reason(code) => error.reason().is_some_and(|reason| reason.code() == code),
            Applies::Companion(name) => {
                matches!(error.reason(), Some(Reason::CompanionMissing { rule }) if *rule == name)
            }
            Applies::Handlers => false,
        };
        let row = self.rows.iter().find(applies).copied();
        self.write(row.unwrap_or(Message::of(error.kind())), Some(error))
    }

    fn success(&self, success: &Success) -> Response<B> {
        let (status, body) = (self.success)(success);
        response(status, "application/json", body)
    }
}

impl fmt::Debug for ErrorTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorTable").field("rows", &self.rows).finish_non_exhaustive()
    }
}
