//! Verifies keys against the hashes of another system, which take long by design, beside the threads that serve requests.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use thiserror::Error;

use crate::key::{Digest, ImportedHash, SecretString};

/// Whether a key, the first text, has a hash, the second.
type Verify = dyn Fn(&str, &str) -> bool + Send + Sync;

/// The application's verifier, and what waits for it.
pub(crate) struct ImportedHashes {
    verify: Box<Verify>,
    /// How many threads verify at a time. They end when there is nothing to do.
    max_threads: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Job>>,
    running: Vec<Arc<Job>>,
    threads: usize,
}

/// One key to verify, for everyone who presents it meanwhile.
struct Job {
    hash: ImportedHash,
    secret: SecretString,
    /// That of the secret.
    digest: Digest,
    progress: Mutex<Progress>,
}

enum Progress {
    Waiting(Vec<Waker>),
    Done(Result<bool, Unverifiable>),
}

/// Why a key could not be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unverifiable {
    /// As many keys wait as may.
    #[error("too many imported keys wait to be verified")]
    Busy,
    /// The application's verifier panicked.
    #[error("the verifier of imported keys panicked")]
    Panicked,
}

/// At 250 ms a key and one thread, the last one waits for 8 s.
const MAX_WAITING: usize = 32;

impl ImportedHashes {
    pub(crate) fn new(verify: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self { verify: Box::new(verify), max_threads: processors.div_ceil(2).min(4), queue: Mutex::default() }
    }

    /// Whether the key `secret`, whose digest is `digest`, has `hash`.
    pub(crate) async fn verify(
        self: &Arc<Self>,
        hash: &ImportedHash,
        secret: &str,
        digest: Digest,
    ) -> Result<bool, Unverifiable> {
        let job = self.enqueue(hash, secret, digest)?;
        poll_fn(|context| match &mut *lock(&job.progress) {
            Progress::Done(result) => Poll::Ready(*result),
            Progress::Waiting(wakers) => {
                if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    wakers.push(context.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }

    fn enqueue(
        self: &Arc<Self>,
        hash: &ImportedHash,
        secret: &str,
        digest: Digest,
    ) -> Result<Arc<Job>, Unverifiable> {
        let mut queue = lock(&self.queue);
        let is_same = |job: &&Arc<Job>| job.digest.ct_eq(&digest) && job.hash == *hash;
        if let Some(job) = queue.running.iter().chain(&queue.waiting).find(is_same) {
            return Ok(job.clone());
        }
        if queue.waiting.len() >= MAX_WAITING {
            return Err(Unverifiable::Busy);
        }
        if queue.threads < self.max_threads {
            let this = self.clone();
            let spawned = thread::Builder::new().name("imported-hash".to_owned()).spawn(move || this.work());
            match (spawned, queue.threads) {
                (Ok(_), _) => queue.threads += 1,
                (Err(_), 0) => return Err(Unverifiable::Busy),
                (Err(_), _) => {}
            }
        }
        let progress = Mutex::new(Progress::Waiting(Vec::new()));
        let job = Arc::new(Job { hash: hash.clone(), secret: secret.into(), digest, progress });
        queue.waiting.push_back(job.clone());
        Ok(job)
    }

    /// Verifies what waits, until nothing does.
    fn work(&self) {
        while let Some(job) = self.next() {
            let result = catch_unwind(AssertUnwindSafe(|| {
                (self.verify)(job.secret.expose_secret(), job.hash.as_str())
            }));
            lock(&self.queue).running.retain(|other| !Arc::ptr_eq(other, &job));
            let done = Progress::Done(result.map_err(|_| Unverifiable::Panicked));
            let before = std::mem::replace(&mut *lock(&job.progress), done);
            if let Progress::Waiting(wakers) = before {
                wakers.into_iter().for_each(Waker::wake);
            }
        }
    }

    /// The next key that someone still waits for. If there is none, the thread that asks has to end.
    fn next(&self) -> Option<Arc<Job>> {
        let mut queue = lock(&self.queue);
        while let Some(job) = queue.waiting.pop_front() {
            if Arc::strong_count(&job) > 1 {
                queue.running.push(job.clone());
                return Some(job);
            }
        }
        queue.threads -= 1;
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::Context;

    use super::*;
    use crate::key::Peppers;

    fn hash(text: &str) -> ImportedHash {
        text.parse().unwrap()
    }

    fn digest(secret: &str) -> Digest {
        Peppers::none().digest(secret)
    }

    /// Starts to wait, and returns whether there is an answer already.
    fn starts(
        verification: impl Future<Output = Result<bool, Unverifiable>>,
    ) -> Option<Result<bool, Unverifiable>> {
        match pin!(verification).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_key_is_verified_once_for_all_who_present_it_at_the_same_time() {
        let calls = Arc::new(AtomicUsize::new(0));
        let (start, started) = mpsc::sync_channel::<()>(0);
        let started = Mutex::new(started);
        let counted = calls.clone();
        let hashes = Arc::new(ImportedHashes::new(move |secret, hash| {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = started.lock().unwrap().recv();
            secret == hash
        }));
        let right = hash("right");
        let mut waiting: Vec<_> =
            (0..100).map(|_| Box::pin(hashes.verify(&right, "right", digest("right")))).collect();
        for one in &mut waiting {
            assert_eq!(starts(one), None);
        }
        drop(start);
        for one in waiting {
            assert_eq!(one.await, Ok(true));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert_eq!(hashes.verify(&right, "wrong", digest("wrong")).await, Ok(false));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused_and_those_who_left_are_not_verified() {
        let calls = Arc::new(AtomicUsize::new(0));
        let (start, started) = mpsc::sync_channel::<()>(0);
        let started = Mutex::new(started);
        let counted = calls.clone();
        let mut hashes = ImportedHashes::new(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = started.lock().unwrap().recv();
            true
        });
        hashes.max_threads = 1;
        let (hashes, right) = (Arc::new(hashes), hash("right"));
        let runs = tokio::spawn({
            let (hashes, right) = (hashes.clone(), right.clone());
            async move { hashes.verify(&right, "running", digest("running")).await }
        });
        while calls.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let secrets: Vec<String> = (0..MAX_WAITING).map(|number| number.to_string()).collect();
        let left: Vec<_> =
            secrets.iter().map(|secret| hashes.verify(&right, secret, digest(secret))).collect();
        let mut left: Vec<_> = left.into_iter().map(Box::pin).collect();
        for one in &mut left {
            assert_eq!(starts(one), None);
        }
        assert_eq!(starts(hashes.verify(&right, "more", digest("more"))), Some(Err(Unverifiable::Busy)));
        assert_eq!(starts(hashes.verify(&right, "0", digest("0"))), None, "who joins another needs no room");
        assert_eq!(lock(&hashes.queue).threads, 1, "no more threads than are set");
        left.truncate(1);
        drop(start);
        assert_eq!(runs.await.unwrap(), Ok(true));
        assert_eq!(left.remove(0).await, Ok(true));
        assert_eq!(hashes.verify(&right, "more", digest("more")).await, Ok(true), "there is room again");
        assert_eq!(calls.load(Ordering::SeqCst), 3, "the running one, the one who stayed, and the last one");
    }

    #[tokio::test]
    async fn a_verifier_that_panics_fails_one_key_only() {
        let hashes = Arc::new(ImportedHashes::new(|secret, hash| match secret {
            "panic" => std::panic::resume_unwind(Box::new(())),
            _ => secret == hash,
        }));
        let right = hash("right");
        assert_eq!(hashes.verify(&right, "panic", digest("panic")).await, Err(Unverifiable::Panicked));
        assert_eq!(hashes.verify(&right, "right", digest("right")).await, Ok(true));
    }
}
