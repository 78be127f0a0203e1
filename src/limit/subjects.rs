//! What a limiter holds for its subjects, and how it counts there.
//!
//! A subject with windows of its own is counted there without a lock. A lock is taken for a newcomer: to add windows for it,
//! after a sweep that removes idle ones, or to count it in the shared windows.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use papaya::{HashSet, ResizeMode};
use seize::Collector;

use super::held::{HeldSet, Name};
use super::window::{Reading, Timeline, Window};
use super::{Decision, MemoryRateLimiter, Quota, Subject, Verdict};
use crate::clock::Now;

/// One quota, with how it divides time.
pub(super) struct Rule {
    pub(super) quota: Quota,
    pub(super) timeline: Timeline,
}

/// What one check asks for.
#[derive(Clone, Copy)]
pub(super) struct Request {
    limit_override: Option<NonZeroU32>,
    pub(super) cost: u32,
    time: u64,
    /// Whether nothing is to be denied.
    unlimited: bool,
}

/// Where an admitted request was counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Whether that was in the count for subjects that found no room.
    shared: bool,
    /// Under each quota.
    places: [u64; MemoryRateLimiter::MAX_QUOTAS],
}

/// What a limiter does, whatever its algorithm and its number of quotas: made for both at once, so that a check asks
/// what they are once only.
pub(super) trait Count: Send + Sync {
    /// Counts a request under each quota or under none. Says where in `counted` if it was admitted.
    fn count(&self, subject: &Subject, request: Request, counted: &mut Counted) -> Decision;

    /// What [`count`](Self::count) would decide, with nothing counted.
    fn peek(&self, subject: &Subject, request: Request) -> Decision;

    /// The same, if the subject has a count of its own.
    fn peek_own(&self, subject: &Subject, request: Request) -> Option<Decision>;

    fn give_back(&self, subject: &Subject, counted: &Counted, cost: u32);

    /// Counts nothing of what was counted for a subject with a count of its own.
    fn forget(&self, subject: &Subject);

    /// How many subjects have a count of their own.
    fn len(&self) -> usize;
}

/// The windows of one subject, one for each quota.
pub(super) trait Windows: Send + Sync + 'static {
    type Window: Window;

    fn new(window: impl FnMut(usize) -> Self::Window, quotas: usize) -> Self;

    fn as_slice(&self) -> &[Self::Window];
}

/// Of the only quota, the common case: no further pointer.
impl<W: Window> Windows for [W; 1] {
    type Window = W;

    fn new(window: impl FnMut(usize) -> W, _: usize) -> Self {
        std::array::from_fn(window)
    }

    fn as_slice(&self) -> &[W] {
        self
    }
}

impl<W: Window> Windows for Box<[W]> {
    type Window = W;

    fn new(window: impl FnMut(usize) -> W, quotas: usize) -> Self {
        (0..quotas).map(window).collect()
    }

    fn as_slice(&self) -> &[W] {
        self
    }
}

pub(super) struct Subjects<W> {
    rules: Box<[Rule]>,
    /// Seeded at random: who chooses addresses chooses what is hashed here.
    hasher: RandomState,
    /// A power of two of them.
    shards: Box<[Shard<W>]>,
    capacity_per_shard: usize,
    /// How long to leave a full shard alone after looking for idle subjects in vain.
    sweep_interval: u64,
}

/// A part of the subjects. Parts keep sweeps short, and newcomers rarely wait for each other.
struct Shard<W> {
    subjects: HeldSet<W>,
    /// Locked for writing while subjects are added or removed.
    newcomers: RwLock<Newcomers<W>>,
}

struct Newcomers<W> {
    /// For subjects that found no room. Counted in under a read lock, so that the copy for a newcomer misses nothing.
    shared: W,
    /// How many subjects the set holds.
    held: usize,
    next_sweep: u64,
}

const MAX_SHARDS: usize = 32;
const MIN_SUBJECTS_PER_SHARD: usize = 64;

impl<W: Windows> Subjects<W> {
    pub(super) fn new(rules: Box<[Rule]>, capacity: usize, time: u64) -> Self {
        let wanted = (capacity / MIN_SUBJECTS_PER_SHARD).clamp(1, MAX_SHARDS);
        let shard_count = 1 << wanted.ilog2();
        // One for all shards: each would take some 500 bytes for each processor.
        let collector = Arc::new(Collector::new());
        let shard = |_| Shard {
            subjects: HashSet::builder()
                .hasher(Default::default())
                .shared_collector(collector.clone())
                .resize_mode(ResizeMode::Blocking)
                .build(),
            newcomers: RwLock::new(Newcomers { shared: empty(&rules, time), held: 0, next_sweep: 0 }),
        };
        Self {
            shards: (0..shard_count).map(shard).collect(),
            hasher: RandomState::default(),
            capacity_per_shard: capacity / shard_count,
            sweep_interval: rules.iter().map(|rule| rule.timeline.sub_window()).max().unwrap_or_default(),
            rules,
        }
    }

    fn name<'a>(&self, subject: &'a Subject) -> Name<'a> {
        Name::new(subject, &self.hasher)
    }

    fn shard(&self, name: &Name<'_>) -> &Shard<W> {
        &self.shards[name.shard(self.shards.len())]
    }

    /// Counts a subject that had no windows a moment ago, or whose windows may be about to be removed.
    #[cold]
    fn count_newcomer(
        &self,
        shard: &Shard<W>,
        name: &Name<'_>,
        request: Request,
        counted: &mut Counted,
    ) -> Decision {
        let newcomers = shard.read();
        if newcomers.held >= self.capacity_per_shard && !newcomers.may_be_swept(request.time) {
            return self.count_locked(shard, &newcomers, name, request, counted);
        }
        drop(newcomers);
        let mut newcomers = shard.write();
        self.make_room(shard, &mut newcomers, request.time);
        let subjects = shard.subjects.pin();
        // The newcomer may be among those that shared a count until now.
        let shared = &newcomers.shared;
        let is_free = self.is_idle(shared, request.time);
        let is_own = is_free || W::Window::CAN_COPY;
        if newcomers.held < self.capacity_per_shard && is_own && !subjects.contains(name) {
            let windows = if is_free {
                empty(&self.rules, request.time)
            } else {
                W::new(|index| shared.as_slice()[index].snapshot(), self.rules.len())
            };
            subjects.insert(name.with_windows(windows));
            newcomers.held += 1;
        }
        self.count_locked(shard, &newcomers, name, request, counted)
    }

    /// Removes idle subjects from a full shard, if it is time to look for them.
    fn make_room(&self, shard: &Shard<W>, newcomers: &mut Newcomers<W>, time: u64) {
        if newcomers.held < self.capacity_per_shard || !newcomers.may_be_swept(time) {
            return;
        }
        let subjects = shard.subjects.pin();
        subjects.retain(|held| !held.occupancy.retire(|| self.is_idle(&held.windows, time)));
        newcomers.held = subjects.len();
        newcomers.next_sweep = time.saturating_add(self.sweep_interval);
    }

    /// Counts in the subject's own windows or in the shared ones. Under the lock none are added or removed.
    fn count_locked(
        &self,
        shard: &Shard<W>,
        newcomers: &Newcomers<W>,
        name: &Name<'_>,
        request: Request,
        counted: &mut Counted,
    ) -> Decision {
        let subjects = shard.subjects.pin();
        let own = subjects.get(name).map(|held| &held.windows);
        counted.shared = own.is_none();
        self.reserve(own.unwrap_or(&newcomers.shared), request, counted)
    }

    /// Counts in all windows or in none.
    #[inline]
    fn reserve(&self, windows: &W, request: Request, counted: &mut Counted) -> Decision {
        let windows = windows.as_slice();
        // One unit fits every limit.
        if request.cost > 1 {
            if let Some(never) = self.never_fits(windows, request) {
                return never;
            }
        }
        let mut so_far: Option<Decision> = None;
        for (index, (rule, window)) in self.rules.iter().zip(windows).enumerate() {
            let quota = rule.quota_for(index, request);
            let reading = window.check(&rule.timeline, request.time, quota.limit().get(), request.cost);
            let decision = decision(reading, quota, request);
            if !reading.admitted {
                give_back(&windows[..index], counted, request.cost);
                // A later quota may ask for a longer wait.
                return self.looks(windows, request, index + 1).fold(decision, Decision::weightier);
            }
            counted.places[index] = reading.place;
            so_far = Some(so_far.map_or(decision, |so_far| so_far.weightier(decision)));
        }
        so_far.expect("a limiter has at least one quota")
    }

    fn preview(&self, windows: &W, request: Request) -> Decision {
        let windows = windows.as_slice();
        let never = self.never_fits(windows, request);
        let heaviest = || self.looks(windows, request, 0).reduce(Decision::weightier);
        never.or_else(heaviest).expect("a limiter has at least one quota")
    }

    /// What each quota from number `first` on says, with nothing counted.
    fn looks(&self, windows: &[W::Window], request: Request, first: usize) -> impl Iterator<Item = Decision> {
        self.rules.iter().zip(windows).enumerate().skip(first).map(move |(index, (rule, window))| {
            let quota = rule.quota_for(index, request);
            let reading = window.peek(&rule.timeline, request.time, quota.limit().get(), request.cost);
            decision(reading, quota, request)
        })
    }

    fn never_fits(&self, windows: &[W::Window], request: Request) -> Option<Decision> {
        let mut rules = self.rules.iter().zip(windows).enumerate();
        let index = rules
            .position(|(index, (rule, _))| request.cost > rule.quota_for(index, request).limit().get())?;
        let free = Request { cost: 0, ..request };
        let look = self.looks(windows, free, index).next()?;
        Some(Decision { verdict: Verdict::NeverFits, ..look })
    }

    fn is_idle(&self, windows: &W, time: u64) -> bool {
        self.rules.iter().zip(windows.as_slice()).all(|(rule, window)| window.is_idle(&rule.timeline, time))
    }
}

impl<W: Windows> Count for Subjects<W> {
    fn count(&self, subject: &Subject, request: Request, counted: &mut Counted) -> Decision {
        let name = self.name(subject);
        let shard = self.shard(&name);
        if let Some(held) = shard.subjects.pin().get(&name) {
            // Nothing may be counted in windows that a sweep removes.
            if let Some(_visit) = held.occupancy.enter() {
                return self.reserve(&held.windows, request, counted);
            }
        }
        self.count_newcomer(shard, &name, request, counted)
    }

    fn peek(&self, subject: &Subject, request: Request) -> Decision {
        self.peek_own(subject, request).unwrap_or_else(|| {
            let newcomers = self.shard(&self.name(subject)).read();
            // One that is still not held has at most what the shared count holds, and begins with that.
            self.peek_own(subject, request).unwrap_or_else(|| self.preview(&newcomers.shared, request))
        })
    }

    // A look at windows that are being removed finds them idle, as they were.
    fn peek_own(&self, subject: &Subject, request: Request) -> Option<Decision> {
        let name = self.name(subject);
        let subjects = self.shard(&name).subjects.pin();
        subjects.get(&name).map(|held| self.preview(&held.windows, request))
    }

    fn give_back(&self, subject: &Subject, counted: &Counted, cost: u32) {
        let name = self.name(subject);
        let shard = self.shard(&name);
        if counted.shared {
            give_back(shard.read().shared.as_slice(), counted, cost);
        } else if let Some(held) = shard.subjects.pin().get(&name) {
            // Windows that are being removed hold nothing to give back.
            give_back(held.windows.as_slice(), counted, cost);
        }
    }

    fn forget(&self, subject: &Subject) {
        let name = self.name(subject);
        if let Some(held) = self.shard(&name).subjects.pin().get(&name) {
            held.windows.as_slice().iter().for_each(Window::forget);
        }
    }

    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.subjects.len()).sum()
    }
}

fn empty<W: Windows>(rules: &[Rule], time: u64) -> W {
    W::new(|index| W::Window::new(&rules[index].timeline, time), rules.len())
}

fn give_back(windows: &[impl Window], counted: &Counted, cost: u32) {
    for (window, place) in windows.iter().zip(counted.places) {
        window.refund(place, cost);
    }
}

#[inline]
fn decision(reading: Reading, quota: Quota, request: Request) -> Decision {
    Decision {
        verdict: if reading.admitted { Verdict::Admitted } else { Verdict::Denied },
        quota,
        remaining: quota.limit().get().saturating_sub(reading.used),
        reset: reading.frees.map_or(0, |time| time.saturating_sub(request.time)),
        degraded: false,
    }
}

impl Request {
    pub(super) fn new(limit_override: Option<NonZeroU32>, cost: u32, now: Now) -> Self {
        Self { limit_override, cost, time: now.monotonic_nanos(), unlimited: false }
    }

    /// Of something that is counted whatever the limits.
    pub(super) fn admitted(cost: u32, now: Now) -> Self {
        Self { unlimited: true, ..Self::new(None, cost, now) }
    }
}

impl Rule {
    #[inline]
    fn quota_for(&self, index: usize, request: Request) -> Quota {
        match request.limit_override {
            _ if request.unlimited => self.quota.with_limit(NonZeroU32::MAX),
            Some(limit) if index == 0 => self.quota.with_limit(limit),
            _ => self.quota,
        }
    }
}

impl<W> Newcomers<W> {
    /// Looking for idle subjects costs time in proportion to the shard, so it is done once a sub-window at most: no sooner can
    /// many more have become idle.
    fn may_be_swept(&self, time: u64) -> bool {
        time >= self.next_sweep
    }
}

impl<W> Shard<W> {
    // Counts are whole at any time, so a panic elsewhere leaves nothing to be wary of.
    fn read(&self) -> RwLockReadGuard<'_, Newcomers<W>> {
        self.newcomers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Newcomers<W>> {
        self.newcomers.write().unwrap_or_else(PoisonError::into_inner)
    }
}
