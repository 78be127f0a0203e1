use std::time::Duration;

use crate::clock::{Now, nanos};

const SECOND: u64 = 1_000_000_000;
/// The preferred number of sub-windows: the finest division that keeps a key's cells within 244 bytes.
const AIM: u64 = 60;
/// Ticks are kept in 40 bits: 580 years of the shortest sub-windows.
const LAST_TICK: u64 = (1 << 40) - 1;

/// How one quota divides time. Shared by all windows of that quota, so that subjects need not store it.
///
/// Time is the clock's monotonic count in nanoseconds. Ticks number the sub-windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    window: u64,
    sub_window: u64,
    span: u64,
    /// Added to the monotonic count so that the edges of sub-windows lie on multiples of the sub-window since the
    /// Unix epoch. Computed once: a later step of the calendar moves no edge.
    shift: u64,
}

impl Timeline {
    pub(crate) fn new(window: Duration, now: Now) -> Self {
        let window = nanos(window).max(1);
        let sub_window = sub_window(window);
        let unix = now.since_unix_epoch().as_nanos() % u128::from(sub_window);
        let monotonic = now.monotonic().as_nanos() % u128::from(sub_window);
        let shift = (unix + u128::from(sub_window) - monotonic) % u128::from(sub_window);
        Self { window, sub_window, span: window.div_ceil(sub_window), shift: shift as u64 }
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    pub(crate) fn sub_window(&self) -> u64 {
        self.sub_window
    }

    /// The number of sub-windows that cover the window.
    pub(crate) fn span(&self) -> u64 {
        self.span
    }

    /// The sub-window that `time` lies in.
    pub(crate) fn tick(&self, time: u64) -> u64 {
        (time.saturating_add(self.shift) / self.sub_window).min(LAST_TICK)
    }

    /// When the sub-window `tick` begins.
    pub(crate) fn start(&self, tick: u64) -> u64 {
        tick.saturating_mul(self.sub_window).saturating_sub(self.shift)
    }
}

/// The length of a sub-window.
///
/// Whole seconds if they divide a window of a minute or more into 30 to 120 parts, nearest to 60. Header fields have
/// whole seconds, so a client can then wait exactly until an edge. Otherwise a sixtieth of the window, rounded up to
/// whole microseconds, which is what Redis counts.
fn sub_window(window: u64) -> u64 {
    let seconds = window / SECOND;
    if window % SECOND == 0 && seconds >= 60 {
        let parts = |whole: &u64| seconds / whole;
        let candidates = seconds.div_ceil(120)..=seconds / 30;
        if let Some(whole) =
            candidates.filter(|whole| seconds % *whole == 0).min_by_key(|whole| parts(whole).abs_diff(AIM))
        {
            return whole * SECOND;
        }
    }
    window.div_ceil(AIM).next_multiple_of(1_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(monotonic: u64, unix: u64) -> Now {
        Now::new(Duration::from_nanos(monotonic), Duration::from_nanos(unix))
    }

    #[test]
    fn sub_windows_are_whole_seconds_where_they_can_be() {
        for (window, sub_window, span) in [
            (60_000, 1_000_000_000, 60),
            (61_000, 1_000_000_000, 61),
            (90_000, 2_000_000_000, 45),
            (100_000, 2_000_000_000, 50),
            (300_000, 5_000_000_000, 60),
            (3_600_000, 60_000_000_000, 60),
            (86_400_000, 1_440_000_000_000, 60),
            (1_000, 16_667_000, 60),
            (10_000, 166_667_000, 60),
            (127_000, 2_116_667_000, 60),
            (60_001, 1_000_017_000, 60),
        ] {
            let timeline = Timeline::new(Duration::from_millis(window), at(0, 0));
            assert_eq!(timeline.sub_window(), sub_window, "{window} ms");
            assert_eq!(timeline.span(), span, "{window} ms");
        }
    }

    #[test]
    fn edges_lie_on_whole_unix_seconds() {
        let (monotonic, unix) = (12_345_678_901, 1_702_531_200_250_000_000);
        let timeline = Timeline::new(Duration::from_secs(300), at(monotonic, unix));
        let edge = timeline.start(timeline.tick(monotonic) + 1);
        assert_eq!((unix + (edge - monotonic)) % (5 * SECOND), 0);
    }

    proptest! {
        #[test]
        fn a_time_lies_in_its_tick_and_the_span_covers_the_window(
            millis in 1_000u64..=86_400_000,
            monotonic in 0..u64::MAX / 4,
            unix in 0..u64::MAX / 4,
            time in 0..u64::MAX / 4,
        ) {
            let timeline = Timeline::new(Duration::from_millis(millis), at(monotonic, unix));
            let tick = timeline.tick(time);
            prop_assert!(timeline.start(tick) <= time && time < timeline.start(tick + 1));
            prop_assert!(timeline.span() * timeline.sub_window() >= timeline.window());
            prop_assert!((30..=120).contains(&timeline.span()));
            prop_assert!(tick < 1 << 40);
        }
    }
}
