//! A lock-free sliding window of sub-windows that never exceeds its limit.
//!
//! Time is given in ticks, the numbers of sub-windows; a window spans `span` of them. Cost admitted in tick `k`
//! counts until tick `k + span` is over. So everything in the time of the last `span` sub-windows is counted, and
//! also the part of one more sub-window that has already left the window: at most one sub-window too long, never too
//! short.
//!
//! One word, the gate, holds the newest tick seen and the total that counts. A ring of at least `span + 1` cells
//! stores how much of the total belongs to which tick. To admit cost, add it to the total, then to the cell of the
//! gate's tick. To expire cost, empty its cell, then subtract it from the total.
//!
//! Why the limit holds for every interleaving:
//!
//! * A unit of cost is in the total from before it is admitted until it is released, and is released once.
//! * A unit of tick `k` is released only after the gate has shown a tick above `k + span` (or by its own refund).
//!   Tick and total share a word, so a thread that adds to a total without the unit does so in a tick above `k + span`.
//! * Hence everything admitted in `span + 1` neighbouring ticks was in the total when the last of it was added.
//!
//! Cells keep only the low 12 bits of their tick. A unit's tick never exceeds the gate's when the gate is read after
//! the cell, so the difference of the low bits is the true age modulo 4096: if it is above `span`, the true age is
//! too. The opposite mistake, taking an old unit for a young one, would count it too long. A pause does not cause it,
//! since the gate advances at most a window at a time until everything is reclaimed. Only a thread that was suspended
//! for a window before it recorded its cost can cause it.
//!
//! A thread may be suspended for any time between its read of a cell and its exchange, and find the same bits with
//! another meaning. Therefore cost taken out of a cell is checked again, against the gate as it is afterwards. If it
//! has not certainly expired, it is counted again, in the current tick.
//!
//! The hint is only advice: a wrong hint costs a scan or reports a later instant. It keeps the low 8 bits of its
//! tick, as the gate advances at most a window ahead of it while anything counts. If a thread was suspended for 256
//! ticks, its old hint may look like the gate's own. Cells that it hides are found within a window, as the moving
//! gate passes each of them.

use super::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

const TOTAL_BITS: u32 = 24;
const COUNT_BITS: u32 = 20;
const TAG_MASK: u32 = (1 << (32 - COUNT_BITS)) - 1;

/// The state of one subject under one quota, in one allocation: `CELLS` is at least the span plus one.
#[derive(Debug)]
// In this order, so that a check touches two cache lines: what it always reads, and one cell.
#[repr(C)]
pub(crate) struct Sliding<const CELLS: usize> {
    gate: AtomicU64,
    hint: AtomicU16,
    span: u16,
    cells: [AtomicU32; CELLS],
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) admitted: bool,
    /// Cost that counts, including this check's cost if it was admitted.
    pub(crate) used: u32,
    /// The tick the cost was counted in; never before the tick passed in.
    pub(crate) tick: u64,
    /// If admitted, the tick when less will count; if denied, the tick when the same cost fits. `None` if nothing
    /// counts.
    pub(crate) frees: Option<u64>,
}

impl<const CELLS: usize> Sliding<CELLS> {
    /// The longest span, in ticks.
    pub(crate) const MAX_SPAN: u64 = CELLS as u64 - 1;

    /// An empty window that spans `span` ticks (1 to [`MAX_SPAN`](Self::MAX_SPAN)) and begins no later than `tick`
    /// (below 2^40).
    pub(crate) fn new(span: u64, tick: u64) -> Self {
        debug_assert!(span <= Self::MAX_SPAN);
        Self {
            gate: AtomicU64::new(Gate { tick, total: 0 }.pack()),
            cells: std::array::from_fn(|_| AtomicU32::new(0)),
            hint: AtomicU16::new(Hint { tick: tick as u8, lag: 0 }.pack()),
            span: span as u16,
        }
    }

    /// Counts `cost` in `tick`, or in the newest tick seen if that is later, if the total stays within `limit`.
    ///
    /// Cost and limit are at most 2^20 − 1.
    #[inline]
    pub(crate) fn check(&self, tick: u64, limit: u32, cost: u32) -> Reading {
        loop {
            let gate = self.advance(tick);
            if gate.total + cost > limit {
                return self.denied(gate, limit, cost);
            }
            let taken = Gate { tick: gate.tick, total: gate.total + cost };
            if self.exchange_gate(gate, taken).is_ok() {
                if cost != 0 {
                    self.record(taken.tick, cost);
                }
                return self.admitted(taken);
            }
        }
    }

    /// The result of [`check`](Self::check), without counting.
    pub(crate) fn peek(&self, tick: u64, limit: u32, cost: u32) -> Reading {
        let gate = self.advance(tick);
        if gate.total + cost > limit { self.denied(gate, limit, cost) } else { self.admitted(gate) }
    }

    /// Takes back `cost` that was counted in `tick`. Does nothing once the window has moved past it.
    ///
    /// Call it at most once for the cost that one check admitted.
    pub(crate) fn refund(&self, tick: u64, cost: u32) {
        let cell = self.cell(tick);
        let mut seen = cell.load(Ordering::Acquire);
        loop {
            let held = Cell::unpack(seen);
            if self.is_past(tick) || held.tag != tag(tick) || held.count < cost {
                return;
            }
            let left = Cell { tag: held.tag, count: held.count - cost };
            match cell.compare_exchange(seen, left.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(newer) => seen = newer,
            }
        }
        if self.is_past(tick) {
            self.settle(Cell { tag: tag(tick), count: cost });
        } else {
            self.release(cost);
        }
    }

    /// Counts nothing of what is in a cell. Cost on its way into one still counts.
    pub(crate) fn forget(&self) {
        for cell in &self.cells {
            let mut seen = cell.load(Ordering::Acquire);
            loop {
                let held = Cell::unpack(seen);
                let emptied = Cell { tag: held.tag, count: 0 };
                match cell.compare_exchange(seen, emptied.pack(), Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => break self.release(held.count),
                    Err(newer) => seen = newer,
                }
            }
        }
    }

    /// Whether nothing counts at `tick`.
    pub(crate) fn is_idle(&self, tick: u64) -> bool {
        self.advance(tick).total == 0
    }

    /// A copy of the state; exact if no other thread uses this window meanwhile.
    pub(crate) fn snapshot(&self) -> Self {
        Self {
            gate: AtomicU64::new(self.gate.load(Ordering::Acquire)),
            cells: std::array::from_fn(|cell| AtomicU32::new(self.cells[cell].load(Ordering::Acquire))),
            hint: AtomicU16::new(self.hint.load(Ordering::Acquire)),
            span: self.span,
        }
    }

    fn span(&self) -> u64 {
        u64::from(self.span)
    }

    fn cell(&self, tick: u64) -> &AtomicU32 {
        &self.cells[(tick % CELLS as u64) as usize]
    }

    fn gate(&self) -> Gate {
        Gate::unpack(self.gate.load(Ordering::Acquire))
    }

    fn exchange_gate(&self, from: Gate, to: Gate) -> Result<u64, u64> {
        self.gate.compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Acquire)
    }

    /// Whether the window no longer reaches back to `tick`. Compares whole ticks, so it is always right.
    fn is_past(&self, tick: u64) -> bool {
        self.gate().tick.saturating_sub(tick) > self.span()
    }

    /// Advances the gate to `tick` if that is newer, and expires old cells.
    #[inline]
    fn advance(&self, tick: u64) -> Gate {
        loop {
            let gate = self.gate();
            let hint = self.hint.load(Ordering::Acquire);
            if Hint::unpack(hint).age(gate.tick) > 0 {
                self.reclaim(gate, hint);
            } else if gate.tick >= tick {
                return gate;
            } else {
                // Advances only as far as 12 bits can distinguish; at once if nothing counts.
                let next = if gate.total == 0 { tick } else { tick.min(gate.tick + self.span() + 1) };
                let _ = self.exchange_gate(gate, Gate { tick: next, total: gate.total });
            }
        }
    }

    /// Empties the cells of all ticks that expired between the stored hint's tick and the gate's.
    #[cold]
    fn reclaim(&self, gate: Gate, stored: u16) {
        let hint = Hint::unpack(stored);
        let live = gate.tick.saturating_sub(self.span());
        let mut oldest = gate.tick;
        if gate.total != 0 {
            let unseen = live.saturating_sub(hint.age(gate.tick));
            for expired in unseen.max(live.saturating_sub(CELLS as u64))..live {
                self.reclaim_cell(self.cell(expired));
            }
            let mut ticks = hint.oldest(gate.tick).max(live)..gate.tick;
            oldest = ticks.find(|tick| self.count(*tick) > 0).unwrap_or(oldest);
        }
        let done = Hint { tick: gate.tick as u8, lag: (gate.tick - oldest) as u8 };
        // If another thread was faster, its hint stays.
        let _ = self.hint.compare_exchange(stored, done.pack(), Ordering::AcqRel, Ordering::Acquire);
    }

    fn reclaim_cell(&self, cell: &AtomicU32) {
        let mut seen = cell.load(Ordering::Acquire);
        loop {
            let held = Cell::unpack(seen);
            if held.count == 0 || !held.is_expired(self.gate().tick, self.span()) {
                return;
            }
            let emptied = Cell { tag: held.tag, count: 0 };
            match cell.compare_exchange(seen, emptied.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return self.settle(held),
                Err(newer) => seen = newer,
            }
        }
    }

    /// Adds cost, already in the total, to the cell of `tick`, which the gate has shown.
    #[inline]
    fn record(&self, tick: u64, cost: u32) {
        let cell = self.cell(tick);
        let mut seen = cell.load(Ordering::Acquire);
        loop {
            if self.is_past(tick) {
                return self.release(cost);
            }
            let held = Cell::unpack(seen);
            // Another tick in this slot must be older: with a newer one, `tick` would be past.
            let replaced = if held.tag == tag(tick) { 0 } else { held.count };
            let next = Cell { tag: tag(tick), count: held.count - replaced + cost };
            match cell.compare_exchange(seen, next.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if replaced > 0 => return self.settle(held),
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }

    /// Releases cost taken out of a cell if it has expired, and counts it again otherwise.
    #[cold]
    fn settle(&self, taken: Cell) {
        let tick = self.gate().tick;
        if taken.is_expired(tick, self.span()) {
            self.release(taken.count);
        } else {
            self.record(tick, taken.count);
        }
    }

    /// Subtracts from the total, which is at least `cost`, as it includes every unit in flight or in a cell.
    fn release(&self, cost: u32) {
        self.gate.fetch_sub(u64::from(cost), Ordering::AcqRel);
    }

    /// The count that the cell of `tick` holds for that tick.
    fn count(&self, tick: u64) -> u32 {
        let held = Cell::unpack(self.cell(tick).load(Ordering::Acquire));
        if held.tag == tag(tick) { held.count } else { 0 }
    }

    /// Ticks up to the gate's that may count, oldest first, with their counts.
    fn counts(&self, gate: Gate) -> impl Iterator<Item = (u64, u32)> {
        let oldest = Hint::unpack(self.hint.load(Ordering::Acquire)).oldest(gate.tick);
        let live = gate.tick.saturating_sub(self.span());
        (oldest.max(live)..=gate.tick).map(|tick| (tick, self.count(tick))).filter(|(_, count)| *count > 0)
    }

    #[inline]
    fn admitted(&self, gate: Gate) -> Reading {
        // Cost that is in no cell yet will be in one no later than the gate's tick.
        let oldest = self.counts(gate).next().map_or(gate.tick, |(tick, _)| tick);
        let frees = (gate.total > 0).then_some(oldest + self.span() + 1);
        Reading { admitted: true, used: gate.total, tick: gate.tick, frees }
    }

    #[inline]
    fn denied(&self, gate: Gate, limit: u32, cost: u32) -> Reading {
        let mut excess = gate.total + cost - limit;
        let mut enough = gate.tick;
        for (tick, count) in self.counts(gate) {
            excess = excess.saturating_sub(count);
            if excess == 0 {
                enough = tick;
                break;
            }
        }
        Reading { admitted: false, used: gate.total, tick: gate.tick, frees: Some(enough + self.span() + 1) }
    }
}

/// `{ tick: 40 bits, total: 24 bits }`
#[derive(Clone, Copy)]
struct Gate {
    tick: u64,
    total: u32,
}

impl Gate {
    fn pack(self) -> u64 {
        self.tick << TOTAL_BITS | u64::from(self.total)
    }

    fn unpack(word: u64) -> Self {
        Self { tick: word >> TOTAL_BITS, total: word as u32 & ((1 << TOTAL_BITS) - 1) }
    }
}

/// `{ tag: 12 bits, count: 20 bits }`
#[derive(Clone, Copy)]
struct Cell {
    tag: u32,
    count: u32,
}

impl Cell {
    fn pack(self) -> u32 {
        self.tag << COUNT_BITS | self.count
    }

    fn unpack(word: u32) -> Self {
        Self { tag: word >> COUNT_BITS, count: word & ((1 << COUNT_BITS) - 1) }
    }

    /// Whether the window that ends with `tick` certainly does not include this cell's tick.
    fn is_expired(self, tick: u64, span: u64) -> bool {
        u64::from(tag(tick).wrapping_sub(self.tag) & TAG_MASK) > span
    }
}

fn tag(tick: u64) -> u32 {
    tick as u32 & TAG_MASK
}

/// `{ tick: 8 bits, lag: 8 bits }`: the low bits of the tick for which expired cells were last emptied, and how many
/// ticks before it the oldest cell lies that may not be empty.
#[derive(Clone, Copy)]
struct Hint {
    tick: u8,
    lag: u8,
}

impl Hint {
    /// The distance in ticks from this hint's tick to `tick`, the gate's.
    fn age(self, tick: u64) -> u64 {
        u64::from((tick as u8).wrapping_sub(self.tick))
    }

    fn oldest(self, tick: u64) -> u64 {
        tick.saturating_sub(self.age(tick) + u64::from(self.lag))
    }

    fn pack(self) -> u16 {
        u16::from_le_bytes([self.tick, self.lag])
    }

    fn unpack(word: u16) -> Self {
        let [tick, lag] = word.to_le_bytes();
        Self { tick, lag }
    }
}
