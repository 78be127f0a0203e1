use std::sync::Arc;
use std::time::Duration;

use super::UsageCounter;
use crate::clock::Clock;
use crate::log;
use crate::store::{KeyAdministration, StoreError};
use crate::timer::sleep;

/// How long usage is kept.
#[derive(Clone, Copy)]
pub(crate) struct UsageRetention {
    pub(crate) hours: Duration,
    pub(crate) days: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl UsageRetention {
    /// 14 and 400 days.
    pub(crate) const DEFAULT: Self = Self {
        hours: Duration::from_secs(14 * DAY.as_secs()),
        days: Duration::from_secs(400 * DAY.as_secs()),
    };
    /// So that nothing is deleted that is still counted.
    pub(crate) const LEAST: Self = Self { hours: DAY, days: Duration::from_secs(2 * DAY.as_secs()) };
}

/// The time between two writes, in [`TICK`]s.
const INTERVAL: u64 = 10;

/// The time from a write that failed to the next, in [`TICK`]s: the health says that usage is not written until one succeeds.
const RETRY_INTERVAL: u64 = 2;

/// The time between two deletions of what is old enough, in [`TICK`]s.
const PRUNING_INTERVAL: u64 = 60 * 60;

const TICK: Duration = Duration::from_secs(1);

/// Adds what is counted to the store every ten seconds, or when there is enough for a batch; and deletes what is old enough every
/// hour, a part each second. Retries two seconds after an error, and does not end.
pub(crate) async fn keep_writing(
    counter: Arc<UsageCounter>,
    store: Arc<dyn KeyAdministration>,
    clock: Arc<dyn Clock>,
    retention: UsageRetention,
) {
    let (mut next_write, mut has_more_to_delete) = (INTERVAL, false);
    for tick in 1_u64.. {
        sleep(TICK).await;
        if tick >= next_write || counter.is_due() {
            let written = write(&counter, &store, &*clock).await;
            next_write = tick + if written.is_ok() { INTERVAL } else { RETRY_INTERVAL };
        }
        if has_more_to_delete || tick % PRUNING_INTERVAL == 1 {
            has_more_to_delete = prune(&store, &*clock, retention).await;
        }
    }
}

/// Adds what is counted to the store, and logs a failure.
pub(crate) async fn write(
    counter: &UsageCounter,
    store: &Arc<dyn KeyAdministration>,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    let Some(log) = store.usage_log() else { return Ok(()) };
    let written = counter.write_to(log, clock.now().timestamp()).await;
    written.inspect_err(|error| log::usage_not_written(error, counter.buffered()))
}

/// Returns whether there is more to delete.
async fn prune(store: &Arc<dyn KeyAdministration>, clock: &dyn Clock, retention: UsageRetention) -> bool {
    let Some(log) = store.usage_log() else { return false };
    let now = clock.now().timestamp();
    let (hours, days) = (now.saturating_sub(retention.hours), now.saturating_sub(retention.days));
    log.prune(hours, days).await.unwrap_or_else(|error| {
        log::usage_not_pruned(&error);
        false
    })
}
