use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::{Check, ErrorKind};
use crate::credential::MalformedCredential;
use crate::limit::Quota;
use crate::scope::ScopeRequirement;
use crate::store::StoreError;

/// Why a request was rejected, for logs and metrics. Contains neither secrets nor text of the client.
///
/// Each reason has a stable [code](Self::code):
///
/// | kind | codes |
/// |---|---|
/// | [`Unauthenticated`](ErrorKind::Unauthenticated) | `credential_missing`, `credential_malformed`, `key_unknown`, `secret_mismatch`, `mode_mismatch`, `key_revoked`, `key_disabled`, `key_not_yet_valid`, `key_expired`, `companion_missing`, `companion_invalid`, `companion_mismatch`, `session_token_missing`, `session_token_invalid`, `session_token_expired`, `session_unknown`, `session_expired` |
/// | [`AmbiguousCredentials`](ErrorKind::AmbiguousCredentials) | `credential_conflict`, `credential_malformed` |
/// | [`RateLimited`](ErrorKind::RateLimited) | `rate_limited`, `quota_used_up` (of a day or a month), `concurrency_limited`, `cost_exceeds_limit` and `credits_used_up` (waiting does not help), `throttled` |
/// | [`OrganizationMissing`](ErrorKind::OrganizationMissing), [`OrganizationMismatch`](ErrorKind::OrganizationMismatch), [`OrganizationNotFound`](ErrorKind::OrganizationNotFound) | `organization_missing`, `acting_mode_missing`, `organization_mismatch`, `acting_mode_mismatch`, `organization_not_found` |
/// | [`Forbidden`](ErrorKind::Forbidden) | `address_not_allowed`, `scope_missing`, `tier_mismatch`, `role_too_low`, `route_not_covered`, `path_not_canonical` |
/// | [`NotFound`](ErrorKind::NotFound) | `route_not_found` |
/// | [`Unavailable`](ErrorKind::Unavailable) | `store_failed`, `record_corrupt`, `pepper_missing`, `store_panicked`, `verifier_busy`, `verifier_panicked`, `limiter_failed` |
/// | [`Misconfigured`](ErrorKind::Misconfigured) | `misconfigured` |
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Reason {
    /// No credential was sent. Usually a client that forgot the header.
    #[error("no credential was presented")]
    CredentialMissing,
    /// Two extractors each found a credential. Usually a client library and a proxy that both add one.
    #[error("credentials of two kinds were presented")]
    CredentialConflict,
    /// The credential does not have the format of a key. Usually a placeholder, or a truncated copy of a key.
    #[error(transparent)]
    CredentialMalformed(MalformedCredential),
    /// No stored key matches. A deleted key, a key of another installation, or a guess.
    #[error("no such key")]
    KeyUnknown,
    /// The identifier is stored with another secret. A secret that was rotated out long ago, or a guess.
    #[error("the secret is wrong")]
    SecretMismatch,
    /// The secret is right, and the key's text has another mode than its record: the store was changed by other means than
    /// this crate. Logged at `ERROR`.
    #[error("the key has another mode than it claims")]
    ModeMismatch,
    /// The key was revoked.
    #[error("the key is revoked")]
    KeyRevoked,
    /// The key is disabled.
    #[error("the key is disabled")]
    KeyDisabled,
    /// The key is not valid yet. A clock may be wrong.
    #[error("the key is not valid yet")]
    KeyNotYetValid,
    /// The key has expired.
    #[error("the key has expired")]
    KeyExpired,
    /// The route needs a companion's secret besides the key, and there is none. Usually a client that was written for
    /// another route.
    #[error("the companion of the key is missing")]
    CompanionMissing {
        /// The [name](crate::credential::Parts::named) of the route's rule; empty if it has none.
        rule: &'static str,
    },
    /// The companion of the key is rejected, for its own reason.
    #[error("the companion of the key: {0}")]
    CompanionInvalid(#[source] Box<Reason>),
    /// The key and its companion are both valid but have different owners: two organizations, or one live and one
    /// test.
    #[error("the companion has another owner than the key")]
    CompanionMismatch,
    /// The route needs a session token, and there is none.
    #[error("the session token is missing")]
    SessionTokenMissing,
    /// The session token was not issued to this key with this companion, or one of their secrets was replaced since.
    /// Or it was signed with a secret that this process does not have.
    #[error("the session token was not issued to this key and companion")]
    SessionTokenInvalid,
    /// The session token has expired. The client has to get another.
    #[error("the session token has expired")]
    SessionTokenExpired,
    /// Too many bad credentials came from the client's address: a client guesses, or continues to use an expired or
    /// revoked key.
    #[error("too many bad credentials from one address")]
    Throttled(RateLimited),
    /// No such session exists. It was ended, or the token is a guess.
    #[error("no such session")]
    SessionUnknown,
    /// The session has expired.
    #[error("the session has expired")]
    SessionExpired,
    /// The key may only be used from other addresses, or a proxy does not report the address. The client was moved,
    /// or the key was stolen.
    #[error("the key may not be used from this address")]
    AddressNotAllowed,
    /// The request does not name the organization it is for, but must.
    #[error("the request names no organization")]
    OrganizationMissing,
    /// The request names an organization other than the caller's, or several.
    #[error("the request names another organization than the caller's")]
    OrganizationMismatch,
    /// The caller cannot act for the organization of the request, whether or not it exists.
    #[error("the caller can't act for the organization of the request")]
    OrganizationNotFound,
    /// The session has several modes, and the request does not name one.
    #[error("the request names no mode, and the session has several")]
    ActingModeMissing,
    /// The request names a mode in which the caller can't act, or several.
    #[error("the request names another mode than the caller's")]
    ActingModeMismatch,
    /// The digests of the stored key were made with a pepper of this identifier, or with none, and the assembly does not
    /// have that among its [`Peppers`](crate::key::Peppers). The pepper was retired too early, or its variable is not set.
    #[error("the key's digest was made {}", MissingPepper(*.0))]
    PepperMissing(Option<u32>),
    /// The store or the session authenticator failed. Check its error. The code is `record_corrupt` if it is the record of
    /// this key that is damaged: a [`BrokenKey`](crate::store::BrokenKey).
    #[error("{0}")]
    StoreFailed(#[source] StoreError),
    /// The store or the session authenticator panicked, which is a bug. The panic's own message is in the log.
    #[error("the key store or the authenticator of sessions panicked")]
    StorePanicked,
    /// As many keys that were imported as hashes wait to be [verified](crate::ApiKeysBuilder::verify_imported) as may: many
    /// clients use theirs for the first time at once, or guess.
    #[error("too many imported keys wait to be verified")]
    VerifierBusy,
    /// The application's [verifier](crate::ApiKeysBuilder::verify_imported) panicked, which is a bug. The panic's own
    /// message is in the log.
    #[error("the verifier of imported keys panicked")]
    VerifierPanicked,
    /// The caller has exceeded a rate limit.
    #[error("the rate limit of category {} is exceeded", .0.category)]
    RateLimited(RateLimited),
    /// The limiter's shared store does not answer, and its policy is to reject requests then. Check that store.
    #[error("the shared store of rate limiter {0} does not answer")]
    LimiterFailed(Arc<str>),
    /// The caller lacks a scope.
    #[error("the key lacks the scope: {0}")]
    ScopeMissing(ScopeRequirement),
    /// The route needs a caller of the system, and this one belongs to an organization.
    #[error("the caller is not one of the system")]
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
    /// Rules are matched by path here, and this path is ambiguous (`//`, `%`, `;`, a `.` or `..` segment).
    #[error("the path is not canonical")]
    PathNotCanonical,
    /// The assembly lacks something that this request needs, or its layers are in the wrong order. The text names
    /// what to add.
    #[error("{0}")]
    Misconfigured(&'static str),
}

/// The limit that a request exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimited {
    /// The category's name.
    pub category: Arc<str>,
    /// The quota that is used up, with the limit that applied to the caller.
    pub quota: Quota,
    /// How long until the same request would be admitted; `None` if waiting does not help.
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
            Self::ActingModeMissing => "acting_mode_missing",
            Self::ActingModeMismatch => "acting_mode_mismatch",
            Self::PepperMissing(_) => "pepper_missing",
            Self::StoreFailed(error) if error.broken_key().is_some() => "record_corrupt",
            Self::StoreFailed(_) => "store_failed",
            Self::StorePanicked => "store_panicked",
            Self::VerifierBusy => "verifier_busy",
            Self::VerifierPanicked => "verifier_panicked",
            Self::RateLimited(limited) if limited.quota.is_concurrent() => "concurrency_limited",
            Self::RateLimited(RateLimited { retry_after: None, quota, .. }) => {
                if quota.is_credits() {
                    "credits_used_up"
                } else {
                    "cost_exceeds_limit"
                }
            }
            Self::RateLimited(limited) if limited.quota.calendar().is_some() => "quota_used_up",
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

    /// The kind that clients see.
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
            Self::OrganizationMissing | Self::ActingModeMissing => ErrorKind::OrganizationMissing,
            Self::OrganizationMismatch | Self::ActingModeMismatch => ErrorKind::OrganizationMismatch,
            Self::OrganizationNotFound => ErrorKind::OrganizationNotFound,
            Self::AddressNotAllowed
            | Self::TierMismatch
            | Self::RoleTooLow
            | Self::ScopeMissing(_)
            | Self::RouteNotCovered
            | Self::PathNotCanonical => ErrorKind::Forbidden,
            Self::RouteNotFound => ErrorKind::NotFound,
            Self::PepperMissing(_)
            | Self::StoreFailed(_)
            | Self::StorePanicked
            | Self::VerifierBusy
            | Self::VerifierPanicked
            | Self::LimiterFailed(_) => ErrorKind::Unavailable,
            Self::Misconfigured(_) => ErrorKind::Misconfigured,
        }
    }

    /// The check that rejected the request; `None` if the application's layers are at fault.
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
            | Self::PepperMissing(_)
            | Self::StoreFailed(_)
            | Self::StorePanicked
            | Self::VerifierBusy
            | Self::VerifierPanicked => Check::Lookup,
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
            Self::OrganizationMissing
            | Self::OrganizationMismatch
            | Self::OrganizationNotFound
            | Self::ActingModeMissing
            | Self::ActingModeMismatch => Check::Organization,
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

/// `with pepper 7, which is not configured`
struct MissingPepper(Option<u32>);

impl fmt::Display for MissingPepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "with pepper {id}, which is not configured"),
            None => f.write_str("without a pepper, which is not accepted"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::{BrokenKey, StoreErrorKind};

    /// One of each variant, with both kinds of malformed credentials and of limits.
    pub(in crate::rejection) fn every_reason() -> Vec<Reason> {
        let limited =
            RateLimited { category: "all".into(), quota: Quota::per_minute(5).unwrap(), retry_after: None };
        let scope = ScopeRequirement::from_static("a:b");
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
            Reason::ActingModeMissing,
            Reason::ActingModeMismatch,
            Reason::PepperMissing(Some(7)),
            Reason::StoreFailed(StoreError::new(StoreErrorKind::Unavailable)),
            Reason::StoreFailed(BrokenKey::new(None, "scopes: a scope is resource:action").into()),
            Reason::StorePanicked,
            Reason::VerifierBusy,
            Reason::VerifierPanicked,
            Reason::RateLimited(RateLimited { retry_after: Some(Duration::ZERO), ..limited.clone() }),
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
