//! How often keys are used: requests counted per key, hour and outcome.
//!
//! [`KeyManager::usage`](crate::manage::KeyManager::usage) reads it: for a page, a chart, a support call.

mod batch;
mod counts;
mod outcome;
mod query;
mod report;

pub use batch::{UsageBatch, UsageEntry};
pub use counts::UsageCounts;
pub use outcome::UsageOutcome;
pub use query::{UsageBucket, UsageGroup, UsageQuery};
pub use report::{Usage, UsageRow};
