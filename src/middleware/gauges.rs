//! Gauges that nothing sets while requests are served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::checks::Checks;
use super::limit_rule::Limiter;
use crate::metrics;
use crate::timer::sleep;

/// Sets them every ten seconds, if a recorder is installed. Does not end.
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

const INTERVAL: Duration = Duration::from_secs(10);
