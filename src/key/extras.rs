use std::fmt;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};

use super::{NextSecret, PreviousSecret};
use crate::address::Network;
use crate::clock::Timestamp;

/// The [`ExtraFields`] of a key. They take one pointer if none is set.
///
/// ```
/// use std::num::NonZeroU32;
/// use tower_api_keys::key::{ExtraFields, Extras};
///
/// let mut extras = Extras::default();
/// assert!(extras.allowed_addresses.is_empty());
///
/// extras.limits.set("read", NonZeroU32::new(5_000));
/// assert_eq!(extras.limits.get("read"), NonZeroU32::new(5_000));
///
/// extras.limits.set("read", None);
/// assert_eq!(extras, ExtraFields::default().into());
/// ```
#[derive(Clone, Default)]
pub struct Extras(Option<Box<ExtraFields>>);

/// Rarely used fields, boxed to keep records small: rotation secrets, own limits, allowed networks and a start time.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ExtraFields {
    /// The secret replaced by the last rotation, while it still verifies. It does not verify while there is a
    /// [`next`](Self::next) secret: at most two secrets of a key verify at a time.
    pub previous: Option<PreviousSecret>,
    /// The secret made by the last rotation, until it is first used. Boxed, as it is the rarest field.
    pub next: Option<Box<NextSecret>>,
    /// The first instant at which the key verifies.
    pub not_before: Option<Timestamp>,
    /// Requests per window for this key, in place of a rate limit category's own limit.
    pub limits: LimitOverrides,
    /// The networks that the key may be used from. Empty by default: any address.
    pub allowed_addresses: Vec<Network>,
}

static NONE: ExtraFields = ExtraFields {
    previous: None,
    next: None,
    not_before: None,
    limits: LimitOverrides(Vec::new()),
    allowed_addresses: Vec::new(),
};

impl Extras {
    /// Frees the memory if no field is set any more.
    pub(crate) fn shrink(&mut self) {
        self.0.take_if(|fields| **fields == NONE);
    }
}

impl From<ExtraFields> for Extras {
    fn from(fields: ExtraFields) -> Self {
        Self((fields != NONE).then(|| Box::new(fields)))
    }
}

impl Deref for Extras {
    type Target = ExtraFields;

    #[inline]
    fn deref(&self) -> &ExtraFields {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Extras {
    fn deref_mut(&mut self) -> &mut ExtraFields {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for Extras {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Limits stored with a key: requests per window, by the name of the rate limit category they replace.
///
/// Only the count is replaced; the window stays the category's.
///
/// ```
/// use std::num::NonZeroU32;
/// use tower_api_keys::key::LimitOverrides;
///
/// let mut limits = LimitOverrides::default();
/// limits.set("read", NonZeroU32::new(5_000));
/// assert_eq!(limits.get("read"), NonZeroU32::new(5_000));
/// assert_eq!(limits.get("write"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitOverrides(Vec<(Box<str>, NonZeroU32)>);

impl LimitOverrides {
    /// The key's own limit for `category`, if it has one.
    #[inline]
    pub fn get(&self, category: &str) -> Option<NonZeroU32> {
        self.0.iter().find(|(name, _)| **name == *category).map(|&(_, limit)| limit)
    }

    /// Sets the limit for `category`; `None` removes it.
    pub fn set(&mut self, category: &str, limit: Option<NonZeroU32>) {
        self.0.retain(|(name, _)| **name != *category);
        self.0.extend(limit.map(|limit| (category.into(), limit)));
    }

    /// Category names and limits, in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, NonZeroU32)> {
        self.0.iter().map(|(name, limit)| (&**name, *limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_all_unset_take_no_memory_elsewhere() {
        assert_eq!(size_of::<Extras>(), size_of::<usize>());
        let start = Timestamp::from_unix_seconds(5);
        let fields = ExtraFields { not_before: Some(start), ..ExtraFields::default() };
        let mut extras = Extras::from(fields);
        extras.shrink();
        assert_eq!(extras.not_before, Some(start));
        assert_ne!(extras, Extras::default());

        extras.not_before = None;
        assert_eq!(extras, Extras::default());
        extras.shrink();
        assert!(extras.0.is_none());
        assert!(Extras::from(ExtraFields::default()).0.is_none());
    }
}
