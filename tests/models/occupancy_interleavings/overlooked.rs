mod atomic {
    pub(super) use loom::sync::atomic::Ordering;

    /// Looks first and writes then: a visit that begins in between is overlooked.
    #[derive(Debug)]
    pub(super) struct AtomicU32(loom::sync::atomic::AtomicU32);

    impl AtomicU32 {
        pub(super) fn new(word: u32) -> Self {
            Self(loom::sync::atomic::AtomicU32::new(word))
        }

        pub(super) fn fetch_add(&self, count: u32, order: Ordering) -> u32 {
            self.0.fetch_add(count, order)
        }

        pub(super) fn fetch_sub(&self, count: u32, order: Ordering) -> u32 {
            self.0.fetch_sub(count, order)
        }

        pub(super) fn compare_exchange(
            &self,
            current: u32,
            new: u32,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u32, u32> {
            let seen = self.0.load(failure);
            if seen != current {
                return Err(seen);
            }
            Ok(self.0.fetch_add(new - current, success))
        }
    }
}

#[path = "../../../src/limit/occupancy.rs"]
pub(crate) mod occupancy;
