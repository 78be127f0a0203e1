use std::collections::BTreeMap;

use clap::Args;

use super::failure::{Exit, Failure};
use super::input::refuse_arguments;
use super::output::facts;
use super::session::Session;
use super::verify::owner;
use crate::store::KeySelector;

#[derive(Args, Clone, Debug)]
pub(super) struct Find {
    /// Notes in the audit of the key where it was found, such as a URL without the key in it
    #[arg(long, value_name = "PLACE")]
    report: Option<String>,
    /// Keys are not arguments: they are read from standard input or a hidden prompt
    #[arg(hide = true)]
    refused: Vec<std::ffi::OsString>,
}

impl Find {
    /// Says no more than whose the key is: the text may come from anyone.
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        refuse_arguments(&self.refused)?;
        let text = session.read_secret("The text of the key")?;
        let texts = session.manager.keys_in(text.expose_secret());
        let (mut found, mut unknown) = (BTreeMap::new(), Vec::new());
        for text in texts {
            match session.manager.find_by_text(text).await? {
                Some(key) => _ = found.insert(key.id.to_string(), key),
                None => unknown.push(text),
            }
        }
        if found.is_empty() {
            return Err(not_found(session, &unknown).await?);
        }
        for key in found.values() {
            if let Some(place) = &self.report {
                let authority = session.authority(key.owner.clone()).because(place.as_str());
                session.manager.report_leak(&authority, &key.id).await?;
            }
            session.print_either(&owner(key), || {
                facts(&[
                    ("id", Some(key.id.to_string())),
                    ("owner", Some(key.owner.to_string())),
                    ("status", Some(key.status.to_string())),
                ])
            })?;
        }
        if !unknown.is_empty() {
            session.say(&format!("Of the keys in the text {} more could not be found.", unknown.len()));
        }
        Ok(Exit::Done)
    }
}

/// What can be said of texts that are the secret of no key.
async fn not_found(session: &Session<'_>, texts: &[&str]) -> Result<Failure, Failure> {
    let manager = session.manager;
    for text in texts {
        if let Some(reason) = undecided(session, text).await? {
            return Ok(Failure::failed(reason).next(UNDECIDED_NEXT));
        }
    }
    for text in texts {
        let Some(id) = manager.parse(text).ok().and_then(|parsed| parsed.id) else { continue };
        if manager.find_by_id(&id).await?.is_some() {
            let text = "The text names the key {}, and is none of its secrets now: it was replaced, or the text is made up.";
            return Ok(Failure::not_found().next(text.replace("{}", id.as_str())));
        }
    }
    Ok(Failure::not_found().next(match texts.iter().any(|text| manager.parse(text).is_ok()) {
        true => "No key has this secret, or had it before its last rotation.",
        false => "There is nothing in the text that looks like a key.",
    }))
}

pub(super) const UNDECIDED_NEXT: &str =
    "Ask the program that has the peppers and the hashes of the application.";

/// Why the text of a key that was not found may be one for all that: to compare it with what is stored, something is missing.
pub(super) async fn undecided(session: &Session<'_>, text: &str) -> Result<Option<String>, Failure> {
    let manager = session.manager;
    let id = manager.parse(text.trim()).ok().and_then(|parsed| parsed.id);
    let needed: Vec<_> = match id {
        // A key that has its identifier in its text is stored under it.
        Some(id) => match manager.store().find(KeySelector::Id(&id)).await? {
            None => return Ok(None),
            Some(key) if key.extras.imported_hash.is_some() && !manager.verifies_imported() => {
                return Ok(Some(format!(
                    "The key {id} was imported as a hash, which nothing here verifies."
                )));
            }
            Some(key) => {
                let stand_in = key.extras.imported_hash.as_ref().map(crate::key::ImportedHash::stand_in);
                let digests = key.digests().filter(|digest| Some(*digest) != stand_in);
                digests.map(|digest| digest.pepper_id()).collect()
            }
        },
        None => manager.peppers_in_use().await?.into_keys().collect(),
    };
    let missing = needed.into_iter().find(|pepper| !manager.accepts_pepper(*pepper));
    Ok(missing.map(|pepper| match pepper {
        Some(pepper) => format!(
            "Whose it is can't be known: there are keys with the pepper {pepper}, which is missing here."
        ),
        None => "Whose it is can't be known: there are keys without a pepper, which are not accepted here."
            .to_owned(),
    }))
}
