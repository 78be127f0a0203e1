//! How a command ends.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::process::ExitCode;

use serde_json::json;

use crate::key::KeyId;
use crate::manage::ManageError;
use crate::rejection::{ErrorKind, Reason};
use crate::store::{StoreError, StoreErrorKind};

/// The status to exit with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Negative = 3,
    NotAllowed = 4,
    NotFound = 5,
    Overtaken = 6,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command was not done. No text in it is a secret, and none is an argument that may be one.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// Stable: lower-case letters and `_`.
    pub(super) code: &'static str,
    pub(super) message: Cow<'static, str>,
    /// What to do about it.
    pub(super) next: Option<Cow<'static, str>>,
}

impl Failure {
    fn new(exit: Exit, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { exit, code, message: message.into(), next: None }
    }

    pub(super) fn failed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exit::Failed, "failed", message)
    }

    /// A verdict could not be reached.
    pub(super) fn undecided(reason: &Reason) -> Self {
        Self::new(Exit::Failed, reason.code(), format!("No verdict: {reason}."))
    }

    pub(super) fn usage(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// A file could not be read, and others can.
    pub(super) fn unread(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exit::Failed, UNREAD, message)
    }

    pub(super) fn is_unread(&self) -> bool {
        self.code == UNREAD
    }

    /// Something was to be asked, and there is no one to answer.
    pub(super) fn unasked(message: impl Into<Cow<'static, str>>, next: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Exit::Usage, "confirmation_needed", message).next(next)
    }

    pub(super) fn declined() -> Self {
        Self::new(Exit::Usage, "declined", "Nothing was changed.")
    }

    pub(super) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted", "Interrupted: nothing was done.")
    }

    pub(super) fn not_found() -> Self {
        ManageError::NotFound.into()
    }

    pub(super) fn revoked(id: &KeyId) -> Self {
        Self::new(Exit::NotFound, REVOKED, format!("The key {id} is revoked."))
            .next("It can be shown and deleted. `create` makes a new one.")
    }

    pub(super) fn next(self, next: impl Into<Cow<'static, str>>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.code == REVOKED
    }

    /// Whether the reader of standard output has gone.
    pub(super) fn is_closed_pipe(&self) -> bool {
        self.code == CLOSED_PIPE
    }

    pub(super) fn text(&self, as_json: bool) -> String {
        if as_json {
            return json!({ "code": self.code, "message": self.message, "next": self.next }).to_string();
        }
        let next = self.next.iter().map(|next| format!("\n{next}"));
        next.fold(format!("error: {}", self.message), |text, next| text + &next)
    }
}

const REVOKED: &str = "revoked";
const UNREAD: &str = "unread";
const CLOSED_PIPE: &str = "closed_pipe";

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::BrokenPipe { CLOSED_PIPE } else { "failed" };
        Self::new(Exit::Failed, code, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        ManageError::from(error).into()
    }
}

impl From<ManageError> for Failure {
    fn from(error: ManageError) -> Self {
        let exit = match error.kind() {
            ErrorKind::Forbidden | ErrorKind::Unauthenticated => Exit::NotAllowed,
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::Invalid => Exit::Usage,
            ErrorKind::Overtaken => Exit::Overtaken,
            _ => Exit::Failed,
        };
        let code = match &error {
            ManageError::Forbidden(forbidden) => forbidden.code(),
            ManageError::Store(error) if error.broken_key().is_some() => "record_corrupt",
            error => error.kind().code(),
        };
        let failure = Self::new(exit, code, chain(&error));
        match &error {
            ManageError::NotFound => failure
                .next("`list` shows the keys that there are; a revoked key can only be shown and deleted."),
            ManageError::Overtaken => failure.next("Look at it with `show`, and try again."),
            ManageError::Store(error) if error.broken_key().is_some() => {
                failure.next("The key denies itself. It can be revoked and deleted.")
            }
            ManageError::Store(error) if error.kind() == StoreErrorKind::Unavailable => {
                failure.next("If it was a change, it may have been made: look before you try again.")
            }
            _ => failure,
        }
    }
}

/// What its reader may cut off, as `list | head` does, has ended as `cut` says then.
pub(super) fn may_be_cut<T>(done: Result<T, Failure>, cut: T) -> Result<T, Failure> {
    match done {
        Err(failure) if failure.is_closed_pipe() => Ok(cut),
        done => done,
    }
}

/// The error with its sources, each said once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::Forbidden;
    use crate::rejection::FieldError;
    use crate::store::BrokenKey;

    #[test]
    fn each_error_has_its_status_and_its_code() {
        let store = |kind| ManageError::from(StoreError::new(kind));
        let invalid = vec![FieldError::new("name", "must not be blank")];
        for (error, exit, code) in [
            (ManageError::NotFound, Exit::NotFound, "not_found"),
            (ManageError::Invalid(invalid), Exit::Usage, "invalid"),
            (ManageError::Overtaken, Exit::Overtaken, "overtaken"),
            (Forbidden::TooManyKeys.into(), Exit::NotAllowed, "too_many_keys"),
            (ManageError::AlreadyExists, Exit::Failed, "already_exists"),
            (store(StoreErrorKind::Unavailable), Exit::Failed, "unavailable"),
            (StoreError::from(BrokenKey::new(None, "no scopes")).into(), Exit::Failed, "record_corrupt"),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.exit, failure.code), (exit, code), "{failure:?}");
        }
    }
}
