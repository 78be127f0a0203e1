use clap::Args;

use super::failure::{Exit, Failure};
use super::reason::Reason;
use super::session::{Session, key_id};
use crate::manage::json;

#[derive(Args, Clone, Debug)]
pub(super) struct Delete {
    /// The identifier of the key
    id: String,
    /// The name of the key, or its identifier if its record can't be read: without it, it is asked for
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    reason: Reason,
}

impl Delete {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let id = key_id(&self.id)?;
        let (owner, name) = session.owner_and_name(&id).await?;
        let name = name.unwrap_or_else(|| id.to_string());
        let question = format!("Delete {id} of {owner}? Its history and its usage are kept.");
        session.confirm_by_name(&question, &name, self.confirm.as_deref())?;
        session.manager.delete(&self.reason.of(session.authority(owner)), &id).await?;
        session.print_either(&json::deleted(&id), || format!("{id} is deleted."))?;
        Ok(Exit::Done)
    }
}
