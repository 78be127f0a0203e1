//! Counts requests in memory.
//!
//! The first line names the algorithm and the quotas: `exact 5/1000 20/60000`, each with its milliseconds. Each further
//! line is a step: `check a 3`, `limit 7` (`limit` alone for none), `pass 500` (milliseconds), `calendar 0` (its new
//! time), `refund 0` (the permit of this check), `forget a`, `wait` (as long as the last decision says).
#![no_main]

use std::num::NonZeroU32;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tower_api_keys::Quota;
use tower_api_keys::clock::{Clock, ManualClock, Timestamp};
use tower_api_keys::limit::{Algorithm, Decision, MemoryRateLimiter, Permit, Subject, Verdict};

fuzz_target!(|input: &str| check(input));

const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

fn check(input: &str) {
    let mut lines = input.split('\n');
    let mut words = lines.next().unwrap_or_default().split(' ');
    let algorithm = match words.next() {
        Some("exact") => Algorithm::Exact,
        Some("counter") => Algorithm::Counter,
        _ => Algorithm::Sliding,
    };
    let quotas: Vec<Quota> = words.filter_map(quota).collect();
    let clock = ManualClock::starting_at(START);
    let built = MemoryRateLimiter::new("requests", &quotas, clock.now());
    assert_eq!(built.is_ok(), (1..=4).contains(&quotas.len()), "{quotas:?}");
    let Ok(limiter) = built else { return };
    let mut run = Run {
        limiter: limiter.with_algorithm(algorithm),
        algorithm,
        quotas,
        limit: None,
        clock,
        log: Vec::new(),
        permits: Vec::new(),
        last: None,
    };
    for line in lines.take(60) {
        run.step(line);
    }
}

fn quota(word: &str) -> Option<Quota> {
    let (limit, millis) = word.split_once('/')?;
    let (limit, millis): (u32, u64) = (limit.parse().ok()?, millis.parse().ok()?);
    let quota = Quota::new(limit, Duration::from_millis(millis));
    let is_valid = (1..=1_048_575).contains(&limit) && (1_000..=86_400_000).contains(&millis);
    assert_eq!(quota.is_ok(), is_valid, "{word}");
    quota.ok()
}

struct Run {
    limiter: MemoryRateLimiter,
    algorithm: Algorithm,
    quotas: Vec<Quota>,
    limit: Option<NonZeroU32>,
    clock: ManualClock,
    log: Vec<Entry>,
    permits: Vec<Option<Permit>>,
    /// The last step, if it was a check: its subject, its cost and the decision.
    last: Option<(String, u32, Decision)>,
}

/// A request that was admitted.
#[derive(Debug)]
struct Entry {
    subject: String,
    at: u64,
    cost: u32,
    /// The limits of the quotas then.
    limits: Vec<u32>,
    /// Which check it was.
    check: usize,
}

impl Run {
    fn step(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (name, first, second) = (words.next().unwrap_or_default(), words.next(), words.next());
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u32>().ok());
        let last = self.last.take();
        match name {
            "check" => {
                let (subject, cost) = (first.unwrap_or_default(), number(second).unwrap_or(1));
                self.last = Some((subject.to_owned(), cost, self.check(subject, cost)));
            }
            "wait" => self.wait(last),
            "limit" => self.limit = number(first).and_then(NonZeroU32::new),
            "pass" => self.clock.advance(Duration::from_millis(number(first).unwrap_or(1).into())),
            "calendar" => {
                self.clock.step_calendar(Timestamp::from_unix_seconds(number(first).unwrap_or(0).into()))
            }
            "refund" => {
                let check = number(first).unwrap_or(0) as usize;
                if let Some(permit) = self.permits.get_mut(check).and_then(Option::take) {
                    self.limiter.refund(permit);
                    self.log.retain(|entry| entry.check != check);
                }
            }
            "forget" => {
                let subject = first.unwrap_or_default();
                self.limiter.forget(&Subject::other(subject));
                // A request of before may take back as much of a later one.
                for entry in self.log.extract_if(.., |entry| entry.subject == subject) {
                    self.permits[entry.check] = None;
                }
            }
            _ => {}
        }
    }

    fn check(&mut self, subject: &str, cost: u32) -> Decision {
        let now = self.now();
        let named = Subject::other(subject);
        let before = self.limiter.peek(&named, self.limit, cost, self.clock.now());
        let (decision, permit) = self.limiter.check(&named, self.limit, cost, self.clock.now());
        assert_eq!(permit.is_some(), decision.is_admitted());
        assert_eq!(before.verdict(), decision.verdict(), "a look differs from the check: {before:?}");
        let limits = self.limits();
        let fits = |numerator: u64, denominator: u64| {
            let mut quotas = self.quotas.iter().zip(&limits);
            quotas.all(|(quota, limit)| {
                let span = nanos(quota.window()) * numerator / denominator;
                self.counted(subject, now, span) + u64::from(cost) <= u64::from(*limit)
            })
        };
        let is_too_much = limits.iter().any(|limit| cost > *limit);
        let shown = || format!("{:?} {cost} at {now}: {decision:?}, log {:?}", self.quotas, self.log);
        assert_eq!(decision.verdict() == Verdict::NeverFits, is_too_much, "{}", shown());
        match self.algorithm {
            Algorithm::Exact => assert_eq!(decision.is_admitted(), fits(1, 1), "{}", shown()),
            // A request counts for up to a thirtieth longer than the window.
            Algorithm::Sliding => {
                assert!(fits(1, 1) || !decision.is_admitted(), "there was no room: {}", shown());
                assert!(decision.is_admitted() || !fits(31, 30), "there was room: {}", shown());
            }
            // It fades over the next window.
            _ => assert!(decision.is_admitted() || !fits(2, 1), "there was room: {}", shown()),
        }
        if decision.is_admitted() {
            let entry =
                Entry { subject: subject.to_owned(), at: now, cost, limits, check: self.permits.len() };
            self.log.push(entry);
        }
        self.check_counter(subject, now);
        self.check_values(subject, &decision);
        self.permits.push(permit);
        decision
    }

    /// Even with a burst at the end of a window, at most twice the highest limit is admitted.
    fn check_counter(&self, subject: &str, now: u64) {
        for (index, quota) in self.quotas.iter().enumerate() {
            let limits =
                self.log.iter().filter(|entry| entry.subject == subject).map(|entry| entry.limits[index]);
            let highest = u64::from(limits.max().unwrap_or(0));
            let counted = self.counted(subject, now, nanos(quota.window()));
            assert!(counted <= 2 * highest, "{counted} of {quota:?}: {:?}", self.log);
        }
    }

    /// What a response reports.
    fn check_values(&self, subject: &str, decision: &Decision) {
        let now = self.now();
        let limits = self.limits();
        let index = self.quotas.iter().zip(&limits).position(|(quota, limit)| {
            quota.window() == decision.quota().window() && *limit == decision.limit()
        });
        let index = index.unwrap_or_else(|| panic!("{decision:?} is about none of {:?}", self.quotas));
        if self.algorithm == Algorithm::Exact {
            let counted = self.counted(subject, now, nanos(self.quotas[index].window()));
            let left = u64::from(limits[index]).saturating_sub(counted);
            assert_eq!(
                u64::from(decision.remaining()),
                left,
                "{subject} at {now}: {decision:?}, {:?}",
                self.log
            );
        }
    }

    /// What `reset` promises about the last check, if nothing else is counted.
    fn wait(&mut self, last: Option<(String, u32, Decision)>) {
        let Some((subject, cost, decision)) = last else { return };
        match decision.verdict() {
            Verdict::NeverFits => {}
            Verdict::Denied => {
                let last_moment = Duration::from_nanos(1);
                self.clock.advance(decision.reset() - last_moment);
                let earlier = self.check(&subject, cost);
                assert!(
                    self.algorithm == Algorithm::Counter || !earlier.is_admitted(),
                    "{decision:?}, {:?}",
                    self.log
                );
                if !earlier.is_admitted() {
                    self.clock.advance(last_moment);
                    assert!(self.check(&subject, cost).is_admitted(), "{decision:?}, {:?}", self.log);
                }
            }
            Verdict::Admitted => {
                let is_all_left = decision.remaining() == decision.limit();
                assert_eq!(decision.reset().is_zero(), is_all_left, "{decision:?}, {:?}", self.log);
                self.clock.advance(decision.reset());
                let later = self.limiter.peek(&Subject::other(subject), self.limit, 0, self.clock.now());
                let is_same = later.quota() == decision.quota();
                let has_risen = is_all_left || !is_same || later.remaining() > decision.remaining();
                assert!(has_risen, "{decision:?}, {later:?}, {:?}", self.log);
            }
        }
    }

    fn now(&self) -> u64 {
        nanos(self.clock.now().monotonic())
    }

    fn limits(&self) -> Vec<u32> {
        let of_first = self.limit.map(|limit| limit.get().min(Quota::MAX_LIMIT));
        let own = self.quotas.iter().map(|quota| quota.limit().get());
        own.enumerate().map(|(index, limit)| of_first.filter(|_| index == 0).unwrap_or(limit)).collect()
    }

    /// What was admitted less than `span` ago.
    fn counted(&self, subject: &str, now: u64, span: u64) -> u64 {
        let recent = self.log.iter().filter(|entry| entry.subject == subject && now - entry.at < span);
        recent.map(|entry| u64::from(entry.cost)).sum()
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
