use std::time::Duration;

use clap::Args;

use super::failure::{Exit, Failure};
use super::reason::Reason;
use super::secret_output::SecretOptions;
use super::session::{Session, key_id};
use super::times::{duration, in_words};
use crate::key::KeyId;

#[derive(Args, Clone, Debug)]
pub(super) struct Rotate {
    /// The identifier of the key
    id: String,
    /// How long the old secret still works, at most 7 days; `0s` for a secret that has leaked
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "24h")]
    grace: Duration,
    /// Keeps the old secret in use until the new one is first used; the grace period begins then
    #[arg(long)]
    on_first_use: bool,
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    secret: SecretOptions,
}

impl Rotate {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let id = key_id(&self.id)?;
        let authority = self.reason.of(session.authority_to_change(&id).await?);
        session.check_peppers().await?;
        let ending = ending_with_it(session, &id).await?;
        if let Some(ending) = ending.as_ref().filter(|_| session.interactive) {
            session.confirm(&format!("{ending}, and ends at once. Rotate {id}?"))?;
        }
        let place = self.secret.open()?;
        let rotated = match self.on_first_use {
            true => session.manager.rotate_on_first_use(&authority, &id, self.grace).await,
            false => session.manager.rotate(&authority, &id, self.grace).await,
        };
        let rotated = place.or_undo(rotated.map_err(Failure::from))?;
        place.write(session, &rotated)?;
        if let Some(ending) = ending {
            session.say(&format!("{ending}, and does not work any more."));
        }
        let grace = in_words(self.grace);
        session.say(&match rotated.key.previous_valid_until {
            _ if self.on_first_use && self.grace.is_zero() => {
                "The old secret works until the new one is first used.".to_owned()
            }
            _ if self.on_first_use => {
                format!("The old secret works until {grace} after the first use of the new one.")
            }
            Some(end) => format!("The old secret works until {end}."),
            None => "The old secret does not work any more.".to_owned(),
        });
        Ok(Exit::Done)
    }
}

/// A further secret of the key that works now and that another rotation ends.
async fn ending_with_it(session: &Session<'_>, id: &KeyId) -> Result<Option<String>, Failure> {
    let key = session.key(id).await?;
    let now = session.manager.now();
    Ok(match (key.next_hint, key.previous_valid_until) {
        (Some(hint), _) => Some(format!("The secret {hint} waited for its first use")),
        (None, Some(end)) if end > now => Some(format!("The secret before this one was to work until {end}")),
        _ => None,
    })
}
