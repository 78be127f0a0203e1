use http::StatusCode;

/// The information about an error that clients may see. Each kind has a status, a code and a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 401: there is no credential, or it is not valid. The exact reason is not exposed to clients.
    Unauthenticated,
    /// 400: there is more than one credential.
    AmbiguousCredentials,
    /// 429: the caller has exceeded a rate limit. Never means that the limiter failed.
    RateLimited,
    /// 400: the request does not name the organization it is for, or the mode.
    OrganizationMissing,
    /// 403: the organization that the request names is not the caller's, or the mode.
    OrganizationMismatch,
    /// 404: the caller cannot act for the organization of the request, or it does not exist.
    OrganizationNotFound,
    /// 403: the caller is authenticated but not allowed to do this.
    Forbidden,
    /// 404: there is no such route, or, in key management, no such key.
    NotFound,
    /// 400: a field of a key management call is not valid.
    Invalid,
    /// 409: the key to import already exists.
    AlreadyExists,
    /// 412: the key was changed since the version that the change is for.
    Overtaken,
    /// 503: the key store, the session authenticator or a rate limiter does not answer.
    Unavailable,
    /// 500: the application's assembly lacks something that this request needs. The log has the details.
    Misconfigured,
}

impl ErrorKind {
    /// All kinds.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 13] = [
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
        Self::Overtaken,
        Self::Unavailable,
        Self::Misconfigured,
    ];

    /// The status of the kind.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::AmbiguousCredentials | Self::OrganizationMissing | Self::Invalid => StatusCode::BAD_REQUEST,
            Self::OrganizationNotFound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::OrganizationMismatch | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::Overtaken => StatusCode::PRECONDITION_FAILED,
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
            Self::Overtaken => "overtaken",
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// A sentence for the client: visible ASCII and spaces, without `%`.
    pub fn message(self) -> &'static str {
        match self {
            Self::Unauthenticated => "The credential is missing or not valid.",
            Self::AmbiguousCredentials => "More than one credential was sent. Send exactly one.",
            Self::RateLimited => "The rate limit is used up. Try again after the time in Retry-After.",
            Self::OrganizationMissing => "The request has to name an organization or a mode.",
            Self::OrganizationMismatch => "The organization or mode is not that of the key.",
            Self::OrganizationNotFound => "There is no such organization.",
            Self::Forbidden => "The key may not do this.",
            Self::NotFound => "The resource does not exist.",
            Self::Invalid => "A field is not valid.",
            Self::AlreadyExists => "The key already exists.",
            Self::Overtaken => "The key was changed meanwhile. Read it again.",
            Self::Unavailable => "The credential can't be checked right now. Try again.",
            Self::Misconfigured => "The server is misconfigured.",
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
