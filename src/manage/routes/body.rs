//! The bodies of a creation and of a rotation.

use std::fmt;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::address::Network;
use crate::manage::{KeyManager, ManageError, NewKey};
use crate::rejection::FieldError;
use crate::scope::{Scope, ScopeSet};

/// Far more than a key needs, and still harmless.
const MAX_LENGTH: usize = 16 * 1024;

/// Longer names of unknown members are not repeated to the client.
const MAX_NAME_LENGTH: usize = 64;

/// When the new secret of a key comes into use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    pub(super) on_first_use: bool,
    /// How long the old secret verifies from then on.
    pub(super) grace: Duration,
}

pub(super) async fn new_key(headers: &HeaderMap, body: Body) -> Result<NewKey, ManageError> {
    if !is_json(headers) {
        return Err(not_json());
    }
    parse(&members(&read(body).await?)?).map_err(ManageError::Invalid)
}

/// No body means the defaults.
pub(super) async fn rotation(headers: &HeaderMap, body: Body) -> Result<Rotation, ManageError> {
    let is_json = is_json(headers);
    match read(body).await? {
        bytes if bytes.is_empty() => parse_rotation(&[]).map_err(ManageError::Invalid),
        bytes if is_json => parse_rotation(&members(&bytes)?).map_err(ManageError::Invalid),
        _ => Err(not_json()),
    }
}

fn not_json() -> ManageError {
    ManageError::invalid("body", "must be sent as application/json")
}

async fn read(body: Body) -> Result<Bytes, ManageError> {
    to_bytes(body, MAX_LENGTH)
        .await
        .map_err(|_| ManageError::invalid("body", "must be sent whole, and at most 16384 bytes"))
}

fn members(bytes: &[u8]) -> Result<Vec<(String, Value)>, ManageError> {
    let Members(members) =
        serde_json::from_slice(bytes).map_err(|_| ManageError::invalid("body", "must be one JSON object"))?;
    Ok(members)
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// A JSON object with its duplicate members: a map would keep only one of equal names.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Reads every member, so that the client learns of all faults together.
fn parse(members: &[(String, Value)]) -> Result<NewKey, Vec<FieldError>> {
    let mut faults = unexpected(
        members,
        "is not a member of a new key",
        &["name", "scopes", "expiresAt", "allowedAddresses"],
    );
    let member = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let mut fault = |field, message| faults.push(FieldError::new(field, message));

    let name = match member("name") {
        Some(Value::String(name)) => name.clone(),
        Some(_) => {
            fault("name", "must be a string");
            String::new()
        }
        None => {
            fault("name", "is required");
            String::new()
        }
    };
    let scopes = match member("scopes") {
        Some(scopes) => scopes_of(scopes).unwrap_or_else(|message| {
            fault("scopes", message);
            ScopeSet::empty()
        }),
        None => {
            fault("scopes", "is required");
            ScopeSet::empty()
        }
    };
    let mut key = NewKey::new(name);
    key.scopes = scopes;
    match member("expiresAt") {
        None | Some(Value::Null) => {}
        Some(value) => match value.as_str().and_then(|text| text.parse().ok()) {
            Some(expires_at) => key.expires_at = Some(expires_at),
            None => fault("expiresAt", "must be an RFC 3339 date and time such as 2030-01-31T12:00:00Z"),
        },
    }
    match member("allowedAddresses") {
        None | Some(Value::Null) => {}
        Some(value) => match networks(value) {
            Some(networks) => key.allowed_addresses = networks,
            None => fault(
                "allowedAddresses",
                "must be null or an array of at least one network such as 192.0.2.0/24 or 2001:db8::/32",
            ),
        },
    }
    if faults.is_empty() { Ok(key) } else { Err(faults) }
}

fn parse_rotation(members: &[(String, Value)]) -> Result<Rotation, Vec<FieldError>> {
    let mut faults =
        unexpected(members, "is not a member of a rotation", &["activation", "graceSeconds", "graceHours"]);
    let member = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let mut fault = |field, message| faults.push(FieldError::new(field, message));

    let on_first_use = match member("activation").map(Value::as_str) {
        None | Some(Some("immediate")) => false,
        Some(Some("first_use")) => true,
        Some(_) => {
            fault("activation", "must be immediate or first_use");
            false
        }
    };
    let grace = match (member("graceSeconds"), member("graceHours")) {
        (None, None) => KeyManager::DEFAULT_GRACE,
        (Some(seconds), None) => Duration::from_secs(seconds.as_u64().unwrap_or_else(|| {
            fault("graceSeconds", "must be a whole number of seconds");
            0
        })),
        (None, Some(hours)) => Duration::from_secs(hours.as_u64().map_or_else(
            || {
                fault("graceHours", "must be a whole number of hours");
                0
            },
            // A value too large for a number is also too long for a grace period.
            |hours| hours.saturating_mul(60 * 60),
        )),
        (Some(_), Some(_)) => {
            fault("graceHours", "must not come with graceSeconds");
            Duration::ZERO
        }
    };
    if faults.is_empty() { Ok(Rotation { on_first_use, grace }) } else { Err(faults) }
}

/// Unknown and repeated members.
fn unexpected(members: &[(String, Value)], message: &'static str, known: &[&str]) -> Vec<FieldError> {
    let fault = |(index, (name, _)): (usize, &(String, Value))| {
        if !known.contains(&name.as_str()) {
            return Some(unknown(name, message));
        }
        let is_repeated = members[..index].iter().any(|(earlier, _)| earlier == name);
        is_repeated.then(|| FieldError::new(name.clone(), "must not come twice"))
    };
    members.iter().enumerate().filter_map(fault).collect()
}

fn unknown(name: &str, message: &'static str) -> FieldError {
    let shown = name.len() <= MAX_NAME_LENGTH && !name.chars().any(char::is_control);
    FieldError::new(if shown { name.to_owned() } else { "body".to_owned() }, message)
}

fn scopes_of(value: &Value) -> Result<ScopeSet, &'static str> {
    let Value::Array(scopes) = value else { return Err("must be an array of strings") };
    scopes
        .iter()
        .map(|scope| {
            let scope = scope.as_str().ok_or("must be an array of strings")?;
            scope.parse::<Scope>().map_err(|_| "must be scopes of the form resource:action")
        })
        .collect()
}

/// An empty array is rejected: it could mean "from nowhere" as well as "from anywhere".
fn networks(value: &Value) -> Option<Vec<Network>> {
    let networks = value.as_array().filter(|networks| !networks.is_empty())?;
    networks.iter().map(|network| network.as_str()?.parse().ok()).collect()
}
