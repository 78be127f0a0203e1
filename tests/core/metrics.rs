//! What a real exporter of Prometheus renders: names, labels, values, and how many series there can be.
#![cfg(feature = "metrics")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tower::{Layer, Service, service_fn};
use tower_api_keys::clock::{Clock, ManualClock, Now};
use tower_api_keys::identity::OrganizationRule;
#[cfg(feature = "cache")]
use tower_api_keys::key::KeyId;
use tower_api_keys::key::{KeyRecord, KeyState, Mode, Owner};
use tower_api_keys::manage::{Authority, KeyManager};
use tower_api_keys::outcome::{DURATION_BUCKETS, METRICS, MetricKind};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::ReadOnly;
#[cfg(feature = "cache")]
use tower_api_keys::store::{CachedStore, InvalidationSink, KeyAdministration, StoreError, StoreErrorKind};
use tower_api_keys::usage::{UsageBucket, UsageQuery};
use tower_api_keys::{ApiKeys, NewKey, Quota, RateLimit};

use crate::support::*;

const REVOKED_KEY: &str = "wfk_revoked0000000000000000000000000";

/// A rendered series: its name and its labels.
type Series = (String, BTreeMap<String, String>);

/// What the exporter renders, without the buckets of histograms.
struct Scrape(BTreeMap<Series, f64>);

impl Scrape {
    fn of(handle: &PrometheusHandle) -> Self {
        let rendered = handle.render();
        let lines = rendered.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(sample).filter(|((name, _), _)| !name.ends_with("_bucket")).collect())
    }

    /// The value of the series with these labels, or zero.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.get(&(name.to_owned(), labels)).copied().unwrap_or_default()
    }

    fn decisions(&self, check: &str, code: &str, mode: &str) -> f64 {
        self.value("api_keys_decisions_total", &[("check", check), ("code", code), ("mode", mode)])
    }

    fn limit(&self, category: &str, outcome: &str) -> f64 {
        let labels = [("category", category), ("engine", "memory"), ("outcome", outcome)];
        self.value("api_keys_rate_limit_decisions_total", &labels)
    }

    fn managed(&self, action: &str, outcome: &str) -> f64 {
        let labels = [("action", action), ("actor", "operator"), ("outcome", outcome)];
        self.value("api_keys_management_total", &labels)
    }
}

/// `name{label="value",…} number`. No label of this crate has a quotation mark or a comma.
fn sample(line: &str) -> (Series, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (name, value) = label.split_once('=').unwrap();
        (name.to_owned(), value.trim_matches('"').to_owned())
    });
    ((name.to_owned(), labels.collect()), value.parse().unwrap())
}

/// The name of the metric that a series belongs to.
fn base(series: &str) -> &str {
    let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.strip_suffix(suffix));
    histogram.filter(|name| METRICS.iter().any(|metric| metric.name == *name)).unwrap_or(series)
}

fn recorder() -> PrometheusRecorder {
    let ours = Matcher::Prefix("api_keys_".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(ours, &DURATION_BUCKETS).unwrap().build_recorder()
}

fn block_on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn send(keys: &ApiKeys, request: Request<()>) -> u16 {
    let response: Response<Bytes> = keys.layer().layer(service_fn(whoami)).call(request).await.unwrap();
    response.status().as_u16()
}

fn to(path: &str, key: &str) -> Request<()> {
    Request::get(path).header(X_API_KEY, key).body(()).unwrap()
}

/// A millisecond passes from one reading to the next.
#[derive(Clone, Default)]
struct Ticking(Arc<AtomicU64>);

impl Clock for Ticking {
    fn now(&self) -> Now {
        let elapsed = Duration::from_millis(self.0.fetch_add(1, Ordering::Relaxed));
        Now::new(elapsed, Duration::from_millis(START.as_unix_millis()) + elapsed)
    }
}

#[test]
fn requests_limits_lookups_and_management_are_counted_once_there_is_a_recorder() {
    in_own_process(|| {
        block_on(async {
            let clock = Ticking::default();
            let test = |key: &mut KeyRecord| key.owner = Owner { mode: Mode::Test, ..acme() };
            let stored = store([
                record(KEY, |_| {}),
                record(OTHER_KEY, |key| {
                    test(key);
                    key.scopes = ScopeSet::empty();
                }),
                record(REVOKED_KEY, |key| key.state = KeyState::Revoked { at: START }),
            ])
            .await;
            let keys = assembly(TestStore::new(stored.clone(), Answers::Later))
                .limit(RateLimit::per_key("requests", Quota::per_minute(5).unwrap()))
                .limit(RateLimit::per_key("trial", Quota::per_minute(1).unwrap()).shadow())
                .route("GET", "/workflows", "workflows:read")
                .clock(clock.clone())
                .build()
                .unwrap();
            let before = clock.0.load(Ordering::Relaxed);
            assert_eq!(send(&keys, to("/workflows", KEY)).await, 200);
            assert_eq!(
                clock.0.load(Ordering::Relaxed) - before,
                1,
                "without a recorder a request reads the clock once"
            );

            let recorder = recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).unwrap_or_else(|_| panic!("there is one already"));
            for (path, key, status) in [
                ("/workflows", KEY, 200),
                ("/workflows", KEY, 200),
                ("/workflows", KEY, 200),
                ("/workflows", KEY, 200),
                ("/workflows", KEY, 429),
                ("/workflows", OTHER_KEY, 403),
                ("/workflows", REVOKED_KEY, 401),
                ("/workflows", UNKNOWN_KEY, 401),
                ("/workflows", "junk", 401),
                ("/other", OTHER_KEY, 403),
            ] {
                assert_eq!(send(&keys, to(path, key)).await, status, "{path} {key}");
            }
            let failing = assembly(TestStore::new(stored.clone(), Answers::WithAnError))
                .without_route_table()
                .build()
                .unwrap();
            assert_eq!(send(&failing, to("/", KEY)).await, 503);
            keys.manager().create(&Authority::operator(acme()), NewKey::new("one")).await.unwrap();

            let scrape = Scrape::of(&handle);
            for (check, code, mode, count) in [
                ("none", "allowed", "live", 4.0),
                ("rate_limit", "rate_limited", "live", 1.0),
                ("access", "scope_missing", "test", 1.0),
                ("access", "route_not_covered", "test", 1.0),
                ("state", "key_revoked", "unknown", 1.0),
                ("lookup", "key_unknown", "unknown", 1.0),
                ("format", "credential_malformed", "unknown", 1.0),
                ("lookup", "store_failed", "unknown", 1.0),
            ] {
                assert_eq!(scrape.decisions(check, code, mode), count, "{check} {code} {mode}");
            }
            for (category, outcome, count) in [
                ("requests", "allowed", 5.0),
                ("requests", "near_limit", 1.0),
                ("requests", "denied", 1.0),
                ("trial", "near_limit", 1.0),
                ("trial", "shadow", 5.0),
            ] {
                assert_eq!(scrape.limit(category, outcome), count, "{category} {outcome}");
            }
            for (decision, count) in [("allowed", 4.0), ("rejected", 7.0)] {
                let labels = [("decision", decision)];
                assert_eq!(
                    scrape.value("api_keys_decision_duration_seconds_count", &labels),
                    count,
                    "{decision}"
                );
            }
            let allowed = scrape.value("api_keys_decision_duration_seconds_sum", &[("decision", "allowed")]);
            assert!((allowed - 0.004).abs() < 1e-9, "by the clock of the assembly: {allowed}");
            assert_eq!(scrape.value("api_keys_store_duration_seconds_count", &[("operation", "find")]), 9.0);
            let inserted = [("operation", "insert")];
            assert_eq!(scrape.value("api_keys_store_duration_seconds_count", &inserted), 1.0);
            let failed = [("operation", "find"), ("kind", "unavailable")];
            assert_eq!(scrape.value("api_keys_store_errors_total", &failed), 1.0);
        })
    });
}

#[test]
fn operations_of_key_management_are_counted_by_how_they_end() {
    in_own_process(|| {
        block_on(async {
            let recorder = recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).unwrap_or_else(|_| panic!("there is one already"));
            let keys = assembly(store([]).await).without_route_table().build().unwrap();
            let (manager, operator) = (keys.manager(), Authority::operator(acme()));
            let key = manager.create(&operator, NewKey::new("one")).await.unwrap().key;
            manager.create(&operator, NewKey::new("")).await.unwrap_err();
            manager.get(&operator, &key.id).await.unwrap();
            manager.get(&operator, &"missing".parse().unwrap()).await.unwrap_err();
            manager.delete(&operator, &key.id).await.unwrap();
            manager.delete(&operator, &key.id).await.unwrap_err();
            manager.forget_import(&operator, &key.id).await.unwrap_err();
            let read_only = KeyManager::new(ReadOnly::new(store([]).await), format());
            read_only.create(&operator, NewKey::new("one")).await.unwrap_err();
            let _ = manager.redeem(UNKNOWN_KEY).await.unwrap_err();
            let query = UsageQuery::new(START, START, UsageBucket::Hour);
            manager.usage_of_all(&query).await.unwrap_err();

            let scrape = Scrape::of(&handle);
            for (action, outcome, count) in [
                ("create", "done", 1.0),
                ("create", "invalid", 1.0),
                ("create", "unavailable", 1.0),
                ("read", "done", 1.0),
                ("read", "not_found", 1.0),
                ("read", "invalid", 1.0),
                ("delete", "done", 1.0),
                ("delete", "not_found", 1.0),
                ("revoke", "done", 0.0),
                ("forget_import", "not_found", 1.0),
            ] {
                assert_eq!(scrape.managed(action, outcome), count, "{action} {outcome}");
            }
            let redeemed = [("action", "redeem"), ("actor", "key"), ("outcome", "not_found")];
            assert_eq!(scrape.value("api_keys_management_total", &redeemed), 1.0);
        })
    });
}

/// The log has a line of each a second.
#[cfg(feature = "cache")]
#[test]
fn every_fault_is_counted_though_few_are_logged() {
    struct Unreachable;

    #[async_trait::async_trait]
    impl InvalidationSink for Unreachable {
        async fn publish(&self, _: &KeyId) -> Result<(), StoreError> {
            Err(StoreError::new(StoreErrorKind::Unavailable))
        }
    }

    in_own_process(|| {
        block_on(async {
            let recorder = recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).unwrap_or_else(|_| panic!("there is one already"));
            let clock = ManualClock::starting_at(START);
            let cache = CachedStore::builder(store([record(KEY, |_| {})]).await).clock(clock.clone());
            let cache = cache.publish_to(Unreachable).build();
            for number in 0..30 {
                cache.insert(record(&format!("wfk_{number}"), |_| {}), None).await.unwrap();
            }
            let keys = assembly(cache).clock(clock).without_route_table().usage(|_| panic!("a defect"));
            let keys = keys.build().unwrap();
            for _ in 0..4 {
                assert_eq!(send(&keys, to("/", KEY)).await, 200);
            }
            let scrape = Scrape::of(&handle);
            for (code, times) in [("invalidation_not_published", 30.0), ("usage_sink_panicked", 4.0)] {
                assert_eq!(scrape.value("api_keys_faults_total", &[("code", code)]), times, "{code}");
            }
        })
    });
}

/// Runs what runs beside requests until something is so.
async fn in_background_until(keys: &ApiKeys, is_so: impl Fn() -> bool) {
    let background = tokio::spawn(keys.background());
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
    background.abort();
}

#[test]
fn keys_in_the_store_are_counted_by_mode_and_status() {
    in_own_process(|| {
        block_on(async {
            let recorder = recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).unwrap_or_else(|_| panic!("there is one already"));
            let stored = store([
                record(KEY, |_| {}),
                record(UNKNOWN_KEY, |key| key.owner.mode = Mode::Test),
                record(OTHER_KEY, |key| key.state = KeyState::Disabled),
            ])
            .await;
            let keys = assembly(stored).without_route_table().build().unwrap();
            in_background_until(&keys, || handle.render().contains("api_keys_stored_keys{")).await;
            let scrape = Scrape::of(&handle);
            for (mode, status, count) in [
                ("live", "active", 1.0),
                ("live", "disabled", 1.0),
                ("live", "revoked", 0.0),
                ("live", "expired", 0.0),
                ("live", "not_yet_valid", 0.0),
                ("test", "active", 1.0),
            ] {
                let labels = [("mode", mode), ("status", status)];
                assert_eq!(scrape.value("api_keys_stored_keys", &labels), count, "{mode} {status}");
            }
        });
    });
}

#[test]
fn stored_quotas_and_what_is_tracked_are_counted() {
    in_own_process(|| {
        block_on(async {
            let recorder = recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).unwrap_or_else(|_| panic!("there is one already"));
            let stored = store([record(KEY, |_| {}), record(OTHER_KEY, |_| {})]).await;
            let month = || RateLimit::per_key("month", Quota::per_month(1_000).unwrap());
            let keys = assembly(stored.clone())
                .limit(month())
                .limit(RateLimit::per_key("minute", Quota::per_minute(100).unwrap()))
                .without_route_table()
                .build()
                .unwrap();
            assert_eq!(send(&keys, to("/", KEY)).await, 200);
            assert_eq!(send(&keys, to("/", OTHER_KEY)).await, 200);
            in_background_until(&keys, || handle.render().contains("api_keys_quota_leased_units{")).await;
            let quotas =
                TestStore { quotas: Some(Answers::WithAnError), ..TestStore::new(stored, Answers::AtOnce) };
            let failing = assembly(quotas).limit(month()).without_route_table().build().unwrap();
            assert_eq!(send(&failing, to("/", KEY)).await, 503);
            keys.manager().create(&Authority::operator(acme()), NewKey::new("one")).await.unwrap();

            let scrape = Scrape::of(&handle);
            for (category, subjects) in [("month", 2.0), ("minute", 2.0)] {
                let labels = [("category", category)];
                assert_eq!(scrape.value("api_keys_rate_limit_subjects", &labels), subjects, "{category}");
            }
            // A hundredth each, of which one is used.
            assert_eq!(scrape.value("api_keys_quota_leased_units", &[("category", "month")]), 18.0);
            for (outcome, count) in [("allowed", 2.0), ("failed_closed", 1.0)] {
                let labels = [("category", "month"), ("engine", "store"), ("outcome", outcome)];
                assert_eq!(scrape.value("api_keys_rate_limit_decisions_total", &labels), count, "{outcome}");
            }
            assert_eq!(scrape.value("api_keys_rate_limit_degraded_total", &[("category", "month")]), 1.0);
            let failed = [("operation", "change_quota"), ("kind", "unavailable")];
            assert_eq!(scrape.value("api_keys_store_errors_total", &failed), 1.0);
            assert_eq!(scrape.decisions("rate_limit", "limiter_failed", "live"), 1.0);
        });
    });
}

/// Keys, paths, organizations and identifiers that a client invents, and more categories than are told apart.
#[test]
fn hostile_traffic_makes_a_bounded_number_of_series() {
    in_own_process(|| {
        block_on(async {
            let recorder = recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).unwrap_or_else(|_| panic!("there is one already"));
            let stored =
                store([record(KEY, |_| {}), record(OTHER_KEY, |key| key.state = KeyState::Disabled)]).await;
            let mut builder = assembly(stored)
                .organization(OrganizationRule::named_in("organization-id").optional())
                .route("GET", "/workflows", "workflows:read")
                .route("POST", "/workflows", "workflows:write")
                .request_ids()
                .clock(ManualClock::starting_at(START));
            for category in 0..20 {
                let quota = Quota::per_minute(1_000 + category).unwrap();
                builder = builder.limit(RateLimit::per_key(format!("category {category}"), quota));
            }
            let keys = builder.build().unwrap();
            let mut series = Vec::new();
            for round in 0..2 {
                for number in 0..5_000_u64 {
                    let evil = format!("evil{}{}", round * 5_000 + number, "0".repeat(24));
                    let key = match number % 5 {
                        0 | 1 => KEY.to_owned(),
                        2 => format!("wfk_{}", &evil[..32.min(evil.len())]),
                        3 => evil.clone(),
                        _ => OTHER_KEY.to_owned(),
                    };
                    let method = ["GET", "POST", "DELETE", "EVIL"][number as usize / 5 % 4];
                    let path =
                        if number % 3 == 0 { format!("/{evil}?{evil}") } else { "/workflows".to_owned() };
                    let mut request =
                        Request::builder().method(method).uri(path).header("x-request-id", &evil);
                    if number % 7 > 0 {
                        request = request.header("x-api-key", key);
                    }
                    if number % 11 == 0 {
                        request = request.header("organization-id", &evil);
                    }
                    send(&keys, request.body(()).unwrap()).await;
                }
                series.push(Scrape::of(&handle).0.into_keys().collect::<BTreeSet<_>>());
            }
            assert_eq!(series[0], series[1], "the second half of the traffic makes no new ones");
            assert_eq!(series[1].len(), SERIES, "{:#?}", series[1]);
            for (name, labels) in &series[1] {
                let metric = METRICS.iter().find(|metric| metric.name == base(name)).unwrap();
                assert!(
                    labels.keys().map(String::as_str).eq(metric.labels.iter().copied()),
                    "{name} {labels:?}"
                );
                assert!(labels.values().all(|value| !value.contains("evil")), "{name} {labels:?}");
            }
            let categories: BTreeSet<_> =
                series[1].iter().filter_map(|(_, labels)| labels.get("category")).collect();
            assert_eq!(categories.len(), 17, "16 of the application's, and one for the rest");
        })
    });
}

/// Without buckets: what the traffic above makes.
const SERIES: usize = 48;

/// Each way, so that neither is forgotten when the other changes.
#[test]
fn the_page_the_dashboard_and_the_alerts_name_what_is_exported() {
    let page = include_str!("../../docs/README.md");
    let (dashboard, alerts) =
        (include_str!("../../docs/grafana/api-keys.json"), include_str!("../../docs/alerts.yml"));
    let named = |text: &str| {
        let names = regex::Regex::new("api_keys_[a-z_]+").unwrap();
        names.find_iter(text).map(|name| base(name.as_str()).to_owned()).collect::<BTreeSet<_>>()
    };
    let all: BTreeSet<_> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(named(&format!("{dashboard}{alerts}")), all);
    assert_eq!(named(page), all);
    assert!(page.contains(&format!("make {SERIES}.")), "the page says how many series hostile traffic makes");
    for metric in METRICS {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.description);
        assert!(page.lines().any(|line| line == row), "docs/README.md has no row\n{row}");
        let suffix = match metric.kind {
            MetricKind::Counter => "_total",
            MetricKind::Histogram => "_seconds",
            MetricKind::Gauge => "",
        };
        assert!(metric.name.ends_with(suffix), "{}", metric.name);
    }

    let _: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let alerts: serde_json::Value = serde_saphyr::from_str(alerts).unwrap();
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 10);
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(rule["expr"].as_str().is_some_and(|expression| expression.contains("api_keys_")), "{name}");
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("page" | "ticket")), "{name}");
        let runbook = rule["annotations"]["runbook"].as_str().unwrap();
        assert!(runbook.ends_with('.') && runbook.len() > 40, "{name} says what to do: {runbook}");
    }
}

/// Each way: what is logged as a warning or an error has a code, and the page says what it means and what counts it.
#[cfg(feature = "tracing")]
#[test]
fn every_warning_and_error_has_a_code_a_metric_and_a_row() {
    let page = include_str!("../../docs/README.md");
    let logged = include_str!("../../src/log.rs");
    let line =
        regex::Regex::new(r#"(event|fault)!\(\s*(warn|error),(?:\s*(?:code = )?"([a-z_]+)",)?"#).unwrap();
    let counted = regex::Regex::new(r#"metrics::fault\("([a-z_]+)""#).unwrap();
    let counted: BTreeSet<_> = counted.captures_iter(logged).map(|found| found[1].to_owned()).collect();
    let mut codes = BTreeMap::new();
    for found in line.captures_iter(logged) {
        let code = found.get(3).unwrap_or_else(|| panic!("{} has no code", &found[0])).as_str();
        let is_fault = &found[1] == "fault" || counted.contains(code);
        codes.insert(code.to_owned(), (found[2].to_uppercase(), is_fault));
    }
    let row = regex::Regex::new(r"(?m)^\| `([a-z_]+)` \| (WARN|ERROR) \| `([a-z_]+)` \| .*\. \|$").unwrap();
    let rows: BTreeMap<_, _> = row
        .captures_iter(page)
        .map(|row| {
            assert!(METRICS.iter().any(|metric| metric.name == &row[3]), "{}", &row[0]);
            (row[1].to_owned(), (row[2].to_owned(), &row[3] == "api_keys_faults_total"))
        })
        .collect();
    assert_eq!(codes, rows);
}
