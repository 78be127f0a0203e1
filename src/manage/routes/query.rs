//! The query of a listing.

use std::time::Duration;

use crate::manage::{KeyManager, ManageError};
use crate::rejection::FieldError;
use crate::store::KeyQuery;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Parameters with other names are ignored: they may belong to a proxy or a cache.
pub(super) fn parse(
    parameters: Vec<(String, String)>,
    manager: &KeyManager,
) -> Result<KeyQuery, ManageError> {
    let mut faults = Vec::new();
    let mut query = KeyQuery::default();
    let mut value = |name: &'static str| {
        let mut values = parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next();
        if values.next().is_some() {
            faults.push(FieldError::new(name, "must not come twice"));
        }
        value
    };
    let [limit, cursor, days] = [value("limit"), value("cursor"), value("olderThanDays")];
    if let Some(days) = days {
        match days.parse::<u32>() {
            Ok(days) => query = manager.older_than(DAY * days),
            Err(_) => faults.push(FieldError::new("olderThanDays", "must be a whole number of days")),
        }
    }
    if let Some(limit) = limit {
        match limit.parse() {
            Ok(limit @ 1..=KeyQuery::MAX_LIMIT) => query.limit = limit,
            _ => faults.push(FieldError::new("limit", "must be a whole number from 1 to 1000")),
        }
    }
    if let Some(cursor) = cursor {
        match cursor.parse() {
            Ok(cursor) => query.after = Some(cursor),
            Err(_) => faults.push(FieldError::new("cursor", "must be the nextCursor of the page before")),
        }
    }
    if faults.is_empty() { Ok(query) } else { Err(ManageError::Invalid(faults)) }
}
