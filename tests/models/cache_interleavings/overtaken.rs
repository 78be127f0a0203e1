mod atomic {
    pub(super) use loom::sync::atomic::Ordering;

    /// Does not keep the greatest value: the last write wins.
    #[derive(Debug)]
    pub(super) struct AtomicU64(loom::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub(super) fn new(word: u64) -> Self {
            Self(loom::sync::atomic::AtomicU64::new(word))
        }

        pub(super) fn load(&self, order: Ordering) -> u64 {
            self.0.load(order)
        }

        pub(super) fn fetch_add(&self, count: u64, order: Ordering) -> u64 {
            self.0.fetch_add(count, order)
        }

        pub(super) fn fetch_max(&self, word: u64, order: Ordering) -> u64 {
            self.0.swap(word, order)
        }
    }
}

#[allow(dead_code)]
#[path = "../../../src/store/cached/generations.rs"]
pub(crate) mod generations;
