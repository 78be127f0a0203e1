use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};

use super::catalog::{
    DECISION_DURATION, DECISIONS, METRICS, Metric, MetricKind, RATE_LIMIT_DECISIONS, RATE_LIMIT_DEGRADED,
};
use super::{LimitOutcome, is_recording};

/// Counts the requests of an assembly by what was decided.
#[derive(Default)]
pub(crate) struct Decisions {
    /// By check, code and mode: as many as there are codes, in three modes at most.
    counters: papaya::HashMap<[&'static str; 3], Counter>,
    allowed: OnceLock<Histogram>,
    rejected: OnceLock<Histogram>,
    is_described: AtomicBool,
}

impl Decisions {
    /// Describes all metrics, once there is a recorder.
    pub(crate) fn describe(&self) {
        if is_recording() && !self.is_described.swap(true, Ordering::Relaxed) {
            metrics::with_recorder(|recorder| METRICS.iter().for_each(|metric| describe(metric, recorder)));
        }
    }

    pub(crate) fn decided(
        &self,
        check: &'static str,
        code: &'static str,
        mode: &'static str,
        duration: Option<Duration>,
    ) {
        let counters = self.counters.pin();
        let labels = [check, code, mode];
        let counted = counters.get(&labels).unwrap_or_else(|| {
            self.describe();
            let labels = [("check", check), ("code", code), ("mode", mode)];
            counters.get_or_insert_with([check, code, mode], || counter(&DECISIONS, &labels))
        });
        counted.increment(1);
        let (durations, decision) = match code {
            "allowed" => (&self.allowed, "allowed"),
            _ => (&self.rejected, "rejected"),
        };
        if let Some(duration) = duration {
            let durations =
                durations.get_or_init(|| histogram(&DECISION_DURATION, &[("decision", decision)]));
            durations.record(duration);
        }
    }
}

/// Counts the decisions of a limit.
#[derive(Clone, Default)]
pub(crate) struct LimitCounters {
    category: String,
    engine: &'static str,
    outcomes: [OnceLock<Counter>; 6],
    degraded: OnceLock<Counter>,
}

impl LimitCounters {
    /// Those of the limit with this number in its assembly. The application chooses the categories, so only the first 16 are
    /// told apart.
    pub(crate) fn new(index: usize, category: &str, engine: &'static str) -> Self {
        let category = if index < CATEGORIES { category } else { "_other" }.to_owned();
        Self { category, engine, ..Self::default() }
    }

    pub(crate) fn category(&self) -> &str {
        &self.category
    }

    pub(crate) fn decided(&self, outcome: LimitOutcome, is_degraded: bool) {
        let counted = self.outcomes[outcome as usize].get_or_init(|| {
            let (category, outcome) = (self.category.as_str(), outcome.as_str());
            let labels = [("category", category), ("engine", self.engine), ("outcome", outcome)];
            counter(&RATE_LIMIT_DECISIONS, &labels)
        });
        counted.increment(1);
        if is_degraded {
            let labels = [("category", self.category.as_str())];
            self.degraded.get_or_init(|| counter(&RATE_LIMIT_DEGRADED, &labels)).increment(1);
        }
    }
}

impl LimitOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::NearLimit => "near_limit",
            Self::Denied => "denied",
            Self::FailedOpen => "failed_open",
            Self::FailedClosed => "failed_closed",
            Self::Shadow => "shadow",
        }
    }
}

fn describe(metric: &Metric, recorder: &dyn Recorder) {
    let (name, description) = (KeyName::from_const_str(metric.name), metric.description.into());
    match metric.kind {
        MetricKind::Counter => recorder.describe_counter(name, None, description),
        MetricKind::Gauge => recorder.describe_gauge(name, None, description),
        MetricKind::Histogram => recorder.describe_histogram(name, Some(Unit::Seconds), description),
    }
}

pub(super) fn counter(metric: &Metric, labels: &[(&'static str, &str)]) -> Counter {
    metrics::with_recorder(|recorder| recorder.register_counter(&key(metric, labels), &METADATA))
}

pub(super) fn gauge(metric: &Metric, labels: &[(&'static str, &str)]) -> Gauge {
    metrics::with_recorder(|recorder| recorder.register_gauge(&key(metric, labels), &METADATA))
}

pub(super) fn histogram(metric: &Metric, labels: &[(&'static str, &str)]) -> Histogram {
    metrics::with_recorder(|recorder| recorder.register_histogram(&key(metric, labels), &METADATA))
}

fn key(metric: &Metric, labels: &[(&'static str, &str)]) -> Key {
    debug_assert!(labels.iter().map(|(name, _)| *name).eq(metric.labels.iter().copied()), "{}", metric.name);
    let labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(KeyName::from_const_str(metric.name), labels)
}

static METADATA: Metadata<'static> = Metadata::new("tower_api_keys", Level::INFO, Some(module_path!()));

/// The most categories that are told apart.
const CATEGORIES: usize = 16;
