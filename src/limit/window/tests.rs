use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::{Concurrent, Counter, Exact, LongSliding, Reading, ShortSliding, Timeline, Window};
use crate::clock::Now;

/// Everything admitted and not refunded, with time and cost. The reference that windows are compared with.
#[derive(Default)]
struct Record(Vec<(u64, u32)>);

impl Record {
    /// Cost admitted in `(now - reach, now]`.
    fn sum(&self, now: u64, reach: u64) -> u32 {
        self.0.iter().filter(|(time, _)| time.saturating_add(reach) > now).map(|(_, cost)| cost).sum()
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    Check { limit: u32, cost: u32 },
    Refund(prop::sample::Index),
}

fn timeline() -> impl Strategy<Value = Timeline> {
    let windows = prop_oneof![Just(1_000), Just(10_000), Just(60_000), Just(300_000), 1_000u64..100_000];
    (windows, 0u64..5_000_000_000, 0u64..5_000_000_000).prop_map(|(millis, monotonic, unix)| {
        let now = Now::new(Duration::from_nanos(monotonic), Duration::from_nanos(unix));
        Timeline::new(Duration::from_millis(millis), now)
    })
}

/// Steps with times in millionths of the window: bursts, a few sub-windows, about a window, and more.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pass =
        prop_oneof![0u64..100, 0u64..60_000, 900_000u64..1_100_000, 0u64..5_000_000].prop_map(Step::Pass);
    let check = (1u32..=12, 0u32..=4).prop_map(|(limit, cost)| Step::Check { limit, cost: cost.min(limit) });
    let refund = any::<prop::sample::Index>().prop_map(Step::Refund);
    prop::collection::vec(prop_oneof![3 => pass, 5 => check, 1 => refund], 1..120)
}

/// Runs the steps; calls `verify` for each check with the record before it.
fn walk<W: Window>(
    timeline: &Timeline,
    steps: &[Step],
    verify: impl Fn(&W, &Record, u64, (u32, u32), Reading) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut now = timeline.start(1_000);
    let window = W::new(timeline, now);
    let mut record = Record::default();
    let mut permits: Vec<(usize, u64, u32)> = Vec::new();
    for step in steps {
        match *step {
            Step::Pass(millionths) => now += timeline.window() / 1_000_000 * millionths,
            Step::Check { limit, cost } => {
                let peeked = window.peek(timeline, now, limit, cost);
                prop_assert_eq!(window.is_idle(timeline, now), peeked.used == 0, "idle iff nothing counts");
                let reading = window.check(timeline, now, limit, cost);
                prop_assert_eq!(peeked.admitted, reading.admitted);
                prop_assert_eq!(peeked.used + if reading.admitted { cost } else { 0 }, reading.used);
                verify(&window, &record, now, (limit, cost), reading)?;
                if reading.admitted {
                    permits.push((record.0.len(), reading.place, cost));
                    record.0.push((now, cost));
                }
            }
            Step::Refund(index) if !permits.is_empty() => {
                let (entry, place, cost) = permits.swap_remove(index.index(permits.len()));
                window.refund(place, cost);
                record.0[entry].1 = 0;
            }
            Step::Refund(_) => {}
        }
    }
    let later = now + 3 * timeline.window();
    prop_assert!(window.is_idle(timeline, later), "all expires");
    prop_assert_eq!(window.check(timeline, later, 5, 1).used, 1, "after a pause only the newest counts");
    Ok(())
}

/// A reading's instant is the first one at which its statement is true.
fn verify_instant<W: Window>(
    window: &W,
    timeline: &Timeline,
    now: u64,
    (limit, cost): (u32, u32),
    reading: Reading,
) -> Result<(), TestCaseError> {
    let Some(frees) = reading.frees else {
        prop_assert!(reading.admitted && reading.used == 0);
        return Ok(());
    };
    prop_assert!(frees > now);
    let on_time = window.snapshot().peek(timeline, frees, limit, cost);
    let too_early = window.snapshot().peek(timeline, frees - 1, limit, cost);
    if reading.admitted {
        prop_assert!(on_time.used < reading.used && too_early.used == reading.used);
    } else {
        prop_assert!(on_time.admitted && !too_early.admitted);
        prop_assert!(window.snapshot().check(timeline, frees, limit, cost).admitted, "a lone retry");
    }
    Ok(())
}

/// Never above the limit; never below it by more than one more sub-window held.
fn exact_to_one_sub_window<W: Window>(timeline: &Timeline, steps: &[Step]) -> Result<(), TestCaseError> {
    let (window_length, sub_window) = (timeline.window(), timeline.sub_window());
    // A span of sub-windows may be longer than the window by less than one of them.
    let reach = timeline.span() * sub_window + sub_window;
    prop_assert!(reach < window_length + 2 * sub_window);
    walk(timeline, steps, |window: &W, record, now, (limit, cost), reading| {
        let (least, most) = (record.sum(now, window_length), record.sum(now, reach));
        if reading.admitted {
            prop_assert!(least + cost <= limit, "more than the limit");
        } else {
            prop_assert!(most + cost > limit, "denied though even a longer window has room");
        }
        let used = reading.used - if reading.admitted { cost } else { 0 };
        prop_assert!((least..=most).contains(&used));
        verify_instant(window, timeline, now, (limit, cost), reading)
    })
}

proptest! {
    #[test]
    fn the_exact_window_admits_what_the_model_admits(timeline in timeline(), steps in steps()) {
        walk(&timeline, &steps, |window: &Exact, record, now, (limit, cost), reading| {
            let used = record.sum(now, timeline.window());
            prop_assert_eq!(reading.admitted, used + cost <= limit);
            prop_assert_eq!(reading.used, if reading.admitted { used + cost } else { used });
            verify_instant(window, &timeline, now, (limit, cost), reading)
        })?;
    }

    #[test]
    fn the_sliding_window_is_exact_to_one_sub_window(timeline in timeline(), steps in steps()) {
        exact_to_one_sub_window::<LongSliding>(&timeline, &steps)?;
        if timeline.span() <= ShortSliding::MAX_SPAN {
            exact_to_one_sub_window::<ShortSliding>(&timeline, &steps)?;
        }
    }

    /// At most the limit in an aligned window, hence at most twice the limit in any; `limit × (1 + f)` at a fraction
    /// `f`.
    #[test]
    fn the_counter_stays_within_its_bound(timeline in timeline(), steps in steps(), limit in 1u32..20) {
        let length = timeline.window();
        let steps: Vec<Step> = steps
            .into_iter()
            .map(|step| match step {
                Step::Check { cost, .. } => Step::Check { limit, cost: cost.min(limit) },
                step => step,
            })
            .collect();
        walk(&timeline, &steps, |window: &Counter, record, now, (limit, cost), reading| {
            let elapsed = now % length;
            if reading.admitted {
                prop_assert!(record.sum(now, elapsed + 1) + cost <= limit, "aligned window");
                let any_window = u128::from(record.sum(now, length) + cost) * u128::from(length);
                prop_assert!(any_window <= u128::from(limit) * u128::from(length + elapsed));
            } else {
                prop_assert!(record.sum(now, 2 * length) + cost > limit);
            }
            verify_instant(window, &timeline, now, (limit, cost), reading)
        })?;
    }

    #[test]
    fn the_counter_follows_a_changing_limit(timeline in timeline(), steps in steps()) {
        walk(&timeline, &steps, |window: &Counter, record, now, (limit, cost), reading| {
            let aligned = record.sum(now, now % timeline.window() + 1);
            prop_assert!(!reading.admitted || aligned + cost <= limit);
            verify_instant(window, &timeline, now, (limit, cost), reading)
        })?;
    }
}

fn minute() -> Timeline {
    Timeline::new(Duration::from_secs(60), Now::new(Duration::ZERO, Duration::ZERO))
}

fn sliding(timeline: &Timeline) -> impl Window {
    <ShortSliding as Window>::new(timeline, 0)
}

const SECOND: u64 = 1_000_000_000;

/// The example table of the sliding window: 3 in 60 seconds, sub-windows of one second.
#[test]
fn sixty_seconds_by_example() {
    let timeline = minute();
    let window = sliding(&timeline);
    let millis = |millis: u64| millis * 1_000_000;
    for (name, time, cost, admitted, used, frees) in [
        ("first", 1_000_000, 1, true, 1, 1_061_000),
        ("in the same second", 1_000_900, 1, true, 2, 1_061_000),
        ("later", 1_030_000, 1, true, 3, 1_061_000),
        ("full", 1_030_000, 1, false, 3, 1_061_000),
        ("two do not fit either", 1_030_000, 2, false, 3, 1_061_000),
        ("three fit only when the last has gone", 1_030_000, 3, false, 3, 1_091_000),
        ("still full in the last sub-window", 1_060_999, 1, false, 3, 1_061_000),
        ("freed when that is over", 1_061_000, 1, true, 2, 1_091_000),
        ("filled again", 1_061_000, 1, true, 3, 1_091_000),
        ("a time gone by is the latest one", 1_000_000, 1, false, 3, 1_091_000),
        ("after a long pause", 9_000_000, 1, true, 1, 9_061_000),
        ("in the same second", 9_000_900, 2, true, 3, 9_061_000),
        ("full again", 9_000_999, 1, false, 3, 9_061_000),
    ] {
        let reading = window.check(&timeline, millis(time), 3, cost);
        assert_eq!((reading.admitted, reading.used), (admitted, used), "{name}");
        assert_eq!(reading.frees, Some(millis(frees)), "{name}");
    }
}

/// Ticks whose low 12 bits and slot agree, 61 × 4096 seconds apart, and some nearby; and ticks whose low 8 bits agree
/// with those of the hint, which a pause leaves 61 ticks behind the gate.
#[test]
fn old_cells_are_not_taken_for_new_ones() {
    for apart in [61, 256, 61 + 256, 4_095, 4_096, 4_097, 61 * 4_096 - 1, 61 * 4_096, 61 * 4_096 + 1] {
        let timeline = minute();
        let window = sliding(&timeline);
        assert!(window.check(&timeline, 70 * SECOND, 5, 5).admitted);
        let reading = window.check(&timeline, (70 + apart) * SECOND, 5, 5);
        assert!(reading.admitted && reading.used == 5, "{apart} ticks apart");
        assert!(!window.check(&timeline, (70 + apart + 60) * SECOND, 5, 1).admitted);
        assert!(window.check(&timeline, (70 + apart + 61) * SECOND, 5, 5).admitted);
    }
}

#[test]
fn a_refund_after_the_window_has_passed_does_nothing() {
    fn verify<W: Window>(laters: [u64; 6]) {
        for later in laters {
            let timeline = minute();
            let window = W::new(&timeline, 0);
            let old = window.check(&timeline, 0, 5, 2);
            let new = window.check(&timeline, later * SECOND, 5, 5);
            assert!(old.admitted && new.admitted, "{window:?} {later}");
            window.refund(old.place, 2);
            assert_eq!(window.peek(&timeline, later * SECOND, 5, 1).used, 5, "{window:?} {later}");
        }
    }
    let laters = [61, 120, 121, 256, 61 + 256, 61 * 4_096];
    verify::<ShortSliding>(laters);
    verify::<LongSliding>(laters);
    verify::<Exact>(laters);
    // It still weighs the previous window, so advance one more.
    verify::<Counter>(laters.map(|later| later + 60));
}

#[test]
fn what_is_forgotten_does_not_count_and_what_follows_does() {
    fn verify<W: Window>() {
        let timeline = minute();
        let window = W::new(&timeline, 0);
        for (time, cost) in [(30, 200), (61, 100)] {
            assert!(window.check(&timeline, time * SECOND, 500, cost).admitted, "{window:?}");
        }
        window.forget();
        assert!(window.is_idle(&timeline, 62 * SECOND), "{window:?}");
        assert_eq!(window.check(&timeline, 62 * SECOND, 500, 400).used, 400, "{window:?}");
        assert_eq!(window.peek(&timeline, 63 * SECOND, 500, 1).used, 400, "{window:?}");
    }
    verify::<ShortSliding>();
    verify::<LongSliding>();
    verify::<Exact>();
    verify::<Counter>();
}

#[test]
fn what_costs_nothing_takes_no_room_in_the_exact_log() {
    let timeline = minute();
    let window = Exact::new(&timeline, 0);
    for second in 0..50 {
        assert!(window.check(&timeline, second * SECOND, 5, 0).admitted);
    }
    assert!(format!("{window:?}").contains("entries: []"), "{window:?}");
}

/// A limit at a time knows no time: what is under way ends when it is taken back.
#[test]
fn what_is_under_way_counts_until_it_is_taken_back() {
    let timeline = minute();
    let window = Concurrent::new(&timeline, 0);
    assert!(window.is_idle(&timeline, 0) && window.peek(&timeline, 0, 2, 2).admitted);
    assert!(!window.peek(&timeline, 0, 2, 3).admitted);
    let first = window.check(&timeline, 0, 2, 1);
    assert_eq!((first.admitted, first.used, first.frees), (true, 1, Some(SECOND)));
    assert_eq!(window.peek(&timeline, 0, 2, 1).used, 1);
    let denied = window.check(&timeline, 600 * SECOND, 2, 2);
    assert_eq!((denied.admitted, denied.used, denied.frees), (false, 1, Some(601 * SECOND)));
    window.forget();
    assert!(!window.is_idle(&timeline, 600 * SECOND));
    assert_eq!(window.snapshot().peek(&timeline, 0, 2, 1).used, 1);
    window.refund(first.place, 1);
    let idle = window.peek(&timeline, 600 * SECOND, 2, 1);
    assert!(window.is_idle(&timeline, 0) && idle.admitted && idle.frees.is_none());
}

#[test]
fn the_counter_treats_a_past_time_as_the_latest() {
    let timeline = minute();
    let window = Counter::new(&timeline, 600 * SECOND);
    assert!(window.check(&timeline, 600 * SECOND, 5, 5).admitted);
    for past in [599, 541, 0] {
        let late = window.check(&timeline, past * SECOND, 5, 1);
        assert_eq!((late.admitted, late.used), (false, 5), "{past}");
        let on_time = window.peek(&timeline, 600 * SECOND, 5, 1);
        assert_eq!((late.place, late.frees), (on_time.place, on_time.frees), "{past}");
    }
    assert!(!window.check(&timeline, 601 * SECOND, 5, 1).admitted);
}

#[test]
fn the_counter_takes_a_time_long_past_for_one_after_a_pause() {
    let timeline = minute();
    // Windows without a check, in 24 bits; or behind the latest one.
    for (from, to, is_late) in [
        (10, 12, false),
        (10, 1_000, false),
        (10, 20_000, false),
        (10, 10 + (1 << 24) - 1_025, false),
        (10, 10 + (1 << 24) - 1_024, true),
        (5_000, 4_999, true),
        (5_000, 5_000 - 1_024, true),
        (5_000, 5_000 - 1_025, false),
    ] {
        let window = Counter::new(&timeline, from * 60 * SECOND);
        assert!(window.check(&timeline, from * 60 * SECOND, 5, 5).admitted);
        let reading = window.check(&timeline, to * 60 * SECOND, 5, 5);
        assert_eq!(reading.admitted, !is_late, "from {from} to {to}");
    }
}

/// Threads share one window while time moves; some of them read the time and check only later.
#[test]
fn threads_never_exceed_the_limit() {
    fn verify<W: Window>(reach: u64) {
        const LIMIT: u32 = 50;
        let timeline = minute();
        let window = W::new(&timeline, 0);
        let clock = AtomicU64::new(100 * SECOND);
        let admitted = Mutex::new(Vec::new());
        let refund = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..6u64 {
                let (window, clock, admitted, refund) = (&window, &clock, &admitted, &refund);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for turn in 0..6_000u64 {
                        let now = clock.load(Ordering::SeqCst);
                        if (turn + thread) % 7 == 0 {
                            std::thread::yield_now();
                        }
                        let cost = if turn % 11 == 0 { 3 } else { 1 };
                        let reading = window.check(&timeline, now, LIMIT, cost);
                        if reading.admitted {
                            // Every other one is refunded immediately.
                            if refund.fetch_xor(true, Ordering::Relaxed) {
                                window.refund(reading.place, cost);
                            } else {
                                mine.push((reading.place, cost));
                            }
                        }
                        clock.fetch_add((turn * 7_919 + thread) % 90 * 1_000_000, Ordering::SeqCst);
                    }
                    admitted.lock().unwrap().extend(mine);
                });
            }
        });
        let mut admitted = admitted.into_inner().unwrap();
        admitted.sort_unstable();
        let (mut oldest, mut sum, mut fullest) = (0, 0, 0);
        for (place, cost) in &admitted {
            sum += cost;
            while admitted[oldest].0 + reach <= *place {
                sum -= admitted[oldest].1;
                oldest += 1;
            }
            assert!(sum <= LIMIT, "{window:?}: {sum} in one window");
            fullest = fullest.max(sum);
        }
        assert!(fullest > LIMIT - 5, "{window:?}: the test never came near the limit: {fullest}");
        let end = clock.into_inner() + 200 * SECOND;
        assert_eq!(window.check(&timeline, end, LIMIT, 1).used, 1, "{window:?}: nothing is left over");
    }
    verify::<ShortSliding>(minute().span() + 1);
    verify::<LongSliding>(minute().span() + 1);
    verify::<Exact>(minute().window());
}
