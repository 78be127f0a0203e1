//! The scripts, their arguments and their replies.

use std::num::NonZeroU32;
use std::time::Duration;

use redis::{Script, Value};

use crate::clock::Now;
use crate::limit::window::Timeline;
use crate::limit::{Decision, MemoryRateLimiter, Quota, Verdict};

macro_rules! script {
    ($file:literal) => {
        concat!(include_str!("window.lua"), include_str!($file))
    };
}

const STRICT: &str = script!("strict.lua");
const LEASE: &str = script!("lease.lua");
const REFUND: &str = script!("refund.lua");
const RECORD: &str = script!("record.lua");
const FORGET: &str = include_str!("forget.lua");

pub(super) struct Scripts {
    pub(super) strict: Text,
    pub(super) lease: Text,
    pub(super) refund: Text,
    pub(super) record: Text,
    pub(super) forget: Text,
}

/// A script with its digest.
pub(super) struct Text {
    pub(super) text: &'static str,
    pub(super) script: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let text = |text| Text { text, script: Script::new(text) };
        Self {
            strict: text(STRICT),
            lease: text(LEASE),
            refund: text(REFUND),
            record: text(RECORD),
            forget: text(FORGET),
        }
    }
}

/// One quota in the units of the scripts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) quota: Quota,
    /// In sub-windows.
    span: u64,
    /// In microseconds.
    sub_window: u64,
}

impl Rule {
    /// Counts `further` sub-windows beyond those that cover the window.
    pub(super) fn new(quota: Quota, further: u64) -> Self {
        // Edges lie on multiples of the sub-window since the Unix epoch, regardless of when the timeline is made.
        let timeline = Timeline::new(quota.window(), Now::new(Duration::ZERO, Duration::ZERO));
        Self { quota, span: timeline.span() + further, sub_window: timeline.sub_window() / 1_000 }
    }

    pub(super) fn sub_window(&self) -> Duration {
        Duration::from_micros(self.sub_window)
    }
}

/// The quotas with the limits that apply to one subject.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) rules: &'a [Rule],
    pub(super) limit_override: Option<NonZeroU32>,
}

impl Rules<'_> {
    pub(super) fn quotas(self) -> impl Iterator<Item = Quota> {
        self.rules.iter().enumerate().map(move |(index, rule)| match self.limit_override {
            Some(limit) if index == 0 => rule.quota.with_limit(limit),
            _ => rule.quota,
        })
    }

    /// The last arguments of every script.
    pub(super) fn add_to(self, arguments: &mut Vec<u64>) {
        for (quota, rule) in self.quotas().zip(self.rules) {
            arguments.extend([quota.limit().get().into(), rule.span, rule.sub_window]);
        }
    }

    /// Parses the reply of a script to a request of `cost`.
    pub(super) fn parse(self, answer: Value) -> Option<Answer> {
        let numbers: Vec<i64> = redis::from_redis_value(answer).ok()?;
        let (&[granted, born], looks) = numbers.split_first_chunk()?;
        if looks.len() != self.rules.len() * 4 {
            return None;
        }
        let mut place = Place { born: u64::try_from(born).ok()?, ticks: [0; MemoryRateLimiter::MAX_QUOTAS] };
        let mut heaviest: Option<Decision> = None;
        for ((quota, look), tick_place) in self.quotas().zip(looks.chunks_exact(4)).zip(&mut place.ticks) {
            let &[had_room, used, wait, tick] = look else { return None };
            *tick_place = u64::try_from(tick).ok()?;
            let decision = Decision {
                verdict: if had_room == 1 { Verdict::Admitted } else { Verdict::Denied },
                quota,
                remaining: quota.limit().get().saturating_sub(u32::try_from(used).ok()?),
                reset: u64::try_from(wait).unwrap_or(0).saturating_mul(1000),
                degraded: false,
            };
            heaviest = Some(heaviest.map_or(decision, |heaviest| heaviest.weightier(decision)));
        }
        let decision = heaviest?;
        let granted = u32::try_from(granted).ok();
        (granted.is_some() == decision.is_admitted()).then_some(Answer { granted, decision, place })
    }
}

pub(super) struct Answer {
    /// The cost plus the leased units, if the request is admitted.
    pub(super) granted: Option<u32>,
    pub(super) decision: Decision,
    pub(super) place: Place,
}

/// Where a script counted something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::limit) struct Place {
    /// When the subject's state was created; refunds ignore any other state.
    pub(super) born: u64,
    /// Under each quota.
    pub(super) ticks: [u64; MemoryRateLimiter::MAX_QUOTAS],
}
