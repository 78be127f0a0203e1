mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
}

#[path = "../../../src/limit/occupancy.rs"]
pub(crate) mod occupancy;
