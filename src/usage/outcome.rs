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

    /// What became of the request by the status of a gRPC response: as by the HTTP status that [`google.rpc.Code`] names for it.
    ///
    /// [`google.rpc.Code`]: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
    pub(crate) fn of_grpc(status: &[u8]) -> Self {
        match status {
            b"0" => Self::Ok,
            // CANCELLED, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE.
            b"1" | b"3" | b"5" | b"6" | b"9" | b"10" | b"11" => Self::ClientError,
            // PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAUTHENTICATED.
            b"7" => Self::Forbidden,
            b"8" => Self::Limited,
            b"16" => Self::Refused,
            // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, and what is no status.
            _ => Self::ServerError,
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

    #[test]
    fn the_status_of_grpc_decides_as_that_of_http_which_it_stands_for() {
        // The second column is that of google/rpc/code.proto.
        for (status, http) in [
            ("0", 200),
            ("1", 499),
            ("2", 500),
            ("3", 400),
            ("4", 504),
            ("5", 404),
            ("6", 409),
            ("7", 403),
            ("8", 429),
            ("9", 400),
            ("10", 409),
            ("11", 400),
            ("12", 501),
            ("13", 500),
            ("14", 503),
            ("15", 500),
            ("16", 401),
            ("17", 500),
            ("", 500),
            ("00", 500),
        ] {
            let http = UsageOutcome::of(StatusCode::from_u16(http).unwrap());
            assert_eq!(UsageOutcome::of_grpc(status.as_bytes()), http, "{status}");
        }
    }
}
