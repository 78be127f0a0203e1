use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};

use super::{ImportedHash, Metadata, NextSecret, PreviousSecret};
use crate::address::Network;
use crate::clock::Timestamp;

/// Rarely used fields of a key, boxed to keep records small: rotation secrets, own limits, allowed networks, a start
/// time, metadata, and the hash of an imported key.
///
/// ```
/// use std::num::NonZeroU32;
/// use tower_api_keys::key::Extras;
///
/// let mut extras = Extras::default();
/// assert!(extras.allowed_addresses.is_empty());
///
/// let limit = NonZeroU32::new(5_000).expect("not zero");
/// extras.limits.insert("read".to_owned(), limit);
/// assert_eq!(extras.limits.get("read"), Some(&limit));
/// assert_eq!(extras.limits.get("write"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Extras {
    /// The secret replaced by the last rotation, while it still verifies. It does not verify while there is a
    /// [`next`](Self::next) secret: at most two secrets of a key verify at a time.
    pub previous: Option<PreviousSecret>,
    /// The secret made by the last rotation, until it is first used. Boxed, as it is the rarest field.
    pub next: Option<Box<NextSecret>>,
    /// The first instant at which the key verifies.
    pub not_before: Option<Timestamp>,
    /// Requests per window for this key, by the name of the rate limit category whose limit they replace. The window stays
    /// the category's.
    pub limits: BTreeMap<String, NonZeroU32>,
    /// The networks that the key may be used from. Empty by default: any address.
    pub allowed_addresses: Vec<Network>,
    /// Data of the application's own.
    pub metadata: Option<Metadata>,
    /// What is known of the secret of an [imported key](crate::manage::KeyManager::import_hash) that was not used yet.
    pub imported_hash: Option<ImportedHash>,
}

/// The [`Extras`] of a key. They take one pointer if none is set.
#[derive(Clone, Default)]
pub(crate) struct Sparse(Option<Box<Extras>>);

static NONE: Extras = Extras {
    previous: None,
    next: None,
    not_before: None,
    limits: BTreeMap::new(),
    allowed_addresses: Vec::new(),
    metadata: None,
    imported_hash: None,
};

impl Sparse {
    /// Frees the memory if no field is set any more.
    pub(crate) fn shrink(&mut self) {
        self.0.take_if(|fields| **fields == NONE);
    }
}

impl From<Extras> for Sparse {
    fn from(fields: Extras) -> Self {
        Self((fields != NONE).then(|| Box::new(fields)))
    }
}

impl Deref for Sparse {
    type Target = Extras;

    #[inline]
    fn deref(&self) -> &Extras {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Sparse {
    fn deref_mut(&mut self) -> &mut Extras {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for Sparse {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Sparse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_all_unset_take_no_memory_elsewhere() {
        assert_eq!(size_of::<Sparse>(), size_of::<usize>());
        let start = Timestamp::from_unix_seconds(5);
        let fields = Extras { not_before: Some(start), ..Extras::default() };
        let mut extras = Sparse::from(fields);
        extras.shrink();
        assert_eq!(extras.not_before, Some(start));
        assert_ne!(extras, Sparse::default());

        extras.not_before = None;
        assert_eq!(extras, Sparse::default());
        extras.shrink();
        assert!(extras.0.is_none());
        assert!(Sparse::from(Extras::default()).0.is_none());
    }
}
