use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::{list, printable};
use super::reason::Reason;
use super::session::{Session, key_id};
use crate::manage::json as shown;

#[derive(Args, Clone, Debug)]
pub(super) struct Revoke {
    /// The identifier of the key
    id: String,
    /// Revokes also what was made with the key, directly or with such a key; the key itself may be revoked already
    #[arg(long)]
    descendants: bool,
    #[command(flatten)]
    reason: Reason,
}

impl Revoke {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let id = key_id(&self.id)?;
        let authority = match session.authority_to_change(&id).await {
            // What was made with it may work.
            Err(failure) if failure.is_revoked() && self.descendants => session.authority_over(&id).await,
            Err(failure) if failure.is_revoked() => {
                session
                    .print_either(&json!(session.key(&id).await?), || format!("{id} was revoked before."))?;
                return Ok(Exit::Done);
            }
            authority => authority,
        };
        let authority = self.reason.of(authority?);
        let (_, name) = session.owner_and_name(&id).await?;
        let name = name.map(|name| format!(" ({})", printable(&name))).unwrap_or_default();
        let with = if self.descendants { " and every key that was made with it" } else { "" };
        session.confirm(&format!("Revoke {id}{name} of {}{with} for good?", authority.owner()))?;
        if self.descendants {
            let revoked = session.manager.revoke_with_descendants(&authority, &id).await?;
            let ids = revoked.iter().map(|key| key.id);
            session.print_either(&json!({ "data": revoked, "nextCursor": null }), || {
                if revoked.is_empty() {
                    "There was nothing left to revoke.".to_owned()
                } else {
                    format!("Revoked: {}", list(ids))
                }
            })?;
            return Ok(Exit::Done);
        }
        let revoked = session.manager.revoke(&authority, &id).await?;
        let json = revoked.map_or_else(|| shown::revoked(&id), |key| json!(key));
        session.print_either(&json, || format!("{id} is revoked."))?;
        Ok(Exit::Done)
    }
}
