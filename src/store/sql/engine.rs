use std::pin::Pin;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use super::failed;
use crate::store::{StoreError, StoreErrorKind};

/// How long a connection with interrupted work may take to prove that it is alive.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// Work to do on a connection.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// A pool and its time limits.
#[derive(Debug)]
pub(crate) struct Engine<DB: Database> {
    pub(crate) pool: Pool<DB>,
    pub(crate) lookup_timeout: Duration,
    pub(crate) administration_timeout: Duration,
    is_settled: Settled<DB>,
}

/// Fails if a connection does not answer, or is not as it was before its work was interrupted.
type Settled<DB> = for<'c> fn(&'c mut <DB as Database>::Connection) -> Work<'c, ()>;

impl<DB: Database> Engine<DB> {
    pub(crate) fn new(pool: Pool<DB>, is_settled: Settled<DB>) -> Self {
        let (lookup_timeout, administration_timeout) = (Duration::from_secs(1), Duration::from_secs(5));
        Self { pool, lookup_timeout, administration_timeout, is_settled }
    }

    /// Runs `work`, or gives up at `deadline`. The caller may give up before.
    pub(crate) async fn run<T>(
        &self,
        deadline: Instant,
        work: impl for<'c> FnOnce(&'c mut DB::Connection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        let runtime = Handle::current();
        let mut unanswered = Unanswered(Some((self, &runtime)));
        let acquired = timeout_at(deadline, self.pool.acquire()).await.map_err(too_late)?;
        let mut lease = Lease(Some(acquired.map_err(failed)?), self.is_settled, &runtime);
        let result = timeout_at(deadline, work(lease.connection())).await.map_err(too_late)?;
        unanswered.0 = None;
        let failure = matches!(&result, Err(sqlx::Error::Database(_)));
        let result = result.map_err(failed);
        if failure && !matches!(&result, Err(error) if error.kind() == StoreErrorKind::Conflict) {
            lease.close();
        } else {
            lease.end();
        }
        result
    }

    /// Probes the idle connections: if one connection fails, perhaps because the network drops all packets, the
    /// others may be affected too. Otherwise each would keep a caller waiting before it is found out.
    fn probe_idle_connections(&self, runtime: &Handle) {
        while let Some(idle) = self.pool.try_acquire() {
            probe(idle, self.is_settled, runtime);
        }
    }
}

impl<DB: Database> Clone for Engine<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), ..*self }
    }
}

fn too_late(_: Elapsed) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable).with_source("no answer in time")
}

/// Work that had no answer when it is dropped, perhaps by a thread that is none of its runtime.
struct Unanswered<'e, DB: Database>(Option<(&'e Engine<DB>, &'e Handle)>);

impl<DB: Database> Drop for Unanswered<'_, DB> {
    fn drop(&mut self) {
        if let Some((engine, runtime)) = self.0 {
            engine.probe_idle_connections(runtime);
        }
    }
}

/// A connection of the pool. If its work was cancelled or timed out, it is not simply returned: the pool would wait
/// for the pending answer, without a limit and with one connection less.
struct Lease<'r, DB: Database>(Option<PoolConnection<DB>>, Settled<DB>, &'r Handle);

impl<DB: Database> Lease<'_, DB> {
    fn connection(&mut self) -> &mut DB::Connection {
        self.0.as_mut().expect("a lease has a connection until it ends")
    }

    /// Returns the connection to the pool.
    fn end(mut self) {
        self.0.take();
    }

    /// Closes the connection. After a failure its state may be unknown: when the disk is full, SQLite ends a
    /// transaction without sqlx noticing, and no other transaction could begin.
    fn close(mut self) {
        self.0.take().map(PoolConnection::detach);
    }
}

impl<DB: Database> Drop for Lease<'_, DB> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            probe(connection, self.1, self.2);
        }
    }
}

/// Returns a connection that is settled soon to the pool, and closes any other.
fn probe<DB: Database>(mut connection: PoolConnection<DB>, is_settled: Settled<DB>, runtime: &Handle) {
    // A runtime that has ended drops what it is to do, and a connection is not dropped outside of one.
    let _entered = runtime.enter();
    runtime.spawn(async move {
        if !matches!(timeout(PROBE_TIME, is_settled(&mut connection)).await, Ok(Ok(()))) {
            drop(connection.detach());
        }
    });
}
