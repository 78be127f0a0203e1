use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::OnFailure;
use super::settings::Settings;
use crate::InvalidValue;
use crate::breaker::Breaker;
use crate::store::redis_server::RedisServer;

/// The time limit for connecting. No request waits longer than its own deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection of limiters to Redis or Valkey, and the limiters' settings. Clones share one connection, so make one and
/// give each limiter a clone.
///
/// Calls of many requests are multiplexed over one connection. A failure counts for all limiters that share it: after
/// five in a row calls are suspended, except for one request a second that tries again.
///
/// ```
/// use tower_api_keys::limit::RedisConnection;
///
/// let connection = RedisConnection::open("redis://127.0.0.1:6379/0")?.with_processes(4.try_into()?);
/// # let _ = connection;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RedisConnection {
    shared: Arc<Shared>,
    pub(super) settings: Settings,
}

/// A call without a valid reply.
#[derive(Debug, Error)]
pub(super) enum CallError {
    #[error("calls are suspended, as the last ones failed")]
    Suspended,
    #[error("no answer in time")]
    Late,
    #[error("{0}")]
    Failed(RedisError),
    #[error("an unexpected reply")]
    UnexpectedReply,
    #[error("the server is part of a Redis Cluster: `from_connection` takes a `ClusterConnection`")]
    InCluster,
}

struct Shared {
    source: Source,
    breaker: Breaker,
    round_trips: AtomicU64,
}

enum Source {
    Own(Arc<Own>),
    Host(Box<dyn Query>),
}

/// A connection that is opened when first needed, and replaced when broken.
struct Own {
    server: RedisServer,
    /// The result of the last attempt; `None` if there was none, or if its connection has broken.
    current: Mutex<Option<RedisResult<MultiplexedConnection>>>,
    connecting: AtomicBool,
    /// Notifies waiting requests that an attempt has ended.
    changed: Notify,
}

impl RedisConnection {
    /// A connection to the server at `url`, `redis://[user:password@]host[:port][/database]`.
    ///
    /// - `rediss://` (feature `tls`) encrypts the connection, and checks the server's certificate and its name. The
    ///   authorities of the operating system are trusted or, with `?sslrootcert=/etc/ca.pem`, those in that file instead.
    ///   If the server asks for a certificate: `&sslcert=/etc/app.pem&sslkey=/etc/app.key`. The files are read now.
    /// - `redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/database]` follows the master that the
    ///   Sentinels at these addresses (port 26379) know by this name. User and password are those of the master. Those of
    ///   the Sentinels, if any, are `?sentinel_username=user&sentinel_password=password`. With `rediss+sentinel://`
    ///   certificates are for the addresses that Sentinels name: host names need `sentinel resolve-hostnames yes`.
    ///
    /// Does not connect yet: the first request does, and needs tokio's runtime. A connection that breaks, or no
    /// longer answers, is replaced; the name in the URL is then resolved again.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if `url` cannot be parsed, if it needs the feature `tls`, or if a file that it names cannot be
    /// read.
    pub fn open(url: &str) -> Result<Self, InvalidValue> {
        let own = Own {
            server: RedisServer::parse(url)?,
            current: Mutex::new(None),
            connecting: AtomicBool::new(false),
            changed: Notify::new(),
        };
        Ok(Self::from_source(Source::Own(Arc::new(own))))
    }

    /// Uses the application's own connection of the crate `redis` 1.x: a `MultiplexedConnection`, a `ConnectionManager` or,
    /// for Redis Cluster, a `ClusterConnection` (its feature `cluster-async`). Reconnecting is then the application's
    /// responsibility.
    pub fn from_connection<C>(connection: C) -> Self
    where
        C: ConnectionLike + Clone + Send + Sync + 'static,
    {
        Self::from_source(Source::Host(Box::new(connection)))
    }

    fn from_source(source: Source) -> Self {
        let shared = Shared { source, breaker: Breaker::new(), round_trips: AtomicU64::new(0) };
        Self { shared: Arc::new(shared), settings: Settings::default() }
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.shared.breaker
    }

    pub(super) fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(Ordering::Relaxed)
    }

    /// Makes a call, unless calls are suspended, and gives up at `deadline`.
    pub(super) async fn call<T>(
        &self,
        script: &Call<'_>,
        parse: impl FnOnce(Value) -> Option<T>,
        deadline: Instant,
    ) -> Result<T, CallError> {
        let breaker = &self.shared.breaker;
        let started = Instant::now();
        if !breaker.admit(started) {
            return Err(CallError::Suspended);
        }
        let answer = match timeout_at(deadline.into(), self.run(script)).await {
            Ok(Ok(value)) => parse(value).ok_or(CallError::UnexpectedReply),
            Ok(Err(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::Moved) => {
                Err(CallError::InCluster)
            }
            Ok(Err(error)) => Err(CallError::Failed(error)),
            Err(_) => Err(CallError::Late),
        };
        crate::metrics::rate_limit_backend_call(started);
        match &answer {
            Ok(_) => {
                if breaker.success() {
                    crate::log::redis_recovered();
                    crate::metrics::breaker_state("redis", "limits", false);
                }
            }
            Err(error) => {
                let suspended = breaker.failure(Instant::now());
                crate::metrics::breaker_state("redis", "limits", suspended);
                if let Source::Own(own) = &self.shared.source
                    && (suspended || error.breaks_the_connection())
                {
                    *own.current() = None;
                }
            }
        }
        answer
    }

    /// Runs the script by its digest or, if the server does not know it, by its text.
    async fn run(&self, script: &Call<'_>) -> RedisResult<Value> {
        match self.query(script.by_digest()).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.query(script.by_text()).await
            }
            answer => answer,
        }
    }

    async fn query(&self, command: Cmd) -> RedisResult<Value> {
        let answer = match &self.shared.source {
            Source::Own(own) => {
                let connection = own.connection().await?;
                self.shared.round_trips.fetch_add(1, Ordering::Relaxed);
                connection.query(command).await
            }
            Source::Host(connection) => {
                self.shared.round_trips.fetch_add(1, Ordering::Relaxed);
                connection.query(command).await
            }
        };
        answer?.extract_error()
    }
}

/// Settings of the limiters that are made with this clone.
impl RedisConnection {
    /// Sets the prefix of the Redis keys; default `rate_limit`. Limiters with the same prefix, category and windows
    /// count together, in all processes. [`shared_limits`](crate::ApiKeysBuilder::shared_limits) sets its own.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// Sets how many processes share the limits; default 1. Without Redis, each process admits its part: the limit
    /// divided by this number, rounded down, and at least 1. [Leases](Self::with_leases) depend on it, too.
    #[must_use]
    pub fn with_processes(mut self, processes: NonZeroU32) -> Self {
        self.settings.processes = processes;
        self
    }

    /// Lets Redis grant several units at once, which the process then admits by itself for up to a sub-window.
    ///
    /// For limits so high that one call per request is too much. See [leases](super::RedisRateLimiter#leases). All processes
    /// must use the same setting: those with leases and those without do not count together.
    #[must_use]
    pub fn with_leases(mut self) -> Self {
        self.settings.leases = true;
        self
    }

    /// Sets what to do with requests when Redis does not answer; default [`OnFailure::Local`].
    #[must_use]
    pub fn with_on_failure(mut self, on_failure: OnFailure) -> Self {
        self.settings.on_failure = on_failure;
        self
    }

    /// Sets how long a request may wait for Redis; default
    /// [`DEFAULT_DEADLINE`](super::RedisRateLimiter::DEFAULT_DEADLINE).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }
}

impl Own {
    fn current(&self) -> MutexGuard<'_, Option<RedisResult<MultiplexedConnection>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(self: &Arc<Self>) -> RedisResult<MultiplexedConnection> {
        let changed = self.changed.notified();
        if let Some(Ok(connection)) = &*self.current() {
            return Ok(connection.clone());
        }
        self.connect_in_background();
        changed.await;
        self.current()
            .clone()
            .unwrap_or_else(|| Err((ErrorKind::Io, "the connection broke immediately").into()))
    }

    /// Independent of the request that needs it, which may be dropped before the connection is open.
    fn connect_in_background(self: &Arc<Self>) {
        if self.connecting.swap(true, Ordering::AcqRel) {
            return;
        }
        let attempt = Attempt(self.clone());
        tokio::spawn(async move {
            let own = &attempt.0;
            // Each call has its own deadline.
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(None);
            let connecting = own.server.connect(&config);
            // The time-out above does not cover the handshake, to which a stopped server does not reply.
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
            let silent = |_| Err((ErrorKind::Io, "the server does not answer").into());
            *own.current() = Some(connected.unwrap_or_else(silent));
        });
    }
}

/// An attempt to connect. It ends when dropped, for instance when its runtime shuts down.
struct Attempt(Arc<Own>);

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.connecting.store(false, Ordering::Release);
        self.0.changed.notify_waiters();
    }
}

impl CallError {
    /// Whether a new connection may help, perhaps to another server.
    fn breaks_the_connection(&self) -> bool {
        match self {
            Self::Failed(error) => {
                error.is_unrecoverable_error()
                    || error.is_io_error()
                    || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
            }
            Self::UnexpectedReply | Self::InCluster | Self::Late | Self::Suspended => false,
        }
    }
}

/// A connection of any type.
trait Query: Send + Sync {
    fn query(&self, command: Cmd) -> Querying;
}

type Querying = Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>;

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Query for C {
    fn query(&self, command: Cmd) -> Querying {
        let mut connection = self.clone();
        Box::pin(async move { connection.req_packed_command(&command).await })
    }
}

/// One call of a script.
pub(super) struct Call<'a> {
    pub(super) script: &'a redis::Script,
    pub(super) text: &'a str,
    pub(super) key: &'a str,
    pub(super) arguments: &'a [u64],
}

impl Call<'_> {
    fn by_digest(&self) -> Cmd {
        self.command("EVALSHA", self.script.get_hash())
    }

    fn by_text(&self) -> Cmd {
        self.command("EVAL", self.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(self.key).arg(self.arguments);
        command
    }
}

impl fmt::Debug for RedisConnection {
    // The client contains a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection").field("breaker", &self.shared.breaker).finish_non_exhaustive()
    }
}
