use clap::Args;

use super::failure::{Exit, Failure};
use super::session::{Session, key_id};
use crate::manage::{ManageError, json};

#[derive(Args, Clone, Debug)]
pub(super) struct Delete {
    /// The identifier of the key
    id: String,
    /// The name of the key, or its identifier if its record can't be read: without it, it is asked for
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
}

impl Delete {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let id = key_id(&self.id)?;
        let name = match session.manager.find_by_id(&id).await {
            Ok(found) => found.ok_or_else(Failure::not_found)?.name,
            Err(ManageError::Store(error)) if error.broken_key().is_some() => id.to_string(),
            Err(error) => return Err(error.into()),
        };
        let authority = session.authority_over(&id).await?;
        let question = format!("Delete {id} of {}? Only its history is kept.", authority.owner());
        session.confirm_by_name(&question, &name, self.confirm.as_deref())?;
        session.manager.delete(&authority, &id).await?;
        session.print_either(&json::deleted(&id), || format!("{id} is deleted."))?;
        Ok(Exit::Done)
    }
}
