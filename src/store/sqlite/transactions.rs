//! Changes of several statements, and what has to be read together.

use sqlx::{Connection, SqliteConnection};

use super::statements::{
    ADD_DIGESTS, CHANGES, DELETE, DROP_DIGESTS, FORGET_IMPORT, INSERT, LAST_CHANGE, READ_QUOTA, REPLACE,
};
use super::{BEGIN, audit};
use crate::clock::Timestamp;
use crate::key::{KeyId, Owner};
use crate::store::sql::audit::EventRow;
use crate::store::sql::row::millis;
use crate::store::sql::{
    DROP_OTHER_DIGESTS, FIND_BY_ID, KeyRow, QuotaName, REVOKE_UNREAD, Row, WRITE_QUOTA, bind_key, bind_row,
    to_quota_row,
};
use crate::store::{QuotaChange, QuotaRow};

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    row: Row,
    digests: String,
    event: Option<EventRow>,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    insert_row(&mut transaction, row, digests, event).await?;
    transaction.commit().await
}

pub(super) async fn insert_row(
    connection: &mut SqliteConnection,
    row: Row,
    digests: String,
    event: Option<EventRow>,
) -> Result<(), sqlx::Error> {
    let id = row.id.clone();
    bind_row(sqlx::query(INSERT), row).execute(&mut *connection).await?;
    sqlx::query(ADD_DIGESTS).bind(id).bind(digests).execute(&mut *connection).await?;
    audit::record(connection, event).await
}

/// Returns whether there was such a version to replace.
pub(super) async fn replace(
    connection: &mut SqliteConnection,
    row: Row,
    replaced: i64,
    digests: String,
    event: Option<EventRow>,
) -> Result<bool, sqlx::Error> {
    let id = row.id.clone();
    let mut transaction = connection.begin_with(BEGIN).await?;
    let changed = bind_row(sqlx::query(REPLACE), row).bind(replaced).execute(&mut *transaction).await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    for statement in [DROP_DIGESTS, ADD_DIGESTS] {
        sqlx::query(statement).bind(&id).bind(&digests).execute(&mut *transaction).await?;
    }
    audit::record(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Returns whether there was such a key to revoke.
pub(super) async fn revoke_unread(
    connection: &mut SqliteConnection,
    owner: Owner,
    id: KeyId,
    at: Timestamp,
    event: Option<EventRow>,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let stored = sqlx::query(FIND_BY_ID).bind(id.to_string()).fetch_optional(&mut *transaction).await?;
    if stored.is_none_or(|row| row.owner().is_some_and(|stored| stored != owner)) {
        return Ok(false);
    }
    let revoke = bind_key!(sqlx::query(REVOKE_UNREAD), &owner, id).bind(millis(at));
    if revoke.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(DROP_OTHER_DIGESTS).bind(id.to_string()).execute(&mut *transaction).await?;
    audit::record(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Returns whether there was such a key.
pub(super) async fn delete(
    connection: &mut SqliteConnection,
    owner: Owner,
    id: KeyId,
    event: Option<EventRow>,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let gone = bind_key!(sqlx::query(DELETE), &owner, id).execute(&mut *transaction).await?;
    if gone.rows_affected() == 0 {
        return Ok(false);
    }
    // Not left to the foreign key, which a connection enforces only if configured.
    sqlx::query(DROP_DIGESTS).bind(id.to_string()).bind("[]").execute(&mut *transaction).await?;
    audit::record(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Returns whether there was such an import.
pub(super) async fn forget_import(
    connection: &mut SqliteConnection,
    id: KeyId,
    event: Option<EventRow>,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let gone = sqlx::query(FORGET_IMPORT).bind(id.to_string()).execute(&mut *transaction).await?;
    if gone.rows_affected() == 0 {
        return Ok(false);
    }
    audit::record(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

/// The number of the last change, and those after a number.
pub(super) async fn changes(
    connection: &mut SqliteConnection,
    after: i64,
) -> Result<(i64, Vec<(i64, String)>), sqlx::Error> {
    // Read together, so that none is between them.
    let mut transaction = connection.begin().await?;
    let last = sqlx::query_scalar(LAST_CHANGE).fetch_one(&mut *transaction).await?;
    let changes = sqlx::query_as(CHANGES).bind(after).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((last, changes))
}

pub(super) async fn change_quota(
    connection: &mut SqliteConnection,
    name: QuotaName,
    change: QuotaChange,
) -> Result<(QuotaRow, u64), sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let row = name.bind(sqlx::query_as(READ_QUOTA)).fetch_optional(&mut *transaction).await?;
    if row.is_none() && change.is_look() {
        return Ok(change.apply(None));
    }
    let (row, leased) = change.apply(row.map(to_quota_row));
    name.bind_row(sqlx::query(WRITE_QUOTA), row).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((row, leased))
}
