use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::InvalidValue;
use crate::clock::Timestamp;
use crate::key::{KeyId, Mode, Owner};

/// Which usage to read.
///
/// ```
/// use std::time::Duration;
/// use tower_api_keys::clock::Timestamp;
/// use tower_api_keys::usage::{UsageBucket, UsageGroup, UsageQuery};
///
/// // The calls of each key in the last thirty days.
/// # let now = Timestamp::from_unix_seconds(1_702_531_200);
/// let month = Duration::from_secs(30 * 24 * 60 * 60);
/// let mut query = UsageQuery::new(now.saturating_sub(month), now, UsageBucket::Day);
/// query.group_by = Some(UsageGroup::Key);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UsageQuery {
    /// From this instant on. The bucket that it lies in is read as a whole.
    pub start: Timestamp,
    /// Before this instant. The bucket that it lies in is read as a whole.
    pub end: Timestamp,
    /// How time is divided.
    pub bucket: UsageBucket,
    /// Only keys of this owner; `None` is all owners.
    pub owner: Option<Owner>,
    /// Only keys of this mode, where those of all owners are read.
    pub mode: Option<Mode>,
    /// Only these keys; all if there are none.
    pub keys: Vec<KeyId>,
    /// What has rows of its own; `None` is one row a bucket.
    pub group_by: Option<UsageGroup>,
}

impl UsageQuery {
    /// All requests from `start` on and before `end`.
    pub const fn new(start: Timestamp, end: Timestamp, bucket: UsageBucket) -> Self {
        Self { start, end, bucket, owner: None, mode: None, keys: Vec::new(), group_by: None }
    }

    /// The beginnings of all buckets, in order.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = Timestamp> + use<> {
        let (bucket, end) = (self.bucket, self.end);
        let first = bucket.start_of(self.start);
        std::iter::successors(Some(first), move |start| Some(start.saturating_add(bucket.length())))
            .take_while(move |start| *start < end)
    }

    /// How many there are.
    pub(crate) fn bucket_count(&self) -> u64 {
        let span = self.end.saturating_since(self.bucket.start_of(self.start)).as_millis();
        let count = span.div_ceil(self.bucket.length().as_millis());
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// How long the parts are into which time is divided, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageBucket {
    /// Hours, for as long as the store keeps them.
    Hour,
    /// Days, which are kept longer.
    Day,
}

impl UsageBucket {
    /// An hour, or 24.
    pub const fn length(self) -> Duration {
        match self {
            Self::Hour => Duration::from_secs(60 * 60),
            Self::Day => Duration::from_secs(24 * 60 * 60),
        }
    }

    /// The beginning of the hour or the day that `instant` lies in.
    pub const fn start_of(self, instant: Timestamp) -> Timestamp {
        let millis = instant.as_unix_millis();
        Timestamp::from_unix_millis(millis - millis % self.length().as_millis() as u64)
    }

    /// How much time is read where it is not said: a day of hours, or 30 days.
    #[cfg(any(feature = "axum", feature = "cli"))]
    pub(crate) const fn usual_span(self) -> Duration {
        match self {
            Self::Hour => Self::Day.length(),
            Self::Day => Duration::from_secs(30 * 24 * 60 * 60),
        }
    }

    /// `hour` or `day`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl fmt::Display for UsageBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for UsageBucket {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            _ => Err(InvalidValue::new("usage bucket", "a bucket is hour or day")),
        }
    }
}

/// What has rows of its own. Outcomes need none: each row counts them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageGroup {
    /// Each key.
    Key,
    /// Each owner: an organization, or the system, in one mode.
    Organization,
    /// Each category of limits.
    Category,
}

impl UsageGroup {
    /// `key`, `organization` or `category`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Organization => "organization",
            Self::Category => "category",
        }
    }
}

impl fmt::Display for UsageGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for UsageGroup {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "key" => Ok(Self::Key),
            "organization" => Ok(Self::Organization),
            "category" => Ok(Self::Category),
            _ => Err(InvalidValue::new("usage group", "a group is key, organization or category")),
        }
    }
}
