use std::sync::atomic::{AtomicU64, Ordering};

use super::{Reading, Timeline, Window};

const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const COUNTS_MASK: u64 = (1 << (2 * COUNT_BITS)) - 1;
const INDEX_MASK: u64 = (1 << 24) - 1;
/// How many windows the stored one may be ahead of a thread that read the time and was then suspended.
const LATE: u64 = 1 << 10;

/// Two counts in one word: of the current window and of the previous one, which is weighted by its part that is less
/// than a window ago. Time in nanoseconds; windows are aligned to multiples of their length.
///
/// Neither window ever admits more than the limit, so no span as long as a window holds more than twice the limit; at
/// a fraction `f` of the current window it holds at most `limit × (1 + f)`.
///
/// Windows are numbered in 24 bits: after 2^24 windows without a check (194 days of seconds) numbers repeat, and old
/// counts may count again for up to two windows, or 1024 in the last 1024 of them.
#[derive(Debug)]
pub(crate) struct Counter {
    word: AtomicU64,
}

/// `{ window: 24 bits, previous: 20 bits, current: 20 bits }`, here with the full number of the window.
#[derive(Clone, Copy)]
struct Counts {
    index: u64,
    previous: u32,
    current: u32,
}

impl Window for Counter {
    fn new(timeline: &Timeline, now: u64) -> Self {
        let counts = Counts { index: now / timeline.window(), previous: 0, current: 0 };
        Self { word: AtomicU64::new(counts.pack()) }
    }

    fn check(&self, timeline: &Timeline, now: u64, limit: u32, cost: u32) -> Reading {
        let window = timeline.window();
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (mut counts, elapsed) = Counts::at(seen, window, now);
            if counts.weighted(window, elapsed) + cost > limit {
                return counts.denied(window, elapsed, limit, cost);
            }
            counts.current += cost;
            match self.word.compare_exchange_weak(seen, counts.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return counts.admitted(window, elapsed),
                Err(newer) => seen = newer,
            }
        }
    }

    fn peek(&self, timeline: &Timeline, now: u64, limit: u32, cost: u32) -> Reading {
        let window = timeline.window();
        let (counts, elapsed) = Counts::at(self.word.load(Ordering::Acquire), window, now);
        if counts.weighted(window, elapsed) + cost > limit {
            counts.denied(window, elapsed, limit, cost)
        } else {
            counts.admitted(window, elapsed)
        }
    }

    fn refund(&self, index: u64, cost: u32) {
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let mut counts = Counts::unpack(word, word >> (2 * COUNT_BITS));
            let count = match counts.index.wrapping_sub(index) & INDEX_MASK {
                0 => &mut counts.current,
                1 => &mut counts.previous,
                _ => return None,
            };
            *count = count.checked_sub(cost)?;
            Some(counts.pack())
        });
    }

    fn forget(&self) {
        self.word.fetch_and(!COUNTS_MASK, Ordering::AcqRel);
    }

    fn is_idle(&self, timeline: &Timeline, now: u64) -> bool {
        let (counts, _) = Counts::at(self.word.load(Ordering::Acquire), timeline.window(), now);
        counts.previous == 0 && counts.current == 0
    }

    fn snapshot(&self) -> Self {
        Self { word: AtomicU64::new(self.word.load(Ordering::Acquire)) }
    }
}

impl Counts {
    fn pack(self) -> u64 {
        (self.index & INDEX_MASK) << (2 * COUNT_BITS)
            | u64::from(self.previous) << COUNT_BITS
            | u64::from(self.current)
    }

    fn unpack(word: u64, index: u64) -> Self {
        let count = |bits: u64| (bits & COUNT_MASK) as u32;
        Self { index, previous: count(word >> COUNT_BITS), current: count(word) }
    }

    /// The counts at `now`, and how much of the current window has passed.
    fn at(word: u64, window: u64, now: u64) -> (Self, u64) {
        let index = now / window;
        let behind = index.wrapping_sub(word >> (2 * COUNT_BITS)) & INDEX_MASK;
        let stored = Self::unpack(word, index);
        match behind {
            0 => (stored, now % window),
            1 => (Self { index, previous: stored.current, current: 0 }, now % window),
            _ if behind > INDEX_MASK - LATE => {
                let ahead = INDEX_MASK + 1 - behind;
                (Self { index: index.saturating_add(ahead), ..stored }, 0)
            }
            // Of nothing, no part is past.
            _ => (Self { index, previous: 0, current: 0 }, 0),
        }
    }

    /// The weighted count, with the part of the previous window rounded up.
    fn weighted(self, window: u64, elapsed: u64) -> u32 {
        let share = u128::from(self.previous) * u128::from(window - elapsed);
        self.current + share.div_ceil(u128::from(window)) as u32
    }

    fn admitted(self, window: u64, elapsed: u64) -> Reading {
        let used = self.weighted(window, elapsed);
        let frees = match used - self.current {
            0 if self.current == 0 => None,
            0 => Some(self.start(window, 1).saturating_add(decay(window, self.current, self.current - 1))),
            share => Some(self.start(window, 0).saturating_add(decay(window, self.previous, share - 1))),
        };
        Reading { admitted: true, used, place: self.index, frees }
    }

    fn denied(self, window: u64, elapsed: u64, limit: u32, cost: u32) -> Reading {
        let room = limit - cost;
        let frees = if self.current <= room {
            self.start(window, 0).saturating_add(decay(window, self.previous, room - self.current))
        } else {
            self.start(window, 1).saturating_add(decay(window, self.current, room))
        };
        let used = self.weighted(window, elapsed);
        Reading { admitted: false, used, place: self.index, frees: Some(frees) }
    }

    /// When the window `later` windows after the current one begins.
    fn start(self, window: u64, later: u64) -> u64 {
        self.index.saturating_add(later).saturating_mul(window)
    }
}

/// How much of a window must pass until `count` of the previous window weighs no more than `weight`.
fn decay(window: u64, count: u32, weight: u32) -> u64 {
    if count <= weight {
        return 0;
    }
    let reach = u128::from(window) * u128::from(weight) / u128::from(count);
    window - reach as u64
}
