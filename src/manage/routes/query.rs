//! The queries of a listing, of a history and of a revocation.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::Query;
use http::Uri;

use crate::key::Actor;
use crate::manage::rules::is_name;
use crate::manage::{KeyManager, ManageError};
use crate::rejection::FieldError;
use crate::store::{HistoryQuery, KeyQuery};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Parameters with other names are ignored: they may belong to a proxy or a cache.
pub(super) fn parse(uri: &Uri, manager: &KeyManager) -> Result<KeyQuery, ManageError> {
    let parameters = parameters(uri)?;
    let mut faults = Vec::new();
    let mut query = KeyQuery::default();
    let mut value = |name| value(&parameters, name, &mut faults);
    let [limit, cursor, creator, status, scope, prefix] =
        ["limit", "cursor", "createdBy", "status", "scope", "namePrefix"].map(&mut value);
    let [older, ending, unused] =
        ["olderThanDays", "expiresWithinDays", "unusedForDays"].map(|name| (name, value(name)));
    let mut days = |(name, days): (&'static str, Option<&str>)| match days?.parse::<u32>() {
        Ok(days) => Some(DAY * days),
        Err(_) => {
            faults.push(FieldError::new(name, "must be a whole number of days"));
            None
        }
    };
    if let Some(age) = days(older) {
        query.secret_created_before = manager.older_than(age).secret_created_before;
    }
    if let Some(time) = days(ending) {
        query.expires_before = manager.ending_within(time).expires_before;
    }
    if let Some(time) = days(unused) {
        query.unused_since = manager.unused_for(time).unused_since;
    }
    if let Some(status) = status {
        match status.parse() {
            Ok(status) => query.status_at = manager.of_status(status).status_at,
            Err(_) => faults.push(FieldError::new("status", "must be the status of a key")),
        }
    }
    if let Some(creator) = creator {
        match creator.parse() {
            Ok(Actor::Operator(Some(name))) if !is_name(&name) => {
                faults.push(FieldError::new("createdBy", "must be the createdBy of a key"));
            }
            Ok(creator) => query.created_by = Some(creator),
            Err(_) => faults.push(FieldError::new("createdBy", "must be the createdBy of a key")),
        }
    }
    if let Some(scope) = scope {
        match scope.parse() {
            Ok(scope) => query.scope = Some(scope),
            Err(_) => faults.push(FieldError::new("scope", "must be one scope of the form resource:action")),
        }
    }
    match prefix {
        Some(prefix) if !is_name(prefix) => {
            faults.push(FieldError::new("namePrefix", "must be the beginning of a name"));
        }
        prefix => query.name_prefix = prefix.map(str::to_owned),
    }
    page(limit, cursor, &mut query.limit, &mut query.after, &mut faults);
    if faults.is_empty() { Ok(query) } else { Err(ManageError::Invalid(faults)) }
}

pub(super) fn history(uri: &Uri) -> Result<HistoryQuery, ManageError> {
    let parameters = parameters(uri)?;
    let (mut faults, mut query) = (Vec::new(), HistoryQuery::default());
    let [limit, cursor] = ["limit", "cursor"].map(|name| value(&parameters, name, &mut faults));
    page(limit, cursor, &mut query.limit, &mut query.before, &mut faults);
    if faults.is_empty() { Ok(query) } else { Err(ManageError::Invalid(faults)) }
}

/// The one value of a parameter.
pub(super) fn value<'p>(
    parameters: &'p [(String, String)],
    name: &'static str,
    faults: &mut Vec<FieldError>,
) -> Option<&'p str> {
    let mut values = parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let value = values.next();
    if values.next().is_some() {
        faults.push(FieldError::new(name, "must not come twice"));
    }
    value
}

/// How long a page is, and where it starts.
fn page<C: FromStr>(
    limit: Option<&str>,
    cursor: Option<&str>,
    to_limit: &mut usize,
    to_cursor: &mut Option<C>,
    faults: &mut Vec<FieldError>,
) {
    if let Some(limit) = limit {
        match limit.parse() {
            Ok(limit @ 1..=KeyQuery::MAX_LIMIT) => *to_limit = limit,
            _ => faults.push(FieldError::new("limit", "must be a whole number from 1 to 1000")),
        }
    }
    if let Some(cursor) = cursor {
        match cursor.parse() {
            Ok(cursor) => *to_cursor = Some(cursor),
            Err(_) => faults.push(FieldError::new("cursor", "must be the nextCursor of the page before")),
        }
    }
}

/// Whether what was made with the key is revoked as well.
pub(super) fn with_descendants(uri: &Uri) -> Result<bool, ManageError> {
    let parameters = parameters(uri)?;
    let mut values =
        parameters.iter().filter(|(name, _)| name == "descendants").map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (None | Some("false"), None) => Ok(false),
        (Some("true"), None) => Ok(true),
        _ => Err(ManageError::invalid("descendants", "must be true or false")),
    }
}

pub(super) fn parameters(uri: &Uri) -> Result<Vec<(String, String)>, ManageError> {
    match Query::try_from_uri(uri) {
        Ok(Query(parameters)) => Ok(parameters),
        Err(_) => Err(ManageError::invalid("query", "must be form-urlencoded")),
    }
}
