use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::log;
use crate::store::{KeyAdministration, KeyStore, StoreError};
use crate::timer::sleep;

/// Records when keys are used, and writes it to a store periodically instead of on each request.
///
/// [`ApiKeysBuilder::record_last_use`](crate::ApiKeysBuilder::record_last_use) records, and
/// [`ApiKeys::background`](crate::ApiKeys::background) writes: only the last use of each key, and many keys in one
/// statement. [`last_used_at`](crate::key::KeyRecord::last_used_at) has the result.
///
/// The stored time lags by up to the time between two writes, and uses since the last write are lost when a process
/// is killed. Each process writes the uses it has seen; a store keeps the latest.
#[derive(Clone, Default)]
pub(crate) struct LastUse(Arc<papaya::HashMap<KeyId, Note>>);

/// When a key was last used. Kept for a while after it was written, so that recording a busy key does not allocate.
struct Note {
    /// Milliseconds since the Unix epoch, or [`GONE`].
    used: AtomicU64,
    /// The time that the store has.
    written: AtomicU64,
}

/// Marks a note that is being removed. A use recorded in it now would be lost.
const GONE: u64 = u64::MAX;

/// The number of keys in one statement.
const BATCH: usize = 1000;

impl LastUse {
    /// The time between two writes.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

    /// An empty record.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Records a use of the key. The assembly calls it automatically.
    ///
    /// Does not wait, and allocates only for a key that was not used lately.
    pub(crate) fn note(&self, id: &KeyId, at: Timestamp) {
        let at = at.as_unix_millis().min(GONE - 1);
        let notes = self.0.pin();
        loop {
            let note = match notes.get(id) {
                Some(note) => note,
                None => notes.get_or_insert_with(*id, || Note { used: at.into(), written: 0.into() }),
            };
            let used = note.used.load(Ordering::Acquire);
            // Most requests with a busy key arrive in the same millisecond as another, and return here.
            if used != GONE && (used >= at || note.used.fetch_max(at, Ordering::AcqRel) != GONE) {
                return;
            }
            let _ = notes.remove_if(id, |_, note| note.is_gone());
        }
    }

    /// Writes the uses that are not written yet. After an error they are written next time.
    pub(crate) async fn write_to(&self, store: &(impl KeyStore + ?Sized)) -> Result<(), StoreError> {
        let (unwritten, idle) = self.sort();
        for batch in unwritten.chunks(BATCH) {
            store.record_last_use(batch).await?;
            let notes = self.0.pin();
            for (id, at) in batch {
                if let Some(note) = notes.get(id) {
                    note.written.fetch_max(at.as_unix_millis(), Ordering::AcqRel);
                }
            }
        }
        self.forget(&idle);
        Ok(())
    }

    /// Writes every ten seconds, and retries after errors.
    pub(crate) async fn keep_writing_to(self, store: Arc<dyn KeyAdministration>) {
        loop {
            sleep(Self::INTERVAL).await;
            if let Err(error) = self.write_to(&store).await {
                log::last_use_not_written(&error);
            }
        }
    }

    /// The uses to write, and the keys that were not used since the last write.
    fn sort(&self) -> (Vec<(KeyId, Timestamp)>, Vec<KeyId>) {
        let (mut unwritten, mut idle) = (Vec::new(), Vec::new());
        for (id, note) in &self.0.pin() {
            match note.used.load(Ordering::Acquire) {
                GONE => {}
                used if used > note.written.load(Ordering::Acquire) => {
                    unwritten.push((*id, Timestamp::from_unix_millis(used)));
                }
                _ => idle.push(*id),
            }
        }
        (unwritten, idle)
    }

    fn forget(&self, idle: &[KeyId]) {
        let notes = self.0.pin();
        for id in idle {
            let Some(note) = notes.get(id) else { continue };
            let written = note.written.load(Ordering::Acquire);
            // Not if the key was used just now.
            if note.used.compare_exchange(written, GONE, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                let _ = notes.remove_if(id, |_, note| note.is_gone());
            }
        }
    }
}

impl Note {
    fn is_gone(&self) -> bool {
        self.used.load(Ordering::Acquire) == GONE
    }
}

impl fmt::Debug for LastUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastUse").field("noted", &self.0.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyRecord, Mode, Owner, Peppers};
    use crate::store::{KeySelector, Lookup, MemoryStore, StoreErrorKind};

    const CREATED: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

    fn id(text: &str) -> KeyId {
        text.parse().unwrap()
    }

    async fn store_with(ids: &[&str]) -> MemoryStore {
        let store = MemoryStore::new();
        for text in ids {
            let (owner, digest) = (Owner::system(Mode::Live), Peppers::none().digest(text));
            store.insert(KeyRecord::new(id(text), owner, digest, CREATED), None).await.unwrap();
        }
        store
    }

    async fn last_use(store: &MemoryStore, text: &str) -> Option<u64> {
        let found = store.find(KeySelector::Id(&id(text))).await.unwrap().unwrap();
        found.last_used_at.map(Timestamp::as_unix_millis)
    }

    fn note(notes: &LastUse, text: &str, at: u64) {
        notes.note(&id(text), Timestamp::from_unix_millis(at));
    }

    #[tokio::test]
    async fn only_the_last_of_many_uses_is_written_once() {
        let (notes, store) = (LastUse::new(), store_with(&["a", "b"]).await);
        for (key, at) in [("a", 5), ("b", 7), ("a", 9), ("a", 8), ("unknown", 3)] {
            note(&notes, key, at);
        }
        assert_eq!(last_use(&store, "a").await, None, "no request writes");
        notes.write_to(&store).await.unwrap();
        assert_eq!((last_use(&store, "a").await, last_use(&store, "b").await), (Some(9), Some(7)));

        let (unwritten, idle) = notes.sort();
        assert_eq!((unwritten.len(), idle.len()), (0, 3));
        notes.write_to(&store).await.unwrap();
        assert!(notes.0.is_empty(), "keys that are no longer used are forgotten");
        note(&notes, "a", 4);
        note(&notes, "b", 11);
        notes.write_to(&store).await.unwrap();
        assert_eq!((last_use(&store, "a").await, last_use(&store, "b").await), (Some(9), Some(11)));
    }

    #[tokio::test]
    async fn uses_are_written_again_after_a_store_error() {
        struct Down;

        #[async_trait::async_trait]
        impl KeyStore for Down {
            fn find(&self, _: KeySelector<'_>) -> Lookup {
                Lookup::ready(Ok(None))
            }

            async fn record_last_use(&self, _: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
                Err(StoreError::new(StoreErrorKind::Unavailable))
            }
        }

        let (notes, store) = (LastUse::new(), store_with(&["a"]).await);
        note(&notes, "a", 5);
        notes.write_to(&Down).await.unwrap_err();
        notes.write_to(&store).await.unwrap();
        assert_eq!(last_use(&store, "a").await, Some(5));
    }

    #[test]
    fn no_use_is_lost_while_a_note_is_removed() {
        let notes = LastUse::new();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut latest = 0;
                while latest < 20_000 {
                    let (unwritten, idle) = notes.sort();
                    for (id, at) in unwritten {
                        latest = latest.max(at.as_unix_millis());
                        let pinned = notes.0.pin();
                        pinned.get(&id).unwrap().written.fetch_max(at.as_unix_millis(), Ordering::AcqRel);
                    }
                    notes.forget(&idle);
                }
                latest
            });
            (1..=20_000).for_each(|at| note(&notes, "a", at));
            assert_eq!(writer.join().unwrap(), 20_000);
        });
    }
}
