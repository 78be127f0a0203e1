use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output;
use super::session::{Session, key_id};

#[derive(Args, Clone, Debug)]
pub(super) struct Show {
    /// The identifier of the key
    id: String,
}

impl Show {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let key = session.key(&key_id(&self.id)?).await?;
        session.print_either(&json!(key), || output::key(&key))?;
        Ok(Exit::Done)
    }
}
