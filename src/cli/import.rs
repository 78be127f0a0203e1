use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::num::NonZeroU32;
use std::sync::Arc;

use clap::Args;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::failure::{Exit, Failure, chain};
use super::input::{MAX_TEXT, refuse_arguments};
use super::output::Progress;
use super::owner::OwnerOptions;
use super::reason::Reason;
use super::session::Session;
use super::trial::Trial;
use crate::NewKey;
use crate::address::Network;
use crate::clock::Timestamp;
use crate::json::HasDuplicateMember;
use crate::key::{Digest, KeyId, KeyStatus, Metadata, Mode, OrganizationId, Owner, SecretString, Tenant};
use crate::manage::{KeyManager, KeyView, ManageError};

/// Stores keys of another system, from standard input: secrets, digests or hashes. A second run changes nothing
///
/// Each line is one key, as a JSON object or in CSV, such as {"key":"acme_live_…","organization":"org_1","name":"Billing","scopes":["invoices:read"]}.
///
/// One of these is needed: `key`, the secret; `digest` with `id`, such as sha256:…, 64 hexadecimal digits; `hash` with `id`, such as one of
/// bcrypt, which the application verifies. These may be given: `organization`, `mode` (live, test), `name`, `scopes`, `expiresAt` and
/// `notBefore` (2030-01-31T12:00:00Z), `limits` ({"requests":5000}), `allowedAddresses`, `metadata`, `status` (a key that is
/// revoked or expired is left out), `hint` (what lists show of a digest or a hash). Without `expiresAt` a key does not end.
///
/// `export --digests` writes such lines.
#[derive(Args, Clone, Debug)]
pub(super) struct Import {
    #[command(flatten)]
    owner: OwnerOptions,
    /// Reads CSV with a header, in place of one JSON object a line. The fields are the same; scopes, addresses and limits (`requests=5000`)
    /// have spaces between them
    #[arg(long)]
    csv: bool,
    /// Says what would be done, and does nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reason: Reason,
    /// Keys are not arguments: they are read from standard input
    #[arg(hide = true)]
    refused: Vec<std::ffi::OsString>,
}

/// A key of another system. It has a secret, a digest or a hash. A field that is unknown is an error: `expires_at` would
/// otherwise make a key that never ends.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Row {
    id: Option<KeyId>,
    organization: Option<OrganizationId>,
    mode: Option<Mode>,
    name: Option<String>,
    scopes: Option<Vec<String>>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    limits: Option<BTreeMap<String, NonZeroU32>>,
    allowed_addresses: Option<Vec<String>>,
    metadata: Option<Value>,
    status: Option<String>,
    hint: Option<String>,
    key: Option<String>,
    digest: Option<Digest>,
    hash: Option<String>,
    // What `export` writes besides, and an import does not keep.
    _next_hint: IgnoredAny,
    _created_at: IgnoredAny,
    _created_by: IgnoredAny,
    _secret_created_at: IgnoredAny,
    _age_days: IgnoredAny,
    _previous_valid_until: IgnoredAny,
    _last_used_at: IgnoredAny,
}

/// The number of a line, and what is in it or wrong with it.
type Line = (u64, Result<Row, String>);

/// What became of a line.
enum Outcome {
    Imported(KeyId),
    /// With the reason for which nothing was to be done.
    Left(&'static str),
}

impl Import {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        refuse_arguments(&self.refused)?;
        session.check_peppers().await?;
        let trial = session.manager.clone().on_trial(Arc::new(Trial::over(session.manager.store().clone())));
        let to = if self.dry_run { &trial } else { session.manager };
        let (mut imported, mut left, mut failed) = (0_u64, 0_u64, 0_u64);
        let mut progress = Progress::of("lines");
        let mut lines = rows(self.csv)?;
        // What can't be said of a line does not keep the others from being imported.
        let mut unsaid = None;
        let stopped = loop {
            let (number, row) = match lines() {
                Ok(Some(line)) => line,
                Ok(None) => break None,
                Err(failure) => break Some(failure),
            };
            let done = match row {
                Ok(row) => self.import(session, to, row).await,
                Err(fault) => Err(fault),
            };
            let (outcome, id, text) = match &done {
                Ok(Outcome::Imported(id)) => ("imported", Some(id), None),
                Ok(Outcome::Left(reason)) => ("left", None, Some((*reason).to_owned())),
                Err(fault) => ("failed", None, Some(fault.clone())),
            };
            match done {
                Ok(Outcome::Imported(_)) => imported += 1,
                Ok(Outcome::Left(_)) => left += 1,
                Err(_) => failed += 1,
            }
            let json = json!({ "line": number, "outcome": outcome, "id": id, "reason": text });
            let said = session.print_either(&json, || {
                let more = id.map(ToString::to_string).or(text).unwrap_or_default();
                format!("line {number}: {outcome} {more}")
            });
            unsaid = unsaid.or(said.err());
            progress.add(1);
        };
        let trial = if self.dry_run { "It was a trial. " } else { "" };
        session.say(&format!("{trial}Imported: {imported}, left as they are: {left}, failed: {failed}."));
        match (stopped, unsaid) {
            (Some(failure), _) => Err(failure),
            (None, Some(error)) => Err(error.into()),
            (None, None) => Ok(if failed == 0 { Exit::Done } else { Exit::Failed }),
        }
    }

    async fn import(&self, session: &Session<'_>, to: &KeyManager, row: Row) -> Result<Outcome, String> {
        let status = row.status.as_deref().map(str::parse).transpose();
        let is_disabled = match status.map_err(|_| "status: not that of a key")? {
            Some(KeyStatus::Revoked) => return Ok(Outcome::Left("it is revoked")),
            Some(KeyStatus::Expired) => return Ok(Outcome::Left("it has expired")),
            status => status == Some(KeyStatus::Disabled),
        };
        let mut owner = self.owner.owner().or_else(|| {
            let organization = row.organization.clone()?;
            Some(Owner::organization(organization, Mode::Live))
        });
        if let Some(owner) = &mut owner {
            owner.mode = self.owner.mode().or(row.mode).unwrap_or(Mode::Live);
        }
        if let (Some(option), Some(named)) = (self.owner.owner(), &row.organization) {
            if option.tenant != Tenant::Organization(named.clone()) {
                return Err("organization: another than that of the options".to_owned());
            }
        }
        if let (Some(option), Some(named)) = (self.owner.mode(), row.mode) {
            if option != named {
                return Err("mode: another than that of the option".to_owned());
            }
        }
        let owner = owner.ok_or("an owner is missing: `organization`, or the option of that name")?;
        let authority = self.reason.clone().of(session.authority(owner));
        match store(to, &authority, row, is_disabled).await {
            Ok(stored) => Ok(Outcome::Imported(stored.id)),
            Err(ManageError::AlreadyExists) => Ok(Outcome::Left("it is already there")),
            Err(ManageError::Deleted(_)) => Ok(Outcome::Left("it was imported before, and deleted since")),
            Err(error) => Err(chain(&error)),
        }
    }
}

async fn store(
    to: &KeyManager,
    authority: &crate::Authority,
    row: Row,
    is_disabled: bool,
) -> Result<KeyView, ManageError> {
    let mut key = NewKey::new(row.name.unwrap_or_default()).scopes(row.scopes.unwrap_or_default());
    key.is_disabled = is_disabled;
    key.not_before = row.not_before;
    key.expires_at = row.expires_at;
    key.limits = row.limits.unwrap_or_default();
    let hint = row.hint.unwrap_or_default();
    let fault = |field, text: &'static str| ManageError::invalid(field, text);
    let networks: Result<Vec<Network>, _> =
        row.allowed_addresses.unwrap_or_default().iter().map(|network| network.parse()).collect();
    key.allowed_addresses = networks.map_err(|_| fault("allowedAddresses", "must be networks"))?;
    key.metadata = match row.metadata {
        Some(metadata) => {
            Some(Metadata::new(&metadata).map_err(|_| fault("metadata", "must be a JSON object"))?)
        }
        None => None,
    };
    let needs_id = || row.id.ok_or_else(|| fault("id", "must be given with a digest or a hash"));
    match (row.key, row.digest, row.hash) {
        (Some(secret), None, None) => to.import(authority, key, SecretString::new(secret)).await,
        (None, Some(digest), None) => to.import_digest(authority, key, needs_id()?, digest, &hint).await,
        (None, None, Some(hash)) => {
            let hash = hash.parse().map_err(|_| fault("hash", "must be one of visible ASCII"))?;
            to.import_hash(authority, key, needs_id()?, hash, &hint).await
        }
        _ => Err(fault("key", "or digest, or hash, must be given, and one alone")),
    }
}

/// Gives one line after the other; an error if there are no more because they can't be read.
type Rows = Box<dyn FnMut() -> Result<Option<Line>, Failure>>;

/// The lines of standard input, each with its number.
fn rows(csv: bool) -> Result<Rows, Failure> {
    let input = std::io::stdin().lock();
    if csv {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let header = reader.headers().map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => unread(&error),
            _ => Failure::failed("The header is not a line of CSV."),
        });
        let header = header?.clone();
        check_header(&header)?;
        let mut line = csv::StringRecord::new();
        return Ok(Box::new(move || {
            let number = match reader.read_record(&mut line) {
                Ok(false) => return Ok(None),
                Ok(true) => line.position().map_or(0, csv::Position::line),
                // The text of the error may have a field, and so a secret.
                Err(error) => {
                    let number = error.position().map_or(0, csv::Position::line);
                    return match error.into_kind() {
                        csv::ErrorKind::Io(error) => Err(unread(&error)),
                        _ => Ok(Some((number, Err("it is not a line of this CSV".to_owned())))),
                    };
                }
            };
            if line.as_slice().len() as u64 > MAX_TEXT {
                return Ok(Some((number, Err(TOO_LONG.to_owned()))));
            }
            let row = object(&header, &line);
            Ok(Some((number, row.and_then(row_of))))
        }));
    }
    let (mut input, mut number) = (input, 0);
    Ok(Box::new(move || {
        loop {
            let mut line = zeroize::Zeroizing::new(Vec::new());
            number += 1;
            let read = (&mut input).take(MAX_TEXT).read_until(b'\n', &mut line);
            let row = match read.map_err(|error| unread(&error))? as u64 {
                0 => return Ok(None),
                MAX_TEXT if !line.ends_with(b"\n") => {
                    input.skip_until(b'\n').map_err(|error| unread(&error))?;
                    Err(TOO_LONG.to_owned())
                }
                _ => match std::str::from_utf8(&line) {
                    Ok(text) if text.trim().is_empty() => continue,
                    Ok(text) => serde_json::from_str(text)
                        .map_err(|error| {
                            format!("it is not JSON of one object, at column {}", error.column())
                        })
                        .and_then(|object| {
                            if has_duplicate_member(text) {
                                Err(DUPLICATE_FIELD.to_owned())
                            } else {
                                row_of(Value::Object(object))
                            }
                        }),
                    Err(_) => Err("it is not UTF-8".to_owned()),
                },
            };
            return Ok(Some((number, row)));
        }
    }))
}

const TOO_LONG: &str = "it is longer than 64 KiB";
const DUPLICATE_FIELD: &str = "a field is there twice";

fn has_duplicate_member(json: &str) -> bool {
    serde_json::from_str(json).is_ok_and(|HasDuplicateMember(found)| found)
}

fn unread(error: &io::Error) -> Failure {
    Failure::failed(format!("Standard input can't be read: {error}."))
        .next("What is imported already is left as it is by a second run.")
}

/// Each name must be that of a field, and be there once. None is repeated: a file without a header begins with a key.
fn check_header(header: &csv::StringRecord) -> Result<(), Failure> {
    let mut names = serde_json::Map::new();
    for (index, name) in header.iter().enumerate() {
        let is_repeated = names.insert(name.to_owned(), Value::Null).is_some();
        // Any field may be null, so what is wrong is the name.
        if is_repeated || serde_json::from_value::<Row>(json!({ name: null })).is_err() {
            let fault = if is_repeated { "is there twice" } else { "is no field of a key" };
            return Err(Failure::failed(format!("Column {} of the header {fault}.", index + 1))
                .next("The fields are those that `export` writes, and `key`, `digest` or `hash`."));
        }
    }
    Ok(())
}

/// The fault is that of a field, by its name; a name that is none is not repeated: it may be a secret.
fn row_of(object: Value) -> Result<Row, String> {
    let faults = |object: &Value| -> Option<String> {
        let one = |(name, value): (&String, &Value)| {
            let is_right = |value: &Value| serde_json::from_value::<Row>(json!({ name: value })).is_ok();
            match (is_right(value), is_right(&Value::Null)) {
                (true, _) => None,
                (false, true) => Some(format!("{name}: not valid")),
                (false, false) => Some("there is an unknown field: `help import` lists them".to_owned()),
            }
        };
        object.as_object()?.iter().find_map(one)
    };
    match faults(&object) {
        Some(fault) => Err(fault),
        None => serde_json::from_value(object).map_err(|_| "it is not valid".to_owned()),
    }
}

/// The object that a line of CSV stands for. What is empty is left out.
fn object(header: &csv::StringRecord, line: &csv::StringRecord) -> Result<Value, String> {
    let words = |text: &str| text.split_whitespace().map(Value::from).collect::<Value>();
    let limits = |text: &str| {
        let one = |limit: &str| {
            let (category, limit) = limit.split_once('=')?;
            Some((category.to_owned(), Value::from(limit.parse::<u32>().ok()?)))
        };
        let limits: Option<Vec<_>> = text.split_whitespace().map(one).collect();
        let limits = limits.ok_or("limits: such as requests=5000, with spaces between them")?;
        let count = limits.len();
        let limits: serde_json::Map<_, _> = limits.into_iter().collect();
        if limits.len() == count { Ok(Value::from(limits)) } else { Err(DUPLICATE_FIELD) }
    };
    let mut object = serde_json::Map::new();
    for (name, text) in header.iter().zip(line).filter(|(_, text)| !text.is_empty()) {
        let value = match name {
            "scopes" | "allowedAddresses" => words(text),
            "limits" => limits(text)?,
            "metadata" if has_duplicate_member(text) => return Err(DUPLICATE_FIELD.to_owned()),
            "metadata" => serde_json::from_str(text).map_err(|_| "metadata: not JSON")?,
            _ => text.into(),
        };
        object.insert(name.to_owned(), value);
    }
    Ok(object.into())
}
