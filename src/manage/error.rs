use std::borrow::Cow;
use std::fmt;
use std::io;
#[cfg(feature = "axum")]
use std::sync::Arc;

use thiserror::Error;

use crate::key::KeyId;
#[cfg(feature = "axum")]
use crate::rejection::ApiError;
use crate::rejection::{ErrorKind, FieldError};
#[cfg(feature = "axum")]
use crate::request::RequestView;
use crate::scope::{ScopeRequirement, ScopeSet};
use crate::store::StoreError;

/// Why a key operation failed. Nothing was changed, unless the store failed halfway.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManageError {
    /// The request has no [`Principal`](crate::Principal). Only routes return this: the manager itself needs an
    /// [`Authority`](super::Authority).
    #[error("the request is not authenticated")]
    Unauthenticated,
    /// The caller may not do this.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The owner has no such key, or it is revoked: a revoked key can only be read and deleted.
    #[error("there is no such key")]
    NotFound,
    /// The request is not valid. At least one field has the reason.
    #[error("{}", Fields(.0))]
    Invalid(Vec<FieldError>),
    /// This key was already [imported](super::KeyManager::import) for this owner. A program that imports a key at
    /// each start treats this as success.
    #[error("the key already exists")]
    AlreadyExists,
    /// This key was [imported](super::KeyManager::import), under this identifier, and deleted since. It stays deleted unless
    /// the operator [forgets](super::KeyManager::forget_import) that.
    #[error("the key was imported as {0} before, and deleted since")]
    Deleted(KeyId),
    /// The key was changed since the version that [the change is for](super::KeyChange::if_version).
    #[error("the key was changed meanwhile")]
    Overtaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system provided no random bytes.
    #[error(transparent)]
    Randomness(io::Error),
}

/// The permission that the caller lacks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// The scope for managing keys.
    #[error("this needs the scope: {0}")]
    ManagementScope(ScopeRequirement),
    /// The caller does not hold these scopes of the key.
    #[error("the caller does not hold all scopes of the key: {}", list(.0))]
    Scopes(ScopeSet),
    /// The caller used a secret that a rotation has replaced, in its grace period. It authenticates requests, and manages
    /// nothing: an old secret that leaked must neither make keys nor shut the owner out.
    #[error("the secret was replaced: use the new one to manage keys")]
    SecretRetired,
    /// The caller's own key, or its [companion](crate::credential::Companions), was valid when the request arrived.
    /// Since then it was revoked, deleted, disabled or rotated, has lost scopes, or has expired.
    #[error("the caller's own key has ended")]
    Ended,
    /// The key would expire later than the caller's own.
    #[error("the key would outlive the caller's own")]
    Expiry,
    /// The key has a higher rate limit than the caller's own.
    #[error("the key has higher rate limits than the caller's own")]
    Limits,
    /// The key could be used from addresses that the caller's own cannot be used from.
    #[error("the key could be used from more addresses than the caller's own")]
    Addresses,
    /// The caller may not choose the metadata of keys: see [`KeyManager::with_metadata_of_callers`].
    ///
    /// [`KeyManager::with_metadata_of_callers`]: super::KeyManager::with_metadata_of_callers
    #[error("the caller may not set the metadata of keys")]
    Metadata,
    /// The owner has as many keys as [it can have](super::KeyManager::with_max_keys). Delete some.
    #[error("the owner has as many keys as it can have")]
    TooManyKeys,
    /// Only the application itself, as [`Authority::operator`](super::Authority::operator), may do this; over HTTP, only a
    /// caller of the system.
    #[error("only the operator may do this")]
    OperatorOnly,
}

impl ManageError {
    pub(crate) fn invalid(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    /// The kind of the error for clients, with its status:
    ///
    /// | error | status |
    /// |---|---|
    /// | [`Unauthenticated`](Self::Unauthenticated) | 401 |
    /// | [`Forbidden`](Self::Forbidden) | 403 |
    /// | [`NotFound`](Self::NotFound) | 404 |
    /// | [`Invalid`](Self::Invalid) | 400 |
    /// | [`AlreadyExists`](Self::AlreadyExists), [`Deleted`](Self::Deleted) | 409 |
    /// | [`Overtaken`](Self::Overtaken) | 412 |
    /// | [`Store`](Self::Store), [`Randomness`](Self::Randomness) | 503 |
    pub fn kind(&self) -> ErrorKind {
        // No `_` arm: a new error has to choose its kind here.
        match self {
            Self::Unauthenticated => ErrorKind::Unauthenticated,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::NotFound => ErrorKind::NotFound,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::AlreadyExists | Self::Deleted(_) => ErrorKind::AlreadyExists,
            Self::Overtaken => ErrorKind::Overtaken,
            Self::Store(_) | Self::Randomness(_) => ErrorKind::Unavailable,
        }
    }
}

#[cfg(feature = "axum")]
impl ManageError {
    /// What clients learn of it.
    pub(crate) fn to_api_error<'e>(&'e self, request: RequestView<'e>) -> ApiError<'e> {
        let kind = self.kind();
        let fields: &[FieldError] = match self {
            Self::Invalid(fields) => fields,
            _ => &[],
        };
        let (code, message) = match self {
            Self::Forbidden(forbidden) => (forbidden.code(), format!("Not allowed: {forbidden}.").into()),
            Self::NotFound => (kind.code(), "There is no such key.".into()),
            Self::Store(error) if error.broken_key().is_some() => (
                "record_corrupt",
                "The record of the key can't be read. It can be revoked and deleted.".into(),
            ),
            Self::Store(_) | Self::Randomness(_) => {
                (kind.code(), "Keys can't be managed right now. Try again.".into())
            }
            _ => (kind.code(), Cow::Borrowed(kind.message())),
        };
        ApiError::new(kind, code, message, fields, request)
    }
}

/// A call of a handler that failed, on its way to the error format: in the extensions of the handler's response.
#[cfg(feature = "axum")]
#[derive(Clone, Debug)]
pub(crate) struct FailedCall(pub(crate) Arc<ManageError>);

impl Forbidden {
    /// A stable text, such as `scopes_exceed_own`: lower-case letters and `_`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ManagementScope(_) => "management_scope_missing",
            Self::Scopes(_) => "scopes_exceed_own",
            Self::SecretRetired => "secret_retired",
            Self::Ended => "own_key_ended",
            Self::Expiry => "expiry_exceeds_own",
            Self::Limits => "limits_exceed_own",
            Self::Addresses => "addresses_exceed_own",
            Self::Metadata => "metadata_not_settable",
            Self::TooManyKeys => "too_many_keys",
            Self::OperatorOnly => "operator_only",
        }
    }
}

/// Separated by spaces.
fn list(scopes: &ScopeSet) -> String {
    scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

struct Fields<'a>(&'a [FieldError]);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            field.fmt(f)?;
        }
        Ok(())
    }
}
