use std::time::Duration;

/// What becomes of the usage that a process counts. Has no name of a key.
///
/// See [`ApiKeys::health`](crate::ApiKeys::health).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[non_exhaustive]
pub struct UsageHealth {
    /// How long ago everything was last added to the store, in seconds; `None` if it never was.
    #[cfg_attr(
        feature = "json",
        serde(rename = "writtenSecondsAgo", serialize_with = "crate::number::as_seconds")
    )]
    pub written_ago: Option<Duration>,
    /// Rows that are not in the store yet.
    pub waiting_rows: usize,
    /// Requests that were not counted since the process started: there was no room for them.
    pub lost_requests: u64,
    /// Whether the store did not take the last batch. It is added later.
    pub is_failing: bool,
}
