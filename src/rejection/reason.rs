use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::{Check, ErrorKind};
use crate::credential::MalformedCredential;
use crate::scope::ScopeRequirement;
use crate::store::StoreError;

/// Why a request was rejected, for the application's log and metrics. Never holds a secret, nor text of the client's.
///
/// Each reason has a stable [code](Self::code):
///
/// | kind | codes |
/// |---|---|
/// | [`Unauthenticated`](ErrorKind::Unauthenticated) | `credential_missing`, `credential_malformed`, `key_unknown`, `secret_mismatch`, `mode_mismatch`, `key_revoked`, `key_disabled`, `key_not_yet_valid`, `key_expired`, `companion_missing`, `companion_invalid`, `companion_mismatch`, `session_token_missing`, `session_token_invalid`, `session_token_expired`, `session_unknown`, `session_expired` |
/// | [`AmbiguousCredentials`](ErrorKind::AmbiguousCredentials) | `credential_conflict`, `credential_malformed` |
/// | [`RateLimited`](ErrorKind::RateLimited) | `rate_limited`, `throttled` |
/// | [`OrganizationMissing`](ErrorKind::OrganizationMissing), [`OrganizationMismatch`](ErrorKind::OrganizationMismatch), [`OrganizationNotFound`](ErrorKind::OrganizationNotFound) | `organization_missing`, `organization_mismatch`, `organization_not_found` |
/// | [`Forbidden`](ErrorKind::Forbidden) | `address_not_allowed`, `scope_missing`, `tier_mismatch`, `role_too_low`, `route_not_covered`, `path_not_canonical` |
/// | [`NotFound`](ErrorKind::NotFound) | `route_not_found` |
/// | [`Unavailable`](ErrorKind::Unavailable) | `store_failed`, `store_panicked`, `limiter_failed` |
/// | [`Misconfigured`](ErrorKind::Misconfigured) | `misconfigured` |
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing was presented. Usually a client that forgot the header.
    #[error("no credential was presented")]
    CredentialMissing,
    /// Two extractors found a credential each. Usually a client library and a proxy that both add one.
    #[error("credentials of two kinds were presented")]
    CredentialConflict,
    /// What was presented has not the shape of a key. Usually a placeholder, or a key cut off when it was copied.
    #[error(transparent)]
    CredentialMalformed(MalformedCredential),
    /// No stored key matches. A deleted key, one of another installation, or a guess.
    #[error("no such key")]
    KeyUnknown,
    /// The identifier is stored, the secret is another. Rotated away long ago, or a guess.
    #[error("the secret is wrong")]
    SecretMismatch,
    /// The mark in the key says test or live, and the stored key is of the other mode. Somebody edited it.
    #[error("the key is of another mode than it says")]
    ModeMismatch,
    /// The key was revoked.
    #[error("the key is revoked")]
    KeyRevoked,
    /// The key is switched off.
    #[error("the key is disabled")]
    KeyDisabled,
    /// The key is not valid yet. Perhaps a clock is wrong.
    #[error("the key is not valid yet")]
    KeyNotYetValid,
    /// The key has expired.
    #[error("the key has expired")]
    KeyExpired,
    /// The route needs the secret of a companion beside the key, and there is none. Usually a client that was written for
    /// another route.
    #[error("the companion of the key is missing")]
    CompanionMissing {
        /// What the route's rule is [called](crate::credential::Parts::named); empty if it has no name.
        rule: &'static str,
    },
    /// The companion of the key is refused, for a reason of its own.
    #[error("the companion of the key: {0}")]
    CompanionInvalid(#[source] Box<Reason>),
    /// The key and its companion are both good and are not of one owner: of two organizations, or one live and one test.
    #[error("the companion is not of the key's owner")]
    CompanionMismatch,
    /// The route needs a session token, and there is none.
    #[error("the session token is missing")]
    SessionTokenMissing,
    /// The session token was not issued to this key with this companion, or a secret of theirs was replaced since. Or
    /// it was signed with a secret that this process does not know.
    #[error("the session token is not one of this key and companion")]
    SessionTokenInvalid,
    /// The session token has come to its end. The client has to get another.
    #[error("the session token has expired")]
    SessionTokenExpired,
    /// Too many bad credentials came from the client's address. Somebody guesses, or a client goes on with a key that
    /// has ended.
    #[error("too many bad credentials from one address")]
    Throttled(RateLimited),
    /// The host knows no such session. One that was ended, or a guess.
    #[error("no such session")]
    SessionUnknown,
    /// The session is over.
    #[error("the session has expired")]
    SessionExpired,
    /// The key may only be used from other addresses, or a proxy does not say from which it is used. It was moved, or
    /// stolen.
    #[error("the key may not be used from this address")]
    AddressNotAllowed,
    /// The request does not name the organization it is for, and has to.
    #[error("the request names no organization")]
    OrganizationMissing,
    /// The request names another organization than the caller's, or several.
    #[error("the request names another organization than the caller's")]
    OrganizationMismatch,
    /// The request is for an organization that the caller can't act for, whether or not there is one of that name.
    #[error("the caller can't act for the organization of the request")]
    OrganizationNotFound,
    /// The store, or who authenticates sessions, failed to answer. Look there.
    #[error("{0}")]
    StoreFailed(#[source] StoreError),
    /// The store panicked while it was asked, or who authenticates sessions did. A bug there; the panic's own message is
    /// in the log.
    #[error("the key store or the authenticator of sessions panicked")]
    StorePanicked,
    /// The caller used up a window.
    #[error("over the rate limit of category {}", .0.category)]
    RateLimited(RateLimited),
    /// The limiter of this category can't ask the store that it shares with other processes, and was told to let
    /// nothing pass then. Look at that store.
    #[error("the rate limiter of category {0} has no store to ask")]
    LimiterFailed(Arc<str>),
    /// The caller lacks a scope.
    #[error("the key lacks the scope: {0}")]
    ScopeMissing(Arc<ScopeRequirement>),
    /// The route is for keys of the system, and the caller is of an organization.
    #[error("the caller is not of the system")]
    TierMismatch,
    /// The caller's role in the organization is lower than the route needs.
    #[error("the caller's role is too low")]
    RoleTooLow,
    /// The route table has no rule for this method and route. Add one, if the route is meant to be reachable.
    #[error("no rule covers this method and route")]
    RouteNotCovered,
    /// The application's router has no such route. Usually a mistyped path.
    #[error("the router has no such route")]
    RouteNotFound,
    /// Rules are matched on paths here, and this one could be read in two ways (`//`, `%`, `;`, a `.` or `..` segment).
    #[error("the path is not canonical")]
    PathNotCanonical,
    /// The assembly lacks something that this request needs, or its layers are in the wrong order. The text says what to
    /// add.
    #[error("{0}")]
    Misconfigured(&'static str),
}

/// Which limit a request was over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimited {
    /// The category's name.
    pub category: Arc<str>,
    /// Requests per window.
    pub limit: u32,
    /// The length of the window.
    pub window: Duration,
    /// How long until the same request would be let through; `None` if it costs more than a whole window.
    pub retry_after: Option<Duration>,
}

impl Reason {
    /// A stable text for logs and metrics, such as `key_expired`: lower-case letters and `_`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CredentialMissing => "credential_missing",
            Self::CredentialConflict => "credential_conflict",
            Self::CredentialMalformed(_) => "credential_malformed",
            Self::KeyUnknown => "key_unknown",
            Self::SecretMismatch => "secret_mismatch",
            Self::ModeMismatch => "mode_mismatch",
            Self::KeyRevoked => "key_revoked",
            Self::KeyDisabled => "key_disabled",
            Self::KeyNotYetValid => "key_not_yet_valid",
            Self::KeyExpired => "key_expired",
            Self::CompanionMissing { .. } => "companion_missing",
            Self::CompanionInvalid(_) => "companion_invalid",
            Self::CompanionMismatch => "companion_mismatch",
            Self::SessionTokenMissing => "session_token_missing",
            Self::SessionTokenInvalid => "session_token_invalid",
            Self::SessionTokenExpired => "session_token_expired",
            Self::Throttled(_) => "throttled",
            Self::SessionUnknown => "session_unknown",
            Self::SessionExpired => "session_expired",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::OrganizationMissing => "organization_missing",
            Self::OrganizationMismatch => "organization_mismatch",
            Self::OrganizationNotFound => "organization_not_found",
            Self::StoreFailed(_) => "store_failed",
            Self::StorePanicked => "store_panicked",
            Self::RateLimited(_) => "rate_limited",
            Self::LimiterFailed(_) => "limiter_failed",
            Self::ScopeMissing(_) => "scope_missing",
            Self::TierMismatch => "tier_mismatch",
            Self::RoleTooLow => "role_too_low",
            Self::RouteNotCovered => "route_not_covered",
            Self::RouteNotFound => "route_not_found",
            Self::PathNotCanonical => "path_not_canonical",
            Self::Misconfigured(_) => "misconfigured",
        }
    }

    /// What the client may know of it.
    pub fn kind(&self) -> ErrorKind {
        // No `_` arm: a new reason has to choose its kind here.
        match self {
            Self::CredentialMalformed(MalformedCredential::Repeated) | Self::CredentialConflict => {
                ErrorKind::AmbiguousCredentials
            }
            Self::CredentialMissing
            | Self::CredentialMalformed(_)
            | Self::KeyUnknown
            | Self::SecretMismatch
            | Self::ModeMismatch
            | Self::KeyRevoked
            | Self::KeyDisabled
            | Self::KeyNotYetValid
            | Self::KeyExpired
            | Self::SessionUnknown
            | Self::SessionExpired
            | Self::CompanionMissing { .. }
            | Self::CompanionMismatch
            | Self::SessionTokenMissing
            | Self::SessionTokenInvalid
            | Self::SessionTokenExpired => ErrorKind::Unauthenticated,
            Self::CompanionInvalid(reason) => reason.kind(),
            Self::RateLimited(_) | Self::Throttled(_) => ErrorKind::RateLimited,
            Self::OrganizationMissing => ErrorKind::OrganizationMissing,
            Self::OrganizationMismatch => ErrorKind::OrganizationMismatch,
            Self::OrganizationNotFound => ErrorKind::OrganizationNotFound,
            Self::AddressNotAllowed
            | Self::TierMismatch
            | Self::RoleTooLow
            | Self::ScopeMissing(_)
            | Self::RouteNotCovered
            | Self::PathNotCanonical => ErrorKind::Forbidden,
            Self::RouteNotFound => ErrorKind::NotFound,
            Self::StoreFailed(_) | Self::StorePanicked | Self::LimiterFailed(_) => ErrorKind::Unavailable,
            Self::Misconfigured(_) => ErrorKind::Misconfigured,
        }
    }

    /// The check that it comes from; `None` if the host's layers are to blame.
    pub fn check(&self) -> Option<Check> {
        Some(match self {
            Self::CredentialMissing
            | Self::CredentialConflict
            | Self::CompanionMissing { .. }
            | Self::SessionTokenMissing
            | Self::CredentialMalformed(MalformedCredential::Repeated) => Check::Extraction,
            Self::CredentialMalformed(_) => Check::Format,
            Self::KeyUnknown
            | Self::SecretMismatch
            | Self::SessionUnknown
            | Self::CompanionMismatch
            | Self::SessionTokenInvalid
            | Self::StoreFailed(_)
            | Self::StorePanicked => Check::Lookup,
            Self::CompanionInvalid(reason) => return reason.check(),
            Self::ModeMismatch
            | Self::KeyRevoked
            | Self::KeyDisabled
            | Self::KeyNotYetValid
            | Self::KeyExpired
            | Self::SessionExpired
            | Self::SessionTokenExpired => Check::State,
            Self::Throttled(_) => Check::Throttle,
            Self::AddressNotAllowed => Check::Address,
            Self::OrganizationMissing | Self::OrganizationMismatch | Self::OrganizationNotFound => {
                Check::Organization
            }
            Self::RateLimited(_) | Self::LimiterFailed(_) => Check::RateLimit,
            Self::TierMismatch
            | Self::RoleTooLow
            | Self::ScopeMissing(_)
            | Self::RouteNotCovered
            | Self::RouteNotFound
            | Self::PathNotCanonical => Check::Access,
            Self::Misconfigured(_) => return None,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    /// One of each variant, and the two kinds of malformed credentials.
    pub(in crate::rejection) fn every_reason() -> Vec<Reason> {
        let limited = RateLimited {
            category: "all".into(),
            limit: 5,
            window: Duration::from_secs(60),
            retry_after: None,
        };
        let scope = Arc::new(ScopeRequirement::from_static("a:b"));
        vec![
            Reason::CredentialMissing,
            Reason::CredentialConflict,
            Reason::CredentialMalformed(MalformedCredential::Empty),
            Reason::CredentialMalformed(MalformedCredential::Repeated),
            Reason::KeyUnknown,
            Reason::SecretMismatch,
            Reason::ModeMismatch,
            Reason::KeyRevoked,
            Reason::KeyDisabled,
            Reason::KeyNotYetValid,
            Reason::KeyExpired,
            Reason::CompanionMissing { rule: "" },
            Reason::CompanionInvalid(Box::new(Reason::KeyRevoked)),
            Reason::CompanionMismatch,
            Reason::SessionTokenMissing,
            Reason::SessionTokenInvalid,
            Reason::SessionTokenExpired,
            Reason::Throttled(limited.clone()),
            Reason::SessionUnknown,
            Reason::SessionExpired,
            Reason::AddressNotAllowed,
            Reason::OrganizationMissing,
            Reason::OrganizationMismatch,
            Reason::OrganizationNotFound,
            Reason::StoreFailed(StoreError::new(StoreErrorKind::Unavailable)),
            Reason::StorePanicked,
            Reason::RateLimited(limited),
            Reason::LimiterFailed("all".into()),
            Reason::ScopeMissing(scope),
            Reason::TierMismatch,
            Reason::RoleTooLow,
            Reason::RouteNotCovered,
            Reason::RouteNotFound,
            Reason::PathNotCanonical,
            Reason::Misconfigured("add it"),
        ]
    }

    #[test]
    fn codes_are_distinct_and_documented() {
        let docs = include_str!("reason.rs").split("pub enum Reason").next().unwrap();
        let mut codes: Vec<&str> = every_reason().iter().map(Reason::code).collect();
        codes.dedup();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count, "a code names one reason");
        for code in codes {
            assert!(docs.contains(&format!("`{code}`")), "{code} is not in the table");
        }
    }
}
