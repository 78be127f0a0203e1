//! The rows of stored quotas.

use sqlx::query::{Query, QueryAs};
use sqlx::{Database, Encode, Type};

use super::row::millis;
use crate::clock::Timestamp;
use crate::store::QuotaRow;

/// Period, used, highest limit, granted.
pub(crate) type Columns = (i64, i64, i64, i64);

/// Which row.
pub(crate) struct QuotaName {
    category: String,
    subject: String,
}

impl QuotaName {
    pub(crate) fn new(category: &str, subject: &str) -> Self {
        Self { category: category.to_owned(), subject: subject.to_owned() }
    }

    pub(crate) fn bind<DB: Database>(
        &self,
        query: QueryAs<'static, DB, Columns, DB::Arguments>,
    ) -> QueryAs<'static, DB, Columns, DB::Arguments>
    where
        for<'q> String: Encode<'q, DB> + Type<DB>,
    {
        query.bind(self.category.clone()).bind(self.subject.clone())
    }

    pub(crate) fn bind_row<DB: Database>(
        &self,
        query: Query<'static, DB, DB::Arguments>,
        row: QuotaRow,
    ) -> Query<'static, DB, DB::Arguments>
    where
        for<'q> String: Encode<'q, DB> + Type<DB>,
        for<'q> i64: Encode<'q, DB> + Type<DB>,
    {
        query
            .bind(self.category.clone())
            .bind(self.subject.clone())
            .bind(millis(row.period))
            .bind(integer(row.used))
            .bind(integer(row.limit))
            .bind(integer(row.granted))
    }
}

pub(crate) fn to_quota_row((period, used, limit, granted): Columns) -> QuotaRow {
    // A number below zero, written by hand, is none.
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    QuotaRow {
        period: Timestamp::from_unix_millis(number(period)),
        used: number(used),
        limit: number(limit),
        granted: number(granted),
    }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) const WRITE_QUOTA: &str = "INSERT INTO api_key_quotas (category, subject, period, used, highest_limit, granted) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (category, subject) DO UPDATE SET period = excluded.period, \
     used = excluded.used, highest_limit = excluded.highest_limit, granted = excluded.granted";
