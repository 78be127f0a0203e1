//! Subjects with their windows, and how one is found among them.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use papaya::{Equivalent, HashSet};

use super::Subject;
use super::occupancy::Occupancy;

pub(super) type HeldSet<W> = HashSet<Held<W>, BuildHasherDefault<Spread>>;

/// A subject with its windows, what a check reads first in front.
#[repr(C)]
pub(super) struct Held<W> {
    subject: Subject,
    hash: u32,
    pub(super) occupancy: Occupancy,
    pub(super) windows: W,
}

/// A subject to look up. It is hashed once, for the shard and for the set: hashed twice, a check takes 7 % longer.
pub(super) struct Name<'a> {
    subject: &'a Subject,
    hash: u32,
}

/// Spreads a 32-bit hash over 64 bits: the set takes its slot from the lowest bits and its tag from the highest seven.
#[derive(Default)]
pub(super) struct Spread(u64);

impl<'a> Name<'a> {
    #[inline]
    pub(super) fn new(subject: &'a Subject, hasher: &impl BuildHasher) -> Self {
        Self { subject, hash: hasher.hash_one(subject) as u32 }
    }

    /// The index of its shard; `shards` is a power of two up to 256. Taken from the highest bits of the hash, which do not
    /// decide on the slot in the set, so that the subjects of a shard are spread over its slots.
    #[inline]
    pub(super) fn shard(&self, shards: usize) -> usize {
        (self.hash >> 24) as usize & (shards - 1)
    }

    pub(super) fn with_windows<W>(&self, windows: W) -> Held<W> {
        Held { subject: self.subject.clone(), hash: self.hash, occupancy: Occupancy::new(), windows }
    }
}

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.hash);
    }
}

impl<W> Equivalent<Held<W>> for Name<'_> {
    #[inline]
    fn equivalent(&self, held: &Held<W>) -> bool {
        *self.subject == held.subject
    }
}

impl<W> Hash for Held<W> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.hash);
    }
}

impl<W> PartialEq for Held<W> {
    fn eq(&self, other: &Self) -> bool {
        self.subject == other.subject
    }
}

impl<W> Eq for Held<W> {}

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a hash of 32 bits is written")
    }

    #[inline]
    fn write_u32(&mut self, hash: u32) {
        self.0 = u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
