use std::fmt;

use http::StatusCode;

/// How a request has ended, for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageOutcome {
    /// It was answered with a status below 400.
    Ok,
    /// 400 to 499, but for those below: the request itself is wrong.
    ClientError,
    /// 429: a limit, of this crate or of a handler, is used up.
    Limited,
    /// 403: the caller may not do this.
    Forbidden,
    /// 401: the key has ended.
    Refused,
    /// 500 and above: the application, or what it depends on, has failed.
    ServerError,
}

impl UsageOutcome {
    /// All of them, in the order of [`UsageCounts`](super::UsageCounts).
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::ClientError, Self::Limited, Self::Forbidden, Self::Refused, Self::ServerError];

    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..400 => Self::Ok,
            401 => Self::Refused,
            403 => Self::Forbidden,
            429 => Self::Limited,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// `ok`, `client_error`, `limited`, `forbidden`, `refused` or `server_error`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::Limited => "limited",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
        }
    }
}

impl fmt::Display for UsageOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides() {
        for (status, outcome) in [
            (101, "ok"),
            (200, "ok"),
            (304, "ok"),
            (399, "ok"),
            (400, "client_error"),
            (401, "refused"),
            (403, "forbidden"),
            (404, "client_error"),
            (429, "limited"),
            (499, "client_error"),
            (500, "server_error"),
            (999, "server_error"),
        ] {
            let found = UsageOutcome::of(StatusCode::from_u16(status).unwrap());
            assert_eq!(found.as_str(), outcome, "{status}");
        }
    }
}
