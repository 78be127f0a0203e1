use std::time::Duration;

use clap::Args;

use super::failure::{Exit, Failure};
use super::reason::Reason;
use super::secret_output::SecretOptions;
use super::session::{Session, key_id};
use super::times::duration;

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
        let authority = self.reason.of(session.authority_over(&id).await?);
        let place = self.secret.open()?;
        let rotated = match self.on_first_use {
            true => session.manager.rotate_on_first_use(&authority, &id, self.grace).await,
            false => session.manager.rotate(&authority, &id, self.grace).await,
        };
        let rotated = place.or_undo(rotated.map_err(Failure::from))?;
        place.write(session, &rotated)?;
        let grace = humantime::format_duration(self.grace);
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
