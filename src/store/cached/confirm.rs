//! Asks the store what has changed, whichever other way there is to learn of it.

use std::sync::Weak;
use std::time::Duration;

use super::Shared;
use crate::log;
use crate::metrics;
use crate::store::{Changes, KeyStore};
use crate::timer::sleep;

/// The time between two questions.
const INTERVAL: Duration = Duration::from_secs(1);

/// A store remembers changes for longer than this.
const MEMORY: Duration = Duration::from_secs(600);

/// Asks once a second, as long as there are entries and a store that keeps its changes.
///
/// A channel is faster, and can be cut unnoticed, on the side of the node that changes a key: this node
/// then sees no error. So what is held is trusted as long as the store itself says what has changed.
pub(super) async fn keep_confirming<S: KeyStore>(shared: Weak<Shared<S>>) {
    let (mut last, mut has_failed) = (None, false);
    loop {
        sleep(INTERVAL).await;
        let Some(shared) = shared.upgrade() else { return };
        let entries = &shared.entries;
        metrics::cache_entries(entries.records(), entries.absences());
        if entries.records() + entries.absences() == 0 {
            continue;
        }
        let began = entries.now();
        let since = last.filter(|(_, at)| Duration::from_nanos(began.saturating_sub(*at)) < MEMORY);
        match shared.store.changes(since.map(|(mark, _)| mark)).await {
            Ok(None) => return,
            Ok(Some(Changes { mark, keys })) => {
                let is_back = last.is_some_and(|(earlier, _)| mark.is_back_from(&earlier));
                match keys.filter(|_| !is_back) {
                    Some(keys) => keys.into_iter().for_each(|id| entries.change_key(id)),
                    None => entries.change_all(),
                }
                if is_back {
                    log::store_went_back();
                    metrics::failover_noticed();
                }
                entries.confirm(began);
                (last, has_failed) = (Some((mark, began)), false);
            }
            // What is held is trusted a little longer, and is then read again.
            Err(error) => {
                if !has_failed {
                    log::changes_not_read(&error);
                }
                has_failed = true;
            }
        }
        if let Some((_, at)) = last {
            metrics::cache_unconfirmed(Duration::from_nanos(entries.now().saturating_sub(at)));
        }
    }
}
