use std::process::ExitCode;

use clap::{ArgMatches, Args, FromArgMatches, Subcommand};

use super::failure::{Exit, Failure, chain, may_be_cut};
#[cfg(feature = "openapi")]
use super::openapi;
use super::session::{Options, Session};
use super::{
    audit, create, delete, doctor, export, find, import, list, prune, revoke, rotate, rules, scan, show,
    switch, update, usage, verify,
};
use crate::ApiKeys;

/// A subcommand that manages the keys of an assembly, as the [module docs](crate::cli) show.
#[derive(Clone, Debug)]
pub struct Command {
    options: Options,
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    #[command(flatten)]
    OfKeys(Box<KeyVerb>),
    /// Prints the rules of access as an OpenAPI document, or where a document differs from them
    #[cfg(feature = "openapi")]
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
}

/// Those that need no routes.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum KeyVerb {
    /// Makes a key and prints its secret, alone on standard output
    Create(create::Create),
    /// Lists keys, oldest first
    List(list::List),
    /// Shows what is stored of a key; never its secret
    Show(show::Show),
    /// Changes a key in place; its secret stays
    Update(update::Update),
    /// Gives a key a new secret and prints it
    Rotate(rotate::Rotate),
    /// Disables a key until it is enabled again
    Disable(switch::Switch),
    /// Enables a disabled key
    Enable(switch::Switch),
    /// Revokes a key for good; it stays in listings
    Revoke(revoke::Revoke),
    /// Revokes a key and removes it from the store
    Delete(delete::Delete),
    /// Says whether a key is good, and why not; or which check refuses a request with it
    Verify(verify::Verify),
    /// Says whose a key is that was found somewhere, by its text
    Find(find::Find),
    /// Shows what was done to a key, or to all, and by whom
    Audit(audit::Audit),
    /// Shows how often keys were used, and how their requests ended
    Usage(usage::Usage),
    /// Writes keys to standard output, one JSON object a line
    Export(export::Export),
    Import(import::Import),
    /// Deletes keys that ended long ago. Their history stays for good, and their usage for as long as the application keeps it
    Prune(prune::Prune),
    /// Looks for keys in files, by their format and checksum, without a store
    Scan(scan::Scan),
    /// Prints rules that have secret scanners find keys
    Rules(rules::Rules),
    /// Looks whether keys can be read, peppers are there, the clock is right and limits are counted
    Doctor(doctor::Doctor),
}

impl Command {
    /// Does what the command line asks for, and prints it. The status to exit with is one of the [table](crate::cli#rules-for-every-verb).
    ///
    /// Standard input and output are read and written in place, which blocks the thread. What the assembly has not yet delivered
    /// of its audit is [flushed](ApiKeys::flush) in the end.
    pub async fn run<F>(self, keys: &ApiKeys<F>) -> ExitCode {
        let session = Session::new(self.options, keys.manager());
        let done = match self.verb {
            Verb::OfKeys(verb) => perform(*verb, &session, keys).await,
            #[cfg(feature = "openapi")]
            Verb::OpenApi(openapi) => openapi.run(&session, keys),
        };
        if let Err(error) = keys.flush().await {
            session.warn("audit_not_delivered", &format!("The audit was not delivered: {}.", chain(&error)));
        }
        session.end(done)
    }

    pub(super) fn new(options: Options, verb: Box<KeyVerb>) -> Self {
        Self { options, verb: Verb::OfKeys(verb) }
    }
}

impl KeyVerb {
    /// Whether it needs no store, only the formats of keys.
    pub(super) fn is_offline(&self) -> bool {
        match self {
            Self::Rules(_) => true,
            Self::Scan(scan) => scan.is_offline(),
            _ => false,
        }
    }
}

async fn perform<F>(verb: KeyVerb, session: &Session<'_>, keys: &ApiKeys<F>) -> Result<Exit, Failure> {
    match verb {
        KeyVerb::Create(create) => create.run(session).await,
        KeyVerb::List(list) => may_be_cut(list.run(session).await, Exit::Done),
        KeyVerb::Show(show) => may_be_cut(show.run(session).await, Exit::Done),
        KeyVerb::Update(update) => update.run(session).await,
        KeyVerb::Rotate(rotate) => rotate.run(session).await,
        KeyVerb::Disable(switch) => switch.run(session, false).await,
        KeyVerb::Enable(switch) => switch.run(session, true).await,
        KeyVerb::Revoke(revoke) => revoke.run(session).await,
        KeyVerb::Delete(delete) => delete.run(session).await,
        KeyVerb::Verify(verify) => verify.run(session, keys).await,
        KeyVerb::Find(find) => find.run(session).await,
        KeyVerb::Audit(audit) => may_be_cut(audit.run(session).await, Exit::Done),
        KeyVerb::Usage(usage) => may_be_cut(usage.run(session).await, Exit::Done),
        KeyVerb::Export(export) => may_be_cut(export.run(session).await, Exit::Done),
        KeyVerb::Import(import) => import.run(session).await,
        KeyVerb::Prune(prune) => prune.run(session).await,
        KeyVerb::Scan(scan) => scan.run(session, keys).await,
        KeyVerb::Rules(rules) => may_be_cut(rules.run(session), Exit::Done),
        KeyVerb::Doctor(doctor) => doctor.run(session, keys).await,
    }
}

// The options of all verbs stand beside the verbs, so clap is told of both.
impl FromArgMatches for Command {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { options: Options::from_arg_matches(matches)?, verb: Verb::from_arg_matches(matches)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.options.update_from_arg_matches(matches)?;
        self.verb.update_from_arg_matches(matches)
    }
}

impl Subcommand for Command {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        Verb::augment_subcommands(Options::augment_args(command))
            .subcommand_required(true)
            .arg_required_else_help(true)
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        Verb::augment_subcommands_for_update(Options::augment_args_for_update(command))
    }

    fn has_subcommand(name: &str) -> bool {
        Verb::has_subcommand(name)
    }
}
