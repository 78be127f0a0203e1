//! Model checks the sliding window: the crate's own source, with loom's atomics, in every interleaving of threads.
//!
//! Windows are as small as possible: a span of one tick (two cells) and limits of one or two.

// Two builds of one source are intended.
#![allow(clippy::duplicate_mod)]

mod sound;
mod torn;

type Sliding = sound::sliding::Sliding<2>;

/// `[(tick, cost)]`: fails if more than `limit` was admitted in a tick and the `span` ticks before it.
fn assert_within(limit: u32, span: u64, admitted: &[(u64, u32)]) {
    for (last, _) in admitted {
        let in_window = |(tick, _): &&(u64, u32)| (last.saturating_sub(span)..=*last).contains(tick);
        let sum: u32 = admitted.iter().filter(in_window).map(|(_, cost)| cost).sum();
        assert!(sum <= limit, "more than the limit in one window: {admitted:?}");
    }
}

fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(scenario);
}

/// One request admitted at tick 0 fills the window. Concurrently, one thread checks at tick 1, where it counts, and
/// one at tick 2, where it has expired.
macro_rules! edge {
    ($sliding:ty) => {
        || {
            let window = std::sync::Arc::new(<$sliding>::new(1, 0));
            let first = window.check(0, 1, 1);
            assert!(first.admitted && !window.check(1, 1, 1).admitted);
            let late = {
                let window = window.clone();
                loom::thread::spawn(move || window.check(1, 1, 1))
            };
            let mut admitted = vec![(first.tick, 1)];
            let readings = [window.check(2, 1, 1), late.join().unwrap()];
            admitted
                .extend(readings.iter().filter(|reading| reading.admitted).map(|reading| (reading.tick, 1)));
            $crate::interleavings::assert_within(1, 1, &admitted);
            // Nothing is lost or left: at rest the total is the admitted cost, and it expires.
            assert_eq!(window.peek(2, 1, 1).used, admitted[1..].iter().map(|(_, cost)| cost).sum::<u32>());
            assert!(window.is_idle(4));
        }
    };
}

#[test]
fn never_more_than_the_limit_across_a_tick_edge() {
    explore(edge!(Sliding));
}

/// Proves that the test above can fail: the same source with a gate whose tick and total are two words.
#[test]
#[should_panic(expected = "more than the limit in one window")]
fn a_gate_torn_in_two_is_caught() {
    explore(edge!(torn::sliding::Sliding<2>));
}

#[test]
fn two_threads_in_one_tick_share_the_limit() {
    explore(|| {
        let window = std::sync::Arc::new(Sliding::new(1, 0));
        let other = {
            let window = window.clone();
            loom::thread::spawn(move || window.check(1, 2, 2))
        };
        let here = window.check(1, 2, 1);
        let there = other.join().unwrap();
        assert!(here.admitted != there.admitted, "exactly one fits");
        assert_eq!(window.peek(1, 2, 0).used, if here.admitted { 1 } else { 2 });
        assert!(window.is_idle(3));
    });
}

/// Concurrently: a refund, an admission in the tick in which the refunded cost expires, and the reclaiming of its
/// cell.
#[test]
fn a_refund_across_a_tick_edge_frees_once() {
    explore(|| {
        let window = std::sync::Arc::new(Sliding::new(1, 0));
        let first = window.check(0, 2, 1);
        let kept = window.check(0, 2, 1);
        assert!(first.admitted && kept.admitted);
        let other = {
            let window = window.clone();
            loom::thread::spawn(move || window.refund(first.tick, 1))
        };
        let next = window.check(2, 2, 1);
        other.join().unwrap();
        assert!(next.admitted, "two had expired");
        let full = window.check(2, 2, 1);
        assert!(full.admitted, "one of two counts");
        assert!(!window.check(2, 2, 1).admitted, "neither the refund nor the reclaim freed twice");
        assert!(window.is_idle(4));
    });
}

/// A thread reserves at tick 0 and may be suspended before it records, while another runs for more than a window.
#[test]
fn a_thread_that_stops_for_a_window_leaves_nothing_behind() {
    explore(|| {
        let window = std::sync::Arc::new(Sliding::new(1, 0));
        let slow = {
            let window = window.clone();
            loom::thread::spawn(move || window.check(0, 1, 1))
        };
        let mut admitted = Vec::new();
        for tick in [2, 4] {
            let reading = window.check(tick, 1, 1);
            if reading.admitted {
                admitted.push((reading.tick, 1));
            }
        }
        let slow = slow.join().unwrap();
        if slow.admitted {
            admitted.push((slow.tick, 1));
        }
        assert_within(1, 1, &admitted);
        assert!(window.is_idle(8), "whatever was recorded late has left with the next turn of the ring");
        assert!(window.check(8, 1, 1).admitted);
    });
}

/// A thread reserves at tick 0 and may record that after the cell of tick 0 was emptied, and before it is used for tick 2.
#[test]
fn what_is_recorded_late_is_freed_where_its_cell_is_used_again() {
    explore(|| {
        let window = std::sync::Arc::new(Sliding::new(1, 0));
        let slow = {
            let window = window.clone();
            loom::thread::spawn(move || window.check(0, 2, 1))
        };
        assert!(window.check(2, 2, 1).admitted);
        let slow = slow.join().unwrap();
        assert!(slow.admitted);
        assert_eq!(window.peek(2, 2, 1).used, if slow.tick == 0 { 1 } else { 2 });
        assert!(window.is_idle(4));
    });
}

/// A thread is suspended while it empties a cell, and finds the same bits 4096 ticks later, which then mean a live
/// count: slot, tag and count agree.
#[test]
fn a_thread_that_stops_until_tags_recur_frees_nothing() {
    explore(|| {
        let window = std::sync::Arc::new(Sliding::new(1, 0));
        assert!(window.check(0, 1, 1).admitted);
        let slow = {
            let window = window.clone();
            loom::thread::spawn(move || window.peek(2, 1, 1))
        };
        if window.peek(2, 1, 1).used > 0 {
            // The slow thread has already taken the count out of the cell, which is not the case tested here.
            slow.join().unwrap();
            return;
        }
        assert!(window.check(4096, 1, 1).admitted);
        slow.join().unwrap();
        assert!(!window.check(4096, 1, 1).admitted, "what the slow thread took out still counts");
        assert!(window.is_idle(4098));
    });
}

/// A thread is suspended while it empties the cell of tick 0, which by then belongs to tick 2, and the gate shows
/// tick 3.
#[test]
fn a_slow_reclaim_leaves_a_newer_count_alone() {
    explore(|| {
        let window = std::sync::Arc::new(Sliding::new(1, 0));
        assert!(window.check(0, 1, 1).admitted);
        let slow = {
            let window = window.clone();
            loom::thread::spawn(move || window.peek(2, 1, 1))
        };
        let newer = window.check(2, 1, 1).admitted;
        let newest = window.check(3, 1, 1).admitted;
        slow.join().unwrap();
        assert!(!(newer && newest), "tick 2 counts in tick 3");
        assert!(!window.check(3, 1, 1).admitted || !(newer || newest), "more than the limit in one window");
    });
}

/// Concurrently: an operator who forgets, and a request in the tick in which what is forgotten expires.
#[test]
fn what_is_forgotten_while_it_expires_is_freed_once() {
    explore(|| {
        let window = std::sync::Arc::new(Sliding::new(1, 0));
        assert!(window.check(0, 2, 2).admitted);
        let forgets = {
            let window = window.clone();
            loom::thread::spawn(move || window.forget())
        };
        // Denied if what is taken out of a cell is not freed yet.
        let next = window.check(2, 2, 1);
        forgets.join().unwrap();
        let used = window.peek(2, 2, 0).used;
        assert!(used <= u32::from(next.admitted), "{used}");
        let room = (0..3).filter(|_| window.check(2, 2, 1).admitted).count();
        assert_eq!(room as u32, 2 - used, "neither freed twice");
        assert!(window.is_idle(4));
    });
}

/// Concurrently: an operator who forgets, a refund, and a request.
#[test]
fn what_is_forgotten_and_refunded_is_freed_once() {
    explore(|| {
        let window = std::sync::Arc::new(Sliding::new(1, 0));
        let first = window.check(0, 2, 1);
        assert!(first.admitted && window.check(0, 2, 1).admitted);
        let [forgets, refunds] = [true, false].map(|forgets| {
            let window = window.clone();
            loom::thread::spawn(move || if forgets { window.forget() } else { window.refund(first.tick, 1) })
        });
        let next = window.check(0, 2, 2);
        forgets.join().unwrap();
        refunds.join().unwrap();
        let used = window.peek(0, 2, 0).used;
        assert!(used <= if next.admitted { 2 } else { 0 }, "{used}");
        let room = (0..3).filter(|_| window.check(0, 2, 1).admitted).count();
        assert_eq!(room as u32, 2 - used, "nothing is freed twice");
        assert!(window.is_idle(2));
    });
}
