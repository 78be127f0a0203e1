//! What talks to PostgreSQL and Redis: real servers, which the tests start, kill, freeze and restart.

#[path = "../support/mod.rs"]
mod support;

mod distributed;
mod postgres;
mod preset_limiters;
mod redis;
mod redis_faults;
mod redis_invalidation;
mod redis_processes;
mod restart;
mod revocation_latency;
