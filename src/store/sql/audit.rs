//! The rows of the audit log.

use sqlx::query::{Query, QueryAs};
use sqlx::{Database, Encode, FromRow, Type};

use super::row::{self, millis};
use super::{corrupt, owner_columns};
use crate::clock::Timestamp;
use crate::key::{KeyId, Owner, Tenant};
use crate::store::StoreError;
use crate::store::audit::{AuditEvent, DONE};
use crate::store::audit_log::{DELIVERED_AT_ONCE, HistoryQuery};

/// The columns of an event to write. `$1` to `$10` of [`RECORD`].
pub(crate) struct EventRow {
    at: i64,
    action: String,
    outcome: String,
    changed: String,
    key_id: Option<String>,
    organization: String,
    tier: String,
    mode: String,
    actor: String,
    reason: Option<String>,
}

/// Those of an event to read: its number first.
pub(crate) type EventColumns =
    (i64, i64, String, String, String, Option<String>, String, String, String, String, Option<String>);

macro_rules! event_columns {
    () => {
        "at, action, outcome, changed, key_id, organization, tier, mode, actor, reason"
    };
}

#[cfg(feature = "postgres")]
pub(crate) use event_columns;

pub(crate) const RECORD: &str = concat!(
    "INSERT INTO api_key_audit (",
    event_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
);

/// `$1` is the first number that is too high, `$2` how many.
pub(crate) const HISTORY_OF_ALL: &str = concat!(
    "SELECT number, ",
    event_columns!(),
    " FROM api_key_audit WHERE number < $1 ORDER BY number DESC LIMIT $2"
);

/// And `$3` to `$5` a key and its owner.
pub(crate) const HISTORY_OF_KEY: &str = concat!(
    "SELECT number, ",
    event_columns!(),
    " FROM api_key_audit WHERE key_id = $3 AND organization = $4 AND mode = $5 AND number < $1 \
     ORDER BY number DESC LIMIT $2"
);

pub(crate) const UNDELIVERED: &str = concat!(
    "SELECT number, ",
    event_columns!(),
    " FROM api_key_audit WHERE NOT delivered ORDER BY number LIMIT $1"
);

/// `$1` is the process, `$2` until when, `$3` now.
pub(crate) const START_DELIVERY: &str =
    "UPDATE api_key_audit_delivery SET process = $1, until = $2 WHERE process = $1 OR until <= $3";

impl EventRow {
    pub(crate) fn new(event: &AuditEvent) -> Self {
        let (organization, mode) = owner_columns(&event.owner);
        let tier = match event.owner.tenant {
            Tenant::Organization(_) => "organization",
            Tenant::System => "system",
        };
        Self {
            at: millis(event.at),
            action: event.action.as_str().to_owned(),
            outcome: event.outcome_text().to_owned(),
            changed: event.changed.join(" "),
            key_id: event.key_id.map(|id| id.to_string()),
            organization,
            tier: tier.to_owned(),
            mode,
            actor: event.actor.to_string(),
            reason: event.reason.as_deref().map(str::to_owned),
        }
    }

    pub(crate) fn bind<DB: Database>(
        self,
        query: Query<'static, DB, DB::Arguments>,
    ) -> Query<'static, DB, DB::Arguments>
    where
        for<'q> String: Encode<'q, DB> + Type<DB>,
        for<'q> Option<String>: Encode<'q, DB> + Type<DB>,
        for<'q> i64: Encode<'q, DB> + Type<DB>,
    {
        query
            .bind(self.at)
            .bind(self.action)
            .bind(self.outcome)
            .bind(self.changed)
            .bind(self.key_id)
            .bind(self.organization)
            .bind(self.tier)
            .bind(self.mode)
            .bind(self.actor)
            .bind(self.reason)
    }

    /// All of them in one parameter.
    #[cfg(feature = "postgres")]
    pub(crate) fn into_texts(self) -> Vec<Option<String>> {
        vec![
            Some(self.at.to_string()),
            Some(self.action),
            Some(self.outcome),
            Some(self.changed),
            self.key_id,
            Some(self.organization),
            Some(self.tier),
            Some(self.mode),
            Some(self.actor),
            self.reason,
        ]
    }
}

/// A page of the history of a key, or of all.
pub(crate) fn history<DB: Database>(
    key: Option<(&Owner, &KeyId)>,
    query: &HistoryQuery,
) -> QueryAs<'static, DB, EventColumns, DB::Arguments>
where
    for<'r> EventColumns: FromRow<'r, DB::Row>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    let before = query.before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let statement = if key.is_some() { HISTORY_OF_KEY } else { HISTORY_OF_ALL };
    let page = sqlx::query_as(statement).bind(before).bind(query.limit() as i64 + 1);
    match key {
        Some((owner, id)) => super::bind_key!(page, owner, id),
        None => page,
    }
}

pub(crate) fn undelivered<DB: Database>() -> QueryAs<'static, DB, EventColumns, DB::Arguments>
where
    for<'r> EventColumns: FromRow<'r, DB::Row>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    sqlx::query_as(UNDELIVERED).bind(DELIVERED_AT_ONCE as i64)
}

pub(crate) fn start_delivery<DB: Database>(
    process: &str,
    now: Timestamp,
    until: Timestamp,
) -> Query<'static, DB, DB::Arguments>
where
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    sqlx::query(START_DELIVERY).bind(process.to_owned()).bind(millis(until)).bind(millis(now))
}

/// Those that can be read: another one, of a later release, say, holds up none but itself.
pub(crate) fn to_deliver(rows: Vec<EventColumns>) -> Result<Vec<AuditEvent>, StoreError> {
    let (mut events, mut fault) = (Vec::with_capacity(rows.len()), None);
    for row in rows {
        match to_event(row) {
            Ok(event) => events.push(event),
            Err(error) => fault = Some(error),
        }
    }
    match fault {
        Some(error) if events.is_empty() => Err(corrupt(error)),
        _ => Ok(events),
    }
}

pub(crate) fn to_events(rows: Vec<EventColumns>) -> Result<Vec<AuditEvent>, StoreError> {
    rows.into_iter().map(|row| to_event(row).map_err(corrupt)).collect()
}

fn to_event(columns: EventColumns) -> Result<AuditEvent, Box<dyn std::error::Error + Send + Sync>> {
    let (number, at, action, outcome, changed, key_id, organization, tier, mode, actor, reason) = columns;
    let owner = row::to_owner(&tier, &organization, &mode)?;
    let mut event = AuditEvent::new(action.parse()?, owner, actor.parse()?, row::timestamp("at", at)?);
    event.number = Some(u64::try_from(number)?);
    if outcome != DONE {
        event.outcome = Err(outcome.into());
    }
    event.changed = changed.split_whitespace().map(|field| field.to_owned().into()).collect();
    event.key_id = key_id.map(|id| id.parse()).transpose()?;
    event.reason = reason.map(Into::into);
    Ok(event)
}

pub(crate) fn numbers(numbers: &[u64]) -> Vec<i64> {
    numbers.iter().filter_map(|number| i64::try_from(*number).ok()).collect()
}
