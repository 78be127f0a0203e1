//! All keys in listing order.

use std::borrow::Borrow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Bound;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord, Owner};
use crate::store::Cursor;

/// The keys of each owner together, oldest first. One tree for all owners, since most have few keys.
#[derive(Default)]
pub(super) struct Listing(BTreeSet<Listed>);

struct Listed(Arc<KeyRecord>);

/// A place without an identifier comes before all keys of that instant.
type Place<'a> = (&'a Owner, Timestamp, Option<&'a KeyId>);

/// A record at a place, or a place itself: a lookup needs no record.
trait Placed {
    fn place(&self) -> Place<'_>;
}

impl Listing {
    /// Replaces the record at the same place.
    pub(super) fn insert(&mut self, record: Arc<KeyRecord>) {
        self.0.replace(Listed(record));
    }

    pub(super) fn remove(&mut self, record: &KeyRecord) {
        self.0.remove(&(&record.owner, record.created_at, Some(&record.id)) as &dyn Placed);
    }

    /// The keys of `owner` after `after`.
    pub(super) fn keys<'a>(
        &'a self,
        owner: &'a Owner,
        after: Option<&Cursor>,
    ) -> impl Iterator<Item = &'a Arc<KeyRecord>> {
        let start = match after {
            Some(cursor) => (owner, cursor.created_at, Some(&cursor.id)),
            None => (owner, Timestamp::from_unix_millis(0), None),
        };
        let start: Bound<&dyn Placed> = Bound::Excluded(&start);
        let listed = self.0.range::<dyn Placed, _>((start, Bound::Unbounded));
        listed.map(|Listed(record)| record).take_while(move |record| record.owner == *owner)
    }

    /// The keys of `owner` before `before`, newest first.
    pub(super) fn newest_keys<'a>(
        &'a self,
        owner: &'a Owner,
        before: Option<&Cursor>,
    ) -> impl Iterator<Item = &'a Arc<KeyRecord>> {
        let end = match before {
            Some(cursor) => (owner, cursor.created_at, Some(&cursor.id)),
            // No key was made at the end of time.
            None => (owner, Timestamp::from_unix_millis(u64::MAX), None),
        };
        let end: Bound<&dyn Placed> = Bound::Excluded(&end);
        let listed = self.0.range::<dyn Placed, _>((Bound::Unbounded, end)).rev();
        listed.map(|Listed(record)| record).take_while(move |record| record.owner == *owner)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<KeyRecord>> {
        self.0.iter().map(|Listed(record)| record)
    }

    /// The `count` oldest keys of all owners after `after`, of those that match. Looks at every key.
    pub(super) fn oldest(
        &self,
        after: Option<&Cursor>,
        count: usize,
        matches: impl Fn(&&Arc<KeyRecord>) -> bool,
    ) -> Vec<Arc<KeyRecord>> {
        let keys = self.all().filter(matches).map(Aged);
        let first = first(keys.filter(|key| after.is_none_or(|after| key.age() > *after)), count);
        first.into_iter().map(|Aged(record)| record.clone()).collect()
    }

    /// The `count` newest keys of all owners before `before`, of those that match. Looks at every key.
    pub(super) fn newest(
        &self,
        before: Option<&Cursor>,
        count: usize,
        matches: impl Fn(&&Arc<KeyRecord>) -> bool,
    ) -> Vec<Arc<KeyRecord>> {
        let keys = self.all().filter(matches).map(Aged);
        let keys = keys.filter(|key| before.is_none_or(|before| key.age() < *before));
        first(keys.map(Reverse), count).into_iter().map(|Reverse(Aged(record))| record.clone()).collect()
    }
}

/// The `count` first of all, in their order.
fn first<T: Ord>(all: impl Iterator<Item = T>, count: usize) -> Vec<T> {
    let mut first = BinaryHeap::new();
    for item in all {
        first.push(item);
        if first.len() > count {
            first.pop();
        }
    }
    first.into_sorted_vec()
}

/// A record in the order of all owners' keys.
struct Aged<'a>(&'a Arc<KeyRecord>);

impl Aged<'_> {
    fn age(&self) -> Cursor {
        Cursor::behind(self.0)
    }
}

impl PartialEq for Aged<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.age() == other.age()
    }
}

impl Eq for Aged<'_> {}

impl PartialOrd for Aged<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Aged<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.age().cmp(&other.age())
    }
}

impl Placed for Listed {
    fn place(&self) -> Place<'_> {
        (&self.0.owner, self.0.created_at, Some(&self.0.id))
    }
}

impl Placed for Place<'_> {
    fn place(&self) -> Place<'_> {
        *self
    }
}

impl<'a> Borrow<dyn Placed + 'a> for Listed {
    fn borrow(&self) -> &(dyn Placed + 'a) {
        self
    }
}

impl PartialEq for dyn Placed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn Placed + '_ {}

impl PartialOrd for dyn Placed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Placed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Listed {}

impl PartialOrd for Listed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Listed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}
