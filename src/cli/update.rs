use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output;
use super::reason::Reason;
use super::session::{Session, key_id};
use super::times::{End, end, instant};
use crate::address::Network;
use crate::clock::Timestamp;
use crate::key::{KeyStatus, Metadata};
use crate::manage::{KeyChange, KeyView};
use crate::scope::Scope;

#[derive(Args, Clone, Debug)]
pub(super) struct Update {
    /// The identifier of the key
    id: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// Replaces all scopes; may be given several times
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with_all = ["add_scopes", "remove_scopes"])]
    scopes: Vec<Scope>,
    /// Adds a scope; may be given several times
    #[arg(long = "add-scope", value_name = "SCOPE")]
    add_scopes: Vec<Scope>,
    /// Removes a scope; may be given several times
    #[arg(long = "remove-scope", value_name = "SCOPE")]
    remove_scopes: Vec<Scope>,
    /// When it ends: `90d`, `2030-01-31`, an instant, or `never`
    #[arg(long, value_name = "END", value_parser = end)]
    expires: Option<End>,
    /// When it begins to work: `2h`, `2030-01-31`, or an instant
    #[arg(long, value_name = "START", value_parser = instant)]
    not_before: Option<Timestamp>,
    /// Its own limit in a category, such as `requests=5000`; `requests=none` removes it; may be given several times
    #[arg(long = "limit", value_name = "CATEGORY=N", value_parser = limit)]
    limits: Vec<(String, Option<u32>)>,
    /// Replaces the networks that it may be used from; may be given several times
    #[arg(long = "address", value_name = "NETWORK", conflicts_with = "any_address")]
    addresses: Vec<Network>,
    /// It may be used from any address
    #[arg(long)]
    any_address: bool,
    /// Replaces the data of the application's own: a JSON object
    #[arg(long, value_name = "JSON", value_parser = metadata)]
    metadata: Option<Metadata>,
    #[command(flatten)]
    reason: Reason,
}

impl Update {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let id = key_id(&self.id)?;
        let before = session.key(&id).await?;
        if self.changes_nothing() {
            return Err(
                Failure::usage("It is not said what to change.").next("`help update` lists the options.")
            );
        }
        if before.status == KeyStatus::Revoked {
            return Err(Failure::revoked(&id));
        }
        let authority = self.reason.clone().of(session.authority(before.owner.clone()));
        let after = session.manager.update(&authority, &id, self.change(&before)).await?;
        session.print_either(&json!(after), || differences(&before, &after))?;
        Ok(Exit::Done)
    }

    fn changes_nothing(&self) -> bool {
        let Self {
            id: _,
            name,
            scopes,
            add_scopes,
            remove_scopes,
            expires,
            not_before,
            limits,
            addresses,
            any_address,
            metadata,
            reason: _,
        } = self;
        name.is_none()
            && [scopes, add_scopes, remove_scopes].into_iter().all(Vec::is_empty)
            && expires.is_none()
            && not_before.is_none()
            && limits.is_empty()
            && addresses.is_empty()
            && !any_address
            && metadata.is_none()
    }

    /// Only of the key as it was read: what is shown as old is what was replaced.
    fn change(self, before: &KeyView) -> KeyChange {
        let mut change = KeyChange::new().if_version(before.version);
        if let Some(name) = self.name {
            change = change.name(name);
        }
        if !self.scopes.is_empty() {
            change = change.scopes(&self.scopes);
        } else if !self.add_scopes.is_empty() || !self.remove_scopes.is_empty() {
            let kept = before.scopes.iter().filter(|scope| !self.remove_scopes.contains(scope));
            change = change.scopes(kept.chain(&self.add_scopes));
        }
        if let Some(End(end)) = self.expires {
            change = change.expires_at(end);
        }
        if let Some(start) = self.not_before {
            change = change.not_before(start);
        }
        for (category, limit) in self.limits {
            change = change.limit(category, limit);
        }
        if self.any_address || !self.addresses.is_empty() {
            change = change.allowed_addresses(self.addresses);
        }
        if let Some(metadata) = self.metadata {
            change = change.metadata(metadata);
        }
        change
    }
}

/// What differs, old and new.
fn differences(before: &KeyView, after: &KeyView) -> String {
    let [old, new] = [before, after].map(output::key_facts);
    let changed = old.into_iter().zip(new).filter(|((_, old), (_, new))| old != new);
    let text = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let changed: Vec<_> = changed
        .map(|((name, old), (_, new))| (name, Some(format!("{} → {}", text(old), text(new)))))
        .collect();
    if changed.is_empty() { "Nothing has changed.".to_owned() } else { output::facts(&changed) }
}

/// `requests=5000`, `requests=none`.
pub(super) fn limit(text: &str) -> Result<(String, Option<u32>), &'static str> {
    let fault = "a limit is a category and a number, such as requests=5000";
    let (category, limit) = text.split_once('=').filter(|(category, _)| !category.is_empty()).ok_or(fault)?;
    let limit = if limit == "none" { None } else { Some(limit.parse().map_err(|_| fault)?) };
    Ok((category.to_owned(), limit))
}

pub(super) fn metadata(text: &str) -> Result<Metadata, crate::InvalidValue> {
    Metadata::from_json(text)
}
