use std::num::NonZeroU32;

use clap::Args;

use super::failure::{Exit, Failure};
use super::output;
use super::owner::OwnerOptions;
use super::reason::Reason;
use super::secret_output::SecretOptions;
use super::session::Session;
use super::times::{End, end, instant};
use super::update::{limit, metadata};
use crate::NewKey;
use crate::address::Network;
use crate::clock::Timestamp;

#[derive(Args, Clone, Debug)]
pub(super) struct Create {
    /// The name people give the key
    name: String,
    #[command(flatten)]
    owner: OwnerOptions,
    /// A scope, `resource:action` or `resource:*`; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// When it ends: `90d`, `2030-01-31`, an instant, or `never`. Asked for at a terminal, and needed without one
    #[arg(long, value_name = "END", value_parser = end)]
    expires: Option<End>,
    /// When it begins to work: `2h`, `2030-01-31`, or an instant
    #[arg(long, value_name = "START", value_parser = instant)]
    not_before: Option<Timestamp>,
    /// Its own limit in a category, such as `requests=5000`; may be given several times
    #[arg(long = "limit", value_name = "CATEGORY=N", value_parser = limit)]
    limits: Vec<(String, Option<u32>)>,
    /// A network that it may be used from, such as `192.0.2.0/24`; may be given several times
    #[arg(long = "address", value_name = "NETWORK")]
    addresses: Vec<Network>,
    /// Data of the application's own: a JSON object
    #[arg(long, value_name = "JSON", value_parser = metadata)]
    metadata: Option<crate::key::Metadata>,
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    secret: SecretOptions,
}

impl Create {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let authority = self.reason.of(session.authority(self.owner.required()?));
        let End(expires_at) = match self.expires {
            Some(end) => end,
            None => ask_for_end(session)?,
        };
        let mut key = NewKey::new(self.name).scopes(&self.scopes);
        key.expires_at = expires_at;
        key.not_before = self.not_before;
        for (category, limit) in self.limits {
            let limit = limit.and_then(NonZeroU32::new);
            let limit = limit.ok_or_else(|| Failure::usage("The limit of a new key is at least 1."))?;
            key = key.limit(category, limit);
        }
        key.allowed_addresses = self.addresses;
        key.metadata = self.metadata;
        session.check_peppers().await?;
        let place = self.secret.open()?;
        let created = place.or_undo(session.manager.create(&authority, key).await.map_err(Failure::from))?;
        place.write(session, &created)?;
        session.say(output::key(&created.key).trim_end());
        Ok(Exit::Done)
    }
}

fn ask_for_end(session: &Session<'_>) -> Result<End, Failure> {
    if !session.interactive {
        return Err(Failure::unasked(
            "It is not said when the key ends.",
            "Give `--expires 90d`, a day, or `never`.",
        ));
    }
    let answer = session.ask("When does the key end? (90d, 2030-01-31, never) [90d] ")?;
    end(if answer.is_empty() { "90d" } else { &answer }).map_err(Failure::usage)
}
