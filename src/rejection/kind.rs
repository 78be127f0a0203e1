use http::StatusCode;

/// What a client may know of an error: a closed set, each with a status, a code and a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 401: there is no credential, or it is not good. Which of the many reasons it was is not exposed to clients.
    Unauthenticated,
    /// 400: there is more than one credential.
    AmbiguousCredentials,
    /// 429: the caller is over a rate limit. Never means that the limiter failed.
    RateLimited,
    /// 400: the request has to name the organization it is for, and does not.
    OrganizationMissing,
    /// 403: the organization that the request names is not the caller's.
    OrganizationMismatch,
    /// 404: the caller can't act for the organization that the request is for, or there is none.
    OrganizationNotFound,
    /// 403: the caller is known and may not do this.
    Forbidden,
    /// 404: there is no such route, or, when keys are managed, no such key.
    NotFound,
    /// 400: a field of a call that manages keys is not valid.
    Invalid,
    /// 409: the key to import is stored already.
    AlreadyExists,
    /// 503: the key store, the authenticator of sessions or a rate limiter does not answer.
    Unavailable,
    /// 500: the application's assembly lacks something that this request needs. The log says what.
    Misconfigured,
}

impl ErrorKind {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 12] = [
        Self::Unauthenticated,
        Self::AmbiguousCredentials,
        Self::RateLimited,
        Self::OrganizationMissing,
        Self::OrganizationMismatch,
        Self::OrganizationNotFound,
        Self::Forbidden,
        Self::NotFound,
        Self::Invalid,
        Self::AlreadyExists,
        Self::Unavailable,
        Self::Misconfigured,
    ];

    /// The status that belongs to the kind.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::AmbiguousCredentials | Self::OrganizationMissing | Self::Invalid => StatusCode::BAD_REQUEST,
            Self::OrganizationNotFound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::OrganizationMismatch | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A stable text, such as `rate_limited`: lower-case letters and `_`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::AmbiguousCredentials => "ambiguous_credentials",
            Self::RateLimited => "rate_limited",
            Self::OrganizationMissing => "organization_missing",
            Self::OrganizationMismatch => "organization_mismatch",
            Self::OrganizationNotFound => "organization_not_found",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Invalid => "invalid",
            Self::AlreadyExists => "already_exists",
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// A sentence for the client. Visible ASCII and spaces, without `%`.
    pub fn message(self) -> &'static str {
        match self {
            Self::Unauthenticated => "The credential is missing or not valid.",
            Self::AmbiguousCredentials => "More than one credential was sent. Send exactly one.",
            Self::RateLimited => "The rate limit is used up. Try again after the time in Retry-After.",
            Self::OrganizationMissing => "The request has to name an organization.",
            Self::OrganizationMismatch => "The organization is not that of the key.",
            Self::OrganizationNotFound => "There is no such organization.",
            Self::Forbidden => "The key may not do this.",
            Self::NotFound => "There is nothing at this address.",
            Self::Invalid => "A field is not valid.",
            Self::AlreadyExists => "The key is there already.",
            Self::Unavailable => "The credential can't be checked right now. Try again.",
            Self::Misconfigured => "The server is set up wrongly.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_need_no_escaping() {
        for kind in ErrorKind::ALL {
            let is_plain = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'%' | b'"' | b'\\');
            assert!(kind.message().bytes().all(is_plain), "{kind:?}");
            assert!(kind.code().bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_')), "{kind:?}");
        }
    }
}
