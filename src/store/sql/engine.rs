use std::pin::Pin;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, Database, Pool};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use super::failed;
use crate::store::{StoreError, StoreErrorKind};

/// How long a connection that work was cut short on may take to show that it is alive.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// Something to do on a connection.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// A pool, and how long it may take to answer.
#[derive(Debug)]
pub(crate) struct Engine<DB: Database> {
    pub(crate) pool: Pool<DB>,
    pub(crate) look_up_timeout: Duration,
    pub(crate) administration_timeout: Duration,
}

impl<DB: Database> Engine<DB> {
    pub(crate) fn new(pool: Pool<DB>) -> Self {
        Self { pool, look_up_timeout: Duration::from_secs(1), administration_timeout: Duration::from_secs(5) }
    }

    pub(crate) async fn look_up<T>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DB::Connection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        self.run(Instant::now() + self.look_up_timeout, work).await
    }

    pub(crate) async fn administer<T>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DB::Connection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        self.run(Instant::now() + self.administration_timeout, work).await
    }

    /// Does `work`, or gives up at `deadline`.
    pub(crate) async fn run<T>(
        &self,
        deadline: Instant,
        work: impl for<'c> FnOnce(&'c mut DB::Connection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        let Ok(acquired) = timeout_at(deadline, self.pool.acquire()).await else {
            self.probe_idle_connections();
            return Err(too_late());
        };
        let mut lease = Lease(Some(acquired.map_err(failed)?));
        let Ok(result) = timeout_at(deadline, work(lease.connection())).await else {
            self.probe_idle_connections();
            return Err(too_late());
        };
        let failure = matches!(&result, Err(sqlx::Error::Database(_)));
        let result = result.map_err(failed);
        if failure && !matches!(&result, Err(error) if error.kind() == StoreErrorKind::Conflict) {
            lease.close();
        } else {
            lease.end();
        }
        result
    }

    /// What one connection suffers from, a network that swallows everything perhaps, the others may have, too. Left to
    /// themselves, each would keep a caller waiting before it is found out.
    fn probe_idle_connections(&self) {
        while let Some(idle) = self.pool.try_acquire() {
            probe(idle);
        }
    }
}

impl<DB: Database> Clone for Engine<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), ..*self }
    }
}

fn too_late() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable).with_source("no answer in time")
}

/// A connection of the pool. One that was waiting for an answer when it was given up (its caller has gone, or the time was
/// up) is not just put back: the pool would wait for that answer, however long, with one connection less.
struct Lease<DB: Database>(Option<PoolConnection<DB>>);

impl<DB: Database> Lease<DB> {
    fn connection(&mut self) -> &mut DB::Connection {
        self.0.as_mut().expect("a lease has a connection until it ends")
    }

    /// The pool takes it back.
    fn end(mut self) {
        self.0.take();
    }

    /// After a failure it may no longer be known what state it is in: when the disk is full, SQLite ends a transaction
    /// behind sqlx's back, and no other would ever begin.
    fn close(mut self) {
        self.0.take().map(PoolConnection::detach);
    }
}

impl<DB: Database> Drop for Lease<DB> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            probe(connection);
        }
    }
}

/// Puts a connection back that answers soon, and closes any other.
fn probe<DB: Database>(mut connection: PoolConnection<DB>) {
    let Ok(runtime) = Handle::try_current() else {
        drop(connection.detach());
        return;
    };
    runtime.spawn(async move {
        if timeout(PROBE_TIME, connection.ping()).await.is_err() {
            drop(connection.detach());
        }
    });
}
