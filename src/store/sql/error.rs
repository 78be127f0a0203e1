use std::error::Error;

use sqlx::error::{DatabaseError, ErrorKind};

use crate::store::{StoreError, StoreErrorKind};

pub(crate) fn corrupt(error: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt).with_source(error)
}

pub(crate) fn failed(error: sqlx::Error) -> StoreError {
    let kind = match &error {
        sqlx::Error::Database(error) => kind(&**error),
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_) => StoreErrorKind::Unavailable,
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::TypeNotFound { .. } => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Other,
    };
    // PostgreSQL reports the digest that already exists. The kind is enough.
    if kind == StoreErrorKind::Conflict {
        return StoreError::new(kind);
    }
    StoreError::new(kind).with_source(error)
}

fn kind(error: &dyn DatabaseError) -> StoreErrorKind {
    if error.kind() == ErrorKind::UniqueViolation {
        return StoreErrorKind::Conflict;
    }
    let code = error.code().unwrap_or_default();
    #[cfg(feature = "sqlite")]
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        return sqlite_kind(&code);
    }
    postgres_kind(&code)
}

/// By the primary result code (<https://sqlite.org/rescode.html>), the low byte of the one given.
#[cfg(feature = "sqlite")]
fn sqlite_kind(code: &str) -> StoreErrorKind {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // BUSY, LOCKED, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN
        Ok(5 | 6 | 8 | 9 | 10 | 13 | 14) => StoreErrorKind::Unavailable,
        // CORRUPT, NOTADB
        Ok(11 | 26) => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Other,
    }
}

/// By SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn postgres_kind(code: &str) -> StoreErrorKind {
    match code {
        // Serialization failure: the row was changed meanwhile. Does not occur at PostgreSQL's default level, `READ
        // COMMITTED`.
        "40001" => StoreErrorKind::Conflict,
        // Read-only transaction (a standby), deadlock, lock not available.
        "25006" | "40P01" | "55P03" => StoreErrorKind::Unavailable,
        "XX001" | "XX002" => StoreErrorKind::Corrupt,
        // Connection exception, insufficient resources, operator intervention, system error.
        _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            StoreErrorKind::Unavailable
        }
        _ => StoreErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_errors_are_distinguished_from_permanent_ones() {
        for (code, kind) in [
            ("08006", StoreErrorKind::Unavailable),
            ("53300", StoreErrorKind::Unavailable),
            ("53100", StoreErrorKind::Unavailable),
            ("57P01", StoreErrorKind::Unavailable),
            ("57014", StoreErrorKind::Unavailable),
            ("25006", StoreErrorKind::Unavailable),
            ("40P01", StoreErrorKind::Unavailable),
            ("40001", StoreErrorKind::Conflict),
            ("XX001", StoreErrorKind::Corrupt),
            ("42P01", StoreErrorKind::Other),
            ("28P01", StoreErrorKind::Other),
            ("", StoreErrorKind::Other),
        ] {
            assert_eq!(postgres_kind(code), kind, "{code}");
        }
    }
}
