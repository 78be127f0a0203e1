use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use crate::key::RandomnessUnavailable;
use crate::rejection::{ErrorKind, FieldError};
use crate::scope::{ScopeRequirement, ScopeSet};
use crate::store::StoreError;

/// Why keys were not managed as asked. Nothing was changed, unless the store failed half way.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManageError {
    /// The request has no [`Principal`](crate::Principal). Only routes answer this; without a principal there is no
    /// [`Authority`](super::Authority) to ask the manager with.
    #[error("nobody is known to be calling")]
    Unauthenticated,
    /// The caller may not do this.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The owner has no such key, or it has ended: a revoked key can only be looked at and deleted.
    #[error("there is no such key")]
    NotFound,
    /// What was asked for can't be. At least one field says why.
    #[error("{}", Fields(.0))]
    Invalid(Vec<FieldError>),
    /// The very key to [import](super::KeyManager::import) is stored for this owner already. Whoever imports a key
    /// each time a program starts takes this for success.
    #[error("the key is stored already")]
    AlreadyExists,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}

/// What a caller lacks to manage keys as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Forbidden {
    /// The scope for managing keys.
    #[error("this needs the scope: {0}")]
    ManagementScope(ScopeRequirement),
    /// Scopes of the key, listed here, that the caller does not hold.
    #[error("the caller does not hold all scopes of the key: {0:?}")]
    Scopes(ScopeSet),
    /// The caller's own key, or the [companion](crate::credential::Companions) that came with it, which was good when the
    /// request came, has been revoked, deleted, switched off or rotated since, has lost scopes, or has expired.
    #[error("the caller's own key has ended")]
    Ended,
    /// The key would work longer than the caller's own.
    #[error("the key would outlive the caller's own")]
    Expiry,
    /// The key has a higher rate limit of its own than the caller's.
    #[error("the key has higher rate limits than the caller's own")]
    Limits,
    /// The key could be used from addresses that the caller's own can't be used from.
    #[error("the key could be used from more addresses than the caller's own")]
    Addresses,
    /// Only the host itself, as [`Authority::operator`](super::Authority::operator), does this.
    #[error("only the operator may do this")]
    OperatorOnly,
}

impl ManageError {
    pub(super) fn invalid(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    /// What kind of error it is to a client. Its status:
    ///
    /// | error | status |
    /// |---|---|
    /// | [`Unauthenticated`](Self::Unauthenticated) | 401 |
    /// | [`Forbidden`](Self::Forbidden) | 403 |
    /// | [`NotFound`](Self::NotFound) | 404 |
    /// | [`Invalid`](Self::Invalid) | 400 |
    /// | [`AlreadyExists`](Self::AlreadyExists) | 409 |
    /// | [`Store`](Self::Store), [`Randomness`](Self::Randomness) | 503 |
    pub fn kind(&self) -> ErrorKind {
        // No `_` arm: a new error has to choose its kind here.
        match self {
            Self::Unauthenticated => ErrorKind::Unauthenticated,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::NotFound => ErrorKind::NotFound,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::AlreadyExists => ErrorKind::AlreadyExists,
            Self::Store(_) | Self::Randomness(_) => ErrorKind::Unavailable,
        }
    }
}

impl Forbidden {
    /// A stable text, such as `scopes_exceed_own`: lower-case letters and `_`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ManagementScope(_) => "management_scope_missing",
            Self::Scopes(_) => "scopes_exceed_own",
            Self::Ended => "own_key_ended",
            Self::Expiry => "expiry_exceeds_own",
            Self::Limits => "limits_exceed_own",
            Self::Addresses => "addresses_exceed_own",
            Self::OperatorOnly => "operator_only",
        }
    }
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
