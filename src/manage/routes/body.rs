//! The bodies of a creation, an update and a rotation.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::address::Network;
use crate::clock::Timestamp;
use crate::json::HasDuplicateMember;
use crate::key::Metadata;
use crate::manage::{KeyChange, KeyManager, ManageError, NewKey};
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
    if !has_type(headers, &[JSON]) {
        return Err(not_json());
    }
    parse(&members(&read(body).await?)?).map_err(ManageError::Invalid)
}

/// A merge patch (RFC 7396).
pub(super) async fn change(headers: &HeaderMap, body: Body) -> Result<KeyChange, ManageError> {
    if !has_type(headers, &[JSON, "application/merge-patch+json"]) {
        return Err(ManageError::invalid(
            "body",
            "must be sent as application/json or application/merge-patch+json",
        ));
    }
    parse_change(&members(&read(body).await?)?).map_err(ManageError::Invalid)
}

/// No body means the defaults.
pub(super) async fn rotation(headers: &HeaderMap, body: Body) -> Result<Rotation, ManageError> {
    let is_json = has_type(headers, &[JSON]);
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

/// The members of the object, also those that come twice. Inside of them none does.
fn members(bytes: &[u8]) -> Result<Vec<(String, Value)>, ManageError> {
    let not_json = |_| ManageError::invalid("body", "must be one JSON object");
    let Members(members) = serde_json::from_slice(bytes).map_err(not_json)?;
    let Members::<HasDuplicateMember>(duplicates) = serde_json::from_slice(bytes).map_err(not_json)?;
    let duplicates = duplicates.iter().filter(|(_, HasDuplicateMember(found))| *found);
    let faults: Vec<_> =
        duplicates.map(|(name, _)| of_member(name, "must not have a member twice")).collect();
    if faults.is_empty() { Ok(members) } else { Err(ManageError::Invalid(faults)) }
}

const JSON: &str = "application/json";

fn has_type(headers: &HeaderMap, types: &[&str]) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    types.iter().any(|of| essence.trim().eq_ignore_ascii_case(of))
}

/// A JSON object with its duplicate members: a map would keep only one of equal names.
struct Members<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Members<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Object<V> {
            type Value = Members<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<V>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// The members of a new key, which an update can change.
const MEMBERS: [&str; 7] =
    ["name", "scopes", "expiresAt", "notBefore", "limits", "allowedAddresses", "metadata"];

/// Reads every member, so that the client learns of all faults together.
fn parse(members: &[(String, Value)]) -> Result<NewKey, Vec<FieldError>> {
    let mut faults = unexpected(members, "is not a member of a new key", &MEMBERS);
    for required in ["name", "scopes"] {
        if !members.iter().any(|(name, _)| name == required) {
            faults.push(FieldError::new(required, "is required"));
        }
    }
    let mut key = NewKey::new("");
    for (name, value) in members {
        let read = match name.as_str() {
            "name" => text(value).map(|name| key.name = name.to_owned()),
            "scopes" => scopes(value).map(|scopes| key.scopes = scopes),
            "expiresAt" => instant(value).map(|end| key.expires_at = end),
            "notBefore" => instant(value).map(|start| key.not_before = start),
            "limits" => new_limits(value).map(|limits| key.limits = limits),
            "allowedAddresses" => networks(value).map(|networks| key.allowed_addresses = networks),
            "metadata" => metadata(value).map(|metadata| key.metadata = metadata),
            _ => Ok(()),
        };
        faults.extend(read.err().map(|message| FieldError::new(name.clone(), message)));
    }
    if faults.is_empty() { Ok(key) } else { Err(faults) }
}

fn parse_change(members: &[(String, Value)]) -> Result<KeyChange, Vec<FieldError>> {
    let mut faults = unexpected(members, "is not a member that can be changed", &MEMBERS);
    let mut change = KeyChange::new();
    for (name, value) in members {
        let read = match name.as_str() {
            "name" => text(value).map(|name| change.name = Some(name.to_owned())),
            "scopes" => scopes(value).map(|scopes| change.scopes = Some(scopes)),
            "expiresAt" => instant(value).map(|end| change.expires_at = Some(end)),
            "notBefore" => instant(value).map(|start| change.not_before = Some(start)),
            "limits" => limits(value).map(|limits| match limits {
                None => change.removes_limits = true,
                Some(limits) => change.limits = limits,
            }),
            "allowedAddresses" => networks(value).map(|networks| change.allowed_addresses = Some(networks)),
            "metadata" => metadata(value).map(|metadata| match metadata {
                None => change.metadata = Some(None),
                Some(_) => change.metadata_patch = Some(value.clone()),
            }),
            _ => Ok(()),
        };
        faults.extend(read.err().map(|message| FieldError::new(name.clone(), message)));
    }
    if faults.is_empty() { Ok(change) } else { Err(faults) }
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
            return Some(of_member(name, message));
        }
        let is_repeated = members[..index].iter().any(|(earlier, _)| earlier == name);
        is_repeated.then(|| FieldError::new(name.clone(), "must not come twice"))
    };
    members.iter().enumerate().filter_map(fault).collect()
}

/// A fault of a member whose name the client chose.
fn of_member(name: &str, message: &'static str) -> FieldError {
    let shown = name.len() <= MAX_NAME_LENGTH && !name.chars().any(char::is_control);
    FieldError::new(if shown { name.to_owned() } else { "body".to_owned() }, message)
}

fn text(value: &Value) -> Result<&str, &'static str> {
    value.as_str().ok_or("must be a string")
}

fn instant(value: &Value) -> Result<Option<Timestamp>, &'static str> {
    match value {
        Value::Null => Ok(None),
        value => value
            .as_str()
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or("must be an RFC 3339 date and time such as 2030-01-31T12:00:00Z"),
    }
}

fn scopes(value: &Value) -> Result<ScopeSet, &'static str> {
    let Value::Array(scopes) = value else { return Err("must be an array of strings") };
    scopes
        .iter()
        .map(|scope| {
            let scope = scope.as_str().ok_or("must be an array of strings")?;
            scope.parse::<Scope>().map_err(|_| "must be scopes of the form resource:action")
        })
        .collect()
}

/// Limits by category; `None` for one that is not to be, or in place of all of them.
type Limits = BTreeMap<String, Option<u32>>;

/// Those of a new key, which has none to remove.
fn new_limits(value: &Value) -> Result<BTreeMap<String, NonZeroU32>, &'static str> {
    let limits = limits(value)?.unwrap_or_default().into_iter();
    Ok(limits.filter_map(|(category, limit)| Some((category, NonZeroU32::new(limit?)?))).collect())
}

fn limits(value: &Value) -> Result<Option<Limits>, &'static str> {
    let limit = |(category, limit): (&String, &Value)| {
        if limit.is_null() {
            return Some((category.clone(), None));
        }
        let limit = limit.as_u64().and_then(|limit| u32::try_from(limit).ok()).filter(|limit| *limit > 0);
        Some((category.clone(), Some(limit?)))
    };
    let limits = match value {
        Value::Null => Some(None),
        Value::Object(limits) => limits.iter().map(limit).collect::<Option<_>>().map(Some),
        _ => None,
    };
    limits.ok_or("must be null or an object of requests by category, such as {\"read\":5000}")
}

fn metadata(value: &Value) -> Result<Option<Metadata>, &'static str> {
    match value {
        Value::Null => Ok(None),
        value => {
            Metadata::new(value).map(Some).map_err(|_| "must be null or an object of at most 4096 bytes")
        }
    }
}

/// Empty for `null`. An empty array is rejected: it could mean "from nowhere" as well as "from anywhere".
fn networks(value: &Value) -> Result<Vec<Network>, &'static str> {
    let read =
        |networks: &Vec<Value>| networks.iter().map(|network| network.as_str()?.parse().ok()).collect();
    let networks = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(networks) if !networks.is_empty() => read(networks),
        _ => None,
    };
    networks.ok_or("must be null or an array of at least one network such as 192.0.2.0/24 or 2001:db8::/32")
}
