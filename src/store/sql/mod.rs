//! The shared parts of the SQLite and PostgreSQL stores: a key's row, common statements, errors and time limits.

pub(crate) mod audit;
pub(crate) mod engine;
mod error;
mod quota;
pub(crate) mod row;
pub(crate) mod schema;
pub(crate) mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use error::{corrupt, failed};
pub(super) use quota::{QuotaName, WRITE_QUOTA, to_quota_row};
pub(super) use row::Row;
use sqlx::query::Query;
use sqlx::{ColumnIndex, Database, Decode, Encode, FromRow, Type};

use super::{BrokenKey, Cursor, FindResult, KeyQuery, Page, StoreError, StoreErrorKind};
use crate::InvalidValue;
use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord, KeyStatus, Mode, Owner};

/// The columns of a [`Row`], from `$1` to `$27`.
macro_rules! columns {
    () => {
        "id, organization, mode, created_at, name, hint, scopes, limits, allowed_addresses, digest, secret_created_at, \
         previous_digest, previous_valid_until, next_digest, next_hint, next_created_at, next_grace, state, revoked_at, \
         not_before, expires_at, version, last_used_at, created_by, metadata, \
         imported_hash, tier"
    };
}

macro_rules! insert_key {
    () => {
        concat!(
            "INSERT INTO api_keys (",
            $crate::store::sql::columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
             $22, $23, $24, $25, $26, $27)"
        )
    };
}

/// Leaves the last use unchanged, since the record's value may be old. `$28` is the version to replace.
macro_rules! update_key {
    () => {
        "UPDATE api_keys SET name = $5, hint = $6, scopes = $7, limits = $8, allowed_addresses = $9, digest = $10, \
         secret_created_at = $11, previous_digest = $12, previous_valid_until = $13, next_digest = $14, next_hint = $15, \
         next_created_at = $16, next_grace = $17, state = $18, revoked_at = $19, not_before = $20, expires_at = $21, \
         version = $22, metadata = $25, imported_hash = $26 WHERE id = $1 AND organization = $2 AND mode = $3 AND created_at = $4 AND \
         version = $28"
    };
}

pub(super) const FIND_BY_ID: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE id = $1");

pub(super) const GET: &str =
    concat!("SELECT ", columns!(), " FROM api_keys WHERE id = $1 AND organization = $2 AND mode = $3");

pub(super) const COUNT: &str = "SELECT count(*) FROM api_keys WHERE organization = $1 AND mode = $2";

/// Of a key that is not revoked yet, or has another owner than it gets: one that can't be read. `$4` is when.
pub(super) const REVOKE_UNREAD: &str = "UPDATE api_keys SET organization = $2, mode = $3, tier = CASE $2 WHEN '' THEN 'system' ELSE 'organization' END, state = 'revoked', revoked_at = $4, \
     previous_digest = NULL, previous_valid_until = NULL, next_digest = NULL, next_hint = NULL, next_created_at = NULL, \
     next_grace = NULL, version = version + 1 WHERE id = $1 AND NOT (organization = $2 AND mode = $3 \
     AND (tier = 'system') = ($2 = '') AND state = 'revoked' AND coalesce(revoked_at, -1) >= 0)";

/// Leaves the digest of the secret in use, if it can be told which that is.
pub(super) const DROP_OTHER_DIGESTS: &str = "DELETE FROM api_key_digests WHERE key_id = $1 AND digest NOT IN (\
     SELECT digest FROM api_keys WHERE id = $1)";

/// Keys by the beginning of their digests, up to the hexadecimal digits, which [`to_peppers`] reads. `$1` is when.
pub(super) const COUNT_PEPPERS: &str = "SELECT method, count(*) FROM (\
     SELECT id, imported_hash, rtrim(digest, '0123456789abcdef') AS method FROM api_keys WHERE state <> 'revoked' UNION \
     SELECT id, imported_hash, rtrim(previous_digest, '0123456789abcdef') FROM api_keys WHERE state <> 'revoked' \
     AND previous_valid_until > $1 UNION \
     SELECT id, imported_hash, rtrim(next_digest, '0123456789abcdef') FROM api_keys WHERE state <> 'revoked' \
     AND next_digest IS NOT NULL) AS held WHERE imported_hash IS NULL OR method <> 'sha256:' GROUP BY method";

/// The [`KeyStatus`] of a key at an instant.
macro_rules! status {
    ($at:literal) => {
        concat!(
            "CASE WHEN state = 'revoked' THEN 'revoked' WHEN expires_at <= ",
            $at,
            " THEN 'expired' WHEN state = 'disabled' THEN 'disabled' WHEN not_before > ",
            $at,
            " THEN 'not_yet_valid' ELSE 'active' END"
        )
    };
}

/// `$1` is when.
pub(super) const COUNT_BY_STATUS: &str =
    concat!("SELECT mode, ", status!("$1"), " AS status, count(*) FROM api_keys GROUP BY mode, status");

/// A page of keys. `$7` to `$9` are organization, mode and creator, for the first condition; `$10` and `$11` are a
/// [`KeyStatus`] and when; `$12` and `$13` are patterns of a scope and of its wildcard. First the statement for the oldest keys, then that for the newest.
macro_rules! list {
    ($condition:literal) => {
        [list!($condition, ">", ""), list!($condition, "<", " DESC")]
    };
    ($condition:literal, $beyond:literal, $order:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM api_keys WHERE ",
            $condition,
            " AND (created_at, id) ",
            $beyond,
            " ($1, $2) AND secret_created_at <= $3 AND ($4 IS NULL OR expires_at < $4) \
             AND ($5 IS NULL OR coalesce(last_used_at, created_at) < $5) AND ($10 IS NULL OR $10 = ",
            status!("$11"),
            ") \
             AND ($12 IS NULL OR ' ' || scopes || ' ' LIKE $12 ESCAPE '!' OR ' ' || scopes || ' ' LIKE $13 ESCAPE '!') \
             AND ($14 IS NULL OR substr(name, 1, length($14)) = $14) AND ($15 IS NULL OR mode = $15) \
             ORDER BY created_at",
            $order,
            ", id",
            $order,
            " LIMIT $6"
        )
    };
}

const LIST_OF_OWNER: [&str; 2] = list!("organization = $7 AND mode = $8 AND $9 IS NULL");

const LIST_OF_CREATOR: [&str; 2] =
    list!("created_by = $9 AND ($7 IS NULL OR organization = $7) AND ($8 IS NULL OR mode = $8)");

const LIST_OF_ALL: [&str; 2] = list!("$7 IS NULL AND $8 IS NULL AND $9 IS NULL");

pub(super) use {columns, insert_key, update_key};

pub(super) fn to_row(record: &KeyRecord) -> Result<Row, StoreError> {
    row::to_row(record).map_err(|error| StoreError::new(StoreErrorKind::Other).with_source(error))
}

/// The row that replaces `record`, and the version it replaces.
pub(super) fn to_next_row(mut record: KeyRecord) -> Result<(Row, i64), StoreError> {
    let replaced = record.version as i64;
    record.version = record.version.wrapping_add(1);
    Ok((to_row(&record)?, replaced))
}

pub(super) fn to_found<R: KeyRow>(row: Option<R>) -> FindResult {
    Ok(row.map(|row| row.read()).transpose()?)
}

pub(super) fn to_id(text: Option<String>) -> Result<Option<KeyId>, StoreError> {
    text.map(|text| text.parse()).transpose().map_err(|error: InvalidValue| corrupt(error))
}

/// Damaged digests are of no pepper.
pub(super) fn to_peppers(rows: Vec<(String, i64)>) -> BTreeMap<Option<u32>, u64> {
    let pepper =
        |method: &str| format!("{method}{:064}", 0).parse().ok().map(|digest: Digest| digest.pepper_id());
    rows.iter().filter_map(|(method, keys)| Some((pepper(method)?, keys.unsigned_abs()))).collect()
}

/// Those of damaged modes are left out.
pub(super) fn to_statuses(rows: Vec<(String, String, i64)>) -> BTreeMap<(Mode, KeyStatus), u64> {
    let read = |(mode, status, keys): (String, String, i64)| {
        Some(((mode.parse().ok()?, status.parse().ok()?), keys.unsigned_abs()))
    };
    rows.into_iter().filter_map(read).collect()
}

/// After more changes than these a cache reads everything again. Statements ask for one more.
const MAX_CHANGES: usize = 1000;

/// The keys of a list of changes, unless one is not a key's or there are too many.
pub(super) fn to_changed(ids: Vec<String>) -> Option<Vec<KeyId>> {
    if ids.len() > MAX_CHANGES { None } else { ids.into_iter().map(|id| id.parse().ok()).collect() }
}

/// The texts of a record's digests, without duplicates.
pub(super) fn digests(record: &KeyRecord) -> Vec<String> {
    let mut digests: Vec<_> = record.digests().map(|digest| digest.to_string()).collect();
    digests.sort();
    digests.dedup();
    digests
}

/// The statement and the parameters of a listing.
pub(super) struct Listing {
    statement: &'static str,
    after: (i64, String),
    last_secret_created_at: i64,
    expires_before: Option<i64>,
    unused_since: Option<i64>,
    status: Option<String>,
    status_at: Option<i64>,
    owner: Option<(String, String)>,
    creator: Option<String>,
    scope: Option<(String, String)>,
    name_prefix: Option<String>,
    mode: Option<String>,
    limit: usize,
}

impl Listing {
    pub(super) fn new(owner: Option<&Owner>, query: &KeyQuery) -> Self {
        let [oldest_first, newest_first] = match (owner, &query.created_by) {
            (Some(_), None) => LIST_OF_OWNER,
            (_, Some(_)) => LIST_OF_CREATOR,
            (None, None) => LIST_OF_ALL,
        };
        // Damaged instants are negative.
        let (statement, start) = match query.newest_first {
            false => (oldest_first, i64::MIN),
            true => (newest_first, i64::MAX),
        };
        Self {
            statement,
            after: query.after.map_or((start, String::new()), |cursor| {
                (row::millis(cursor.created_at), cursor.id.to_string())
            }),
            last_secret_created_at: query.secret_created_before.map_or(i64::MAX, |at| row::millis(at) - 1),
            expires_before: query.expires_before.map(row::millis),
            unused_since: query.unused_since.map(row::millis),
            status: query.status_at.map(|(status, _)| status.to_string()),
            status_at: query.status_at.map(|(_, instant)| row::millis(instant)),
            owner: owner.map(owner_columns),
            creator: query.created_by.as_ref().map(ToString::to_string),
            scope: query
                .scope
                .as_ref()
                .map(|scope| (pattern(scope.as_str()), pattern(&format!("{}:*", scope.resource())))),
            name_prefix: query.name_prefix.clone(),
            mode: query.mode.map(|mode| mode.to_string()),
            limit: query.limit.clamp(1, KeyQuery::MAX_LIMIT),
        }
    }

    /// Queries so many rows at most. One more than the page holds shows whether there is a next page.
    pub(super) fn query<DB: Database>(&self, rows: usize) -> Query<'static, DB, DB::Arguments>
    where
        for<'q> String: Encode<'q, DB> + Type<DB>,
        for<'q> Option<String>: Encode<'q, DB> + Type<DB>,
        for<'q> i64: Encode<'q, DB> + Type<DB>,
        for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    {
        let (created_at, id) = self.after.clone();
        let (organization, mode) = self.owner.clone().unzip();
        let (scope, wildcard) = self.scope.clone().unzip();
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        sqlx::query(self.statement)
            .bind(created_at)
            .bind(id)
            .bind(self.last_secret_created_at)
            .bind(self.expires_before)
            .bind(self.unused_since)
            .bind(rows)
            .bind(organization)
            .bind(mode)
            .bind(self.creator.clone())
            .bind(self.status.clone())
            .bind(self.status_at)
            .bind(scope)
            .bind(wildcard)
            .bind(self.name_prefix.clone())
            .bind(self.mode.clone())
    }

    /// How many rows to query at first.
    pub(super) fn rows(&self) -> usize {
        self.limit + 1
    }

    /// The page that begins with these rows, of which `queried` were asked for. The error is how many to ask for instead: a
    /// page can't end with a row whose place can't be told in a cursor.
    pub(super) fn page<R: KeyRow>(&self, rows: &[R], queried: usize) -> Result<Page, usize> {
        let mut page = Page { keys: Vec::new(), broken: Vec::new(), next: None };
        for (index, row) in rows.iter().enumerate() {
            if index >= self.limit {
                page.next = rows[index - 1].place();
                if page.next.is_some() {
                    return Ok(page);
                }
            }
            match row.read() {
                Ok(record) => page.keys.push(record),
                Err(broken) => page.broken.push(broken),
            }
        }
        if rows.len() < queried { Ok(page) } else { Err(2 * queried) }
    }
}

/// Matches a column of scopes that has this one, for `LIKE` with `!` as its escape character.
fn pattern(scope: &str) -> String {
    format!("% {} %", scope.replace('_', "!_"))
}

pub(super) fn owner_columns(owner: &Owner) -> (String, String) {
    (row::organization(owner), owner.mode.to_string())
}

/// Binds identifier, organization and mode, which every administrative statement needs.
macro_rules! bind_key {
    ($query:expr, $owner:expr, $id:expr) => {{
        let (organization, mode) = $crate::store::sql::owner_columns($owner);
        $query.bind($id.to_string()).bind(organization).bind(mode)
    }};
}

pub(super) use bind_key;

/// Binds all [`columns`].
pub(super) fn bind_row<DB: Database>(
    query: Query<'static, DB, DB::Arguments>,
    row: Row,
) -> Query<'static, DB, DB::Arguments>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> Option<String>: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
{
    query
        .bind(row.id)
        .bind(row.organization)
        .bind(row.mode)
        .bind(row.created_at)
        .bind(row.name)
        .bind(row.hint)
        .bind(row.scopes)
        .bind(row.limits)
        .bind(row.allowed_addresses)
        .bind(row.digest)
        .bind(row.secret_created_at)
        .bind(row.previous_digest)
        .bind(row.previous_valid_until)
        .bind(row.next_digest)
        .bind(row.next_hint)
        .bind(row.next_created_at)
        .bind(row.next_grace)
        .bind(row.state)
        .bind(row.revoked_at)
        .bind(row.not_before)
        .bind(row.expires_at)
        .bind(row.version)
        .bind(row.last_used_at)
        .bind(row.created_by)
        .bind(row.metadata)
        .bind(row.imported_hash)
        .bind(row.tier)
}

/// A row of the database, which may hold anything.
pub(super) trait KeyRow {
    fn read(&self) -> Result<Arc<KeyRecord>, BrokenKey>;

    /// The owner, if it can be read.
    fn owner(&self) -> Option<Owner>;

    /// The place in a listing, if it can be told in a cursor.
    fn place(&self) -> Option<Cursor>;
}

impl<R: sqlx::Row> KeyRow for R
where
    Row: for<'r> FromRow<'r, R>,
    &'static str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
{
    fn read(&self) -> Result<Arc<KeyRecord>, BrokenKey> {
        let read = Row::from_row(self).map_err(Into::into).and_then(row::to_record);
        read.map(Arc::new).map_err(|fault| {
            let id = self.try_get::<String, _>("id").ok().and_then(|id| id.parse().ok());
            BrokenKey::new(id, fault.to_string()).of(self.owner())
        })
    }

    fn owner(&self) -> Option<Owner> {
        let text = |column| self.try_get::<String, _>(column).ok();
        row::to_owner(&text("tier")?, &text("organization")?, &text("mode")?).ok()
    }

    fn place(&self) -> Option<Cursor> {
        let created_at = u64::try_from(self.try_get::<i64, _>("created_at").ok()?).ok()?;
        let id = self.try_get::<String, _>("id").ok()?.parse().ok()?;
        Some(Cursor { created_at: Timestamp::from_unix_millis(created_at), id })
    }
}

impl<'r, R: sqlx::Row> FromRow<'r, R> for Row
where
    &'static str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            organization: row.try_get("organization")?,
            mode: row.try_get("mode")?,
            created_at: row.try_get("created_at")?,
            name: row.try_get("name")?,
            hint: row.try_get("hint")?,
            scopes: row.try_get("scopes")?,
            limits: row.try_get("limits")?,
            allowed_addresses: row.try_get("allowed_addresses")?,
            digest: row.try_get("digest")?,
            secret_created_at: row.try_get("secret_created_at")?,
            previous_digest: row.try_get("previous_digest")?,
            previous_valid_until: row.try_get("previous_valid_until")?,
            next_digest: row.try_get("next_digest")?,
            next_hint: row.try_get("next_hint")?,
            next_created_at: row.try_get("next_created_at")?,
            next_grace: row.try_get("next_grace")?,
            state: row.try_get("state")?,
            revoked_at: row.try_get("revoked_at")?,
            not_before: row.try_get("not_before")?,
            expires_at: row.try_get("expires_at")?,
            version: row.try_get("version")?,
            last_used_at: row.try_get("last_used_at")?,
            created_by: row.try_get("created_by")?,
            metadata: row.try_get("metadata")?,
            imported_hash: row.try_get("imported_hash")?,
            tier: row.try_get("tier")?,
        })
    }
}
