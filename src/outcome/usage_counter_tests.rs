use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use super::*;
use crate::key::{Mode, Peppers};
use crate::store::{KeyAdministration, MemoryStore};
use crate::usage::{Usage, UsageBucket, UsageGroup, UsageQuery};

/// The beginning of a day.
const START: Timestamp = Timestamp::from_unix_seconds(1_702_512_000);

fn record(number: u64) -> KeyRecord {
    let owner = Owner::organization(format!("org{}", number % 3).parse().unwrap(), Mode::Live);
    let id = format!("k{number}");
    KeyRecord::new(id.parse().unwrap(), owner, Peppers::none().digest(&id), START)
}

fn after(seconds: u64) -> Timestamp {
    START.saturating_add(Duration::from_secs(seconds))
}

/// Answers of a store to batches.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Added,
    /// The batch is lost on the way.
    Failed,
    /// The batch is added, and the answer is lost.
    Unknown,
}

struct Flaky {
    store: MemoryStore,
    answers: Mutex<Vec<Answer>>,
    batches: Mutex<BTreeMap<(KeyId, u64), Vec<UsageEntry>>>,
}

impl Flaky {
    /// Answers in this order, and then `Added`.
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        Self { store: MemoryStore::new(), answers: Mutex::new(answers), batches: Mutex::default() }
    }

    async fn usage(&self, group_by: Option<UsageGroup>) -> Usage {
        let query = UsageQuery { group_by, ..UsageQuery::new(START, after(30 * 3600), UsageBucket::Hour) };
        self.store.usage_log().unwrap().read(&query, usize::MAX).await.unwrap()
    }

    async fn total(&self) -> u64 {
        self.usage(None).await.rows.iter().map(|row| row.calls.total()).sum()
    }
}

#[async_trait::async_trait]
impl UsageLog for Flaky {
    async fn add(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        let sent = (batch.process, batch.number);
        let before = self.batches.lock().unwrap().insert(sent, batch.entries.clone());
        assert!(
            before.is_none_or(|before| before == batch.entries),
            "a batch has the same content each time"
        );
        let answer = self.answers.lock().unwrap().pop().unwrap_or(Answer::Added);
        if answer != Answer::Failed {
            self.store.usage_log().unwrap().add(batch).await?;
        }
        match answer {
            Answer::Added => Ok(()),
            Answer::Failed | Answer::Unknown => Err(StoreError::new(StoreErrorKind::Unavailable)),
        }
    }

    async fn read(&self, _: &UsageQuery, _: usize) -> Result<Usage, StoreError> {
        unreachable!()
    }

    async fn prune(&self, _: Timestamp, _: Timestamp) -> Result<bool, StoreError> {
        unreachable!()
    }
}

fn counter() -> UsageCounter {
    UsageCounter::new(["read", "write"].map(Arc::from))
}

#[tokio::test]
async fn requests_are_summed_by_key_hour_category_and_outcome() {
    let (counter, store) = (counter(), Flaky::new([]));
    let (one, other) = (record(1), record(2));
    for (record, category, outcome, seconds, times) in [
        (&one, 0, UsageOutcome::Ok, 0, 3),
        (&one, 1, UsageOutcome::Ok, 3599, 1),
        (&one, 1, UsageOutcome::ServerError, 0, 2),
        (&one, 2, UsageOutcome::Ok, 3600, 1),
        (&other, 1, UsageOutcome::Limited, 3600, 4),
    ] {
        (0..times).for_each(|_| counter.count(record, category, outcome, after(seconds)));
    }
    assert_eq!(counter.buffered(), 5);
    assert_eq!(store.total().await, 0, "no request writes");
    counter.write_to(&store, after(3700)).await.unwrap();
    assert_eq!(counter.buffered(), 0);

    let shown = async |group| {
        let rows = store.usage(Some(group)).await.rows.into_iter().map(|row| {
            let name = row.key_id.map_or_else(|| row.category.unwrap(), |id| id.to_string());
            let hour = row.start.saturating_since(START).as_secs() / 3600;
            (name, hour, row.calls.total())
        });
        rows.collect::<Vec<_>>()
    };
    let row = |name: &str, hour, total| (name.to_owned(), hour, total);
    assert_eq!(shown(UsageGroup::Key).await, [row("k1", 0, 6), row("k1", 1, 1), row("k2", 1, 4)]);
    let by_category = [row("", 0, 3), row("read", 0, 3), row("read", 1, 4), row("write", 1, 1)];
    assert_eq!(shown(UsageGroup::Category).await, by_category);

    // A process without requests tells how far usage is complete, once a minute.
    for (seconds, as_of) in [(3701, 3700), (3759, 3700), (3760, 3760), (3761, 3760)] {
        counter.write_to(&store, after(seconds)).await.unwrap();
        assert_eq!(store.usage(None).await.as_of, Some(after(as_of)), "{seconds}");
    }
}

#[tokio::test]
async fn totals_are_exact_whatever_becomes_of_batches() {
    use Answer::{Added, Failed, Unknown};
    // All answers to the first four batches or attempts.
    let answers = [Added, Failed, Unknown];
    for number in 0..81_usize {
        let these = [1, 3, 9, 27].map(|power| answers[number / power % 3]);
        let (counter, store, mut counted) = (counter(), Flaky::new(these), 0);
        for round in 0..6_u64 {
            for key in 0..=round {
                counter.count(&record(key), 1, UsageOutcome::Ok, after(round * 1800));
                counted += 1;
            }
            let written = counter.write_to(&store, after(round * 1800)).await;
            let total = store.total().await;
            assert!(total <= counted, "{these:?}: never more than was counted");
            assert!(written.is_err() || total == counted, "{these:?}: what is written is all");
        }
        assert_eq!(store.total().await, counted, "{these:?}");
    }
}

#[tokio::test]
async fn many_keys_go_in_several_batches() {
    let (counter, store) = (counter(), Flaky::new([Answer::Added, Answer::Unknown]));
    let keys = 2 * BATCH as u64 + 1;
    (0..keys).for_each(|key| counter.count(&record(key), 0, UsageOutcome::Ok, START));
    assert!(counter.is_due());
    counter.write_to(&store, after(5)).await.unwrap_err();
    assert_eq!(store.total().await, 2 * BATCH as u64);
    assert_eq!(counter.buffered(), BATCH + 1, "a batch whose fate is not known waits");
    assert!(!counter.is_due());
    let waiting: Vec<_> = counter.outbox().batches.iter().map(|batch| batch.made_at == after(5)).collect();
    assert_eq!(waiting, [false, true], "only with the last one everything is there");
    counter.write_to(&store, after(5)).await.unwrap();
    assert_eq!(store.total().await, keys);
    let batches = store.batches.lock().unwrap();
    assert!(batches.values().all(|entries| entries.len() <= BATCH));
    assert!(batches.values().all(|entries| {
        entries
            .is_sorted_by_key(|entry| (entry.owner.clone(), entry.key_id, entry.category.clone(), entry.hour))
    }));
}

#[tokio::test]
async fn memory_is_bounded_and_what_is_lost_is_known() {
    let counter = UsageCounter::with_capacity([], 100);
    let store = Flaky::new([Answer::Failed]);
    (0..150).for_each(|key| counter.count(&record(key), 0, UsageOutcome::Ok, START));
    assert_eq!((counter.cells.len(), counter.lost.load(Ordering::Relaxed)), (100, 50));
    counter.write_to(&store, START).await.unwrap_err();
    // While the store does not answer, there is room for one more of each key.
    (0..150).for_each(|key| counter.count(&record(key), 0, UsageOutcome::Ok, START));
    assert_eq!((counter.cells.len(), counter.buffered()), (100, 200));
    counter.write_to(&store, START).await.unwrap();
    assert_eq!((store.total().await, counter.lost.load(Ordering::Relaxed)), (200, 100));

    // Idle cells make room for other keys, if there are many.
    counter.write_to(&store, START).await.unwrap();
    assert_eq!(counter.cells.len(), 0);
    // A few stay while their hour lasts, so that no use of a key in it allocates again.
    (0..50).for_each(|key| counter.count(&record(key), 0, UsageOutcome::Ok, START));
    for (seconds, cells) in [(0, 50), (3599, 50), (3600, 0)] {
        counter.write_to(&store, after(seconds)).await.unwrap();
        assert_eq!(counter.cells.len(), cells, "{seconds}");
    }
}

#[tokio::test]
async fn operators_see_whether_usage_is_written() {
    let counter = UsageCounter::with_capacity([], 2);
    let store = Flaky::new([Answer::Added, Answer::Failed, Answer::Unknown]);
    let health = |seconds: u64| {
        let UsageHealth { written_ago, waiting_rows, lost_requests, is_failing } =
            counter.health(after(seconds));
        (written_ago.map(|ago| ago.as_secs()), waiting_rows, lost_requests, is_failing)
    };
    assert_eq!(health(0), (None, 0, 0, false));
    counter.count(&record(0), 0, UsageOutcome::Ok, START);
    assert_eq!(health(0), (None, 1, 0, false));
    counter.write_to(&store, START).await.unwrap();
    assert_eq!(health(9), (Some(9), 0, 0, false));
    (0..5).for_each(|key| counter.count(&record(key), 0, UsageOutcome::Ok, START));
    for seconds in [10, 20] {
        counter.write_to(&store, after(seconds)).await.unwrap_err();
        assert_eq!(health(seconds), (Some(seconds), 2, 3, true));
    }
    counter.write_to(&store, after(30)).await.unwrap();
    assert_eq!(health(30), (Some(0), 0, 3, false));
}

#[test]
fn no_request_is_lost_while_counts_are_taken_and_cells_removed() {
    const THREADS: u64 = 4;
    const EACH: u64 = 50_000;
    // So few cells are allowed that idle ones are removed all the time.
    let counter = UsageCounter::with_capacity([], 6);
    let mut taken = 0;
    thread::scope(|scope| {
        let counting: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let keys = [record(0), record(1), record(2), record(3)];
                    for number in 0..EACH {
                        counter.count(&keys[number as usize / 50 % 4], 0, UsageOutcome::Ok, START);
                    }
                })
            })
            .collect();
        let mut take = || taken += total(&counter.take_all(START));
        while counting.iter().any(|thread| !thread.is_finished()) {
            take();
        }
        take();
    });
    assert_eq!(taken + counter.lost.load(Ordering::Relaxed), THREADS * EACH);
    assert_eq!(counter.lost.load(Ordering::Relaxed), 0);
}

fn total(entries: &[UsageEntry]) -> u64 {
    entries.iter().map(|entry| entry.counts.total()).sum()
}

#[cfg(feature = "metrics")]
#[test]
fn requests_that_are_lost_are_in_the_metrics() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    ::metrics::with_local_recorder(&recorder, || {
        let counter = UsageCounter::with_capacity([], 10);
        (0..17).for_each(|key| counter.count(&record(key), 0, UsageOutcome::Ok, START));
        let store = Flaky::new([]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Once, however often it is written.
        (0..2).for_each(|_| runtime.block_on(counter.write_to(&store, START)).unwrap());
    });
    let scrape = recorder.handle().render();
    assert!(scrape.contains("api_keys_usage_lost_total 7"), "{scrape}");
}
