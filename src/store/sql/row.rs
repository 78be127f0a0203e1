use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use tower_api_keys::clock::Timestamp;
use tower_api_keys::key::{Extras, KeyRecord, KeyState, Metadata, NextSecret, Owner, PreviousSecret, Tenant};
use tower_api_keys::scope::ScopeSet;

/// A row of `api_keys`.
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) organization: String,
    pub(crate) mode: String,
    pub(crate) created_at: i64,
    pub(crate) name: String,
    pub(crate) hint: String,
    pub(crate) scopes: String,
    pub(crate) limits: String,
    pub(crate) allowed_addresses: String,
    pub(crate) digest: String,
    pub(crate) secret_created_at: i64,
    pub(crate) previous_digest: Option<String>,
    pub(crate) previous_valid_until: Option<i64>,
    pub(crate) next_digest: Option<String>,
    pub(crate) next_hint: Option<String>,
    pub(crate) next_created_at: Option<i64>,
    pub(crate) next_grace: Option<i64>,
    pub(crate) state: String,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) not_before: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) version: i64,
    pub(crate) last_used_at: Option<i64>,
    pub(crate) created_by: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) imported_hash: Option<String>,
    pub(crate) tier: String,
}

/// The error is for [`StoreErrorKind::Other`](tower_api_keys::store::StoreErrorKind::Other).
pub(crate) fn to_row(record: &KeyRecord) -> Result<Row, Box<dyn Error + Send + Sync>> {
    let (state, revoked_at) = match record.state {
        KeyState::Active => ("active", None),
        KeyState::Disabled => ("disabled", None),
        KeyState::Revoked { at } => ("revoked", Some(millis(at))),
        #[allow(unreachable_patterns, reason = "only in other crates there may be states that are not known")]
        _ => return Err("a key state that this version does not know".into()),
    };
    let extras = record.extras();
    if extras.limits.keys().any(|category| category.contains('\n')) {
        return Err("a limit's category must be one line".into());
    }
    let scopes: Vec<_> = record.scopes.iter().map(|scope| scope.as_str()).collect();
    let limits: Vec<_> =
        extras.limits.iter().map(|(category, limit)| format!("{limit} {category}")).collect();
    let networks: Vec<_> = extras.allowed_addresses.iter().map(ToString::to_string).collect();
    let (previous, next) = (extras.previous, extras.next.as_deref());
    Ok(Row {
        id: record.id.to_string(),
        organization: organization(&record.owner),
        mode: record.owner.mode.to_string(),
        created_at: millis(record.created_at),
        name: record.name.to_string(),
        hint: record.hint.to_string(),
        scopes: scopes.join(" "),
        limits: limits.join("\n"),
        allowed_addresses: networks.join(" "),
        digest: record.digest.to_string(),
        secret_created_at: millis(record.secret_created_at),
        previous_digest: previous.map(|previous| previous.digest.to_string()),
        previous_valid_until: previous.map(|previous| millis(previous.valid_until)),
        next_digest: next.map(|next| next.digest.to_string()),
        next_hint: next.map(|next| next.hint.clone()),
        next_created_at: next.map(|next| millis(next.created_at)),
        next_grace: next.map(|next| i64::try_from(next.grace.as_millis()).unwrap_or(i64::MAX)),
        state: state.to_owned(),
        revoked_at,
        not_before: extras.not_before.map(millis),
        expires_at: record.expires_at.map(millis),
        // Versions are only compared for equality, so a bit cast is fine.
        version: record.version as i64,
        last_used_at: record.last_used_at.map(millis),
        created_by: record.created_by().map(ToString::to_string),
        metadata: extras.metadata.as_ref().map(|metadata| metadata.as_json().to_owned()),
        imported_hash: extras.imported_hash.as_ref().map(|hash| hash.as_str().to_owned()),
        tier: match record.owner.tenant {
            Tenant::Organization(_) => "organization".to_owned(),
            Tenant::System => "system".to_owned(),
        },
    })
}

/// The error is for a [`BrokenKey`](tower_api_keys::store::BrokenKey).
pub(crate) fn to_record(row: Row) -> Result<KeyRecord, Box<dyn Error + Send + Sync>> {
    let owner = to_owner(&row.tier, &row.organization, &row.mode)?;
    let (id, digest) = (read("id", row.id.parse())?, read("digest", row.digest.parse())?);
    let mut record = KeyRecord::new(id, owner, digest, timestamp("created_at", row.created_at)?);
    record.name = row.name.into();
    record.hint = row.hint.into();
    record.scopes = read("scopes", ScopeSet::parse_list(row.scopes.split_whitespace()))?;
    let mut extras = Extras::default();
    let networks = row.allowed_addresses.split_whitespace().map(str::parse);
    extras.allowed_addresses = read("allowed_addresses", networks.collect::<Result<_, _>>())?;
    for line in row.limits.split_terminator('\n') {
        let (limit, category) = line.split_once(' ').ok_or("limits: a limit has no category")?;
        extras.limits.insert(category.to_owned(), read("limits", limit.parse())?);
    }
    record.secret_created_at = timestamp("secret_created_at", row.secret_created_at)?;
    extras.previous = match (row.previous_digest, row.previous_valid_until) {
        (None, None) => None,
        (Some(digest), Some(valid_until)) => Some(PreviousSecret {
            digest: read("previous_digest", digest.parse())?,
            valid_until: timestamp("previous_valid_until", valid_until)?,
        }),
        _ => return Err("previous_digest: a previous secret is incomplete".into()),
    };
    extras.next = match (row.next_digest, row.next_hint, row.next_created_at, row.next_grace) {
        (None, None, None, None) => None,
        (Some(digest), Some(hint), Some(created_at), Some(grace)) => Some(Box::new(NextSecret {
            digest: read("next_digest", digest.parse())?,
            hint,
            created_at: timestamp("next_created_at", created_at)?,
            grace: Duration::from_millis(read("next_grace", grace.try_into())?),
        })),
        _ => return Err("next_digest: a next secret is incomplete".into()),
    };
    record.state = match (row.state.as_str(), row.revoked_at) {
        ("active", None) => KeyState::Active,
        ("disabled", None) => KeyState::Disabled,
        ("revoked", Some(at)) => KeyState::Revoked { at: timestamp("revoked_at", at)? },
        _ => return Err("state: unknown, or not with this revoked_at".into()),
    };
    let optional = |column, millis: Option<i64>| millis.map(|millis| timestamp(column, millis)).transpose();
    extras.not_before = optional("not_before", row.not_before)?;
    extras.imported_hash = read("imported_hash", row.imported_hash.as_deref().map(str::parse).transpose())?;
    extras.metadata = read("metadata", row.metadata.as_deref().map(Metadata::from_json).transpose())?;
    if extras != Extras::default() {
        *record.extras_mut() = extras;
    }
    record.expires_at = optional("expires_at", row.expires_at)?;
    record.last_used_at = optional("last_used_at", row.last_used_at)?;
    record.version = row.version as u64;
    record.set_created_by(read("created_by", row.created_by.as_deref().map(str::parse).transpose())?);
    Ok(record)
}

pub(crate) fn to_owner(
    tier: &str,
    organization: &str,
    mode: &str,
) -> Result<Owner, Box<dyn Error + Send + Sync>> {
    let mode = read("mode", mode.parse())?;
    match (tier, organization) {
        ("system", "") => Ok(Owner::system(mode)),
        ("organization", organization) => {
            Ok(Owner::organization(read("organization", organization.parse())?, mode))
        }
        _ => Err("tier: neither a key of an organization nor one of the system".into()),
    }
}

/// Names the column of a value that can't be read. No value is repeated: some are digests.
fn read<T, E: Display>(column: &str, value: Result<T, E>) -> Result<T, Box<dyn Error + Send + Sync>> {
    value.map_err(|error| format!("{column}: {error}").into())
}

/// The empty text, which is no organization, for a key of the system: unlike `NULL` it is found with `=`.
pub(crate) fn organization(owner: &Owner) -> String {
    match &owner.tenant {
        Tenant::Organization(organization) => organization.to_string(),
        Tenant::System => String::new(),
    }
}

/// Instants after the year 292 000 000 become the last one that a column holds.
pub(crate) fn millis(timestamp: Timestamp) -> i64 {
    i64::try_from(timestamp.as_unix_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn timestamp(column: &str, millis: i64) -> Result<Timestamp, Box<dyn Error + Send + Sync>> {
    Ok(Timestamp::from_unix_millis(read(column, millis.try_into())?))
}
