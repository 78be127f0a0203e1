//! Limits that several processes share, counted by Redis or Valkey.

mod concurrency;
mod connection;
mod limiter;
mod owed;
mod script;
mod sending;
mod settings;
mod shared;
mod subject_cache;

pub(crate) use concurrency::RedisConcurrency;
pub use connection::RedisConnection;
pub use limiter::{RedisRateLimiter, RedisStatus};
pub(super) use script::Place;

/// What a [`RedisRateLimiter`] does with requests when Redis does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// Counts them in this process alone, against its [part](RedisConnection::with_processes) of the limit.
    #[default]
    Local,
    /// Accepts them.
    Open,
    /// Rejects them with 503 ([`Reason::LimiterFailed`](crate::rejection::Reason::LimiterFailed)).
    Closed,
}

impl OnFailure {
    fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}
