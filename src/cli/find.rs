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
        let text = text.expose_secret();
        let Some(key) = session.manager.find_by_text(text).await? else {
            return Err(match undecided(session, text).await? {
                Some(reason) => Failure::failed(reason).next(UNDECIDED_NEXT),
                None => {
                    Failure::not_found().next("No key has this secret, or had it before its last rotation.")
                }
            });
        };
        if let Some(place) = self.report {
            let authority = session.authority(key.owner.clone()).because(place);
            session.manager.report_leak(&authority, &key.id).await?;
        }
        session.print_either(&owner(&key), || {
            facts(&[
                ("id", Some(key.id.to_string())),
                ("owner", Some(key.owner.to_string())),
                ("status", Some(key.status.to_string())),
            ])
        })?;
        Ok(Exit::Done)
    }
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
