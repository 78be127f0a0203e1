use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::Progress;
use super::reason::Reason;
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
    #[command(flatten)]
    reason: Reason,
}

impl Prune {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        if self.revoked_for.is_none() && self.expired_for.is_none() {
            return Err(Failure::usage("It is not said what to delete.")
                .next("Give `--revoked-for 90d`, `--expired-for 90d`, or both."));
        }
        let before = |time: Option<Duration>| time.map(|time| session.manager.now().saturating_sub(time));
        let ends = Ends { revoked: before(self.revoked_for), expired: before(self.expired_for) };
        let mut found = 0_u64;
        let count = async |_: &KeyRecord| {
            found += 1;
            Ok(())
        };
        ends.each(session, count).await?;
        let report = |deleted: u64| {
            let json = json!({ "found": found, "deleted": deleted });
            session.print_either(&json, || {
                format!("{found} keys have ended so long ago, {deleted} are deleted.")
            })
        };
        if self.dry_run || found == 0 {
            report(0)?;
            return Ok(Exit::Done);
        }
        session.confirm(&format!("Delete {found} keys? Their history and their usage are kept."))?;
        let (mut deleted, mut progress) = (0_u64, Progress::of("keys"));
        let deletion = async |record: &KeyRecord| {
            if delete(session, &self.reason, record).await? {
                deleted += 1;
                progress.add(1);
            }
            Ok(())
        };
        ends.each(session, deletion).await?;
        drop(progress);
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

    async fn each(
        &self,
        session: &Session<'_>,
        mut act: impl AsyncFnMut(&KeyRecord) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut query = KeyQuery { limit: KeyQuery::MAX_LIMIT, ..KeyQuery::default() };
        loop {
            let page = session.manager.store().list(None, &query).await?;
            for record in page.keys.iter().filter(|record| self.has(record)) {
                act(record).await?;
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

/// Whether the key was deleted: one that is gone, or was changed since it was read, is left as it is.
async fn delete(session: &Session<'_>, reason: &Reason, record: &KeyRecord) -> Result<bool, Failure> {
    let authority = reason.clone().of(session.authority(record.owner.clone()));
    match session.manager.delete_unchanged(&authority, record).await {
        Ok(()) => Ok(true),
        Err(ManageError::NotFound) => Ok(false),
        Err(ManageError::Overtaken) => {
            session.warn("overtaken", &format!("{} is kept: it was changed meanwhile.", record.id));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::key::{KeyFormat, KeyId};
    use crate::manage::{KeyChange, KeyManager};
    use crate::store::{KeySelector, MemoryStore};
    use crate::{Authority, NewKey};

    #[tokio::test]
    async fn a_key_that_was_changed_since_it_was_read_is_kept() {
        let store = MemoryStore::new();
        let manager = KeyManager::new(store.clone(), KeyFormat::new("acme_").unwrap());
        let session = Session::of(&manager);
        let stored = async |id: &KeyId| manager.store().find(KeySelector::Id(id)).await.unwrap();
        let end = SystemClock.now().timestamp().saturating_add(Duration::from_secs(60));
        for (change, is_deleted) in
            [("nothing", true), ("renewed", false), ("revoked", false), ("deleted", false)]
        {
            let mut new = NewKey::new("Ours");
            new.expires_at = Some(end);
            let key = manager.create_for("org_1", new).await.unwrap().key;
            let authority = Authority::operator(key.owner);
            let read = stored(&key.id).await.unwrap();
            match change {
                "renewed" => drop(
                    manager.update(&authority, &key.id, KeyChange::new().expires_at(None)).await.unwrap(),
                ),
                "revoked" => drop(manager.revoke(&authority, &key.id).await.unwrap()),
                "deleted" => manager.delete(&authority, &key.id).await.unwrap(),
                _ => {}
            }
            assert_eq!(delete(&session, &Reason::default(), &read).await.unwrap(), is_deleted, "{change}");
            let is_there = stored(&key.id).await.is_some();
            assert_eq!(is_there, matches!(change, "renewed" | "revoked"), "{change}");
        }
        // What is revoked can only be deleted.
        let key = manager.create_for("org_1", NewKey::new("Ours")).await.unwrap().key;
        manager.revoke(&Authority::operator(key.owner), &key.id).await.unwrap();
        let read = stored(&key.id).await.unwrap();
        assert!(delete(&session, &Reason::default(), &read).await.unwrap());
    }
}
