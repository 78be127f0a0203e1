//! The rules of the usage log, for stores that have one.

use std::time::Duration;

use super::tools::{acme, globex, join_all, parse};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::key::{Mode, Owner};
use crate::store::{KeyAdministration, UsageLog};
use crate::usage::{
    Usage, UsageBatch, UsageBucket, UsageCounts, UsageEntry, UsageGroup, UsageOutcome, UsageQuery, UsageRow,
};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// The beginning of a day.
const START: u64 = 1_702_512_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(START + seconds)
}

fn counts(outcome: UsageOutcome, count: u64) -> UsageCounts {
    let mut counts = UsageCounts::default();
    counts.add(outcome, count);
    counts
}

fn entry(owner: Owner, key: &str, category: &str, hour: u64, counts: UsageCounts) -> UsageEntry {
    UsageEntry::new(owner, parse(key), category.to_owned(), at(hour * HOUR), counts)
}

/// So many requests of one key, in one hour.
fn ok(key: &str, hour: u64, count: u64) -> UsageEntry {
    entry(acme(), key, "", hour, counts(UsageOutcome::Ok, count))
}

async fn add(log: &dyn UsageLog, process: &str, number: u64, entries: &[UsageEntry]) {
    let batch = UsageBatch::new(parse(process), number, at(number), entries.to_vec());
    log.add(&batch).await.expect("to add a batch must work");
}

fn query(bucket: UsageBucket, group_by: Option<UsageGroup>) -> UsageQuery {
    UsageQuery { group_by, ..UsageQuery::new(at(0), at(10 * DAY), bucket) }
}

async fn read(log: &dyn UsageLog, query: &UsageQuery) -> Usage {
    let mut usage = log.read(query, 1000).await.expect("to read usage must work");
    usage.rows.sort_by_key(|row| (row.start, row.owner.clone(), row.key_id, row.category.clone()));
    usage
}

/// The sums of all hours and of all days.
async fn sums(log: &dyn UsageLog) -> [UsageCounts; 2] {
    let mut sums = [UsageCounts::default(); 2];
    for (sum, bucket) in sums.iter_mut().zip([UsageBucket::Hour, UsageBucket::Day]) {
        read(log, &query(bucket, None)).await.rows.iter().for_each(|row| *sum += row.calls);
    }
    sums
}

pub(super) async fn adds_a_batch_of_usage_once<S: KeyAdministration>(store: &S) {
    let Some(log) = store.usage_log() else { return };
    let empty = read(log, &query(UsageBucket::Hour, None)).await;
    assert_eq!(empty, Usage::new(Vec::new(), None), "an empty store must have no usage");
    add(log, "p", 1, &[]).await;
    let idle = read(log, &query(UsageBucket::Hour, None)).await;
    assert_eq!(
        idle,
        Usage::new(Vec::new(), Some(at(1))),
        "an empty batch must say how far usage is complete"
    );

    let all = |count| [counts(UsageOutcome::Ok, count); 2];
    add(log, "p", 2, &[ok("a", 0, 5), ok("b", 0, 7)]).await;
    assert_eq!(sums(log).await, all(12), "a batch must be added to hours and to days");
    add(log, "p", 2, &[ok("a", 0, 5), ok("b", 0, 7)]).await;
    add(log, "p", 1, &[ok("a", 0, 100)]).await;
    assert_eq!(sums(log).await, all(12), "a batch that was added must not be added again");
    add(log, "p", 3, &[ok("a", 0, 1), ok("a", 1, 1)]).await;
    assert_eq!(sums(log).await, all(14), "the next batch must be added to what is there");
    add(log, "q", 180, &[ok("a", 0, 6)]).await;
    let usage = read(log, &query(UsageBucket::Hour, None)).await;
    assert_eq!(usage.as_of, Some(at(3)), "usage is as complete as the process that added first");
    assert_eq!(sums(log).await, all(20), "each process must have numbers of its own");

    add(log, "r", 184, &[]).await;
    let usage = read(log, &query(UsageBucket::Hour, None)).await;
    assert_eq!(usage.as_of, Some(at(180)), "after three minutes a process has ended");

    let now = SystemClock.now().timestamp();
    let (minute, century) = (Duration::from_secs(60), Duration::from_secs(100 * 365 * 24 * 3600));
    for (process, number, made_at) in
        [("s", 1, now.saturating_sub(minute)), ("t", 1, now.saturating_add(century))]
    {
        let batch = UsageBatch::new(parse(process), number, made_at, Vec::new());
        log.add(&batch).await.expect("to add a batch must work");
        let usage = read(log, &query(UsageBucket::Hour, None)).await;
        assert_eq!(
            usage.as_of,
            Some(now.saturating_sub(minute)),
            "a clock that is ahead must not end other processes"
        );
    }

    let same = vec![UsageBatch::new(parse("p"), 4, at(4), vec![ok("a", 0, 10), ok("b", 1, 10)]); 8];
    // In one order, as every batch is.
    let entries = [ok("a", 0, 10), ok("b", 0, 10), ok("c", 0, 10)];
    let process = |number| parse(&format!("process-{number}"));
    let different =
        (0..8).map(|number| UsageBatch::new(process(number), 1, at(9), entries.to_vec())).collect();
    for (batches, sum) in [(same, all(40)), (different, all(280))] {
        for added in join_all(batches.iter().map(|batch| log.add(batch)).collect()).await {
            added.expect("to add several batches at once must work");
        }
        assert_eq!(sums(log).await, sum, "of batches at once each must be added exactly once");
    }
}

pub(super) async fn reads_usage_by_bucket_and_group<S: KeyAdministration>(store: &S) {
    let Some(log) = store.usage_log() else { return };
    let test = Owner { mode: Mode::Test, ..acme() };
    let system = Owner::system(Mode::Live);
    let mut mixed = UsageCounts::default();
    for (number, outcome) in (1..).zip(UsageOutcome::ALL) {
        mixed.add(outcome, number);
    }
    let other = counts(UsageOutcome::Limited, 100);
    let entries = [
        entry(acme(), "a", "read", 0, mixed),
        entry(acme(), "a", "read", 23, mixed),
        entry(acme(), "a", "write", 23, mixed),
        entry(acme(), "b", "", 24, mixed),
        entry(globex(), "A", "read", 0, other),
        entry(test.clone(), "t", "read", 0, other),
        entry(system.clone(), "s", "read", 9, other),
    ];
    add(log, "p", 1, &entries).await;

    let row = |start: u64, owner: Option<&Owner>, key: Option<&str>, category: Option<&str>, times: u64| {
        let mut calls = UsageCounts::default();
        (0..times).for_each(|_| calls += mixed);
        let all = UsageRow::of_all(at(start * HOUR), calls);
        UsageRow { owner: owner.cloned(), key_id: key.map(parse), category: category.map(Into::into), ..all }
    };
    let acme = acme();
    let of_acme = |bucket, group| UsageQuery { owner: Some(acme.clone()), ..query(bucket, group) };
    let (hour, day) = (UsageBucket::Hour, UsageBucket::Day);
    let [by_key, by_organization, by_category] =
        [UsageGroup::Key, UsageGroup::Organization, UsageGroup::Category].map(Some);
    let whole = of_acme(hour, None);
    let from_23 = UsageQuery { start: at(23 * HOUR + 1), ..whole.clone() };
    let until_23 = UsageQuery { end: at(23 * HOUR), ..whole.clone() };
    let into_23 = UsageQuery { end: at(23 * HOUR + 1), ..whole.clone() };
    let of_b = UsageQuery { keys: vec![parse("b"), parse("A"), parse("none")], ..whole.clone() };
    let a = Some("a");
    for (name, query, rows) in [
        (
            "hours",
            whole,
            vec![row(0, None, None, None, 1), row(23, None, None, None, 2), row(24, None, None, None, 1)],
        ),
        ("days", of_acme(day, None), vec![row(0, None, None, None, 3), row(24, None, None, None, 1)]),
        (
            "days by key",
            of_acme(day, by_key),
            vec![row(0, Some(&acme), a, None, 3), row(24, Some(&acme), Some("b"), None, 1)],
        ),
        (
            "days by organization",
            of_acme(day, by_organization),
            vec![row(0, Some(&acme), None, None, 3), row(24, Some(&acme), None, None, 1)],
        ),
        (
            "days by category",
            of_acme(day, by_category),
            vec![
                row(0, None, None, Some("read"), 2),
                row(0, None, None, Some("write"), 1),
                row(24, None, None, Some(""), 1),
            ],
        ),
        ("from within an hour", from_23, vec![row(23, None, None, None, 2), row(24, None, None, None, 1)]),
        ("until an hour", until_23, vec![row(0, None, None, None, 1)]),
        ("until within an hour", into_23, vec![row(0, None, None, None, 1), row(23, None, None, None, 2)]),
        ("some keys of the owner", of_b, vec![row(24, None, None, None, 1)]),
    ] {
        assert_eq!(read(log, &query).await.rows, rows, "{name}");
    }

    let all = read(log, &query(day, by_organization)).await.rows;
    let owners: Vec<_> = all.iter().map(|row| (row.start, row.owner.clone())).collect();
    let expected = [(0, &acme), (0, &test), (0, &globex()), (0, &system), (DAY, &acme)];
    assert_eq!(
        owners,
        expected.map(|(start, owner)| (at(start), Some(owner.clone()))),
        "usage of all owners must be told apart"
    );
    let live = UsageQuery { mode: Some(Mode::Live), ..query(day, by_organization) };
    let modes = read(log, &live).await.rows;
    assert_eq!(modes.len(), 4, "usage of a mode must be of that mode alone");
    let first = log.read(&query(day, by_key), 2).await.expect("to read usage must work");
    assert_eq!(first.rows.len(), 2, "no more rows than the limit must be read");
}

pub(super) async fn prunes_old_usage<S: KeyAdministration>(store: &S) {
    let Some(log) = store.usage_log() else { return };
    add(log, "p", 1, &[ok("a", 0, 1), ok("a", 23, 1), ok("a", 24, 1)]).await;
    let prune = async |hours, days| {
        while log.prune(at(hours), at(days)).await.expect("to prune usage must work") {}
    };
    prune(0, 0).await;
    let [hours, days] = sums(log).await;
    assert_eq!((hours.total(), days.total()), (3, 3), "what is young enough must be kept");
    prune(23 * HOUR, 1).await;
    let [hours, days] = sums(log).await;
    assert_eq!((hours.total(), days.total()), (2, 1), "hours and days must be pruned apart");
    add(log, "p", 2, &[ok("a", 25, 1)]).await;
    assert_eq!(sums(log).await[0].total(), 3, "usage must be added after older usage was pruned");
}
