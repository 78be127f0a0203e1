use std::ops::AddAssign;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::UsageOutcome;

/// How many requests have ended in which way.
///
/// ```
/// use tower_api_keys::usage::{UsageCounts, UsageOutcome};
///
/// let mut counts = UsageCounts::default();
/// counts.add(UsageOutcome::Ok, 40);
/// counts.add(UsageOutcome::Limited, 2);
/// assert_eq!((counts.of(UsageOutcome::Limited), counts.total()), (2, 42));
/// ```
///
/// Serializes as `{"ok":40,"client_error":0,"limited":2,"forbidden":0,"refused":0,"server_error":0}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageCounts([u64; 6]);

impl UsageCounts {
    /// Those that ended in this way.
    pub const fn of(&self, outcome: UsageOutcome) -> u64 {
        self.0[outcome as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |total, count| total.saturating_add(*count))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// Adds some.
    pub const fn add(&mut self, outcome: UsageOutcome, requests: u64) {
        let count = &mut self.0[outcome as usize];
        *count = count.saturating_add(requests);
    }
}

impl AddAssign for UsageCounts {
    fn add_assign(&mut self, other: Self) {
        UsageOutcome::ALL.into_iter().for_each(|outcome| self.add(outcome, other.of(outcome)));
    }
}

impl Serialize for UsageCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for outcome in UsageOutcome::ALL {
            map.serialize_entry(outcome.as_str(), &self.of(outcome))?;
        }
        map.end()
    }
}
