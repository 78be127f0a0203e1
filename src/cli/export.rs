use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::list::Filter;
use super::output::Progress;
use super::session::Session;
use crate::key::{KeyRecord, KeyState};
use crate::manage::KeyView;
use crate::store::KeyQuery;

#[derive(Args, Clone, Debug)]
pub(super) struct Export {
    #[command(flatten)]
    filter: Filter,
    /// Adds the digest of the secret in use, or the hash it was imported as: `import` can read it then
    #[arg(long)]
    digests: bool,
}

impl Export {
    /// One JSON object a line, so that any number of keys fits.
    pub(super) async fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let mut query = self.filter.query(session);
        query.limit = KeyQuery::MAX_LIMIT;
        let (now, owner) = (session.manager.now(), self.filter.owner());
        let (mut progress, mut ended) = (Progress::of("keys"), Exit::Done);
        loop {
            let page = session.manager.store().list(owner.as_ref(), &query).await?;
            let mut out = std::io::stdout().lock();
            for record in &page.keys {
                let mut line = json!(KeyView::new(record, now));
                if self.digests {
                    add_digest(&mut line, record);
                }
                writeln!(out, "{line}")?;
            }
            out.flush()?;
            progress.add(page.keys.len());
            for broken in &page.broken {
                session.warn("record_corrupt", &format!("not exported: {broken}"));
                ended = Exit::Failed;
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(ended),
            }
        }
    }
}

fn add_digest(line: &mut Value, record: &KeyRecord) {
    // None of a revoked key: it must not be brought back.
    if matches!(record.state, KeyState::Revoked { .. }) {
        return;
    }
    // After a rotation, the hash is that of the old secret.
    match record.extras.imported_hash.as_ref().filter(|hash| hash.stand_in() == record.digest) {
        Some(hash) => line["hash"] = json!(hash.as_str()),
        None => line["digest"] = json!(record.digest),
    }
}
