use clap::Args;

use super::failure::{Exit, Failure};
use super::input::refuse_arguments;
use super::output::facts;
use super::session::Session;
use super::verify::owner;

#[derive(Args, Clone, Debug)]
pub(super) struct Find {
    /// Keys are not arguments: they are read from standard input or a hidden prompt
    #[arg(hide = true)]
    refused: Vec<std::ffi::OsString>,
}

impl Find {
    /// Says no more than whose the key is: the text may come from anyone.
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        refuse_arguments(&self.refused)?;
        let text = session.read_secret("The text of the key")?;
        let found = session.manager.find_by_text(text.expose_secret()).await?;
        let key = found.ok_or_else(|| {
            Failure::not_found().next("No key has this secret, or had it before its last rotation.")
        })?;
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
