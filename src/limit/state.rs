use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "json")]
use serde::ser::SerializeStruct;

use super::{Decision, Quota};

/// What is left of one limit of a caller: see [`ApiKeys::limits_of`](crate::ApiKeys::limits_of).
///
/// With the feature `json` it is an object: `{"category":"reads","limit":1000,"remaining":950,"window":60,"resetAfter":12}`,
/// in seconds, rounded up.
#[derive(Clone, Debug)]
pub struct LimitState {
    category: Arc<str>,
    decision: Decision,
}

impl LimitState {
    pub(crate) fn new(category: Arc<str>, decision: Decision) -> Self {
        Self { category, decision }
    }

    /// The name of the category.
    pub fn category(&self) -> &str {
        &self.category
    }

    /// The quota that leaves least, with the limit that applies to the caller.
    pub fn quota(&self) -> Quota {
        self.decision.quota()
    }

    /// The cost that would be admitted now.
    pub fn remaining(&self) -> u32 {
        self.decision.remaining()
    }

    /// The time until [`remaining`](Self::remaining) rises; zero if nothing is counted.
    pub fn reset(&self) -> Duration {
        self.decision.reset()
    }
}

#[cfg(feature = "json")]
impl serde::Serialize for LimitState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use crate::number::whole_seconds;

        let mut state = serializer.serialize_struct("LimitState", 5)?;
        state.serialize_field("category", self.category())?;
        state.serialize_field("limit", &self.quota().limit())?;
        state.serialize_field("remaining", &self.remaining())?;
        state.serialize_field("window", &whole_seconds(self.quota().window()))?;
        state.serialize_field("resetAfter", &whole_seconds(self.reset()))?;
        state.end()
    }
}
