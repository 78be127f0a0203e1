//! How long a revoked key still works on another node: revoke on one, hammer the other.
//!
//! Run with `--nocapture` for the figures. The channel is one between the tasks of a process; a real one adds its own
//! time.
#![cfg(feature = "cache")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

mod support;

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use support::{record, store};
use tokio::sync::mpsc;
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::key::{KeyId, KeyState};
use tower_api_keys::store::{
    CachedStore, FindResult, Invalidation, InvalidationSink, InvalidationSource, KeyAdministration,
    KeySelector, KeyStore, StoreError,
};

/// Publishes to all nodes' channels.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<Vec<mpsc::UnboundedSender<Invalidation>>>>);

impl Network {
    fn join(&self) -> Receiver {
        let (events, receiver) = mpsc::unbounded_channel();
        events.send(Invalidation::Connected).unwrap();
        self.0.lock().unwrap().push(events);
        Receiver(receiver)
    }
}

#[async_trait]
impl InvalidationSink for Network {
    async fn publish(&self, id: &KeyId) -> Result<(), StoreError> {
        self.0.lock().unwrap().iter().for_each(|node| {
            let _ = node.send(Invalidation::Key(*id));
        });
        Ok(())
    }
}

struct Receiver(mpsc::UnboundedReceiver<Invalidation>);

#[async_trait]
impl InvalidationSource for Receiver {
    async fn next(&mut self) -> Invalidation {
        match self.0.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Up,
    /// It was up, and its end was noticed.
    Cut,
    None,
}

fn is_active(found: FindResult) -> bool {
    found.unwrap().expect("there is such a key").state == KeyState::Active
}

/// For each of so many keys: how long after its revocation was answered on one node a look-up on the other began that
/// still found it active. Sorted.
async fn latencies(keys: usize, max_age: Duration, channel: Channel) -> Vec<Duration> {
    let keys: Vec<_> = (0..keys).map(|n| record(&format!("key {n}"), |_| {})).collect();
    let (store, network) = (store(keys.clone()).await, Network::default());
    let node = || CachedStore::builder(store.clone()).max_age(max_age).publish_to(network.clone()).build();
    let (a, b) = (node(), node());
    let follower = tokio::spawn(b.follow(network.join()));
    if channel != Channel::None {
        while !b.is_connected() {
            tokio::task::yield_now().await;
        }
    }
    if channel != Channel::Up {
        follower.abort();
        while b.is_connected() || !follower.is_finished() {
            tokio::task::yield_now().await;
        }
    }
    let mut latencies = Vec::new();
    for mut key in keys {
        assert!(is_active(b.find(KeySelector::Id(&key.id)).await));
        let answered = Arc::new(Mutex::new(None));
        let hammer = {
            let (b, id, answered) = (b.clone(), key.id, answered.clone());
            tokio::task::spawn_blocking(move || {
                let mut last = Duration::ZERO;
                loop {
                    let begun = SystemClock.now().monotonic();
                    let selector = KeySelector::Id(&id);
                    let found = match b.find_now(selector) {
                        Poll::Ready(found) => found,
                        Poll::Pending => tokio::runtime::Handle::current().block_on(b.find(selector)),
                    };
                    if !is_active(found) {
                        break last;
                    }
                    let answered: Option<Duration> = *answered.lock().unwrap();
                    last = answered.map_or(last, |answered| begun.saturating_sub(answered));
                    assert!(last < Duration::from_secs(10), "the revocation does not arrive");
                }
            })
        };
        key.state = KeyState::Revoked { at: support::START };
        a.replace(key).await.unwrap();
        *answered.lock().unwrap() = Some(SystemClock.now().monotonic());
        latencies.push(hammer.await.unwrap());
    }
    follower.abort();
    latencies.sort();
    latencies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r32_a_revocation_reaches_the_other_node_within_the_bound() {
    // A fifth of a second stands for the five.
    let max_age = Duration::from_millis(200);
    for (channel, keys, bound) in [
        (Channel::Up, 500, Duration::from_secs(5)),
        // To the nanosecond: the age is judged after the look-up began, and counts from before the revocation.
        (Channel::Cut, 10, max_age),
        (Channel::None, 10, max_age),
    ] {
        let latencies = latencies(keys, max_age, channel).await;
        let [p50, p99, maximum] = [50, 99, 100].map(|percent| latencies[(keys - 1) * percent / 100]);
        println!("channel {channel:?}: p50 {p50:?}, p99 {p99:?}, maximum {maximum:?} of {keys}");
        assert!(maximum <= bound, "channel {channel:?}: {latencies:?}");
    }
}
