mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU16, AtomicU32, Ordering};

    const LOW: u64 = (1 << 24) - 1;

    /// Two words instead of one: the tick, above the low 24 bits, is read and written separately.
    #[derive(Debug)]
    pub(super) struct AtomicU64 {
        high: loom::sync::atomic::AtomicU64,
        low: loom::sync::atomic::AtomicU64,
    }

    impl AtomicU64 {
        pub(super) fn new(word: u64) -> Self {
            let half = loom::sync::atomic::AtomicU64::new;
            Self { high: half(word & !LOW), low: half(word & LOW) }
        }

        pub(super) fn load(&self, order: Ordering) -> u64 {
            self.high.load(order) | self.low.load(order)
        }

        pub(super) fn fetch_sub(&self, count: u64, order: Ordering) -> u64 {
            self.low.fetch_sub(count, order)
        }

        pub(super) fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            if new & !LOW != current & !LOW {
                self.high.fetch_max(new & !LOW, success);
            }
            match self.low.compare_exchange(current & LOW, new & LOW, success, failure) {
                Ok(_) => Ok(current),
                Err(_) => Err(self.load(failure)),
            }
        }
    }
}

#[allow(dead_code)]
#[path = "../../../src/limit/window/sliding.rs"]
pub(crate) mod sliding;
