//! One run of the command line: its options, and the keys that it manages.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use crate::Authority;
use crate::key::{KeyId, KeyStatus, Mode, Owner};
use crate::manage::{KeyManager, KeyView, ManageError};
use crate::store::KeyQuery;

/// The options of every verb.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every verb")]
pub(super) struct Options {
    /// Writes JSON in place of tables, and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Asks nothing: what would have been asked is an error
    #[arg(long, global = true)]
    no_input: bool,
    /// Answers questions with yes; a key to delete is still named
    #[arg(long, short, global = true)]
    yes: bool,
    /// The name that the audit gets; the user who is logged in, if it is not given
    #[arg(long = "as", global = true, value_name = "NAME")]
    operator: Option<String>,
}

pub(super) struct Session<'k> {
    pub(super) json: bool,
    pub(super) yes: bool,
    pub(super) interactive: bool,
    pub(super) manager: &'k KeyManager,
    pub(super) operator: Option<String>,
}

impl<'k> Session<'k> {
    pub(super) fn new(options: Options, manager: &'k KeyManager) -> Self {
        let login = || {
            let names = ["USER", "LOGNAME", "USERNAME"].into_iter();
            names.filter_map(|name| std::env::var(name).ok()).find(|name| !name.trim().is_empty())
        };
        Self {
            json: options.json,
            yes: options.yes,
            interactive: !options.no_input && io::stdin().is_terminal(),
            manager,
            operator: options.operator.or_else(login),
        }
    }

    /// One that asks nothing.
    #[cfg(test)]
    pub(super) fn of(manager: &'k KeyManager) -> Self {
        Self { json: false, yes: false, interactive: false, manager, operator: None }
    }

    /// The operator, for the person at the command line.
    pub(super) fn authority(&self, owner: Owner) -> Authority {
        let operator = Authority::operator(owner);
        match &self.operator {
            Some(name) => operator.by(name.as_str()),
            None => operator,
        }
    }

    /// The authority over a key that is to be changed.
    pub(super) async fn authority_to_change(&self, id: &KeyId) -> Result<Authority, Failure> {
        match self.manager.find_by_id(id).await {
            Ok(Some(key)) if key.status == KeyStatus::Revoked => Err(Failure::revoked(id)),
            Ok(Some(key)) => Ok(self.authority(key.owner)),
            _ => self.authority_over(id).await,
        }
    }

    /// An error where new secrets would have no pepper and those that there are have one: the application would refuse them. The
    /// newest key tells.
    pub(super) async fn check_peppers(&self) -> Result<(), Failure> {
        let query = KeyQuery { newest_first: true, limit: 1, ..KeyQuery::default() };
        let newest = self.manager.store().list(None, &query).await?;
        let pepper = newest.keys.first().and_then(|key| key.digest.pepper_id());
        match pepper.filter(|_| !self.manager.has_pepper()) {
            None => Ok(()),
            Some(pepper) => Err(Failure::failed(format!(
                "The newest key was made with pepper {pepper}, and there is none here: the application would refuse what is made without."
            ))
            .next("Set API_KEYS_PEPPERS_FILE, or `peppers_file` in api-keys.toml.")),
        }
    }

    /// The authority over a key, whatever its owner.
    pub(super) async fn authority_over(&self, id: &KeyId) -> Result<Authority, Failure> {
        Ok(self.authority(self.owner_and_name(id).await?.0))
    }

    /// Of a key whose record can't be read there is no name, and if not even its owner can be read, it is one for the system.
    pub(super) async fn owner_and_name(&self, id: &KeyId) -> Result<(Owner, Option<String>), Failure> {
        match self.manager.find_by_id(id).await {
            Ok(found) => found.map(|key| (key.owner, Some(key.name))).ok_or_else(Failure::not_found),
            Err(ManageError::Store(error)) if error.broken_key().is_some() => {
                let owner = error.broken_key().and_then(|broken| broken.owner.clone());
                Ok((owner.unwrap_or(Owner::system(Mode::Live)), None))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn key(&self, id: &KeyId) -> Result<KeyView, Failure> {
        self.manager.find_by_id(id).await?.ok_or_else(Failure::not_found)
    }

    /// A fact for people, on standard error.
    pub(super) fn say(&self, text: &str) {
        if !self.json {
            print_error(text);
        }
    }

    /// What programs have to know, too: on standard error, as JSON with the code of what it is about.
    pub(super) fn warn(&self, code: &str, text: &str) {
        match self.json {
            true => print_error(&json!({ "code": code, "message": text, "next": null }).to_string()),
            false => print_error(text),
        }
    }

    /// One line on standard output.
    pub(super) fn print(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// JSON, or what people read.
    pub(super) fn print_either(&self, json: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        if self.json { self.print(&json.to_string()) } else { self.print(text().trim_end()) }
    }

    pub(super) fn end(&self, done: Result<Exit, Failure>) -> ExitCode {
        match done {
            Ok(exit) => exit.into(),
            Err(failure) => {
                print_error(&failure.text(self.json));
                failure.exit.into()
            }
        }
    }
}

fn print_error(line: &str) {
    // Standard error may be closed: there is no other place to say so.
    let _ = writeln!(io::stderr(), "{line}");
}

/// The identifier of a key. Its text is not repeated: it may be a secret that was given by mistake.
pub(super) fn key_id(text: &str) -> Result<KeyId, Failure> {
    text.parse().map_err(|_| {
        Failure::usage("This is not the identifier of a key.").next(
            "If it is a key, it is in the history of your shell now: rotate it. `find` reads a key from standard input.",
        )
    })
}
