use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::reason::Reason;
use super::session::{Session, key_id};

#[derive(Args, Clone, Debug)]
pub(super) struct Switch {
    /// The identifier of the key
    id: String,
    #[command(flatten)]
    reason: Reason,
}

impl Switch {
    pub(super) async fn run(self, session: &Session<'_>, on: bool) -> Result<Exit, Failure> {
        let id = key_id(&self.id)?;
        let authority = self.reason.of(session.authority_to_change(&id).await?);
        let key = match on {
            true => session.manager.enable(&authority, &id).await?,
            false => session.manager.disable(&authority, &id).await?,
        };
        session
            .print_either(&json!(key), || format!("{id} is {}.", if on { "enabled" } else { "disabled" }))?;
        Ok(Exit::Done)
    }
}
