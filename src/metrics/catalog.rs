/// A metric of this crate: its name and labels are stable.
///
/// No label has a key, an organization, a path or an address.
#[derive(Debug)]
#[non_exhaustive]
pub struct Metric {
    /// The name, as Prometheus has it.
    pub name: &'static str,
    /// How it is counted.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub description: &'static str,
}

/// How a [`Metric`] is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A number of events since the start of the process.
    Counter,
    /// A number that rises and falls.
    Gauge,
    /// A distribution of times, in seconds.
    Histogram,
}

/// Buckets that suit the histograms of this crate, from 10 µs to 2.5 s: give them to the recorder, which may otherwise render
/// quantiles, and those can't be added up over processes.
///
/// ```
/// use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
/// use tower_api_keys::outcome::DURATION_BUCKETS;
///
/// let ours = Matcher::Prefix("api_keys_".to_owned());
/// let recorder = PrometheusBuilder::new().set_buckets_for_metric(ours, &DURATION_BUCKETS)?.build_recorder();
/// let scrape = recorder.handle();
/// metrics::set_global_recorder(recorder)?;
/// // At `GET /metrics`:
/// let _body = scrape.render();
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub const DURATION_BUCKETS: [f64; 13] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5];

macro_rules! catalog {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $description:literal;)*) => {
        $(pub(super) const $constant: Metric = Metric {
            name: $name,
            kind: MetricKind::$kind,
            labels: &[$($label),*],
            description: $description,
        };)*

        /// All metrics of this crate.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

catalog! {
    DECISIONS: Counter "api_keys_decisions_total" ["check", "code", "mode"]
        "Requests by what was decided: the code is `allowed` or that of the reason, the check the one that rejected.";
    DECISION_DURATION: Histogram "api_keys_decision_duration_seconds" ["decision"]
        "How long a decision took, until the request was `allowed` or `rejected`.";
    STORE_DURATION: Histogram "api_keys_store_duration_seconds" ["operation"]
        "How long a call of the key store took that had to be waited for.";
    STORE_ERRORS: Counter "api_keys_store_errors_total" ["operation", "kind"]
        "Calls of the key store that failed.";
    CACHE_LOOKUPS: Counter "api_keys_cache_lookups_total" ["outcome"]
        "Lookups of the cache: `hit`, `negative_hit` or `miss`.";
    CACHE_ENTRIES: Gauge "api_keys_cache_entries" ["kind"]
        "What the cache holds: each `record`, and each key known to be `absent`.";
    BREAKER_OPEN: Gauge "api_keys_breaker_open" ["store", "calls"]
        "1 while calls of a store are suspended because it does not answer: `lookups`, `changes`, or those of `limits`.";
    LOOKUPS_IN_FLIGHT: Gauge "api_keys_lookups_in_flight" ["store"]
        "Lookups that wait for a store.";
    LOOKUPS_REFUSED: Counter "api_keys_lookups_refused_total" ["store", "reason"]
        "Lookups that a store was not asked for, because it is suspended or too many wait for it.";
    INVALIDATION_CHANNEL_UP: Gauge "api_keys_invalidation_channel_up" []
        "1 while changes on other nodes are reported here.";
    CACHE_UNCONFIRMED: Gauge "api_keys_cache_unconfirmed_seconds" []
        "How long ago the store last said what has changed: changes made since may not be known here.";
    FAILOVERS: Counter "api_keys_failovers_noticed_total" []
        "How often the store was found to have lost changes, as after a fail-over to a standby that lags.";
    RATE_LIMIT_DECISIONS: Counter "api_keys_rate_limit_decisions_total" ["category", "engine", "outcome"]
        "Decisions of limits: `allowed`, `near_limit` (less than a fifth is left), `denied`, `failed_open`, `failed_closed`, or `shadow` for what a limit on trial would have denied.";
    RATE_LIMIT_DEGRADED: Counter "api_keys_rate_limit_degraded_total" ["category"]
        "Decisions of limits that were made without their shared store.";
    RATE_LIMIT_BACKEND_DURATION: Histogram "api_keys_rate_limit_backend_duration_seconds" []
        "How long Redis took for a call of the limits, those that were given up included.";
    RATE_LIMIT_SUBJECTS: Gauge "api_keys_rate_limit_subjects" ["category"]
        "Subjects that have a count of their own in this process.";
    QUOTA_LEASED: Gauge "api_keys_quota_leased_units" ["category"]
        "Units of a stored quota that this process has leased and not used.";
    QUOTA_LOST: Counter "api_keys_quota_lost_units_total" []
        "Leased units that were given up, because the store did not say whether it had taken them back.";
    STORED_KEYS: Gauge "api_keys_stored_keys" ["mode", "status"]
        "Keys in the store, by what they were when they were last counted: `active`, `not_yet_valid`, `disabled`, `expired` or `revoked`. Every process counts them, once a minute or less often.";
    MANAGEMENT: Counter "api_keys_management_total" ["action", "actor", "outcome"]
        "Operations of key management: the outcome is `done` or the code of the error's kind, the actor a `key`, a `session` or the `operator`.";
    AUDIT_BACKLOG: Gauge "api_keys_audit_backlog" []
        "Audit events on their way to the application's sink: of those that a store keeps the next 100 at most, so more may wait there.";
    USAGE_BUFFERED: Gauge "api_keys_usage_buffered_rows" []
        "Rows of usage that this process has counted and not added to the store.";
    USAGE_LOST: Counter "api_keys_usage_lost_total" []
        "Requests that were not counted, because too many keys were used at a time or the store did not take usage.";
    FAULTS: Counter "api_keys_faults_total" ["code"]
        "What went wrong beside the decisions about requests, by the code of its line in the log.";
}
