//! Records indexed by identifier and by digest. The index reads both from the record, so that it holds only pointers.

use std::borrow::Borrow;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use papaya::ResizeMode;

use crate::key::{Digest, KeyId, KeyRecord};

/// An insert replaces the record with the same identifier: papaya keeps an element in one allocation, and swaps it.
pub(super) type ById = papaya::HashSet<Identified, foldhash::fast::RandomState>;

/// Every digest that a lookup may find: of the current, previous and next secrets.
pub(super) type ByDigest = papaya::HashSet<Digested, BuildHasherDefault<DigestHasher>>;

/// Resizes incrementally, a part with each write. The parts are large, so that two tables exist only for a short
/// time.
pub(super) fn set<T, S: Default>() -> papaya::HashSet<T, S> {
    papaya::HashSet::builder().hasher(S::default()).resize_mode(ResizeMode::Incremental(1024)).build()
}

pub(super) struct Identified(pub(super) Arc<KeyRecord>);

/// A record by one of its digests.
pub(super) struct Digested {
    pub(super) record: Arc<KeyRecord>,
    secret: Secret,
}

#[derive(Clone, Copy)]
enum Secret {
    InUse,
    Previous,
    Next,
}

impl Digested {
    pub(super) fn all(record: &Arc<KeyRecord>) -> impl Iterator<Item = Self> {
        let previous = record.extras.previous.as_ref().map(|_| Secret::Previous);
        let next = record.extras.next.as_ref().map(|_| Secret::Next);
        let secrets = [Some(Secret::InUse), previous, next].into_iter().flatten();
        secrets.map(|secret| Self { record: record.clone(), secret })
    }
}

impl Borrow<KeyId> for Identified {
    fn borrow(&self) -> &KeyId {
        &self.0.id
    }
}

impl Borrow<Digest> for Digested {
    fn borrow(&self) -> &Digest {
        let other = match self.secret {
            Secret::InUse => None,
            Secret::Previous => self.record.extras.previous.as_ref().map(|previous| &previous.digest),
            Secret::Next => self.record.extras.next.as_ref().map(|next| &next.digest),
        };
        other.unwrap_or(&self.record.digest)
    }
}

impl PartialEq for Identified {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<KeyId>::borrow(self) == other.borrow()
    }
}

impl Eq for Identified {}

impl Hash for Identified {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<KeyId>::borrow(self).hash(state);
    }
}

impl PartialEq for Digested {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<Digest>::borrow(self) == other.borrow()
    }
}

impl Eq for Digested {}

impl Hash for Digested {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<Digest>::borrow(self).hash(state);
    }
}

/// Uses bytes of the digest as the hash: they are as good as random, and only the owner of the store inserts digests.
#[derive(Default)]
pub(super) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::key::{Mode, NextSecret, Owner, Peppers, PreviousSecret};

    const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

    #[test]
    fn an_insert_replaces_the_record_of_the_same_name() {
        let [digest, before, after] = ["now", "before", "after"].map(|secret| Peppers::none().digest(secret));
        let (by_id, by_digest): (ById, ByDigest) = (set(), set());
        for version in 0..3 {
            let mut record = KeyRecord::new("k1".parse().unwrap(), Owner::system(Mode::Live), digest, START);
            record.version = version;
            record.extras.previous = Some(PreviousSecret { digest: before, valid_until: START });
            let (hint, grace) = (String::new(), std::time::Duration::ZERO);
            record.extras.next = Some(Box::new(NextSecret { digest: after, hint, created_at: START, grace }));
            let record = Arc::new(record);
            by_id.pin().insert(Identified(record.clone()));
            assert_eq!(by_id.pin().get(&record.id).unwrap().0.version, version);
            for digested in Digested::all(&record) {
                by_digest.pin().insert(digested);
            }
            for digest in [digest, before, after] {
                assert_eq!(by_digest.pin().get(&digest).unwrap().record.version, version);
            }
            assert_eq!((by_id.len(), by_digest.len()), (1, 3));
        }
    }
}
