use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::Progress;
use super::session::Session;
use super::times::duration;
use crate::clock::Timestamp;
use crate::key::{KeyRecord, KeyState};
use crate::manage::ManageError;
use crate::store::KeyQuery;

#[derive(Args, Clone, Debug)]
pub(super) struct Prune {
    /// Deletes keys that were revoked before this time ago
    #[arg(long, value_name = "TIME", value_parser = duration)]
    revoked_for: Option<Duration>,
    /// Deletes keys that have expired before this time ago
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expired_for: Option<Duration>,
    /// Says how many there are, and deletes none
    #[arg(long)]
    dry_run: bool,
}

impl Prune {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        if self.revoked_for.is_none() && self.expired_for.is_none() {
            return Err(Failure::usage("It is not said what to delete.")
                .next("Give `--revoked-for 90d`, `--expired-for 90d`, or both."));
        }
        let before = |time: Option<Duration>| time.map(|time| session.manager.now().saturating_sub(time));
        let ends = Ends { revoked: before(self.revoked_for), expired: before(self.expired_for) };
        let count = ends.each(session, false).await?;
        let report = |deleted: u64| {
            let json = json!({ "found": count, "deleted": deleted });
            session.print_either(&json, || {
                format!("{count} keys have ended so long ago, {deleted} are deleted.")
            })
        };
        if self.dry_run || count == 0 {
            report(0)?;
            return Ok(Exit::Done);
        }
        session.confirm(&format!("Delete {count} keys? Only their history is kept."))?;
        let deleted = ends.each(session, true).await?;
        report(deleted)?;
        Ok(Exit::Done)
    }
}

/// Keys that ended before these instants.
struct Ends {
    revoked: Option<Timestamp>,
    expired: Option<Timestamp>,
}

impl Ends {
    fn has(&self, record: &KeyRecord) -> bool {
        let revoked = match record.state {
            KeyState::Revoked { at } => Some(at),
            _ => None,
        };
        let is_before = |end: Option<Timestamp>, before: Option<Timestamp>| {
            end.zip(before).is_some_and(|(end, before)| end < before)
        };
        is_before(revoked, self.revoked) || is_before(record.expires_at, self.expired)
    }

    /// How many there are, or were deleted.
    async fn each(&self, session: &Session<'_>, delete: bool) -> Result<u64, Failure> {
        let mut query = KeyQuery { limit: KeyQuery::MAX_LIMIT, ..KeyQuery::default() };
        let (mut count, mut progress) = (0, Progress::of("keys"));
        loop {
            let page = session.manager.store().list(None, &query).await?;
            for record in page.keys.iter().filter(|record| self.has(record)) {
                if delete {
                    let authority = session.authority(record.owner.clone());
                    match session.manager.delete(&authority, &record.id).await {
                        // Someone else was faster.
                        Err(ManageError::NotFound) => continue,
                        deleted => deleted?,
                    }
                    progress.add(1);
                }
                count += 1;
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(count),
            }
        }
    }
}
