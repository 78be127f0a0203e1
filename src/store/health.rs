use std::time::Duration;

/// What the parts of a store are doing: of a cache, and of the guard in front of a store that waits. Has no secret, no
/// address and no name of a key.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[non_exhaustive]
pub struct StoreHealth {
    /// Those of [`GuardedStore`](super::GuardedStore): of lookups, and of the changes that requests make.
    pub guards: Vec<GuardHealth>,
    /// That of a `CachedStore`.
    pub cache: Option<CacheHealth>,
}

/// Calls that are guarded.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[non_exhaustive]
pub struct GuardHealth {
    /// The store, by the name of its type.
    pub store: &'static str,
    /// `lookups` or `changes`.
    pub calls: &'static str,
    /// Whether calls are refused, but for one a second: the store does not answer.
    pub is_open: bool,
    /// How many calls wait.
    pub in_flight: usize,
    /// How many were refused since it last opened.
    pub refused: u64,
}

/// A cache.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[non_exhaustive]
pub struct CacheHealth {
    /// The records that are held, also those that are out of date.
    pub records: usize,
    /// The unknown identifiers and digests.
    pub absent: usize,
    /// Whether the channel that reports changes is connected; `None` if none was ever followed.
    pub channel_is_connected: Option<bool>,
    /// How long ago the store said [what has changed](super::KeyStore::changes), in seconds; `None` if it never did.
    #[cfg_attr(
        feature = "json",
        serde(rename = "confirmedSecondsAgo", serialize_with = "crate::number::as_seconds")
    )]
    pub confirmed_ago: Option<Duration>,
}

impl StoreHealth {
    /// Whether the store answers, and the channel is connected.
    pub fn is_good(&self) -> bool {
        let is_cut = self.cache.as_ref().is_some_and(|cache| cache.channel_is_connected == Some(false));
        !is_cut && self.guards.iter().all(|guard| !guard.is_open)
    }
}
