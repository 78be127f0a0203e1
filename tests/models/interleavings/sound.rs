mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
}

#[allow(dead_code)]
#[path = "../../../src/limit/window/sliding.rs"]
pub(crate) mod sliding;
