//! Model checks the removal of idle windows: the very source of their occupancy, on loom's atomics, in every order threads
//! can take its steps.
//!
//! A shard has one subject and a window that is a plain number. Whether the map holds it is a flag, which changes under the
//! lock for newcomers only, as in the limiter; a check may have found it before and come to count only now.

// Several builds of one source are the point.
#![allow(clippy::duplicate_mod)]

mod overlooked;
mod sound;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};

/// What the scenarios need of the source, whichever build it is.
trait Source: Send + Sync + 'static {
    fn new() -> Self;
    fn visit(&self, count: impl FnOnce()) -> bool;
    fn retire(&self, is_idle: impl FnOnce() -> bool) -> bool;
}

macro_rules! build {
    ($build:ident) => {
        impl Source for $build::occupancy::Occupancy {
            fn new() -> Self {
                Self::new()
            }

            fn visit(&self, count: impl FnOnce()) -> bool {
                let visit = self.enter();
                if visit.is_some() {
                    count();
                }
                visit.is_some()
            }

            fn retire(&self, is_idle: impl FnOnce() -> bool) -> bool {
                self.retire(is_idle)
            }
        }
    };
}

build!(sound);
build!(overlooked);

struct Shard<O> {
    occupancy: O,
    window: AtomicU32,
    /// Whether the map holds the window.
    newcomers: Mutex<bool>,
}

impl<O: Source> Shard<O> {
    fn new(count: u32) -> Arc<Self> {
        let (occupancy, window) = (O::new(), AtomicU32::new(count));
        Arc::new(Self { occupancy, window, newcomers: Mutex::new(true) })
    }

    fn count(&self) {
        self.window.fetch_add(1, Ordering::Relaxed);
    }

    /// A check that has found the window in the map. Returns how much it counted there; after the window is removed, it
    /// counts in another one.
    fn check(&self) -> u32 {
        if self.occupancy.visit(|| self.count()) {
            return 1;
        }
        let is_held = self.newcomers.lock().unwrap();
        if *is_held {
            self.count();
        }
        u32::from(*is_held)
    }

    fn sweep(&self) {
        let mut is_held = self.newcomers.lock().unwrap();
        let is_idle = || self.window.load(Ordering::Relaxed) == 0;
        if *is_held && self.occupancy.retire(is_idle) {
            *is_held = false;
        }
    }

    /// To be called when all threads have ended.
    fn assert_sound(&self, counted: u32) {
        let count = self.window.load(Ordering::Relaxed);
        assert_eq!(count, counted, "a count was lost");
        let is_held = *self.newcomers.lock().unwrap();
        assert!(is_held || count == 0, "counted in a window that is removed");
        assert_eq!(self.occupancy.visit(|| {}), is_held, "held but not usable, or usable but not held");
        assert!(!is_held || self.occupancy.retire(|| true), "a visit has not ended");
    }
}

/// Two check and one sweeps twice.
fn checks_meet_sweeps<O: Source>(count: u32) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let shard = Shard::<O>::new(count);
        let others = [(); 2].map(|()| {
            let shard = shard.clone();
            loom::thread::spawn(move || shard.check())
        });
        shard.sweep();
        shard.sweep();
        let counted: u32 = others.into_iter().map(|other| other.join().unwrap()).sum();
        shard.assert_sound(count + counted);
    });
}

#[test]
fn nothing_is_counted_in_a_window_that_is_removed() {
    checks_meet_sweeps::<sound::occupancy::Occupancy>(0);
}

#[test]
fn a_window_that_is_not_idle_stays_and_is_used() {
    checks_meet_sweeps::<sound::occupancy::Occupancy>(1);
}

/// The proof that the first test can fail: the same source over an atomic whose exchange is a load and then a write.
#[test]
#[should_panic(expected = "counted in a window that is removed")]
fn a_visit_that_is_overlooked_is_caught() {
    checks_meet_sweeps::<overlooked::occupancy::Occupancy>(0);
}
