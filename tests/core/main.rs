//! The assembly, its parts and the stores without a server, through the public API. Needs no feature.

#[path = "../support/damage.rs"]
mod damage;
#[path = "../support/faults.rs"]
mod faults;
#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod assembly;
mod audit;
mod authenticate;
mod authorize;
mod broken_records;
mod browser_keys;
#[cfg(feature = "cache")]
mod cached_store;
#[cfg(feature = "cache")]
mod changes;
mod companions;
mod conformance;
mod documents;
mod explain;
mod guarded_store;
mod imports;
mod key_properties;
mod last_use;
mod layers_agree;
mod limit_properties;
mod limit_rules;
mod log;
mod manage;
mod metrics;
mod no_secrets;
mod order_of_checks;
mod organization;
mod rate_limit;
mod rate_limit_layer;
mod scope_properties;
mod sessions;
mod several_schemes;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(all(feature = "sqlite", feature = "tracing", target_os = "linux"))]
mod sqlite_file;
mod stored_quotas;
mod streams;
mod usage;
mod usage_counts;
