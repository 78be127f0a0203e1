//! Model checks the cache's generations: the crate's own source, with loom's atomics, in every interleaving of
//! threads.
//!
//! The store is one number, the version of one key. It answers immediately, but anything may happen between the
//! moments at which a reader reads the generation, asks the store and puts the answer into the cache.

// Several builds of one source are intended.
#![allow(clippy::duplicate_mod)]

mod overtaken;
mod sound;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The interface of the source that the scenarios need, for each build.
trait Source: Send + Sync + 'static {
    fn new() -> Self;
    fn latest(&self) -> u64;
    fn change(&self);
    fn is_current(&self, generation: u64) -> bool;
}

macro_rules! build {
    ($build:ident) => {
        impl Source for $build::generations::Generations {
            fn new() -> Self {
                Self::new(1)
            }

            fn latest(&self) -> u64 {
                self.latest()
            }

            fn change(&self) {
                self.change(0);
            }

            fn is_current(&self, generation: u64) -> bool {
                self.is_current(0, generation)
            }
        }
    };
}

build!(sound);
build!(overtaken);

/// A node: the store's version, and a cache of one entry, which is the version and the generation in one word.
struct Node<G> {
    generations: G,
    stored: AtomicU64,
    entry: AtomicU64,
    answered: AtomicBool,
}

impl<G: Source> Node<G> {
    fn new() -> Arc<Self> {
        let node = Self {
            generations: G::new(),
            stored: AtomicU64::new(1),
            entry: AtomicU64::new(0),
            answered: AtomicBool::new(false),
        };
        node.load();
        Arc::new(node)
    }

    /// A miss: asks the store and keeps the answer.
    fn load(&self) {
        let generation = self.generations.latest();
        self.keep(self.stored.load(Ordering::Acquire), generation);
    }

    fn keep(&self, version: u64, generation: u64) {
        if self.generations.is_current(generation) {
            self.entry.store(generation << 8 | version, Ordering::Release);
        }
    }

    /// A hit, if it is one.
    fn held(&self) -> Option<u64> {
        let entry = self.entry.load(Ordering::Acquire);
        (entry != 0 && self.generations.is_current(entry >> 8)).then_some(entry & 0xFF)
    }

    fn revoke(&self) {
        self.stored.fetch_add(1, Ordering::AcqRel);
        self.generations.change();
        self.answered.store(true, Ordering::Release);
    }

    fn assert_not_stale(&self) {
        if self.answered.load(Ordering::Acquire) {
            assert!(self.held().is_none_or(|version| version > 1), "an answered revocation is not seen");
        }
    }
}

fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(scenario);
}

fn spawn<G: Source>(
    node: &Arc<Node<G>>,
    run: impl FnOnce(&Node<G>) + 'static,
) -> loom::thread::JoinHandle<()> {
    let node = node.clone();
    loom::thread::spawn(move || run(&node))
}

/// One thread revokes, one loads, one looks up.
fn a_load_meets_a_revocation<G: Source>(load: fn(&Node<G>)) {
    explore(move || {
        let node = Node::<G>::new();
        let others = [spawn(&node, Node::revoke), spawn(&node, load)];
        node.assert_not_stale();
        for other in others {
            other.join().unwrap();
        }
        node.assert_not_stale();
        // A new read is kept: a change invalidates only what was read before it.
        node.load();
        assert_eq!(node.held(), Some(2));
    });
}

#[test]
fn no_load_outlives_a_revocation_that_it_began_before() {
    a_load_meets_a_revocation::<sound::generations::Generations>(Node::load);
}

/// Proves that the test above can fail: the generation is read after the store has answered.
#[test]
#[should_panic(expected = "an answered revocation is not seen")]
fn a_generation_noted_too_late_is_caught() {
    a_load_meets_a_revocation::<sound::generations::Generations>(|node| {
        let version = node.stored.load(Ordering::Acquire);
        let generation = node.generations.latest();
        node.keep(version, generation);
    });
}

/// Two changes of one slot at the same time: the key's own, and one of a key that shares it.
fn two_changes_meet<G: Source>() {
    explore(|| {
        let node = Node::<G>::new();
        let neighbour = spawn(&node, |node| node.generations.change());
        let reader = spawn(&node, Node::load);
        node.revoke();
        neighbour.join().unwrap();
        reader.join().unwrap();
        node.assert_not_stale();
    });
}

#[test]
fn two_changes_of_one_slot_both_count() {
    two_changes_meet::<sound::generations::Generations>();
}

/// Proves that the test above can fail: the same source with an atomic that keeps the last write.
#[test]
#[should_panic(expected = "an answered revocation is not seen")]
fn a_later_change_overtaken_by_an_earlier_one_is_caught() {
    two_changes_meet::<overtaken::generations::Generations>();
}

/// A key was revoked elsewhere while the channel was away, and the channel is back.
#[test]
fn nothing_read_before_the_channel_was_back_is_held() {
    explore(|| {
        let node = Node::<sound::generations::Generations>::new();
        let others = [
            spawn(&node, |node| {
                node.stored.fetch_add(1, Ordering::AcqRel);
                node.generations.connect();
                node.answered.store(true, Ordering::Release);
            }),
            spawn(&node, Node::load),
        ];
        node.assert_not_stale();
        for other in others {
            other.join().unwrap();
        }
        node.assert_not_stale();
    });
}
