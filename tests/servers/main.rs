//! Tests with PostgreSQL and Redis: real servers, which the tests start, kill, freeze and restart.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "some tests have figures for who asks for them")]

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/contradictions.rs"]
mod contradictions;
#[path = "../support/damage.rs"]
mod damage;
#[path = "../support/faults.rs"]
mod faults;
#[path = "../support/postgres.rs"]
mod postgres_server;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/redis.rs"]
mod redis_server;
#[path = "../support/sentinels.rs"]
mod sentinels;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/stores.rs"]
mod stores;
#[path = "../support/mod.rs"]
mod support;

mod audit_processes;
mod distributed;
mod failover;
mod layers_agree;
mod leaked_key;
mod old_databases;
mod pooler;
mod postgres;
mod preset_limiters;
mod quota_processes;
mod redis;
mod redis_acl;
mod redis_faults;
mod redis_invalidation;
mod redis_processes;
mod redis_rules;
mod redis_sentinel;
mod restart;
mod revocation_latency;
mod rolling_upgrade;
mod store_outage;
mod streams;
mod tls;
mod usage_processes;
