mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[allow(dead_code)]
#[path = "../../../src/store/cached/generations.rs"]
pub(crate) mod generations;
