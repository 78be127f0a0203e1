//! The settings of what an assembly records of requests and of changes to keys.

use std::sync::Arc;
use std::time::Duration;

use super::ApiKeysBuilder;
use crate::manage::AuditEvent;
use crate::outcome::{Call, UsageRetention};

impl<F> ApiKeysBuilder<F> {
    /// Records when each key was last used. Needs [`background`](super::ApiKeys::background), which writes every ten
    /// seconds: uses since the last write are lost when a process is killed. Of several processes the latest use counts.
    pub fn record_last_use(mut self) -> Self {
        self.records_last_use = true;
        self
    }

    /// Counts requests per key, hour, category and outcome, and keeps the sums in the store: see [`usage`](crate::usage). Needs
    /// [`background`](super::ApiKeys::background), which adds to the store every ten seconds.
    ///
    /// ```
    /// # use tower_api_keys::store::MemoryStore;
    /// # use tower_api_keys::{ApiKeys, KeyFormat};
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("GET", "/workflows", "workflows:read")
    ///     .count_usage()
    ///     .build()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn count_usage(mut self) -> Self {
        self.counts_usage = true;
        self
    }

    /// How long what is [counted](Self::count_usage) is kept by hour, a day at least, and by day, two days at least. Unless
    /// set, 14 and 400 days. The same for all processes with one store.
    pub fn keep_usage_for(mut self, hours: Duration, days: Duration) -> Self {
        self.usage_retention = Some(UsageRetention { hours, days });
        self
    }

    /// Tells `sink` of every call that presents a credential and is not answered with a server error: for counters, bills.
    ///
    /// Called on the request's thread, after the response head is available and before it is sent, so it must not block:
    /// count, or pass the data to a queue or a task. A panic is caught; it loses the record, never the response.
    pub fn usage(mut self, sink: impl Fn(&Call<'_>) + Send + Sync + 'static) -> Self {
        self.usage = Some(Arc::new(sink));
        self
    }

    /// Tells `sink` of everything that is done to keys, and of what a caller was not allowed to do or has failed: see
    /// [audit](crate::manage#audit).
    ///
    /// Called by [`ApiKeys::background`](crate::ApiKeys::background), every second, and by
    /// [`flush`](crate::ApiKeys::flush), on a thread of its own: it delays no request, may block, and may panic.
    ///
    /// 1. A store that [keeps an audit log](crate::store::KeyAdministration::audit_log) delivers each event at least once, also
    ///    one of a process that was killed or has no sink. An event may come again after such an end, with the same
    ///    [`number`](AuditEvent::number).
    /// 2. With other stores events wait in memory, a thousand at most. New ones are lost then, which is logged, and so is what
    ///    waits in a process that is killed.
    /// 3. The events of a key come in the order of its changes, those that a store keeps.
    /// 4. Of several processes with one store, one delivers. If it stops, another does after 30 seconds: give them the same
    ///    sink. The [command line](https://docs.rs/tower-api-keys/latest/tower_api_keys/cli/index.html) is one of them, and
    ///    prints secrets to standard output, which is then no place for events.
    pub fn audit(mut self, sink: impl Fn(&AuditEvent) + Send + Sync + 'static) -> Self {
        self.audit = Some(Arc::new(sink));
        self
    }
}
