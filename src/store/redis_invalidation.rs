use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{sleep, timeout};

use super::{Invalidation, InvalidationSink, InvalidationSource, StoreError, StoreErrorKind};
use crate::InvalidValue;
use crate::key::KeyId;
use crate::store::redis_server::RedisServer;

/// The time limit for connecting and for each command.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between two attempts to connect.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// The time without a message after which the server is pinged.
const SILENCE: Duration = Duration::from_secs(1);

/// Reports changes to the caches of all nodes over a Redis or Valkey channel (`PUBLISH`, `SUBSCRIBE`).
///
/// For stores that do not report changes themselves. The changing node publishes after the change is made. A node
/// that is not subscribed at that moment misses the message, but its [source](Self::source) has reported
/// [`Disconnected`](Invalidation::Disconnected). A dead connection is noticed within two seconds. If the changing
/// node cannot publish, or dies before it does, no node is notified: they see the change when they next [ask the
/// store](super::KeyStore::changes), or after the cache's `max_age`.
///
/// Nodes trust the messages on the channel: a client that can publish there can make caches read again, and nothing
/// worse. Needs Redis 6 or later, or Valkey, and there `PUBLISH`, `SUBSCRIBE` and `PING`: see the [user that limiters and
/// the channel share](crate::limit::RedisRateLimiter#a-user-of-its-own). In a Redis Cluster any node will do.
///
/// ```no_run
/// # #[cfg(feature = "cache")]
/// use tower_api_keys::store::{CachedStore, MemoryStore, RedisInvalidation};
///
/// # #[cfg(feature = "cache")]
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = RedisInvalidation::open("redis://127.0.0.1:6379")?;
/// let store = CachedStore::builder(MemoryStore::new()).publish_to(redis.clone()).build();
/// tokio::spawn(store.follow(redis.source()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisInvalidation {
    server: RedisServer,
    channel: Arc<str>,
    /// The connection for publishing; opened when first needed, and replaced when broken.
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
}

/// The source returned by [`RedisInvalidation::source`].
struct Source {
    server: RedisServer,
    channel: Arc<str>,
    subscription: Option<Subscription>,
}

struct Subscription {
    connection: MultiplexedConnection,
    messages: UnboundedReceiver<PushInfo>,
}

impl RedisInvalidation {
    /// The default name of the channel.
    pub const DEFAULT_CHANNEL: &str = "changed_keys";

    /// Uses the server at `url`, `redis://[user:password@]host[:port]`, or another one that
    /// [`RedisConnection::open`](crate::limit::RedisConnection::open) takes: encrypted, or by Sentinels. Does not connect yet.
    ///
    /// # Errors
    ///
    /// Those of `RedisConnection::open`.
    pub fn open(url: &str) -> Result<Self, InvalidValue> {
        let server = RedisServer::parse(url)?;
        Ok(Self { server, channel: Self::DEFAULT_CHANNEL.into(), connection: Arc::default() })
    }

    /// Sets the channel, for instance one for each of several key stores that share a server. Channels are shared by
    /// all databases of a server.
    #[must_use]
    pub fn channel(self, name: impl Into<Arc<str>>) -> Self {
        Self { channel: name.into(), ..self }
    }

    /// A source for one cache. It needs tokio's runtime.
    pub fn source(&self) -> impl InvalidationSource + fmt::Debug + use<> {
        // Receiving messages and replies on one connection needs RESP3.
        Source { server: self.server.clone().with_resp3(), channel: self.channel.clone(), subscription: None }
    }

    fn current(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, held: Option<MultiplexedConnection>, id: &KeyId) -> RedisResult<()> {
        let mut connection = match held {
            Some(connection) => connection,
            None => self.server.connect(&config()).await?,
        };
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&*self.channel).arg(id.as_str());
        connection.send_packed_command(&publish).await?.extract_error()?;
        *self.current() = Some(connection);
        Ok(())
    }
}

#[async_trait]
impl InvalidationSink for RedisInvalidation {
    async fn publish(&self, id: &KeyId) -> Result<(), StoreError> {
        let held = self.current().take();
        let was_held = held.is_some();
        let mut sent = in_time(self.send(held, id)).await;
        if sent.is_err() && was_held {
            // The connection may have been broken for long. Publishing twice does no harm.
            sent = in_time(self.send(None, id)).await;
        }
        sent.map_err(|error| StoreError::new(StoreErrorKind::Unavailable).with_source(error))
    }
}

#[async_trait]
impl InvalidationSource for Source {
    async fn next(&mut self) -> Invalidation {
        loop {
            let Some(subscription) = &mut self.subscription else {
                match in_time(subscribe(&self.server, &self.channel)).await {
                    Ok(subscription) => {
                        self.subscription = Some(subscription);
                        return Invalidation::Connected;
                    }
                    Err(_) => {
                        sleep(RETRY_AFTER).await;
                        continue;
                    }
                }
            };
            match subscription.next().await {
                Some(id) => return Invalidation::Key(id),
                None => {
                    self.subscription = None;
                    return Invalidation::Disconnected;
                }
            }
        }
    }
}

async fn subscribe(server: &RedisServer, channel: &str) -> RedisResult<Subscription> {
    let (sender, messages) = mpsc::unbounded_channel();
    let config = config().set_push_sender(sender);
    let mut connection = server.connect(&config).await?;
    connection.subscribe(channel).await?;
    Ok(Subscription { connection, messages })
}

impl Subscription {
    /// The next key, or `None` if a message may have been missed.
    async fn next(&mut self) -> Option<KeyId> {
        loop {
            match timeout(SILENCE, self.messages.recv()).await {
                Ok(Some(PushInfo { kind: PushKind::Message, data })) => return key_id(&data),
                Ok(Some(PushInfo { kind: PushKind::Subscribe, .. })) => {}
                // The end of the connection, or an unexpected message.
                Ok(_) => return None,
                Err(_) => {
                    let ping = redis::cmd("PING");
                    in_time(self.connection.send_packed_command(&ping)).await.ok()?;
                }
            }
        }
    }
}

fn key_id(message: &[Value]) -> Option<KeyId> {
    match message {
        [_, Value::BulkString(id)] => std::str::from_utf8(id).ok()?.parse().ok(),
        _ => None,
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE))
}

async fn in_time<T>(call: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = |_| Err((ErrorKind::Io, "no answer in time").into());
    timeout(PATIENCE, call).await.unwrap_or_else(late)
}

impl fmt::Debug for RedisInvalidation {
    // The client contains a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisInvalidation").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("channel", &self.channel)
            .field("connected", &self.subscription.is_some())
            .finish_non_exhaustive()
    }
}
