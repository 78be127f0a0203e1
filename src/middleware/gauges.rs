//! Gauges that nothing sets while requests are served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checks::Checks;
use super::limit_rule::Limiter;
use crate::key::{KeyStatus, Mode};
use crate::manage::KeyManager;
use crate::metrics;
use crate::timer::sleep;

/// Sets those of limits every ten seconds, if a recorder is installed. Does not end.
pub(super) async fn keep_setting(checks: Arc<Checks>) {
    loop {
        if metrics::is_recording() {
            set(&checks);
        }
        sleep(INTERVAL).await;
    }
}

fn set(checks: &Checks) {
    // Several limits can have one label.
    let (mut tracked, mut leased) = (BTreeMap::new(), BTreeMap::new());
    for Limiter { counters, counts, stored, .. } in checks.limiters() {
        *tracked.entry(counters.category()).or_default() += counts.tracked();
        if let Some(stored) = stored {
            *leased.entry(counters.category()).or_default() += stored.leased();
        }
    }
    tracked.into_iter().for_each(|(category, subjects)| metrics::tracked_subjects(category, subjects));
    if let Some((usage, _)) = &checks.usage {
        metrics::usage_buffered(usage.buffered());
    }
    leased.into_iter().for_each(|(category, units)| metrics::leased(category, units));
}

/// Counts the keys in the store every minute, if a recorder is installed. What failed is counted by the store's
/// guard, and done the next time. Does not end.
pub(super) async fn keep_counting_keys(manager: KeyManager) {
    loop {
        let started = Instant::now();
        if metrics::is_recording() {
            if let Ok(counts) = manager.count_by_status().await {
                set_stored(&counts);
            }
        }
        // A store with so many keys that counting takes long is busy with it a hundredth of the time at most.
        sleep(COUNTING.max(100 * started.elapsed())).await;
    }
}

/// What no key is any longer becomes 0.
fn set_stored(counts: &BTreeMap<(Mode, KeyStatus), u64>) {
    for mode in [Mode::Live, Mode::Test] {
        for status in KeyStatus::ALL {
            let keys = counts.get(&(mode, status)).copied().unwrap_or_default();
            metrics::stored_keys(mode.as_str(), status.as_str(), keys);
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(10);

const COUNTING: Duration = Duration::from_secs(60);
